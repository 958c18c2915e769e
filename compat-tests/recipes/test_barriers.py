"""Barriers of zk.h, alone and with those of Curator and kazoo."""
import os
import signal

import pytest

from harness.clients import refused
from harness.servers import wait_for

IN_USE, NOT_OWNED = -1010, -1011
SESSION_MS = 2500
SOON_S = 15
pytestmark = pytest.mark.server(config={"tickTime": 500})   # sessions may be short


def waiting(zk, path, count):
    wait_for(lambda: len(zk.children(path)) == count, SOON_S, f"{count} nodes")


def test_a_barrier(contend, curators, zk, path):
    ours, theirs, other = contend(), curators(), contend()
    assert ours.call("barrier_wait", path=path) is True     # there is none
    for close, open_ in ((ours, theirs), (theirs, ours)):
        close.call("barrier_close", path=path)
        waits = [other.submit("barrier_wait", path=path), theirs.submit("barrier_wait", path=path)]
        wait_for(lambda: other.call("watches") == 1, SOON_S, "watch")
        assert not any(future.done() for future in waits)
        if open_ is theirs:     # whose only thread waits
            zk.delete(path)
        else:
            open_.call("barrier_open", path=path)
        assert [other.result(waits[0]), theirs.result(waits[1])] == [True, True]
    for _ in range(2):
        ours.call("barrier_close", path=f"{path}/deep/er")
    for _ in range(2):
        ours.call("barrier_open", path=f"{path}/deep/er")


def test_a_barrier_with_kazoo(contend, kazoo, zk, path):
    """Whose barrier is the node, and no more."""
    client, theirs = contend(), kazoo()
    client.call("barrier_close", path=path)
    future = theirs.submit("barrier_wait", path=path)
    theirs.call("barrier_close", path=path)     # which is closed already
    assert not future.done()
    client.call("barrier_open", path=path)
    assert theirs.result(future) is True
    theirs.call("barrier_close", path=path)
    future = client.submit("barrier_wait", path=path)
    with refused(IN_USE):
        client.call("barrier_close", path=path)
    zk.set(path, b"something else")     # wakes, but does not open
    assert client.call("barrier_wait", path=path, wait_ms=200, **{"as": "other"}) is False
    assert not future.done()
    assert theirs.call("barrier_open", path=path) is True
    assert client.result(future) is True


def goes_while_broken(client, losing, zk, path):
    zk.create(path)
    future = client.submit("barrier_wait", path=path)
    wait_for(lambda: client.call("watches") == 1, SOON_S, "watch")
    losing.refuse()
    zk.delete(path)
    losing.accept()
    assert client.result(future) is True


def test_a_barrier_goes_while_the_connection_is_broken(contend, losing, zk, path):
    goes_while_broken(contend(losing.address, no_watch_reset=True), losing, zk, path)


def test_freed_after_a_broken_connection(contend, losing, zk, path):
    """The event of the old watch and the answer that sets a new one come together then."""
    client = contend(losing.address)
    goes_while_broken(client, losing, zk, path)
    assert client.call("watches") == 0
    client.call("free", path=path)
    zk.create(path)
    assert client.call("barrier_wait", path=path, wait_ms=200, **{"as": "other"}) is False


def together(clients, op, path, members):
    futures = []
    for number, client in enumerate(clients):
        assert not any(future.done() for future in futures)
        futures.append(client.submit(op, path=path, members=members))
        yield number + 1
    assert [client.result(future) for client, future in zip(clients, futures)] == [
        True] * len(clients)


@pytest.mark.parametrize("with_curator", [False, True])
def test_a_double_barrier(contend, curators, zk, path, with_curator):
    clients = [contend(), contend(), curators() if with_curator else contend()]
    for _ in range(2):
        for number in together(clients, "double_enter", path, 3):
            if number < 3:
                wait_for(lambda: zk.exists(path), SOON_S, "the barrier")
                waiting(zk, path, number)
        waiting(zk, path, 4)
        assert "ready" in zk.children(path)
        for _ in together(clients, "double_leave", path, 3):
            pass
        wait_for(lambda: not zk.exists(path) or zk.children(path) == [], SOON_S, "nothing")


def test_a_double_barrier_with_kazoo(contend, kazoo, zk, path):
    ours, theirs = contend(), kazoo()
    for _ in range(2):
        future = theirs.submit("double_enter", path=path, members=2)
        assert ours.call("double_enter", path=path, members=2) is True
        assert theirs.result(future) is True
        future = theirs.submit("double_leave", path=path, members=2)
        assert ours.call("double_leave", path=path, members=2) is True
        assert theirs.result(future) is True


def test_entering_takes_too_long(contend, zk, path):
    client, other = contend(), contend()
    assert client.call("double_enter", path=path, members=2, wait_ms=300) is False
    waiting(zk, path, 0)
    with refused(NOT_OWNED):
        client.call("double_leave", path=path, members=2)
    future = client.submit("double_enter", path=path, members=2)
    assert other.call("double_enter", path=path, members=2) is True
    assert client.result(future) is True
    with refused(IN_USE):
        client.call("double_enter", path=path, members=2)
    assert client.call("double_leave", path=path, members=2, wait_ms=300) is False
    other.call("free", path=path)   # leaves the hard way
    assert client.call("double_leave", path=path, members=2) in (True, None)
    wait_for(lambda: not zk.exists(path) or zk.children(path) == [], SOON_S, "nothing")


def test_a_member_dies(contend, zk, path):
    victim, client = contend(timeout_ms=SESSION_MS), contend()
    future = victim.submit("double_enter", path=path, members=2)
    assert client.call("double_enter", path=path, members=2) is True
    assert victim.result(future) is True
    future = client.submit("double_leave", path=path, members=2)
    os.kill(victim.driver.process.pid, signal.SIGKILL)
    assert client.result(future) is True


def test_a_member_stands_still(contend, zk, path):
    """Its session ends while it waits: it enters again."""
    sleeper, client = contend(timeout_ms=SESSION_MS), contend()
    future = sleeper.submit("double_enter", path=path, members=2)
    wait_for(lambda: zk.exists(path), SOON_S, "the barrier")
    waiting(zk, path, 1)
    os.kill(sleeper.driver.process.pid, signal.SIGSTOP)
    waiting(zk, path, 0)
    os.kill(sleeper.driver.process.pid, signal.SIGCONT)
    waiting(zk, path, 1)
    assert client.call("double_enter", path=path, members=2) is True
    assert sleeper.result(future) is True
