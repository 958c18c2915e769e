"""Sessions: timeouts, moving to another connection, expiry, reconnecting with watches."""
import re

import pytest

from harness.clients import (EPHEMERAL, SESSIONEXPIRED, WATCHES_SET_AGAIN, ZkError, encode, refused)
from harness.servers import wait_for

quick = pytest.mark.server(config={"tickTime": 200})


def broken(link, client):
    """Cut the client off and wait until it knows."""
    link.refuse()
    client.wait_state("disconnected")


def joined(link, client):
    link.accept()
    client.wait_state("connected")


# Timeouts

def timeout_at(server, client):
    """The timeout the server has given to a session, as its connection list tells."""
    lines = server.four("cons").decode().splitlines()
    line = next(line for line in lines if f"sid={client.session_id:#x}," in line)
    return int(re.search(r"[(,]to=(\d+)", line).group(1))


def check_timeout(server, client, given):
    assert timeout_at(server, client) == given
    if client.timeout_ms is not None:       # not every library tells
        assert client.timeout_ms == given


@pytest.mark.parametrize("asked, given", [(1000, 4000), (4000, 4000), (12345, 12345),
                                          (40000, 40000), (1000000, 40000)])
def test_negotiated_timeout(connect, server, asked, given):
    check_timeout(server, connect(timeout_ms=asked), given)


@pytest.mark.server(config={"tickTime": 2000, "minSessionTimeout": 500, "maxSessionTimeout": 9000})
@pytest.mark.parametrize("asked, given", [(100, 500), (700, 700), (10000, 9000)])
def test_configured_limits_of_the_timeout(connect, server, asked, given):
    check_timeout(server, connect(timeout_ms=asked), given)


def test_session_ids_differ(connect):
    ids = {connect().session_id for _ in range(20)}
    assert len(ids) == 20
    assert 0 not in ids


# Moving

def test_a_session_moves_to_another_connection(zk, connect, server, proxy, root):
    link = proxy(server)
    first = connect(link.address)
    path = first.create(f"{root}/e", mode=EPHEMERAL)
    link.shut()         # or the first client would take its session back at once
    second = connect(session_id=first.session_id, passwd=first.passwd)
    assert second.session_id == first.session_id
    first.wait_state("disconnected")
    assert zk.exists(path)["ephemeralOwner"] == second.session_id
    second.create(f"{root}/f", mode=EPHEMERAL)
    second.close()
    zk.sync(root)
    assert zk.children(root) == []
    link.accept()
    first.wait_state("expired")


def test_a_wrong_password_is_refused(zk, connect, root):
    victim = connect()
    path = victim.create(f"{root}/e", mode=EPHEMERAL)
    with refused(SESSIONEXPIRED):
        connect(session_id=victim.session_id, passwd=encode(b"0123456789abcdef"))
    # it costs the victim its connection, never its session
    wait_for(lambda: works(victim, path), 10, "connection of the victim")
    assert zk.exists(path)["ephemeralOwner"] == victim.session_id


def works(client, path):
    try:
        return client.get(path)
    except ZkError:
        return None


def test_a_closed_session_cannot_be_resumed(connect):
    first = connect()
    first.close()
    with refused(SESSIONEXPIRED):
        connect(session_id=first.session_id, passwd=first.passwd)


def test_an_unknown_session_cannot_be_resumed(connect, zk):
    with refused(SESSIONEXPIRED):
        connect(session_id=0x7edcba9876543210, passwd=zk.passwd)


# Expiry

@quick
def test_expiry_is_reported(zk, connect, server, proxy, root):
    link = proxy(server)
    client = connect(link.address, timeout_ms=1000)
    path = client.create(f"{root}/e", mode=EPHEMERAL)
    zk.exists(path, watch="gone")
    broken(link, client)
    assert zk.event() == ("gone", "deleted", path)
    link.accept()
    client.wait_state("expired")


@quick
def test_a_stalled_connection_expires(zk, connect, server, proxy, root):
    """The connection is open all the time; only nothing comes through."""
    link = proxy(server)
    client = connect(link.address, timeout_ms=1000)
    path = client.create(f"{root}/e", mode=EPHEMERAL)
    zk.exists(path, watch="gone")
    link.stall()
    assert zk.event() == ("gone", "deleted", path)
    link.resume()
    client.wait_state("expired")


# Reconnecting

def test_a_session_survives_a_cut(zk, connect, server, proxy, root):
    link = proxy(server)
    client = connect(link.address)
    path = client.create(f"{root}/e", mode=EPHEMERAL)
    for _ in range(2):
        link.cut()
        client.wait_state("disconnected")
        client.wait_state("connected")
        assert client.get(path)[1]["ephemeralOwner"] == client.session_id


