"""Four-letter words: the text line by line, numbers that depend on time or machine masked.

Same assertions on stock and zkd. Shapes are regular expressions, one a line.
"""
import re
import struct
import time
from datetime import datetime

import pytest

import frames
import pair
from frames import CLOSED

from harness.servers import wait_for

WORDS = ["conf", "cons", "crst", "dirs", "dump", "envi", "gtmk", "ruok", "stmk", "srst", "srvr",
         "stat", "wchc", "wchp", "wchs", "mntr", "isro", "hash"]
NUMBER = r"-?\d+"
DOUBLE = r"\d+\.\d{1,4}"
DATE = r"[A-Z][a-z]{2} [A-Z][a-z]{2} \d\d \d\d:\d\d:\d\d \S+ \d{4}"
SESSION = r"0x[0-9a-f]+"


def lines(text):
    """The lines of a text that ends with a newline."""
    assert text.endswith("\n"), repr(text[-40:])
    return text[:-1].split("\n")


def match(text, shapes):
    """Every line matches its shape; a shape (shape, low, high) stands for a run of lines."""
    got = lines(text)
    for shape in shapes:
        shape, low, high = shape if isinstance(shape, tuple) else (shape, 1, 1)
        count = 0
        while got and count < high and re.fullmatch(shape, got[0]):
            got.pop(0)
            count += 1
        assert count >= low, "no line for %r in\n%s\nat %r" % (shape, text, got[:1])
    assert not got, "lines left over: %r" % got


def ask(server, word, extra=b""):
    return frames.four_letter(server.address, word, extra)


@pytest.fixture
def lone(fresh):
    """A server of its own with one session and some nodes."""
    server = fresh({"tickTime": 2000})
    server.conn = frames.session(server.address, timeout_ms=20000)
    server.conn.call("create", path="/app")
    server.conn.call("create", path="/app/e2", flags=1)
    server.conn.call("create", path="/app/e1", flags=1)
    yield server
    server.conn.close()


# ---- one word each ---------------------------------------------------------------------------
@pytest.mark.parametrize("word,answer", [
    ("ruok", "imok"), ("isro", "rw"), ("crst", "Connection stats reset.\n"),
    ("srst", "Server stats reset.\n")])
def test_fixed_answers(server, word, answer):
    assert ask(server, word) == answer


@pytest.mark.parametrize("extra", [b"\n", b"\r\n", b" and more", b"\0" * 100])
def test_what_follows_the_word_is_not_read(server, extra):
    with frames.Conn(server.address) as conn:
        conn.send_raw(b"ruok" + extra)
        # a close with unread bytes may arrive as a reset, but only behind the answer
        assert conn.recv_all() == b"imok"


def test_word_byte_by_byte(server):
    with frames.Conn(server.address) as conn:
        for byte in b"ruok":
            conn.send_raw(bytes([byte]))
        assert conn.recv_all() == b"imok"


def test_trace_mask(server):
    assert ask(server, "gtmk") == "306"
    for mask in (0, 18, -1, 2 ** 62):
        assert ask(server, "stmk", struct.pack(">q", mask)) == str(mask)
        assert ask(server, "gtmk") == str(mask)
    assert ask(server, "stmk", struct.pack(">q", 306)) == "306"


@pytest.mark.parametrize("word", ["abcd", "RUOK", "lsnp", "ruok"[::-1], "cons"[:3] + "S"])
def test_unknown_words_are_absurd_lengths(server, word):
    with frames.Conn(server.address) as conn:
        conn.send_raw(word.encode())
        assert conn.recv_frame() is CLOSED


@pytest.mark.parametrize("word", ["ruok", "srvr", "isro"])
def test_words_are_only_for_new_connections(server, word):
    with frames.session(server.address) as conn:
        conn.send_raw(word.encode())
        assert conn.recv_frame() is CLOSED


