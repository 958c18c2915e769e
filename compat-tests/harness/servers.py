"""Standalone ZooKeeper servers as child processes: stock Apache ZooKeeper and zkd.

Both are given the same zoo.cfg. Properties of the stock server that can only be given as Java
system properties (jute.maxbuffer, znode.container.checkIntervalMs, readonlymode.enabled ...) go
into `props`: they become -D words for stock and plain zoo.cfg keys of the same name for zkd.
"""
import atexit
import ctypes
import os
import random
import re
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time
from pathlib import Path

from . import cache

REPO = cache.TESTS.parent
START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 20
PR_SET_PDEATHSIG = 1

LOGBACK = """<configuration>
  <appender name="OUT" class="ch.qos.logback.core.ConsoleAppender">
    <encoder><pattern>%d{{ISO8601}} %-5level %logger{{0}} - %msg%n</pattern></encoder>
  </appender>
  <root level="{level}"><appender-ref ref="OUT"/></root>
</configuration>
"""

# A JVM that starts quickly matters more here than one that runs fast later.
JVM = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto", "-Xms64m", "-Xmx512m",
       "-XX:-UsePerfData"]

# What a zkd built with sanitizers says when it has found something.
SANITIZER = re.compile(r"(Address|Leak|Thread|Memory)Sanitizer|runtime error:")

_libc = ctypes.CDLL(None, use_errno=True)
_live = set()


class ServerError(Exception):
    """A server did not start, or ended by itself."""


def free_port() -> int:
    """A port that nobody listens on and that the kernel gives to no outgoing connection. One from
    its own range could be taken while a server restarts, even by a client that, trying to
    reconnect, would then be connected to itself."""
    first, last = 10000, _first_ephemeral_port() - 1
    while True:
        port = random.randint(first, last)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


def _first_ephemeral_port() -> int:
    try:
        text = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text()
    except OSError:
        return 32768
    return max(int(text.split()[0]), 20000)


def wait_for(condition, timeout_s, what, interval_s=0.02):
    """Poll until condition() is true and return its value; the tests' only way of waiting."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= deadline:
            raise TimeoutError(f"no {what} within {timeout_s} s")
        time.sleep(interval_s)


def spawn(argv, **kwargs) -> subprocess.Popen:
    """Start a child in a process group of its own that dies with us."""
    # The kernel sends the signal when the *thread* that forked ends, so only the main thread,
    # which lives as long as the process, may ask for it.
    main = threading.current_thread() is threading.main_thread()

    def die_with_parent():
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)

    process = subprocess.Popen(argv, start_new_session=True,
                               preexec_fn=die_with_parent if main else None, **kwargs)
    _live.add(process)
    return process


def reap(process):
    """Kill a child's whole group, collect it, and forget it."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()
    _live.discard(process)


@atexit.register
def _reap_all():
    for process in list(_live):
        reap(process)


def handshake_works(address, timeout_s=2.0) -> bool:
    """Whether a server answers a ConnectRequest. Asks to renew a session that cannot exist:
    the refusal proves that it serves, and neither a session nor a transaction comes of it."""
    request = struct.pack(">iqiqi16s?", 0, 0, 10000, 1, 16, bytes(16), True)
    try:
        with socket.create_connection(address, timeout=timeout_s) as sock:
            sock.settimeout(timeout_s)
            sock.sendall(struct.pack(">i", len(request)) + request)
            return len(sock.recv(4)) == 4
    except OSError:
        return False


def four_letter(address, word, timeout_s=10.0) -> bytes:
    """Send a four-letter word and read the answer to its end."""
    word = word.encode() if isinstance(word, str) else word
    with socket.create_connection(address, timeout=timeout_s) as sock:
        sock.sendall(word)
        parts = []
        while part := sock.recv(65536):
            parts.append(part)
    return b"".join(parts)


