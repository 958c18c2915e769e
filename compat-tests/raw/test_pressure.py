"""What clients can do to a server without breaking the protocol: fast, slow, many, all at once.

zkd only where the assertion is about its memory or descriptors; the rest holds on both servers.
"""
import os
import re
import signal
import socket
import struct
import subprocess
import time

import frames
import pytest
from frames import CLOSED

from harness.servers import free_port, spawn, wait_for, zkd_program

BIG = 700_000


def memory_mb(pid):
    with open(f"/proc/{pid}/status") as status:
        return int(re.search(r"VmRSS:\s+(\d+)", status.read()).group(1)) // 1024


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def many(name, count, **fields):
    return b"".join(frames.frame(frames.request(xid, name, **fields))
                    for xid in range(1, count + 1))


@pytest.fixture
def big(server):
    """A node as large as a frame may be, about."""
    path = f"/pressure-{time.monotonic_ns()}"
    with frames.session(server.address) as conn:
        assert conn.call("create", path=path, data=b"v" * BIG).err == 0
        yield path
        conn.call("delete", path=path)


@pytest.mark.parametrize("depth", [6, 12, 24, 60])
def test_large_replies_one_behind_the_other(server, big, depth):
    """Output beyond any buffer: sent in pieces, taken up again, whole and in order."""
    with frames.session(server.address) as conn:
        for _ in range(6):
            conn.send_raw(many("getData", depth, path=big))
            for xid in range(1, depth + 1):
                reply = conn.reply()
                assert (reply.xid, reply.err) == (xid, 0)
                assert reply.record("getData")["data"] == b"v" * BIG


def test_writes_between_large_reads(server, big):
    """The reply to a write does not overtake the reads before it, and they do not see it."""
    path = f"/between-{time.monotonic_ns()}"
    with frames.session(server.address) as conn:
        assert conn.call("create", path=path, data=b"0").err == 0
        for turn in range(4):
            expected = []
            for number in range(10):
                expected.append((conn.submit("setData", path=path, data=b"%d" % number), None))
                expected += [(conn.submit("getData", path=big), b"v" * BIG) for _ in range(7)]
                expected.append((conn.submit("getData", path=path), b"%d" % number))
            for xid, data in expected:
                reply = conn.reply()
                assert (reply.xid, reply.err) == (xid, 0)
                if data is not None:
                    assert reply.record("getData")["data"] == data
        conn.call("delete", path=path)


def test_a_close_leaves_alone_what_has_another_owner_by_now(server):
    """An ephemeral that somebody deleted and made anew is not the closing session's any more."""
    for turn in range(40):
        path = f"/remade-{time.monotonic_ns()}"
        owner = frames.session(server.address)
        with frames.session(server.address) as other:
            assert owner.call("create", path=path, flags=1).err == 0
            other.call("sync", path="/")
            other.submit("delete", path=path)
            other.submit("create", path=path, data=b"mine")
            owner.submit("closeSession")
            first, second = other.reply(), other.reply()
            assert owner.reply().err == 0
            owner.close()
            if (first.err, second.err) == (0, 0):
                reply = other.call("getData", path=path)
                assert reply.err == 0, f"gone in turn {turn}"
                assert reply.record("getData")["data"] == b"mine"
            other.call("delete", path=path)


def test_replies_that_nobody_takes(fresh_zkd):
    """A client that asks and does not read costs a bounded amount, and the others nothing."""
    server = fresh_zkd()
    with frames.session(server.address) as conn:
        conn.call("create", path="/big", data=b"v" * BIG)
        before = memory_mb(server.pid)
        greedy = frames.session(server.address)
        greedy.sock.setblocking(False)
        blob = frames.frame(frames.request(1, "setData", path="/big", data=b"v" * BIG))
        blob += many("getData", 9000, path="/big")
        sent = 0
        deadline = time.monotonic() + 3
        while sent < len(blob) and time.monotonic() < deadline:
            try:
                sent += greedy.sock.send(blob[sent:])
            except BlockingIOError:
                time.sleep(0.01)
        for _ in range(20):
            assert conn.call("ping", -2).err == 0
        assert memory_mb(server.pid) - before < 100
        greedy.close()


def test_a_multi_read_beyond_reason(fresh_zkd):
    server = fresh_zkd()
    with frames.session(server.address) as conn:
        conn.call("create", path="/big", data=b"v" * BIG)
        reply = conn.call("multiRead", ops=[("getData", {"path": "/big"})] * 2000)
        assert (reply.err, reply.body) == (-5, b"")
        assert memory_mb(server.pid) < 300
        assert conn.call("exists", path="/big").err == 0


def test_a_renewed_session_sees_its_own_writes(server):
    """The write was sent on the old connection, the read on the new one, at the same moment."""
    for number in range(5):
        old, new = frames.session(server.address), frames.Conn(server.address)
        path = f"/renewed-{time.monotonic_ns()}"
        os.kill(server.pid, signal.SIGSTOP)
        try:
            old.send_raw(frames.frame(frames.request(1, "create", path=path, data=b"")))
            time.sleep(0.02)  # the order in which the server will find them
            body = frames.encode(frames.CONNECT_REQUEST, {
                "protocolVersion": 0, "lastZxidSeen": 0, "timeOut": 30000,
                "sessionId": old.session_id, "passwd": old.password}) + b"\0"
            new.send_raw(frames.frame(body))
            new.send_raw(frames.frame(frames.request(2, "exists", path=path)))
        finally:
            os.kill(server.pid, signal.SIGCONT)
        assert new.connect_response()["timeOut"] > 0
        first = new.reply().err
        assert first == new.call("exists", path=path).err, "the write showed only afterwards"
        new.call("delete", path=path, version=-1)
        new.close()
        old.close()


