"""Nodes: create, read, change, delete, and every field of their stat."""
import time

import pytest

from harness.clients import (ALL, BADARGUMENTS, BADVERSION, EPHEMERAL, NODEEXISTS, NONODE, NOTEMPTY,
                             WIRE_ORDER, refused)


def test_create_get_set_delete(zk, root):
    path = f"{root}/a"
    assert zk.create(path, b"one") == path
    assert zk.get(path)[0] == b"one"
    zk.set(path, b"two")
    assert zk.get(path)[0] == b"two"
    zk.delete(path)
    assert zk.exists(path) is None


def test_stat_of_a_new_node(zk, root):
    before = time.time() * 1000
    path = zk.create(f"{root}/a", b"12345")
    after = time.time() * 1000
    stat = zk.exists(path)
    assert stat["czxid"] == stat["mzxid"] == stat["pzxid"] > zk.exists(root)["czxid"]
    assert stat["ctime"] == stat["mtime"]
    assert before - 1 <= stat["ctime"] <= after
    rest = {key: stat[key] for key in ("version", "cversion", "aversion", "ephemeralOwner",
                                       "dataLength", "numChildren")}
    assert rest == {"version": 0, "cversion": 0, "aversion": 0, "ephemeralOwner": 0,
                    "dataLength": 5, "numChildren": 0}


def test_create_returns_the_stat(zk, root):
    path, stat = zk.create2(f"{root}/a", b"12345")
    assert path == f"{root}/a"
    assert stat == zk.exists(path)
    path, stat = zk.create2(f"{root}/e", b"", EPHEMERAL)
    assert stat["ephemeralOwner"] == zk.session_id
    assert stat == zk.exists(path)


def test_every_read_gives_the_same_stat(zk, root):
    path = zk.create(f"{root}/a", b"x")
    stat = zk.exists(path)
    assert zk.get(path)[1] == stat
    assert zk.get_acl(path)[1] == stat
    assert zk.call("children", path=path)["stat"] == stat


def test_set_changes_data_fields_only(zk, root):
    path = zk.create(f"{root}/a", b"x")
    old = zk.exists(path)
    new = zk.set(path, b"longer")
    assert new == zk.exists(path)
    assert new["mzxid"] > old["mzxid"]
    assert new["mtime"] >= old["mtime"]
    assert (new["version"], new["dataLength"]) == (1, 6)
    for field in ("czxid", "ctime", "pzxid", "cversion", "aversion", "numChildren"):
        assert new[field] == old[field]


def test_children_change_child_fields_of_the_parent_only(zk, root):
    path = zk.create(f"{root}/a", b"x")
    old = zk.exists(path)
    zk.create(f"{path}/1")
    zk.create(f"{path}/2")
    two = zk.exists(path)
    assert (two["cversion"], two["numChildren"]) == (2, 2)
    assert two["pzxid"] == zk.exists(f"{path}/2")["czxid"]
    zk.delete(f"{path}/1")
    one = zk.exists(path)
    assert (one["cversion"], one["numChildren"]) == (3, 1)
    assert one["pzxid"] > two["pzxid"]
    zk.set(f"{path}/2", b"y")
    assert zk.exists(path) == one
    for field in ("czxid", "mzxid", "ctime", "mtime", "version", "aversion", "dataLength"):
        assert one[field] == old[field]


def test_grandchildren_do_not_change_a_node(zk, root):
    zk.create(f"{root}/a")
    stat = zk.exists(root)
    zk.create(f"{root}/a/b")
    assert zk.exists(root) == stat


def test_set_acl_changes_aversion_only(zk, root):
    path = zk.create(f"{root}/a", b"x")
    old = zk.exists(path)
    new = zk.set_acl(path, [[ALL, "world", "anyone"]])
    assert new == {**old, "aversion": 1}
    assert zk.exists(path) == new


def test_null_and_empty_data_differ(zk, root):
    none = zk.create(f"{root}/none", None)
    empty = zk.create(f"{root}/empty", b"")
    assert zk.get(none)[0] is None
    assert zk.get(empty)[0] == b""
    assert zk.exists(none)["dataLength"] == zk.exists(empty)["dataLength"] == 0


@pytest.mark.parametrize("data", [b"\0", bytes(range(256)), b"x" * 100_000],
                         ids=["nul", "all bytes", "large"])
