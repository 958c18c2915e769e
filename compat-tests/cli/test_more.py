"""Commands that stock does not have: tree, watch, export, import, explain."""
import json
import os
import re
import signal
import subprocess
import time

import pytest

import shells
from harness.servers import wait_for

CONFIG = {"extendedTypesEnabled": "true"}
pytestmark = pytest.mark.server(config=CONFIG)
NODES = 100_000


@pytest.fixture(autouse=True)
def known(request):
    """Tests of a command that this zkcli does not have are skipped."""
    command = request.node.originalname.split("_")[1]
    if f"\t{command} " not in shells.run("zkcli", "--help").raw_out:
        pytest.skip(f"this zkcli has no {command}")


def run(server, *words, **more):
    return shells.run("zkcli", "-server", server.address, *words, **more)


@pytest.fixture
def root(server, request):
    path = "/" + request.node.originalname[5:35]
    run(server, "deleteall", path)
    run(server, "deleteall", path + "2")
    assert run(server, "create", path, "top").code == 0
    return path


def everything(server, path):
    """What of a subtree an export holds."""
    said = {}
    paths = json.loads(run(server, "--json", "ls", "-R", path).raw_out)["paths"]
    script = "".join(f'get -b "{p}"\ngetAcl "{p}"\n' for p in paths)
    lines = [json.loads(line) for line in
             run(server, "--json", stdin=script).raw_out.splitlines()]
    for p, data, acl in zip(paths, lines[::2], lines[1::2]):
        said[p[len(path):]] = data.get("data_base64", data.get("data")), acl["acl"]
    return said


def test_tree(server, root):
    lines = [f"create {root}{p}" for p in ("/b", "/a", "/a/x", "/a/x/1", "/a/y", "/b/z")]
    run(server, stdin="\n".join(lines))
    assert run(server, "tree", root).out[1:] == [
        root, "├── a", "│   ├── x", "│   │   └── 1", "│   └── y", "└── b", "    └── z"]
    assert run(server, "tree", "/none").err == ["Node does not exist: /none"]
    assert "├── " in run(server, "tree").raw_out


def test_export_and_import(server, root, tmp_path):
    lines = [f"create {root}/a", f'create {root}/a/empty ""', f'create "{root}/a/é b" "x y"',
             f"create {root}/z x ip:127.0.0.1:cdrwa,world:anyone:r",
             f"create {root}/bin", f"set -b {root}/bin AAEC/w==",
             f"create {root}/acl x digest:a:b:cdrwa,ip:::1:r,world:anyone:ra"]
    run(server, stdin="\n".join(lines))
    before = everything(server, root)
    file = tmp_path / "export.txt"
    assert run(server, "export", root, file).err == ["Nodes exported: 7"]
    assert run(server, "import", file, root + "2").err == ["Nodes imported: 7"]
    assert everything(server, root + "2") == before and len(before) == 7
    assert before["/a"][0] is None and before["/a/empty"][0] == ""
    again = tmp_path / "again.txt"
    run(server, "export", root + "2", again)
    assert again.read_text().split("\n")[1:] == file.read_text().split("\n")[1:]
    run(server, "set", root + "/z", "changed")
    said = run(server, "import", file)
    assert said.err == ["Nodes imported: 0", "Nodes left as they were: 7"] and said.code == 0
    assert run(server, "get", root + "/z").out[-1] == "changed"


def test_export_leaves_ephemerals_out(own_server, tmp_path):
    server, root, file = own_server(CONFIG), "/x", tmp_path / "e"
    run(server, "create", root)
    said = run(server, stdin=f"create -e {root}/e x\ncreate {root}/p x\nexport {root} {file}\n")
    assert said.err[-2:] == ["Nodes exported: 2", "Ephemerals left out: 1"]
    assert len(file.read_text().splitlines()) == 3
    assert run(server, "export", "/", file).code == 0
    assert "/zookeeper" not in file.read_text()
    assert run(server, "export", "/zookeeper/quota", file).code == 0


def test_import_of_other_types(server, root, tmp_path):
    file = tmp_path / "types"
    run(server, "export", root, file)
    file.write_text(file.read_text() + "/c\tcontainer\t-\tworld:anyone:cdrwa\n"
                    "/t\tttl=100000\tYQ==\tworld:anyone:cdrwa\n")
    assert run(server, "import", file).err[0] == "Nodes imported: 2"
    assert run(server, "get", root + "/t").out[-1] == "a"


