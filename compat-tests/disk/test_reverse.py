"""What zkd writes is what stock would have written: the other one goes on with it, both ways."""
import random
import re
import time

import pytest

import datadir
import format
import frames
from harness import servers

DEFAULT_PREALLOC = 64 << 20
MISMATCH = re.compile(r"digest mismatch|Digests are not matching", re.I)
FRESH = bytes.fromhex(  # snapshot.0 of a new server: its heads, then zeros for the numbers
    "5a4b534e00000002ffffffffffffffff" "00000000" "000000010000000000000001"
    "0000000100000001" "00000005776f726c64" "00000006616e796f6e65"
    "00000000" "00000000" "ffffffffffffffff" + "00" * 60
    + "0000000a2f7a6f6f6b6565706572" "00000000" "ffffffffffffffff" + "00" * 60
    + "000000112f7a6f6f6b65657065722f636f6e666967" "00000000" "0000000000000001" + "00" * 40
    + "ffffffff" + "00" * 16
    + "000000102f7a6f6f6b65657065722f71756f7461" "00000000" "ffffffffffffffff" + "00" * 60
    + "000000012f" "00000000b8a23b49000000012f"
    + "0000000000000000" "00000002" "0000000000000000" "0000000095b93d59000000012f"
    + "0000000000000000" "00000000bde83f6d000000012f")


@pytest.fixture
def make(request, tmp_path):
    """make(kind, data=..., **config): a server, by default on a directory of its own."""
    missing = {"stock", "zkd"} - set(request.config.server_kinds)
    if missing:
        pytest.skip(f"needs {missing.pop()}, which --servers leaves out")
    made = []

    def new(kind, data=None, **config):
        config = {"dataDir": str(data or tmp_path / "data"), **config}
        made.append(datadir.new_server(kind, tmp_path / f"server{len(made)}", config=config))
        return made[-1]
    yield new
    for server in made:
        server.stop()


class Workload:
    """A bit of everything; may be done again and again with another prefix."""

    def __init__(self, server):
        self.server = server
        self.conn = frames.session(server.address)
        self.other = frames.session(server.address, timeout_ms=20000)
        for conn in (self.conn, self.other):
            assert conn.call("auth", -4, type=0, scheme="digest", auth=b"bob:secret").err == 0

    def do(self, prefix):
        conn, rng = self.conn, random.Random(prefix)
        root = f"/{prefix}"

        def ok(name, **fields):
            reply = conn.call(name, **fields)
            assert reply.err == 0, (name, fields, reply)
            return reply

        def bad(err, name, **fields):
            assert conn.call(name, **fields).err == frames.ERR[err]
        ok("create", path=root, data=b"root")
        for name, data in (("null", None), ("empty", b""), ("binary", bytes(range(256))),
                           ("large", rng.randbytes(700_000)), ("zeros", bytes(5000))):
            ok("create", path=f"{root}/{name}", data=data)
        for name in ("\u00e4", "\u65e5\u672c", "a b", "x" * 300):
            ok("create2", path=f"{root}/{name}", data=name.encode())
        for acl in ([(31, "world", "anyone")], [(1, "ip", "127.0.0.1"), (31, "world", "anyone")],
                    [(31, "auth", "")], [(31, "digest", "bob:ikIaKsbtGweaHnb/jKn7OHqbunM=")]):
            path = ok("create", path=f"{root}/acl-", acl=acl, flags=2).record("create")["path"]
            if acl[0][1] != "digest":       # that one lets only another bob in
                ok("setACL", path=path, acl=[(31, "world", "anyone"),
                                              (8, "ip", "10.0.0.0/8")])
        for flags in (0, 1, 2, 3):
            for _ in range(3):
                path = f"{root}/f{flags}-{rng.randrange(1 << 30)}"
                ok("create2", path=path, flags=flags, data=b"%d" % flags)
        self.other.call("create", path=f"{root}/other", flags=1)
        ok("createContainer", path=f"{root}/container", flags=4, data=b"c")
        ok("create", path=f"{root}/container/child")
        ok("delete", path=f"{root}/container/child")
        ok("create", path=f"{root}/container/last")
        ok("createTTL", path=f"{root}/ttl", flags=5, ttl=10_000_000)
        ok("createTTL", path=f"{root}/ttl-", flags=6, ttl=1 << 39)
        for number in range(30):
            ok("setData", path=f"{root}/empty", data=b"%d" % number)
        ok("multi", ops=[("create", {"path": f"{root}/m", "flags": 0}),
                         ("setData", {"path": f"{root}/m", "data": b"1"}),
                         ("create", {"path": f"{root}/m/e", "flags": 1}),
                         ("check", {"path": f"{root}/m", "version": 1}),
                         ("delete", {"path": f"{root}/null"})])
        conn.call("multi", ops=[("create", {"path": f"{root}/m2", "flags": 0}),
                                ("delete", {"path": f"{root}/nope"}),
                                ("create", {"path": f"{root}/m3", "flags": 0})])
        bad("NODEEXISTS", "create", path=root)
        bad("NONODE", "delete", path=f"{root}/nope")
        bad("BADVERSION", "setData", path=root, version=9)
        bad("NOTEMPTY", "delete", path=root)
        bad("NOCHILDRENFOREPHEMERALS", "create", path=f"{root}/m/e/x")
        ok("create", path=f"/zookeeper/quota/{prefix}")
        ok("create", path=f"/zookeeper/quota/{prefix}/zookeeper_limits", data=b"count=900,bytes=-1")
        ok("create", path=f"/zookeeper/quota/{prefix}/zookeeper_stats", data=b"count=0,bytes=0")
        ok("create", path=f"{root}/counted", data=b"four")
        for _ in range(3):      # sessions that end in order, with and without ephemerals
            with frames.session(self.server.address) as brief:
                brief.call("create", path=f"{root}/brief-", flags=3)
                brief.call("closeSession")

    def end(self):
        """(zxid, {session: timeout}, tree) as they are now, and no more writes."""
        tree = datadir.read_tree(self.conn)
        sessions = {self.conn.session_id: 30000, self.other.session_id: 20000}
        for conn in (self.conn, self.other):
            conn.close()
        return datadir.last_zxid(self.server), sessions, tree


