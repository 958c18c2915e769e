"""Queues and counters of zk.h, alone and with those of Curator and kazoo."""
import base64
import struct
import threading

import pytest

from harness.clients import encode, refused
from harness.servers import wait_for
from losing import CREATE2, DELETE, SET

IN_USE, UNCERTAIN, MALFORMED, BAD_VERSION, TIMED_OUT = -1010, -1014, -1015, -103, -1001
SIMPLE, DISTRIBUTED, PRIORITY = range(3)
SOON_S = 15


def put(client, path, data, layout=SIMPLE, **args):
    client.call("queue_put", path=path, data=encode(data), layout=layout, **args)


def take(client, path, layout=SIMPLE, wait_ms=SOON_S * 1000):
    got = client.call("queue_take", path=path, layout=layout, wait_ms=wait_ms)
    return None if got is None else base64.b64decode(got)


def test_a_simple_queue(contend, curators, zk, path):
    ours, theirs = contend(), curators()
    assert take(ours, path, wait_ms=0) is None
    for number in range(6):
        put(ours if number % 2 else theirs, path, b"%d" % number)
    assert sorted(zk.children(path)) == [f"qn-{number:010}" for number in range(6)]
    assert zk.get(f"{path}/qn-0000000003")[0] == b"3"
    zk.create(f"{path}/other", b"not an item")
    assert [take(theirs if number % 2 else ours, path) for number in range(6)] == [
        b"%d" % number for number in range(6)]
    assert take(ours, path, wait_ms=100) is None
    put(ours, path, b"")
    assert take(ours, path) == b""
    assert zk.children(path) == ["other"]


def test_waiting_for_an_item(contend, zk, path):
    taker, giver = contend(), contend()
    for number in range(3):     # the first time there is no node at all
        future = taker.submit("queue_take", path=path)
        wait_for(lambda: taker.call("watches") >= 1, SOON_S, "watch")
        assert not future.done()
        put(giver, path, b"%d" % number)
        assert base64.b64decode(taker.result(future)) == b"%d" % number
    future = taker.submit("queue_take", path=path)
    with refused(IN_USE):
        taker.call("queue_put", path=path, data="")


