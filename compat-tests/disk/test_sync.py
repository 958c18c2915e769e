"""What is acknowledged is on the disk: with slow, failing and full disks, under an interposer."""
import errno
import os
import re
import struct
import subprocess
import threading
import time

import pytest

import datadir
import format
import frames
from harness import servers, weather

ALWAYS = -1
SLOW_MS = 400


@pytest.fixture(scope="module")
def interposer(tmp_path_factory):
    return weather.build(tmp_path_factory.mktemp("interpose"))


@pytest.fixture
def zkd(request, tmp_path, interposer):
    if "zkd" not in request.config.server_kinds:
        pytest.skip("for zkd only, which --servers leaves out")
    made = []

    def make(config=None, props=None):
        server = weather.Weather(tmp_path / f"zkd{len(made)}",
                                 config={**datadir.pair.CONFIG, **(config or {})},
                                 props={**datadir.PROPS, **(props or {})}).attach(interposer)
        made.append(server)
        return server
    yield make
    for server in made:
        server.kill()


def ended(server):
    """The exit status of a server that stops by itself."""
    servers.wait_for(lambda: not server.running, 15, "end of a server whose disk failed")
    return server.process.returncode


def names(server):
    """The children of the root, after a restart in fair weather."""
    server.fair()
    server.kill()
    server.start()
    with frames.session(server.address) as conn:
        return set(conn.call("getChildren", path="/").record("getChildren")["children"])


# --- nothing is acknowledged before its sync ---

def quickly(conn):
    """So many quick syncs that the server waits for the next one without handing it over."""
    for _ in range(300):
        assert conn.call("setData", path="/a").err == 0


@pytest.mark.parametrize("was", ["slow", "quick"])
def test_reply_waits_for_the_sync(zkd, was):
    server = zkd().start()
    writer, reader = frames.session(server.address), frames.session(server.address)
    assert writer.call("create", path="/a").err == 0
    if was == "quick":
        quickly(writer)
    server.set(("fdatasync", "log.", 0, SLOW_MS, 0, ALWAYS))
    if was == "quick":      # one slow sync tells that the disk is quick no more
        assert writer.call("setData", path="/a").err == 0
    for number in range(3):
        start = time.monotonic()
        writer.submit("create", path=f"/slow{number}")
        reads = 0
        while not writer.pending and time.monotonic() - start < SLOW_MS / 1000 - 0.05:
            assert reader.call("getData", path="/a").err == 0
            # what is not synced is not there; the time is looked at again, for a tester may pause too
            there = reader.call("exists", path=f"/slow{number}").err == 0
            assert not there or time.monotonic() - start >= SLOW_MS / 1000
            reads += 1
        assert writer.reply().err == 0
        assert time.monotonic() - start >= SLOW_MS / 1000 - 0.01
        # a server that read only between syncs would have answered one or two
        assert reads >= 20
    # reads behind a write of one's own wait for it, as the order of a session demands
    start = time.monotonic()
    writer.submit("create", path="/mine")
    writer.submit("exists", path="/mine")
    assert writer.reply().err == 0 and writer.reply().err == 0
    assert time.monotonic() - start >= SLOW_MS / 1000 - 0.01


def stalled(server, conn, ms, error=0):
    """A write that the disk, quick until then, takes so long for; and half a second of that."""
    quickly(conn)
    server.set(("fdatasync", "log.", error, ms, 0, ALWAYS if error else 1))
    time.sleep(0.05)    # nobody looks after the loop any more
    conn.submit("setData", path="/a", data=b"stalled")
    time.sleep(0.5)


def test_a_quick_disk_that_stalls(zkd):
    """Again and again. The server goes on, whichever of its threads waits for the disk."""
    server = zkd({"tickTime": 500}).start()
    writer, other = frames.session(server.address), frames.session(server.address, timeout_ms=2000)
    assert writer.call("create", path="/a").err == 0
    assert other.call("create", path="/e", flags=1).err == 0
    for _ in range(4):
        stalled(server, writer, 2500)
        for _ in range(8):
            start = time.monotonic()
            assert other.call("exists", path="/e").err == 0
            assert time.monotonic() - start < 0.5
            time.sleep(0.2)
        assert not writer.pending
        assert writer.reply().err == 0
    assert other.call("exists", path="/e").err == 0


