"""Contenders: clients of the recipes of zk.h, in processes of their own.

ZK_CLIENT_CFLAGS builds the program otherwise, e.g. with -fsanitize=thread. ZK_SOURCE names another
directory with zk.c and zk.h.
"""
import os
import threading
from pathlib import Path

from harness import cache, clients, native


def source_tree() -> Path:
    return Path(os.environ.get("ZK_SOURCE") or cache.TESTS.parent)


def flags():
    words = os.environ.get("ZK_CLIENT_CFLAGS")
    return native.ASAN if words is None else words.split()


def program(folder, name, *linking) -> Path:
    """One of the programs beside this file, made in the folder."""
    jansson = cache.jansson()
    return native.program(folder / name, Path(__file__).with_name(f"{name}.c"), "-D_GNU_SOURCE",
                          "-Wall", "-Wextra", "-Werror", f"-I{jansson}/include",
                          jansson / "lib" / "libjansson.a", *linking,
                          flags=flags(), top=source_tree())


class Contender(clients.Driver):
    """A process. It ends by itself at the end of its input, so that what sanitizers find counts."""

    def __init__(self, path):
        super().__init__("c", [path])

    @property
    def process(self):
        return self._process

    def end(self):
        if self._process.poll() is None:
            self._process.stdin.close()
            self._process.wait(clients.CALL_TIMEOUT_S)
        status = self._process.returncode
        clients.reap(self._process)
        assert status in (0, -9), f"the contender ended with {status}"


class Exclusive:
    """What only one may do at a time: checked here, where all contenders are driven from, and by
    the version of a node."""

    def __init__(self, zk, path):
        self.zk, self.path = zk, zk.create(path, b"0")
        self.lock = threading.Lock()
        self.count = 0

    def work(self):
        assert self.lock.acquire(blocking=False), "two owners"
        value, stat = self.zk.get(self.path)
        assert int(value) == self.count
        self.zk.set(self.path, b"%d" % (self.count + 1), stat["version"])
        self.count += 1
        self.lock.release()


def contention(exclusive, contenders, total):
    """All contend until the work was done so often; each contender is (acquire, release)."""
    problems = []

    def run(take, give):
        try:
            while exclusive.count < total and not problems:
                assert take() is True
                exclusive.work()
                give()
        except BaseException as problem:
            problems.append(problem)
    threads = [threading.Thread(target=run, args=one) for one in contenders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if problems:
        raise problems[0]
    assert total <= exclusive.count < total + len(contenders)
