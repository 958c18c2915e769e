"""Quotas: limits and statistics below /zookeeper/quota."""
import pytest

from harness.clients import QUOTAEXCEEDED, op_create, op_set, refused

enforced = pytest.mark.server(config={"enforceQuota": "true"})


def parse(text):
    """count=1,bytes=2=;byteHardLimit=3 as a dict."""
    words = text.decode().replace("=;", ",").replace(";", ",").split(",")
    return {key: int(value) for key, value in (word.split("=") for word in words)}


def set_quota(client, path, limits):
    """What the shell's setquota does."""
    folder = f"/zookeeper/quota{path}"
    parts = folder.split("/")
    for end in range(4, len(parts) + 1):
        parent = "/".join(parts[:end])
        if client.exists(parent) is None:
            client.create(parent)
    client.create(f"{folder}/zookeeper_limits", limits)
    client.create(f"{folder}/zookeeper_stats", "count=0,bytes=0")


def usage(client, path):
    stats = parse(client.get(f"/zookeeper/quota{path}/zookeeper_stats")[0])
    return stats["count"], stats["bytes"]


def test_statistics_follow_every_change(zk, root):
    zk.set(root, b"12345")
    zk.create(f"{root}/a", b"123")
    set_quota(zk, root, "count=100,bytes=1000")
    assert usage(zk, root) == (2, 8)
    zk.create(f"{root}/b", b"1")
    assert usage(zk, root) == (3, 9)
    zk.create(f"{root}/b/c", b"12")
    assert usage(zk, root) == (4, 11)
    zk.set(f"{root}/b/c", b"1234567")
    assert usage(zk, root) == (4, 16)
    zk.set(f"{root}/b/c", b"")
    assert usage(zk, root) == (4, 9)
    zk.set(root, b"1")
    assert usage(zk, root) == (4, 5)
    zk.delete(f"{root}/b/c")
    zk.delete(f"{root}/b")
    assert usage(zk, root) == (2, 4)
    zk.multi(op_create(f"{root}/m", b"12"), op_set(f"{root}/m", b"1"))
    assert usage(zk, root) == (3, 5)


def test_statistics_change_nothing_else_of_their_node(zk, root):
    set_quota(zk, root, "count=100,bytes=1000")
    stats = f"/zookeeper/quota{root}/zookeeper_stats"
    before = zk.exists(stats)
    zk.get(stats, watch="w")
    zk.create(f"{root}/a", b"123")
    after = zk.exists(stats)
    for field in ("czxid", "mzxid", "pzxid", "ctime", "mtime", "version"):
        assert after[field] == before[field]
    zk.no_event()


def test_ephemerals_are_counted(zk, connect, root):
    set_quota(zk, root, "count=100,bytes=1000")
    owner = connect()
    owner.create(f"{root}/e", b"123", mode=1)
    assert usage(zk, root) == (2, 3)
    owner.close()
    zk.sync(root)
    assert usage(zk, root) == (1, 0)


def test_the_longest_path_counts(zk, root):
    zk.create(f"{root}/inner")
    set_quota(zk, f"{root}/inner", "count=100,bytes=1000")
    set_quota(zk, root, "count=100,bytes=1000")
    outer = usage(zk, root)
    assert usage(zk, f"{root}/inner") == (1, 0)
    zk.create(f"{root}/inner/a", b"12")
    assert usage(zk, f"{root}/inner") == (2, 2)
    assert usage(zk, root) == outer
    zk.create(f"{root}/other", b"123")
    assert usage(zk, root) == (outer[0] + 1, outer[1] + 3)


def test_a_name_that_only_begins_alike_does_not_count(zk, root):
    zk.create(f"{root}/a")
    zk.create(f"{root}/ab")
    set_quota(zk, f"{root}/a", "count=100,bytes=1000")
    zk.create(f"{root}/ab/c", b"1")
    assert usage(zk, f"{root}/a") == (1, 0)


def test_a_removed_quota_counts_no_more(zk, root):
    set_quota(zk, root, "count=100,bytes=1000")
    folder = f"/zookeeper/quota{root}"
    zk.delete(f"{folder}/zookeeper_limits")
    zk.create(f"{root}/a")
    assert usage(zk, root) == (1, 0)


@pytest.mark.parametrize("limits", ["count=1,bytes=1", "count=1,bytes=1=;byteHardLimit=1;"
                                    "countHardLimit=1"], ids=["soft", "hard"])
def test_limits_are_not_enforced_by_default(zk, root, limits):
    set_quota(zk, root, limits)
    zk.create(f"{root}/a", b"123")
    zk.set(f"{root}/a", b"123456")
    assert usage(zk, root) == (2, 6)


@enforced
def test_soft_limits_refuse_nothing(zk, root):
    set_quota(zk, root, "count=1,bytes=1")
    zk.create(f"{root}/a", b"123")
    zk.set(f"{root}/a", b"123456")
    assert usage(zk, root) == (2, 6)


@enforced
def test_hard_limit_on_count(zk, root):
    set_quota(zk, root, "count=-1,bytes=-1=;byteHardLimit=-1;countHardLimit=3")
    zk.create(f"{root}/a")
    zk.create(f"{root}/b")
    with refused(QUOTAEXCEEDED):
        zk.create(f"{root}/c")
    assert usage(zk, root) == (3, 0)
    zk.set(f"{root}/a", b"x" * 1000)
    zk.delete(f"{root}/a")
    zk.create(f"{root}/c")
    with refused(QUOTAEXCEEDED):
        zk.create(f"{root}/b/d")


@enforced
def test_hard_limit_on_bytes(zk, root):
    set_quota(zk, root, "count=-1,bytes=-1=;byteHardLimit=10;countHardLimit=-1")
    path = zk.create(f"{root}/a", b"12345")
    with refused(QUOTAEXCEEDED):
        zk.create(f"{root}/b", b"123456")
    with refused(QUOTAEXCEEDED):
        zk.set(path, b"12345678901")
    zk.set(path, b"1234567890")
    zk.create(f"{root}/b")                  # no bytes: count is not limited
    with refused(QUOTAEXCEEDED):
        zk.set(f"{root}/b", b"1")
    assert usage(zk, root) == (3, 10)
    assert zk.get(path)[0] == b"1234567890"


@enforced
def test_hard_limit_in_a_multi(zk, root):
    set_quota(zk, root, "count=-1,bytes=-1=;byteHardLimit=-1;countHardLimit=1")
    with refused(QUOTAEXCEEDED) as caught:
        zk.multi(op_set(root, b"x"), op_create(f"{root}/a"))
    assert [result["err"] for result in caught.value.results] == [0, QUOTAEXCEEDED]
    assert zk.get(root)[0] == b""
