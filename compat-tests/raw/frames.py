"""A small ZooKeeper client that speaks raw frames.

It exists to send what a client library would never send and to see exactly what came back:
every request and response record is a line in a table, a frame can be built from fields or
from any bytes, events are kept apart from replies (and their order of arrival is kept too),
and "the peer closed the connection" is a value, CLOSED, not an exception.
"""
import socket
import struct
import time

# ---- the records -----------------------------------------------------------------------------
# A record is "name:type name:type ...". Types: i int, l long, z bool, s string, b buffer,
# S Stat, A vector of ACL, V vector of strings, C vector of ClientInfo, M multi request,
# R multi response.

STAT_FIELDS = (
    "czxid", "mzxid", "ctime", "mtime", "version", "cversion", "aversion", "ephemeralOwner",
    "dataLength", "numChildren", "pzxid")
STAT = struct.Struct(">qqqqiiiqiiq")

CREATE = "path:s data:b acl:A flags:i"
SET_WATCHES = "relativeZxid:l data:V exist:V child:V"

OPS = {  # name: (opcode, request record, response record)
    "create": (1, CREATE, "path:s"),
    "delete": (2, "path:s version:i", ""),
    "exists": (3, "path:s watch:z", "stat:S"),
    "getData": (4, "path:s watch:z", "data:b stat:S"),
    "setData": (5, "path:s data:b version:i", "stat:S"),
    "getACL": (6, "path:s", "acl:A stat:S"),
    "setACL": (7, "path:s acl:A version:i", "stat:S"),
    "getChildren": (8, "path:s watch:z", "children:V"),
    "sync": (9, "path:s", "path:s"),
    "ping": (11, "", ""),
    "getChildren2": (12, "path:s watch:z", "children:V stat:S"),
    "check": (13, "path:s version:i", ""),
    "multi": (14, "ops:M", "results:R"),
    "create2": (15, CREATE, "path:s stat:S"),
    "reconfig": (16, "joining:s leaving:s members:s config:l", "data:b stat:S"),
    "checkWatches": (17, "path:s type:i", ""),
    "removeWatches": (18, "path:s type:i", ""),
    "createContainer": (19, CREATE, "path:s stat:S"),
    "deleteContainer": (20, "path:b", ""),
    "createTTL": (21, CREATE + " ttl:l", "path:s stat:S"),
    "multiRead": (22, "ops:M", "results:R"),
    "auth": (100, "type:i scheme:s auth:b", ""),
    "setWatches": (101, SET_WATCHES, ""),
    "sasl": (102, "token:b", "token:b"),
    "getEphemerals": (103, "prefix:s", "paths:V"),
    "getAllChildrenNumber": (104, "path:s", "total:i"),
    "setWatches2": (105, SET_WATCHES + " persistent:V recursive:V", ""),
    "addWatch": (106, "path:s mode:i", "error:i"),
    "whoAmI": (107, "", "clientInfo:C"),
    "createSession": (-10, "timeOut:i", ""),
    "closeSession": (-11, "", ""),
}
NAMES = {code: name for name, (code, _, _) in OPS.items()}

CONNECT_REQUEST = "protocolVersion:i lastZxidSeen:l timeOut:i sessionId:l passwd:b"
CONNECT_RESPONSE = "protocolVersion:i timeOut:i sessionId:l passwd:b"
EVENT = "type:i state:i path:s"
MULTI_RESULTS = {1: "path:s", 15: "path:s stat:S", 2: "", 13: "", 5: "stat:S",
                 4: "data:b stat:S", 8: "children:V", -1: "error:i"}

WORLD = [(31, "world", "anyone")]
DEFAULTS = {"watch": False, "version": -1, "data": b"", "acl": WORLD, "flags": 0, "type": 0,
            "relativeZxid": 0, "exist": (), "child": (), "persistent": (), "recursive": ()}

