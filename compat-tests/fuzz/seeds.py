"""Writes the seed corpus: one directory per target, small files from real traffic and real data.

Run from compat-tests: python fuzz/seeds.py
"""
import pathlib
import struct

HERE = pathlib.Path(__file__).resolve().parent

ACL = struct.pack(">ii", 1, 31) + b"\0\0\0\5world\0\0\0\6anyone"


def text(value):
    return struct.pack(">i", len(value)) + value


def request(opcode, body=b"", xid=1):
    return struct.pack(">ii", xid, opcode) + body


def create(path, data=b"x", flags=0, opcode=1, ttl=None):
    tail = struct.pack(">i", flags) + (struct.pack(">q", ttl) if ttl is not None else b"")
    return request(opcode, text(path) + text(data) + ACL + tail)


def multi_header(kind, done=0, err=-1):
    return struct.pack(">ibi", kind, done, err)


MULTI_END = multi_header(-1, 1)
WATCH = b"\1"
VERSION = struct.pack(">i", -1)

REQUESTS = {
    "create": [create(b"/a"), create(b"/a/b", flags=2), create(b"/e", flags=1)],
    "container_ttl": [create(b"/c", flags=4, opcode=19), create(b"/t", flags=5, opcode=21, ttl=9)],
    "delete": [create(b"/a"), request(2, text(b"/a") + VERSION)],
    "set": [create(b"/a"), request(5, text(b"/a") + text(b"new") + VERSION)],
    "acl": [create(b"/a"), request(7, text(b"/a") + ACL + VERSION), request(6, text(b"/a"))],
    "reads": [create(b"/a"), request(3, text(b"/a") + WATCH), request(4, text(b"/a") + WATCH),
              request(8, text(b"/") + WATCH), request(12, text(b"/") + WATCH),
              request(104, text(b"/")), request(103, text(b"/")), request(107), request(9, text(b"/")),
              request(11, xid=-2)],
    "watches": [request(106, text(b"/a") + struct.pack(">i", 1)),
                request(106, text(b"/") + struct.pack(">i", 0)), create(b"/a"),
                request(17, text(b"/a") + struct.pack(">i", 3)),
                request(18, text(b"/a") + struct.pack(">i", 3)),
                request(101, struct.pack(">q", 0) + 3 * (struct.pack(">i", 1) + text(b"/a"))),
                request(105, struct.pack(">q", 0) + 5 * (struct.pack(">i", 1) + text(b"/a")))],
    "auth": [request(100, struct.pack(">i", 0) + text(b"digest") + text(b"bob:secret"), -4),
             request(102, text(b"token")), request(107)],
    "multi": [request(14, multi_header(1) + create(b"/m")[8:] + multi_header(13) + text(b"/m")
                      + VERSION + multi_header(5) + text(b"/m") + text(b"y") + VERSION
                      + multi_header(2) + text(b"/m") + VERSION + MULTI_END)],
    "multi_read": [request(22, multi_header(4) + text(b"/") + b"\0" + multi_header(8)
                           + text(b"/zookeeper") + b"\0" + MULTI_END)],
    "quota": [create(b"/q"), create(b"/zookeeper/quota/q"),
              create(b"/zookeeper/quota/q/zookeeper_limits", b"count=3,bytes=9=;countHardLimit=2"),
              create(b"/zookeeper/quota/q/zookeeper_stats", b"count=1,bytes=1"), create(b"/q/a"),
              create(b"/q/b"), request(2, text(b"/q/a") + VERSION)],
    "close": [create(b"/e", flags=3), request(-11), create(b"/late")],
}


def frames(requests):
    return b"".join(bytes([i & 3]) + struct.pack(">H", len(body)) + body
                    for i, body in enumerate(requests))


def handshake(read_only=b"\0", session=0):
    body = struct.pack(">iqiq", 0, 0, 10000, session) + text(bytes(16)) + read_only
    return struct.pack(">i", len(body)) + body


def piece(action, body=b"", number=None):
    return bytes([action]) + struct.pack(">H", len(body) if number is None else number) + body


def packet(kind, zxid, data=None, auth=struct.pack(">i", -1)):
    return struct.pack(">iq", kind, zxid) + (VERSION if data is None else text(data)) + auth


def vote(state, leader, round_=1, epoch=1, config=b""):
    body = struct.pack(">iqqqqi", state, leader, 0, round_, epoch, 2) + text(config)
    return struct.pack(">i", len(body)) + body


