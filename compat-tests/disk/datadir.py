"""Data directories for tests: copies of recorded ones, servers on them, and what clients see."""
import json
import re
import shutil
from base64 import b64decode
from pathlib import Path

import format
import frames
import pair
from harness import servers

DATA = Path(__file__).resolve().parent.parent / "data" / "stock-3.8.0"
SUPER = b"super:test"
# Nothing may be reaped while a test looks: containers and TTL nodes are checked once an hour.
PROPS = {"znode.container.checkIntervalMs": 3600000}


def new_server(kind, workdir, config=None, props=None, **kwargs):
    """A server that is not started; its directory is empty."""
    return servers.make(kind, workdir, config={**pair.CONFIG, **(config or {})},
                        props={**PROPS, **(props or {})}, **kwargs)


def version2(server):
    return server.datadir / "version-2"


def copy_set(name, server, drop=()):
    """A recorded directory becomes the server's; `drop`: files of version-2 to leave out."""
    shutil.copytree(DATA / name, server.datadir, dirs_exist_ok=True,
                    copy_function=shutil.copyfile)
    for file in drop:
        (version2(server) / file).unlink()


def expected(name):
    """(last zxid, {session: timeout}, {path: Node}, tree digest) of a recorded directory."""
    state = json.loads((DATA / f"{name}.json").read_text())
    nodes = {}
    for row in state["nodes"]:
        hexes = {key: int(row[key], 16) for key in ("czxid", "mzxid", "pzxid", "ephemeralOwner")}
        owner = hexes.pop("ephemeralOwner")
        data = None if row["data"] is None else b64decode(row["data"])
        plain = {key: row[key] for key in ("ctime", "mtime", "version", "cversion", "aversion")}
        nodes[row["path"]] = format.Node(data, [tuple(one) for one in row["acl"]], **hexes,
                                         **plain, owner=owner - (owner >> 63 << 64))
    sessions = {int(key, 16): value for key, value in state["sessions"].items()}
    return int(state["last_zxid"], 16), sessions, nodes, int(state["tree_digest"], 16)


def client_view(nodes):
    """{path: (data, ACL, Stat)} as a client sees nodes that are stored so."""
    children = dict.fromkeys(nodes, 0)
    for path in nodes:
        if path != "/":
            children[format.parent_of(path)] += 1
    out = {}
    for path, node in nodes.items():
        out[path] = node.data, node.acl, {
            "czxid": node.czxid, "mzxid": node.mzxid, "ctime": node.ctime, "mtime": node.mtime,
            "version": node.version, "cversion": 2 * node.cversion - children[path],
            "aversion": node.aversion, "pzxid": node.pzxid,
            # containers and nodes with a time to live look like any other
            "ephemeralOwner": max(node.owner, 0),
            "dataLength": len(node.data or b""), "numChildren": children[path]}
    return out


def read_tree(conn):
    """The same of a live server, read with the powers of the super user. A node that goes away
    meanwhile, as ephemerals do, is left out."""
    assert conn.call("auth", -4, type=0, scheme="digest", auth=SUPER).err == 0
    out, ahead = {}, ["/"]
    while ahead:
        path = ahead.pop()
        ops = ("getData", "getChildren", "getACL")
        replies = [conn.call(op, path=path) for op in ops]
        if any(reply.err == frames.ERR["NONODE"] for reply in replies):
            continue
        data, children, acl = (reply.record(op) for reply, op in zip(replies, ops))
        out[path] = data["data"], acl["acl"], data["stat"]
        ahead += [f"{path.rstrip('/')}/{name}" for name in children["children"]]
    return out


def same(got, wanted):
    """Compares two trees and says where they differ, not what they are."""
    assert sorted(set(got) ^ set(wanted)) == []
    different = {path: (got[path], wanted[path]) for path in wanted if got[path] != wanted[path]}
    assert different == {}


def last_zxid(server):
    return int(re.search(r"Zxid: 0x([0-9a-f]+)", server.four("srvr").decode())[1], 16)


def mntr(server, key):
    return int(re.search(rf"^zk_{key}\t(\S+)$", server.four("mntr").decode(), re.M)[1])


def resume(server, session, timeout_ms=30000):
    """A connection that takes up an old session, or None when that is refused."""
    conn = frames.Conn(server.address)
    answer = conn.connect(session_id=session, timeout_ms=timeout_ms)
    if answer is frames.CLOSED or not answer["timeOut"]:
        conn.close()
        return None
    assert answer["sessionId"] == session
    return conn


def files(folder):
    """{name: content} of what a refused start must leave alone."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def refuses(server, status=1):
    """Starts a server that must end by itself; returns what it said."""
    server.start(wait=False)
    servers.wait_for(lambda: not server.running, 30, "end of a server that cannot start")
    code = server.process.returncode
    servers.reap(server.process)
    assert code == status, server.log
    return server.log
