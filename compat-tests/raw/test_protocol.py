"""Handshake, framing, dispatch and ordering: what a client library cannot say, in raw frames.

Each test runs against stock and against zkd with the same assertions. Section numbers are those
of the client protocol spec.
"""
import random
import struct
import threading
import time

import pytest

import frames
import pair
from frames import CLOSED, ERR

MAXBUFFER = 0xfffff


def alive(server):
    """The server still serves new sessions."""
    with frames.session(server.address) as conn:
        assert conn.call("exists", path="/").err == 0
        assert conn.call("closeSession").err == 0


def still_open(conn):
    return conn.call("ping", -2) is not CLOSED


# ---- handshake (3) ---------------------------------------------------------------------------
def test_handshake_forms(server):
    """The response has a readOnly byte exactly when the request had one."""
    for read_only, answer in ((None, None), (False, False), (True, False)):
        with frames.Conn(server.address) as conn:
            response = conn.connect(10000, read_only=read_only)
            assert response["readOnly"] is answer
            assert response["protocolVersion"] == 0 and response["timeOut"] == 10000
            assert response["passwd"] == frames.password_of(response["sessionId"])
            conn.call("closeSession")


def test_handshake_ignores_version_password_and_trailing_bytes(server):
    with frames.Conn(server.address) as conn:
        assert conn.connect(version=77, password=b"whatever")["protocolVersion"] == 0
    body = struct.pack(">iqiqi?", 0, 0, 10000, 0, -1, False)  # null password
    for tail in (b"", b"trailing"):
        with frames.Conn(server.address) as conn:
            conn.send_raw(frames.frame(body + tail))
            assert conn.connect_response()["timeOut"] == 10000


@pytest.mark.parametrize("wished,given", [
    (-1, 4000), (0, 4000), (-2 ** 31, 4000), (3999, 4000), (4000, 4000), (4001, 4001),
    (40000, 40000), (40001, 40000), (2 ** 31 - 1, 40000)])
def test_timeout_is_clamped(server, wished, given):
    with frames.Conn(server.address) as conn:
        assert conn.connect(wished)["timeOut"] == given
        conn.call("closeSession")


@pytest.mark.parametrize("settings,low,high", [
    ({"tickTime": 500}, 1000, 10000),
    ({"minSessionTimeout": 100, "maxSessionTimeout": 300}, 100, 300),
    ({"minSessionTimeout": 7000}, 7000, 40000)])
def test_timeout_limits_are_configurable(fresh, settings, low, high):
    server = fresh(settings)
    for wished, given in ((1, low), (10 ** 8, high)):
        with frames.Conn(server.address) as conn:
            assert conn.connect(wished)["timeOut"] == given


def test_session_ids_count_up(server):
    ids = []
    for _ in range(5):
        with frames.session(server.address) as conn:
            ids.append(conn.session_id)
            conn.call("closeSession")
    assert ids == list(range(ids[0], ids[0] + 5))
    assert ids[0] >> 56 == 1


@pytest.mark.parametrize("size", range(0, 44))
def test_short_handshake_closes(server, size):
    body = struct.pack(">iqiqi", 0, 0, 10000, 0, 16) + b"\0" * 16
    with frames.Conn(server.address) as conn:
        conn.send_raw(frames.frame(body[:size]))
        assert conn.recv_frame() is CLOSED


@pytest.mark.parametrize("length", [-2, -2 ** 31, 2 ** 31 - 1, 17, 2000000])
def test_bad_password_length_closes(server, length):
    with frames.Conn(server.address) as conn:
        conn.send_raw(frames.frame(struct.pack(">iqiqi", 0, 0, 10000, 0, length) + b"\0" * 16))
        assert conn.recv_frame() is CLOSED


def test_requests_sent_with_the_handshake_are_served(server):
    body = struct.pack(">iqiqi", 0, 0, 10000, 0, 16) + b"\0" * 16 + b"\0"
    with frames.Conn(server.address) as conn:
        conn.send_raw(frames.frame(body) + b"".join(
            frames.frame(frames.request(xid, "exists", path="/")) for xid in range(1, 30)))
        assert conn.connect_response()["timeOut"] == 10000
        assert [conn.reply().xid for _ in range(1, 30)] == list(range(1, 30))


