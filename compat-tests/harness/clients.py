"""ZooKeeper client libraries behind one interface, so that a scenario is written once.

A driver is a process that hosts any number of clients of one library. Protocol, one JSON object
per line:
  to the driver    {"id": 7, "client": "c1", "op": "get", "args": {"path": "/a"}}
  from the driver  {"id": 7, "result": {"data": "aGk=", "stat": {...}}}
                   {"id": 7, "err": -101, "msg": "..."}      a ZooKeeper error number
                   {"id": 7, "unsupported": "..."}           the library cannot do it
                   {"client": "c1", "event": {...}}          at any time
An argument error that the library finds by itself is reported as BADARGUMENTS, a request that
found no server as CONNECTIONLOSS. Bytes travel as base64. A watch is asked for by giving it a
label; its events carry the label.
"""
import base64
import contextlib
import itertools
import json
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import Future

import pytest

from . import cache
from .servers import reap, spawn

CALL_TIMEOUT_S = 60
CONNECT_TIMEOUT_S = 30
EVENT_TIMEOUT_S = 15

# Error numbers (KeeperException.Code)
OK = 0
RUNTIMEINCONSISTENCY = -2
CONNECTIONLOSS = -4
MARSHALLINGERROR = -5
UNIMPLEMENTED = -6
BADARGUMENTS = -8
NONODE = -101
NOAUTH = -102
BADVERSION = -103
NOCHILDRENFOREPHEMERALS = -108
NODEEXISTS = -110
NOTEMPTY = -111
SESSIONEXPIRED = -112
INVALIDACL = -114
AUTHFAILED = -115
NOWATCHER = -121
RECONFIGDISABLED = -123
QUOTAEXCEEDED = -125

# Create modes
PERSISTENT, EPHEMERAL, SEQUENTIAL, EPHEMERAL_SEQUENTIAL, CONTAINER, TTL, SEQUENTIAL_TTL = range(7)

# Permissions and the usual ACL
READ, WRITE, CREATE, DELETE, ADMIN, ALL = 1, 2, 4, 8, 16, 31
OPEN = [[ALL, "world", "anyone"]]

# Watcher types of remove_watches
CHILDREN_WATCH, DATA_WATCH, ANY_WATCH, PERSISTENT_WATCH, RECURSIVE_WATCH = 1, 2, 3, 4, 5

# What a library lacks without an error to show for it; a scenario that needs it calls needs().
WATCHES_SET_AGAIN = "setting watches again after a reconnect"
CURATOR = "Curator"
PLAIN_PATHS = "sending a path as it is given"
ANY_SEQUENTIAL_NAME = "sequential names that make a valid path only with their number"
WIRE_ORDER = "one thread for replies and events, in the order of the wire"
LACKS = {("kazoo", WATCHES_SET_AGAIN), ("kazoo", WIRE_ORDER), ("go", WIRE_ORDER),
         ("kazoo", CURATOR), ("go", CURATOR), ("c", CURATOR), ("kazoo", PLAIN_PATHS),
         ("kazoo", ANY_SEQUENTIAL_NAME), ("go", ANY_SEQUENTIAL_NAME)}


# What only reads: another client's write may not have come to the member that is asked.
READS = {"exists", "get", "get_acl", "children", "ephemerals", "all_children_number"}


class ZkError(Exception):
    """A ZooKeeper error; for a multi also the result of each operation."""

    def __init__(self, code, message="", results=None):
        super().__init__(f"{code} {message}".strip())
        self.code = code
        self.results = results


def lacks(kind, what):
    pytest.skip(f"library {kind} lacks {what}")


@contextlib.contextmanager
def refused(code):
    """What is done inside must be refused with this error number."""
    with pytest.raises(ZkError) as caught:
        yield caught
    assert caught.value.code == code, f"refused with {caught.value}, expected {code}"


def encode(data):
    if data is None:
        return None
    return base64.b64encode(data.encode() if isinstance(data, str) else data).decode()


@contextlib.contextmanager
def curators(driver, address):
    """Makes Curator clients, which only the Java driver has; closed at the end."""
    made = []

    def make(timeout_ms=10000):
        client = driver.new_client()
        client.call("curator_connect", hosts=address, timeout_ms=timeout_ms)
        made.append(client)
        return client
    yield make
    for client in made:
        client.call("curator_close")
        driver.forget(client)


