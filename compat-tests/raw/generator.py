"""Seeded random operation sequences for the differential test.

The generator knows no server. It draws from a small name space, so that operations meet each
other, and it learns names of sequential nodes and versions from the replies of the reference.

What it does not draw, because stock does not survive it or answers by race:
  createTTL with a non-TTL mode and ttl < 0, createSession, deleteContainer, create(1/15) with
  mode 4, createContainer with a mode that is not 4 but valid: crashes or corrupts (spec 14, 5, 9.3)
  zookeeper_limits or zookeeper_stats anywhere but below /zookeeper/quota/q, text in them that does
  not parse, quota writes inside a pipelined batch: crash (spec 15), or checked against whatever
  is applied by then
  auth and closeSession inside a batch: their replies overtake, what is behind them is a race
  a setACL that is not the last of its batch: stock's pending record keeps the old ACL, so that a
  write behind it is checked against the old one until the new one is applied
  ACLs on / that do not let everyone in: the sequence would soon be nothing but -102
"""
import struct

import frames

TREE = ["/%s" % a for a in "abc"]
TREE += ["%s/%s" % (a, b) for a in TREE[:3] for b in "xy"]
TREE += ["%s/%s" % (p, n) for p in TREE[3:] for n in "01"]
QUOTA_TREE = ["/q", "/q/1", "/q/2", "/q/3", "/q/1/1"]
SYSTEM = ["/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config", ""]
BAD_PATHS = [
    None, "a", "/a/", "//", "/a//x", "/./x", "/a/..", "/a/../b", "/a/.", "/a\0b", "/\x01", "/\x1f",
    "/\x7f", "/\x9f", "/\ue000", "/\uf8ff", "/\ufff0", "/\U0001f600", b"/\xff\xfe", b"/\xc3",
    b"/\xed\xa0\xbd\xed\xb8\x80", b"/a\xf0\x9f\x98", "a/b", "/missing/x/", "/a/x//"]
ODD_PATHS = ["/\u00a0", "/\ud7ff", "/\uf900", "/\uffef", "/ ", "/...", "/.a", "/a..", "/\u00e4"]
WORDS = [b"", b"x", b"hello", b"\0" * 40, b"y" * 300, None, b"12345"]
MODES = [0, 0, 0, 1, 1, 2, 3]
LIMITS = [b"count=3,bytes=-1", b"count=-1,bytes=20", b"count=2,bytes=-1=;countHardLimit=3",
          b"count=-1,bytes=10=;byteHardLimit=25",
          b"count=-1,bytes=-1=;byteHardLimit=9;countHardLimit=2"]
ACLS = [
    frames.WORLD, frames.WORLD, frames.WORLD,
    [(1, "world", "anyone")], [(15, "world", "anyone")], [(0, "world", "anyone")],
    [(31, "ip", "127.0.0.1")], [(31, "ip", "127.0.0.0/8"), (1, "world", "anyone")],
    [(31, "ip", "10.0.0.0/8"), (17, "world", "anyone")],
    [(31, "auth", "")], [(31, "auth", None), (1, "world", "anyone")], [(31, "auth", "x")] * 2,
    [(31, "digest", "bob:fyVmFCwVbTJYrznoSu1koqYEYF0="), (1, "world", "anyone")],
    [(5, "world", "anyone"), (24, "digest", "ann:c2hhbQ==")], frames.WORLD * 3,
    [(-1, "world", "anyone")], [(0x7fffffff, "world", "anyone"), (3, "ip", "127.0.0.1")]]
BAD_ACLS = [
    None, [], [(31, "world", "someone")], [(31, "digest", "nocolon")], [(31, "digest", "a:b:c")],
    [(31, "digest", "a:")], [(31, "ip", "1.2.3")], [(31, "ip", "1.2.3.4/33")],
    [(31, "ip", "::1")], [(31, "ip", "fe80::1/64")], [(31, "sasl", "x")], [(31, "bogus", "x")],
    [(31, None, "x")], [(31, "world", None)], [(31, "digest", None)], [(31, "super", "")],
    [(31, "", "")], [(31, "x509", "CN=a")], [(31, "auth", ""), (31, "world", "nobody")]]
IDENTITIES = [("digest", b"bob:secret"), ("digest", b"ann:x"), ("ip", b""),
              ("digest", b"solo"), ("super", None)]
BAD_AUTH = [("bogus", b""), ("world", b"anyone"), ("digest", None), (None, b"x"), ("sasl", b"x"),
            ("super", b"")]
