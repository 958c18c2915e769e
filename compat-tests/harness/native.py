"""zk.c, compiled once for each compiler and set of flags, for all tests that link it.

library(flags) is a directory with
    zk.o      the library, of which only zk_* can be seen
    rooms.o   the same with all its internal functions, for programs that look at it from within
    rooms.h   zk.c without its bodies, which those include before all else
Memory comes from test_realloc (memory.h), which a program may define.

It stands in build/native of the tree, under a hash of all that it is made of, so that changed
sources or flags make another. It is made in a directory beside it, under a lock of the kernel's,
which dies with its owner, and renamed into place: no two processes make the same one, and none that
is not whole is ever seen. What nobody has asked for within a day goes when another one is made.

    python3 -m harness.native COMPILER FLAG...      makes one and prints its directory
"""
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
MEMORY = Path(__file__).with_name("memory.h")
PLAIN = ("-O1", "-g")
ASAN = (*PLAIN, "-fno-omit-frame-pointer", "-fsanitize=address,undefined",
        "-fno-sanitize-recover=all")
TSAN = (*PLAIN, "-fsanitize=thread")
POLL = ("-DZK_WITH_EPOLL=0",)
COMPILE = ("-std=c11", "-pthread")
WITHIN = ("-D_GNU_SOURCE", "-DZK_PRIVATE=", "-include", str(MEMORY))
KEPT_S = 24 * 3600

# A body as amalgamate writes it: its title, with the condition around it, up to the next title.
TITLE = r"(?:^#if ZK_WITH_\w+\n)?^/\* ==== "
BODY = re.compile(TITLE + r"\S+\.c ==== \*/\n.*?(?=" + TITLE + r"|\Z)", re.M | re.S)


def _hash(*parts) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(b"%d " % len(part) + part)
    return digest.hexdigest()[:16]


def _make(work, compiler, flags, top):
    rooms = BODY.sub("", (top / "zk.c").read_text())
    (work / "rooms.h").write_text(f"#define ZK_PRIVATE\n{rooms}")
    subprocess.run([compiler, *COMPILE, *flags, *WITHIN, f"-I{top}", "-c", top / "zk.c",
                    "-o", work / "rooms.o"], check=True)
    subprocess.run(["objcopy", "--wildcard", "--keep-global-symbol=zk_*",
                    "--keep-global-symbol=test_realloc", work / "rooms.o", work / "zk.o"],
                   check=True)


def library(flags=PLAIN, compiler="cc", top=TOP) -> Path:
    """The directory with zk.o, rooms.o and rooms.h of the zk.c in `top`."""
    version = subprocess.run([compiler, "--version"], capture_output=True, check=True).stdout
    flavour = _hash(version, *(word.encode() for word in (compiler, *COMPILE, *flags)))
    sources = _hash(*(path.read_bytes() for path in (top / "zk.c", top / "zk.h",
                                                  MEMORY, Path(__file__))))
    root = top / "build" / "native"
    target = root / f"{flavour}-{sources}"
    root.mkdir(parents=True, exist_ok=True)
    with open(root / f"{flavour}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.is_dir():
            for left in root.glob(f"{flavour}.new-*"):      # by somebody who died
                shutil.rmtree(left)
            work = Path(tempfile.mkdtemp(prefix=f"{flavour}.new-", dir=root))
            _make(work, compiler, flags, top)
            work.rename(target)
            for old in root.glob(f"{flavour}-*"):
                if old.stat().st_mtime < time.time() - KEPT_S:
                    shutil.rmtree(old)
        os.utime(target)
    return target


def program(out, *words, flags=PLAIN, compiler="cc", top=TOP, within=False) -> Path:
    """Compiles sources, links them with the library, and with whatever else `words` say."""
    made = library(flags, compiler, top)
    subprocess.run([compiler, *COMPILE, *flags, f"-I{top}", f"-I{made}", *words,
                    made / ("rooms.o" if within else "zk.o"), "-o", out], check=True)
    return out


if __name__ == "__main__":
    print(library(sys.argv[2:], sys.argv[1]))
