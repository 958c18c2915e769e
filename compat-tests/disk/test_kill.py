"""kill -9 at random moments under load: nothing that was acknowledged is lost, nothing goes back.

Every writer owns some nodes and sets them to growing numbers, several requests under way at a time.
Its requests are applied in order, so after a crash a node must hold the value that belongs to its
version, at least the acknowledged one: what is lost is a tail, and only an unacknowledged one.
"""
import random
import threading
import time

import pytest

import datadir
import format
import frames
from harness import servers

WRITERS = 4
NODES = 5
UNDER_WAY = 16
CYCLES = {"zkd": 50, "stock": 4}    # a JVM takes its time to start
LARGE = 2100                        # bytes: some entries fill whole sectors
GONE_AFTER_MS = 600                 # timeout of sessions that do not come back


class Writer(threading.Thread):
    """One session over all crashes; `run` is one life of the server."""

    def __init__(self, world, number):
        self.world, self.number, self.conn = world, number, None
        self.session, self.zxid = 0, 0
        self.rng = random.Random(number)
        self.sent = {f"/w{number}-{i}": [None] for i in range(NODES)}  # values by version
        self.acked = dict.fromkeys(self.sent, -1)                      # versions
        self.created = dict.fromkeys(self.sent, False)
        self.sequence, self.maybe = set(), 0     # nodes acknowledged; those sent and not answered
        self.deleted, self.unsure = set(), set()
        self.problem = None

    def begin(self, address):
        super().__init__(name=f"writer {self.number}")
        self.conn = frames.Conn(address)
        answer = self.conn.connect(session_id=self.session, timeout_ms=30000)
        assert answer is not frames.CLOSED and answer["timeOut"], "the session was lost"
        self.session = self.conn.session_id
        self.under_way = []
        self.start()

    def run(self):
        try:
            first = not any(self.created.values())
            if first:
                self.submit("create", path=f"/e{self.number}", flags=1)
                self.submit("create", path=f"/s{self.number}")
                for path in self.sent:
                    self.submit("create", path=path, data=b"0")
            while True:
                if len(self.under_way) >= UNDER_WAY and not self.take():
                    return
                self.one()
        except Exception as problem:
            self.problem = problem

    def submit(self, name, **fields):
        self.conn.submit(name, **fields)
        self.under_way.append((name, fields))

    def one(self):
        dice = self.rng.random()
        if dice < 0.1:
            self.maybe += 1
            self.submit("create", path=f"/s{self.number}/n-", flags=2)
        elif dice < 0.13 and self.sequence - self.unsure:
            path = self.rng.choice(sorted(self.sequence - self.unsure))
            self.unsure.add(path)
            self.submit("delete", path=path)
        else:
            path = self.rng.choice(list(self.sent))
            if dice < 0.3:
                self.submit("getData", path=path)
                return
            data = b"%d" % len(self.sent[path])
            if dice > 0.85:
                data = data.ljust(LARGE, b".")
            self.sent[path].append(data)
            self.submit("setData", path=path, data=data)

    def take(self):
        reply = self.conn.reply()
        if reply is frames.CLOSED:
            return False
        name, fields = self.under_way.pop(0)
        assert reply.err == 0, (name, fields["path"], reply)
        self.zxid = max(self.zxid, reply.zxid)
        path = fields["path"]
        if name == "create" and path in self.sent:
            self.created[path], self.acked[path] = True, 0
        elif name == "create" and path.startswith(f"/s{self.number}/"):
            self.sequence.add(reply.record("create")["path"])
            self.maybe -= 1
        elif name == "delete":
            self.deleted.add(path)
            self.sequence.discard(path)
            self.unsure.discard(path)
        elif path in self.sent:
            stat = reply.record(name)["stat"]
            assert stat["version"] >= self.acked[path], "went back"
            self.acked[path] = stat["version"]
        self.world.answered()
        return True

    def end(self):
        """The server is gone: takes the answers that were still on their way."""
        self.join()
        while not self.conn.closed and self.take():
            pass
        self.conn.close()
        if self.problem:
            raise self.problem

    def check(self, tree):
        """What the server has after its restart; what was lost was never acknowledged."""
        mine = f"/e{self.number}"
        if any(self.created.values()):
            assert tree[mine][2]["ephemeralOwner"] == self.session
        for path, values in self.sent.items():
            if not self.created[path]:
                continue
            data, _, stat = tree[path]
            assert stat["version"] >= self.acked[path], f"{path} lost an acknowledged write"
            wanted = values[stat["version"]] if stat["version"] else b"0"
            assert data == wanted, path
            del values[stat["version"] + 1:]    # the rest never happened, and never will
            self.acked[path] = stat["version"]
        prefix = f"/s{self.number}/"
        there = {path for path in tree if path.startswith(prefix)}
        assert self.sequence - self.unsure <= there, "an acknowledged node is lost"
        assert not self.deleted & there, "a deleted node is back"
        assert len(there - self.sequence) <= self.maybe
        self.sequence, self.maybe = there, 0
        self.deleted |= self.unsure - there
        self.unsure = set()


