"""Damaged directories: what a start makes of them, and what it refuses.

Where stock and zkd differ the row says so. zkd differs on purpose:
  - a last log file of 1 to 15 bytes was being created when the machine died: it is dropped
  - a checksum error in the very last entry is a torn write when a sector of it is all zeros;
    the file is then cut there, so that a stock server can use the directory as well
  - transactions that are missing at the end of an epoch are noticed, where a log file that is not
    the last one ends in something else than the beginning of an entry and zeros; what is found at
    the end of the last one is cut off
  - a log file that ends before the transactions it looks for is not opened: it may be empty
  - a length of ffffffff is refused as any other unreasonable one
  - transactions that are missing between the snapshot and the first log are noticed, unless
    snapshot.trust.empty says that such things are known
"""
import random
import struct
import zlib

import pytest

import datadir
import format
import frames
from harness import servers

LAST = 6627                 # where the entry of 0x2a begins in log.23
CRC, LENGTH, BODY, EOR = LAST, LAST + 8, LAST + 12, LAST + 12 + 227
REFUSED = None


def truncate(size):
    def edit(folder):
        with open(folder / "log.23", "r+b") as file:
            file.truncate(size)
    return edit


def overwrite(at, raw, name="log.23"):
    def edit(folder):
        with open(folder / name, "r+b") as file:
            file.seek(at)
            file.write(raw)
    return edit


def flip(at):
    def edit(folder):
        raw = (folder / "log.23").read_bytes()[at]
        overwrite(at, bytes([raw ^ 0x40]))(folder)
    return edit


def create(name, raw):
    def edit(folder):
        (folder / name).write_bytes(raw)
    return edit


def without(*names, then=None):
    def edit(folder):
        for name in names:
            (folder / name).unlink()
        if then:
            then(folder)
    return edit


GAP = overwrite(3629, bytes(12), "log.1")       # 0x21 and 0x22 are gone from the log
NEXT = "log.2b"

# what: (edit, zxid after a start of stock, of zkd); REFUSED, or a text that a refusal contains
TABLE = {
    **{f"cut at {at}": (truncate(at), 0x29, 0x29)
       for at in (LAST, LAST + 3, LENGTH, LENGTH + 2, BODY, BODY + 38, EOR)},
    "second half of the body zero": (overwrite(6739, bytes(128)), 0x29, 0x29),
    "end mark 00": (overwrite(EOR, b"\0"), 0x29, 0x29),
    "end mark 41": (overwrite(EOR, b"\x41"), 0x29, 0x29),
    "length 0": (overwrite(LENGTH, bytes(4)), 0x29, 0x29),
    "length too small": (overwrite(LENGTH, struct.pack(">i", 100)), 0x29, 0x29),
    "length beyond the file": (overwrite(LENGTH, struct.pack(">i", 1 << 20)), 0x29, 0x29),
    "checksum wrong": (flip(CRC + 7), "CRC check failed", "CRC check failed"),
    "body wrong": (flip(BODY + 50), "CRC check failed", "CRC check failed"),
    "length 7fffffff": (overwrite(LENGTH, b"\x7f\xff\xff\xff"), "Unreasonable length",
                        "Unreasonable length"),
    "length fffffffb": (overwrite(LENGTH, b"\xff\xff\xff\xfb"), "Unreasonable length",
                        "Unreasonable length"),
    "length ffffffff": (overwrite(LENGTH, b"\xff\xff\xff\xff"), REFUSED, "Unreasonable length"),
    "empty next log": (create(NEXT, b""), 0x2a, 0x2a),
    "half a header": (create(NEXT, format.LOG_HEADER[:8]), "EOF", 0x2a),
    "one byte": (create(NEXT, b"Z"), "EOF", 0x2a),
    "15 bytes of a header": (create(NEXT, format.LOG_HEADER[:15]), "EOF", 0x2a),
    "an empty log in the middle": (create("log.22", b""), "EOF", 0x2a),
    "15 bytes in the middle": (create("log.22", format.LOG_HEADER[:15]), "EOF", 0x2a),
    "an empty log in the middle, needed": (without("snapshot.22", then=create("log.22", b"")),
                                           "EOF", "ends within its header"),
    "a header only": (create(NEXT, format.LOG_HEADER), 0x2a, 0x2a),
    "a header and zeros": (create(NEXT, format.LOG_HEADER + bytes(9000)), 0x2a, 0x2a),
    "zeros for a header": (create(NEXT, bytes(9000)), "magic", 0x2a),
    "header version 99": (overwrite(7, b"\x63"), 0x2a, 0x2a),
    "another dbid": (overwrite(8, b"\1\2\3\4\5\6\7\x08"), 0x2a, 0x2a),
    "another magic": (overwrite(0, b"ZKLX"), "magic", "magic"),
    "zeros over an early entry": (overwrite(77, bytes(12)), 0x23, 0x23),
    "a gap between log files": (without("snapshot.22", then=GAP), "out of order", "are missing"),
    "a gap after the snapshot": (without("snapshot.22", "log.1"), 0x2a, "are missing"),
    "no snapshot": (without("snapshot.0", "snapshot.22"), "No snapshot found",
                    "No snapshot found"),
    "half a snapshot": (truncate(9999), 0x2a, 0x2a),
    "a stray file": (create("notes.txt", b"mine"), 0x2a, 0x2a),
    "a name without a number": (create("log.zz", b"mine"), 0x2a, 0x2a),
}


