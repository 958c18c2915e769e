"""Ephemeral nodes live as long as the session of their creator."""
import pytest

from harness.clients import (EPHEMERAL, EPHEMERAL_SEQUENTIAL, NOCHILDRENFOREPHEMERALS, SEQUENTIAL,
                             op_create, refused)

# A short tick lets sessions expire soon.
quick = pytest.mark.server(config={"tickTime": 200})


def test_owner(zk, root):
    path = zk.create(f"{root}/e", b"x", EPHEMERAL)
    assert zk.exists(path)["ephemeralOwner"] == zk.session_id
    assert zk.get(path)[0] == b"x"


def test_gone_after_the_session_is_closed(zk, connect, root):
    owner = connect()
    for name in ("a", "b"):
        owner.create(f"{root}/{name}", mode=EPHEMERAL)
    owner.create(f"{root}/s-", mode=EPHEMERAL_SEQUENTIAL)
    owner.create(f"{root}/stays")
    assert zk.children(root) == ["a", "b", "s-0000000002", "stays"]
    before = zk.exists(root)
    owner.close()
    zk.sync(root)
    assert zk.children(root) == ["stays"]
    after = zk.exists(root)
    assert after["cversion"] == before["cversion"] + 3
    assert after["pzxid"] > before["pzxid"]
    assert after["mzxid"] == before["mzxid"]


@quick
def test_gone_after_the_session_expired(zk, connect, server, proxy, root):
    link = proxy(server)
    owner = connect(link.address, timeout_ms=1000)
    path = owner.create(f"{root}/e", mode=EPHEMERAL)
    zk.exists(path, watch="gone")
    link.refuse()
    assert zk.event() == ("gone", "deleted", path)
    assert zk.exists(path) is None


@quick
def test_stays_while_the_session_lives(zk, connect, server, proxy, root):
    link = proxy(server)
    owner = connect(link.address, timeout_ms=4000)
    path = owner.create(f"{root}/e", mode=EPHEMERAL)
    link.cut()
    owner.wait_state("disconnected")
    owner.wait_state("connected")
    assert zk.exists(path)["ephemeralOwner"] == owner.session_id
    owner.create(f"{root}/f", mode=EPHEMERAL)
    assert zk.exists(f"{root}/f")["ephemeralOwner"] == owner.session_id


@quick
def test_an_idle_session_does_not_expire(zk, connect, root):
    owner = connect(timeout_ms=1000)
    path = owner.create(f"{root}/e", mode=EPHEMERAL)
    # a second session that does expire measures the time: no sleep
    zk.exists(path, watch="gone")
    with pytest.raises(TimeoutError):
        zk.event(timeout_s=2)      # more than timeout and tick
    assert zk.exists(path) is not None


def test_no_children(zk, root):
    path = zk.create(f"{root}/e", mode=EPHEMERAL)
    for mode in (0, EPHEMERAL, SEQUENTIAL):
        with refused(NOCHILDRENFOREPHEMERALS):
            zk.create(f"{path}/child", mode=mode)
    with refused(NOCHILDRENFOREPHEMERALS):
        zk.multi(op_create(f"{path}/child"))


def test_anyone_may_change_and_delete_one(zk, connect, root):
    owner = connect()
    path = owner.create(f"{root}/e", mode=EPHEMERAL)
    zk.set(path, b"changed")
    assert owner.get(path)[0] == b"changed"
    assert zk.exists(path)["ephemeralOwner"] == owner.session_id
    zk.delete(path)
    owner.close()
    assert zk.exists(path) is None


def test_deleted_and_made_again_by_another_session(zk, connect, root):
    owner = connect()
    path = owner.create(f"{root}/e", mode=EPHEMERAL)
    owner.delete(path)
    zk.create(path, mode=EPHEMERAL)
    owner.close()
    zk.sync(path)
    assert zk.exists(path)["ephemeralOwner"] == zk.session_id


def test_list_of_own_ephemerals(zk, connect, root):
    assert zk.ephemerals() == []
    paths = sorted(zk.create(f"{root}/{name}", mode=EPHEMERAL) for name in ("aa", "ab", "b"))
    connect().create(f"{root}/other", mode=EPHEMERAL)
    assert zk.ephemerals() == paths
    # a plain prefix of the text, not a parent
    assert zk.ephemerals(f"{root}/a") == paths[:2]
    assert zk.ephemerals(f"{root}/x") == []


def test_many_at_once(zk, connect, root):
    owner = connect()
    futures = [owner.submit("create", path=f"{root}/{i}", data=None, mode=EPHEMERAL,
                            acl=[[31, "world", "anyone"]]) for i in range(1000)]
    for future in futures:
        owner.result(future)
    assert len(zk.children(root)) == 1000
    owner.close()
    zk.sync(root)
    assert zk.children(root) == []
    assert zk.exists(root)["cversion"] == 2000
