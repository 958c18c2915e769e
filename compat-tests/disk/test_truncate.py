"""Truncating the log and saving epochs, with the process or the power dying at every call."""
import subprocess
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
SIM = TOP / "compat-tests" / "sim"


def pure_rooms():
    """Their sources, without those of the node, which no file needs."""
    lines = (TOP / "src" / "rooms").read_text().splitlines()
    rooms = [line.split() for line in lines if line.strip() and not line.startswith("#")]
    return [TOP / "src" / f"{room}.c" for room, kind, _ in rooms
            if kind == "pure" and not room.startswith("node/")]


def test_deaths(tmp_path):
    program = tmp_path / "truncate_test"
    subprocess.run(
        ["cc", "-std=c11", "-g", "-O1", "-fsanitize=address,undefined",
         "-fno-sanitize-recover=all", f"-I{TOP}/src", f"-I{TOP}", "-include", SIM / "prelude.h",
         *pure_rooms(), TOP / "src/host/writer.c", *(SIM / f"{name}.c" for name in
                                                     ("mem", "disk", "sim_os")),
         Path(__file__).with_name("truncate_test.c"), "-o", program], check=True)
    done = subprocess.run([program], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-4000:]
    deaths = int(done.stdout.split()[0])
    assert deaths > 1000, done.stdout