def test_telnet_close(server):
    with frames.Conn(server.address) as conn:
        conn.send_raw(b"\xff\xf4\xff\xfd")
        assert conn.recv_frame() is CLOSED


def test_a_word_takes_no_session(server):
    first = frames.session(server.address)
    for word in WORDS:
        if word not in ("stmk", "crst", "srst"):
            ask(server, word)
    second = frames.session(server.address)
    assert second.session_id == first.session_id + 1
    first.close()
    second.close()


def test_conf(fresh):
    server = fresh({"maxClientCnxns": 60})
    data = re.escape(str(server.datadir)) + "/version-2"
    match(ask(server, "conf"), [
        "clientPort=%d" % server.port, "secureClientPort=-1", "dataDir=" + data,
        r"dataDirSize=\d+", "dataLogDir=" + data, r"dataLogSize=\d+", "tickTime=2000",
        "maxClientCnxns=60", "minSessionTimeout=4000", "maxSessionTimeout=40000",
        "clientPortListenBacklog=-1", "serverId=0"])


def test_dirs(lone):
    match(ask(lone, "dirs"), [r"datadir_size: \d+", r"logdir_size: \d+"])
    # the log is allocated ahead in whole blocks and counts in full
    size = int(re.search(r"logdir_size: (\d+)", ask(lone, "dirs")).group(1))
    assert size >= 65536 * 1024 // 2


ENVI = ["zookeeper.version", "host.name", "java.version", "java.vendor", "java.home",
        "java.class.path", "java.library.path", "java.io.tmpdir", "java.compiler", "os.name",
        "os.arch", "os.version", "user.name", "user.home", "user.dir", "os.memory.free",
        "os.memory.max", "os.memory.total"]


def test_envi(server):
    shapes = ["Environment:"]
    for key in ENVI:
        shapes.append(re.escape(key) + (r"=\d+MB" if "memory" in key else "=.*"))
    match(ask(server, "envi"), shapes)


SRVR = [r"Latency min/avg/max: \d+/%s/\d+" % DOUBLE, r"Received: \d+", r"Sent: \d+",
        r"Connections: \d+", "Outstanding: 0", "Zxid: 0x[0-9a-f]+", "Mode: standalone",
        r"Node count: \d+"]
VERSION = r"Zookeeper version: \d+\.\d+\.\d+.*, built on .+"


def test_srvr(lone):
    text = ask(lone, "srvr")
    match(text, [VERSION] + SRVR)
    assert "Zxid: 0x4\n" in text and "Node count: 8\n" in text and "Connections: 2\n" in text


def test_stat(lone):
    match(ask(lone, "stat"), [
        VERSION, "Clients:", (r" /127\.0\.0\.1:\d+\[[01]\]\(queued=0,recved=\d+,sent=\d+\)", 2, 3),
        ""] + SRVR)


def test_counters(fresh):
    """What Received and Sent count, and what srst resets."""
    server = fresh()

    def count(name):
        return int(re.search(name + r": (\d+)", ask(server, "srvr")).group(1))
    with frames.session(server.address) as conn:
        received, sent = count("Received"), count("Sent")
        for _ in range(10):
            conn.call("exists", path="/")
        # each word counts as one packet received and one sent, the latter once it is answered
        assert (count("Received") - received, count("Sent") - sent) == (12, 12)
        assert ask(server, "srst") == "Server stats reset.\n"
        assert count("Received") < 5 and count("Sent") < 5


CONS_IDLE = r" /127\.0\.0\.1:\d+\[0\]\(queued=0,recved=\d+,sent=\d+\)"


def session_line(conn, lop, cxid, zxid, received, sent):
    lcxid = ",lcxid=0x%x" % cxid if cxid is not None else ""
    return (r" /127\.0\.0\.1:%d\[1\]\(queued=0,recved=%d,sent=%d,sid=0x%x,lop=%s,est=\d{13},"
            r"to=20000%s,lzxid=0x%x,lresp=\d+,llat=\d+,minlat=\d+,avglat=\d+,maxlat=\d+\)" % (
                conn.sock.getsockname()[1], received, sent, conn.session_id, lop, lcxid,
                zxid & 0xffffffffffffffff))


