"""The recipes of the libraries: what programs really build on ZooKeeper."""
import base64

import pytest

from harness.clients import CURATOR, lacks
from harness.servers import wait_for

CONTENDERS = 4


@pytest.fixture
def contender(request, client_kind, connect):
    """Makes contenders for a lock: Java's locks are Curator's."""
    return request.getfixturevalue("curator") if client_kind == "java" else connect


@pytest.fixture
def curators(curator, client_kind):
    """Several Curator clients."""
    if client_kind != "java":
        lacks(client_kind, CURATOR)
    return [curator() for _ in range(CONTENDERS)]


def granted(futures):
    return [index for index, future in enumerate(futures) if future.done()]


def test_lock(zk, contender, root):
    path = f"{root}/lock"
    clients = [contender() for _ in range(CONTENDERS)]
    futures = [client.lock_later(path) for client in clients]
    wait_for(lambda: len(zk.children(path)) == CONTENDERS if zk.exists(path) else None, 15,
             "queue at the lock")
    for number in range(1, CONTENDERS + 1):
        wait_for(lambda: granted(futures), 15, f"{number}. owner")
        assert len(granted(futures)) == 1
        index = granted(futures)[0]
        assert clients[index].result(futures[index]) is True
        # whoever has it is the first in the queue
        assert len(zk.children(path)) == CONTENDERS + 1 - number
        clients[index].unlock(path)
        del futures[index], clients[index]
    assert zk.children(path) == []


def test_lock_of_a_closed_session(zk, contender, root, client_kind):
    path = f"{root}/lock"
    holder, waiter = contender(), contender()
    assert holder.result(holder.lock_later(path)) is True
    future = waiter.lock_later(path)
    wait_for(lambda: len(zk.children(path)) == 2, 15, "queue at the lock")
    assert not future.done()
    if client_kind == "java":
        holder.call("curator_close")
    else:
        holder.close()
    assert waiter.result(future) is True
    waiter.unlock(path)


def test_leader_latch(zk, curators, root):
    path = f"{root}/latch"
    for client in curators:
        client.call("latch_start", path=path)

    def leaders():
        return [client for client in curators if client.call("latch_leads", path=path)]
    for remaining in range(CONTENDERS, 0, -1):
        wait_for(lambda: len(leaders()) == 1, 15, "leader")
        leader = leaders()[0]
        # Curator withdraws a candidate in the background
        wait_for(lambda: len(zk.children(path)) == remaining, 15, f"{remaining} candidates")
        assert all(client.call("latch_leader", path=path) == leader.name for client in curators)
        curators.remove(leader)
        leader.call("latch_close", path=path)
    wait_for(lambda: zk.children(path) == [], 15, "end of the last candidate")


def test_curator_cache(zk, curators, root):
    cache = curators[0]
    zk.create(f"{root}/before", b"0")
    cache.call("cache_start", path=root)
    cache.wait_event(kind="cache", type="node_created", path=f"{root}/before")
    zk.create(f"{root}/a", b"1")
    cache.wait_event(kind="cache", type="node_created", path=f"{root}/a")
    zk.create(f"{root}/a/b", b"2")
    cache.wait_event(kind="cache", type="node_created", path=f"{root}/a/b")
    zk.set(f"{root}/a/b", b"3")
    cache.wait_event(kind="cache", type="node_changed", path=f"{root}/a/b")
    node = cache.call("cache_get", path=root, node=f"{root}/a/b")
    assert (base64.b64decode(node["data"]), node["version"]) == (b"3", 1)
    zk.delete(f"{root}/a/b")
    cache.wait_event(kind="cache", type="node_deleted", path=f"{root}/a/b")
    assert cache.call("cache_get", path=root, node=f"{root}/a/b") is None
    cache.call("cache_close", path=root)