ERR = {  # the names used by tests; numbers as on the wire
    "OK": 0, "RUNTIMEINCONSISTENCY": -2, "MARSHALLINGERROR": -5, "UNIMPLEMENTED": -6,
    "BADARGUMENTS": -8, "NONODE": -101, "NOAUTH": -102, "BADVERSION": -103,
    "NOCHILDRENFOREPHEMERALS": -108, "NODEEXISTS": -110, "NOTEMPTY": -111,
    "SESSIONEXPIRED": -112, "INVALIDACL": -114, "AUTHFAILED": -115, "NOWATCHER": -121,
    "RECONFIGDISABLED": -123, "SESSIONCLOSEDREQUIRESASLAUTH": -124, "QUOTAEXCEEDED": -125}


class Malformed(Exception):
    """The bytes do not hold the record they should."""


# ---- encoding --------------------------------------------------------------------------------
def blob(value):
    """A string or buffer: None is null, text goes out as UTF-8, bytes as they are."""
    if value is None:
        return b"\xff\xff\xff\xff"
    raw = value.encode("utf-8", "surrogateescape") if isinstance(value, str) else bytes(value)
    return struct.pack(">i", len(raw)) + raw


def vector(items, encode):
    if items is None:
        return b"\xff\xff\xff\xff"
    return struct.pack(">i", len(items)) + b"".join(encode(item) for item in items)


def encode_acl(entry):
    perms, scheme, ident = entry
    return struct.pack(">i", perms) + blob(scheme) + blob(ident)


def encode_stat(stat):
    return STAT.pack(*(stat[name] for name in STAT_FIELDS))


def multi_header(kind, done, err):
    return struct.pack(">i?i", kind, done, err)


MULTI_END = multi_header(-1, True, -1)


def encode_multi(ops):
    """ops: a list of (name or number, fields) or of ready bytes."""
    out = []
    for op in ops:
        if isinstance(op, bytes):
            out.append(op)
            continue
        name, fields = op
        code, record, _ = OPS[name]
        out.append(multi_header(code, False, -1) + encode(record, fields))
    return b"".join(out) + MULTI_END


def encode_results(results):
    out = []
    for kind, err, fields in results:
        out.append(multi_header(kind, False, err) + encode(MULTI_RESULTS[kind], fields))
    return b"".join(out) + MULTI_END


ENCODERS = {
    "i": struct.Struct(">i").pack,
    "l": struct.Struct(">q").pack,
    "z": struct.Struct(">?").pack,
    "s": blob,
    "b": blob,
    "S": encode_stat,
    "A": lambda acl: vector(acl, encode_acl),
    "V": lambda names: vector(names, blob),
    "C": lambda infos: vector(infos, lambda info: blob(info[0]) + blob(info[1])),
    "M": encode_multi,
    "R": encode_results,
}


def fields_of(record):
    return [part.split(":") for part in record.split()]


def encode(record, fields):
    out = []
    for name, kind in fields_of(record):
        value = fields[name] if name in fields else DEFAULTS[name]
        out.append(ENCODERS[kind](value))
    return b"".join(out)


def frame(payload):
    return struct.pack(">i", len(payload)) + payload


def request(xid, name, **fields):
    """The payload of a request frame. A number in place of the name sends just a header."""
    if isinstance(name, int):
        return struct.pack(">ii", xid, name)
    code, record, _ = OPS[name]
    return struct.pack(">ii", xid, code) + encode(record, fields)


# ---- decoding --------------------------------------------------------------------------------
class Reader:
    def __init__(self, raw):
        self.raw = raw
        self.at = 0

    def take(self, count):
        if count < 0 or self.at + count > len(self.raw):
            raise Malformed("wanted %d bytes at %d of %d" % (count, self.at, len(self.raw)))
        self.at += count
        return self.raw[self.at - count:self.at]

    def int(self):
        return struct.unpack(">i", self.take(4))[0]

    def long(self):
        return struct.unpack(">q", self.take(8))[0]

    def bool(self):
        byte = self.take(1)[0]
        if byte > 1:
            raise Malformed("a boolean of %d" % byte)
        return bool(byte)

    def buffer(self):
        length = self.int()
        return None if length == -1 else self.take(length)

    def string(self):
        # surrogateescape keeps any bytes, so that decoding and encoding again is lossless
        raw = self.buffer()
        return None if raw is None else raw.decode("utf-8", "surrogateescape")

    def vector(self, item):
        count = self.int()
        return None if count == -1 else [item() for _ in range(count)]

    def stat(self):
        return dict(zip(STAT_FIELDS, STAT.unpack(self.take(STAT.size))))

    def acl(self):
        return self.vector(lambda: (self.int(), self.string(), self.string()))

    def results(self):
        results = []
        while True:
            kind, done, err = struct.unpack(">i?i", self.take(9))
            if done:
                if (kind, err) != (-1, -1):
                    raise Malformed("multi ends with type %d err %d" % (kind, err))
                return results
            if kind not in MULTI_RESULTS:
                raise Malformed("multi result of type %d" % kind)
            results.append((kind, err, self.record(MULTI_RESULTS[kind])))

    def one(self, kind):
        return {
            "i": self.int, "l": self.long, "z": self.bool, "s": self.string, "b": self.buffer,
            "S": self.stat, "A": self.acl, "R": self.results,
            "V": lambda: self.vector(self.string),
            "C": lambda: self.vector(lambda: (self.string(), self.string())),
        }[kind]()

    def record(self, record):
        return {name: self.one(kind) for name, kind in fields_of(record)}


