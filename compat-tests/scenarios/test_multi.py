"""Transactions of several operations: all or nothing, and the result of each operation."""
import pytest

from harness.clients import (BADVERSION, EPHEMERAL, NOAUTH, NOCHILDRENFOREPHEMERALS, NODEEXISTS,
                             NONODE, NOTEMPTY, RUNTIMEINCONSISTENCY, op_check, op_create, op_delete,
                             op_set, refused)


def test_every_operation(zk, root):
    zk.create(f"{root}/set", b"0")
    zk.create(f"{root}/gone")
    zk.create(f"{root}/checked")
    results = zk.multi(op_create(f"{root}/new", b"1"), op_set(f"{root}/set", b"2"),
                       op_delete(f"{root}/gone"), op_check(f"{root}/checked", 0))
    stat = zk.exists(f"{root}/set")
    assert results == [{"op": "create", "path": f"{root}/new"}, {"op": "set", "stat": stat},
                       {"op": "delete"}, {"op": "check"}]
    assert zk.get(f"{root}/new")[0] == b"1"
    assert zk.get(f"{root}/set")[0] == b"2"
    assert zk.children(root) == ["checked", "new", "set"]


def test_all_changes_carry_one_zxid_and_time(zk, root):
    zk.multi(op_create(f"{root}/a"), op_create(f"{root}/b"), op_set(root, b"x"))
    a, b, parent = (zk.exists(path) for path in (f"{root}/a", f"{root}/b", root))
    assert a["czxid"] == b["czxid"] == parent["mzxid"] == parent["pzxid"]
    assert a["ctime"] == b["ctime"] == parent["mtime"]


def test_operations_see_those_before_them(zk, root):
    results = zk.multi(
        op_create(f"{root}/a", b"0"), op_create(f"{root}/a/b"), op_set(f"{root}/a", b"1", 0),
        op_set(f"{root}/a", b"2", 1), op_check(f"{root}/a", 2), op_delete(f"{root}/a/b", 0))
    assert [result["op"] for result in results] == ["create", "create", "set", "set", "check",
                                                    "delete"]
    assert results[3]["stat"]["version"] == 2
    stat = zk.exists(f"{root}/a")
    assert (stat["version"], stat["numChildren"], stat["cversion"]) == (2, 0, 2)


def test_create_and_delete_the_same_node(zk, root):
    zk.multi(op_create(f"{root}/a"), op_delete(f"{root}/a"), op_create(f"{root}/a", b"again"))
    assert zk.get(f"{root}/a")[0] == b"again"
    assert zk.exists(root)["cversion"] == 3


def test_ephemerals(zk, connect, root):
    owner = connect()
    owner.multi(op_create(f"{root}/e", mode=EPHEMERAL), op_create(f"{root}/stays"))
    assert zk.exists(f"{root}/e")["ephemeralOwner"] == owner.session_id
    owner.close()
    zk.sync(root)
    assert zk.children(root) == ["stays"]


@pytest.mark.parametrize("position", range(4))
def test_one_failure_undoes_everything(zk, root, position):
    zk.create(f"{root}/set", b"0")
    zk.create(f"{root}/gone")
    before = zk.exists(root), zk.exists(f"{root}/set"), zk.children(root)
    ops = [op_create(f"{root}/new"), op_set(f"{root}/set", b"1"), op_delete(f"{root}/gone")]
    ops.insert(position, op_check(f"{root}/missing", -1))
    with refused(NONODE) as caught:
        zk.multi(*ops)
    assert [result["err"] for result in caught.value.results] == (
        [0] * position + [NONODE] + [RUNTIMEINCONSISTENCY] * (3 - position))
    assert (zk.exists(root), zk.exists(f"{root}/set"), zk.children(root)) == before


def failures(root):
    return {
        "create existing": (op_create(root), NODEEXISTS),
        "create orphan": (op_create(f"{root}/x/y"), NONODE),
        "create below ephemeral": (op_create(f"{root}/e/x"), NOCHILDRENFOREPHEMERALS),
        "create not allowed": (op_create(f"{root}/closed/x"), NOAUTH),
        "delete missing": (op_delete(f"{root}/x"), NONODE),
        "delete parent": (op_delete(root), NOTEMPTY),
        "delete version": (op_delete(f"{root}/e", 7), BADVERSION),
        "delete not allowed": (op_delete(f"{root}/closed/child"), NOAUTH),
        "set missing": (op_set(f"{root}/x", b""), NONODE),
        "set version": (op_set(root, b"", 7), BADVERSION),
        "set not allowed": (op_set(f"{root}/closed", b""), NOAUTH),
        "check missing": (op_check(f"{root}/x", -1), NONODE),
        "check version": (op_check(root, 7), BADVERSION),
        "check not allowed": (op_check(f"{root}/closed", -1), NOAUTH),
    }


@pytest.mark.parametrize("case", failures("/"))
def test_each_failure(zk, root, case):
    zk.create(f"{root}/e", mode=EPHEMERAL)
    zk.create(f"{root}/closed")
    zk.create(f"{root}/closed/child")
    zk.set_acl(f"{root}/closed", [[0, "world", "anyone"]])
    bad, code = failures(root)[case]
    with refused(code) as caught:
        zk.multi(op_create(f"{root}/first"), bad, op_create(f"{root}/last"))
    assert [result["err"] for result in caught.value.results] == [0, code, RUNTIMEINCONSISTENCY]
    assert zk.children(root) == ["closed", "e"]


def test_the_first_failure_is_told(zk, root):
    with refused(BADVERSION) as caught:
        zk.multi(op_check(root, 0), op_check(root, 1), op_check(f"{root}/x", 0))
    assert [result["err"] for result in caught.value.results] == [0, BADVERSION,
                                                                  RUNTIMEINCONSISTENCY]


def test_a_failed_multi_does_not_disturb_later_operations(zk, root):
    """What a failed multi prepared must not be seen by what comes behind it."""
    zk.create(f"{root}/a", b"0")
    for _ in range(5):
        with refused(NODEEXISTS):
            zk.multi(op_set(f"{root}/a", b"1"), op_create(f"{root}/b"), op_create(root))
        with refused(NONODE):
            zk.delete(f"{root}/b")
    assert zk.set(f"{root}/a", b"2", 0)["version"] == 1


def test_an_empty_multi(zk):
    assert zk.multi() == []


def test_checks_alone(zk, root):
    assert zk.multi(op_check(root, 0), op_check(root, -1)) == [{"op": "check"}] * 2
    assert zk.exists(root)["version"] == 0


def test_a_large_multi(zk, root):
    ops = [op_create(f"{root}/{i:04}", b"x" * 100) for i in range(1000)]
    assert len(zk.multi(*ops)) == 1000
    assert len(zk.children(root)) == 1000
    zk.multi(*[op_delete(f"{root}/{i:04}") for i in range(1000)])
    assert zk.children(root) == []
