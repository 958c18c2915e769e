"""Leaders of zk.h, alone and with Curator's LeaderLatch and LeaderSelector."""
import os
import signal

import pytest

from harness.clients import NOAUTH, READ, refused
from harness.servers import wait_for

NOT_OWNED = -1011
SESSION_MS = 2500
SOON_S = 15
pytestmark = pytest.mark.server(config={"tickTime": 500})   # sessions may be short


def leaders(clients, path):
    return [client for client in clients if client.call("latch_leads", path=path)]


def one_leader(clients, path):
    wait_for(lambda: len(leaders(clients, path)) == 1, SOON_S, "leader")
    return leaders(clients, path)[0]


def test_with_curators_latch(contend, curators, zk, path):
    everyone = [contend(), curators(), contend(), curators()]
    for number, client in enumerate(everyone):
        client.call("latch_start", path=path)
        wait_for(lambda: zk.exists(path) and len(zk.children(path)) == number + 1, SOON_S, "place")
    for name in zk.children(path):
        assert "-latch-" in name and zk.get(f"{path}/{name}")[0].decode() in [
            client.name for client in everyone]
    while everyone:
        leader = one_leader(everyone, path)
        assert all(client.call("latch_leader", path=path) == leader.name for client in everyone)
        everyone.remove(leader)
        leader.call("latch_close", path=path)
        wait_for(lambda: len(zk.children(path)) == len(everyone), SOON_S, "one fewer")


def test_with_curators_selector(contend, curators, zk, path):
    ours, theirs = contend(), curators()
    ours.call("latch_start", path=path, selector=True)
    assert ours.call("latch_wait", path=path, wait_ms=SOON_S * 1000) is True
    theirs.call("selector_start", path=path)
    for _ in range(3):
        wait_for(lambda: len(zk.children(path)) == 2, SOON_S, "place")
        assert theirs.call("selector_leader", path=path) == ours.name
        assert theirs.call("selector_leads", path=path) is False
        ours.call("latch_resign", path=path)
        wait_for(lambda: theirs.call("selector_leads", path=path), SOON_S, "their turn")
        assert ours.call("latch_leads", path=path) is False
        assert ours.call("latch_leader", path=path) == theirs.name
        theirs.call("selector_resign", path=path)
        assert ours.call("latch_wait", path=path, wait_ms=SOON_S * 1000) is True
    theirs.call("selector_close", path=path)


def test_it_excludes_mutexes(contend, path):
    ours, other = contend(), contend()
    ours.call("latch_start", path=path, selector=True)
    assert ours.call("latch_wait", path=path, wait_ms=SOON_S * 1000) is True
    assert other.call("lock_try", path=path) is False


@pytest.mark.timeout(120)
def test_leaders_die(contend, path):
    everyone = [contend(timeout_ms=SESSION_MS) for _ in range(3)]
    for client in everyone:
        client.call("latch_start", path=path)
    while everyone:
        leader = one_leader(everyone, path)
        everyone.remove(leader)
        os.kill(leader.driver.process.pid, signal.SIGKILL)


def test_a_leader_stands_still(contend, zk, path):
    sleeper, other = contend(timeout_ms=SESSION_MS), contend()
    sleeper.call("latch_start", path=path)
    assert sleeper.call("latch_wait", path=path) is True
    other.call("latch_start", path=path)
    wait_for(lambda: len(zk.children(path)) == 2, SOON_S, "place")
    os.kill(sleeper.driver.process.pid, signal.SIGSTOP)
    asked = sleeper.submit("latch_leads", path=path)
    assert other.call("latch_wait", path=path, wait_ms=SOON_S * 1000) is True
    os.kill(sleeper.driver.process.pid, signal.SIGCONT)
    assert sleeper.result(asked) is False
    sleeper.wait_event(SOON_S, kind="hold", hold="lost")
    wait_for(lambda: len(zk.children(path)) == 2, SOON_S, "place of its new session")
    other.call("latch_close", path=path)
    assert sleeper.call("latch_wait", path=path, wait_ms=SOON_S * 1000) is True


def test_the_connection_breaks(contend, losing, zk, path):
    client = contend(losing.address)
    client.call("latch_start", path=path)
    assert client.call("latch_wait", path=path) is True
    names = zk.children(path)
    losing.refuse()
    client.wait_event(SOON_S, kind="hold", hold="suspended")
    assert client.call("latch_leads", path=path) is False
    losing.accept()
    assert one_leader([client], path) and zk.children(path) == names


def test_without_a_leader(contend, zk, path):
    client = contend()
    zk.create(path, acl=[[READ, "world", "anyone"]])
    client.call("latch_start", path=path)
    with refused(NOAUTH):
        client.call("latch_wait", path=path)
    with refused(-101):
        client.call("latch_leader", path=path)
    with refused(NOT_OWNED):
        client.call("latch_resign", path=path)


def test_waiting_takes_too_long(contend, path):
    leader, other = contend(), contend()
    for client in (leader, other):
        client.call("latch_start", path=path)
        client.call("latch_wait", path=path, wait_ms=200)
    assert leader.call("latch_wait", path=path, wait_ms=200) is True
    assert other.call("latch_wait", path=path, wait_ms=200) is False
