"""Sizes, names and numbers at and over their limits."""
import pytest

from harness.clients import (ALL, ANY_SEQUENTIAL_NAME, BADARGUMENTS, CONNECTIONLOSS, EPHEMERAL,
                             OPEN, PLAIN_PATHS, SEQUENTIAL, ZkError, refused)
from harness.servers import wait_for

MAX_FRAME = 0xfffff
SESSIONS = 1000


# Sizes

def set_overhead(path):
    """Bytes of a setData frame besides the data: header, path, length of the data, version."""
    return 8 + 4 + len(path.encode()) + 4 + 4


def again(call):
    """Repeat a call that may still meet the broken connection."""
    def attempt():
        try:
            return [call()]
        except ZkError as error:
            assert error.code == CONNECTIONLOSS
            return None
    return wait_for(attempt, 20, "new connection")[0]


def test_the_largest_frame_passes(zk, root):
    data = b"x" * (MAX_FRAME - set_overhead(root))
    assert zk.set(root, data)["dataLength"] == len(data)
    got, stat = zk.get(root)
    assert got == data
    assert stat["version"] == 1


def test_one_byte_more_costs_the_connection(zk, root):
    zk.set(root, b"old")
    with refused(CONNECTIONLOSS):
        zk.set(root, b"x" * (MAX_FRAME - set_overhead(root) + 1))
    assert again(lambda: zk.get(root))[0] == b"old"


@pytest.mark.server(props={"jute.maxbuffer": 10000})
def test_a_configured_limit(zk, root):
    zk.set(root, b"x" * (10000 - set_overhead(root)))
    with refused(CONNECTIONLOSS):
        zk.set(root, b"y" * (10000 - set_overhead(root) + 1))
    assert again(lambda: zk.get(root))[0][:1] == b"x"


@pytest.mark.server(props={"jute.maxbuffer": 4 * 1024 * 1024})
def test_a_raised_limit(zk, root):
    data = bytes(range(256)) * 4 * 3500
    zk.set(root, data)
    assert zk.get(root)[0] == data


def test_a_long_path(zk, root):
    name = "n" * 50_000
    path = zk.create(f"{root}/{name}")
    assert zk.children(root) == [name]
    zk.create(f"{path}/child", b"x")
    assert zk.get(f"{path}/child")[0] == b"x"


def test_a_deep_path(zk, root):
    path = root
    for depth in range(200):
        path = zk.create(f"{path}/{depth}")
    assert zk.get(path)[0] == b""
    assert zk.children(path.rsplit("/", 1)[0]) == ["199"]


def test_a_long_acl(zk, root):
    acl = [[ALL, "ip", f"10.0.{i // 256}.{i % 256}"] for i in range(1000)] + OPEN
    path = zk.create(f"{root}/a", acl=acl)
    assert zk.get_acl(path)[0] == acl


# Names

@pytest.mark.parametrize("name", [
    "é", "日本語", "имя", " ", "a b", "...", ".a", "a..", "a.b", "%", "?*[]", "\u00a0", "\ud7ff",
    "\uf900", "\uffef", "\"quoted\"", "back\\slash", "zookeeper"], ids=ascii)
def test_valid_names(zk, connect, root, name):
    path = zk.create(f"{root}/{name}", name)
    assert path == f"{root}/{name}"
    assert zk.children(root) == [name]
    assert connect().get(path)[0] == name.encode()
    zk.get(path, watch="w")
    zk.set(path, b"x")
    assert zk.event() == ("w", "changed", path)


@pytest.mark.parametrize("name", [
    "\0", "a\0b", "\u0001", "\u001f", "\u007f", "\u009f", "\ue000", "\uf8ff", "\ufff0", "\uffff",
    "\U0001f600"], ids=ascii)
def test_invalid_characters(zk, root, name):
    with refused(BADARGUMENTS):
        zk.create(f"{root}/{name}")
    assert zk.children(root) == []


@pytest.mark.parametrize("path", ["", "relative", "{root}/./a", "{root}/.", "{root}/..",
                                  "{root}/../a"])
def test_invalid_paths(zk, root, path):
    if not path.startswith("{"):
        zk.needs(PLAIN_PATHS)
    with refused(BADARGUMENTS):
        zk.create(path.format(root=root))
    assert zk.children(root) == []


def test_a_sequential_name_may_end_in_what_a_plain_one_may_not(zk, root):
    zk.needs(ANY_SEQUENTIAL_NAME)
    assert zk.create(f"{root}/..", mode=SEQUENTIAL) == f"{root}/..0000000000"


# Numbers

@pytest.mark.timeout(180)
def test_a_thousand_sessions(zk, driver, server, root):
    crowd = [driver.new_client(hosts=server.address, timeout_ms=40000) for _ in range(SESSIONS)]
    try:
        for client, future in [(client, client.connect_later()) for client in crowd]:
            client.connected(future)
        assert len({client.session_id for client in crowd}) == SESSIONS
        futures = [client.submit("create", path=f"{root}/{i}", data=None, mode=EPHEMERAL, acl=OPEN)
                   for i, client in enumerate(crowd)]
        for client, future in zip(crowd, futures):
            client.result(future)
        assert len(zk.children(root)) == SESSIONS
        futures = [zk.submit("exists", path=f"{root}/{i}") for i in range(SESSIONS)]
        owners = [zk.result(future)["ephemeralOwner"] for future in futures]
        assert owners == [client.session_id for client in crowd]
        # one change, a thousand events
        for client, future in [(c, c.submit("get", path=root, watch="w")) for c in crowd]:
            client.result(future)
        zk.set(root, b"x")
        for client in crowd:
            assert client.event() == ("w", "changed", root)
    finally:
        for future in [client.submit("close") for client in crowd if client.open]:
            future.result(60)
        for client in crowd:
            driver.forget(client)
    zk.sync(root)
    assert zk.children(root) == []
