"""One lock for processes of zk.h, of Curator and of kazoo: a thousand acquisitions, while owners
are killed, and stand still until their sessions have ended."""
import os
import signal

import pytest

from contending import Exclusive, contention
from harness import clients
from harness.clients import ZkError
from harness.servers import wait_for

TOTAL = 1000
SESSION_MS = 2500
SOON_S = 20
DIES, SLEEPS = 8, 20    # at which acquisition of its own


class Contestant:
    """A client in a process of its own, which dies once and stands still once, while it owns."""

    def __init__(self, connect, work, path, **args):
        self.connect, self.work, self.path, self.args = connect, work, path, args
        self.client, self.rounds, self.tokens = connect(), 0, []

    def signal(self, number):
        os.kill(self.client.driver._process.pid, number)

    def take(self):
        return self.client.call("lock_acquire", path=self.path, wait_ms=60000, **self.args)

    def give(self):
        self.rounds += 1
        if self.client.kind == "c":
            self.tokens.append(self.client.call("lock_token", path=self.path))
        if self.rounds == DIES:
            self.signal(signal.SIGKILL)
            self.client = self.connect()
        elif self.rounds == SLEEPS:
            self.sleep()
        else:
            self.client.unlock(self.path)

    def sleep(self):
        """The others work on in the meantime."""
        zk = self.work.zk
        node = min(zk.children(self.path), key=lambda name: name[-10:])
        self.signal(signal.SIGSTOP)
        wait_for(lambda: not zk.exists(f"{self.path}/{node}"), SOON_S, "the end of its session")
        self.signal(signal.SIGCONT)
        if self.client.kind == "c":     # which knows, and says so
            assert self.client.call("lock_token", path=self.path) == 0
            self.client.wait_event(SOON_S, kind="hold", hold="lost", **{"as": self.path})
        try:
            self.client.unlock(self.path)
        except ZkError:
            pass    # the others may complain about the session that they have lost
        wait_for(self.lives, SOON_S, "its next session")

    def lives(self):
        """Whether it can do something again: take a lock that nobody wants."""
        try:
            if not self.client.call("lock_acquire", path=f"{self.path}-other", wait_ms=5000,
                                    **self.args):
                return False
            self.client.unlock(f"{self.path}-other")
            return True
        except ZkError:
            return False


@pytest.fixture
def processes(server, contenders):
    """Makes clients in processes of their own, by the library."""
    drivers = []

    def start(kind):
        drivers.append(clients.start(kind))
        return drivers[-1]

    def ours():
        return contenders().connect(server.address, timeout_ms=SESSION_MS)

    def kazoo():
        return start("kazoo").connect(server.address, timeout_ms=SESSION_MS)

    def curator():
        client = start("java").new_client()
        client.call("curator_connect", hosts=server.address, timeout_ms=SESSION_MS)
        return client
    yield {"c": ours, "kazoo": kazoo, "curator": curator}
    for driver in drivers:
        driver.close()


@pytest.mark.timeout(300)
@pytest.mark.server(config={"tickTime": 500})
def test_a_thousand_acquisitions(processes, zk, path):
    work = Exclusive(zk, f"{path}-work")
    everyone = [Contestant(processes["c"], work, path),
                Contestant(processes["curator"], work, path),
                Contestant(processes["kazoo"], work, path, curator=True)]
    contention(work, [(one.take, one.give) for one in everyone], TOTAL)
    assert min(one.rounds for one in everyone) >= SLEEPS
    ours = everyone[0].tokens
    assert ours == sorted(set(ours)) and ours[0] > 0
    wait_for(lambda: zk.children(path) == [], SOON_S, "empty line")