@pytest.fixture
def server(server_kind, tmp_path):
    server = datadir.new_server(server_kind, tmp_path)
    datadir.copy_set("main", server)
    yield server
    server.stop()


@pytest.mark.parametrize("what", TABLE)
def test_damage(server, what):
    edit, stock, zkd = TABLE[what]
    wanted = stock if server.kind == "stock" else zkd
    folder = datadir.version2(server)
    edit(folder)
    before = datadir.files(folder)
    if isinstance(wanted, int):
        server.start()
        assert datadir.last_zxid(server) == wanted
        with frames.session(server.address) as conn:    # goes on from there
            assert conn.call("create", path="/new").zxid == wanted + 2
        server.restart(kill=True)
        assert datadir.last_zxid(server) == wanted + 2
        return
    said = datadir.refuses(server)
    assert (wanted or "Exception") in said
    if server.kind == "zkd":
        assert datadir.files(folder) == before
        assert said.rstrip().splitlines()[-1].startswith("zkd: " + str(folder))


def test_without_snapshots_when_that_is_trusted(tmp_path, server_kind):
    server = datadir.new_server(server_kind, tmp_path,
                                props={"zookeeper.snapshot.trust.empty": "true"}
                                if server_kind == "stock" else {"snapshot.trust.empty": "true"})
    datadir.copy_set("main", server, drop=("snapshot.0", "snapshot.22"))
    with server:
        assert datadir.last_zxid(server) == 0x2a


def test_a_gap_when_that_is_trusted(tmp_path, server_kind):
    server = datadir.new_server(server_kind, tmp_path,
                                props={"zookeeper.snapshot.trust.empty": "true"}
                                if server_kind == "stock" else {"snapshot.trust.empty": "true"})
    datadir.copy_set("main", server, drop=("snapshot.22", "log.1"))
    with server:
        assert datadir.last_zxid(server) == 0x2a


# What only zkd does

@pytest.fixture
def zkd(request, tmp_path):
    if "zkd" not in request.config.server_kinds:
        pytest.skip("for zkd only, which --servers leaves out")
    server = datadir.new_server("zkd", tmp_path)
    yield server
    server.stop()


def log_with_large_last_entry(server, size=2000):
    """A directory whose last entry spans whole sectors; returns (log path, that entry)."""
    with server.start():
        with frames.session(server.address) as conn:
            conn.call("create", path="/a", data=b"first")
            conn.call("create", path="/b", data=random.Random(1).randbytes(size))
    path = format.logs(datadir.version2(server))[-1]
    return path, list(format.entries(path.read_bytes()))[-1]


def zero(path, at, end):
    overwrite(at, bytes(end - at), path.name)(path.parent)