def test_zxid_ahead_closes(server):
    for zxid, refused in ((2 ** 62, True), (2 ** 63 - 1, True), (-1, False), (-2 ** 63, False)):
        with frames.Conn(server.address) as conn:
            response = conn.connect(last_zxid=zxid)
            assert (response is CLOSED) == refused, zxid


def test_zxid_limit_is_exact(server, root):
    with frames.session(server.address) as first:
        zxid = first.call("setData", path=root).zxid
        with frames.Conn(server.address) as conn:
            # nothing may have been written in between, so one ahead of our own write is ahead
            assert conn.connect(last_zxid=zxid + 1, session_id=first.session_id) is CLOSED
        assert still_open(first), "refused before the old connection is looked at"
        with frames.Conn(server.address) as conn:
            assert conn.connect(last_zxid=zxid, session_id=first.session_id)["timeOut"] == 30000


def test_wrong_password_closes_the_old_connection_only(server, root):
    first = frames.session(server.address)
    node = first.call("create", path=root + "/e", flags=1)
    assert node.err == 0
    with frames.Conn(server.address) as thief:
        refused = thief.connect(session_id=first.session_id, password=b"x" * 16)
        assert (refused["timeOut"], refused["sessionId"], refused["passwd"]) == (0, 0, b"\0" * 16)
        assert thief.recv_frame() is CLOSED
    assert first.reply() is CLOSED
    with frames.Conn(server.address) as back:
        response = back.connect(session_id=first.session_id, password=first.password)
        assert response["timeOut"] == 30000 and response["sessionId"] == first.session_id
        assert back.call("exists", path=root + "/e").err == 0


@pytest.mark.parametrize("session_id,password", [
    (1, None), (-1, None), (0x7fffffffffffffff, None), (12345, b""), (12345, b"\0" * 16)])
def test_unknown_session_is_refused(server, session_id, password):
    for read_only in (None, False):
        with frames.Conn(server.address) as conn:
            refused = conn.connect(session_id=session_id, read_only=read_only,
                                   password=password if password is not None else
                                   frames.password_of(session_id))
            assert refused == {"protocolVersion": 0, "timeOut": 0, "sessionId": 0,
                               "passwd": b"\0" * 16,
                               "readOnly": None if read_only is None else False}
            assert conn.recv_frame() is CLOSED


def test_takeover_loses_watches_and_identities_but_not_ephemerals(server, root):
    first = frames.session(server.address)
    first.call("auth", -4, scheme="digest", auth=b"bob:secret")
    first.call("create", path=root + "/e", flags=1)
    first.call("getData", path=root, watch=True)
    second = frames.Conn(server.address)
    assert second.connect(session_id=first.session_id)["sessionId"] == first.session_id
    assert first.reply() is CLOSED
    who = second.call("whoAmI").record("whoAmI")["clientInfo"]
    assert [scheme for scheme, _ in who] == ["ip"]
    assert second.call("setData", path=root, data=b"1").err == 0
    assert second.events == []
    stat = second.call("exists", path=root + "/e").record("exists")["stat"]
    assert stat["ephemeralOwner"] == first.session_id
    second.call("closeSession")
    second.close()


def test_takeover_clamps_the_timeout_again(server):
    first = frames.session(server.address)
    for wished, given in ((100, 4000), (99999, 40000)):
        second = frames.Conn(server.address)
        assert second.connect(wished, first.session_id)["timeOut"] == given
        second.close()


def test_closed_session_cannot_be_renewed(server):
    first = frames.session(server.address)
    assert first.call("closeSession").err == 0
    assert first.reply() is CLOSED
    with frames.Conn(server.address) as second:
        assert second.connect(session_id=first.session_id,
                              password=first.password)["timeOut"] == 0


def test_second_handshake_is_just_a_request(server):
    """Once connected a ConnectRequest is read as xid 0, type = high half of lastZxidSeen."""
    with frames.session(server.address) as conn:
        conn.send_raw(frames.frame(struct.pack(">iqiqi", 0, 0, 10000, 0, 16) + b"\0" * 17))
        reply = conn.reply()
        assert (reply.xid, reply.zxid, reply.err) == (0, -1, ERR["UNIMPLEMENTED"])
        assert conn.reply() is CLOSED