class World:
    """The writers, and what all of them together have seen."""

    def __init__(self, server):
        self.server = server
        self.writers = [Writer(self, number) for number in range(WRITERS)]
        self.answers = 0
        self.doomed = set()     # ephemerals of sessions that will not come back

    def answered(self):
        self.answers += 1

    @property
    def zxid(self):
        return max(writer.zxid for writer in self.writers)

    def doom(self):
        """A session that ends with this life of the server."""
        conn = frames.session(self.server.address, timeout_ms=GONE_AFTER_MS)
        reply = conn.call("create", path=f"/d{conn.session_id:x}", flags=1)
        assert reply.err == 0
        self.doomed.add(reply.record("create")["path"])
        conn.close()

    def live(self, rng):
        begin = self.answers
        for writer in self.writers:
            writer.begin(self.server.address)
        self.doom()
        # a crash in the first rush, or after some time
        enough = rng.choice([1, 50, 500, 1500])
        servers.wait_for(lambda: self.answers - begin >= enough, 20, "answers", 0.0005)
        time.sleep(rng.random() * 0.01)
        self.server.kill()
        for writer in self.writers:
            writer.end()

    def check(self):
        assert datadir.last_zxid(self.server) >= self.zxid
        assert datadir.mntr(self.server, "digest_mismatches_count") == 0
        conn = frames.session(self.server.address)
        tree = datadir.read_tree(conn)
        for writer in self.writers:
            writer.check(tree)
        conn.call("closeSession")
        conn.close()
        self.doomed &= set(tree)    # they may be gone already, they must be in the end

    def rest(self):
        """In the end all forgotten sessions are gone, with what they owned."""
        def gone():
            conn = frames.session(self.server.address)
            names = conn.call("getChildren", path="/").record("getChildren")["children"]
            conn.call("closeSession")
            conn.close()
            return not {path[1:] for path in self.doomed} & set(names)
        servers.wait_for(gone, 20, "end of the sessions that did not come back", 0.2)


def tear(folder, zxid, rng):
    """Damages the end of the last log, behind what anybody was told; as a power cut might."""
    path = format.logs(folder)[-1]
    raw = path.read_bytes()
    if len(raw) < 16:
        return "nothing to tear"        # killed before it had a header
    entries = list(format.entries(raw, strict=False))
    safe = max((entry.end for entry in entries if entry.zxid <= zxid), default=16)
    end = entries[-1].end if entries else 16
    if end == safe:
        return "nothing to tear"
    how = rng.choice(["cut", "zeros", "sector", "sector"])
    at = rng.randrange(safe, end)
    with open(path, "r+b") as file:
        if how == "cut":
            file.truncate(at)
            return f"cut at {at}"
        last = entries[-1]
        sector = (last.at + 511) // 512 * 512
        if how == "sector" and last.at >= safe and sector + 512 < last.end:
            file.seek(sector)           # the middle never came, the end mark did
            file.write(bytes(512))
            return f"no sector at {sector}"
        file.seek(at)
        file.write(bytes(len(raw) - at if len(raw) - at < 1 << 20 else end - at))
        return f"zeros from {at}"


@pytest.fixture
def server(server_kind, tmp_path):
    server = datadir.new_server(server_kind, tmp_path, config={
        "tickTime": 200, "minSessionTimeout": 500, "maxSessionTimeout": 60000, "snapCount": 1000})
    yield server
    server.stop()


@pytest.mark.timeout(300)
def test_crashes_under_load(server):
    rng = random.Random(11)
    world = World(server)
    server.start()
    torn = []
    for cycle in range(CYCLES[server.kind]):
        world.live(rng)
        # stock may refuse what a power cut leaves, so only zkd meets one
        if cycle % 5 == 4 and server.kind == "zkd":
            torn.append(tear(datadir.version2(server), world.zxid, rng))
        server.start()
        world.check()
    world.rest()
    print(f"{world.answers} answers, zxid {world.zxid:x}, torn: {torn}")
    # in the end the files say the same as the server
    with frames.session(server.address) as conn:
        tree = datadir.read_tree(conn)
    server.kill()
    if server.kind == "zkd":
        newest = format.newest(datadir.version2(server))
        last = format.zxid_of(format.snapshots(datadir.version2(server))[-1])
        state = format.replayed(datadir.version2(server), strict=False,
                                start=format.Replay(newest, last))
        datadir.same({k: v for k, v in datadir.client_view(state.nodes).items() if k in tree}, tree)
        assert state.mismatches == 0
