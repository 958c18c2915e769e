"""The programs of examples/, compiled as their head comments say, and run."""
import pathlib
import re
import subprocess

import pytest

from harness import native
from harness.servers import ZkdServer, spawn

TOP = pathlib.Path(__file__).resolve().parents[2]
EXAMPLES = TOP / "examples"
PROGRAMS = sorted(path.stem for path in EXAMPLES.glob("*.c"))
TIMEOUT_S = 60


@pytest.fixture(scope="session")
def build(tmp_path_factory):
    made, folder = {}, tmp_path_factory.mktemp("examples")

    def get(name):
        if name not in made:
            made[name] = native.program(folder / name, EXAMPLES / f"{name}.c",
                                        "-Wall", "-Wextra", "-Wpedantic", "-Werror")
        return made[name]
    return get


@pytest.fixture
def server(tmp_path):
    with ZkdServer(tmp_path / "server") as running:
        yield running


def run(*argv, **kwargs):
    done = subprocess.run([str(word) for word in argv], capture_output=True, text=True,
                          timeout=TIMEOUT_S, **kwargs)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


class Running:
    """A program of which lines are awaited."""

    def __init__(self, *argv, **kwargs):
        self.process = spawn([str(word) for word in argv], stdout=subprocess.PIPE, text=True,
                             **kwargs)
        self.lines = []

    def until(self, pattern):
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
            if re.search(pattern, line):
                return line
        raise AssertionError(f"ended without {pattern!r}: {self.lines}")

    def end(self):
        self.lines += self.process.stdout.read().splitlines()
        return self.process.wait(TIMEOUT_S)


@pytest.mark.parametrize("name", PROGRAMS)
def test_it_is_short_and_says_how_to_build_it(name):
    text = (EXAMPLES / f"{name}.c").read_text()
    assert len(text.splitlines()) < 150
    assert f"{name}.c ../zk.c -o {name}" in text


def test_each_is_run():
    mine = pathlib.Path(__file__).read_text()
    others = {"embed_server"}   # by the tests of the daemon
    assert [name for name in PROGRAMS if name not in others and f'build("{name}")' not in mine] == []


def test_get_set(build, server):
    out = run(build("get_set"), server.address)
    assert '/example holds "hello", version 0' in out
    assert "an old version is refused: BADVERSION" in out
    assert sorted(re.findall("child: (.)", out)) == ["a", "b"]
    assert "1000 reads" in out
    assert '/example holds "world", version 1' in run(build("get_set"), server.address)


def test_watch(build, server):
    watch = Running(build("watch"), server.address, "/", "3")
    watch.until("CONNECTED")
    # The watch may be set a moment later than that: changes until it has seen enough.
    queue = build("queue")
    run(queue, server.address, "put", *"abcdefgh")
    watch.until(r"/example-queue/qn-\d+ created, zxid 0x")
    run(queue, server.address, "take", "8")
    watch.until("deleted|created")
    assert watch.end() == 0


def test_lock(build, server):
    first = Running(build("lock"), server.address, "/l", "600")
    second = Running(build("lock"), server.address, "/l", "1")
    # Whoever is first works for ten minutes, unless it is the one that works for a second.
    first.until("owned|waiting")
    first.until("owned")
    first.process.kill()
    second.until("owned")
    second.until("released: OK")
    assert second.end() == 0


def test_leader(build, server):
    one = Running(build("leader"), server.address, "/l", "one", "20")
    one.until("one leads")
    two = Running(build("leader"), server.address, "/l", "two", "2")
    one.until("one resigns: OK")
    two.until("two leads")
    two.until("two resigns: OK")
    assert (one.end(), two.end()) == (0, 0)


def test_queue(build, server):
    taker = Running(build("queue"), server.address, "take", "3")
    put = run(build("queue"), server.address, "put", "a", "b", "c")
    assert put == "put a: OK\nput b: OK\nput c: OK\n"
    assert taker.end() == 0
    assert taker.lines == ["took a", "took b", "took c"]


def test_config(build, server):
    config = Running(build("config"), server.address, "4")
    config.until("all settings are known")
    shell = [TOP / "zkcli", "-server", server.address]
    run(*shell, "create", "/example-config/workers", "7")
    config.until("/example-config/workers = 7")
    run(*shell, "set", "/example-config/workers", "9")
    config.until("/example-config/workers = 9")
    config.until("workers: 9")
    assert config.end() == 0


def test_discovery(build, server):
    web = Running(build("discovery"), server.address, "announce", "web", "10.0.0.1", "8080", "600")
    web.until("announced")
    found = run(build("discovery"), server.address, "find", "web")
    assert re.search(r"web-\d+ at 10.0.0.1:8080\n1 of web", found)
    web.process.kill()


def test_event_loop(build, server):
    out = run(build("event_loop"), server.address, input="one\ntwo\nthree\n")
    assert out.endswith("3 lines written\n")
    assert "now: three" in out
