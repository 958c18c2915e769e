"""Random requests of every kind from several sessions, through every member at once.

What each request comes to is up to the order of events; what counts is that all members agree on
it. The requests are those of the differential test but for what an ensemble with stock in it does
not survive:
  bodies that cannot be parsed, nulls in paths and ACLs: a stock leader gives such a request the
  zxid of the one before it, which ends stock followers and stops all writes
  create2 in a multi, with 3.8.0 among the members: that version does not apply it
"""
import random
import threading

import frames
from generator import Generator

LEFT_OUT = {"malformed", "reconfig", "bad_auth", "unknown_opcode", "sasl"}
UNDER_WAY = 8
SPEEDY_TTLS = [1, 300, 1000]


def fragile(request, old):
    """Whether it is one of those."""
    every = [(request.name, request.fields), *request.fields.get("ops", ())]
    for name, fields in every:
        acl = fields.get("acl", frames.WORLD)
        if fields.get("path", "/") is None or acl is None or any(None in entry for entry in acl):
            return True
        if request.name == "multi" and (name == "getData" or old and name == "create2"):
            return True
    return False


class Requests(Generator):
    def __init__(self, rng, old):
        super().__init__(rng, sessions=1)
        self.old = old

    def one(self):
        while fragile(request := super().one(), self.old):
            pass
        return request

    def in_quota(self):
        while fragile(request := super().in_quota(), self.old):
            pass
        return request

    def weighted(self, table):
        while (kind := super().weighted(table)) in LEFT_OUT:
            pass
        return kind

    def create(self):
        request = super().create()
        if request.name == "createTTL" and request.fields["flags"] in (5, 6) and self.chance(0.5):
            request.fields["ttl"] = self.rng.choice(SPEEDY_TTLS)
        return request


class Session(threading.Thread):
    def __init__(self, address, seed, count, old):
        super().__init__(name=f"mixture {seed} at {address}")
        self.address, self.count = address, count
        self.requests = Requests(random.Random(seed), old)
        self.answers, self.refused, self.problem = 0, 0, None
        self.zxid = 0

    def run(self):
        try:
            with frames.session(self.address, timeout_ms=30000) as conn:
                self.work(conn)
                conn.call("closeSession")
        except Exception as problem:
            self.problem = problem

    def work(self, conn):
        waiting = []
        while self.answers < self.count:
            step = self.requests.step()
            if step.kind != "requests":
                continue
            # what is drawn alone, as auth whose reply overtakes, is sent alone
            self.take_down_to(conn, waiting, UNDER_WAY if step.pipelined else 0)
            for request in step.requests:
                conn.send_raw(frames.frame(request.payload()))
                waiting.append(request)
            if not step.pipelined:
                self.take_down_to(conn, waiting, 0)
        self.take_down_to(conn, waiting, 0)

    def take_down_to(self, conn, waiting, count):
        while len(waiting) > count:
            self.take(conn, waiting.pop(0))

    def take(self, conn, request):
        try:
            reply = conn.reply()
        except TimeoutError:
            raise AssertionError(f"no answer to {request}") from None
        assert reply is not frames.CLOSED, f"closed after {request}"
        assert reply.xid == (-2 if request.name == "ping" else request.xid), (reply, request)
        if request.name != "auth":      # its reply tells no zxid
            assert reply.zxid >= self.zxid, f"zxid goes back: {reply} to {request}"
            self.zxid = reply.zxid
        self.answers += 1
        self.refused += reply.err != 0
        self.requests.learn(request, reply)


def run(addresses, seed, sessions=2, count=250, old=False):
    """Load through each of the addresses until all sessions have had `count` answers."""
    threads = [Session(address, seed * 1000 + number, count, old)
               for number, address in enumerate([*addresses] * sessions)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for thread in threads:
        if thread.problem:
            raise AssertionError(f"{thread.name}: {thread.problem!r}") from thread.problem
    return threads
