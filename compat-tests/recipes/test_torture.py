"""Memory that cannot be had, at every allocation in turn: recipes answer with an error, leave
nothing behind, and work afterwards."""
import subprocess

import pytest

from contending import program
from harness.servers import wait_for


@pytest.fixture(scope="session")
def torture(tmp_path_factory):
    return program(tmp_path_factory.mktemp("torture"), "torture",
                   "-Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("what", ["lock", "lease", "leader", "barrier", "queue", "counter",
                                  "cache", "member", "service"])
def test_no_memory(torture, server, kazoo, path, what):
    zk = kazoo()
    zk.create(path)
    done = subprocess.run([torture, server.address, path, what], capture_output=True, text=True,
                          timeout=240)
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-4000:]
    failures = int(done.stdout.split()[0])
    assert failures > 5, done.stdout

    def ephemerals(at):
        for name in zk.children(at):
            if zk.exists(f"{at}/{name}")["ephemeralOwner"]:
                yield f"{at}/{name}"
            else:
                yield from ephemerals(f"{at}/{name}")
    wait_for(lambda: list(ephemerals(path)) == [], 15, "end of all nodes")
