"""Differential test: the same random operations on two servers, every reply and event compared.

    python differential.py N [--seed S] [--left stock] [--right zkd] [--survey]

One logical order: a step (one request, or several pipelined on one connection) goes to both
servers, its replies are awaited on both, and after anything that writes, a ping on every other
connection brings in the events the step has caused. What came back is then compared, byte for
byte but for these masks:

  ctime, mtime      wall clocks. Zero must be zero on both; otherwise within ten minutes of now
  session ids       from the server's clock. Replaced by the name of the session that has it
  passwords         a function of the id: checked to be that function, then dropped
  children, paths   getChildren(2) and getEphemerals list a Java hash set; compared sorted
  clientInfo        whoAmI lists a Java hash set; compared sorted
  auth expansion    an ACL entry `auth` becomes one entry per identity in hash order: inside a run
                    of digest entries with the same perms the ids are compared sorted
  close events      a closed session's ephemerals go in unspecified order: the events of that one
                    step are compared sorted

Every reply is also decoded and encoded again and must give the same bytes, so that the comparison
of decoded fields is a comparison of bytes.

With --survey a difference does not end the run: each kind of it (operation, both error codes) is
shown once. What follows a difference may be a consequence of it, so read from the top.
"""
import argparse
import random
import shutil
import sys
import tempfile
import time

import frames
import pair
from generator import WRITES, Generator, Step

SESSION_TIMEOUT_MS = 40000
# Nothing may happen by itself: no reaper, and no fsync to wait for.
CONFIG = {"enforceQuota": "true", "forceSync": "no"}
PROPS = {"znode.container.checkIntervalMs": "100000000"}


# ---- deliberate deviations -------------------------------------------------------------------
SINGLE_WRITES = {1, 2, 5, 7, 15, 16, 19, 21}


def burnt_zxid(request, left, right):
    """Stock gives an unparsable write the last zxid again, which hangs an ensemble (spec 5);
    a new zxid is right as well. Returns how many zxids the right server took in addition."""
    unparsable = request.opcode in SINGLE_WRITES or request.opcode == 14
    if unparsable and left[:1] + left[2:3] == right[:1] + right[2:3] and left[2] == -5:
        return max(0, right[1] - left[1])
    return 0


# Others: (name, why, function of request, left reply and right reply -> accepted?). The replies
# are masked tuples (xid, zxid, err, body). What stock does not survive is not generated at all.
DEVIATIONS = []


# ---- one server ------------------------------------------------------------------------------
class Difference(Exception):
    pass


def sorted_runs(acl):
    """The auth-expansion mask."""
    if acl is None:
        return None
    out, run = [], []
    for entry in list(acl) + [None]:
        if run and (entry is None or entry[1] != "digest" or entry[0] != run[0][0]):
            out += sorted(run)
            run = []
        if entry is not None and entry[1] == "digest":
            run.append(entry)
        elif entry is not None:
            out.append(entry)
    return out