def test_cons(lone):
    conn = lone.conn
    # three creates after the handshake
    match(ask(lone, "cons"), [(CONS_IDLE, 0, 2), (session_line(conn, "CREA", 3, 4, 4, 4), 1, 1),
                              (CONS_IDLE, 0, 2), ""])


@pytest.mark.parametrize("name,lop,fields", [
    ("ping", "PING", {}), ("exists", "EXIS", {"path": "/"}), ("getData", "GETD", {"path": "/"}),
    ("getChildren", "GETC", {"path": "/"}), ("getChildren2", "GETC", {"path": "/"}),
    ("getACL", "GETA", {"path": "/"}), ("sync", "SYNC", {"path": "/"}),
    ("multi", "MULT", {"ops": []}), ("multiRead", "MLTR", {"ops": []}),
    ("create", "CREA", {"path": "/lop-", "flags": 3}),
    ("create2", "CREA", {"path": "/lop-", "flags": 3}),
    ("createContainer", "CREA", {"path": "/lop-", "flags": 4}),
    ("createTTL", "CREA", {"path": "/lop-", "flags": 6, "ttl": 10 ** 9}),
    ("setData", "SETD", {"path": "/"}), ("setACL", "SETA", {"path": "/"}),
    # a write that failed has no name; a read that failed has
    ("create", "NA", {"path": "/"}), ("delete", "NA", {"path": "/none"}),
    ("setData", "NA", {"path": "/none"}), ("exists", "EXIS", {"path": "/none"}),
    ("setWatches", "SETW", {}),
    ("setWatches2", "STW2", {}), ("addWatch", "ADDW", {"path": "/", "mode": 0}),
    ("checkWatches", "CHKW", {"path": "/", "type": 3}),
    ("removeWatches", "REMW", {"path": "/", "type": 3}), ("whoAmI", "HOMI", {}),
    ("getEphemerals", "GETE", {"prefix": "/"}), ("getAllChildrenNumber", "GETACN", {"path": "/"})])
def test_last_operation_in_cons(connect, server, name, lop, fields):
    conn = connect()
    conn.call(name, **fields)
    line = next(line for line in lines(ask(server, "cons"))
                if "sid=0x%x," % conn.session_id in line)
    assert re.search(r"lop=(\w+)", line).group(1) == lop


def test_delete_in_cons(connect, server, root):
    conn = connect()
    assert conn.call("delete", path=root).err == 0
    assert re.search(r"sid=0x%x,lop=DELE," % conn.session_id, ask(server, "cons"))


def test_crst(lone):
    assert ask(lone, "crst") == "Connection stats reset.\n"
    shape = session_line(lone.conn, "NA", None, -1, 0, 0).replace(r"lresp=\d+", "lresp=0")
    match(ask(lone, "cons"), [(CONS_IDLE, 0, 2), (shape, 1, 1), (CONS_IDLE, 0, 2), ""])


def test_dump(lone):
    session = "0x%x" % lone.conn.session_id
    match(ask(lone, "dump"), [
        "SessionTracker dump:", r"Session Sets \(\d+\)/\(1\):",
        ("0 expire at %s:" % DATE, 0, 20), "1 expire at %s:" % DATE, "\t" + session,
        ("0 expire at %s:" % DATE, 0, 20),
        "ephemeral nodes dump:", r"Sessions with Ephemerals \(1\):", session + ":",
        ("\t/app/e[12]", 2, 2),
        "Connections dump:", r"Connections Sets \(\d+\)/\(\d+\):",
        (r"\d+ expire at %s:|\tip: /127\.0\.0\.1:\d+ sessionId: 0x[0-9a-f]+" % DATE, 2, 40)])
    assert "sessionId: " + session + "\n" in ask(lone, "dump")