def hello(sid, version=-65536, address=b"c:3"):
    return struct.pack(">qq", version, sid) + text(address)


def transaction(zxid, kind, record, session=0x200000000000000, cxid=1):
    return struct.pack(">qiqqi", session, cxid, zxid, 1000, kind) + record


EPOCH = 2 << 32
NODE = text(b"/a") + text(b"x") + ACL + b"\0" + struct.pack(">i", 1)
STATE = struct.pack(">ii", 0, 1) + struct.pack(">q", 1) + ACL + text(b"") + text(b"") \
    + struct.pack(">q", 1) + bytes(60) + text(b"/a") + text(b"x") + struct.pack(">q", -1) \
    + bytes(60) + text(b"/") + text(b"BenWasHere")
LED = piece(4, packet(17, EPOCH, struct.pack(">i", 0x10000)))
BEGUN = packet(10, EPOCH, b"server.1=a:1:2:participant\nversion=0") + packet(12, -1)
INFO = packet(11, 1 << 32, struct.pack(">qiq", 1, 0x10000, 0))
JOINED = piece(0, INFO) + piece(0, packet(18, 0, struct.pack(">i", 1))) \
    + piece(0, packet(3, EPOCH)) + piece(0, packet(3, EPOCH))


def wish(opcode, body, session=0x100000000000000, cxid=1):
    return packet(1, -1, struct.pack(">qii", session, cxid, opcode) + body,
                  struct.pack(">i", 1) + text(b"ip") + text(b"127.0.0.1"))


ENSEMBLE = {
    "election": {
        "vote": piece(0, hello(3) + vote(0, 3)) + piece(6, number=300),
        "leading": piece(0, hello(3) + vote(2, 3)) + piece(1, hello(1)) + piece(6, number=300),
        "old": piece(0, struct.pack(">q", 3) + struct.pack(">iiqqq", 28, 0, 3, 0, 1)),
        "v2": piece(0, hello(3, -65535, b"c:3|d:4") + vote(0, 3, 5)) + piece(5, number=0),
        "lengths": piece(0, hello(3) + struct.pack(">i", -1)) + piece(1, hello(9) + vote(1, 2)),
        "config": piece(0, hello(3) + vote(0, 3, config=b"server.1=a:1:2\nversion=zz"))},
    "leader": {
        "diff": JOINED + piece(0, packet(5, EPOCH, b"")) + piece(6, number=1000),
        "requests": JOINED + piece(0, wish(-10, struct.pack(">i", 4000), cxid=0))
        + piece(0, wish(1, create(b"/a")[8:]) + wish(14, REQUESTS["multi"][0][8:])
                + wish(9, text(b"/a")) + wish(13, text(b"/a") + VERSION) + wish(-11, b""))
        + piece(0, packet(3, EPOCH + 1) + packet(3, EPOCH + 2)
                + packet(6, -1, struct.pack(">qi", 0x100000000000000, 4000))
                + packet(5, EPOCH, struct.pack(">qi", 0x100000000000000, 4000))),
        "observer": JOINED + piece(1, packet(16, 0, struct.pack(">qiq", 9, 0x10000, 0)))
        + piece(1, packet(18, 0, struct.pack(">i", 0))) + piece(1, packet(3, EPOCH)),
        "ahead": piece(0, INFO) + piece(0, packet(18, 99, struct.pack(">i", 1))),
        "snapshot": JOINED + piece(0, wish(-10, struct.pack(">i", 4000), cxid=0))
        + piece(1, packet(11, 0, struct.pack(">qiq", 3, 0x10000, 0)))
        + piece(1, packet(18, 1 << 33 | 7, struct.pack(">i", -1))) + piece(1, packet(3, EPOCH))},
    "follower": {
        "diff": LED + piece(4, packet(13, 0) + packet(2, EPOCH + 1, transaction(
            EPOCH + 1, -10, struct.pack(">i", 4000))) + packet(4, EPOCH + 1) + BEGUN
            + packet(2, EPOCH + 2, transaction(EPOCH + 2, 1, NODE)) + packet(4, EPOCH + 2)
            + packet(5, EPOCH + 2) + packet(7, 0) + packet(6, -1, bytes(9))),
        "snapshot": LED + piece(4, packet(15, 9) + STATE + packet(2, 10, transaction(10, 1, NODE))
                                + packet(4, 10) + BEGUN),
        "truncate": LED + piece(4, packet(14, 7) + BEGUN) + piece(7),
        "unknown": LED + piece(4, packet(13, 0) + packet(2, 1, transaction(1, 99, b"")) + BEGUN),
        "commit": LED + piece(4, packet(13, 0) + packet(4, 5)),
        "observed": LED + piece(4, packet(13, 0) + BEGUN + packet(8, EPOCH + 1, transaction(
            EPOCH + 1, 2, text(b"/zookeeper"))) + packet(19, EPOCH + 2, bytes(8) + transaction(
                EPOCH + 2, -1, struct.pack(">i", -101))))},
    "stream": {"small": b"\7" + STATE, "whole": b"\xff" + STATE + BEGUN},
}