# ---- frames (2) ------------------------------------------------------------------------------
@pytest.mark.parametrize("length", [-1, -2 ** 31, 2 ** 31 - 1, MAXBUFFER + 1, 0x47455420])
@pytest.mark.parametrize("connected", [False, True])
def test_bad_length_closes(server, length, connected):
    with frames.session(server.address) if connected else frames.Conn(server.address) as conn:
        conn.send_raw(struct.pack(">i", length) + b"junk")
        assert conn.recv_frame() is CLOSED
    alive(server)


def test_largest_frame_is_served(server, root, connect):
    conn = connect()
    overhead = len(frames.request(0, "setData", path=root, data=b""))
    assert conn.call("setData", path=root, data=b"v" * (MAXBUFFER - overhead)).err == 0
    got = conn.call("getData", path=root)
    assert len(got.record("getData")["data"]) == MAXBUFFER - overhead
    conn.submit("setData", path=root, data=b"v" * (MAXBUFFER - overhead + 1))
    assert conn.reply() is CLOSED


def test_maxbuffer_is_configurable(fresh):
    server = fresh(props={"jute.maxbuffer": "2000"})
    with frames.session(server.address) as conn:
        assert conn.call("create", path="/a", data=b"v" * 1900).err == 0
        conn.submit("setData", path="/a", data=b"v" * 2000)
        assert conn.reply() is CLOSED


@pytest.mark.parametrize("size", range(8))
def test_short_header_closes(connect, size):
    conn = connect()
    conn.send_raw(frames.frame(struct.pack(">ii", 1, 11)[:size]))
    assert conn.reply() is CLOSED


def test_frames_byte_by_byte(connect, root):
    conn = connect()
    raw = frames.frame(frames.request(5, "getData", path=root))
    for at in range(len(raw)):
        conn.send_raw(raw[at:at + 1])
    assert conn.reply().xid == 5


def test_handshake_byte_by_byte(server):
    body = struct.pack(">iqiqi", 0, 0, 10000, 0, 16) + b"\0" * 16 + b"\0"
    with frames.Conn(server.address) as conn:
        for byte in frames.frame(body):
            conn.send_raw(bytes([byte]))
        assert conn.connect_response()["timeOut"] == 10000


def test_trailing_bytes_are_ignored(connect, root):
    conn = connect()
    for name, fields in (("exists", {"path": root}), ("create", {"path": root + "/a"}),
                         ("ping", {}), ("whoAmI", {}), ("multi", {"ops": []})):
        body = frames.encode(frames.OPS[name][1], fields) + b"trailing bytes"
        assert conn.call_body(frames.OPS[name][0], body).err == 0, name
    assert conn.call("exists", path=root + "/a").err == 0


def test_booleans_are_any_non_zero_byte(connect, root):
    conn = connect()
    assert conn.call_body(4, frames.blob(root) + b"\x7f").err == 0
    conn.call("setData", path=root)
    assert conn.events.pop().event == (3, root)


# ---- garbage ---------------------------------------------------------------------------------
def garbage(rng, kind):
    """First bytes of a connection that no client sends."""
    noise = bytes(rng.randrange(256) for _ in range(rng.randrange(1, 200)))
    return {
        "noise": noise,
        "http": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + noise,
        "handshake of noise": frames.frame(noise),
        "half a length": b"\0\0",
        "length only": struct.pack(">i", 45),
        "half a handshake": frames.frame(b"\0" * 45)[:30],
    }[kind]


GARBAGE = ["noise", "http", "tls", "handshake of noise", "half a length", "length only",
           "half a handshake"]


@pytest.mark.parametrize("kind", GARBAGE)
def test_garbage_does_no_harm(server, kind):
    rng = random.Random(kind)
    for _ in range(20):
        conn = frames.Conn(server.address)
        conn.send_raw(garbage(rng, kind))
        conn.close()
    alive(server)


def test_many_garbage_connections_while_others_are_served(server, root):
    rng = random.Random(5)
    idle = []
    with frames.session(server.address) as conn:
        for turn in range(400):
            bad = frames.Conn(server.address)
            bad.send_raw(garbage(rng, rng.choice(GARBAGE)))
            idle.append(bad)
            stat = conn.call("setData", path=root, data=b"%d" % turn).record("setData")["stat"]
            assert stat["version"] == turn + 1
            if len(idle) > 150:
                idle.pop(rng.randrange(len(idle))).close()
    for bad in idle:
        bad.close()
    alive(server)