class Side:
    """One server, its connections, and the masks that belong to it."""

    def __init__(self, server, sessions):
        self.server = server
        self.names = {}     # session id -> name
        self.burnt = []     # zxids this server took that the other did not
        self.opened = 0
        self.conns = [None] * sessions
        for index in range(sessions):
            self.open(index)

    def open(self, index):
        conn = frames.Conn(self.server.address)
        response = conn.connect(SESSION_TIMEOUT_MS)
        if not response or response["passwd"] != frames.password_of(response["sessionId"]):
            raise Difference("%s: no session: %r" % (self.server.kind, response))
        self.names[response["sessionId"]] = "session %d" % self.opened
        self.opened += 1
        self.conns[index] = conn

    def close(self):
        for conn in self.conns:
            conn.close()

    # -- masks
    def zxid(self, zxid):
        if zxid <= 0 or not self.burnt:
            return zxid
        return zxid - sum(1 for burnt in self.burnt if burnt <= zxid)

    def zxid_out(self, zxid):
        """The inverse: what this server calls it."""
        for burnt in self.burnt:
            zxid += burnt <= zxid
        return zxid

    def stat(self, stat):
        out = dict(stat)
        for name in ("ctime", "mtime"):
            if out[name] != 0:
                recent = abs(out[name] / 1000 - time.time()) < 600
                out[name] = "recent" if recent else out[name]
        for name in ("czxid", "mzxid", "pzxid"):
            out[name] = self.zxid(out[name])
        owner = out["ephemeralOwner"]
        out["ephemeralOwner"] = self.names.get(owner, owner)
        return tuple(out.items())

    def mask(self, record):
        out = {}
        for name, value in record.items():
            if name == "stat":
                value = self.stat(value)
            elif name in ("children", "paths", "clientInfo") and value is not None:
                value = sorted(value, key=repr)
            elif name == "acl":
                value = sorted_runs(value)
            elif name == "results":
                value = [(kind, err, self.mask(fields)) for kind, err, fields in value]
            out[name] = value
        return out

    def canonical(self, name, message):
        """(xid, zxid, err, body) of a message after the masks."""
        if message is frames.CLOSED:
            return ("closed",)
        body = message.body
        if body:
            layout = frames.EVENT if name == "event" else frames.OPS[name][2]
            try:
                record = frames.decode(layout, body)
                if frames.encode(layout, record) == body:
                    body = self.mask(record)
            except frames.Malformed:
                pass  # then its bytes are compared as they are
        return (message.xid, self.zxid(message.zxid), message.err, body)

    # -- doing
    def send(self, step):
        raw = b"".join(frames.frame(request.payload(self.zxid_out)) for request in step.requests)
        self.conns[step.session].send_raw(raw)

    def collect(self, step):
        """Everything that arrived on the step's connection up to the last reply, in order, as
        (name, message); names are those of the requests, or event."""
        conn, arrived, waiting = self.conns[step.session], [], list(step.requests)
        while waiting:
            message = self.receive(conn, waiting[0])
            name = "event"
            if message is frames.CLOSED or not message.is_event:
                name = waiting.pop(0).name
            arrived.append((name, message))
            if message is frames.CLOSED:
                break
        return arrived

    def receive(self, conn, what):
        try:
            return conn.message()
        except TimeoutError:
            raise Difference("%s: no answer to %r" % (self.server.kind, what)) from None

    def ping_send(self, indexes):
        for index in indexes:
            self.conns[index].submit("ping", -2)

    def ping_collect(self, indexes):
        """Per connection the messages up to and with the reply to the ping."""
        out = []
        for index in indexes:
            while True:
                message = self.receive(self.conns[index], "ping")
                event = message is not frames.CLOSED and message.is_event
                out.append(("event" if event else "ping", message))
                if not event:
                    break
        return out

    def takeover(self, index, password=None):
        """A second connection for the session. The first must be closed by the server."""
        old = self.conns[index]
        conn = frames.Conn(self.server.address)
        response = conn.connect(SESSION_TIMEOUT_MS, old.session_id, password or old.password,
                                read_only=None)
        seen = dict(response) if response else {}
        named = (self.names.get(seen.pop("sessionId", None)),
                 seen.pop("passwd", None) in (old.password, b"\0" * 16), tuple(seen.items()))
        events = []
        while (message := self.receive(old, "a takeover")) is not frames.CLOSED:
            events.append(self.canonical("event", message))
        if password:
            closed = conn.recv_frame() is frames.CLOSED
            conn, named = frames.Conn(self.server.address), named + (closed,)
            conn.connect(SESSION_TIMEOUT_MS, old.session_id, old.password)
        self.conns[index] = conn
        return named, events


