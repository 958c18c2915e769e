"""An independent reader of transaction logs and snapshots, and the replay of one over the other.

Written from the description of the formats, not from the server under test, so that two opinions
meet: what the server restores, and what the files say. Strict: what stock would not write is an
error here. Paths are text, the root is "/", data is bytes or None, zxids are int.
"""
import struct
import sys
import zlib
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "raw"))

import frames  # noqa: E402

LOG_HEADER = struct.pack(">4siq", b"ZKLG", 2, 0)
SNAP_HEADER = struct.pack(">4siq", b"ZKSN", 2, -1)
OPEN_ACL = [(31, "world", "anyone")]
CONTAINER = -1 << 63
TTL_MARK = 0xff << 56
STAT = struct.Struct(">qqqqiiiqq")      # czxid mzxid ctime mtime versions owner pzxid
DIGEST_STAT = struct.Struct(">qqqqqiiiq")
QUOTA = "/zookeeper/quota"

ERROR, CREATE, DELETE, SET_DATA, SET_ACL, CHECK, MULTI, CREATE2 = -1, 1, 2, 5, 7, 13, 14, 15
CREATE_SESSION, CLOSE_SESSION = -10, -11
RECONFIG, CREATE_CONTAINER, DELETE_CONTAINER, CREATE_TTL = 16, 19, 20, 21


class Wrong(Exception):
    """The bytes break a rule of the format."""


@dataclass
class Node:
    data: bytes
    acl: list
    czxid: int = 0
    mzxid: int = 0
    ctime: int = 0
    mtime: int = 0
    version: int = 0
    cversion: int = 0       # as stored: creations below it
    aversion: int = 0
    owner: int = 0          # as stored, signed
    pzxid: int = 0

    def digest(self, path):
        stat = DIGEST_STAT.pack(self.czxid, self.mzxid, self.pzxid, self.ctime, self.mtime,
                                self.version, self.cversion, self.aversion, self.owner)
        name = b"" if path == "/" else path.encode()
        return zlib.crc32(stat, zlib.crc32(self.data or b"", zlib.crc32(name)))


def tree_digest(nodes):
    """Sum over all nodes, but for those below /zookeeper."""
    return sum(node.digest(path) for path, node in nodes.items()
               if not path.startswith("/zookeeper/")) % (1 << 64)


def parent_of(path):
    return path[:path.rindex("/")] or "/"


# ---- transaction log -------------------------------------------------------------------------

@dataclass
class Entry:
    at: int                 # offset in the file
    end: int
    session: int
    cxid: int
    zxid: int
    time: int
    type: int
    record: dict
    digest: int             # None: it carries none


def _ops(reader):
    out = []
    for _ in range(reader.int()):
        kind, raw = reader.int(), reader.buffer()
        out.append((kind, _record(kind, frames.Reader(raw))))
    return out


CREATED = "path:s data:b acl:A ephemeral:z parentCVersion:i"
RECORDS = {CREATE_SESSION: "timeOut:i", CLOSE_SESSION: "paths:V", ERROR: "err:i",
           CREATE: CREATED, CREATE2: CREATED, DELETE: "path:s", DELETE_CONTAINER: "path:s",
           SET_DATA: "path:s data:b version:i", RECONFIG: "path:s data:b version:i",
           SET_ACL: "path:s acl:A version:i", CHECK: "path:s version:i",
           CREATE_CONTAINER: "path:s data:b acl:A parentCVersion:i",
           CREATE_TTL: "path:s data:b acl:A parentCVersion:i ttl:l"}


def _record(kind, reader):
    if kind == MULTI:
        return {"ops": _ops(reader)}
    if kind not in RECORDS:
        raise Wrong(f"a transaction of type {kind}")
    return reader.record(RECORDS[kind])