def test_each_item_goes_to_one(contend, zk, path):
    clients, taken = [contend() for _ in range(3)], []

    def run(client):
        while (item := take(client, path, wait_ms=1000)) is not None:
            taken.append(item)
    threads = [threading.Thread(target=run, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    giver = contend()
    for number in range(200):
        put(giver, path, b"%d" % number)
    for thread in threads:
        thread.join()
    assert sorted(int(item) for item in taken) == list(range(200))


@pytest.mark.parametrize("layout", [DISTRIBUTED, PRIORITY])
def test_curators_queues(contend, curators, zk, path, layout):
    ours, theirs = contend(), curators()
    priorities = [5, -2, 0, 7, -2147483648, 2147483647] if layout == PRIORITY else [0] * 6
    order = sorted(range(6), key=lambda number: priorities[number])
    for giver in (ours, theirs):
        for number, priority in enumerate(priorities):
            put(giver, path, b"%d" % number, layout, priority=priority)
        wait_for(lambda: zk.exists(path) and len(zk.children(path)) == 6, SOON_S, "items")
        if layout == PRIORITY:
            assert any(name.startswith("queue-0FFFFFFFE") for name in zk.children(path))
        assert [take(ours, path, layout) for _ in range(6)] == [b"%d" % n for n in order]
    theirs.call("queue_consume", path=path, layout=layout)
    put(ours, path, b"for curator", layout)
    event = theirs.wait_event(kind="item")
    assert base64.b64decode(event["data"]) == b"for curator"


def test_what_is_no_item_stays(contend, zk, path):
    client = contend()
    zk.create(path)
    bodies = [b"", b"\x00", struct.pack(">iBi", 0x00010001, 1, 100) + b"short",
              struct.pack(">iB", 0x00010001, 2), struct.pack(">iBi", 2, 1, 0)]
    for number, body in enumerate(bodies):
        zk.create(f"{path}/queue-{number:010}", body)
    several = struct.pack(">i", 0x00010001)
    for word in (b"one", b"two", b"three"):
        several += struct.pack(">Bi", 1, len(word)) + word
    zk.create(f"{path}/queue-{9:010}", several + b"\x02")
    assert [take(client, path, DISTRIBUTED) for _ in range(3)] == [b"one", b"two", b"three"]
    assert take(client, path, DISTRIBUTED, wait_ms=0) is None
    assert len(zk.children(path)) == len(bodies)


def test_replies_are_lost(contend, losing, zk, path):
    client = contend(losing.address, timeout_ms=4000)
    put(client, path, b"0")
    losing.lose(CREATE2)
    with refused(UNCERTAIN):
        put(client, path, b"1")
    losing.lose(CREATE2, request=True)
    with refused(UNCERTAIN):
        put(client, path, b"2")
    assert len(zk.children(path)) == 2
    losing.lose(DELETE, request=True)
    assert take(client, path) == b"0"       # not taken the first time, but the second
    losing.lose(DELETE)
    with refused(UNCERTAIN):
        take(client, path)
    assert zk.children(path) == []


def test_a_queue_and_a_broken_connection(contend, losing, zk, path):
    client, giver = contend(losing.address, timeout_ms=4000), contend()
    put(giver, path, b"x")
    assert take(client, path) == b"x"
    future = client.submit("queue_take", path=path)
    wait_for(lambda: client.call("watches") == 1, SOON_S, "watch")
    losing.refuse()
    put(giver, path, b"y")
    losing.accept()
    assert base64.b64decode(client.result(future)) == b"y"


def test_freed_after_a_broken_connection(contend, losing, zk, path):
    """The event of the old watch and the answer that sets a new one come together then."""
    client = contend(losing.address)
    zk.create(path)
    future = client.submit("queue_take", path=path)
    wait_for(lambda: client.call("watches") == 1, SOON_S, "watch")
    losing.refuse()
    zk.create(f"{path}/qn-0000000000", b"x")
    losing.accept()
    assert base64.b64decode(client.result(future)) == b"x"
    client.call("free", path=path)
    assert client.call("watches") == 0
    put(client, path, b"y", **{"as": "other"})


def test_without_a_connection(contend, losing, zk, path):
    """Calls without a time of their own have that of the handle's operations."""
    client = contend(losing.address, op_ms=500, timeout_ms=4000)
    put(client, path, b"0")
    losing.refuse()
    client.wait_event(kind="session", state="SUSPENDED")
    assert not client.call("queue_put", path=path, data=encode(b"1"), layout=SIMPLE)
    assert take(client, path, wait_ms=0) is None
    with refused(TIMED_OUT):
        counter(client, f"{path}-number", "add", 1)
    with refused(TIMED_OUT):
        client.call("barrier_close", path=path)
    losing.accept()
    assert take(client, path) == b"0"
    put(client, path, b"2")
    assert take(client, path) == b"2"   # what was late is not sent


def test_taking_and_the_connection_breaks_for_good(contend, losing, zk, path):
    client = contend(losing.address, op_ms=500, timeout_ms=4000)
    put(client, path, b"0")
    losing.shut()
    losing.lose(DELETE)
    with refused(UNCERTAIN):
        take(client, path, wait_ms=200)
    assert zk.children(path) == []


# --- counters ---

def counter(client, path, do, value=0, size=4, **args):
    got = client.call("counter", path=path, do=do, value=value, bytes=size, **args)
    return got["value"] if not got["error"] else (got["error"], got["value"])


def test_counters(contend, zk, path):
    client = contend()
    assert counter(client, f"{path}/4", "get") == 0
    assert not zk.exists(path)
    assert counter(client, f"{path}/4", "add", 5) == 5
    assert zk.get(f"{path}/4")[0] == struct.pack(">i", 5)
    assert counter(client, f"{path}/4", "add", -7) == -2
    assert counter(client, f"{path}/4", "cas", 10, expected=-2) == 10
    assert counter(client, f"{path}/4", "cas", 11, expected=-2) == (BAD_VERSION, 10)
    assert counter(client, f"{path}/4", "set", 2147483647) == 2147483647
    assert counter(client, f"{path}/4", "add", 1) == -2147483648
    with refused(-8):
        counter(client, f"{path}/4", "add", 2147483648)
    big = 9223372036854775807
    assert counter(client, f"{path}/8", "set", big, 8) == big
    assert zk.get(f"{path}/8")[0] == struct.pack(">q", big)
    assert counter(client, f"{path}/8", "add", 1, 8) == -big - 1
    assert counter(client, f"{path}/8", "cas", 3, 8, expected=-big - 1) == 3
    zk.set(f"{path}/8", b"12345")
    with refused(MALFORMED):
        counter(client, f"{path}/8", "get", size=8)
    zk.set(f"{path}/8", b"")
    assert counter(client, f"{path}/8", "get", size=8) == 0


@pytest.mark.parametrize("size,class_", [(4, "count"), (4, "int"), (8, "long")])
def test_counters_of_curator(contend, curators, path, size, class_):
    ours, theirs = contend(), curators()
    args = {"path": path, "class": class_}
    if class_ == "count":
        theirs.call("counter_set", value=-7, **args)
        assert counter(ours, path, "get", size=size) == -7
        counter(ours, path, "add", 100, size)
        wait_for(lambda: theirs.call("counter_get", **args) == 93, SOON_S, "the sum")
        return
    threads = [threading.Thread(target=lambda: [counter(ours, path, "add", 1, size)
                                                for _ in range(50)]),
               threading.Thread(target=lambda: [theirs.call("counter_add", value=1, **args)
                                                for _ in range(50)])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counter(ours, path, "get", size=size) == theirs.call("counter_get", **args) == 100


def test_a_counter_of_kazoo(contend, kazoo, path):
    ours, theirs = contend(), kazoo()
    assert theirs.call("counter_add", path=path, value=3) == 3
    assert counter(ours, path, "add", 4) == 7
    assert theirs.call("counter_add", path=path, value=-8) == -1
    assert counter(ours, path, "get") == -1


def test_replies_to_counters_are_lost(contend, losing, zk, path):
    client = contend(losing.address, timeout_ms=4000)
    assert counter(client, path, "set", 1) == 1
    losing.lose(SET, request=True)
    assert counter(client, path, "add", 1) == 2     # it was certainly not applied
    losing.lose(SET)
    assert counter(client, path, "add", 1) == (UNCERTAIN, 3)
    losing.lose(SET)
    assert counter(client, path, "set", 9) == 9     # it is what was wished for
    assert counter(client, path, "get") == 9