# ---- the comparison --------------------------------------------------------------------------
class Differential:
    def __init__(self, left, right, seed, sessions=4, survey=False):
        self.survey = {} if survey else None    # kind of difference -> how often
        self.sides = [Side(left, sessions), Side(right, sessions)]
        self.generator = Generator(random.Random(seed), sessions)
        self.seed = seed
        self.steps = 0
        self.operations = 0
        self.errors = {}      # error code of a reply -> how often: shows what was exercised
        self.events = 0

    def run(self, operations):
        """Steps until that many operations are done; Difference at the first difference."""
        while self.operations < operations:
            step = self.generator.step()
            self.steps += 1
            try:
                self.perform(step)
            except Difference as difference:
                raise Difference("seed %d, step %d (operation %d): %s\nthe step: %r" % (
                    self.seed, self.steps, self.operations, difference, step)) from None
            self.operations += max(1, len(step.requests))
        return self

    def perform(self, step):
        if step.kind in ("takeover", "impostor"):
            wrong = b"wrong password!!" if step.kind == "impostor" else None
            self.equal(step.kind, [side.takeover(step.session, wrong) for side in self.sides])
            return
        for side in self.sides:
            side.send(step)
        arrived = [side.collect(step) for side in self.sides]
        self.compare(step, arrived, shuffled=step.kind == "reopen")
        if any(request.opcode in WRITES for request in step.requests):
            others = [i for i in range(len(self.sides[0].conns)) if i != step.session]
            for side in self.sides:
                side.ping_send(others)
            self.compare(Step("events of the above", step.session),
                         [side.ping_collect(others) for side in self.sides],
                         shuffled=step.kind == "reopen")
        self.reopen_if_closed(step, arrived[0])

    def reopen_if_closed(self, step, arrived):
        """Some requests end with a close: then both connections must be closed, and the session
        goes on (or, after closeSession, a new one begins) on new ones."""
        request, message = step.requests[-1] if step.requests else None, arrived[-1:]
        gone = message and message[0][1] is frames.CLOSED
        fatal = request is not None and not gone and (
            step.kind == "reopen" or request.opcode == 100 and message[0][1].err
            or message[0][1].zxid == -1)
        if not gone and not fatal:
            return
        for side in self.sides:
            conn = side.conns[step.session]
            if not gone and side.receive(conn, "the close") is not frames.CLOSED:
                raise Difference("%s: connection still open" % side.server.kind)
            if step.kind == "reopen":
                side.open(step.session)
                continue
            side.conns[step.session] = frames.Conn(side.server.address)
            response = side.conns[step.session].connect(
                SESSION_TIMEOUT_MS, conn.session_id, conn.password)
            if not response or response["sessionId"] != conn.session_id:
                raise Difference("%s: session lost: %r" % (side.server.kind, response))

    def compare(self, step, arrived, shuffled=False):
        masked = [[side.canonical(name, message) for name, message in part]
                  for side, part in zip(self.sides, arrived)]
        if shuffled:  # the close-events mask
            masked = [sorted(part, key=repr) for part in masked]
        self.excuse(step, arrived, masked)
        if masked[0] != masked[1]:
            self.differs(step, arrived, masked)
        replies = iter(step.requests)
        for name, message in arrived[0]:
            if name == "event":
                self.events += 1
            elif message is not frames.CLOSED and step.requests:
                self.generator.learn(next(replies), message)
                self.errors[message.err] = self.errors.get(message.err, 0) + 1

    def excuse(self, step, arrived, masked):
        """Apply the table of deviations to the replies of this step."""
        if len(masked[0]) != len(masked[1]) or not step.requests:
            return
        replies = [i for i, (name, _) in enumerate(arrived[0]) if name != "event"]
        for request, at in zip(step.requests, replies):
            left, right = masked[0][at], masked[1][at]
            if left == right or "closed" in left + right:
                continue
            burnt = burnt_zxid(request, left, right)
            if burnt:
                top = arrived[1][at][1].zxid
                self.sides[1].burnt += range(top - burnt + 1, top + 1)
                masked[1] = [self.sides[1].canonical(*one) for one in arrived[1]]
            for _, _, accepts in DEVIATIONS:
                if accepts(request, left, right):
                    masked[1][at] = left

    def differs(self, step, arrived, masked):
        text = self.explain(step, arrived, masked)
        if self.survey is None or len(masked[0]) != len(masked[1]):
            raise Difference(text)
        for (name, _), left, right in zip(arrived[0], *masked):
            if left != right:
                kind = (name,) + tuple(one[2] if len(one) > 2 else "closed"
                                       for one in (left, right))
                if kind not in self.survey:
                    print("%s: %s, %s: seed %d, step %d, %s\n" % (*kind, self.seed, self.steps,
                                                                 text))
                self.survey[kind] = self.survey.get(kind, 0) + 1
        # carry on from here as if both had used as many zxids
        last = [part[-1][1] if len(part[-1]) > 1 else 0 for part in masked]
        for side, extra in zip(self.sides, (last[0] - last[1], last[1] - last[0])):
            if extra > 0 and min(last) > 0:
                top = side.zxid_out(max(last))
                side.burnt += range(top - extra + 1, top + 1)

    def explain(self, step, arrived, masked):
        """The first message that differs, from both, and the request it answers."""
        at = next((i for i, both in enumerate(zip(*masked)) if both[0] != both[1]),
                  min(map(len, masked)))
        replies = sum(name != "event" for name, _ in arrived[0][:at])
        lines = ["message %d differs" % at]
        if replies < len(step.requests):
            lines.append("request: %r" % step.requests[replies])
        for side, part, came in zip(self.sides, masked, arrived):
            if at < len(part):
                lines += ["%s: %s %r" % (side.server.kind, came[at][0], part[at]),
                          "    bytes %r" % came[at][1]]
            else:
                lines.append("%s: nothing more" % side.server.kind)
        return "\n".join(lines)

    def equal(self, what, values):
        if values[0] != values[1]:
            raise Difference("%s:\n  %s: %r\n  %s: %r" % (
                what, self.sides[0].server.kind, values[0],
                self.sides[1].server.kind, values[1]))

    # -- the end
    def tree(self, side):
        """Every node with data, ACL and Stat, as a super user sees it."""
        conn = frames.session(side.server.address, timeout_ms=SESSION_TIMEOUT_MS)
        conn.call("auth", -4, type=0, scheme="digest", auth=b"super:test")
        nodes, ahead = {}, ["/"]
        while ahead:
            path = ahead.pop()
            replies = {name: conn.call(name, path=path)
                       for name in ("getChildren2", "getData", "getACL")}
            below = "" if path == "/" else path
            ahead += [below + "/" + name for name in replies["getChildren2"].record(
                "getChildren2")["children"]]
            # the xid counts requests, and the zxid is that of the moment: neither is the tree's
            nodes[path] = {name: side.canonical(name, message)[2:]
                           for name, message in replies.items()}
        conn.call("closeSession")
        return nodes

    def finish(self):
        """Compare the whole trees, then end the sessions. Returns the number of nodes."""
        trees = [self.tree(side) for side in self.sides]
        self.equal("paths", [sorted(tree) for tree in trees])
        for path in trees[0]:
            self.equal("node " + path, [tree[path] for tree in trees])
        for side in self.sides:
            side.close()
        return len(trees[0])