def decode(record, raw):
    """The fields of exactly this record: trailing bytes are an error too."""
    reader = Reader(raw)
    fields = reader.record(record)
    if reader.at != len(raw):
        raise Malformed("%d bytes after the record" % (len(raw) - reader.at))
    return fields


# ---- what arrives ----------------------------------------------------------------------------
class Closed:
    """The value received when the peer has closed the connection."""
    def __repr__(self):
        return "CLOSED"

    def __bool__(self):
        return False


CLOSED = Closed()


class Message:
    """A reply or an event: header fields, undecoded body, and the whole payload."""
    def __init__(self, payload):
        if len(payload) < 16:
            raise Malformed("a reply of %d bytes: %s" % (len(payload), payload.hex()))
        self.payload = payload
        self.xid, self.zxid, self.err = struct.unpack(">iqi", payload[:16])
        self.body = payload[16:]

    @property
    def is_event(self):
        return self.xid == -1

    def record(self, name):
        """The decoded response record of that operation."""
        return decode(EVENT if name == "event" else OPS[name][2], self.body)

    @property
    def event(self):
        """(type, path) of an event; the state is always 3, which is checked here."""
        fields = self.record("event")
        if fields["state"] != 3 or self.err != 0:
            raise Malformed("event with state %d err %d" % (fields["state"], self.err))
        return fields["type"], fields["path"]

    def __repr__(self):
        return "Message(xid=%d zxid=%#x err=%d body=%s)" % (
            self.xid, self.zxid, self.err, self.body.hex())


def password_of(session_id):
    """The password of a session id: 16 bytes of java.util.Random (protocol spec 3.3)."""
    seed = ((session_id ^ 0xB3415C00) ^ 0x5DEECE66D) & ((1 << 48) - 1)
    out = b""
    for _ in range(4):
        seed = (seed * 0x5DEECE66D + 0xB) & ((1 << 48) - 1)
        out += struct.pack("<I", (seed >> 16) & 0xFFFFFFFF)
    return out