def test_connections_that_come_while_others_go(server):
    """A new connection never suffers for the one whose place it took."""
    for _ in range(5):
        old, thief = frames.session(server.address), frames.Conn(server.address)
        os.kill(server.pid, signal.SIGSTOP)
        try:
            body = frames.encode(frames.CONNECT_REQUEST, {
                "protocolVersion": 0, "lastZxidSeen": 0, "timeOut": 30000,
                "sessionId": old.session_id, "passwd": old.password}) + b"\0"
            thief.send_raw(frames.frame(body))
            old.close()
            innocent = frames.Conn(server.address)
        finally:
            os.kill(server.pid, signal.SIGCONT)
        assert innocent.connect() is not CLOSED
        assert innocent.call("exists", path="/").err == 0
        innocent.close()
        thief.close()


def test_authentication_keeps_its_place(server):
    """A read sent before an addauth does not profit from it."""
    acl = [(31, "digest", "bob:fyVmFCwVbTJYrznoSu1koqYEYF0=")]
    path = f"/locked-{time.monotonic_ns()}"
    with frames.session(server.address) as conn:
        assert conn.call("create", path=path, acl=acl).err == 0
        conn.submit("create", path=path + "-x")
        read = conn.submit("getData", path=path)
        conn.submit("auth", xid=-4, type=0, scheme="digest", auth=b"bob:secret")
        conn.submit("getData", path=path)
        replies = {message.xid: message.err for message in (conn.reply() for _ in range(4))}
        assert replies[read] == -102 and replies[read + 1] == 0 and replies[-4] == 0


def test_sessions_outlive_a_pause_of_the_server(fresh_zkd):
    """Pings that arrived while the server stood still count; stock expires some sessions."""
    server = fresh_zkd({"tickTime": 500})
    conns = [frames.session(server.address, timeout_ms=2000) for _ in range(300)]
    os.kill(server.pid, signal.SIGSTOP)
    for _ in range(3):
        time.sleep(1)
        for conn in conns:
            conn.send_raw(frames.frame(frames.request(-2, "ping")))
    os.kill(server.pid, signal.SIGCONT)
    for conn in conns:
        assert conn.reply().err == 0
        assert conn.call("exists", path="/").err == 0


def test_peers_that_do_not_read_their_end(fresh_zkd):
    """An expired session's connection goes away even when its output cannot."""
    server = fresh_zkd({"tickTime": 200, "nio.sessionlessCnxnTimeout": 1000})
    with frames.session(server.address, timeout_ms=4000) as conn:
        conn.call("create", path="/big", data=b"v" * BIG)
        before = descriptors(server.pid)
        deaf = []
        for _ in range(10):
            one = frames.Conn(server.address)
            one.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            one.connect(timeout_ms=400)
            one.send_raw(many("getData", 8, path="/big"))
            deaf.append(one)

        def gone():
            conn.call("ping", -2)
            return descriptors(server.pid) <= before
        wait_for(gone, 20, "the deaf connections to be dropped")


def test_a_handshake_that_drips_has_a_limit(fresh_zkd):
    server = fresh_zkd({"nio.sessionlessCnxnTimeout": 1000})
    conn = frames.Conn(server.address)
    start = time.monotonic()
    while time.monotonic() < start + 8 and conn.send_raw(b"\0"):
        try:
            if conn.recv_frame(timeout=0.3) is CLOSED:
                break
        except TimeoutError:
            pass
    assert time.monotonic() < start + 6


def test_descriptors_run_out(tmp_path):
    """Connections cannot take the descriptors that the log needs."""
    port = free_port()
    (tmp_path / "zoo.cfg").write_text(f"tickTime=2000\ndataDir={tmp_path}/d\nclientPort={port}\n"
                                      "maxClientCnxns=0\n")
    process = spawn(["sh", "-c", f"ulimit -n 60; exec {zkd_program()} {tmp_path}/zoo.cfg"],
                    stdout=subprocess.DEVNULL)

    def up():
        try:
            return frames.session(("127.0.0.1", port))
        except OSError:
            return None
    first = wait_for(up, 10, "zkd")
    others = []
    for _ in range(200):
        try:
            others.append(frames.Conn(("127.0.0.1", port), timeout=1))
        except OSError:
            break
    assert first.call("create", path="/after", data=b"x").err == 0  # the first log file
    for one in others:
        one.close()

    def again():
        try:
            with frames.session(("127.0.0.1", port)) as conn:
                return conn.call("exists", path="/after").err == 0
        except (OSError, TypeError, AttributeError, struct.error):
            return False
    wait_for(again, 10, "room for connections again")
    assert process.poll() is None
    process.kill()
    process.wait()
