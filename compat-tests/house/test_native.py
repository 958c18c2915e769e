"""The object that tests share (harness/native.py), on a library of one function."""
import os
import re
import signal
import subprocess
import sys

import pytest

from harness import native
from harness.servers import wait_for

TITLE = "\n/* ==== %s ==== */\n\n"
WITHIN = TITLE % "base/one.h" + "ZK_PRIVATE int one(void);\n"
BODY = (TITLE % "base/one.c" + "ZK_PRIVATE int one(void) { return ONE; }\n"
        "\n#if ZK_WITH_CLIENT" + TITLE % "base/two.h" + "ZK_PRIVATE int two(void);\n#endif\n"
        "\n#if ZK_WITH_CLIENT" + TITLE % "base/two.c" + "ZK_PRIVATE int two(void) { return 2; }\n"
        "#endif /* ZK_WITH_CLIENT */\n")
# A compiler that counts what it makes, and one that also waits until somebody makes it go on.
COUNTING = """#!/bin/sh
if [ "$1" = --version ]; then echo 1; exit; fi
echo $$ >>{log}
while [ -e {hold} ]; do sleep 0.01; done
exec cc "$@"
"""


@pytest.fixture
def top(tmp_path):
    (tmp_path / "zk.h").write_text("#define ONE 1\n#define ZK_WITH_CLIENT 1\n")
    (tmp_path / "zk.c").write_text('#include "zk.h"\n' + WITHIN + BODY)
    compiler = tmp_path / "counting-cc"
    compiler.write_text(COUNTING.format(log=tmp_path / "log", hold=tmp_path / "hold"))
    compiler.chmod(0o755)
    return tmp_path


def made(top):
    log = top / "log"
    return log.read_text().split() if log.exists() else []


def begin(top):
    """A process that asks for the library."""
    code = ("import pathlib, sys; from harness import native;"
            "native.library(compiler=sys.argv[1], top=pathlib.Path(sys.argv[2]))")
    return subprocess.Popen([sys.executable, "-c", code, top / "counting-cc", top],
                            cwd=native.TOP / "compat-tests")


def test_what_it_is_made_of_decides(top):
    def get(*flags):
        return native.library((*native.PLAIN, *flags), str(top / "counting-cc"), top)
    first = get()
    assert get() == first and len(made(top)) == 1
    folders = {first, get("-DOTHER")}
    for name in ("zk.c", "zk.h"):
        path = top / name
        path.write_text(path.read_text() + "\n")
        folders.add(get())
    assert len(folders) == len(made(top)) == 4
    path.write_text(path.read_text()[:-1])
    (top / "zk.c").write_text((top / "zk.c").read_text()[:-1])
    assert get() == first and len(made(top)) == 4


def test_old_ones_go(top):
    def get(text):
        (top / "zk.h").write_text(text)
        return native.library(top=top)
    text = (top / "zk.h").read_text()
    old, young = get(text), get(text + "\n")
    os.utime(old, (0, 0))
    new = get(text + "\n\n")
    assert [old.exists(), young.exists(), new.exists()] == [False, True, True]


def test_a_program_sees_the_rooms_without_their_bodies(top):
    main = top / "main.c"
    main.write_text('#include "rooms.h"\nint main(void) { return one() + two(); }\n')
    program = native.program(top / "main", main, top=top, within=True)
    with pytest.raises(subprocess.CalledProcessError):      # the library keeps them to itself
        native.program(top / "other", main, top=top)
    assert subprocess.run([program]).returncode == 3
    rooms = (native.library(top=top) / "rooms.h").read_text()
    assert re.findall(r"==== (\S+) ====", rooms) == ["base/one.h", "base/two.h"]
    assert rooms.count("#if") == rooms.count("#endif") == 1


def test_a_source_that_is_wrong_leaves_nothing(top):
    (top / "zk.c").write_text("wrong\n")
    for _ in range(2):
        with pytest.raises(subprocess.CalledProcessError):
            native.library(top=top)


def test_one_makes_it_for_all(top):
    (top / "hold").touch()
    processes = [begin(top) for _ in range(3)]
    wait_for(lambda: made(top), 20, "a compiler")
    (top / "hold").unlink()
    assert [process.wait(20) for process in processes] == [0, 0, 0]
    assert len(made(top)) == 1


def test_one_that_dies_holds_up_nobody(top):
    (top / "hold").touch()
    dying = begin(top)
    wait_for(lambda: made(top), 20, "a compiler")
    os.kill(dying.pid, signal.SIGKILL)      # the compiler lives on
    dying.wait(20)
    second = begin(top)
    wait_for(lambda: len(made(top)) == 2, 20, "another compiler")
    (top / "hold").unlink()
    assert second.wait(20) == 0
    folder, = (top / "build" / "native").glob("*-*")
    assert sorted(path.name for path in folder.iterdir()) == ["rooms.h", "rooms.o", "zk.o"]