def test_watches_are_set_again(zk, connect, server, proxy, root):
    link = proxy(server)
    client = connect(link.address)
    client.needs(WATCHES_SET_AGAIN)
    client.create(f"{root}/data")
    client.get(f"{root}/data", watch="data")
    client.exists(f"{root}/missing", watch="exists")
    client.children(root, watch="child")
    broken(link, client)
    joined(link, client)
    client.no_event()
    zk.set(f"{root}/data", b"x")
    assert client.event() == ("data", "changed", f"{root}/data")
    zk.create(f"{root}/missing")
    assert sorted(client.events(2)) == [("child", "child", root),
                                        ("exists", "created", f"{root}/missing")]


def test_changes_made_meanwhile_are_reported(zk, connect, server, proxy, root):
    link = proxy(server)
    client = connect(link.address)
    client.needs(WATCHES_SET_AGAIN)
    for name in ("changed", "deleted", "same", "parent", "lost"):
        client.create(f"{root}/{name}")
    client.get(f"{root}/changed", watch="changed")
    client.get(f"{root}/deleted", watch="deleted")
    client.get(f"{root}/same", watch="same")
    client.exists(f"{root}/created", watch="created")
    client.children(f"{root}/parent", watch="parent")
    client.children(f"{root}/lost", watch="lost")
    broken(link, client)
    zk.set(f"{root}/changed", b"x")
    zk.delete(f"{root}/deleted")
    zk.create(f"{root}/created")
    zk.create(f"{root}/parent/child")
    zk.delete(f"{root}/lost")
    joined(link, client)
    assert sorted(client.events(5)) == [
        ("changed", "changed", f"{root}/changed"), ("created", "created", f"{root}/created"),
        ("deleted", "deleted", f"{root}/deleted"), ("lost", "deleted", f"{root}/lost"),
        ("parent", "child", f"{root}/parent")]
    client.no_event()
    zk.set(f"{root}/same", b"x")
    assert client.event() == ("same", "changed", f"{root}/same")


def test_persistent_watches_are_set_again_without_what_was_missed(zk, connect, server, proxy,
                                                                  root):
    link = proxy(server)
    client = connect(link.address)
    client.create(f"{root}/p")
    client.add_watch(f"{root}/p", "p")
    client.add_watch(root, "r", recursive=True)
    broken(link, client)
    zk.set(f"{root}/p", b"missed")
    joined(link, client)
    client.no_event()
    zk.set(f"{root}/p", b"seen")
    assert sorted(client.events(2)) == [("p", "changed", f"{root}/p"),
                                        ("r", "changed", f"{root}/p")]
    zk.set(f"{root}/p", b"seen again")
    assert len(client.events(2)) == 2


def test_many_watches_are_set_again(zk, connect, server, proxy, root):
    """More of them than fit into one request of the library (128 KiB of paths)."""
    link = proxy(server)
    client = connect(link.address, timeout_ms=20000)
    client.needs(WATCHES_SET_AGAIN)
    paths = [f"{root}/{i:04}-{'x' * 200}" for i in range(1500)]
    for future in [client.submit("exists", path=path, watch="w") for path in paths]:
        client.result(future)
    broken(link, client)
    joined(link, client)
    client.no_event()
    for path in paths[::100]:
        zk.create(path)
        assert client.event() == ("w", "created", path)


# Chroot

@pytest.fixture
def jailed(zk, connect, root):
    """A client whose root is the scenario's node."""
    return connect(chroot=root)


def test_chroot_paths(zk, jailed, root):
    assert jailed.create("/a", b"x") == "/a"
    assert zk.get(f"{root}/a")[0] == b"x"
    assert jailed.children("/") == ["a"]
    assert jailed.create("/s-", mode=2) == "/s-0000000001"
    jailed.set("/", b"root")
    assert zk.get(root)[0] == b"root"
    jailed.delete("/a")
    assert zk.exists(f"{root}/a") is None


def test_chroot_events(zk, jailed, root):
    jailed.exists("/a", watch="a")
    jailed.children("/", watch="root")
    zk.create(f"{root}/a")
    assert sorted(jailed.events(2)) == [("a", "created", "/a"), ("root", "child", "/")]


def test_chroot_that_does_not_exist(zk, connect, root):
    client = connect(chroot=f"{root}/later")
    assert client.exists("/") is None
    zk.create(f"{root}/later")
    assert client.create("/a") == "/a"


def test_chroot_watches_after_a_reconnect(zk, connect, server, proxy, root):
    link = proxy(server)
    client = connect(link.address, chroot=root)
    client.needs(WATCHES_SET_AGAIN)
    client.create("/a")
    client.get("/a", watch="a")
    client.exists("/b", watch="b")
    broken(link, client)
    zk.set(f"{root}/a", b"x")
    joined(link, client)
    assert client.event() == ("a", "changed", "/a")
    zk.create(f"{root}/b")
    assert client.event() == ("b", "created", "/b")