def run(kinds, operations, seed, workdir, config=(None, None), survey=False):
    """Start both servers, run, compare the trees. Returns the finished Differential."""
    running = []
    try:
        for index, kind in enumerate(kinds):
            merged = dict(CONFIG)
            merged.update(config[index] or {})
            running.append(pair.make_server(
                kind, "%s/%d-%s" % (workdir, index, kind), merged, PROPS))
        both = Differential(running[0], running[1], seed, survey=survey)
        both.run(operations)
        both.nodes = both.finish()
        return both
    finally:
        for server in running:
            server.kill()


def main():
    parser = argparse.ArgumentParser(description="random operations, two servers, no difference")
    parser.add_argument("operations", type=int)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--left", choices=pair.KINDS, default="stock")
    parser.add_argument("--right", choices=pair.KINDS, default="zkd")
    parser.add_argument("--survey", action="store_true", help="do not stop at a difference")
    args = parser.parse_args()
    workdir = tempfile.mkdtemp(prefix="zk-differential-")
    started = time.monotonic()
    try:
        both = run((args.left, args.right), args.operations, args.seed, workdir,
                   survey=args.survey)
    except pair.Missing as reason:
        sys.exit(str(reason))
    except Difference as difference:
        sys.exit("DIFFERENCE\n%s" % difference)
    finally:
        shutil.rmtree(workdir, ignore_errors=True)
    found = "%d kinds of difference" % len(both.survey) if both.survey else "no difference"
    print("%d operations, %d events, %d nodes at the end, %s, %.1f s (seed %d)" % (
        both.operations, both.events, both.nodes, found, time.monotonic() - started, args.seed))
    print("replies by error code: " + ", ".join(
        "%d: %d" % item for item in sorted(both.errors.items(), reverse=True)))


if __name__ == "__main__":
    main()