def test_slow_connections_do_not_hold_up_others(server, root):
    """Handshakes that arrive one byte at a time, interleaved with the work of a good client."""
    body = frames.frame(struct.pack(">iqiqi", 0, 0, 10000, 0, 16) + b"\0" * 17)
    slow = [frames.Conn(server.address) for _ in range(20)]
    with frames.session(server.address) as conn:
        for at in range(len(body)):
            for drip in slow:
                drip.send_raw(body[at:at + 1])
            assert conn.call("setData", path=root).err == 0
    for drip in slow:
        assert drip.connect_response()["timeOut"] == 10000
        drip.close()


def test_a_client_that_never_reads(server, root):
    """Many large replies asked for and not read: the others are served meanwhile."""
    with frames.session(server.address) as deaf, frames.session(server.address) as conn:
        assert conn.call("setData", path=root, data=b"v" * 500000).err == 0
        deaf.timeout = 0.2
        for xid in range(100):
            if not deaf.send_raw(frames.frame(frames.request(xid, "getData", path=root))):
                break
        for _ in range(50):
            assert conn.call("exists", path=root).err == 0
    alive(server)


def sessions_on_a_new_server(server, count):
    """The connection that found out that the server is up may still be counted at first."""
    conns = []

    def one_more():
        conn = frames.Conn(server.address)
        if conn.connect():
            conns.append(conn)
        return len(conns) == count
    pair.servers.wait_for(one_more, 10, "%d sessions" % count)
    return conns


@pytest.mark.parametrize("limit", [1, 3])
def test_max_client_cnxns(fresh, limit):
    server = fresh({"maxClientCnxns": limit})
    conns = sessions_on_a_new_server(server, limit)
    with frames.Conn(server.address) as extra:
        assert extra.connect() is CLOSED
    for conn in conns:
        assert still_open(conn)
    conns[0].close()

    def room():
        with frames.Conn(server.address) as conn:
            return conn.connect()
    pair.servers.wait_for(room, 10, "a place for a new connection")


def test_max_cnxns_in_total(fresh):
    server = fresh({"maxCnxns": 2})
    conns = sessions_on_a_new_server(server, 2)
    with frames.Conn(server.address) as extra:
        assert extra.connect() is CLOSED
    assert all(still_open(conn) for conn in conns)


# ---- dispatch (5) ----------------------------------------------------------------------------
@pytest.mark.parametrize("opcode", [0, 10, 13, -1, 23, 24, 50, 99, 108, 109, 1000, 0x7fffffff,
                                    -2 ** 31, -2, -9, -12])
@pytest.mark.parametrize("body", [b"", b"\0" * 40])
def test_unknown_opcode(connect, opcode, body):
    conn = connect()
    reply = conn.call_body(opcode, body, xid=99)
    assert (reply.xid, reply.zxid, reply.err) == (99, -1, ERR["UNIMPLEMENTED"])
    assert reply.body == b""
    assert conn.reply() is CLOSED


def test_lone_check_is_an_unknown_opcode(server, connect, root):
    conn = connect()
    reply = conn.call("check", path=root)
    assert (reply.zxid, reply.err) == (-1, ERR["UNIMPLEMENTED"])
    assert conn.reply() is CLOSED
    with frames.Conn(server.address) as again:  # the session is not hurt
        assert again.connect(session_id=conn.session_id)["timeOut"] == 30000


@pytest.mark.parametrize("opcode,body", [
    (20, frames.blob("/x")), (20, b""), (-10, struct.pack(">i", 10000)), (-10, b"")])
def test_internal_opcodes_are_refused(zkd, opcode, body):
    """Stock executes deleteContainer without any check, and createSession with a reply that has
    no header (spec 5, 9.3). Ours refuses both like an unknown opcode."""
    with frames.session(zkd.address) as conn:
        assert conn.call("create", path="/x").err in (0, ERR["NODEEXISTS"])
        reply = conn.call_body(opcode, body)
        assert (reply.zxid, reply.err) == (-1, ERR["UNIMPLEMENTED"])
        assert conn.reply() is CLOSED
    with frames.session(zkd.address) as conn:
        assert conn.call("exists", path="/x").err == 0