class Driver:
    """One driver process."""

    def __init__(self, kind, argv):
        self.kind = kind
        self._ids = itertools.count(1)
        self._names = itertools.count(1)
        self._lock = threading.Lock()
        self._calls = {}
        self._clients = {}
        self._process = spawn([str(word) for word in argv], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE)
        threading.Thread(target=self._read_loop, daemon=True).start()

    def close(self):
        """Ours ends by itself at the end of its input: a sanitizer that it was built with has
        its say then."""
        status = 0
        try:
            if self.kind == "c":
                self._process.stdin.close()
                status = self._process.wait(CALL_TIMEOUT_S)
        finally:
            reap(self._process)
        assert status == 0, f"the {self.kind} driver ended with {status}"

    def new_client(self, **connect_args) -> "Client":
        """A client that is not connected yet."""
        client = Client(self, f"{self.kind}-{next(self._names)}", connect_args)
        self._clients[client.name] = client
        return client

    def connect(self, hosts, **connect_args) -> "Client":
        client = self.new_client(hosts=hosts, **connect_args)
        client.connect()
        return client

    def forget(self, client):
        self._clients.pop(client.name, None)

    def submit(self, client, op, args) -> Future:
        """Send a request without waiting for its reply."""
        future = Future()
        with self._lock:
            number = next(self._ids)
            self._calls[number] = (future, client, op)
            line = {"id": number, "client": client.name, "op": op, "args": args}
            self._process.stdin.write(json.dumps(line).encode() + b"\n")
            self._process.stdin.flush()
        return future

    def _read_loop(self):
        for text in self._process.stdout:
            line = json.loads(text)
            if "event" in line:
                client = self._clients.get(line["client"])
                if client:
                    client._received({"received": "event", **line["event"]})
                continue
            future, client, op = self._calls.pop(line["id"])
            client._received({"received": "reply", "op": op})
            future.set_result(line)
        for future, _, _ in self._calls.values():
            future.set_exception(RuntimeError(f"the {self.kind} driver ended"))


class Client:
    """One client of a library, and what it received, in order of arrival."""

    def __init__(self, driver, name, connect_args):
        self.driver = driver
        self.kind = driver.kind
        self.name = name
        self.connect_args = {"timeout_ms": 10000, **connect_args}
        self.session_id = self.passwd = self.timeout_ms = None
        self.syncs = False      # before every read, for what other clients wrote elsewhere
        self.open = False
        self.history = []       # replies and events as they came
        self._changed = threading.Condition()
        self._taken = 0         # how much of the history events() has gone through
        self._states = 0        # and how much of it wait_state() has

    def needs(self, what):
        """Skip the scenario when the library lacks this."""
        if (self.kind, what) in LACKS:
            lacks(self.kind, what)

    # Calls

    def submit(self, op, **args) -> Future:
        return self.driver.submit(self, op, args)

    def call(self, op, **args):
        if self.syncs and op in READS:
            self.result(self.submit("sync", path="/"))
        return self.result(self.submit(op, **args))

    def result(self, future):
        line = future.result(CALL_TIMEOUT_S)
        if "unsupported" in line:
            lacks(self.kind, line["unsupported"])
        if "err" in line:
            raise ZkError(line["err"], line.get("msg", ""), line.get("results"))
        return line["result"]

    def connect_later(self) -> Future:
        args = {"wait_ms": CONNECT_TIMEOUT_S * 1000, **self.connect_args}
        self.open = True
        return self.submit("connect", **args)

    def connected(self, future):
        session = self.result(future)
        self.session_id, self.passwd = session["session_id"], session["passwd"]
        self.timeout_ms = session["timeout_ms"]
        self._states = len(self.history)
        return session

    def connect(self):
        return self.connected(self.connect_later())

    def close(self):
        """Close the session."""
        self.open = False
        self.call("close")

    def create(self, path, data=b"", mode=PERSISTENT, acl=OPEN, ttl=-1) -> str:
        return self.call("create", path=path, data=encode(data), mode=mode, acl=acl,
                         ttl=ttl)["path"]

    def create2(self, path, data=b"", mode=PERSISTENT, acl=OPEN, ttl=-1):
        """Path and stat of the new node."""
        made = self.call("create", path=path, data=encode(data), mode=mode, acl=acl, ttl=ttl,
                         stat=True)
        return made["path"], made["stat"]

    def delete(self, path, version=-1):
        self.call("delete", path=path, version=version)

    def exists(self, path, watch=None):
        """Stat or None."""
        return self.call("exists", path=path, watch=watch)

    def get(self, path, watch=None):
        """Data and stat."""
        got = self.call("get", path=path, watch=watch)
        data = got["data"]
        return None if data is None else base64.b64decode(data), got["stat"]

    def set(self, path, data, version=-1):
        return self.call("set", path=path, data=encode(data), version=version)["stat"]

    def get_acl(self, path):
        """Entries [perms, scheme, id] and stat."""
        got = self.call("get_acl", path=path)
        return got["acl"], got["stat"]

    def set_acl(self, path, acl, version=-1):
        return self.call("set_acl", path=path, acl=acl, version=version)["stat"]

    def children(self, path, watch=None):
        """Sorted names."""
        return sorted(self.call("children", path=path, watch=watch)["children"] or [])

    def sync(self, path):
        self.call("sync", path=path)

    def multi(self, *ops):
        return self.call("multi", ops=list(ops))

    def add_auth(self, scheme, auth):
        self.call("add_auth", scheme=scheme, auth=encode(auth))

    def add_watch(self, path, watch, recursive=False):
        self.call("add_watch", path=path, watch=watch, recursive=recursive)

    def remove_watches(self, path, kind, watch=None):
        self.call("remove_watches", path=path, type=kind, watch=watch)

    def ephemerals(self, prefix="/"):
        return sorted(self.call("ephemerals", path=prefix))

    def all_children_number(self, path):
        return self.call("all_children_number", path=path)

    def who_am_i(self):
        return sorted(self.call("who_am_i"))

    def get_config(self):
        got = self.call("get_config")
        return base64.b64decode(got["data"] or ""), got["stat"]

    def reconfig(self, **args):
        return self.call("reconfig", **args)

    # Recipes of the library

    def lock_later(self, path, wait_ms=CALL_TIMEOUT_S * 1000) -> Future:
        return self.submit("lock_acquire", path=path, wait_ms=wait_ms)

    def unlock(self, path):
        self.call("lock_release", path=path)

    # Events

    def _received(self, item):
        with self._changed:
            self.history.append(item)
            self._changed.notify_all()

    def _wait(self, condition, timeout_s, what):
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while not (value := condition()):
                if not self._changed.wait(deadline - time.monotonic()):
                    raise TimeoutError(f"{self.name}: no {what}; received {self.history[-8:]}")
            return value

    def events(self, count, timeout_s=EVENT_TIMEOUT_S):
        """Wait for the next `count` watch events and take them, as (watch, type, path)."""
        def enough():
            found = [(index, item) for index, item in enumerate(self.history)
                     if index >= self._taken and item.get("kind") == "watch"]
            return found[:count] if len(found) >= count else None
        if count == 0:
            return []
        taken = self._wait(enough, timeout_s, f"{count} watch events")
        self._taken = taken[-1][0] + 1
        return [(item["watch"], item["type"], item["path"]) for _, item in taken]

    def event(self, timeout_s=EVENT_TIMEOUT_S):
        return self.events(1, timeout_s)[0]

    def no_event(self, path="/"):
        """Assert that no watch event is on its way. An event is sent before the reply of any
        later request, so a round trip flushes what there is; a second one is for libraries that
        deliver replies and events on threads of their own."""
        self.exists(path)
        self.exists(path)
        with self._changed:
            late = [item for item in self.history[self._taken:] if item.get("kind") == "watch"]
        assert late == []

    def wait_state(self, state, timeout_s=EVENT_TIMEOUT_S):
        """Wait until the session is reported in a state; looks at what came since the last
        wait_state(), or since the session was connected."""
        def seen():
            return next((index + 1 for index, item in enumerate(self.history)
                         if index >= self._states and item.get("state") == state), None)
        self._states = self._wait(seen, timeout_s, f"state {state}")

    def wait_event(self, timeout_s=EVENT_TIMEOUT_S, **fields):
        """Wait for any event with these fields, wherever it is in the history."""
        def matching():
            return next((item for item in self.history if item.get("received") == "event"
                         and all(item.get(key) == value for key, value in fields.items())), None)
        return self._wait(matching, timeout_s, f"event {fields}")


