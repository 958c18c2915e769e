"""Caches of zk.h: the copy and what is told of it."""
import base64

import pytest

from harness.clients import ALL, READ, ZkError
from harness.servers import wait_for
from losing import ADD_WATCH, GET

SOON_S = 15


def cache(client, path, levels=0):
    client.call("cache_start", path=path, levels=levels)
    client.call("cache_wait", path=path, wait_ms=SOON_S * 1000)
    client.wait_event(SOON_S, kind="cache", type="ready", **{"as": path})
    return client


def node(client, path, at):
    got = client.call("cache_get", path=path, node=at)
    return got and (base64.b64decode(got["data"]), got["version"], sorted(got["children"]))


def told(client, type, path):
    return client.wait_event(SOON_S, kind="cache", type=type, path=path)


def changes(client):
    return [(item["type"], item["path"]) for item in client.history
            if item.get("kind") == "cache"]


def test_a_tree(contend, zk, path):
    zk.create(path, b"root")
    zk.create(f"{path}/a", b"1")
    zk.create(f"{path}/a/b", b"2")
    client = cache(contend(), path)
    assert sorted(changes(client)[:-1]) == [("added", path), ("added", f"{path}/a"),
                                            ("added", f"{path}/a/b")]
    assert changes(client)[-1] == ("ready", path)
    assert node(client, path, path) == (b"root", 0, ["a"])
    zk.create(f"{path}/a/b/c", b"3")
    event = told(client, "added", f"{path}/a/b/c")
    assert base64.b64decode(event["now"]["data"]) == b"3" and event["before"] is None
    zk.set(f"{path}/a/b", b"22")
    event = told(client, "changed", f"{path}/a/b")
    assert (base64.b64decode(event["before"]["data"]),
            base64.b64decode(event["now"]["data"])) == (b"2", b"22")
    assert node(client, path, f"{path}/a/b") == (b"22", 1, ["c"])
    for name in ("/a/b/c", "/a/b", "/a", ""):
        zk.delete(path + name)
        told(client, "removed", path + name)
    assert node(client, path, path) is None
    zk.create(path, b"again")
    wait_for(lambda: node(client, path, path) == (b"again", 0, []), SOON_S, "the new node")


@pytest.mark.parametrize("levels,kept", [(0, 4), (1, 1), (2, 2), (3, 3)])
def test_levels(contend, zk, path, levels, kept):
    paths = [path, f"{path}/1", f"{path}/1/2", f"{path}/1/2/3"]
    client = cache(contend(), path, levels)
    for one in paths:
        zk.create(one, b"x")
    wait_for(lambda: len([c for c in changes(client) if c[0] == "added"]) == kept, SOON_S, "nodes")
    assert [node(client, path, one) is not None for one in paths] == [
        index < kept for index in range(4)]
    other = cache(contend(), path, levels)
    assert sorted(c for c in changes(other) if c[0] == "added") == [
        ("added", one) for one in paths[:kept]]
    zk.set(paths[-1], b"y")
    zk.set(path, b"z")
    told(other, "changed", path)
    assert (("changed", paths[-1]) in changes(other)) == (kept == 4)


def test_the_root(contend, zk, path):
    client = cache(contend(), "/", 2)
    zk.create(path, b"1")
    told(client, "added", path)
    assert path[1:] in node(client, "/", "/")[2]


@pytest.mark.parametrize("no_watch_reset", [False, True])
def test_what_happens_while_it_is_away(contend, losing, zk, path, no_watch_reset):
    zk.create(path)
    for name in ("keeps", "changes", "goes", "returns"):
        zk.create(f"{path}/{name}", b"old")
    zk.create(f"{path}/goes/deep", b"old")
    client = cache(contend(losing.address, no_watch_reset=no_watch_reset), path)
    losing.refuse()
    told(client, "stale", path)
    zk.set(f"{path}/changes", b"new")
    zk.delete(f"{path}/goes/deep")
    zk.delete(f"{path}/goes")
    zk.delete(f"{path}/returns")
    zk.create(f"{path}/returns", b"old")    # version and data as before
    zk.create(f"{path}/comes", b"new")
    before = len(changes(client))
    losing.accept()
    wait_for(lambda: ("ready", path) in changes(client)[before:], SOON_S, "resync")
    assert sorted(changes(client)[before:-1]) == [
        ("added", f"{path}/comes"), ("changed", f"{path}/changes"),
        ("changed", f"{path}/returns"), ("removed", f"{path}/goes"),
        ("removed", f"{path}/goes/deep")]
    assert node(client, path, path)[2] == ["changes", "comes", "keeps", "returns"]
    zk.set(f"{path}/keeps", b"new")         # the watch is there again
    told(client, "changed", f"{path}/keeps")