@pytest.mark.parametrize("line", [
    "", "/a", "/a\tpersistent", "/a\tpersistent\t-", "/a\tephemeral\t-\tworld:anyone:r",
    "/a\tttl=x\t-\tworld:anyone:r", "/a\tpersistent\t!\tworld:anyone:r",
    "a\tpersistent\t-\tworld:anyone:r", "/a\tpersistent\t-\tbad", "/a\tttl=0\t-\tworld:anyone:r",
    "\0", "/a\0\tpersistent\t-\tworld:anyone:r",
])
def test_import_of_damaged_lines(server, root, tmp_path, line):
    file = tmp_path / "damaged"
    run(server, "export", root, file)
    file.write_text(file.read_text() + f"/good\tpersistent\t-\tworld:anyone:cdrwa\n{line}\n")
    said = run(server, "import", file, root + "2")
    assert said.code == 1 and re.search("line 4: ", said.err[-1]), said.err
    assert run(server, "get", root + "2/a").code == 1


def test_import_errors(server, root, tmp_path):
    file = tmp_path / "x"
    assert "No such file" in run(server, "import", file).err[0]
    file.write_text("something else\n")
    assert "is not an export" in run(server, "import", file).err[0]
    file.write_text("")
    assert "is not an export" in run(server, "import", file).err[0]
    assert "No such file" in run(server, "export", root, "/none/x").err[0]
    assert run(server, "export", "/none", file).err == ["Node does not exist: /none"]
    run(server, "export", root, file)
    assert run(server, "import", file, "/no/such").err == [
        f"{file}: line 2: KeeperErrorCode = NoNode"]


def watching(server, *words):
    """A shell that watches, and its lines so far."""
    process = subprocess.Popen([shells.program(), "-server", server.address, *words],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=shells.env())
    os.set_blocking(process.stdout.fileno(), False)
    text = bytearray()

    def lines():
        text.extend(process.stdout.read() or b"")
        return text.decode().splitlines()
    return process, lines


def watches(server):
    return int(re.search(rb"Total watches:(\d+)", server.four("wchs")).group(1))


def test_watch(server, root):
    process, lines = watching(server, "watch", "-R", root)
    wait_for(lambda: watches(server) > 0, 10, "the watch")
    run(server, stdin=f"create {root}/a 1\nset {root}/a 2\ncreate {root}/a/b\ndelete {root}/a/b\n"
        f"set {root} new\n")
    wait_for(lambda: lines()[-1:] == ["new"], 10, "the last event")
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 0 and process.stderr.read() == b""
    said = [re.sub(r"zxid: \d+", "zxid: N", line) for line in lines()[5:]]
    events = [line for line in said if "zxid" in line]
    assert events == [f"NodeCreated {root}/a zxid: N", f"NodeDataChanged {root}/a zxid: N",
                      f"NodeCreated {root}/a/b zxid: N", f"NodeDeleted {root}/a/b zxid: N",
                      f"NodeDataChanged {root} zxid: N"]
    assert watches(server) == 0


def test_watch_in_json(server, root):
    process, lines = watching(server, "--json", "watch", root)
    wait_for(lambda: watches(server) > 0, 10, "the watch")
    run(server, stdin=f"set {root} 1\ncreate {root}/x\nset {root}/x 1\n")
    wait_for(lambda: len(lines()) == 2, 10, "two events")
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0
    first, second, end = map(json.loads, lines())
    assert (first["event"], first["path"], first["data"]) == ("NodeDataChanged", root, "1")
    assert second["event"] == "NodeChildrenChanged" and end == {"command": "watch"}


def test_watch_ends_with_the_session(own_server):
    server = own_server(CONFIG)
    process, _ = watching(server, "-timeout", "4000", "watch", "-R", "/")
    wait_for(lambda: watches(server) > 0, 10, "the watch")
    process.send_signal(signal.SIGSTOP)
    wait_for(lambda: watches(server) == 0, 20, "the end of the session")
    process.send_signal(signal.SIGCONT)
    assert process.wait(20) == 1
    assert b"KeeperErrorCode = Session expired" in process.stderr.read()


