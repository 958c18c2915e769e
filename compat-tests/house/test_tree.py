"""The index and the digest of src/state/tree against a plain list of nodes."""
import subprocess
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
ROOMS = ["base/base", "base/jute", "base/slab", "base/sum", "base/wire", "state/path", "state/tree"]


def test_model(tmp_path):
    program = tmp_path / "tree_test"
    subprocess.run(["cc", "-std=c11", "-g", "-O1", "-fsanitize=address,undefined",
                    "-fno-sanitize-recover=all", f"-I{TOP}/src", f"-I{TOP}",
                    *(TOP / "src" / f"{room}.c" for room in ROOMS),
                    Path(__file__).with_name("tree_test.c"), "-o", program], check=True)
    done = subprocess.run([program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-4000:]