READS = ["exists", "getData", "getACL", "getChildren", "getChildren2", "getAllChildrenNumber"]
INVALID_OPCODES = [0, 10, 13, -1, 23, 99, 108, 1000, 0x7fffffff, -12]
WRITES = {1, 2, 5, 7, 14, 15, 16, 19, 20, 21, -11}

KINDS = [  # (weight, kind); a kind is a method that returns a Request
    (18, "create"), (5, "delete"), (9, "set_data"), (3, "set_acl"), (14, "read"), (7, "multi"),
    (2, "multi_read"), (3, "add_watch"), (3, "drop_watch"), (2, "set_watches"), (2, "sync"),
    (1, "ping"), (1, "who"), (2, "ephemerals"), (2, "malformed"), (0.2, "reconfig")]
LONELY = [  # only outside of batches
    (40, None), (3, "auth"), (9, "quota"), (1, "bad_auth"), (1, "unknown_opcode"), (1, "sasl")]


class Request:
    """One request; fields are encoded when sent, so that zxids can be put in."""
    def __init__(self, name, fields=None, body=None, opcode=None):
        self.name = name
        self.opcode = frames.OPS[name][0] if opcode is None else opcode
        self.fields = fields or {}
        self.body = body
        self.xid = 0

    def payload(self, zxid_out=lambda zxid: zxid):
        body = self.body
        if body is None:
            fields = dict(self.fields)
            if "relativeZxid" in fields:
                fields["relativeZxid"] = zxid_out(fields["relativeZxid"])
            body = frames.encode(frames.OPS[self.name][1], fields)
        return struct.pack(">ii", self.xid, self.opcode) + body

    def __repr__(self):
        what = "body=%s" % self.body.hex() if self.body is not None else self.fields
        return "%s(%d) xid=%d %s" % (self.name, self.opcode, self.xid, what)


class Step:
    """What happens next: kind is requests, takeover, impostor or reopen."""
    def __init__(self, kind, session, requests=(), pipelined=False):
        self.kind = kind
        self.session = session
        self.requests = list(requests)
        self.pipelined = pipelined

    def __repr__(self):
        lines = ["%s on session %d%s" % (self.kind, self.session,
                                         ", pipelined" if self.pipelined else "")]
        return "\n  ".join(lines + [repr(request) for request in self.requests])


