"""A TCP proxy between a client and a server that can cut, refuse and stall."""
import itertools
import socket
import threading


class Proxy:
    """Forwards 127.0.0.1:port to one server; to several in turn, each connection to the next.

    cut()     drops every connection; new ones are served at once
    refuse()  drops every connection and lets no new one through until accept()
    shut()    keeps connections and lets no new one through until accept()
    stall()   keeps connections open but moves no byte, nor an end, until resume()
    """

    def __init__(self, *targets):
        self.lead_to(*targets)
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port = self.listener.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        self._lock = threading.Lock()
        self._pairs = set()
        self._open = True
        self._flowing = threading.Event()
        self._flowing.set()
        threading.Thread(target=self._accept_loop, daemon=True).start()

    def lead_to(self, *targets):
        """Where new connections go."""
        self._targets = itertools.cycle(targets)

    def cut(self):
        with self._lock:
            pairs, self._pairs = self._pairs, set()
        for pair in pairs:
            self._close(pair)

    def refuse(self):
        self.shut()
        self.cut()

    def shut(self):
        self._open = False

    def accept(self):
        self._open = True

    def stall(self):
        self._flowing.clear()

    def resume(self):
        self._flowing.set()

    def close(self):
        self.refuse()
        self.resume()
        self.listener.close()

    @property
    def flowing(self) -> bool:
        return self._flowing.is_set()

    @property
    def connections(self) -> int:
        with self._lock:
            return len(self._pairs)

    def _accept_loop(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            try:
                self._join(client)
            except OSError:
                client.close()

    def _join(self, client):
        if not self._open:
            client.close()
            return
        server = self._dial()
        for sock in (client, server):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._greet(client, server)
        pair = (client, server)
        with self._lock:
            self._pairs.add(pair)
        for source, sink in (pair, pair[::-1]):
            threading.Thread(target=self._pump, args=(pair, source, sink), daemon=True).start()

    def _dial(self):
        return socket.create_connection(next(self._targets))

    def _greet(self, client, server):
        """What a proxy that knows the protocol does with the first bytes."""

    def _pump(self, pair, source, sink):
        try:
            while data := source.recv(65536):
                self._flowing.wait()
                sink.sendall(data)
        except OSError:
            pass
        self._end(pair)

    def _end(self, pair):
        """Nothing more comes from one side of it."""
        self._flowing.wait()
        with self._lock:
            self._pairs.discard(pair)
        self._close(pair)

    @staticmethod
    def _close(pair):
        for sock in pair:
            try:
                sock.shutdown(socket.SHUT_RDWR)     # wakes a pump that waits in recv
            except OSError:
                pass
            sock.close()
