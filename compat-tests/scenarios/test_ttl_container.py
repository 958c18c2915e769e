"""Nodes that the server removes by itself: containers and nodes with a time to live."""
import time

import pytest

from harness.clients import (BADARGUMENTS, CONTAINER, SEQUENTIAL_TTL, TTL, UNIMPLEMENTED, op_create,
                             refused)
from harness.servers import wait_for

REAP_MS = 200
reaping = pytest.mark.server(config={"extendedTypesEnabled": "true"},
                             props={"znode.container.checkIntervalMs": REAP_MS})
BORN_OLD_MS = 1
LONG_MS = 100_000


def wait_until_gone(zk, path):
    """By polling: a node that lives shortly may be gone before a watch could be set."""
    wait_for(lambda: zk.exists(path) is None, 15, f"end of {path}")


def wait_for_a_reaping(zk, root):
    """Return after the server has looked through its candidates, as a node of no other use that
    is already due shows by vanishing. Twice, for the first pass may have begun before the call."""
    for _ in range(2):
        wait_until_gone(zk, zk.create(f"{root}/due", mode=TTL, ttl=BORN_OLD_MS))


@reaping
def test_an_empty_container_is_removed(zk, root):
    path = zk.create(f"{root}/c", mode=CONTAINER)
    zk.create(f"{path}/child")
    zk.exists(path, watch="w")
    wait_for_a_reaping(zk, root)
    assert zk.exists(path) is not None
    zk.delete(f"{path}/child")
    assert zk.event() == ("w", "deleted", path)


@reaping
def test_a_container_never_used_stays(zk, root):
    path = zk.create(f"{root}/c", mode=CONTAINER)
    wait_for_a_reaping(zk, root)
    assert zk.exists(path) is not None


@reaping
def test_stat_of_a_container(zk, root):
    path = zk.create(f"{root}/c", b"data", mode=CONTAINER)
    stat = zk.exists(path)
    assert (stat["ephemeralOwner"], stat["version"], stat["dataLength"]) == (0, 0, 4)
    assert zk.get(path)[0] == b"data"


@reaping
def test_containers_nest(zk, root):
    zk.create(f"{root}/outer", mode=CONTAINER)
    zk.create(f"{root}/outer/inner", mode=CONTAINER)
    zk.create(f"{root}/outer/inner/x")
    zk.exists(f"{root}/outer", watch="outer")
    zk.delete(f"{root}/outer/inner/x")
    assert zk.event() == ("outer", "deleted", f"{root}/outer")


@reaping
def test_a_ttl_node_is_removed_in_time(zk, root):
    path = zk.create(f"{root}/t", b"data", mode=TTL, ttl=1500)
    stat = zk.exists(path, watch="w")
    assert stat["ephemeralOwner"] == 0
    assert zk.get(path)[0] == b"data"
    assert zk.event() == ("w", "deleted", path)
    assert (time.time() * 1000) - stat["ctime"] > 1500
    gone = zk.exists(root)
    assert (gone["numChildren"], gone["cversion"]) == (0, 2)


@reaping
def test_a_ttl_node_stays_until_its_time(zk, root):
    path = zk.create(f"{root}/t", mode=TTL, ttl=LONG_MS)
    wait_for_a_reaping(zk, root)
    assert zk.exists(path) is not None


@reaping
def test_a_ttl_node_with_children_stays(zk, root):
    path = zk.create(f"{root}/t", mode=TTL, ttl=1500)
    zk.create(f"{path}/child")
    stat = zk.exists(path, watch="w")
    wait_for(lambda: time.time() * 1000 - stat["ctime"] > 1500, 15, "the node's time")
    wait_for_a_reaping(zk, root)
    assert zk.exists(path) is not None
    zk.delete(f"{path}/child")
    assert zk.event() == ("w", "deleted", path)


@reaping
def test_sequential_ttl_nodes(zk, root):
    first = zk.create(f"{root}/t-", mode=SEQUENTIAL_TTL, ttl=LONG_MS)
    second = zk.create(f"{root}/t-", mode=SEQUENTIAL_TTL, ttl=LONG_MS)
    assert [first, second] == [f"{root}/t-0000000000", f"{root}/t-0000000001"]


@reaping
def test_ttl_and_container_in_a_multi(zk, root):
    zk.multi(op_create(f"{root}/t", mode=TTL, ttl=300), op_create(f"{root}/c", mode=CONTAINER))
    wait_until_gone(zk, f"{root}/t")
    zk.create(f"{root}/c/x")
    zk.exists(f"{root}/c", watch="c")
    zk.delete(f"{root}/c/x")
    assert zk.event() == ("c", "deleted", f"{root}/c")


@reaping
@pytest.mark.parametrize("ttl", [0, -5, 1 << 40])
def test_bad_ttls(zk, root, ttl):
    with refused(BADARGUMENTS):
        zk.create(f"{root}/t", mode=TTL, ttl=ttl)


@reaping
def test_the_longest_ttl(zk, root):
    path = zk.create(f"{root}/t", mode=TTL, ttl=(1 << 40) - 1)
    assert zk.exists(path) is not None


def test_ttl_nodes_must_be_enabled(zk, root):
    with refused(UNIMPLEMENTED):
        zk.create(f"{root}/t", mode=TTL, ttl=LONG_MS)


def test_containers_are_always_enabled(zk, root):
    path = zk.create(f"{root}/c", mode=CONTAINER)
    zk.create(f"{path}/child")
    assert zk.children(path) == ["child"]