def test_explain_shows_bytes(server, root):
    said = run(server, "explain", "get", root).raw_out
    path = root.encode()
    assert re.search(r"sent ConnectRequest, 49 bytes\n  0000  00 00 00 2d +length = 45\n"
                     r"  0004  00 00 00 00 +protocolVersion = 0\n", said)
    assert re.search(r"  0010  00 00 75 30 +timeOut = 30000\n", said)
    assert re.search(rf"sent getData, {len(path) + 17} bytes\n"
                     rf"  0000  00 00 00 {len(path) + 13:02x} +length = {len(path) + 13}\n"
                     r"  0004  00 00 00 01 +xid = 1\n  0008  00 00 00 04 +type = 4 \(getData\)\n"
                     rf"  000c  00 00 00 {len(path):02x} {path[:12].hex(' ')}", said)
    assert re.search(rf'path = {len(path)} "{root}"', said)
    assert re.search(r"  \w+  00 +watch = false\nreceived getData, \d+ bytes\n", said)
    assert re.search(r'  0014  00 00 00 03 74 6f 70 +data = 3 "top"\n', said)
    assert re.search(r"  001b  [0-9a-f ]{23} +stat.czxid = 0x[0-9a-f]+\n", said)
    assert said.rstrip().endswith("top")


def test_explain_of_errors_events_and_multi(server, root):
    said = run(server, stdin=f"explain get /none\nget -w {root}\nexplain set {root} x\n"
               f"create {root}/a\nexplain deleteall {root}\nexplain\nexplain bogus\n"
               "explain addauth digest a:b\n")
    assert "err = -101 (NONODE)" in said.raw_out
    assert re.search(rf'received WatcherEvent.*xid = -1\n.*path = \d+ "{root}"', said.raw_out, re.S)
    assert "ops[0].type = 2 (delete)" in said.raw_out and f'ops[1].path = {len(root)} "{root}"' \
        in said.raw_out
    assert "ops[2].done = true" in said.raw_out and "results[2].done = true" in said.raw_out
    assert "explain command [words...]" in said.err and said.code == 0
    assert 'sent auth' in said.raw_out and 'auth = 3 "a:b"' in said.raw_out


def test_explain_every_byte(server, root):
    """The bytes of the fields are the frame, for each operation."""
    lines = [f"create {root}/a x", f"create -e {root}/e x", f"create -c {root}/c", f"ls -s {root}",
             f"create -t 5000 {root}/t", f"get -s -w {root}", f"stat {root}", f"set {root} y",
             f"getAcl {root}", f"setAcl {root} world:anyone:cdrwa,ip:1.2.3.4:r", f"sync {root}",
             "getEphemerals", f"getAllChildrenNumber {root}", f"addWatch {root}", "whoami",
             f"removewatches {root}", "config", "reconfig -add x", f"delete {root}/a", "get /none",
             "addauth digest a:b", f"deleteall {root}"]
    said = run(server, "--json", stdin="".join(f"explain {line}\n" for line in lines)).raw_out
    frames = [frame for line in said.splitlines() for frame in json.loads(line).get("frames", [])]
    names = {frame["name"] for frame in frames}
    assert {"ConnectResponse", "create2", "createContainer", "createTTL", "multi",
            "getChildren2", "getData", "exists", "setData", "getACL", "setACL", "sync", "whoAmI",
            "getEphemerals", "getAllChildrenNumber", "addWatch", "removeWatches", "reconfig",
            "delete", "auth"} <= names
    for frame in frames:
        whole = bytes.fromhex("".join(field["bytes"] for field in frame["fields"]))
        assert int.from_bytes(whole[:4], "big") == len(whole) - 4, frame
        assert "rest" not in [field["name"] for field in frame["fields"]], frame


def test_export_of_a_hundred_thousand_nodes(own_server, server_kind, tmp_path):
    """With many requests in flight; the times are for the reader."""
    if server_kind == "stock":
        pytest.skip("measures zkcli, on one kind of server")
    server = own_server(CONFIG)
    file, times = tmp_path / "big", {}
    rows = ["# zkcli export 1\t/big", "/\tpersistent\t-\tworld:anyone:cdrwa"]
    rows += [f"/{i}\tpersistent\tYWJj\tworld:anyone:cdrwa" for i in range(NODES // 100)]
    rows += [f"/{i}/{k}\tpersistent\tYWJj\tworld:anyone:cdrwa" for i in range(NODES // 100)
             for k in range(99)]
    file.write_text("\n".join(rows) + "\n")
    for name, words in {"import": ["import", file], "ls": ["ls", "-R", "/big"],
                        "export": ["export", "/big", tmp_path / "out"],
                        "deleteall": ["deleteall", "/big"]}.items():
        began = time.monotonic()
        said = run(server, *words)
        times[name] = round(time.monotonic() - began, 2)
        assert said.code == 0, said.err
        if name == "ls":
            assert len(said.out) == NODES + 2
    assert len((tmp_path / "out").read_text().splitlines()) == NODES + 2
    assert run(server, "ls", "/big").code == 1
    print(times)
    assert sum(times.values()) < 60