@pytest.mark.parametrize("xid", [0, 1, -2, -3, -4, -8, 77, -2 ** 31, 2 ** 31 - 1])
def test_ping_is_answered_with_its_own_xid(connect, xid):
    reply = connect().call("ping", xid)
    assert (reply.xid, reply.err, reply.body) == (-2, 0, b"")
    assert reply.zxid > 0


@pytest.mark.parametrize("xid", [0, -2, -3, -4, -8, -2 ** 31, 2 ** 31 - 1])
def test_xids_are_echoed(connect, root, xid):
    conn = connect()
    for name in ("exists", "setData", "sync"):
        for _ in range(2):  # twice the same
            reply = conn.call(name, xid, path=root)
            assert (reply.xid, reply.err) == (xid, 0), name


BODIES = [  # opcodes whose request has a body, and a good one
    (1, "create"), (2, "delete"), (3, "exists"), (4, "getData"), (5, "setData"), (6, "getACL"),
    (7, "setACL"), (8, "getChildren"), (9, "sync"), (12, "getChildren2"), (14, "multi"),
    (15, "create2"), (16, "reconfig"), (17, "checkWatches"), (18, "removeWatches"),
    (19, "createContainer"), (21, "createTTL"), (22, "multiRead"), (101, "setWatches"),
    (103, "getEphemerals"), (104, "getAllChildrenNumber"), (105, "setWatches2"),
    (106, "addWatch")]


@pytest.mark.parametrize("opcode,name", BODIES)
@pytest.mark.parametrize("body", [b"", b"\0", b"\0\0", b"\0\0\0\5/a", b"\x7f\xff\xff\xff/",
                                  b"\xff\xff\xff\xfe/a", b"\0\0\0\1"])
def test_unparsable_body(connect, opcode, name, body):
    conn = connect()
    reply = conn.call_body(opcode, body)
    assert (reply.err, reply.body) == (ERR["MARSHALLINGERROR"], b"")
    assert still_open(conn)


def test_requests_without_a_body_take_any(connect):
    conn = connect()
    for opcode in (11, 107):
        for body in (b"", b"\0", b"\xff" * 30):
            assert conn.call_body(opcode, body).err == 0


@pytest.mark.parametrize("name,wanted", [
    ("create", -5), ("create2", -5), ("delete", -5), ("exists", -5), ("getData", -5),
    ("getACL", -5), ("getChildren", -5), ("getChildren2", -5), ("getAllChildrenNumber", -5),
    ("setData", -8), ("setACL", -8), ("sync", 0), ("addWatch", 0), ("checkWatches", -121),
    ("removeWatches", -121)])
def test_null_path(connect, name, wanted):
    conn = connect()
    fields = {"path": None}
    if name == "addWatch":
        fields["mode"] = 0
    if "Watches" in name:
        fields["type"] = 3
    reply = conn.call(name, **fields)
    assert reply.err == wanted
    assert still_open(conn)
    if name == "sync":
        assert reply.record("sync") == {"path": None}


# ---- order (19) ------------------------------------------------------------------------------
def test_pipelined_requests_are_answered_in_order(connect, root):
    conn = connect()
    names = ["create", "exists", "setData", "getData", "sync", "ping", "getChildren2", "whoAmI",
             "delete", "getACL"]
    sent, rng = [], random.Random(3)
    raw = b""
    for xid in range(1, 1500):
        name = rng.choice(names)
        fields = {} if name in ("ping", "whoAmI") else {"path": root + "/n"}
        raw += frames.frame(frames.request(xid, name, **fields))
        sent.append(-2 if name == "ping" else xid)
    writer = threading.Thread(target=conn.send_raw, args=(raw,))
    writer.start()
    got = [conn.reply() for _ in sent]
    writer.join()
    assert [reply.xid for reply in got] == sent
    zxids = [reply.zxid for reply in got]
    assert zxids == sorted(zxids)


def test_reads_see_the_writes_before_them(connect, root):
    conn = connect()
    raw = b""
    for n in range(200):
        raw += frames.frame(frames.request(n, "setData", path=root, data=b"%d" % n))
        raw += frames.frame(frames.request(n, "getData", path=root))
    conn.send_raw(raw)
    for n in range(200):
        stat = conn.reply().record("setData")["stat"]
        read = conn.reply().record("getData")
        assert read["data"] == b"%d" % n and read["stat"] == stat


