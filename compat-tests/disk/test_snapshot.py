"""A snapshot taken under a storm of changes is the state at exactly the zxid in its name."""
import random
import shutil
import threading
import time

import pytest

import datadir
import format
import frames
from harness import servers

CLIENTS = 4
LOADED = 6      # snapshots that a server is started on, each alone
LATENCY_S = 1.0


class Storm:
    """Clients that create, change and delete at random, many requests under way."""

    def __init__(self, server, roots, seconds):
        self.server, self.roots, self.until = server, roots, time.monotonic() + seconds
        self.slowest, self.problems, self.answers = 0, [], 0
        self.threads = [threading.Thread(target=self.run, args=(number,))
                        for number in range(CLIENTS)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        for thread in self.threads:
            thread.join()
        assert not self.problems

    def run(self, number):
        try:
            self.blow(random.Random(number), frames.session(self.server.address))
        except Exception as problem:
            self.problems.append(problem)

    def request(self, rng, conn):
        # many names, so that nodes come and go at every depth, and some requests fail
        path = rng.choice(self.roots)
        for _ in range(rng.randrange(1, 4)):
            path += f"/{rng.randrange(12)}"
        dice = rng.random()
        if dice < 0.45:
            conn.submit("create", path=path, data=rng.randbytes(rng.randrange(200)),
                        flags=rng.choice([0, 0, 0, 1, 2, 3]),
                        acl=rng.choice([frames.WORLD, [(rng.randrange(1, 32), "world", "anyone")]]))
        elif dice < 0.7:
            conn.submit("delete", path=path)
        elif dice < 0.85:
            conn.submit("setData", path=path, data=rng.choice([b"", rng.randbytes(300)]))
        elif dice < 0.9:
            conn.submit("setACL", path=path, acl=[(31, "ip", f"127.0.0.{rng.randrange(9)}/8")])
        elif dice < 0.95:
            conn.submit("multi", ops=[("setData", {"path": rng.choice(self.roots), "data": b"m"}),
                                      ("create", {"path": path, "flags": 0}),
                                      ("delete", {"path": f"{path}/1"})])
        else:
            conn.submit("getData", path=path)

    def blow(self, rng, conn):
        sent = []
        while time.monotonic() < self.until or sent:
            if time.monotonic() < self.until and len(sent) < 32:
                self.request(rng, conn)
                sent.append(time.monotonic())
                continue
            assert conn.reply(timeout=20) is not frames.CLOSED
            self.slowest = max(self.slowest, time.monotonic() - sent.pop(0))
            self.answers += 1
        if rng.random() < 0.5:
            conn.call("closeSession")
        conn.close()


@pytest.fixture
def server(server_kind, tmp_path):
    server = datadir.new_server(server_kind, tmp_path / "storm", config={"snapCount": 600})
    yield server
    server.stop()


def load_alone(kind, path, folder, state):
    """A server on nothing but this file says the same as the replay of the logs."""
    server = datadir.new_server(kind, folder)
    datadir.version2(server).mkdir()
    shutil.copyfile(path, datadir.version2(server) / path.name)
    with server:
        assert datadir.last_zxid(server) == format.zxid_of(path)
        if kind == "zkd":
            assert datadir.mntr(server, "digest_mismatches_count") == 0
        conn = datadir.resume(server, next(iter(state.sessions)))
        datadir.same(datadir.read_tree(conn), datadir.client_view(state.nodes))
        conn.close()


def check_every_snapshot(server, tmp_path, kinds):
    """Replays the logs once, and stops at every snapshot to compare."""
    folder = datadir.version2(server)
    snaps = {format.zxid_of(path): path for path in format.snapshots(folder)}
    rng = random.Random(3)
    chosen = set(rng.sample(sorted(snaps)[1:], min(LOADED, len(snaps) - 1)))
    state, seen = format.Replay(), 0
    for entry in format.log_entries(folder):
        assert entry.zxid == state.zxid + 1
        state.apply(entry)
        if entry.zxid not in snaps:
            continue
        seen += 1
        snap = format.read_snapshot(snaps[entry.zxid].read_bytes())
        datadir.same(snap.nodes, state.nodes)
        assert snap.sessions == state.sessions
        assert snap.digest == (entry.zxid, state.digest)
        assert snap.last_zxid == entry.zxid
        assert state.digest == format.tree_digest(state.nodes)
        if entry.zxid in chosen:
            kind = kinds[len(chosen) % len(kinds)]
            chosen.discard(entry.zxid)
            load_alone(kind, snaps[entry.zxid], tmp_path / f"{entry.zxid:x}", state)
    assert seen == len(snaps) - 1       # all but snapshot.0
    assert state.mismatches == 0
    return seen


@pytest.mark.parametrize("settings", [{}, {"preAllocSize": 64, "txnLogSizeLimitInKb": 128}],
                         ids=["plain", "small-logs"])
def test_snapshots_are_points_in_time(request, tmp_path, settings):
    """For zkd alone: those of stock are a mix of moments, which the log repairs."""
    if "zkd" not in request.config.server_kinds:
        pytest.skip("for zkd only, which --servers leaves out")
    server = datadir.new_server("zkd", tmp_path / "storm", config={"snapCount": 1500, **settings})
    with server.start():
        with frames.session(server.address) as conn:
            roots = [conn.call("create", path=f"/r{number}").record("create")["path"]
                     for number in range(8)]
        with Storm(server, roots, 2) as storm:
            pass
        assert datadir.mntr(server, "digest_mismatches_count") == 0
        assert storm.slowest < LATENCY_S
        server.kill()
    kinds = [kind for kind in request.config.server_kinds]
    seen = check_every_snapshot(server, tmp_path, kinds)
    print(f"{storm.answers} answers, {seen} snapshots, slowest {storm.slowest:.3f} s")
    assert seen > 8


def test_a_large_tree_is_served_while_it_is_written(request, tmp_path):
    """30 000 nodes, 24 MB: a snapshot takes many turns of the loop, and the storm goes on."""
    if "zkd" not in request.config.server_kinds:
        pytest.skip("for zkd only, which --servers leaves out")
    server = datadir.new_server("zkd", tmp_path / "storm", config={"snapCount": 8000})
    with server.start():
        conn = frames.session(server.address)
        roots = []
        rng = random.Random(2)
        for number in range(300):
            ops = [("create", {"path": f"/t{number}", "flags": 0})]
            ops += [("create", {"path": f"/t{number}/{i}", "flags": 0,
                                "data": rng.randbytes(700)}) for i in range(100)]
            conn.submit("multi", ops=ops)
            roots.append(f"/t{number}")
        assert all(conn.reply().err == 0 for _ in range(300))
        begin = len(format.snapshots(datadir.version2(server)))
        with Storm(server, roots, 2) as storm:
            pass
        taken = len(format.snapshots(datadir.version2(server))) - begin
        assert taken >= 1 and storm.slowest < LATENCY_S
        conn.close()
        server.kill()
    seen = check_every_snapshot(server, tmp_path, ["zkd"])
    print(f"{storm.answers} answers, {seen} snapshots, slowest {storm.slowest:.3f} s")


def test_storm_and_restart(server):
    """Whatever the snapshots are, with the logs they give the state that was there."""
    server.start()
    with frames.session(server.address) as conn:
        roots = [conn.call("create", path=f"/r{number}").record("create")["path"]
                 for number in range(8)]
    with Storm(server, roots, 1):
        pass
    conn = frames.session(server.address)
    tree = datadir.read_tree(conn)
    conn.close()
    for kill in (True, False):
        server.restart(kill=kill)
        again = datadir.resume(server, conn.session_id)
        datadir.same(datadir.read_tree(again), tree)
        again.close()
    state = format.replayed(datadir.version2(server))
    datadir.same({path: node for path, node in datadir.client_view(state.nodes).items()
                  if path in tree}, tree)
    assert state.mismatches == 0
    servers.wait_for(lambda: format.snapshots(datadir.version2(server)), 5, "a snapshot")
