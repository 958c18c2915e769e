"""The kazoo client behind the line protocol of the tests (see harness/clients.py).

One JSON request per line on stdin, one JSON reply or event per line on stdout. Requests run in a
pool of threads: the tests wait for a reply before the next request where the order matters.
"""
import base64
import json
import logging
import queue
import resource
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

from kazoo.client import KazooClient
from kazoo.exceptions import KazooException
from kazoo.protocol.states import EventType, KeeperState
from kazoo.recipe.lock import Lock
from kazoo.retry import KazooRetry
from kazoo.security import ACL, Id

CONNECTIONLOSS = -4
BADARGUMENTS = -8
SESSIONEXPIRED = -112
CALL_TIMEOUT_S = 60
EPHEMERAL, SEQUENTIAL, CONTAINER = 1, 2, 4

STATES = {
    KeeperState.CONNECTED: "connected",
    KeeperState.CONNECTED_RO: "connected_read_only",
    KeeperState.CONNECTING: "disconnected",
    KeeperState.EXPIRED_SESSION: "expired",
    KeeperState.AUTH_FAILED: "auth_failed",
    KeeperState.CLOSED: "closed",
}
EVENTS = {
    EventType.CREATED: "created",
    EventType.DELETED: "deleted",
    EventType.CHANGED: "changed",
    EventType.CHILD: "child",
}

_out_lock = threading.Lock()


def emit(line):
    text = json.dumps(line)
    with _out_lock:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()


class Unsupported(Exception):
    """What the library cannot do."""


class FailedMulti(Exception):
    def __init__(self, code, results):
        super().__init__(code)
        self.code = code
        self.results = results


class Client(KazooClient):
    """Publishes every state of the session; kazoo's own listeners merge some of them."""

    def __init__(self, on_state, **kwargs):
        self.on_state = on_state
        super().__init__(**kwargs)

    def _session_callback(self, state):
        changed = state != self._state
        super()._session_callback(state)
        if changed:
            self.on_state(state)


def encode(data):
    return None if data is None else base64.b64encode(data).decode()


def decode(text):
    return None if text is None else base64.b64decode(text)


def stat_of(stat):
    return stat._asdict()


def acl_of(entries):
    return [ACL(perms, Id(scheme, name)) for perms, scheme, name in entries]


class CuratorLock(Lock):
    """kazoo's lock under names that Curator takes for its own."""
    _NODE_NAME = "-lock-"
    _EXCLUDE_NAMES = ["lock-"]