@pytest.mark.parametrize("stalls", [1, 2])
def test_a_stop_while_a_quick_disk_stalls(zkd, stalls):
    """It waits for the disk, and answers; whichever thread it is that waits, too."""
    server = zkd().start()
    writer, other = frames.session(server.address), frames.session(server.address)
    assert writer.call("create", path="/a").err == 0
    for _ in range(stalls - 1):
        stalled(server, writer, 700)
        assert writer.reply().err == 0
    start = time.monotonic()
    stalled(server, writer, 1500)
    other.submit("create", path="/behind")
    time.sleep(0.2)
    server.process.terminate()
    assert other.reply().err == 0   # in its turn
    assert time.monotonic() - start >= 1.5
    assert writer.reply().err == 0
    assert ended(server) == 0
    server.fair()
    server.start()
    with frames.session(server.address) as conn:
        assert conn.call("getData", path="/a").record("getData")["data"] == b"stalled"
        assert conn.call("exists", path="/behind").err == 0


@pytest.mark.parametrize("stalls", [1, 2])
def test_a_quick_disk_that_stalls_and_fails(zkd, stalls):
    server = zkd().start()
    writer = frames.session(server.address)
    assert writer.call("create", path="/a").err == 0
    for _ in range(stalls - 1):
        stalled(server, writer, 700)
        assert writer.reply().err == 0
    stalled(server, writer, 1000, errno.EIO)
    assert writer.reply() is frames.CLOSED
    assert ended(server) == 1
    assert "Severe unrecoverable error" in server.log


def test_writes_collect_while_a_sync_runs(zkd):
    server = zkd().start()
    conns = [frames.session(server.address) for _ in range(20)]
    server.set(("fdatasync", "log.", 0, SLOW_MS, 0, ALWAYS))
    start = time.monotonic()
    for number, conn in enumerate(conns):
        for step in range(10):
            conn.submit("create", path=f"/c{number}-{step}")
    for conn in conns:
        assert all(conn.reply().err == 0 for _ in range(10))
    # one sync under way when the first came, and a few that share the rest
    assert time.monotonic() - start < 5 * SLOW_MS / 1000
    server.set()
    for conn in conns:
        conn.close()


def replies_of(events):
    """[(index of the event, zxid)] of the replies to writes (their xids are odd), per socket."""
    streams, out = {}, []
    for index, (_, call, _, fd, _, size, _, sent) in enumerate(events):
        if call != "send":
            continue
        assert len(sent) == size, "the log of events has lost bytes"
        stream = streams.setdefault(fd, bytearray())
        stream += sent
        while len(stream) >= 4 and len(stream) >= 4 + struct.unpack_from(">i", stream)[0]:
            size = struct.unpack_from(">i", stream)[0]
            payload = bytes(stream[4:4 + size])
            del stream[:4 + size]
            if size in (36, 37):        # the answer to a handshake
                continue
            xid, zxid, err = struct.unpack_from(">iqi", payload)
            if xid > 0 and xid % 2 and err == 0:
                out.append((index, zxid))
    return out


@pytest.mark.parametrize("config", [{}, {"snapCount": 60}, {"preAllocSize": 1}],
                         ids=["plain", "rolling", "small-steps"])