def test_event_comes_before_the_reply_of_its_cause(connect, root):
    conn = connect()
    conn.call("getData", path=root, watch=True)
    conn.call("getChildren", path=root, watch=True)
    for name, path, kind, where in (("setData", root, 3, root),
                                    ("create", root + "/c", 4, root)):
        del conn.log[:]
        reply = conn.call(name, path=path)
        event, last = conn.log
        assert event.event == (kind, where) and last is reply
        assert event.zxid == reply.zxid


def test_event_comes_before_the_new_state_is_read(server, connect, root):
    """Another client that reads in a loop gets the event before the first reply that shows it."""
    writer, reader = connect(), connect()
    for turn in range(50):
        assert reader.call("getData", path=root, watch=True).record("getData")
        writer.submit("setData", path=root, data=b"%d" % turn)
        while not any(message.is_event for message in reader.log):
            data = reader.call("getData", path=root).record("getData")["data"]
            seen = any(message.is_event for message in reader.log)
            assert seen or data != b"%d" % turn
        assert writer.reply().err == 0
        del reader.log[:], reader.events[:]


def test_requests_behind_close_session(connect, root):
    conn = connect()
    conn.call("create", path=root + "/e", flags=1)
    raw = frames.frame(frames.request(1, "closeSession"))
    for xid in range(2, 20):
        raw += frames.frame(frames.request(xid, "setData", path=root))
    conn.send_raw(raw)
    reply = conn.reply()
    assert (reply.xid, reply.err) == (1, 0)
    while (reply := conn.reply()) is not CLOSED:
        assert reply.err == ERR["SESSIONEXPIRED"]


def test_writes_behind_close_session_are_not_executed(server, root):
    with frames.session(server.address) as conn:
        conn.send_raw(frames.frame(frames.request(1, "closeSession")) +
                      frames.frame(frames.request(2, "setData", path=root)))
        while conn.reply() is not CLOSED:
            pass
    with frames.session(server.address) as conn:
        assert conn.call("exists", path=root).record("exists")["stat"]["version"] == 0


def test_close_session_ignores_its_body_and_deletes_ephemerals(server, root):
    watcher = frames.session(server.address)
    watcher.call("getChildren", path=root, watch=True)
    conn = frames.session(server.address)
    for n in range(3):
        conn.call("create", path=root + "/e%d" % n, flags=1)
    assert watcher.drain()[0].event == (4, root)
    watcher.call("addWatch", path=root, mode=1)
    reply = conn.call_body(-11, b"\1\2\3", xid=0x55)
    assert (reply.xid, reply.err, reply.body) == (0x55, 0, b"")
    assert conn.reply() is CLOSED
    gone = watcher.drain()
    assert sorted(event.event for event in gone) == [(2, root + "/e%d" % n) for n in range(3)]
    assert {event.zxid for event in gone} == {reply.zxid}
    watcher.close()


def test_failed_writes_consume_a_zxid_and_reads_do_not(connect, root):
    conn = connect()
    first = conn.call("create", path=root)
    assert first.err == ERR["NODEEXISTS"]
    second = conn.call("setData", path=root, version=99)
    assert (second.err, second.zxid) == (ERR["BADVERSION"], first.zxid + 1)
    for name in ("exists", "getData", "sync"):
        assert conn.call(name, path=root).zxid == second.zxid
    assert conn.call("ping").zxid == second.zxid
    assert conn.call("multi", ops=[]).zxid == second.zxid + 1


# ---- authentication (13) ---------------------------------------------------------------------
@pytest.mark.parametrize("scheme,data", [
    ("bogus", b"x"), ("world", b"anyone"), ("", b""), (None, b"x"), ("digest", None),
    ("sasl", b"x"), ("super", b"x"), ("auth", b"x"), ("Digest", b"a:b")])
def test_auth_failure(connect, scheme, data):
    conn = connect()
    reply = conn.call("auth", 1234, scheme=scheme, auth=data)
    assert (reply.xid, reply.zxid, reply.err) == (1234, 0, ERR["AUTHFAILED"])
    assert reply.body == b""
    assert conn.reply() is CLOSED


@pytest.mark.parametrize("body", [b"", b"\0\0\0\0", b"\0\0\0\0\0\0\0\6diges"])
def test_unparsable_auth_closes_without_a_reply(connect, body):
    conn = connect()
    assert conn.call_body(100, body) is CLOSED