@pytest.mark.parametrize("sector", [1, 2, 3])
def test_a_sector_that_never_reached_the_disk(zkd, sector, tmp_path):
    """The end of the last entry is there, 512 bytes of its middle are not."""
    path, last = log_with_large_last_entry(zkd)
    at = (last.at // 512 + sector) * 512
    zero(path, at, at + 512)
    with zkd.start():
        assert datadir.last_zxid(zkd) == last.zxid - 1
        assert path.stat().st_size == last.at
        assert "Last transaction was partial" in zkd.log
    # now stock accepts it too, which it would not have before
    stock = datadir.new_server("stock", tmp_path / "stock",
                               config={"dataDir": zkd.config["dataDir"]})
    with stock:
        assert datadir.last_zxid(stock) == last.zxid - 1


def test_rot_is_not_taken_for_a_torn_write(zkd):
    path, last = log_with_large_last_entry(zkd)
    sector = (last.at // 512 + 1) * 512
    for at, end in ((sector, sector + 511), (sector + 1, sector + 512), (last.at, last.at + 6)):
        whole = path.read_bytes()
        zero(path, at, end)
        before = datadir.files(path.parent)
        assert "CRC check failed" in datadir.refuses(zkd)
        assert datadir.files(path.parent) == before
        path.write_bytes(whole)


def test_a_torn_sector_before_other_entries_is_refused(zkd):
    with zkd.start(), frames.session(zkd.address) as conn:
        conn.call("create", path="/b", data=b"x" * 2000)
        conn.call("create", path="/c")
    path = format.logs(datadir.version2(zkd))[-1]
    entry = list(format.entries(path.read_bytes()))[-2]
    at = (entry.at // 512 + 1) * 512
    zero(path, at, at + 512)
    assert "CRC check failed" in datadir.refuses(zkd)


def test_all_ways_to_cut_a_log(zkd):
    """Cut anywhere, a log gives the transactions that are whole, never an error."""
    path, last = log_with_large_last_entry(zkd, size=30)
    whole, entries = path.read_bytes(), list(format.entries(path.read_bytes()))
    for size in range(entries[-2].at, last.end + 1):
        for file in list(path.parent.iterdir()):
            if file.name != "snapshot.0":
                file.unlink()
        path.write_bytes(whole[:size])
        zkd.start()
        wanted = max((e.zxid for e in entries if e.end <= size), default=0)
        assert datadir.last_zxid(zkd) == wanted, size
        zkd.kill()


def two_epochs(zkd):
    """A log whose epoch has ended, and one that begins the next; (path of the first, its entries)."""
    path, last = log_with_large_last_entry(zkd, size=300)
    whole = path.read_bytes()
    body = bytearray(whole[last.at + 12:last.end - 1])[:-12]        # without its digest
    struct.pack_into(">q", body, 12, 1 << 32 | 1)
    body = body.replace(b"/b", b"/c")
    (path.parent / "log.100000001").write_bytes(
        format.LOG_HEADER + struct.pack(">qi", zlib.adler32(body), len(body)) + body + b"B")
    return path, list(format.entries(whole))


# Of the entry before the last, or the last one: what becomes of its bytes, from its beginning
ROT = {"an end mark": lambda e: (e.end - e.at - 1, b"\x43"),
       "a length, larger": lambda e: (8, struct.pack(">i", (e.end - e.at - 13) ^ 0x400)),
       "a length, smaller": lambda e: (8, struct.pack(">i", (e.end - e.at - 13) & 0x11)),
       "a length, zero": lambda e: (8, bytes(4))}


@pytest.mark.parametrize("entry", [-2, -1])
@pytest.mark.parametrize("what", ROT)
def test_the_end_of_an_epoch_has_rotted(zkd, what, entry):
    """Its last transactions cannot be read: that they were there must not go unnoticed."""
    path, entries = two_epochs(zkd)
    at, raw = ROT[what](entries[entry])
    overwrite(entries[entry].at + at, raw, path.name)(path.parent)
    before = datadir.files(path.parent)
    assert "are missing" in datadir.refuses(zkd)
    assert datadir.files(path.parent) == before


def test_rot_before_a_log_that_was_only_begun(zkd):
    """What stands between says nothing of what the older one has lost."""
    path, entries = two_epochs(zkd)
    overwrite(entries[-1].end - 1, b"\x43", path.name)(path.parent)
    (path.parent / "log.9").write_bytes(format.LOG_HEADER + b"\0\0\1")
    assert "are missing" in datadir.refuses(zkd)


@pytest.mark.parametrize("keep", [0, 3, 8, 11, 12, 60, 250])
def test_the_end_of_an_epoch_was_being_written(zkd, keep):
    """A process that was killed leaves the beginning of an entry behind, and zeros."""
    path, entries = two_epochs(zkd)
    zero(path, entries[-1].at + keep, entries[-1].end)
    with zkd.start():
        assert datadir.last_zxid(zkd) == 1 << 32 | 1


def test_a_cut_end_is_no_rot_later(zkd):
    """What the last log's end looked like after a power cut does not matter any more."""
    path, last = log_with_large_last_entry(zkd, size=300)
    overwrite(last.end - 1, b"\x41", path.name)(path.parent)
    with zkd.start():
        assert datadir.last_zxid(zkd) == last.zxid - 1
    assert path.stat().st_size == last.at


def test_a_copy_of_a_log_hides_nothing(zkd):
    """log.23.bak counts as log.23: an old copy beside the file must not take its place."""
    datadir.copy_set("main", zkd)
    folder = datadir.version2(zkd)
    (folder / "log.23.bak").write_bytes((folder / "log.23").read_bytes()[:77])
    with zkd.start():
        assert datadir.last_zxid(zkd) == 0x2a


def test_dead_ephemerals_do_not_come_back_over_the_living(zkd):
    """A node whose owner does not exist is dropped at the start, without a transaction. Who then
    creates it anew must find it after a crash, even when no snapshot was taken since."""
    snap = format.empty_tree()
    snap.sessions = {1: 30000}
    snap.nodes["/gone"] = format.Node(b"old", format.OPEN_ACL, 5, 5, 5, 5, owner=99, pzxid=5)
    snap.nodes["/"].cversion = 1
    snap.digest, snap.last_zxid = (9, format.tree_digest(snap.nodes)), 9
    folder = datadir.version2(zkd)
    folder.mkdir()
    (folder / "snapshot.9").write_bytes(format.write_snapshot(snap))
    zkd.start()
    assert "/gone" not in format.newest(folder).nodes
    with frames.session(zkd.address) as conn:
        assert conn.call("create", path="/gone", data=b"new").err == 0
    zkd.restart(kill=True)
    with frames.session(zkd.address) as conn:
        assert conn.call("getData", path="/gone").record("getData")["data"] == b"new"


@pytest.mark.parametrize("name", ["log.5", "snapshot.5"])
def test_a_file_that_cannot_be_read_is_not_an_absent_one(zkd, name):
    """A directory in the place of a file: opening works, reading does not."""
    folder = datadir.version2(zkd)
    folder.mkdir()
    (folder / "snapshot.0").write_bytes(format.write_snapshot(
        format.Snapshot({}, format.empty_tree().nodes, (0, 0), 0)))
    (folder / name).mkdir()
    said = datadir.refuses(zkd)
    assert "cannot read" in said
    assert sorted(path.name for path in folder.iterdir()) == sorted(["snapshot.0", name])


def test_second_server_is_kept_out(zkd, tmp_path):
    with zkd.start():
        other = datadir.new_server("zkd", tmp_path / "other",
                                   config={"dataDir": zkd.config["dataDir"]})
        assert "another server uses" in datadir.refuses(other, 3)
        assert servers.handshake_works(zkd.sockaddr)


def test_a_checksum_of_the_wrong_kind(zkd):
    """The sum is Adler-32 of the body; CRC-32, or the sum of length and body, is wrong."""
    path, last = log_with_large_last_entry(zkd, 10)
    raw = path.read_bytes()
    body = raw[last.at + 12:last.end - 1]
    for wrong in (zlib.crc32(body), zlib.adler32(raw[last.at + 8:last.end - 1])):
        overwrite(last.at, struct.pack(">q", wrong), path.name)(path.parent)
        assert "CRC check failed" in datadir.refuses(zkd)
