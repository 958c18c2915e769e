"""A proxy that loses replies, or lets a sequence run over."""
import struct
import threading

from harness.proxy import Proxy

CREATE, DELETE, GET, SET, CREATE2, CREATE_CONTAINER, ADD_WATCH = 1, 2, 4, 5, 15, 19, 106


class LosingProxy(Proxy):
    """lose(ops...) makes it drop the connection rather than hand on the next reply to one of
    these operations, which the server then has carried out; or, with request=True, rather than
    hand on the request. Waiting for `lost` tells when.

    hold(op) keeps the next such request, and all behind it, until let_go(); `held` tells when."""

    def __init__(self, *targets):
        self._armed = ()
        self._requests = False
        self.overflows = False  # names in replies end in the number after 2147483647
        self._xids = {}
        self.lost = threading.Event()
        self._to_hold = None
        self.held, self._going = threading.Event(), threading.Event()
        super().__init__(*targets)

    @property
    def dropped_path(self):
        """Of the request that was dropped."""
        n = struct.unpack_from(">i", self.dropped, 12)[0]
        return self.dropped[16:16 + n].decode()

    def lose(self, *ops, request=False):
        self.lost.clear()
        self._requests = request
        self._armed = ops

    def hold(self, op):
        self.held.clear()
        self._going.clear()
        self._to_hold = op

    def let_go(self):
        self._going.set()

    def _holds(self, to_server, frame):
        if not to_server or len(frame) < 12 or self._to_hold is None:
            return False
        xid, op = struct.unpack_from(">ii", frame, 4)
        return xid > 0 and op == self._to_hold

    def _drops(self, pair, to_server, frame):
        """Whether this frame is the one to lose."""
        if len(frame) < 12:
            return False
        xid, op = struct.unpack_from(">ii", frame, 4)
        if to_server and op in self._armed and xid > 0:
            if self._requests:
                return True
            self._xids[pair] = xid
        return not to_server and self._xids.get(pair) == xid

    @staticmethod
    def _overflown(frame):
        """A reply to a create whose name has a sequence; anything else as it is."""
        if len(frame) < 24:
            return frame
        n = struct.unpack_from(">i", frame, 20)[0]
        path = frame[24:24 + n]
        if len(path) != n or n < 11 or not path[-10:].isdigit() or path[:1] != b"/":
            return frame
        path = path[:-10] + b"-2147483648"
        body = frame[4:20] + struct.pack(">i", len(path)) + path + frame[24 + n:]
        return struct.pack(">i", len(body)) + body

    def _pump(self, pair, source, sink):
        to_server, data = source is pair[0], b""
        try:
            while more := source.recv(65536):
                data += more
                while len(data) >= 4 and len(data) >= 4 + struct.unpack_from(">i", data)[0]:
                    end = 4 + struct.unpack_from(">i", data)[0]
                    frame, data = data[:end], data[end:]
                    if self._drops(pair, to_server, frame):
                        self._armed = ()
                        self.dropped = frame
                        self._xids.pop(pair, None)
                        self.lost.set()
                        raise OSError
                    if self._holds(to_server, frame):
                        self._to_hold = None
                        self.held.set()
                        self._going.wait()
                    self._flowing.wait()
                    sink.sendall(self._overflown(frame) if self.overflows else frame)
        except OSError:
            pass
        self._end(pair)