@pytest.mark.parametrize("scheme,data,who", [
    ("digest", b"bob:secret", ("digest", "bob")), ("digest", b"solo", ("digest", "solo")),
    ("digest", b"", ("digest", "")), ("digest", b":x", ("digest", "")),
    ("digest", b"a:b:c", ("digest", "a")), ("ip", b"ignored", ("ip", "127.0.0.1")),
    ("ip", None, ("ip", "127.0.0.1"))])
@pytest.mark.parametrize("kind", [0, 7, -1])
def test_auth_success(connect, scheme, data, who, kind):
    conn = connect()
    reply = conn.call("auth", -4, type=kind, scheme=scheme, auth=data)
    assert (reply.xid, reply.zxid, reply.err, reply.body) == (-4, 0, 0, b"")
    infos = conn.call("whoAmI").record("whoAmI")["clientInfo"]
    assert sorted(infos) == sorted({("ip", "127.0.0.1"), who})


def test_auth_twice_is_one_identity(connect):
    conn = connect()
    for _ in range(2):
        assert conn.call("auth", -4, scheme="digest", auth=b"bob:secret").err == 0
    assert sorted(conn.call("whoAmI").record("whoAmI")["clientInfo"]) == [
        ("digest", "bob"), ("ip", "127.0.0.1")]


def test_super_user(connect):
    conn = connect()
    assert conn.call("auth", -4, scheme="digest", auth=b"super:test").err == 0
    assert sorted(conn.call("whoAmI").record("whoAmI")["clientInfo"]) == [
        ("digest", "super"), ("ip", "127.0.0.1"), ("super", "")]
    plain = connect()
    plain.call("auth", -4, scheme="digest", auth=b"super:wrong")
    assert ("super", "") not in plain.call("whoAmI").record("whoAmI")["clientInfo"]


def test_sasl_without_a_login(connect):
    conn = connect()
    for token in (b"", b"abc"):
        reply = conn.call("sasl", 4321, token=token)
        assert (reply.xid, reply.zxid, reply.err) == (4321, 0, 0)
        assert reply.record("sasl") == {"token": None}
    assert still_open(conn)


@pytest.mark.parametrize("body", [frames.blob(None), b"", b"\0\0\0\5ab"])
def test_sasl_null_token_closes(connect, body):
    conn = connect()
    assert conn.call_body(102, body) is CLOSED


def test_forced_authentication(fresh):
    """13.4: everything but auth and sasl is refused until the scheme is there."""
    server = fresh({"enforce.auth.enabled": "true", "enforce.auth.schemes": "digest"})
    for opcode, body in ((11, b""), (-11, b""), (3, frames.blob("/") + b"\0")):
        with frames.session(server.address) as conn:
            reply = conn.call_body(opcode, body, xid=7)
            assert (reply.xid, reply.zxid, reply.err) == (
                7, 0, ERR["SESSIONCLOSEDREQUIRESASLAUTH"])
            assert conn.reply() is CLOSED
    with frames.session(server.address) as conn:
        assert conn.call("auth", -4, scheme="digest", auth=b"a:b").err == 0
        assert conn.call("exists", path="/").err == 0


# ---- sessions (22) ---------------------------------------------------------------------------
def test_expiry_closes_without_a_message_and_deletes_ephemerals(fresh):
    server = fresh({"tickTime": 200})
    watcher = frames.session(server.address, timeout_ms=4000)
    conn = frames.session(server.address, timeout_ms=400)
    conn.call("create", path="/e", flags=1)
    assert watcher.call("exists", path="/e", watch=True).err == 0
    assert conn.reply() is CLOSED
    assert watcher.event().event == (2, "/e")
    with frames.Conn(server.address) as late:
        assert late.connect(session_id=conn.session_id)["timeOut"] == 0


def test_session_outlives_its_connection(fresh):
    server = fresh({"tickTime": 200})
    conn = frames.session(server.address, timeout_ms=4000)
    conn.call("create", path="/e", flags=1)
    conn.close()
    with frames.Conn(server.address) as again:
        assert again.connect(session_id=conn.session_id)["timeOut"] == 4000
        assert again.call("getEphemerals", prefix="/").record("getEphemerals") == {
            "paths": ["/e"]}