def test_dump_dates(lone):
    """A session expires when its timeout has passed, rounded up to a tick; so do connections."""
    dates = re.findall(r"[1-9]\d* expire at (.*):", ask(lone, "dump"))
    left = [datetime.strptime(re.sub(r" \S+ (\d{4})$", r" \1", date), "%a %b %d %H:%M:%S %Y")
            .timestamp() - (time.time() + time.timezone) for date in dates]
    assert all(-1 < seconds < 40 for seconds in left), dates
    assert 15 < left[0] < 24, dates  # the session: 20 s and a tick


def test_dump_without_anything(fresh):
    match(ask(fresh(), "dump"), [
        "SessionTracker dump:", r"Session Sets \(\d+\)/\(0\):", ("0 expire at %s:" % DATE, 0, 20),
        "ephemeral nodes dump:", r"Sessions with Ephemerals \(0\):",
        "Connections dump:", r"Connections Sets \(\d+\)/\(\d+\):",
        (r"\d+ expire at %s:|\tip: /127\.0\.0\.1:\d+ sessionId: 0x0" % DATE, 0, 40)])


def test_watch_words(lone):
    session = "0x%x" % lone.conn.session_id
    assert ask(lone, "wchs") == "0 connections watching 0 paths\nTotal watches:0\n"
    assert ask(lone, "wchc") == ask(lone, "wchp") == "\n"
    lone.conn.call("getData", path="/app", watch=True)
    lone.conn.call("exists", path="/none", watch=True)
    lone.conn.call("getChildren", path="/", watch=True)  # child watches are not shown
    assert ask(lone, "wchs") == "1 connections watching 2 paths\nTotal watches:2\n"
    match(ask(lone, "wchc"), [session, ("\t/app|\t/none", 2, 2), ""])
    match(ask(lone, "wchp"), ["/app|/none", "\t" + session, "/app|/none", "\t" + session, ""])
    with frames.session(lone.address) as other:
        other.call("addWatch", path="/app", mode=1)
        assert ask(lone, "wchs") == "2 connections watching 2 paths\nTotal watches:3\n"


def test_watch_words_remember_who_watched(lone):
    """A connection whose watches have fired is still listed; one that removed its last is not."""
    session = "0x%x" % lone.conn.session_id
    lone.conn.call("getData", path="/app", watch=True)
    lone.conn.call("setData", path="/app")
    assert ask(lone, "wchs") == "1 connections watching 0 paths\nTotal watches:0\n"
    assert ask(lone, "wchc") == session + "\n\n"
    assert ask(lone, "wchp") == "\n"
    lone.conn.call("getData", path="/app", watch=True)
    assert lone.conn.call("removeWatches", path="/app", type=2).err == 0
    assert ask(lone, "wchs") == "0 connections watching 0 paths\nTotal watches:0\n"
    assert ask(lone, "wchc") == "\n"


def test_requests_without_a_trace_in_cons(connect, server):
    """What is answered before the request processors counts as packets and nothing else."""
    conn = connect()
    conn.call("exists", path="/")
    line = next(x for x in lines(ask(server, "cons")) if "sid=0x%x," % conn.session_id in x)
    assert conn.call("auth", -4, type=0, scheme="digest", auth=b"a:b").err == 0
    after = next(x for x in lines(ask(server, "cons")) if "sid=0x%x," % conn.session_id in x)
    assert "recved=2,sent=2," in line and "recved=3,sent=3," in after
    assert line.split("sent=2")[1] == after.split("sent=3")[1]


def test_renewed_session_in_cons(server):
    first = frames.session(server.address)
    with frames.session(server.address, session_id=first.session_id,
                        password=first.password) as second:
        second.call("exists", path="/")
        # a stock server sends a reply before it has counted it
        wait_for(lambda: re.search(
            r"\(queued=0,recved=2,sent=2,sid=0x%x,lop=EXIS," % first.session_id,
            ask(server, "cons")), 5, "the counters")
    first.close()