def entries(raw, strict=True):
    """The entries of a log. strict: only zeros may follow the last; else a torn end ends it."""
    if raw[:16] != LOG_HEADER:
        raise Wrong(f"log header {raw[:16].hex()}")
    at = 16
    while at + 12 <= len(raw):
        crc, size = struct.unpack_from(">qi", raw, at)
        if not size:
            break
        body, eor = raw[at + 12:at + 12 + size], raw[at + 12 + size:at + 13 + size]
        if eor != b"B" or zlib.adler32(body) != crc:
            if strict:
                raise Wrong(f"entry at {at}: end {eor!r}, Adler-32 {zlib.adler32(body):x}")
            return
        reader = frames.Reader(body)
        header = reader.long(), reader.int(), reader.long(), reader.long(), reader.int()
        record, digest = _record(header[4], reader), None
        if reader.at < size:
            if reader.int() != 2:
                raise Wrong(f"entry at {at}: digest version")
            digest = reader.long() % (1 << 64)
        if reader.at != size:
            raise Wrong(f"entry at {at}: {size - reader.at} bytes too many")
        yield Entry(at, at + 13 + size, *header, record, digest)
        at += 13 + size
    if strict and raw.count(0, at) != len(raw) - at:
        raise Wrong(f"not only zeros after the last entry at {at}")


def zxid_of(path):
    return int(path.name.split(".")[1], 16)


def logs(folder):
    return sorted(folder.glob("log.*"), key=zxid_of)


def snapshots(folder):
    return sorted(folder.glob("snapshot.*"), key=zxid_of)


def log_entries(folder, strict=True):
    """The entries of all log files of a directory, in order."""
    for path in logs(folder):
        first = True
        for entry in entries(path.read_bytes(), strict):
            if first and entry.zxid != zxid_of(path):
                raise Wrong(f"{path.name} begins with {entry.zxid:x}")
            first = False
            yield entry


# ---- snapshot --------------------------------------------------------------------------------

@dataclass
class Snapshot:
    sessions: dict          # id: timeout
    nodes: dict             # path: Node
    digest: tuple = None    # (zxid, value)
    last_zxid: int = None


def _seal(raw, reader):
    """Every seal covers all bytes before it."""
    expected = zlib.adler32(raw[:reader.at])
    if (reader.long(), reader.string()) != (expected, "/"):
        raise Wrong(f"seal before {reader.at}")


def read_snapshot(raw):
    if raw[:16] != SNAP_HEADER:
        raise Wrong(f"snapshot header {raw[:16].hex()}")
    reader = frames.Reader(raw)
    reader.take(16)
    sessions = {reader.long(): reader.int() for _ in range(reader.int())}
    acls = {reader.long(): reader.acl() for _ in range(reader.int())}
    snap = Snapshot(sessions, {})
    while (path := reader.string()) != "/":
        data, acl = reader.buffer(), reader.long()
        if path and parent_of(path) not in snap.nodes:
            raise Wrong(f"{path} comes before its parent")
        if (path or "/") in snap.nodes:
            raise Wrong(f"{path} comes twice")
        snap.nodes[path or "/"] = Node(data, OPEN_ACL if acl == -1 else acls[acl],
                                       *STAT.unpack(reader.take(STAT.size)))
    _seal(raw, reader)
    if reader.at < len(raw):
        zxid, version, value = reader.long(), reader.int(), reader.long()
        if version != 2:
            raise Wrong("digest version")
        snap.digest = zxid, value % (1 << 64)
        _seal(raw, reader)
    if reader.at < len(raw):
        snap.last_zxid = reader.long()
        _seal(raw, reader)
    if reader.at != len(raw):
        raise Wrong(f"{len(raw) - reader.at} bytes after the snapshot")
    return snap


def newest(folder):
    """The newest snapshot of a directory."""
    return read_snapshot(snapshots(folder)[-1].read_bytes())


def write_snapshot(snap, sections=3):
    """The bytes of a snapshot file; sections: seals at the end (1: no digest, 2: no last zxid)."""
    out = bytearray(SNAP_HEADER)
    lists = []
    for node in snap.nodes.values():
        if node.acl not in lists:
            lists.append(node.acl)
    out += struct.pack(">i", len(snap.sessions))
    out += b"".join(struct.pack(">qi", *item) for item in snap.sessions.items())
    out += struct.pack(">i", len(lists))
    for number, acl in enumerate(lists, 1):
        out += struct.pack(">q", number) + frames.vector(acl, frames.encode_acl)
    for path, node in snap.nodes.items():
        out += frames.blob("" if path == "/" else path) + frames.blob(node.data)
        out += struct.pack(">q", lists.index(node.acl) + 1)
        out += STAT.pack(node.czxid, node.mzxid, node.ctime, node.mtime, node.version,
                         node.cversion, node.aversion, node.owner, node.pzxid)
    out += frames.blob("/")
    for section in range(sections):
        if section == 1:
            out += struct.pack(">qiQ", snap.digest[0], 2, snap.digest[1])
        if section == 2:
            out += struct.pack(">q", snap.last_zxid)
        out += struct.pack(">q", zlib.adler32(out)) + frames.blob("/")
    return bytes(out)