def test_order_of_syncs_and_replies(zkd, config):
    """From the log of events: the entry of a reply was written, then synced, then the reply sent;
    of a new file, the directory was synced as well."""
    server = zkd(config).start()
    server.set(("fdatasync", "log.", 0, 3, 0, ALWAYS))

    def work(number):
        conn = frames.session(server.address)
        for step in range(150):
            conn.submit("create", xid=2 * step + 1, path=f"/w{number}-{step}", data=b"x" * 90)
            conn.submit("exists", xid=2 * step + 2, path="/")
            if step % 7 == 0:
                while conn.reply(timeout=10).xid < 2 * step + 2:
                    pass
        while conn.reply().xid < 300:
            pass
        conn.close()
    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    server.kill()
    events = server.events()
    folder = datadir.version2(server)
    where = {entry.zxid: (str(path), entry.end) for path in format.logs(folder)
             for entry in format.entries(path.read_bytes())}
    written, begun, synced, listed = {}, {}, {}, set()
    replies = iter(replies_of(events))
    following = next(replies, None)
    checked = 0
    for index, (_, call, phase, path, off, size, result, _) in enumerate(events):
        while following and following[0] == index:
            file, end = where[following[1]]
            assert synced.get(file, 0) >= end, f"{following[1]:x} was answered too early"
            assert file in listed
            checked += 1
            following = next(replies, None)
        if call == "write" and phase == "end" and not result:
            written[path] = max(written.get(path, 0), off + size)
        if call == "fdatasync" and phase == "begin":
            begun[path] = written.get(path, 0)
        if call == "fdatasync" and phase == "end" and not result:
            synced[path] = max(synced.get(path, 0), begun.get(path, 0))
        if call == "fsync" and phase == "end" and path == str(folder):
            listed = {name for name in written if "/log." in name}
    assert checked == 600


def test_what_a_killed_server_left_is_synced_before_it_counts(zkd):
    """A server killed before its sync leaves entries that are only in memory. The next one takes
    them over, so it syncs them before it acknowledges anything that follows them."""
    server = zkd().start()
    conn = frames.session(server.address)
    assert conn.call("create", path="/synced").err == 0
    server.set(("fdatasync", "log.", 0, 60_000, 0, ALWAYS))
    before = len(server.events())
    conn.submit("create", path="/unsynced")
    servers.wait_for(lambda: any(event[1:3] == ("fdatasync", "begin")
                                 for event in server.events()[before:]), 10, "the sync")
    server.kill()
    assert conn.reply() is frames.CLOSED
    old = format.logs(datadir.version2(server))[-1]
    assert [entry.zxid for entry in format.entries(old.read_bytes())] == [1, 2, 3]
    server.fair()
    server.events_path.unlink()
    server.start()
    assert datadir.last_zxid(server) == 3
    events = server.events()
    ends = [event for event in events if event[1:4] == ("fdatasync", "end", str(old))]
    sends = [event for event in events if event[1] == "send"]
    assert ends and ends[0][0] < sends[0][0]


def test_a_log_without_entries_is_synced_before_others_stand_behind_it(zkd):
    """A server killed while it makes a log leaves a header that is only in memory. With zeros in
    its place, and logs behind it, no later start would accept the file."""
    server = zkd().start()
    server.set(("fdatasync", "/log.", 0, 60_000, 0, ALWAYS))
    with pytest.raises(TimeoutError):       # the first transaction makes the log
        frames.Conn(server.address, timeout=0.5).connect()
    new, = format.logs(datadir.version2(server))
    server.kill()
    assert new.read_bytes().rstrip(b"\0") == format.LOG_HEADER.rstrip(b"\0")
    server.fair()
    server.events_path.unlink()
    server.start()
    assert any(event[1:4] == ("fdatasync", "end", str(new)) for event in server.events())


# --- a disk that fails ---

FAILURES = {
    "sync": ("fdatasync", "/log.", errno.EIO),
    "write": ("write", "/log.", errno.EIO),
    "full": ("write", "/log.", errno.ENOSPC),
    "growing": ("ftruncate", "/log.", errno.ENOSPC),
}


