"""What zk.h promises of the client: case by case under the sanitizers, against servers that lie,
and without memory."""
import os
import pathlib
import random
import socket
import struct
import subprocess
import threading

import pytest

from harness import native
from harness.native import ASAN, POLL, TSAN
from harness.servers import ZkdServer

HERE = pathlib.Path(__file__).resolve().parent
BUILDS = {"asan": ASAN, "tsan": TSAN, "poll": (*ASAN, *POLL), "poll-tsan": (*TSAN, *POLL)}
# Programs of cases, and how many cases, at least.
PROGRAMS = {"client_test": 25, "puppet_test": 26, "inner_test": 2}
TIMEOUT_S = 100


def run(*argv, **env):
    return subprocess.run([str(word) for word in argv], capture_output=True, text=True,
                          timeout=TIMEOUT_S, env={**os.environ, **env})


# --- cases ---------------------------------------------------------------------------------------

@pytest.mark.parametrize("kind", BUILDS)
@pytest.mark.parametrize("name", PROGRAMS)
def test_every_case(name, kind, tmp_path):
    program = native.program(tmp_path / name, HERE / f"{name}.c", flags=BUILDS[kind],
                             within=name == "inner_test")
    cases = run(program, "--list").stdout.split()
    assert len(cases) >= PROGRAMS[name]
    for case in cases:
        done = run(program, case, tmp_path / case)
        assert (done.returncode, done.stdout) == (0, "ok\n"), f"{case}: {done.stderr[-3000:]}"
        assert "WARNING: ThreadSanitizer" not in done.stderr


# --- servers that lie ----------------------------------------------------------------------------

WELCOME = struct.pack(">iiqi", 0, 1000, 77, 16) + bytes(16) + b"\0"


def frame(body):
    return struct.pack(">i", len(body)) + body


def header(xid, zxid=1, error=0):
    return struct.pack(">iqi", xid, zxid, error)


class Liar:
    """A server whose answer to the n-th frame of a connection is what `say` makes of it."""

    def __init__(self, say):
        self.say = say
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        stream = connection.makefile("rb")
        try:
            for number in range(1 << 30):
                length = stream.read(4)
                if len(length) < 4:
                    return
                request = stream.read(struct.unpack(">i", length)[0])
                answer = self.say(number, request)
                if answer is None:
                    connection.close()
                    return
                connection.sendall(answer)
        except OSError:
            pass

    def close(self):
        self.listener.close()


def xid_of(request):
    return struct.unpack(">i", request[:4])[0]


def after_welcome(answer):
    return lambda number, request: frame(WELCOME) if number == 0 else answer(request)


STAT = bytes(68)
LIES = {
    "hangs up": lambda number, request: None,
    "hangs up later": after_welcome(lambda request: None),
    "no frame": lambda number, request: b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "short welcome": lambda number, request: frame(WELCOME[:7]),
    "no session": lambda number, request: frame(struct.pack(">iiqi", 0, 0, 0, 16) + bytes(17)),
    "negative length": after_welcome(lambda request: struct.pack(">i", -1)),
    "huge length": after_welcome(lambda request: struct.pack(">i", 0x7fffffff)),
    "endless frame": after_welcome(lambda request: struct.pack(">i", 0xffffe) + bytes(1000)),
    "short header": after_welcome(lambda request: frame(b"\0" * 9)),
    "wrong number": after_welcome(lambda request: frame(header(xid_of(request) + 1000))),
    "twice": after_welcome(lambda request: 2 * frame(header(xid_of(request), error=-101))),
    "no body": after_welcome(lambda request: frame(header(xid_of(request)))),
    "counts that lie": after_welcome(
        lambda request: frame(header(xid_of(request)) + struct.pack(">ii", 0x7fffffff, 0x7ffffff))),
    "negative counts": after_welcome(
        lambda request: frame(header(xid_of(request)) + struct.pack(">ii", -2, -7) + STAT)),
    "endless multi": after_welcome(
        lambda request: frame(header(xid_of(request)) + struct.pack(">ibi", 2, 0, 0) * 20000)),
    "events for nobody": after_welcome(
        lambda request: frame(header(-1) + struct.pack(">iii", 1, 3, 5) + b"/none")
        + frame(header(xid_of(request), error=-101))),
    "events that lie": after_welcome(
        lambda request: frame(header(-1) + struct.pack(">iii", 77, 3, 0x7fffffff) + b"/a")),
    "event with a zero": after_welcome(
        lambda request: frame(header(-1) + struct.pack(">iii", 1, 3, 3) + b"/\0a")),
    "auth that nobody asked": after_welcome(lambda request: frame(header(-4))),
    "a flood": after_welcome(
        lambda request: frame(header(-1) + struct.pack(">iii", 3, 3, 2) + b"/a") * 5000),
}


@pytest.fixture(scope="session")
def hostile(tmp_path_factory):
    return native.program(tmp_path_factory.mktemp("client") / "hostile", HERE / "hostile.c",
                          flags=ASAN, within=True)


@pytest.mark.parametrize("lie", LIES)
def test_a_server_that_lies(lie, hostile):
    liar = Liar(LIES[lie])
    done = run(hostile, liar.address, 12)
    liar.close()
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.strip() != "OK"


def test_a_server_that_says_anything(hostile):
    rng = random.Random(5)

    def say(number, request):
        good = frame(WELCOME) if number == 0 else frame(header(xid_of(request))
                                                        + rng.randbytes(rng.randrange(200)))
        return good if rng.random() < 0.8 else rng.randbytes(rng.randrange(1, 300))
    liar = Liar(say)
    done = run(hostile, liar.address, 60)
    liar.close()
    assert done.returncode == 0, done.stderr[-3000:]


# --- no memory -----------------------------------------------------------------------------------

def test_without_memory(hostile, tmp_path):
    """Every n-th allocation fails, for many n: errors, and nothing worse."""
    ends = set()
    with ZkdServer(tmp_path / "server", config={"minSessionTimeout": 500}) as server:
        for every in [*range(2, 30), 37, 53, 101, 499]:
            done = run(hostile, server.address, 40, FAIL_EVERY=str(every))
            assert done.returncode in (0, 1), f"one in {every}: {done.stderr[-3000:]}"
            assert "Sanitizer" not in done.stderr, done.stderr[-3000:]
            ends.add(done.stdout.strip())
        done = run(hostile, server.address, 40)
        assert done.stdout == "OK\n"
    assert "OUT_OF_MEMORY" in ends