def test_ephemerals_survive_a_restart(fresh):
    server = fresh()
    conn = frames.session(server.address)
    conn.call("create", path="/e", flags=1)
    server.restart()
    with frames.Conn(server.address) as again:
        assert again.connect(session_id=conn.session_id)["sessionId"] == conn.session_id
        stat = again.call("exists", path="/e").record("exists")["stat"]
        assert stat["ephemeralOwner"] == conn.session_id
        assert again.call("closeSession").err == 0
    with frames.session(server.address) as other:
        assert other.call("exists", path="/e").err == ERR["NONODE"]


# ---- limits (17) -----------------------------------------------------------------------------
def test_large_requests(fresh):
    """Frames over the threshold are held against a budget, smaller ones are not."""
    server = fresh({"largeRequestThreshold": 1000, "largeRequestMaxBytes": 5000})
    with frames.session(server.address) as conn:
        assert conn.call("create", path="/a", data=b"v" * 900).err == 0
        for _ in range(3):  # the budget is given back
            assert conn.call("setData", path="/a", data=b"v" * 4000).err == 0
        conn.submit("setData", path="/a", data=b"v" * 6000)
        assert conn.reply() is CLOSED
    alive(server)


def test_nodes_are_reaped_one_by_one(fresh):
    """No faster than znode.container.maxPerMinute."""
    server = fresh(props={"znode.container.checkIntervalMs": 200,
                          "znode.container.maxPerMinute": 60})
    with frames.session(server.address) as conn:
        for number in range(4):
            assert conn.call("createTTL", path=f"/t{number}", ttl=1, flags=5).err == 0
        went = []
        while len(went) < 4:
            left = conn.call("getChildren", path="/").record("getChildren")["children"]
            gone = 4 - len([name for name in left if name.startswith("t")])
            went += [time.monotonic()] * (gone - len(went))
            time.sleep(0.02)
        assert went[3] - went[0] > 2.5 and went[3] - went[0] < 10


def test_connection_throttle_does_not_overflow(fresh_zkd):
    most = 2 ** 31 - 1
    server = fresh_zkd({"connection_throttle_tokens": most, "connection_throttle_fill_count": most,
                        "connection_throttle_weight_enabled": "true",
                        "connection_throttle_global_session_weight": most})
    for _ in range(3):
        time.sleep(0.01)
        frames.session(server.address).close()


def test_connection_throttle(fresh):
    server = fresh({"connection_throttle_tokens": 4, "connection_throttle_fill_time": 10 ** 6})
    conns = []
    for _ in range(8):
        conns.append(frames.Conn(server.address))
        response = conns[-1].connect()
        if response is CLOSED:
            break
    # one token may have gone to the one who waited for the start
    assert 4 <= len(conns) <= 5 and conns[-1].closed
    assert all(still_open(conn) for conn in conns[:-1])
    assert frames.four_letter(server.address, "ruok") == "imok"


def test_connections_without_a_handshake_are_closed(fresh):
    server = fresh({"nio.sessionlessCnxnTimeout": 500})
    conns = [frames.Conn(server.address) for _ in range(3)]
    conns[1].send_raw(b"\0\0")
    conns[2].send_raw(frames.frame(b"\0" * 45)[:30])
    with frames.session(server.address) as good:
        for conn in conns:
            assert conn.recv_frame(timeout=8) is CLOSED
        assert still_open(good)


def test_digest_can_be_switched_off(fresh):
    server = fresh({"DigestAuthenticationProvider.enabled": "false"})
    with frames.session(server.address) as conn:
        assert conn.call("create", path="/a", acl=[(31, "digest", "a:b")]).err == \
            ERR["INVALIDACL"]
        assert conn.call("auth", -4, scheme="digest", auth=b"a:b").err == ERR["AUTHFAILED"]
        assert conn.reply() is CLOSED


def test_outstanding_limit_delays_but_serves_all(fresh):
    server = fresh({"globalOutstandingLimit": 2})
    conns = [frames.session(server.address) for _ in range(4)]
    for conn in conns:
        conn.send_raw(b"".join(frames.frame(frames.request(xid, "setData", path="/"))
                               for xid in range(1, 200)))
    for conn in conns:
        assert [conn.reply().xid for _ in range(1, 200)] == list(range(1, 200))
