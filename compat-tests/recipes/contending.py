"""Contenders: clients of the recipes of zk.h, in processes of their own.

ZK_CLIENT_CFLAGS builds the program otherwise, e.g. with -fsanitize=thread. ZK_SOURCE names another
directory with zk.c and zk.h.
"""
import os
from pathlib import Path

from harness import cache, clients

SANITIZED = ("-O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined "
             "-fno-sanitize-recover=all")


def source_tree() -> Path:
    return Path(os.environ.get("ZK_SOURCE") or cache.TESTS.parent)


def program(flags) -> Path:
    source = Path(__file__).with_name("contender.c")
    top, library = source_tree(), cache.jansson()

    def build(work):
        cache._run("contender", [
            "cc", "-std=c11", "-D_GNU_SOURCE", "-DZK_WITH_SERVER=0", "-Wall", "-Wextra", "-Werror",
            *flags.split(), "-pthread", f"-I{top}", f"-I{library}/include", source, top / "zk.c",
            library / "lib" / "libjansson.a", "-o", work / "contender"])
    return cache._piece("contender", [source, top / "zk.c", top / "zk.h"], build,
                        flags) / "contender"


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
