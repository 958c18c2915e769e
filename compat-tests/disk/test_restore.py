"""Directories that stock has written are restored to exactly what stock makes of them."""
import gzip
import json
import random
import shutil

import pytest

import datadir
import format
import frames
import packing

from harness.servers import wait_for

# set, files left out: the same state must come of either
SETS = [("main", ()), ("main", ("snapshot.22",)), ("fuzzy", ()), ("fuzzy", ("snapshot.611",)),
        ("quorum-s2", ()), ("quorum-s2", ("snapshot.10000000a",)), ("quorum-s3", ())]


@pytest.fixture
def server(server_kind, tmp_path):
    server = datadir.new_server(server_kind, tmp_path)
    yield server
    server.stop()


def check(server, name, unknown=()):
    """Everything a client can see, then what the server's own snapshot says of it."""
    zxid, sessions, nodes, digest = datadir.expected(name)

    def known(tree):
        return {path: node for path, node in tree.items() if path not in unknown}
    assert datadir.last_zxid(server) == zxid
    resumed = [datadir.resume(server, session, timeout) for session, timeout in sessions.items()]
    assert all(resumed)
    reader = resumed[0] if resumed else frames.session(server.address)
    datadir.same(known(datadir.read_tree(reader)), known(datadir.client_view(nodes)))
    for session in sessions:        # a wrong password, and sessions that never were
        with frames.Conn(server.address) as conn:
            answer = conn.connect(session_id=session, password=b"wrong password..")
            assert answer is frames.CLOSED or answer["timeOut"] == 0
        assert datadir.resume(server, session + 0x77) is None
    assert datadir.mntr(server, "digest_mismatches_count") == 0
    for conn in resumed:
        conn.close()
    if not resumed:
        reader.close()
    written = datadir.version2(server) / f"snapshot.{zxid:x}"
    wait_for(written.exists, 15, "the snapshot of the start")
    snap = format.newest(datadir.version2(server))
    datadir.same(known(snap.nodes), known(nodes))
    assert snap.sessions == sessions
    assert format.tree_digest(snap.nodes) == digest
    # stock knows no digest of a tree that it has only restored
    assert snap.digest in ([(zxid, digest)] if server.kind == "zkd" else [(zxid, digest), (0, 0)])


@pytest.mark.parametrize("name,drop", SETS, ids=lambda part: "-".join(part) or "all"
                         if isinstance(part, tuple) else part)
def test_restores_what_was_there(server, name, drop):
    datadir.copy_set(name, server, drop)
    server.start()
    # an ensemble's member keeps its configuration in this node, and only in snapshots
    unknown = ["/zookeeper/config"] if name.startswith("quorum") and drop else []
    check(server, name, unknown)
    server.restart(kill=True)       # and again, from what this start made of it
    if datadir.expected(name)[1]:
        check(server, name, unknown)


@pytest.mark.parametrize("file", ["snapshot.2a.gz", "snapshot.2a.snappy", "snapshot.2a.by-3.9.5"])
@pytest.mark.parametrize("alone", [False, True], ids=["beside", "alone"])
def test_extra_snapshots(server, file, alone):
    datadir.copy_set("main", server)
    folder = datadir.version2(server)
    if alone:
        for path in list(folder.iterdir()):
            path.unlink()
    name = "snapshot.2a" if "by" in file else file
    shutil.copyfile(datadir.DATA / "extra" / file, folder / name)
    server.start()
    assert datadir.last_zxid(server) == 0x2a
    _, sessions, nodes, _ = datadir.expected("main")
    reader = datadir.resume(server, next(iter(sessions)))
    datadir.same(datadir.read_tree(reader), datadir.client_view(nodes))
    reader.close()


def test_digest_race_is_reported_and_survived(server):
    """Its snapshot has a transaction more than its digest section says."""
    datadir.copy_set("digest-race", server)
    wanted = json.loads((datadir.DATA / "digest-race.json").read_text())
    server.start()
    assert datadir.last_zxid(server) == int(wanted["last_zxid"], 16)
    assert datadir.mntr(server, "digest_mismatches_count") == 1
    sessions = {int(key, 16): value for key, value in wanted["sessions"].items()}
    resumed = [datadir.resume(server, session, timeout) for session, timeout in sessions.items()]
    assert all(resumed)
    tree = datadir.read_tree(resumed[0])
    assert len(tree) == wanted["node_count"]
    owners = [stat["ephemeralOwner"] for _, _, stat in tree.values()]
    assert sum(owner != 0 for owner in owners) == wanted["ephemeral_nodes"]
    assert set(owners) <= {0, *sessions}
    folder = datadir.version2(server)
    datadir.same(tree, datadir.client_view(format.newest(folder).nodes))
    assert format.newest(folder).digest[1] == int(wanted["tree_digest"], 16)
    for conn in resumed:
        conn.close()


# Snapshots made here: every way of writing one that a server must be able to read