class Server:
    """One server process over one work directory; may be started and stopped many times."""

    kind = None

    def __init__(self, workdir, config=None, props=None, myid=None, log_level="WARN"):
        self.workdir = Path(workdir)
        self.workdir.mkdir(parents=True, exist_ok=True)
        self.config = {
            "tickTime": 2000,
            "dataDir": str(self.workdir / "data"),
            "clientPort": free_port(),
            "clientPortAddress": "127.0.0.1",
            "maxClientCnxns": 0,
            "admin.enableServer": "false",
            "4lw.commands.whitelist": "*",
        }
        self.config.update(config or {})
        self.props = dict(props or {})
        self.log_level = log_level
        self.log_path = self.workdir / "server.log"
        self.process = None
        self.datadir.mkdir(parents=True, exist_ok=True)
        if myid is not None:
            (self.datadir / "myid").write_text(f"{myid}\n")

    # What a test asks

    @property
    def port(self) -> int:
        return int(self.config["clientPort"])

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def sockaddr(self):
        return "127.0.0.1", self.port

    @property
    def sockaddrs(self):
        """All addresses at which clients are served; more than one in an ensemble."""
        return [self.sockaddr]

    @property
    def datadir(self) -> Path:
        return Path(self.config["dataDir"])

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def four(self, word, timeout_s=10.0) -> bytes:
        return four_letter(self.sockaddr, word, timeout_s)

    # What a test does

    def start(self, wait=True):
        """Start; with wait, return only when a client handshake is answered. An ensemble starts
        its members with wait=False and then calls wait_ready() on each."""
        assert not self.running, "already running"
        self.process = self._spawn()
        if wait:
            self.wait_ready()
        return self

    def wait_ready(self, timeout_s=START_TIMEOUT_S):
        def ready():
            if self.process.poll() is not None:
                raise ServerError(f"{self.kind} ended with {self.process.returncode}\n{self.log}")
            return handshake_works(self.sockaddr)
        try:
            wait_for(ready, timeout_s, f"handshake from {self.kind}")
        except TimeoutError as problem:
            raise ServerError(f"{problem}\n{self.log}") from None

    def stop(self):
        """SIGTERM, and SIGKILL when that is not heeded. Returns the exit status."""
        return self._end(signal.SIGTERM)

    def kill(self):
        """SIGKILL: the crash."""
        return self._end(signal.SIGKILL)

    def restart(self, kill=False):
        self.kill() if kill else self.stop()
        return self.start()

    def _end(self, sig):
        if self.process is None:
            return None
        process, self.process = self.process, None
        if process.poll() is None:
            process.send_signal(sig)
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                pass
        reap(process)
        return process.returncode

    def __enter__(self):
        return self if self.running else self.start()

    def __exit__(self, *_):
        self.kill()

    # How it is started

    def _write_config(self, values) -> Path:
        path = self.workdir / "zoo.cfg"
        path.write_text("".join(f"{key}={value}\n" for key, value in values.items()))
        return path

    def _spawn_logged(self, argv, **kwargs):
        with open(self.log_path, "ab") as log:
            return spawn([str(word) for word in argv], stdin=subprocess.DEVNULL, stdout=log,
                         stderr=subprocess.STDOUT, cwd=self.workdir, **kwargs)

    def _spawn(self):
        raise NotImplementedError


class StockServer(Server):
    kind = "stock"

    def _classpath(self):
        return cache.java_classpath()

    def _spawn(self):
        cfg = self._write_config(self.config)
        logback = self.workdir / "logback.xml"
        logback.write_text(LOGBACK.format(level=self.log_level))
        defines = [f"-D{key}={value}" for key, value in self.props.items()]
        return self._spawn_logged(
            ["java", *JVM, f"-Dlogback.configurationFile={logback}", *defines,
             "-cp", self._classpath(),
             "org.apache.zookeeper.server.quorum.QuorumPeerMain", cfg])


class DebianServer(StockServer):
    """Version 3.8.0; only a member of an ensemble, beside newer ones."""
    kind = "stock-3.8.0"

    def _classpath(self):
        return cache.debian_classpath()


class ZkdServer(Server):
    kind = "zkd"

    def _spawn(self):
        program = zkd_program()
        if program is None:
            raise ServerError("no zkd: build it first, or name it in the environment as ZKD")
        return self._spawn_logged([program, self._write_config({**self.config, **self.props})])

    def _end(self, sig):
        status = super()._end(sig)
        if SANITIZER.search(self.log):
            raise ServerError(f"a sanitizer found something\n{self.log}")
        return status


def zkd_program():
    """The daemon under test: $ZKD, else zkd at the top of the repository; None when absent."""
    program = os.environ.get("ZKD") or str(REPO / "zkd")
    return shutil.which(program)


KINDS = {"stock": StockServer, "zkd": ZkdServer}     # what all tests run against


def make(kind, workdir, **kwargs) -> Server:
    """A server of the given kind, not yet started."""
    return {**KINDS, DebianServer.kind: DebianServer}[kind](workdir, **kwargs)
