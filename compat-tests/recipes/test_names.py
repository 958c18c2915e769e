"""What no server can be made to answer."""
import subprocess
from pathlib import Path

from contending import source_tree


def test_names(tmp_path):
    program = tmp_path / "names_test"
    subprocess.run(["cc", "-std=c11", "-DZK_WITH_SERVER=0", "-pthread", f"-I{source_tree()}",
                    Path(__file__).with_name("names_test.c"), "-o", program], check=True)
    done = subprocess.run([program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