# Scripts for the client machine, see client.c: a request, a greeting, replies and events.
GREETED = b"\0" + b"\2\x28\0"
STAT = bytes(68)


def asked(kind, body, error=b"\4"):
    """A request and what the server says to it."""
    return b"\0" + bytes([kind]) + error + b"\5" + bytes([len(body)]) + body


CLIENT = {
    "reads": GREETED + asked(3, struct.pack(">i", 4) + b"data" + STAT)
    + asked(7, struct.pack(">i", 2) + text(b"a") + text(b"b") + STAT)
    + asked(5, struct.pack(">ii", 1, 31) + text(b"world") + text(b"anyone") + STAT)
    + asked(13, struct.pack(">i", 1) + text(b"ip") + text(b"::1")),
    "writes": GREETED + asked(0, text(b"/base/a") + STAT) + asked(4, STAT) + asked(1, b"")
    + asked(9, struct.pack(">ibi", 1, 0, 0) + text(b"/base/m")
            + struct.pack(">ibi", 13, 0, 0) + struct.pack(">ibi", 2, 0, 0)
            + struct.pack(">ibi", 5, 0, 0) + STAT + struct.pack(">ibi", -1, 1, -1))
    + asked(9, 2 * struct.pack(">ibii", -1, 0, -101, -101) + struct.pack(">ibi", -1, 1, -1)),
    "watches": GREETED + asked(16, struct.pack(">i", -1) + STAT) + asked(20, struct.pack(">i", 0))
    + b"\6\3\0" + b"\6\1\2" + b"\x08" + b"\7\xff" + b"\2\x28\0" + asked(21, b""),
    "inside": GREETED + asked(0x80 | 17, STAT) + b"\6\1\2" + asked(0x82, STAT) + b"\x08\7\xff",
    "identities": b"\0\0\x17" + GREETED[1:] + b"\x0a\1\0\0" + b"\0\x17\x0a\0\0\0",
    "short": GREETED + b"\xff\1\0\3\xff\0\4\5\0\xff\2\6\3\0\xff\0\x08",
    "ends": GREETED + b"\0\3\0\x43\7\xff\x09\xfb\5\0\0\0",
}


def main():
    data = HERE.parent / "data" / "stock-3.8.0" / "main" / "version-2"
    config = HERE.parent.parent / "examples" / "zoo.cfg"
    seeds = {
        "frames": {name: frames(requests) for name, requests in REQUESTS.items()},
        "handshake": {
            "new": handshake(), "old": handshake(b""), "renew": handshake(session=0x100000000000001),
            "ruok": b"ruok", "stmk": b"stmk\0\0\0\0\0\0\1\x32", "mntr": b"mntr",
            "negative": b"\xff\xff\xff\xff", "huge": b"\x7f\xff\xff\xff", "then_ping":
            handshake() + struct.pack(">i", 8) + request(11, xid=-2)},
        "logfile": {"main": (data / "log.1").read_bytes().rstrip(b"\0") + bytes(64)},
        "snapfile": {"main": b"\x7f" + (data / "snapshot.22").read_bytes(),
                     "empty": b"\x7f" + (data / "snapshot.0").read_bytes()},
        "config": {
            "example": config.read_bytes(),
            "ensemble": b"tickTime=2000\ndataDir=/d\ninitLimit=5\nsyncLimit=2\n"
                        b"server.1=a:2888:3888;2181\nserver.2=[::1]:2888:3888:observer\n",
            "grammar": b"! note\na\\\n b : c\nd\\u0041=\\t\ndataDir /x\nclientPort=9\\\n\n",
            "flags": b"-Dzookeeper.snapCount=9 -Djute.maxbuffer=0x100000 -Xmx1g"},
    }
    seeds.update(ENSEMBLE)
    seeds["client"] = CLIENT
    for target, files in seeds.items():
        folder = HERE / "corpus" / target
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (folder / name).write_bytes(content)


if __name__ == "__main__":
    main()