def made_up(count=3000):
    """A database with a bit of everything, big enough for many blocks and chunks."""
    rng = random.Random(7)
    snap = format.empty_tree()
    snap.sessions = {0x100000000000001: 30000, 0x1ff00000000abcd: 30000}
    words = [rng.randbytes(rng.randrange(1, 60)) for _ in range(200)]
    paths = ["/"]
    for number in range(count):
        parent = rng.choice(paths)
        path = f"{parent.rstrip('/')}/n{number}{rng.choice(['', 'ä', '日'])}"
        owner = 0 if rng.random() < 0.9 else rng.choice(list(snap.sessions))
        data = rng.choice([None, b"", rng.choice(words) * rng.randrange(8), rng.randbytes(99)])
        acl = rng.choice([format.OPEN_ACL, [(rng.randrange(1, 32), "ip", "10.0.0.0/8")],
                          [(31, "digest", f"u{rng.randrange(9)}:{'x' * 28}")]])
        zxid = rng.randrange(1, 5000)
        snap.nodes[path] = format.Node(data, acl, zxid, zxid + 1, zxid * 3, zxid * 4,
                                       rng.randrange(9), 0, rng.randrange(9), owner, zxid)
        snap.nodes[parent].cversion += 1
        if not owner and parent.count("/") < 8:
            paths.append(path)
    snap.digest, snap.last_zxid = (5001, format.tree_digest(snap.nodes)), 5001
    return snap


PACKERS = {
    "plain": (lambda raw: raw, ""),
    "no-last-zxid": (None, ""),
    "no-digest": (None, ""),
    "gzip-stored": (lambda raw: gzip.compress(raw, 0), ".gz"),
    "gzip-fastest": (lambda raw: gzip.compress(raw, 1), ".gz"),
    "gzip-default": (lambda raw: gzip.compress(raw, 6), ".gz"),
    "gzip-best": (lambda raw: gzip.compress(raw, 9), ".gz"),
    "snappy": (packing.snappy, ".snappy"),
}


@pytest.mark.parametrize("how", PACKERS)
def test_made_up_snapshots(server, how):
    snap = made_up()
    pack, suffix = PACKERS[how]
    raw = format.write_snapshot(snap, {"no-last-zxid": 2, "no-digest": 1}.get(how, 3))
    folder = datadir.version2(server)
    folder.mkdir()
    (folder / f"snapshot.1389{suffix}").write_bytes(pack(raw) if pack else raw)
    server.start()
    assert datadir.last_zxid(server) == 0x1389
    assert datadir.mntr(server, "digest_mismatches_count") == 0
    reader = datadir.resume(server, next(iter(snap.sessions)))
    datadir.same(datadir.read_tree(reader), datadir.client_view(snap.nodes))
    reader.close()


def test_a_large_database(server):
    """Large enough that its memory is made ready on another thread while it is read."""
    snap = made_up(40000)
    folder = datadir.version2(server)
    folder.mkdir()
    (folder / "snapshot.1389").write_bytes(format.write_snapshot(snap))
    server.start()
    with frames.session(server.address) as conn:
        assert conn.call("create", path="/late", data=b"", acl=frames.WORLD, flags=0).err == 0
    server.kill()
    server.start()
    assert datadir.mntr(server, "digest_mismatches_count") == 0
    written = folder / f"snapshot.{datadir.last_zxid(server):x}"
    wait_for(written.exists, 30, "the snapshot of the start")
    found = format.newest(folder).nodes
    assert found.pop("/late").data == b""
    for nodes in (found, snap.nodes):
        nodes.pop("/")              # has got a child
    datadir.same(found, snap.nodes)


@pytest.mark.parametrize("suffix", ["", ".gz", ".snappy"])
@pytest.mark.parametrize("where", [0.1, 0.5, 0.9])
def test_a_damaged_snapshot_falls_back_to_the_one_before(server, suffix, where):
    """One byte is wrong; it still looks like a snapshot. The older one and the logs do as well.
    stock keeps sessions, ephemerals and the like of the failed attempt: a tree that is nobody's."""
    datadir.copy_set("main", server)
    folder = datadir.version2(server)
    if suffix:
        raw = bytearray((datadir.DATA / "extra" / f"snapshot.2a{suffix}").read_bytes())
    else:
        raw = bytearray((datadir.DATA / "extra" / "snapshot.2a.by-3.9.5").read_bytes()[:-54])
    raw[int(len(raw) * where)] ^= 0x10
    (folder / f"snapshot.2a{suffix}").write_bytes(raw)
    server.start()
    assert "snapshot.2a" in server.log
    assert datadir.last_zxid(server) == 0x2a
    if server.kind == "stock":
        return
    _, sessions, nodes, _ = datadir.expected("main")
    reader = datadir.resume(server, next(iter(sessions)))
    datadir.same(datadir.read_tree(reader), datadir.client_view(nodes))
    reader.close()


def test_independent_replay_agrees():
    """The reader of these tests, on the same files: it is measured too."""
    for name in ("main", "fuzzy", "quorum-s2", "quorum-s3"):
        zxid, sessions, nodes, digest = datadir.expected(name)
        folder = datadir.DATA / name / "version-2"
        for path in format.snapshots(folder):
            start = format.Replay(format.read_snapshot(path.read_bytes()), format.zxid_of(path))
            if format.zxid_of(path) < format.zxid_of(format.logs(folder)[0]) - 1:
                continue
            state = format.replayed(folder, start=start)
            assert (state.zxid, state.digest) == (zxid, digest)
            assert state.sessions == sessions
            quota = [path for path in nodes if path.endswith("/zookeeper_stats")]
            datadir.same({k: v for k, v in state.nodes.items() if k not in quota},
                         {k: v for k, v in nodes.items() if k not in quota})