@pytest.mark.parametrize("nth", [0, 1, 5])
@pytest.mark.parametrize("what", FAILURES)
def test_a_failure_of_the_log_ends_the_server(zkd, what, nth):
    """No acknowledgement, an orderly end that says why, and nothing lost or half there."""
    server = zkd({"preAllocSize": 1} if what == "growing" else {}).start()
    conn = frames.session(server.address)
    acknowledged, number = set(), 0
    for number in range(10):
        assert conn.call("create", path=f"/before{number}").err == 0
        acknowledged.add(f"before{number}")
    call, part, code = FAILURES[what]
    server.set((call, part, code, 0, nth, ALWAYS))
    for number in range(200):
        answer = conn.call("create", path=f"/n{number}", data=b"x" * 100)
        if answer is frames.CLOSED:
            break
        assert answer.err == 0
        acknowledged.add(f"n{number}")
    else:
        pytest.fail("the failure has not been met")
    assert ended(server) == 1
    last = server.log.rstrip().splitlines()[-1]
    assert last.startswith("zkd: cannot ") and os.strerror(code) in last
    assert "Severe unrecoverable error" in server.log
    after = names(server)
    assert acknowledged <= after
    # the one that failed may be there or not, no other
    assert after - acknowledged <= {"zookeeper", f"n{number}"}
    assert datadir.mntr(server, "digest_mismatches_count") == 0
    state = format.replayed(datadir.version2(server), strict=False)
    assert state.mismatches == 0 and {path[1:] for path in state.nodes} >= acknowledged


def test_many_clients_and_a_sync_that_fails(zkd):
    server = zkd().start()
    acknowledged, sent = set(), set()

    def work(who):
        conn = frames.session(server.address)
        for number in range(5000):
            sent.add(f"w{who}-{number}")
            conn.submit("create", path=f"/w{who}-{number}")
            if number >= 20:
                if conn.reply() is frames.CLOSED:
                    return
                acknowledged.add(f"w{who}-{number - 20}")
    threads = [threading.Thread(target=work, args=(who,)) for who in range(4)]
    for thread in threads:
        thread.start()
    servers.wait_for(lambda: len(acknowledged) > 500, 10, "some load", 0.001)
    server.set(("fdatasync", "/log.", errno.EIO, 5, 3, ALWAYS))
    assert ended(server) == 1
    for thread in threads:
        thread.join()
    after = names(server)
    assert acknowledged <= after and after <= sent | {"zookeeper"}


@pytest.mark.parametrize("call,part", [("create", "/log."), ("fsync", "version-2")])
def test_a_log_file_that_cannot_be_made(zkd, call, part):
    server = zkd({"snapCount": 20}).start()
    conn = frames.session(server.address)
    acknowledged = set()
    server.set((call, part, errno.ENOSPC, 0, 0, ALWAYS))
    for number in range(100):
        answer = conn.call("create", path=f"/n{number}")
        if answer is frames.CLOSED:
            break
        acknowledged.add(f"n{number}")
    else:
        pytest.fail("the failure has not been met")
    assert ended(server) == 1
    assert os.strerror(errno.ENOSPC) in server.log.rstrip().splitlines()[-1]
    assert acknowledged <= names(server)


# --- snapshots on a disk that fails ---

SNAPSHOT_FAILURES = {
    "create": ("create", "new-snapshot"),
    "write": ("write", "new-snapshot"),
    "sync": ("fdatasync", "new-snapshot"),
    "rename": ("rename", "/snapshot."),
    "directory": ("fsync", "version-2"),
}


@pytest.mark.parametrize("what", SNAPSHOT_FAILURES)
def test_a_failed_snapshot_is_only_said(zkd, what):
    """stock ends with 10; zkd has everything in its log and goes on."""
    server = zkd({"snapCount": 40}).start()
    conn = frames.session(server.address)
    folder = datadir.version2(server)
    call, part = SNAPSHOT_FAILURES[what]
    for number in range(5):
        assert conn.call("create", path=f"/before{number}").err == 0
    if what == "directory":
        # a new log file syncs it too; at a start, after recovery has, the snapshot comes first
        server.kill()
        server.set((call, part, errno.ENOSPC, 0, 2, 1))
        server.start()
        servers.wait_for(lambda: "Snapshot failed" in server.log, 5, "word of the failure")
        conn = frames.session(server.address)
    else:
        server.set((call, part, errno.ENOSPC, 0, 0, ALWAYS))
    for number in range(300):
        if "Snapshot failed" in server.log:
            break
        answer = conn.call("create", path=f"/n{number}")
        assert answer is not frames.CLOSED and answer.err == 0, server.log
    servers.wait_for(lambda: "Snapshot failed" in server.log, 5, "word of the failure")
    assert os.strerror(errno.ENOSPC) in server.log
    servers.wait_for(lambda: datadir.mntr(server, "snapshot_error_count") > 0, 5, "the count")
    if what != "directory":
        assert [path.name for path in format.snapshots(folder)] == ["snapshot.0"]
        servers.wait_for(lambda: not (folder / "new-snapshot").exists(), 5, "the part to go")
    server.fair()
    have = len(format.snapshots(folder))
    for number in range(200):
        assert conn.call("create", path=f"/later{number}").err == 0
    servers.wait_for(lambda: len(format.snapshots(folder)) > have, 5, "a later snapshot")
    tree = datadir.read_tree(conn)
    server.restart(kill=True)
    with frames.session(server.address) as conn:
        datadir.same(datadir.read_tree(conn), tree)
    for path in format.snapshots(folder):
        format.read_snapshot(path.read_bytes())


