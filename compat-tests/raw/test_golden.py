"""Replays the recorded dialogue of golden.txt and compares every reply byte for byte.

Two connections, c (the writer) and w (the watcher), run through nearly all of it; a few vectors
have a connection of their own. Masks, and why each is needed:
  session id   comes from the clock of the server: equality of *names* is checked instead, the
               n-th session of the recording is the n-th session here
  passwd       a function of the session id; must be that function (protocol spec 3.3)
  ctime mtime  wall clock: must be zero where the recording has zero and recent elsewhere
  children     a Java hash set, so any order is right: compared sorted
  clientInfo   likewise
"""
import os
import re
import struct
import time

import pytest

import frames
from pair import make_server

HERE = os.path.dirname(os.path.abspath(__file__))
SESSION0 = 0x0100002108930000  # the first session id of the recording
SECRET = b"\0" * 16

# The dialogue: (connection, vector) in order. What the recording did but does not show is a step
# in brackets: w connects (zxid 2), /a/x is created, /a/b set, and the two vectors that end with a
# close use sessions of their own (zxids f and 10).
DIALOGUE = """
c V1    w (connect)
c V2    c V3    c V4    c V5
w V6    w V7    w V8
c V9    w V10   c V11   c (create-x)   w V12
c V13   c V14   c V15   c V16   c V17   c V18
w V19   c V20   w V21   w V22   w V23   c V24
c (set-b)  w V25  w V26
c V27   c V28   c V29   c V30   c V31   c V32   c V33   c V34
f (connect)  f V35  u (connect)  u V36
c V37   x V38   y V39   z V40
"""


class Frame:
    def __init__(self, direction, tokens):
        self.direction = direction
        self.tokens = []  # (name, [hex piece, ...])
        for token in tokens:
            name, value = token.lstrip("|").split("=")
            self.tokens.append((name, value.split(".")))


def load():
    vectors, lines = {}, []
    with open(os.path.join(HERE, "golden.txt"), encoding="ascii") as file:
        for line in file.read().splitlines():
            if line.startswith(" "):
                lines[-1] += line
            else:
                lines.append(line)
    for line in lines:
        if line.startswith("#"):
            found = re.match(r"# (V\d+) ", line)
            current = vectors.setdefault(found.group(1), []) if found else None
        elif line:
            current.append(Frame(line[0], line[1:].split()))
    return vectors


VECTORS = load()


def test_all_vectors_are_used():
    used = re.findall(r"V\d+", DIALOGUE)
    assert sorted(used) == sorted(VECTORS) and len(VECTORS) == 40