def check(server, zxid, sessions, tree):
    """Just started: the same tree, the same sessions, the same zxid, and no digest is wrong."""
    assert datadir.last_zxid(server) == zxid
    resumed = [datadir.resume(server, session, timeout) for session, timeout in sessions.items()]
    assert all(resumed)
    datadir.same(datadir.read_tree(resumed[0]), tree)
    assert datadir.resume(server, 12345) is None
    assert datadir.mntr(server, "digest_mismatches_count") == 0
    assert not MISMATCH.search(server.log)
    for conn in resumed:
        conn.close()


@pytest.mark.parametrize("snap_count", [100000, 40], ids=["log-only", "snapshots"])
@pytest.mark.parametrize("kill", [False, True], ids=["stop", "crash"])
@pytest.mark.parametrize("first", ["zkd", "stock"])
def test_each_goes_on_with_the_others_data(make, first, kill, snap_count):
    second = {"zkd": "stock", "stock": "zkd"}[first]
    expected, sessions = None, {}
    for turn, kind in enumerate((first, second, first)):
        server = make(kind, snapCount=snap_count)
        server.start()
        if expected:
            check(server, *expected)
        work = Workload(server)
        work.do(f"w{turn}")
        zxid, mine, tree = work.end()
        sessions.update(mine)
        expected = zxid, sessions, tree
        server.kill() if kill else server.stop()
    server = make(second, snapCount=snap_count)
    server.start()
    check(server, *expected)
    server.kill()
    # and the files themselves, by a third opinion
    folder = datadir.version2(server)
    start = format.snapshots(folder)[0]
    assert start.name == "snapshot.0"
    state = format.replayed(folder)
    assert state.zxid == expected[0]
    same = {path: node for path, node in datadir.client_view(state.nodes).items()
            if not path.endswith("zookeeper_stats") and path in expected[2]}
    datadir.same(same, {path: node for path, node in expected[2].items()
                        if not path.endswith("zookeeper_stats")})


# --- the bytes ---

