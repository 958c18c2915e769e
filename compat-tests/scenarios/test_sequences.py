"""Sequential nodes: the number comes from the parent's count of creates."""
import pytest

from harness.clients import (EPHEMERAL_SEQUENTIAL, NODEEXISTS, OPEN, SEQUENTIAL, op_create,
                             refused)


def number(path):
    return int(path[-10:])


def test_numbers_and_names(zk, root):
    assert zk.create(f"{root}/n-", mode=SEQUENTIAL) == f"{root}/n-0000000000"
    assert zk.create(f"{root}/n-", mode=SEQUENTIAL) == f"{root}/n-0000000001"
    # one counter for all names and both kinds
    assert zk.create(f"{root}/m", mode=SEQUENTIAL) == f"{root}/m0000000002"
    assert zk.create(f"{root}/e-", mode=EPHEMERAL_SEQUENTIAL) == f"{root}/e-0000000003"
    assert zk.create(f"{root}/", mode=SEQUENTIAL) == f"{root}/0000000004"


def test_numbers_go_on_after_deletes(zk, root):
    for expected in range(3):
        path = zk.create(f"{root}/n-", mode=SEQUENTIAL)
        assert number(path) == expected
        zk.delete(path)


def test_a_plain_create_takes_a_number(zk, root):
    assert number(zk.create(f"{root}/n-", mode=SEQUENTIAL)) == 0
    zk.create(f"{root}/plain")
    assert number(zk.create(f"{root}/n-", mode=SEQUENTIAL)) == 2


def test_a_failed_create_takes_no_number(zk, root):
    zk.create(f"{root}/n-", mode=SEQUENTIAL)
    with refused(NODEEXISTS):
        zk.create(f"{root}/n-0000000000")
    assert number(zk.create(f"{root}/n-", mode=SEQUENTIAL)) == 1


def test_the_next_name_may_be_taken(zk, root):
    zk.create(f"{root}/n-0000000001")
    with refused(NODEEXISTS):
        zk.create(f"{root}/n-", mode=SEQUENTIAL)


def test_a_failed_multi_takes_no_number(zk, root):
    zk.create(f"{root}/n-", mode=SEQUENTIAL)
    for _ in range(3):
        with refused(NODEEXISTS):
            zk.multi(op_create(f"{root}/n-", mode=SEQUENTIAL),
                     op_create(f"{root}/n-", mode=SEQUENTIAL), op_create(root))
    assert number(zk.create(f"{root}/n-", mode=SEQUENTIAL)) == 1


def test_numbers_inside_a_multi(zk, root):
    results = zk.multi(op_create(f"{root}/a-", mode=SEQUENTIAL), op_create(f"{root}/plain"),
                       op_create(f"{root}/b-", mode=EPHEMERAL_SEQUENTIAL))
    assert [result["path"] for result in results] == [
        f"{root}/a-0000000000", f"{root}/plain", f"{root}/b-0000000002"]


def test_numbers_of_each_parent(zk, root):
    for parent in ("a", "b"):
        zk.create(f"{root}/{parent}")
        assert number(zk.create(f"{root}/{parent}/n-", mode=SEQUENTIAL)) == 0
    # root itself got two children
    assert number(zk.create(f"{root}/n-", mode=SEQUENTIAL)) == 2


def test_concurrent_creators_get_distinct_numbers(zk, connect, root):
    creators = [zk, connect(), connect()]
    futures = [(client, client.submit("create", path=f"{root}/n-", data=None, mode=SEQUENTIAL,
                                      acl=OPEN)) for _ in range(50) for client in creators]
    numbers = sorted(number(client.result(future)["path"]) for client, future in futures)
    assert numbers == list(range(150))
    assert len(zk.children(root)) == 150


@pytest.mark.parametrize("name", ["n-", "日本-", ""], ids=["ascii", "unicode", "empty"])
def test_data_of_a_sequential_node(zk, root, name):
    path = zk.create(f"{root}/{name}", b"data", mode=SEQUENTIAL)
    assert zk.get(path)[0] == b"data"
    assert zk.children(root) == [f"{name}0000000000"]
