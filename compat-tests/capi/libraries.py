"""What the programs of this folder are compiled against, and how they are run."""
import subprocess
import threading

from harness import cache
from harness.servers import SANITIZER, reap, spawn

HERE = cache.TESTS / "capi"
TIMEOUT_S = 100
# (program, form of the library)
PROGRAMS = [("sync", "mt"), ("async", "mt"), ("async", "st"), ("watches", "mt"), ("watches", "st"),
            ("session", "mt")]
WARNINGS = ["-Wall", "-Wextra", "-Wshadow", "-Wvla", "-Werror"]
FORMS = {"mt": ["-DTHREADED"], "st": ["-DZOO_LOOP"]}


class Library:
    """How to compile and run against one implementation."""

    def __init__(self, name, headers, libraries, env):
        self.name, self.headers, self.libraries, self.env = name, headers, libraries, env

    def compile(self, source, out, form, *flags):
        """A program; with -c among the flags an object."""
        link = [] if "-c" in flags else [*self.libraries(form), "-pthread"]
        subprocess.run([str(word) for word in [
            "cc", "-std=gnu11", "-O1", "-g", *WARNINGS, *FORMS[form], f"-I{HERE}", *self.headers,
            *flags, source, "-o", out, *link]], check=True)
        return out


def run(program, library, *arguments, obey=None):
    """What a program says. A line that begins with '!' is an order, for obey()."""
    process = spawn([str(program), *map(str, arguments)], stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=library.env)
    guard = threading.Timer(TIMEOUT_S, process.kill)
    guard.start()
    errors = []
    reader = threading.Thread(target=lambda: errors.extend(process.stderr), daemon=True)
    reader.start()
    said = []
    try:
        for line in process.stdout:
            line = line.decode(errors="replace").rstrip("\n")
            if not line.startswith("!"):
                said.append(line)
                continue
            obey(line[1:])
            process.stdin.write(b"\n")
            process.stdin.flush()
        status = process.wait()
        reader.join()
    finally:
        guard.cancel()
        reap(process)
    problems = b"".join(errors).decode(errors="replace")
    assert status == 0 and not SANITIZER.search(problems), \
        f"{program} ended with {status}\n{problems[-5000:]}\n" + "\n".join(said[-20:])
    return said