# ---- replay ----------------------------------------------------------------------------------

def empty_tree():
    """What a new database holds."""
    return Snapshot({}, {
        "/": Node(b"", OPEN_ACL), "/zookeeper": Node(b"", OPEN_ACL),
        "/zookeeper/config": Node(b"", [(1, "world", "anyone")], aversion=-1),
        QUOTA: Node(b"", OPEN_ACL)})


class Replay:
    """A database that transactions are applied to, one by one. Quotas are not counted."""

    def __init__(self, snap=None, zxid=0):
        snap = snap or empty_tree()
        self.sessions = dict(snap.sessions)
        self.nodes = {path: replace(node) for path, node in snap.nodes.items()}
        self.zxid = zxid
        self.digest = tree_digest(self.nodes)
        self.mismatches = 0

    def apply(self, entry):
        for kind, record in entry.record.get("ops", [(entry.type, entry.record)]):
            if kind == ERROR:
                break       # then nothing of a multi happens
        else:
            for kind, record in entry.record.get("ops", [(entry.type, entry.record)]):
                self._apply(entry, kind, record)
        self.zxid = max(self.zxid, entry.zxid)
        if entry.digest is not None and entry.digest != self.digest:
            self.mismatches += 1

    def _apply(self, entry, kind, record):
        if kind == CREATE_SESSION:
            self.sessions[entry.session] = record["timeOut"]
        elif kind == CLOSE_SESSION:
            self.sessions.pop(entry.session, None)
            owned = [path for path, node in self.nodes.items() if node.owner == entry.session]
            for path in [*(record["paths"] or ()), *owned]:
                self._delete(entry, path)
        elif kind in (CREATE, CREATE2, CREATE_CONTAINER, CREATE_TTL):
            self._create(entry, kind, record)
        elif kind in (DELETE, DELETE_CONTAINER):
            self._delete(entry, record["path"])
        elif kind in (SET_DATA, RECONFIG):
            self._change(record["path"], data=record["data"], version=record["version"],
                         mtime=entry.time, mzxid=entry.zxid)
        elif kind == SET_ACL:
            self._change(record["path"], acl=record["acl"] or OPEN_ACL,
                         aversion=record["version"])

    def _count(self, path, sign):
        if not path.startswith("/zookeeper/") and path in self.nodes:
            self.digest = (self.digest + sign * self.nodes[path].digest(path)) % (1 << 64)

    def _change(self, path, **fields):
        if path in self.nodes:
            self._count(path, -1)
            self.nodes[path] = replace(self.nodes[path], **fields)
            self._count(path, 1)

    def _create(self, entry, kind, record):
        path = record["path"]
        parent = self.nodes.get(parent_of(path))
        if parent is None:
            return
        created = record["parentCVersion"]
        exists = path in self.nodes
        if exists:
            self._change(path, acl=record["acl"] or OPEN_ACL)
        if created > parent.cversion and (not exists or kind == CREATE):
            self._change(parent_of(path), cversion=created, pzxid=entry.zxid)
        if exists:
            return
        owner = {CREATE_CONTAINER: CONTAINER,
                 CREATE_TTL: TTL_MARK + record.get("ttl", 0) - (1 << 64)}.get(
                     kind, entry.session if record.get("ephemeral") else 0)
        self.nodes[path] = Node(record["data"], record["acl"] or OPEN_ACL, entry.zxid, entry.zxid,
                                entry.time, entry.time, owner=owner, pzxid=entry.zxid)
        self._count(path, 1)

    def _delete(self, entry, path):
        if parent_of(path) not in self.nodes:
            return
        if entry.zxid > self.nodes[parent_of(path)].pzxid:
            self._change(parent_of(path), pzxid=entry.zxid)
        self._count(path, -1)
        self.nodes.pop(path, None)


def replayed(folder, strict=True, upto=None, start=None):
    """The state that the logs of a directory make of an empty database (or of `start`)."""
    state = start or Replay()
    for entry in log_entries(folder, strict):
        if entry.zxid <= state.zxid:
            continue
        if upto is not None and entry.zxid > upto:
            break
        state.apply(entry)
    return state