class Conn:
    """One TCP connection. Without a handshake it is just frames."""

    def __init__(self, address, timeout=10.0):
        host, port = address.rsplit(":", 1) if isinstance(address, str) else address
        self.timeout = timeout
        self.pending = bytearray()  # received, not yet cut into frames
        self.closed = False
        self.sock = socket.socket()
        self.sock.settimeout(timeout)
        try:
            self.sock.connect((host, int(port)))
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except ConnectionRefusedError:
            raise
        except (BrokenPipeError, ConnectionResetError, ConnectionAbortedError):
            self.closed = True  # accepted and reset before connect() had returned
        self.log = []               # every Message in order of arrival
        self.events = []            # events not yet taken by event()
        self.xid = 0
        self.session_id = 0
        self.password = b"\0" * 16

    # -- bytes
    def send_raw(self, raw):
        """False when the peer is already gone: for these tests that is an outcome."""
        if self.closed:
            return False
        try:
            self.sock.settimeout(self.timeout)
            self.sock.sendall(raw)
            return True
        except OSError:
            return False

    def fill(self, deadline):
        """Receive something. False at the end of the stream, TimeoutError past the deadline."""
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("nothing received in time")
        self.sock.settimeout(left)
        try:
            got = self.sock.recv(1 << 18)
        except TimeoutError:
            raise TimeoutError("nothing received in time") from None
        except OSError:
            got = b""
        self.pending += got
        return bool(got)

    def recv_frame(self, timeout=None):
        """The payload of the next frame, or CLOSED."""
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        while not self.closed:
            if len(self.pending) >= 4:
                size = struct.unpack_from(">i", self.pending)[0]
                if size < 0:
                    raise Malformed("a frame of length %d" % size)
                if len(self.pending) >= 4 + size:
                    payload = bytes(self.pending[4:4 + size])
                    del self.pending[:4 + size]
                    return payload
            self.closed = not self.fill(deadline)
        if self.pending:
            raise Malformed("closed inside a frame: %s" % self.pending.hex())
        return CLOSED

    def recv_all(self, timeout=None):
        """Everything up to the end of the stream (four-letter words)."""
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        while self.fill(deadline):
            pass
        self.closed = True
        return bytes(self.pending)

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # -- messages
    def message(self, timeout=None):
        payload = self.recv_frame(timeout)
        if payload is CLOSED:
            return CLOSED
        message = Message(payload)
        self.log.append(message)
        return message

    def reply(self, timeout=None):
        """The next reply, or CLOSED. Events that come before it are kept for event()."""
        while True:
            message = self.message(timeout)
            if message is CLOSED or not message.is_event:
                return message
            self.events.append(message)

    def event(self, timeout=None):
        """The next event, or CLOSED. A reply in its place is an error of the test."""
        if self.events:
            return self.events.pop(0)
        message = self.message(timeout)
        if message is not CLOSED and not message.is_event:
            raise Malformed("wanted an event, got %r" % message)
        return message

    def submit(self, name, xid=None, **fields):
        """Send a request without waiting; returns its xid."""
        if xid is None:
            self.xid += 1
            xid = self.xid
        self.send_raw(frame(request(xid, name, **fields)))
        return xid

    def call(self, name, xid=None, **fields):
        """Send a request, return its reply (or CLOSED)."""
        self.submit(name, xid, **fields)
        return self.reply()

    def call_body(self, opcode, body, xid=None):
        """A request with any body at all."""
        if xid is None:
            self.xid += 1
            xid = self.xid
        self.send_raw(frame(struct.pack(">ii", xid, opcode) + body))
        return self.reply()

    def drain(self):
        """Events the server had queued for this connection when it saw a ping; takes them."""
        reply = self.call("ping", -2)
        taken, self.events = self.events, []
        return taken if reply is not CLOSED else CLOSED

    # -- handshake
    def connect(self, timeout_ms=30000, session_id=0, password=None, last_zxid=0, version=0,
                read_only=False):
        """Handshake. Returns the decoded response with key readOnly (None when absent)
        or CLOSED. read_only=None sends the old form without the last byte."""
        if password is None:
            password = b"\0" * 16 if session_id == 0 else password_of(session_id)
        body = encode(CONNECT_REQUEST, {
            "protocolVersion": version, "lastZxidSeen": last_zxid, "timeOut": timeout_ms,
            "sessionId": session_id, "passwd": password})
        if read_only is not None:
            body += struct.pack(">?", read_only)
        self.send_raw(frame(body))
        return self.connect_response()

    def connect_response(self):
        payload = self.recv_frame()
        if payload is CLOSED:
            return CLOSED
        reader = Reader(payload)
        response = reader.record(CONNECT_RESPONSE)
        response["readOnly"] = reader.bool() if reader.at < len(payload) else None
        if reader.at != len(payload):
            raise Malformed("a handshake response of %d bytes" % len(payload))
        self.session_id = response["sessionId"]
        self.password = response["passwd"]
        return response


def session(address, **options):
    """A connection with a session on it."""
    conn = Conn(address)
    response = conn.connect(**options)
    if response is CLOSED or response["timeOut"] == 0:
        raise ConnectionError("no session: %r" % (response,))
    return conn


def four_letter(address, word, extra=b""):
    """The whole answer to a four-letter word, as text."""
    with Conn(address) as conn:
        conn.send_raw(word.encode() + extra)
        return conn.recv_all().decode()