class Replay:
    def __init__(self, address):
        self.address = address
        self.conns = {}
        self.sessions = []  # session ids in order of creation

    def conn(self, name):
        if name not in self.conns:
            self.conns[name] = frames.Conn(self.address)
        return self.conns[name]

    def actual_session(self, recorded):
        return self.sessions[recorded - SESSION0]

    # -- sending
    def to_send(self, frame):
        """The recorded bytes, with our session id and password where it names a session."""
        out, session = b"", 0
        for name, pieces in frame.tokens:
            raw = bytes.fromhex("".join(pieces))
            if name == "sessionId" and raw != b"\0" * 8:
                session = self.actual_session(struct.unpack(">q", raw)[0])
                raw = struct.pack(">q", session)
            if name == "passwd" and session:
                raw = frames.blob(frames.password_of(session))
            out += raw
        return out

    # -- comparing
    def check(self, where, frame, payload):
        assert payload is not frames.CLOSED, where + ": closed"
        got = frames.frame(payload)
        wanted = sum(len("".join(pieces)) // 2 for _, pieces in frame.tokens)
        assert len(got) == wanted, "%s: %d bytes, recorded %d: %s" % (
            where, len(got), wanted, got.hex())
        at, tokens, session = 0, list(frame.tokens), None
        while tokens:
            run = self.run_length(tokens)
            size = sum(len("".join(pieces)) // 2 for _, pieces in tokens[:run])
            piece, at = got[at:at + size], at + size
            name = tokens[0][0]
            raw = bytes.fromhex("".join("".join(pieces) for _, pieces in tokens[:run]))
            if name == "sessionId":
                session = self.check_session(where, raw, piece)
            elif name == "passwd":
                expected = frames.password_of(session) if session else SECRET
                assert piece[4:] == expected, where + ": passwd"
            elif name == "stat":
                self.check_stat(where, raw, piece)
            elif name in ("c", "authScheme"):
                per = 1 if name == "c" else 2
                assert groups(piece, per) == groups(raw, per), where + ": " + name
            else:
                assert piece == raw, "%s: %s is %s, recorded %s" % (
                    where, name, piece.hex(), raw.hex())
            del tokens[:run]

    @staticmethod
    def run_length(tokens):
        """How many tokens belong to one unordered list; 1 for everything else."""
        members = {"c": ("c",), "authScheme": ("authScheme", "user")}.get(tokens[0][0])
        if not members:
            return 1
        run = 1
        while run < len(tokens) and tokens[run][0] in members:
            run += 1
        return run

    def check_session(self, where, recorded, got):
        recorded, actual = struct.unpack(">q", recorded)[0], struct.unpack(">q", got)[0]
        if recorded == 0:
            assert actual == 0, where + ": session id of a refusal"
            return 0
        index = recorded - SESSION0
        if index == len(self.sessions):
            self.sessions.append(actual)
        assert self.sessions[index] == actual, where + ": session id"
        return actual

    def check_stat(self, where, recorded, got):
        wanted = dict(zip(frames.STAT_FIELDS, frames.STAT.unpack(recorded)))
        actual = dict(zip(frames.STAT_FIELDS, frames.STAT.unpack(got)))
        for name in ("ctime", "mtime"):
            stamp, was = actual.pop(name), wanted.pop(name)
            assert bool(stamp) == bool(was), "%s: %s" % (where, name)
            assert not stamp or abs(stamp / 1000 - time.time()) < 600, "%s: %s" % (where, name)
        if wanted["ephemeralOwner"]:
            wanted["ephemeralOwner"] = self.actual_session(wanted["ephemeralOwner"])
        assert actual == wanted, where + ": stat"

    # -- the steps
    def step(self, name, what):
        conn = self.conn(name)
        if what == "(connect)":
            assert conn.connect(timeout_ms=10000)["timeOut"] == 10000
            self.sessions.append(conn.session_id)
        elif what == "(create-x)":
            assert conn.call("create", xid=7, path="/a/x").zxid == 9
        elif what == "(set-b)":
            assert conn.call("setData", xid=0x10, path="/a/b").zxid == 0xe
        else:
            for frame in VECTORS[what]:
                if frame.direction == ">":
                    assert conn.send_raw(self.to_send(frame)), what
                else:
                    self.check("%s on %s" % (what, name), frame, conn.recv_frame())


def groups(raw, per):
    """The strings of raw, `per` at a time, sorted."""
    reader, out = frames.Reader(raw), []
    while reader.at < len(raw):
        out.append(tuple(reader.buffer() for _ in range(per)))
    return sorted(out)


def replay(address):
    player = Replay(address)
    words = DIALOGUE.split()
    for name, what in zip(words[::2], words[1::2]):
        player.step(name, what)
    for name in "fucx":  # auth failure, unknown opcode, closeSession, refused handshake
        assert player.conns[name].recv_frame() is frames.CLOSED, name
    # the end of c's session deleted its ephemeral; w's child watch on /a is from V25
    assert player.conns["w"].event().event == (4, "/a")
    # V39 took w's session over: the server must have closed the old connection
    assert player.conns["w"].event() is frames.CLOSED


def test_golden_dialogue(fresh):
    replay(fresh().address)


@pytest.mark.parametrize("vector,token,value", [
    ("V2", "zxid", "0000000000000004"), ("V3", "stat", None), ("V8", "c", "00000001.63"),
    ("V17", "err", "ffffff98"), ("V1", "timeOut", "00002711")])
def test_the_comparison_notices(tmp_path, vector, token, value):
    """A changed recording must fail, else the replay proves nothing."""
    server = make_server("stock", tmp_path)
    frame = next(f for f in VECTORS[vector] if f.direction == "<")
    at = [i for i, (name, _) in enumerate(frame.tokens) if name == token][-1]
    saved = frame.tokens[at]
    pieces = value.split(".") if value else saved[1][:4] + ["00000009"] + saved[1][5:]
    frame.tokens[at] = (token, pieces)
    try:
        with pytest.raises(AssertionError):
            replay(server.address)
    finally:
        frame.tokens[at] = saved
        server.stop()