def test_a_start_that_cannot_write_its_first_snapshot(zkd):
    server = zkd()
    server.set(("write", "new-snapshot", errno.ENOSPC, 0, 0, ALWAYS))
    said = datadir.refuses(server)
    assert os.strerror(errno.ENOSPC) in said.splitlines()[-1]
    assert list(datadir.version2(server).iterdir()) == []
    server.fair()
    server.start()
    assert datadir.last_zxid(server) == 0


@pytest.mark.parametrize("nth", [0, 1])
def test_a_directory_that_cannot_be_listed_is_not_an_empty_one(zkd, nth):
    server = zkd().start()
    with frames.session(server.address) as conn:
        conn.call("create", path="/a")
    server.kill()
    before = datadir.files(datadir.version2(server))
    server.set(("opendir", "version-2", errno.EIO, 0, nth, 1))
    assert "cannot " in datadir.refuses(server).splitlines()[-1]
    assert datadir.files(datadir.version2(server)) == before
    assert "a" in names(server)


def test_a_snapshot_for_dropped_ephemerals_must_succeed(zkd):
    """See test_damage: without it an acknowledged node could be lost later."""
    server = zkd()
    snap = format.empty_tree()
    snap.nodes["/gone"] = format.Node(b"old", format.OPEN_ACL, 5, 5, 5, 5, owner=99, pzxid=5)
    snap.nodes["/"].cversion = 1
    snap.digest, snap.last_zxid = (9, format.tree_digest(snap.nodes)), 9
    datadir.version2(server).mkdir()
    (datadir.version2(server) / "snapshot.9").write_bytes(format.write_snapshot(snap))
    server.set(("rename", "/snapshot.", errno.ENOSPC, 0, 0, ALWAYS))
    assert os.strerror(errno.ENOSPC) in datadir.refuses(server).splitlines()[-1]


# --- a disk that is really full ---

@pytest.fixture
def small_disk(tmp_path):
    folder = tmp_path / "small"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "none", folder],
                          capture_output=True, text=True)
    if done.returncode:
        pytest.skip("mounting is not allowed here; the interposer fills the disk in other tests")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk(small_disk, request, tmp_path):
    if "zkd" not in request.config.server_kinds:
        pytest.skip("for zkd only, which --servers leaves out")
    server = datadir.new_server("zkd", tmp_path / "work", config={"dataDir": str(small_disk)})
    server.start()
    conn = frames.session(server.address)
    acknowledged = set()
    for number in range(2000):
        answer = conn.call("create", path=f"/n{number}", data=b"x" * 5000)
        if answer is frames.CLOSED:
            break
        acknowledged.add(f"n{number}")
    assert 100 < len(acknowledged) < 1000
    assert ended(server) == 1
    assert re.search(r"zkd: cannot .*No space left", server.log.splitlines()[-1])
    subprocess.run(["mount", "-o", "remount,size=64m", small_disk], check=True)
    server.start()
    with frames.session(server.address) as conn:
        after = set(conn.call("getChildren", path="/").record("getChildren")["children"])
        assert acknowledged <= after
        assert conn.call("create", path="/again").err == 0
    server.stop()