MNTR = [  # (key without zk_, shape of the value): what every standalone server shows
    ("version", r"\d+\.\d+\.\d+.*, built on .+"), ("server_state", "standalone"),
    ("avg_latency", DOUBLE), ("max_latency", NUMBER), ("min_latency", NUMBER),
    ("packets_received", NUMBER), ("packets_sent", NUMBER), ("num_alive_connections", NUMBER),
    ("outstanding_requests", "0"), ("znode_count", NUMBER), ("watch_count", NUMBER),
    ("ephemerals_count", NUMBER), ("approximate_data_size", NUMBER), ("uptime", NUMBER),
    ("open_file_descriptor_count", NUMBER), ("max_file_descriptor_count", NUMBER),
    ("global_sessions", NUMBER), ("local_sessions", NUMBER),
    ("connection_drop_probability", r"\d+\.\d+"), ("last_client_response_size", NUMBER),
    ("max_client_response_size", NUMBER), ("min_client_response_size", NUMBER),
    ("outstanding_tls_handshake", NUMBER), ("auth_failed_count", NUMBER),
    ("non_mtls_remote_conn_count", NUMBER), ("non_mtls_local_conn_count", NUMBER),
    ("connection_request_count", NUMBER), ("bytes_received_count", NUMBER),
    ("response_bytes", NUMBER), ("watch_bytes", NUMBER), ("connection_rejected", NUMBER),
    ("connection_drop_count", NUMBER), ("stale_sessions_expired", NUMBER),
    ("digest_mismatches_count", "0"), ("avg_fsynctime", r"\d+\.\d+"), ("cnt_fsynctime", NUMBER),
    ("cnt_snapshottime", NUMBER), ("cnt_readlatency", NUMBER), ("p99_readlatency", NUMBER),
    ("cnt_updatelatency", NUMBER), ("p999_updatelatency", NUMBER), ("sum_updatelatency", NUMBER),
    ("cnt_node_created_watch_count", NUMBER), ("cnt_node_changed_watch_count", NUMBER)]


def mntr(server):
    table = {}
    for line in lines(ask(server, "mntr")):
        key, value = line.split("\t")
        assert key.startswith("zk_") and key[3:] not in table, key
        table[key[3:]] = value
    return table


def test_mntr_keys_and_shapes(lone):
    table = mntr(lone)
    assert list(table)[:2] == ["version", "server_state"]
    missing = [key for key, _ in MNTR if key not in table]
    assert not missing
    wrong = [(key, table[key]) for key, shape in MNTR if not re.fullmatch(shape, table[key])]
    assert not wrong
    for key, value in list(table.items())[2:]:
        assert re.fullmatch(r"-?\d+|-?\d+\.\d+(E-?\d+)?", value), (key, value)


def test_mntr_values(lone):
    before = mntr(lone)
    assert (before["znode_count"], before["ephemerals_count"]) == ("8", "2")
    assert before["global_sessions"] == "1" and before["watch_count"] == "0"
    lone.conn.call("getData", path="/app", watch=True)
    lone.conn.call("getChildren", path="/app", watch=True)
    assert mntr(lone)["watch_count"] == "2"
    lone.conn.call("setData", path="/app", data=b"12345")
    after = mntr(lone)
    assert after["watch_count"] == "1"
    assert int(after["packets_received"]) - int(before["packets_received"]) == 5


# Which numbers do not depend on time, and only on what the clients did.
EXACT = ["ephemerals_count", "znode_count", "watch_count", "approximate_data_size",
         "global_sessions", "num_alive_connections", "packets_received", "packets_sent",
         "last_client_response_size", "max_client_response_size", "min_client_response_size",
         "auth_failed_count", "outstanding_requests", "bytes_received_count", "response_bytes",
         "watch_bytes", "connection_request_count", "connection_revalidate_count",
         "connection_drop_count", "prep_processor_request_queued",
         "sync_processor_request_queued", "outstanding_changes_queued",
         "outstanding_changes_removed", "cnt_readlatency", "cnt_updatelatency",
         "cnt_propagation_latency", "cnt_sync_processor_queue_and_flush_time_ms",
         "sum_sync_processor_batch_size"]