# Operations of a multi

def op_create(path, data=b"", mode=PERSISTENT, acl=OPEN, ttl=-1):
    return {"op": "create", "path": path, "data": encode(data), "mode": mode, "acl": acl,
            "ttl": ttl}


def op_delete(path, version=-1):
    return {"op": "delete", "path": path, "version": version}


def op_set(path, data, version=-1):
    return {"op": "set", "path": path, "data": encode(data), "version": version}


def op_check(path, version):
    return {"op": "check", "path": path, "version": version}


# Drivers

def _kazoo_argv():
    return [sys.executable, cache.DRIVERS / "python" / "driver.py"]


def _java_argv():
    # The client's own limit on replies is raised, so that only the server's limit is tested;
    # curator and the client log nothing, stdout belongs to the protocol.
    return ["java", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xmx1g", "-XX:-UsePerfData",
            "-Djute.maxbuffer=16777216",
            f"-Dlogback.configurationFile={cache.DRIVERS / 'java' / 'logback.xml'}",
            "-cp", f"{cache.java_driver()}{os.pathsep}{cache.java_classpath()}", "Driver"]


def _go_argv():
    return [cache.go_driver()]


def _c_argv():
    """Ours. ZK_CLIENT_LOOP=1: without threads of the library's."""
    return [cache.c_driver(), *(["loop"] if os.environ.get("ZK_CLIENT_LOOP") else [])]


DRIVERS = {"kazoo": _kazoo_argv, "java": _java_argv, "go": _go_argv, "c": _c_argv}


def start(kind) -> Driver:
    return Driver(kind, DRIVERS[kind]())