@pytest.fixture
def zkd(request, tmp_path):
    if "zkd" not in request.config.server_kinds:
        pytest.skip("for zkd only, which --servers leaves out")
    made = []

    def new(props=None, **config):
        made.append(datadir.new_server("zkd", tmp_path / f"own{len(made)}", config=config,
                                       props=props))
        return made[-1]
    yield new
    for server in made:
        server.stop()


def test_a_fresh_directory(server_kind, tmp_path):
    server = datadir.new_server(server_kind, tmp_path)
    folder = datadir.version2(server)
    with server.start():
        assert len(FRESH) == 478
        assert {path.name for path in folder.iterdir()} == {"snapshot.0"}
        assert (folder / "snapshot.0").read_bytes() == FRESH
        with frames.session(server.address) as conn:
            conn.call("create", path="/a")
            log = folder / "log.1"
            assert {path.name for path in folder.iterdir()} == {"snapshot.0", "log.1"}
            assert log.stat().st_size == 16 + DEFAULT_PREALLOC
            head = log.read_bytes()[:16]
            assert head == format.LOG_HEADER
            assert log.stat().st_blocks * 512 < 32 << 20     # it is sparse
        server.stop()
        assert log.stat().st_size == 16 + DEFAULT_PREALLOC   # and stays as it is
    assert [entry.zxid for entry in format.log_entries(folder)] == [1, 2]


# preAllocSize (KB): size of the log after some 100 KB were written; None: just the entries
SIZES = {"0": None, "-1": None, "1": 1024, "64": 65536, "junk": DEFAULT_PREALLOC}


@pytest.mark.parametrize("size", SIZES)
def test_preallocation(server_kind, tmp_path, size):
    server = datadir.new_server(server_kind, tmp_path, config={"preAllocSize": size})
    folder = datadir.version2(server)
    with server.start():
        with frames.session(server.address) as conn:
            for number in range(100):   # one after the other: stock's padding is wrong in batches
                assert conn.call("create", path=f"/n{number}", data=b"x" * 950).err == 0
        server.kill()
        log = folder / "log.1"
        entries = list(format.entries(log.read_bytes()))
        assert len(entries) == 101
        end, length = entries[-1].end, log.stat().st_size
        step = SIZES[size]
        if step is None:
            assert length == end
        elif step < 4096:       # an entry is longer than a step: the padding lags behind
            assert end <= length <= end + step + 4096
        else:
            assert (length - 16) % step == 0 and end <= length < end + step + 4096
        server.start()
        assert datadir.last_zxid(server) == 101


@pytest.mark.parametrize("size", ["1", "4"])
def test_preallocation_in_batches(zkd, size):
    """stock can write its padding into a batch; zkd must not."""
    server = zkd(preAllocSize=size).start()
    conn = frames.session(server.address)
    rng = random.Random(1)
    for number in range(400):
        conn.submit("create", path=f"/n{number}", data=rng.randbytes(rng.randrange(9000)))
    assert all(conn.reply().err == 0 for _ in range(400))
    server.kill()
    assert format.replayed(datadir.version2(server)).zxid == 401


LIMITS = {"txnLogSizeLimitInKb": {"txnLogSizeLimitInKb": 100, "preAllocSize": 16},
          "snapSizeLimitInKb": {"snapSizeLimitInKb": 100, "preAllocSize": 16},
          "snapCount": {"snapCount": 50}}


@pytest.mark.parametrize("what", LIMITS)
def test_when_a_new_file_starts(server_kind, tmp_path, what):
    server = datadir.new_server(server_kind, tmp_path, config=LIMITS[what])
    folder = datadir.version2(server)
    with server.start():
        conn = frames.session(server.address)
        for number in range(300):
            assert conn.call("create", path=f"/n{number}", data=b"x" * 2000).err == 0
        last = datadir.last_zxid(server)
        files = format.logs(folder)
        if what == "txnLogSizeLimitInKb":   # a new file, and no snapshot
            assert 4 <= len(files) <= 12
            assert len(format.snapshots(folder)) == 1
            assert all(path.stat().st_size <= 140 << 10 for path in files)
        else:
            assert len(files) >= 4
            servers.wait_for(lambda: len(format.snapshots(folder)) >= 3, 5, "snapshots")
        if what == "snapCount":
            counts = [len(list(format.entries(path.read_bytes()))) for path in files[:-1]]
            assert all(26 <= count <= 51 for count in counts)
        conn.close()
        server.restart(kill=True)
        assert datadir.last_zxid(server) == last
    assert [entry.zxid for entry in format.log_entries(folder)] == list(range(1, last + 1))


