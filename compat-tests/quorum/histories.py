"""Clients that move between the members of an ensemble, and what must be true of their histories.

Every writer has one session for its whole life and several requests under way. When its connection
breaks, or nothing comes for some time, it takes its session to the next member. What was under way
then may have happened or not, but only a first part of it: requests of a session are served in
order. From what was answered follows what every later answer and the tree in the end must show:

  registers      only their writer sets them, to growing numbers: no acknowledged one is lost, none
                 goes back, versions count the sets
  sequences      an acknowledged node stays, an acknowledged delete too
  twins          set by one multi: they are never apart
  the counter    all writers compare and set it: each version is made by one of them, later in time
                 means later in version, whoever sees a version sees the same data
  ephemeral      there as long as its session is, made by it
  zxids          of one session's answers never go back, also over a move
"""
import random
import threading
import time

import frames
from harness.servers import wait_for

UNDER_WAY = 12
REGISTERS = 3
NODES = 300                 # of a writer; more of them are deleted than made from there on
COUNTER = "/counter"
TIMEOUT_MS = 20000
NONODE, NODEEXISTS, BADVERSION = (frames.ERR[name] for name in (
    "NONODE", "NODEEXISTS", "BADVERSION"))


class Lost(Exception):
    """The connection is of no more use."""


class Writer(threading.Thread):
    def __init__(self, world, number, seed):
        super().__init__(name=f"writer {number}", daemon=True)
        self.world, self.number = world, number
        self.rng = random.Random(seed)
        self.home = f"/w{number}"
        self.registers = [f"{self.home}/r{i}" for i in range(REGISTERS)]
        self.twins = [f"{self.home}/t{i}" for i in range(2)]
        self.conn, self.session, self.zxid, self.at = None, 0, 0, number
        self.under_way = []
        self.sets = 0                                       # number of the last value sent
        self.known = dict.fromkeys(self.registers, (-1, -1))    # (version, value) acknowledged
        self.made, self.unsure, self.deleted, self.lost = set(), set(), set(), 0
        self.made_home = False
        self.counter = None                                 # version to set it at
        self.answers, self.moves = 0, 0
        self.problem = None

    # Life

    def run(self):
        try:
            while not self.world.over:
                try:
                    self.live()
                except (Lost, OSError):
                    self.move()
            if self.conn:
                self.drain()
        except (Lost, OSError):
            pass
        except Exception as problem:
            self.problem = problem

    def move(self):
        if self.conn:
            self.conn.close()
            self.moves += 1
        self.conn = None
        for name, fields, _ in self.under_way:
            if name == "create" and fields.get("flags") == 2:
                self.lost += 1
            if name == "delete":
                self.unsure.add(fields["path"])
        self.under_way, self.counter = [], None
        self.at += 1

    def live(self):
        if self.conn is None:
            self.connect()
        while not self.world.over:
            while len(self.under_way) >= UNDER_WAY:
                self.take()
            name, fields = self.draw()
            self.submit(name, **fields)

    def connect(self):
        addresses = self.world.addresses
        self.conn = frames.Conn(addresses[self.at % len(addresses)], timeout=self.world.silence_s)
        answer = self.conn.connect(session_id=self.session, timeout_ms=TIMEOUT_MS,
                                   last_zxid=self.zxid)
        if answer is frames.CLOSED:
            time.sleep(0.02)
            raise Lost
        assert answer["timeOut"], f"session {self.session:#x} has expired"
        self.session = self.conn.session_id
        if not self.made_home:
            self.submit("create", path=self.home)
            for path in self.registers + self.twins:
                self.submit("create", path=path, data=b"0")
            self.submit("create", path=f"{self.home}/e", flags=1)
            self.submit("create", path=COUNTER, data=b"")
            self.drain()
            self.made_home = True

    def drain(self):
        while self.under_way:
            self.take()

    # Requests

    def draw(self):
        dice = self.rng.random()
        if dice < (0.12 if len(self.made) < NODES else 0.04):
            return "create", {"path": f"{self.home}/s-", "flags": 2}
        if dice < 0.16 and self.made:
            path = self.rng.choice(sorted(self.made))
            self.made.discard(path)
            return "delete", {"path": path}
        if dice < 0.22:
            self.sets += 1
            return "multi", {"ops": [("setData", {"path": path, "data": b"%d" % self.sets})
                                     for path in self.twins]}
        if dice < 0.28:
            return "multiRead", {"ops": [("getData", {"path": path}) for path in self.twins]}
        if dice < 0.32:
            return "create", {"path": self.registers[0]}      # fails
        if dice < 0.40:
            return "getData", {"path": COUNTER}
        if dice < 0.48 and self.counter is not None:
            version, self.counter = self.counter, None
            return "setData", {"path": COUNTER, "version": version,
                               "data": b"%d %d" % (self.number, version)}
        path = self.rng.choice(self.registers)
        if dice < 0.65:
            return "getData", {"path": path}
        self.sets += 1
        return "setData", {"path": path, "data": b"%d" % self.sets}

    def submit(self, name, **fields):
        before = self.world.counter_version     # of what is sent from now on
        self.conn.submit(name, **fields)
        self.under_way.append((name, fields, before))

    def take(self):
        try:
            reply = self.conn.reply()
        except (TimeoutError, frames.Malformed):
            raise Lost from None
        if reply is frames.CLOSED:
            raise Lost
        name, fields, before = self.under_way.pop(0)
        assert reply.zxid >= self.zxid, f"zxid goes back from {self.zxid:#x}: {reply}"
        self.zxid = reply.zxid
        self.answers += 1
        self.world.answered_at = time.monotonic()
        self.check(name, fields, reply, before)

    # Answers

    def check(self, name, fields, reply, before):
        path = fields.get("path")
        if path == COUNTER:
            self.check_counter(name, fields, reply, before)
        elif name == "create" and fields.get("flags") == 2:
            assert reply.err == 0, reply
            self.made.add(reply.record("create")["path"])
        elif name == "create":
            # at home everything is made once, unless a lost connection leaves that open
            allowed = {NODEEXISTS} if self.made_home else {0, NODEEXISTS} if self.moves else {0}
            assert reply.err in allowed, (fields, reply)
        elif name == "delete":
            assert reply.err == 0, (fields, reply)
            self.deleted.add(path)
        elif name == "multi":
            assert [err for _, err, _ in reply.record("multi")["results"]] == [0, 0]
        elif name == "multiRead":
            values = [one["data"] for _, _, one in reply.record("multiRead")["results"]]
            assert values[0] == values[1], f"twins are apart: {values}"
        else:
            assert reply.err == 0, (fields, reply)
            record = reply.record(name)
            value = int(fields["data"] if name == "setData" else record["data"])
            self.check_register(path, record["stat"]["version"], value, name == "setData")

    def check_register(self, path, version, value, written):
        known_version, known_value = self.known[path]
        assert version >= known_version and value >= known_value, \
            f"{path} goes back from {self.known[path]} to {(version, value)}"
        assert not written or version > known_version
        # each version takes a number of its own, and numbers that were lost take no version
        assert known_version < 0 or \
            (version > known_version) == (value > known_value) and \
            version - known_version <= value - known_value, \
            f"{path} goes from {self.known[path]} to {(version, value)}"
        self.known[path] = version, value

    def check_counter(self, name, fields, reply, before):
        if name == "create":
            assert reply.err in (0, NODEEXISTS)
        elif name == "getData":
            record = reply.record(name)
            self.counter = record["stat"]["version"]
            self.world.saw(self.counter, record["data"], record["stat"]["mzxid"])
        elif reply.err:
            assert reply.err == BADVERSION, reply
        else:
            stat = reply.record(name)["stat"]
            version = fields["version"] + 1
            assert stat["version"] == version
            assert version > before, f"{version} is set after {before} was acknowledged"
            self.world.saw(version, fields["data"], stat["mzxid"])
            self.world.won(version, self.number)

    # In the end

    def check_tree(self, tree):
        if not self.made_home:
            return
        assert tree[f"{self.home}/e"][2]["ephemeralOwner"] == self.session
        for path in self.registers:
            data, _, stat = tree[path]
            self.check_register(path, stat["version"], int(data), False)
        assert tree[self.twins[0]][0] == tree[self.twins[1]][0]
        prefix = f"{self.home}/s-"
        there = {path for path in tree if path.startswith(prefix)}
        missing = self.made - there
        assert not missing, f"acknowledged nodes are lost: {sorted(missing)}"
        assert not self.deleted & there, "a deleted node is back"
        extra = there - self.made - self.unsure
        assert len(extra) <= self.lost, f"{len(extra)} nodes too many, {self.lost} were unanswered"