@pytest.mark.parametrize("before", [False, True], ids=["first", "again"])
def test_a_node_changes_before_it_is_listed(contend, losing, zk, path, before):
    """So that it is read twice; and what is below it must be read all the same."""
    for one in (path, f"{path}/a", f"{path}/a/b"):
        zk.create(one)
    client = contend(losing.address)
    if before:
        cache(client, path)
    losing.hold(GET)
    if before:
        losing.cut()
    else:
        client.call("cache_start", path=path, levels=0)
    assert losing.held.wait(SOON_S)
    zk.set(f"{path}/a", b"new")
    wait_for(lambda: client.call("waiting") == 2, SOON_S, "two reads")
    losing.let_go()
    client.call("cache_wait", path=path, wait_ms=SOON_S * 1000)
    assert node(client, path, f"{path}/a") == (b"new", 1, ["b"])
    assert node(client, path, f"{path}/a/b") is not None
    assert "removed" not in [change[0] for change in changes(client)]


def test_freed_before_its_watch_is_set(contend, losing, server, zk, path):
    zk.create(path)
    client = contend(losing.address)
    losing.hold(ADD_WATCH)
    client.call("cache_start", path=path, levels=0)
    assert losing.held.wait(SOON_S)
    client.call("free", path=path)
    losing.let_go()
    wait_for(lambda: client.call("waiting") == 0, SOON_S, "all replies")
    assert path.encode() not in server.four("wchp")


def test_many_nodes(contend, zk, path):
    zk.create(path)
    for number in range(500):
        zk.create(f"{path}/{number:03}", b"%d" % number)
    client = cache(contend(), path)
    assert node(client, path, path)[2] == [f"{number:03}" for number in range(500)]
    assert node(client, path, f"{path}/321") == (b"321", 0, [])
    for number in range(0, 500, 2):
        zk.delete(f"{path}/{number:03}")
    told(client, "removed", f"{path}/498")
    assert len(node(client, path, path)[2]) == 250


def test_its_end(contend, server, zk, path):
    client = cache(contend(), path)
    other = cache(client, path + "2")
    assert path.encode() in server.four("wchp")
    client.call("free", path=path)
    wait_for(lambda: path.encode() + b"\n" not in server.four("wchp"), SOON_S, "end of the watch")
    zk.create(path + "2")
    told(other, "added", path + "2")
    assert client.call("watches") == 1


def test_the_session_is_closed(contend, zk, path):
    """In the middle of reading: nothing is told to be gone."""
    zk.create(path)
    for number in range(300):
        zk.create(f"{path}/{number}", b"x" * 1000)
    client = contend()
    asked = [client.submit("cache_start", path=path, levels=0), client.submit("close", keep=True)]
    for future in asked:
        client.result(future)
    assert client.wait_event(kind="cache", type="failed", path=path)["error"] == -116
    assert "removed" not in [change[0] for change in changes(client)]
    with pytest.raises(ZkError):
        client.call("cache_wait", path=path)


def test_what_may_not_be_read(contend, zk, path):
    zk.create(path)
    zk.create(f"{path}/secret", b"1", acl=[[ALL - READ, "world", "anyone"]])
    zk.create(f"{path}/open", b"1")
    client = cache(contend(), path)
    assert node(client, path, path)[2] == ["open"]
    zk.call("set_acl", path=f"{path}/secret", acl=[[ALL, "world", "anyone"]], version=-1)
    zk.set(f"{path}/secret", b"2")
    told(client, "added", f"{path}/secret")


def test_in_the_same_order_as_curator(contend, curators, zk, path):
    """Whatever happens, both end up with the same."""
    zk.create(path)
    client, theirs = cache(contend(), path), curators()
    theirs.call("cache_start", path=path)
    for number in range(60):
        one = f"{path}/{number % 7}"
        if zk.exists(one):
            zk.delete(one) if number % 3 == 0 else zk.set(one, b"%d" % number)
        else:
            zk.create(one, b"%d" % number)
    zk.create(f"{path}/end", b"")
    told(client, "added", f"{path}/end")
    theirs.wait_event(kind="cache", type="node_created", path=f"{path}/end")
    for one in [f"{path}/{number}" for number in range(7)]:
        def same():
            ours, curators_ = node(client, path, one), theirs.call("cache_get", path=path, node=one)
            return (ours and ours[:2]) == (curators_ and (base64.b64decode(curators_["data"]),
                                                          curators_["version"]))
        wait_for(same, SOON_S, "the same")
    theirs.call("cache_close", path=path)