class Handle:
    """One kazoo client; each operation of the protocol is the method of that name."""

    def __init__(self, name):
        self.name = name
        self.states = queue.Queue()
        self.client = None
        self.locks = {}
        self.barriers = {}

    def event(self, **fields):
        emit({"client": self.name, "event": fields})

    def on_state(self, state):
        self.event(kind="session", state=STATES[state])
        self.states.put(state)

    def watcher(self, args):
        label = args.get("watch")
        if label is None:
            return None

        def watch(event):
            # NONE tells that kazoo dropped the watch with the connection: it never sets it again
            if event.type in EVENTS:
                self.event(kind="watch", watch=label, type=EVENTS[event.type], path=event.path)
        return watch

    def connect(self, args):
        session = None
        if args.get("session_id") is not None:
            session = (args["session_id"], decode(args["passwd"]))
        retry = KazooRetry(max_tries=-1, delay=0.05, max_delay=0.2)
        self.client = Client(
            self.on_state, hosts=args["hosts"] + (args.get("chroot") or ""),
            timeout=args["timeout_ms"] / 1000, client_id=session, connection_retry=retry,
            read_only=args.get("read_only") or None)
        self.client.start_async()
        try:
            state = self.states.get(timeout=args["wait_ms"] / 1000)
            while state == KeeperState.CONNECTING:
                state = self.states.get(timeout=args["wait_ms"] / 1000)
        except queue.Empty:
            return self.fail(CONNECTIONLOSS)
        if state == KeeperState.EXPIRED_SESSION:
            return self.fail(SESSIONEXPIRED)
        session_id, passwd = self.client.client_id
        return {"session_id": session_id, "passwd": encode(passwd),
                "timeout_ms": None}     # kazoo does not tell what was negotiated

    @staticmethod
    def fail(code):
        problem = KazooException()
        problem.code = code
        raise problem

    def close(self, args):
        self.client.stop()
        self.client.close()

    def create(self, args):
        mode = args["mode"]
        if mode >= CONTAINER:
            raise Unsupported("containers and TTL nodes")
        answer = self.client.create_async(
            args["path"], decode(args.get("data")), acl=acl_of(args["acl"]),
            ephemeral=bool(mode & EPHEMERAL), sequence=bool(mode & SEQUENTIAL),
            include_data=bool(args.get("stat"))).get(timeout=CALL_TIMEOUT_S)
        if args.get("stat"):
            return {"path": answer[0], "stat": stat_of(answer[1])}
        return {"path": answer}

    def delete(self, args):
        self.client.delete(args["path"], args.get("version", -1))

    def exists(self, args):
        stat = self.client.exists(args["path"], watch=self.watcher(args))
        return None if stat is None else stat_of(stat)

    def get(self, args):
        data, stat = self.client.get(args["path"], watch=self.watcher(args))
        return {"data": encode(data), "stat": stat_of(stat)}

    def set(self, args):
        stat = self.client.set(args["path"], decode(args.get("data")), args.get("version", -1))
        return {"stat": stat_of(stat)}

    def get_acl(self, args):
        entries, stat = self.client.get_acls(args["path"])
        return {"acl": [[entry.perms, entry.id.scheme, entry.id.id] for entry in entries],
                "stat": stat_of(stat)}

    def set_acl(self, args):
        stat = self.client.set_acls(args["path"], acl_of(args["acl"]), args.get("version", -1))
        return {"stat": stat_of(stat)}

    def children(self, args):
        names, stat = self.client.get_children(args["path"], watch=self.watcher(args),
                                               include_data=True)
        return {"children": names, "stat": stat_of(stat)}

    def sync(self, args):
        self.client.sync(args["path"])

    def multi(self, args):
        transaction = self.client.transaction()
        for op in args["ops"]:
            self.add_op(transaction, op)
        answers = transaction.commit()
        failed = [answer for answer in answers if isinstance(answer, KazooException)]
        if not failed:
            return [self.op_result(op, answer) for op, answer in zip(args["ops"], answers)]
        codes = [error_code(answer) for answer in answers]
        # "rolled back" (0) and "not tried" (-2) frame the one that failed
        code = next(code for code in codes if code not in (0, -2))
        raise FailedMulti(code, [{"op": "error", "err": code} for code in codes])

    @staticmethod
    def add_op(transaction, op):
        version = op.get("version", -1)
        if op["op"] == "create":
            if op["mode"] >= CONTAINER:
                raise Unsupported("containers and TTL nodes")
            transaction.create(op["path"], decode(op.get("data")) or b"", acl_of(op["acl"]),
                               ephemeral=bool(op["mode"] & EPHEMERAL),
                               sequence=bool(op["mode"] & SEQUENTIAL))
        elif op["op"] == "delete":
            transaction.delete(op["path"], version)
        elif op["op"] == "set":
            transaction.set_data(op["path"], decode(op["data"]), version)
        else:
            transaction.check(op["path"], version)

    @staticmethod
    def op_result(op, answer):
        if op["op"] == "create":
            return {"op": "create", "path": answer}
        if op["op"] == "set":
            return {"op": "set", "stat": stat_of(answer)}
        return {"op": op["op"]}

    def add_auth(self, args):
        self.client.add_auth(args["scheme"], decode(args["auth"]).decode())

    def get_config(self, args):
        return self.get({"path": "/zookeeper/config", "watch": args.get("watch")})

    def lock_acquire(self, args):
        if args["path"] not in self.locks:
            make = CuratorLock if args.get("curator") else Lock
            self.locks[args["path"]] = make(self.client, args["path"],
                                            extra_lock_patterns=args.get("extra") or ())
        return self.locks[args["path"]].acquire(timeout=args["wait_ms"] / 1000)

    def lock_release(self, args):
        self.locks[args["path"]].release()
        return True

    def rw(self, args):
        make = self.client.WriteLock if args["write"] else self.client.ReadLock
        return self.locks.setdefault((args["path"], args["write"]), make(args["path"]))

    def rw_acquire(self, args):
        return self.rw(args).acquire(timeout=args.get("wait_ms", 60000) / 1000)

    def rw_release(self, args):
        self.rw(args).release()
        return True

    def barrier_close(self, args):
        self.client.Barrier(args["path"]).create()
        return True

    def barrier_open(self, args):
        return self.client.Barrier(args["path"]).remove()

    def barrier_wait(self, args):
        return self.client.Barrier(args["path"]).wait(args.get("wait_ms", 60000) / 1000)

    def double_barrier(self, args):
        return self.barriers.setdefault(args["path"], self.client.DoubleBarrier(
            args["path"], args["members"]))

    def double_enter(self, args):
        self.double_barrier(args).enter()
        return True

    def double_leave(self, args):
        self.double_barrier(args).leave()
        return True

    def counter_add(self, args):
        counter = self.client.Counter(args["path"], support_curator=True)
        counter += args["value"]
        return counter.value

    def reconfig(self, args):
        data, stat = self.client.reconfig(args.get("joining"), args.get("leaving"),
                                          args.get("members"), args.get("from", -1))
        return {"data": encode(data), "stat": stat_of(stat)}


def error_code(problem):
    return getattr(problem, "code", None) if isinstance(problem, KazooException) else None


class Driver:
    def __init__(self):
        self.handles = {}

    def run(self, request):
        op, args = request["op"], request["args"]
        if op == "connect":
            self.handles[request["client"]] = Handle(request["client"])
        method = getattr(self.handles[request["client"]], op, None)
        if method is None:
            raise Unsupported(op)
        return method(args)

    def serve(self, request):
        reply = {"id": request["id"]}
        try:
            reply["result"] = self.run(request)
        except Unsupported as lack:
            reply["unsupported"] = str(lack)
        except FailedMulti as failed:
            reply.update(err=failed.code, results=failed.results)
        except (ValueError, TypeError) as refused:
            reply.update(err=BADARGUMENTS, msg=repr(refused))
        except Exception as problem:
            code = error_code(problem)
            reply.update(err=CONNECTIONLOSS if code is None else code, msg=repr(problem))
        emit(reply)


def main():
    # A kazoo client owns several descriptors.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    logging.disable(logging.CRITICAL)
    driver = Driver()
    with ThreadPoolExecutor(64) as pool:
        for line in sys.stdin:
            pool.submit(driver.serve, json.loads(line))
    sys.stdout.flush()


if __name__ == "__main__":
    threading.stack_size(256 * 1024)
    main()