class Generator:
    def __init__(self, rng, sessions=4):
        self.rng = rng
        self.sessions = sessions
        self.versions = {}   # path: newest version seen
        self.learned = []    # sequential nodes
        self.zxid = 0        # newest zxid seen
        self.xids = [0] * sessions

    # -- drawing
    def weighted(self, table):
        return self.rng.choices([what for _, what in table], [weight for weight, _ in table])[0]

    def chance(self, probability):
        return self.rng.random() < probability

    def path(self):
        draw = self.rng.random()
        if draw < 0.80 or not self.learned and draw < 0.93:
            return self.rng.choice(TREE)
        if draw < 0.90:
            return self.rng.choice(self.learned)
        if draw < 0.93:
            return self.rng.choice(QUOTA_TREE)
        if draw < 0.96:
            return self.rng.choice(SYSTEM)
        return self.rng.choice(BAD_PATHS if draw < 0.985 else ODD_PATHS)

    def plain_path(self):
        return self.rng.choice(TREE + self.learned[-8:])

    def version(self, path):
        if self.chance(0.5):
            return -1
        if self.chance(0.7):
            return self.versions.get(path, 0)
        return self.rng.choice([0, 1, 2, 7, -2, 0x7fffffff])

    def acl(self):
        if self.chance(0.6):
            return frames.WORLD
        return self.rng.choice(ACLS if self.chance(0.8) else BAD_ACLS)

    # -- kinds of request
    def create(self):
        name = self.rng.choice(["create", "create", "create2", "create2", "createContainer",
                                "createTTL"])
        path = self.path()
        if path is not None and self.chance(0.08):
            path = path + b"/" if isinstance(path, bytes) else path + "/"  # legal when sequential
        fields = {"path": path, "data": self.rng.choice(WORDS), "acl": self.acl()}
        odd = self.rng.choice([7, -1, 100])
        if name == "createContainer":
            fields["flags"] = 4 if self.chance(0.9) else odd
        elif name == "createTTL":
            fields["flags"] = self.rng.choice([5, 5, 6])
            fields["ttl"] = self.rng.choice([1000000000, 2 ** 40 - 1, 2 ** 39, 86400000])
            if self.chance(0.2):
                fields["ttl"] = self.rng.choice([0, -1, 2 ** 40, -2 ** 63, 2 ** 63 - 1])
            elif self.chance(0.1):
                fields["flags"] = self.rng.choice([0, 1, 4, 7])
        else:
            fields["flags"] = self.rng.choice(MODES)
            if self.chance(0.05):
                fields["flags"] = self.rng.choice([5, 6, odd])
        return Request(name, fields)

    def delete(self):
        path = self.path()
        return Request("delete", {"path": path, "version": self.version(path)})

    def set_data(self):
        path = self.path()
        return Request("setData", {"path": path, "data": self.rng.choice(WORDS),
                                   "version": self.version(path)})

    def set_acl(self):
        path = self.path()
        acl = frames.WORLD if path in SYSTEM else self.acl()
        return Request("setACL", {"path": path, "acl": acl, "version": self.rng.choice(
            [-1, -1, 0, 1, 2])})

    def read(self):
        name = self.rng.choice(READS)
        fields = {"path": self.path()}
        if "watch:z" in frames.OPS[name][1]:
            fields["watch"] = self.chance(0.5)
        return Request(name, fields)

    def multi(self):
        ops = []
        for _ in range(self.rng.choice([0, 1, 1, 2, 2, 3, 3, 4, 6])):
            request = getattr(self, self.rng.choice(
                ["create", "create", "delete", "set_data", "check"]))()
            if self.chance(0.8) and request.fields["path"] not in self.versions:
                request.fields["path"] = self.plain_path()
            ops.append((request.name, request.fields))
        if self.chance(0.03):
            ops.append(("getData", {"path": "/a"}))
        return Request("multi", {"ops": ops})

    def check(self):
        path = self.path()
        return Request("check", {"path": path, "version": self.version(path)})

    def multi_read(self):
        ops = []
        for _ in range(self.rng.randrange(5)):
            ops.append((self.rng.choice(["getData", "getChildren"]),
                        {"path": self.path(), "watch": self.chance(0.3)}))
        if self.chance(0.08):
            ops.insert(self.rng.randrange(len(ops) + 1),
                       ("delete", {"path": "/nowhere", "version": -1}))
        return Request("multiRead", {"ops": ops})

    def add_watch(self):
        return Request("addWatch", {"path": self.path(), "mode": self.rng.choice(
            [0, 0, 1, 1, 2, -1])})

    def drop_watch(self):
        name = self.rng.choice(["checkWatches", "removeWatches"])
        return Request(name, {"path": self.path(), "type": self.rng.choice(
            [1, 2, 3, 4, 5, 3, 0, 6, -1])})

    def paths(self):
        if self.chance(0.02):
            return self.rng.choice([None, [None]])
        return [self.path() for _ in range(self.rng.choice([0, 0, 1, 1, 2, 3]))]

    def set_watches(self):
        zxid = self.rng.choice([self.zxid, max(0, self.zxid - 3), self.zxid // 2, 0])
        fields = {"relativeZxid": zxid, "data": self.paths(), "exist": self.paths(),
                  "child": self.paths()}
        if self.chance(0.5):
            return Request("setWatches", fields)
        fields["persistent"], fields["recursive"] = self.paths(), self.paths()
        return Request("setWatches2", fields)

    def sync(self):
        return Request("sync", {"path": self.path()})

    def ping(self):
        return Request("ping")

    def who(self):
        return Request("whoAmI")

    def ephemerals(self):
        return Request("getEphemerals", {"prefix": self.rng.choice(
            ["/", "", None, "/a", "/b/", "/a/x", " ", "nothing"])})

    def reconfig(self):
        return Request("reconfig", {"joining": None, "leaving": "1", "members": None,
                                    "config": -1})

    def malformed(self):
        """A body cut short, or with one byte changed where no value of it can hurt stock."""
        request = getattr(self, self.rng.choice(
            ["create", "delete", "set_data", "set_acl", "read", "multi", "multi_read",
             "add_watch", "drop_watch", "set_watches", "sync", "ephemerals"]))()
        body = bytearray(request.payload()[8:])
        harmless = request.opcode in (2, 3, 4, 5, 6, 8, 12, 17, 18, 101, 103, 104, 105, 106)
        if harmless and body and self.chance(0.6):
            body[self.rng.randrange(len(body))] = self.rng.randrange(256)
        else:
            del body[self.rng.randrange(len(body) + 1):]
        # a cut that leaves a whole setACL of / could still shut everyone out
        if request.opcode == 7:
            del body[12:]
        return Request(request.name, body=bytes(body))

    # -- kinds that stay alone
    def auth(self):
        scheme, data = self.rng.choice(IDENTITIES)
        if scheme == "super":
            scheme, data = "digest", b"super:test"
        return Request("auth", {"type": 0, "scheme": scheme, "auth": data})

    def bad_auth(self):
        scheme, data = self.rng.choice(BAD_AUTH)
        request = Request("auth", {"type": 0, "scheme": scheme, "auth": data})
        if self.chance(0.3):
            request = Request("auth", body=request.payload()[8:-1])
        return request

    def sasl(self):
        return Request("sasl", {"token": self.rng.choice([b"", b"abc"])})

    def unknown_opcode(self):
        return Request("ping", body=self.rng.choice([b"", b"\0" * 9]),
                       opcode=self.rng.choice(INVALID_OPCODES))

    def quota(self):
        base = "/zookeeper/quota/q"
        draw = self.rng.random()
        if draw < 0.25:
            return Request("create", {"path": base})
        if draw < 0.50:
            return Request("create", {"path": base + "/zookeeper_limits",
                                      "data": self.rng.choice(LIMITS)})
        if draw < 0.65:
            return Request("create", {"path": base + "/zookeeper_stats",
                                      "data": b"count=0,bytes=0"})
        if draw < 0.75:
            return Request("setData", {"path": base + "/zookeeper_limits",
                                       "data": self.rng.choice(LIMITS)})
        if draw < 0.85:
            return Request("getData", {"path": base + "/zookeeper_stats", "watch": True})
        return Request("delete", {"path": base + self.rng.choice(
            ["/zookeeper_limits", "/zookeeper_stats", ""])})

    def in_quota(self):
        request = getattr(self, self.rng.choice(["create", "create", "set_data", "delete"]))()
        request.fields["path"] = self.rng.choice(QUOTA_TREE)
        return request

    # -- steps
    def next_xid(self, session):
        self.xids[session] += 1
        # the server looks at no xid; -1 is left out because replies would look like events
        return self.xids[session] if self.chance(0.97) else self.rng.choice(
            [0, -4, -8, 1, 0x7fffffff, -2 ** 31])

    def step(self):
        session = self.rng.randrange(self.sessions)
        draw = self.rng.random()
        if draw < 0.002:
            return Step("impostor", session)
        if draw < 0.006:
            return Step("takeover", session)
        if draw < 0.010:
            return Step("reopen", session, [Request("closeSession", body=self.rng.choice(
                [b"", b"\1\2\3"]))])
        if draw < 0.30:
            requests = [self.one() for _ in range(self.rng.randrange(3, 14))]
            requests = [request for request in requests if not self.racy(request)]
            # stable sort: what sets an ACL goes last
            requests.sort(key=lambda request: request.opcode == 7)
            while len(requests) > 1 and requests[-2].opcode == 7:
                del requests[-2]
            step = Step("requests", session, requests, pipelined=True)
        else:
            kind = self.weighted(LONELY)
            if kind == "quota" and self.chance(0.7):
                kind = "in_quota"
            step = Step("requests", session, [getattr(self, kind)() if kind else self.one()])
        for request in step.requests:
            request.xid = self.next_xid(session)
        return step

    def one(self):
        return getattr(self, self.weighted(KINDS))()

    def racy(self, request):
        """Whether the outcome depends on how far the applied state has come: what touches a
        quota, and setACL of /, of which stock has two pending records and takes the wrong one."""
        paths = [request.fields.get("path")]
        paths += [fields.get("path") for _, fields in request.fields.get("ops", ())]
        for path in paths:
            path = path.decode("latin-1") if isinstance(path, bytes) else path or ""
            if path.startswith("/q") or request.opcode == 7 and path in SYSTEM:
                return True
        return False

    # -- learning
    def learn(self, request, message):
        if message.zxid > self.zxid:
            self.zxid = message.zxid
        if message.err or request.body is not None:
            return
        try:
            record = message.record(request.name)
        except frames.Malformed:
            return
        path = record.get("path") or request.fields.get("path")
        if not isinstance(path, str):
            return
        if "stat" in record:
            self.versions[path] = record["stat"]["version"]
        if path != request.fields.get("path") and path.startswith("/"):
            self.learned = (self.learned + [path])[-24:]