def test_data_is_kept_as_it_is(zk, root, data):
    path = zk.create(f"{root}/a", data)
    got, stat = zk.get(path)
    assert got == data
    assert stat["dataLength"] == len(data)
    zk.set(path, data[::-1])
    assert zk.get(path)[0] == data[::-1]


def test_create_refusals(zk, root):
    with refused(NODEEXISTS):
        zk.create(root)
    with refused(NONODE):
        zk.create(f"{root}/missing/child")
    with refused(NODEEXISTS):
        zk.create("/")


def test_missing_node(zk, root):
    path = f"{root}/missing"
    assert zk.exists(path) is None
    for call in (lambda: zk.get(path), lambda: zk.set(path, b""), lambda: zk.delete(path),
                 lambda: zk.children(path), lambda: zk.get_acl(path),
                 lambda: zk.set_acl(path, [[ALL, "world", "anyone"]])):
        with refused(NONODE):
            call()


def test_delete_refusals(zk, root):
    zk.create(f"{root}/a")
    with refused(NOTEMPTY):
        zk.delete(root)
    with refused(BADVERSION):
        zk.delete(f"{root}/a", version=1)
    zk.delete(f"{root}/a", version=0)
    zk.delete(root)
    assert zk.exists(root) is None


def test_versions(zk, root):
    path = zk.create(f"{root}/a", b"0")
    with refused(BADVERSION):
        zk.set(path, b"x", version=1)
    for version in range(3):
        assert zk.set(path, b"x", version=version)["version"] == version + 1
    assert zk.set(path, b"x", version=-1)["version"] == 4
    with refused(BADVERSION):
        zk.set(path, b"x", version=3)
    with refused(BADVERSION):
        zk.set_acl(path, [[ALL, "world", "anyone"]], version=1)
    assert zk.set_acl(path, [[ALL, "world", "anyone"]], version=0)["aversion"] == 1
    # each kind of change counts for itself
    assert zk.exists(path)["version"] == 4


def test_versions_start_again_with_a_new_node(zk, root):
    path = zk.create(f"{root}/a")
    zk.set(path, b"x")
    old = zk.exists(path)
    zk.delete(path)
    zk.create(path)
    assert zk.exists(path)["version"] == 0
    assert zk.exists(path)["czxid"] > old["mzxid"]


def test_children(zk, root):
    assert zk.children(root) == []
    names = sorted(f"n{i}" for i in range(50))
    for name in names:
        zk.create(f"{root}/{name}")
    assert zk.children(root) == names
    zk.create(f"{root}/n0/deeper")
    assert zk.children(root) == names


def test_all_children_number(zk, root):
    assert zk.all_children_number(root) == 0
    for path in ("a", "a/b", "a/b/c", "d"):
        zk.create(f"{root}/{path}")
    assert zk.all_children_number(root) == 4
    assert zk.all_children_number(f"{root}/a") == 2
    with refused(NONODE):
        zk.all_children_number(f"{root}/x")


def test_sync(zk, root):
    zk.sync(root)
    zk.sync(f"{root}/missing")


def test_special_nodes(zk):
    assert "zookeeper" in zk.children("/")
    assert set(zk.children("/zookeeper")) == {"config", "quota"}
    for path in ("/zookeeper", "/zookeeper/quota", "/zookeeper/config"):
        with refused(BADARGUMENTS):
            zk.delete(path)


def test_another_client_sees_what_was_written(zk, connect, root):
    other = connect()
    for number in range(20):
        zk.set(root, str(number))
        other.sync(root)
        assert other.get(root)[0] == str(number).encode()


def test_many_children(zk, root):
    futures = [zk.submit("create", path=f"{root}/node-{i:05}", data=None, mode=0,
                         acl=[[ALL, "world", "anyone"]]) for i in range(2000)]
    for future in futures:
        zk.result(future)
    assert zk.children(root) == [f"node-{i:05}" for i in range(2000)]
    assert zk.exists(root)["numChildren"] == 2000


def test_pipelined_requests_are_answered_in_order(zk, root):
    zk.needs(WIRE_ORDER)
    sets = []
    gets = []
    for number in range(500):
        sets.append(zk.submit("set", path=root, data=None, version=number))
        gets.append(zk.submit("get", path=root))
    for number in range(500):
        assert zk.result(sets[number])["stat"]["version"] == number + 1
        assert zk.result(gets[number])["stat"]["version"] == number + 1