def test_a_negative_snapshot_limit_is_none(server_kind, tmp_path):
    server = datadir.new_server(server_kind, tmp_path, config={"snapSizeLimitInKb": -1})
    with server.start(), frames.session(server.address) as conn:
        for number in range(50):
            assert conn.call("create", path=f"/n{number}", data=b"x" * 2000).err == 0
        assert len(format.logs(datadir.version2(server))) == 1


def test_without_forced_syncs(server_kind, tmp_path):
    server = datadir.new_server(server_kind, tmp_path, config={"forceSync": "no"})
    with server.start():
        with frames.session(server.address) as conn:
            assert conn.call("create", path="/a").err == 0
        server.restart(kill=True)   # of the process; the machine goes on, and with it the cache
        assert datadir.last_zxid(server) == 2


# --- retention ---

def fill(folder, snapshots, logs, extra=()):
    folder.mkdir(exist_ok=True)
    snap = format.empty_tree()
    for zxid in snapshots:
        snap.digest, snap.last_zxid = (0, 0), zxid
        (folder / f"snapshot.{zxid:x}").write_bytes(format.write_snapshot(snap))
    for zxid in logs:
        (folder / f"log.{zxid:x}").write_bytes(format.LOG_HEADER)
    for name, raw in extra:
        (folder / name).write_bytes(raw)


# snapshots, logs, more files; which of them stay with the newest three snapshots kept
PURGES = {
    "few": ([1, 2], [1, 2], [], {"snapshot.1", "snapshot.2", "log.1", "log.2"}),
    "many": ([0, 10, 20, 30, 40], [1, 11, 21, 31, 41], [],
             {"snapshot.14", "snapshot.1e", "snapshot.28", "log.b", "log.15", "log.1f", "log.29"}),
    "log of the same name": ([10, 20, 30, 40], [1, 20, 31], [],
                             {"snapshot.14", "snapshot.1e", "snapshot.28", "log.14", "log.1f"}),
    "invalid ones do not count": ([10, 20, 30, 40], [1, 11, 41],
                                  [("snapshot.32", b"half"), ("snapshot.5", b"half")],
                                  {"snapshot.14", "snapshot.1e", "snapshot.28", "snapshot.32",
                                   "log.b", "log.29"}),
    "others are left alone": ([10, 20, 30, 40], [5, 11], [("acceptedEpoch", b"1"),
                                                          ("note", b"mine")],
                              {"snapshot.14", "snapshot.1e", "snapshot.28", "log.b",
                               "acceptedEpoch", "note"}),
}


@pytest.mark.parametrize("what", PURGES)
def test_purge_at_start(server_kind, tmp_path, what):
    snapshots, logs, extra, stay = PURGES[what]
    server = datadir.new_server(server_kind, tmp_path, config={
        "autopurge.purgeInterval": 1, "autopurge.snapRetainCount": 3})
    folder = datadir.version2(server)
    fill(folder, snapshots, logs, extra)
    # the snapshot that a start may take of the newest state replaces the newest file
    with server.start():
        servers.wait_for(lambda: {path.name for path in folder.iterdir()} == stay, 10,
                         f"purge down to {sorted(stay)}")
        time.sleep(0.2)
        assert {path.name for path in folder.iterdir()} == stay


def test_no_purge_unless_asked_for(server_kind, tmp_path):
    server = datadir.new_server(server_kind, tmp_path)
    folder = datadir.version2(server)
    fill(folder, [10, 20, 30, 40, 50], [1, 11])
    before = {path.name for path in folder.iterdir()}
    with server.start():
        assert before <= {path.name for path in folder.iterdir()}
