"""What a server keeps over a stop, a crash and a restart."""
import pytest

from harness.clients import EPHEMERAL, SEQUENTIAL, TTL, WATCHES_SET_AGAIN, op_create

stopped = pytest.mark.parametrize("crash", [False, True], ids=["stop", "crash"])


def restarted(server, *clients, crash):
    server.restart(kill=crash)
    for client in clients:
        client.wait_state("disconnected")
        client.wait_state("connected")


@stopped
def test_data_and_stats_stay(own_server, connect, root_name, crash):
    server = own_server()
    zk = connect(server.address)
    root = zk.create(root_name, b"root")
    zk.create(f"{root}/null", None)
    zk.create(f"{root}/big", b"x" * 500_000)
    zk.create(f"{root}/acl", acl=[[31, "ip", "127.0.0.1"], [1, "world", "anyone"]])
    for number in range(10):
        zk.create(f"{root}/s-", str(number), SEQUENTIAL)
    zk.delete(f"{root}/s-0000000005")
    zk.set(root, b"changed")
    zk.multi(op_create(f"{root}/m1"), op_create(f"{root}/m2"))

    def everything():
        names = zk.children(root)
        return (zk.get(root), names, [zk.get(f"{root}/{name}") for name in names],
                [zk.get_acl(f"{root}/{name}") for name in names])
    before = everything()
    last = zk.exists(f"{root}/m2")["czxid"]
    restarted(server, zk, crash=crash)
    assert everything() == before
    # 10 sequential nodes and 5 others were made here
    assert zk.create(f"{root}/s-", mode=SEQUENTIAL) == f"{root}/s-0000000015"
    stat = zk.set(root, b"again", 1)
    assert stat["version"] == 2
    # zxids go on: the create above came between, and maybe the session of a probe
    assert last + 2 <= stat["mzxid"] < last + 10


@stopped
def test_sessions_and_ephemerals_stay(own_server, connect, root_name, crash):
    server = own_server()
    zk = connect(server.address)
    root = zk.create(root_name)
    path = zk.create(f"{root}/e", mode=EPHEMERAL)
    session = zk.session_id
    restarted(server, zk, crash=crash)
    assert zk.exists(path)["ephemeralOwner"] == session
    newer = connect(server.address)
    newer.create(f"{root}/f", mode=EPHEMERAL)
    assert newer.session_id != session
    zk.close()
    newer.sync(root)
    assert newer.children(root) == ["f"]


def test_sessions_end_that_do_not_come_back(own_server, connect, proxy, root_name):
    server = own_server({"tickTime": 200})
    link = proxy(server)
    owner = connect(link.address, timeout_ms=1000)
    zk = connect(server.address, timeout_ms=4000)
    root = zk.create(root_name)
    path = owner.create(f"{root}/e", mode=EPHEMERAL)
    link.refuse()
    restarted(server, zk, crash=False)
    if zk.exists(path, watch="w") is not None:
        assert zk.event() == ("w", "deleted", path)
    assert zk.exists(path) is None
    link.accept()
    owner.wait_state("expired")


def test_watches_stay(own_server, connect, root_name):
    server = own_server()
    zk, other = connect(server.address), connect(server.address)
    zk.needs(WATCHES_SET_AGAIN)
    root = zk.create(root_name)
    zk.get(root, watch="data")
    zk.children(root, watch="child")
    restarted(server, zk, other, crash=False)
    zk.no_event()
    other.set(root, b"x")
    assert zk.event() == ("data", "changed", root)
    other.create(f"{root}/a")
    assert zk.event() == ("child", "child", root)


def test_several_restarts_with_snapshots(own_server, connect, root_name):
    """snapCount is small, so that logs roll and snapshots are taken on the way."""
    server = own_server({"snapCount": 10})
    zk = connect(server.address)
    root = zk.create(root_name)
    count = 0
    for crash in (True, False):
        for _ in range(50):
            zk.create(f"{root}/{count:04}", str(count))
            count += 1
        restarted(server, zk, crash=crash)
        assert zk.children(root) == [f"{i:04}" for i in range(count)]
        assert zk.get(f"{root}/{count - 1:04}")[0] == str(count - 1).encode()


def test_ttl_nodes_stay(own_server, connect, root_name):
    settings = {"znode.container.checkIntervalMs": 200}
    server = own_server({"extendedTypesEnabled": "true"}, settings)
    zk = connect(server.address)
    root = zk.create(root_name)
    zk.create(f"{root}/long", mode=TTL, ttl=100_000)
    zk.create(f"{root}/short", mode=TTL, ttl=1500)
    restarted(server, zk, crash=True)
    assert "long" in zk.children(root)
    if zk.exists(f"{root}/short", watch="w") is not None:
        assert zk.event() == ("w", "deleted", f"{root}/short")
    assert zk.children(root) == ["long"]


def test_quotas_stay(own_server, connect, root_name):
    server = own_server()
    zk = connect(server.address)
    root = zk.create(root_name)
    folder = zk.create(f"/zookeeper/quota{root}")
    zk.create(f"{folder}/zookeeper_limits", "count=100,bytes=100")
    zk.create(f"{folder}/zookeeper_stats", "count=0,bytes=0")
    zk.create(f"{root}/a", b"123")
    restarted(server, zk, crash=False)
    assert zk.get(f"{folder}/zookeeper_stats")[0].startswith(b"count=2,bytes=3")
    zk.create(f"{root}/b", b"4")
    assert zk.get(f"{folder}/zookeeper_stats")[0].startswith(b"count=3,bytes=4")
