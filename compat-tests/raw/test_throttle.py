"""The request throttler: requests in line, refused and dropped (ZooKeeper's RequestThrottler)."""
import os
import signal
import time

import frames
import pytest
from frames import CLOSED

from harness.servers import wait_for

THROTTLEDOP = -127
MOST = "request_throttle_max_requests"
FLOOD = 1500


def metric(server, name):
    for line in frames.four_letter(server.address, "mntr").splitlines():
        key, _, value = line.partition("\t")
        if key == "zk_" + name:
            return int(value)
    raise AssertionError(f"mntr without {name}")


def creates(xid, prefix, count, read=False):
    """The frames of so many creates, each followed by a read of its node if wanted."""
    raw = bytearray()
    for number in range(count):
        for name in ("create", "exists") if read else ("create",):
            raw += frames.frame(frames.request(xid, name, path=f"{prefix}{number}"))
            xid += 1
    return bytes(raw)


def flood(conn, prefix, count=FLOOD, read=False):
    """Sends them in one go. The first xid."""
    first = conn.xid + 1
    conn.send_raw(creates(first, prefix, count, read))
    conn.xid += count * (2 if read else 1)
    return first


def replies(conn, first, count=FLOOD):
    """The errors of so many replies, which come in the order of the requests."""
    got = []
    for xid in range(first, first + count):
        reply = conn.reply()
        assert reply is not CLOSED and reply.xid == xid
        got.append(reply.err)
    return got


@pytest.mark.parametrize("most", [1, 3, 40])
def test_requests_in_line_lose_nothing(fresh, most):
    server = fresh({MOST: most})
    conns = [frames.session(server.address) for _ in range(4)]
    begun = [flood(conn, f"/c{number}-", 300, read=True) for number, conn in enumerate(conns)]
    # behind the writes of its own connection a read sees them, in line or not
    for conn, first in zip(conns, begun):
        assert replies(conn, first, 600) == [0] * 600
    root = conns[0].call("getChildren", path="/").record("getChildren")["children"]
    assert len([name for name in root if name.startswith("c")]) == 1200
    assert metric(server, "request_throttle_wait_count") > 0
    assert metric(server, "throttled_ops") == metric(server, "stale_requests_dropped") == 0
    # nothing is left in line: new connections and requests find room
    for _ in range(3):
        with frames.session(server.address) as late:
            assert late.call("exists", path="/").err == 0


def test_one_answer_makes_room_for_the_next(fresh):
    """At once, not when something else happens: many who come at the same moment, nothing behind."""
    server = fresh({MOST: 1})
    conns = [frames.session(server.address, timeout_ms=30000) for _ in range(40)]
    for number in range(300):       # the disk is known to be quick
        assert conns[0].call("create", path=f"/w{number}").err == 0
    os.kill(server.pid, signal.SIGSTOP)
    for number, conn in enumerate(conns):
        conn.submit("create", path=f"/c{number}")
    start = time.monotonic()
    os.kill(server.pid, signal.SIGCONT)
    assert [conn.reply().err for conn in conns] == [0] * 40
    assert time.monotonic() - start < 5     # a server that slept in between took ten


def test_without_a_limit_nobody_waits(fresh):
    server = fresh({"throttled_op_wait_time": 30000})
    with frames.session(server.address) as conn:
        assert set(replies(conn, flood(conn, "/c"))) == {0}
    assert metric(server, "request_throttle_wait_count") == 0


@pytest.mark.parametrize("most", [1, 8])
def test_who_waited_too_long_is_refused(fresh, most):
    """In its turn, with nothing but a header; it is not carried out, and the session goes on."""
    server = fresh({MOST: most, "throttled_op_wait_time": 5})
    with frames.session(server.address) as conn:
        flood(conn, "/c", read=True)
        conn.submit("ping", -2)
        made, read = [], []
        for number in range(2 * FLOOD):
            reply = conn.reply()
            assert reply.xid == number + 1
            assert reply.err != THROTTLEDOP or not reply.body
            (read if number % 2 else made).append(reply.err)
        assert (reply := conn.reply()).xid == -2 and reply.err == 0
        assert set(made) == {0, THROTTLEDOP} and THROTTLEDOP in read
        for was_made, was_read in zip(made, read):
            assert was_read in (THROTTLEDOP, 0 if was_made == 0 else -101)
        assert metric(server, "throttled_ops") == (made + read).count(THROTTLEDOP)
        with frames.session(server.address) as other:
            for number in range(0, FLOOD, 7):
                reply = other.call("exists", path=f"/c{number}")
                assert reply.err == (0 if made[number] == 0 else -101), number
        assert conn.call("create", path="/after").err == 0
        flood(conn, "/d")
        closing = conn.submit("closeSession")
        while (reply := conn.reply()).xid != closing:
            assert reply.err in (0, THROTTLEDOP)
        assert reply.err == 0 and conn.reply() is CLOSED


def test_waiting_is_counted_from_the_arrival(fresh):
    """Whatever comes behind it meanwhile."""
    server = fresh({MOST: 1, "throttled_op_wait_time": 40})
    with frames.session(server.address) as conn, frames.session(server.address) as busy:
        begun = flood(busy, "/busy")
        first = flood(conn, "/c")
        for _ in range(100):
            conn.submit("ping", -2)
            time.sleep(0.002)
        refused = replies(busy, begun).count(THROTTLEDOP)
        while (reply := conn.reply()).xid != first + FLOOD - 1:
            refused += reply.err == THROTTLEDOP
        assert refused > 0