def test_mntr_counts_what_stock_counts(zkd, tmp_path):
    """The same work, the same numbers: those above, watchers per event, quotas and bytes per
    namespace. New servers; the shared zkd is only asked for to be skipped without one."""
    seen = []
    for kind in ("zkd", "stock"):
        server = pair.make_server(kind, tmp_path / kind, {"enforceQuota": "true"})
        with frames.session(server.address) as conn, frames.session(server.address) as other:
            for path, data in (("/app", b"abc"), ("/app/sub", b""), ("/app/e", None)):
                conn.call("create", path=path, data=data, flags=int(path == "/app/e"))
            for path in ("/", "/app", "/none"):
                for name in ("exists", "getData", "getChildren", "getChildren2", "getACL"):
                    conn.call(name, path=path)
            for session in (conn, other):
                session.call("getData", path="/app", watch=True)
                session.call("getChildren", path="/app", watch=True)
                session.call("exists", path="/none", watch=True)
            other.call("addWatch", path="/app", mode=1)
            conn.call("setData", path="/app", data=b"12345")
            conn.call("create", path="/app/f")
            conn.call("create", path="/none")
            conn.call("getData", path="/none", watch=True)
            conn.call("getChildren", path="/none", watch=True)
            conn.call("delete", path="/none")
            conn.call("setData", path="/none")
            conn.call("ping", -2)
            conn.call("multi", ops=[("create", {"path": "/m"}), ("setData", {"path": "/m"})])
            conn.call("multi", ops=[("create", {"path": "/n"}), ("delete", {"path": "/gone"})])
            conn.call("create", path="/zookeeper/quota/app")
            conn.call("create", path="/zookeeper/quota/app/zookeeper_stats",
                      data=b"count=1,bytes=1")
            conn.call("create", path="/zookeeper/quota/app/zookeeper_limits",
                      data=b"count=9,bytes=-1=;byteHardLimit=40;countHardLimit=-1")
            conn.call("setData", path="/app", data=b"x" * 100)
            other.call("closeSession")
            assert other.reply() is frames.CLOSED   # with its watches gone
            seen.append(mntr(server))
        server.stop()
    keys = EXACT + [key for key in seen[1] if re.search("_per_namespace|_watch_count$", key)]
    assert len(keys) > 60 and seen[1]["app_quota_exceeded_error_per_namespace"] == "1"
    assert {key: seen[0].get(key) for key in keys} == {key: seen[1][key] for key in keys}


def all_mntr_keys(server):
    """Keys after some work, without those that name a first path component or appear at will."""
    return {re.sub(r"^(avg|min|max|cnt|sum|p50|p95|p99|p999)_(app|zookeeper)_", r"\1_NS_", key)
            for key in mntr(server)}


def test_mntr_has_the_same_keys_as_stock(zkd, tmp_path):
    """Whatever a dashboard asks stock for is there. New servers, because keys appear as things
    happen; the shared zkd is only asked for to be skipped without one."""
    seen = []
    for kind in ("zkd", "stock"):
        server = pair.make_server(kind, tmp_path / kind)
        with frames.session(server.address) as conn:
            conn.call("create", path="/app")
            conn.call("getData", path="/app")
        seen.append(all_mntr_keys(server))
        server.kill()
    assert seen[0] == seen[1]  # no exceptions: what we do not have is 0, as in an idle stock