class World:
    """The writers of an ensemble, and what all of them together have seen. A client that has
    waited for silence_s tries another member."""

    def __init__(self, ensemble, writers=4, seed=1, sids=None, silence_s=2.0):
        self.ensemble = ensemble
        self.silence_s = silence_s
        self.addresses = [ensemble.servers[sid].address for sid in sids or ensemble.sids]
        self.over = False
        self.answered_at = time.monotonic()
        self.counter_version = 0        # newest acknowledged
        self.seen = {}                  # version of the counter: (data, mzxid)
        self.winners = {}
        self._lock = threading.Lock()
        self.writers = [Writer(self, number, seed * 100 + number) for number in range(writers)]

    def saw(self, version, data, mzxid):
        with self._lock:
            known = self.seen.setdefault(version, (data, mzxid))
        assert known == (data, mzxid), f"version {version} is {known} and {(data, mzxid)}"

    def won(self, version, number):
        with self._lock:
            assert version not in self.winners, f"version {version} was set twice"
            self.winners[version] = number
            self.counter_version = max(self.counter_version, version)

    def start(self):
        for writer in self.writers:
            writer.start()
        return self

    @property
    def answers(self):
        return sum(writer.answers for writer in self.writers)

    def check_problems(self):
        for writer in self.writers:
            if writer.problem:
                story = self.ensemble.story()
                raise AssertionError(f"{writer.name}: {writer.problem!r}\n{story}") \
                    from writer.problem

    def progress(self, answers=200, timeout_s=30):
        """Wait until every writer has had so many more answers."""
        wanted = {writer: writer.answers + answers for writer in self.writers}

        def done():
            self.check_problems()
            for sid in self.ensemble.sids:
                self.ensemble.check_running(sid)
            return all(writer.answers >= wanted[writer] for writer in self.writers)
        try:
            wait_for(done, timeout_s, "progress")
        except TimeoutError as problem:
            raise AssertionError(f"{problem}\n{self.ensemble.story()}") from None

    def end(self):
        self.over = True
        for writer in self.writers:
            writer.join(30)
            assert not writer.is_alive(), f"{writer.name} hangs"
        self.check_problems()

    def check(self, tree):
        """After the end: what the ensemble holds now."""
        order = [mzxid for _, (_, mzxid) in sorted(self.seen.items())]
        assert order == sorted(set(order)), "zxids and versions of the counter disagree"
        version = tree[COUNTER][2]["version"]
        assert version >= self.counter_version, "an acknowledged write is lost"
        for number in self.winners:
            assert self.seen[number][0] == b"%d %d" % (self.winners[number], number - 1)
        for writer in self.writers:
            writer.check_tree(tree)