def test_refusals_have_the_zxid_of_the_tree(fresh):
    server = fresh({MOST: 1, "throttled_op_wait_time": 5})
    with frames.session(server.address) as conn:
        first, last = flood(conn, "/c"), 0
        for xid in range(first, first + FLOOD):
            reply = conn.reply()
            if reply.err == THROTTLEDOP:
                assert reply.zxid == last
            else:
                assert reply.zxid == last + 1 or last == 0
            last = reply.zxid


@pytest.mark.parametrize("drop", [True, False], ids=["drop", "keep"])
def test_stale_requests(server_kind, fresh, drop):
    """Older than the session timeout: the connection ends, unless stale requests are kept."""
    if not drop and server_kind == "stock":
        pytest.skip("a stock server lets the session expire meanwhile")
    server = fresh({MOST: 1, "tickTime": 100, "request_stale_latency_check": "true",
                    "request_throttle_drop_stale": str(drop).lower()})
    first, raw = 1, creates(1, "/c", 12 * FLOOD)  # made before the clock of the session starts
    with frames.session(server.address, timeout_ms=200) as conn:
        conn.send_raw(raw)
        if not drop:
            assert replies(conn, first, 12 * FLOOD) == [0] * (12 * FLOOD)
            assert metric(server, "stale_requests") > 0
            assert metric(server, "stale_requests_dropped") == 0
            return
        done = 0
        while (reply := conn.reply()) is not CLOSED:
            assert (reply.xid, reply.err) == (first + done, 0)
            done += 1
        assert done < 12 * FLOOD
    if server_kind == "zkd":
        assert metric(server, "stale_requests_dropped") == 1
    with frames.session(server.address) as conn:
        # a prefix was carried out; what had a reply, at least
        children = conn.call("getChildren", path="/").record("getChildren")["children"]
        made = {int(name[1:]) for name in children if name.startswith("c")}
        assert made == set(range(len(made))) and len(made) >= done


def test_closing_is_not_forgotten_in_line(fresh):
    """A client that closes its session and hangs up while others keep the server busy."""
    server = fresh({MOST: 1})
    busy = [frames.session(server.address) for _ in range(4)]
    leaving = frames.session(server.address)
    assert leaving.call("create", path="/e", flags=1).err == 0
    begun = [flood(conn, f"/b{number}-") for number, conn in enumerate(busy)]
    leaving.submit("closeSession")
    leaving.close()
    for conn, first in zip(busy, begun):
        assert replies(conn, first) == [0] * FLOOD
    wait_for(lambda: busy[0].call("exists", path="/e").err == -101, 5, "end of the session")


def test_only_the_line_counts_as_waiting(fresh_zkd):
    """Not the time that requests wait for their own connection's writes, or for its reader."""
    server = fresh_zkd({MOST: 5000, "throttled_op_wait_time": 20, "globalOutstandingLimit": 5})
    with frames.session(server.address) as conn:
        assert set(replies(conn, flood(conn, "/c"))) == {0}
        assert conn.call("create", path="/big", data=b"v" * 700_000).err == 0
        first = conn.xid + 1
        for _ in range(40):
            conn.submit("getData", path="/big")
        time.sleep(0.5)  # more than any socket takes: most of them wait until it is read
        assert set(replies(conn, first, 40)) == {0}


def test_who_does_not_read_takes_no_room(fresh_zkd):
    server = fresh_zkd({MOST: 4})
    with frames.session(server.address) as deaf, frames.session(server.address) as conn:
        assert deaf.call("create", path="/big", data=b"v" * 700_000).err == 0
        deaf.submit("setData", path="/big", data=b"w" * 700_000)
        for _ in range(40):
            deaf.submit("getData", path="/big")
        time.sleep(0.3)
        waits = metric(server, "request_throttle_wait_count")
        for number in range(50):
            assert conn.call("create", path=f"/c{number}").err == 0
        assert metric(server, "request_throttle_wait_count") == waits


def test_a_flood_does_not_keep_others_waiting(fresh_zkd):
    """Connections stand in line, not requests: ZooKeeper's throttler would serve the flood first."""
    server = fresh_zkd({MOST: 1})
    with frames.session(server.address) as busy, frames.session(server.address) as other:
        first = flood(busy, "/c", 2 * FLOOD)
        for number in range(10):
            assert other.call("create", path=f"/other{number}").err == 0
        children = other.call("getChildren", path="/").record("getChildren")["children"]
        assert len(children) < FLOOD
        assert replies(busy, first, 2 * FLOOD) == [0] * (2 * FLOOD)


def test_clients_come_and_go_in_line(server_kind, fresh):
    """Connections that end while they wait leave nobody waiting behind them."""
    server = fresh({MOST: 2})
    with frames.session(server.address) as last:
        for number in range(20):
            conn = frames.session(server.address)
            flood(conn, f"/{number}-", 50)
            conn.close()
        start = time.monotonic()
        assert last.call("create", path="/last").err == 0
        assert time.monotonic() - start < 5
        if server_kind == "zkd":
            assert metric(server, "outstanding_requests") == 0