def test_summaries(lone):
    """avg is sum / cnt; percentiles lie between min and max and in order."""
    for _ in range(50):
        lone.conn.call("setData", path="/app", data=b"x")
        lone.conn.call("getData", path="/app")
    table = mntr(lone)
    for name in ("readlatency", "updatelatency", "propagation_latency",
                 "sync_processor_queue_and_flush_time_ms", "fsynctime",
                 "sync_processor_batch_size", "app_write_per_namespace"):
        low, high, count, total = (int(table["%s_%s" % (part, name)])
                                   for part in ("min", "max", "cnt", "sum"))
        assert count >= 1 and low * count <= total <= high * count
        assert abs(float(table["avg_" + name]) - total / count) <= 0.00005001
        if "p50_" + name in table:
            ladder = [int(table["%s_%s" % (p, name)]) for p in ("p50", "p95", "p99", "p999")]
            assert ladder == sorted(ladder) and low <= ladder[0] and ladder[-1] <= high
    assert int(table["cnt_updatelatency"]) == 54 and int(table["cnt_readlatency"]) == 50


def test_srst_resets_counters_and_summaries_only(lone):
    lone.conn.call("getData", path="/app")
    assert ask(lone, "srst") == "Server stats reset.\n"
    table = mntr(lone)
    for key in ("cnt_readlatency", "sum_fsynctime", "p999_updatelatency", "response_bytes",
                "watch_bytes", "connection_request_count", "outstanding_changes_queued",
                "cnt_app_write_per_namespace", "sum_app_read_per_namespace", "max_latency",
                "cnt_startup_snap_load_time"):
        assert table[key] == "0", key
    assert table["avg_updatelatency"] == table["avg_latency"] == "0.0"
    assert table["max_client_response_size"] == table["last_client_response_size"] == "-1"
    assert (table["znode_count"], table["global_sessions"]) == ("8", "1")
    assert int(table["approximate_data_size"]) > 40


def test_startup_summaries(fresh):
    server = fresh()
    with frames.session(server.address) as conn:
        conn.call("create", path="/a")
    assert mntr(server)["cnt_startup_txns_loaded"] == "0"
    server.restart(kill=True)
    table = mntr(server)
    assert (table["cnt_startup_txns_loaded"], table["sum_startup_txns_loaded"]) == ("1", "2")
    assert table["cnt_startup_txns_load_time"] == table["cnt_startup_snap_load_time"] == "1"
    assert table["cnt_dbinittime"] == "1"


def test_hash(fresh):
    """One line each 128 transactions."""
    server = fresh()
    assert ask(server, "hash") == ""
    with frames.session(server.address) as conn:
        for _ in range(300):
            conn.call("setData", path="/")
    assert [re.fullmatch(r"([0-9a-f]+): -?\d+", line).group(1)
            for line in lines(ask(server, "hash"))] == ["80", "100"]


# ---- the whitelist ---------------------------------------------------------------------------
def refusal(word):
    return "%s is not executed because it is not in the whitelist.\n" % word


def test_default_whitelist(fresh):
    server = fresh({"4lw.commands.whitelist": "srvr"})
    match(ask(server, "srvr"), [VERSION] + SRVR)
    for word in WORDS:
        if word not in ("srvr", "isro"):
            assert ask(server, word, b"\0" * 8 if word == "stmk" else b"") == refusal(word)
    with frames.Conn(server.address) as conn:
        conn.send_raw(b"\xff\xf4\xff\xfd")
        assert conn.recv_all().decode() == refusal("telnet close")


@pytest.mark.parametrize("setting,allowed", [
    ("ruok", {"ruok"}), (" ruok , stat,nonsense,,", {"ruok", "stat"}), ("ruok,*", set(WORDS)),
    ("", set()), ("RUOK", set())])
def test_whitelist(fresh, setting, allowed):
    server = fresh({"4lw.commands.whitelist": setting})
    for word in ("ruok", "stat", "wchs", "envi", "dirs"):
        assert (ask(server, word) != refusal(word)) == (word in allowed), word
