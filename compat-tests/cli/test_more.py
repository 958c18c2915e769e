"""Commands that stock does not have: tree, watch, export, import, explain."""
import base64
import json
import os
import re
import resource
import signal
import stat
import subprocess
import time

import pytest

import shells
from harness.servers import wait_for

CONFIG = {"extendedTypesEnabled": "true"}
pytestmark = pytest.mark.server(config=CONFIG)
NODES = 100_000


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
             f"create {root}/zero", f"set -b {root}/zero YQBiCiIiIlzwn5iA7Z6j77+9fw==",
             f"create {root}/acl x digest:a:b:cdrwa,ip:::1:r,world:anyone:ra",
             f"create {root}/noperm x world:anyone:z,ip:127.0.0.1:cdrwa"]
    run(server, stdin="\n".join(lines))
    before = everything(server, root)
    file = tmp_path / "export.jsonl"
    assert run(server, "export", root, file).err == ["Nodes exported: 9"]
    assert run(server, "import", file, root + "2").err == ["Nodes imported: 9"]
    assert everything(server, root + "2") == before and len(before) == 9
    assert before["/a"][0] is None and before["/a/empty"][0] == ""
    again = tmp_path / "again.jsonl"
    run(server, "export", root + "2", again)
    assert again.read_text().replace(root + "2", root) == file.read_text()
    run(server, "set", root + "/z", "changed")
    said = run(server, "import", file)
    assert said.err == ["Nodes imported: 0", "Nodes left as they were: 9"] and said.code == 0
    assert run(server, "get", root + "/z").out[-1] == "changed"


def test_export_is_a_line_of_json_for_each_node(server, root, tmp_path):
    file = tmp_path / "export.jsonl"
    run(server, stdin=f"create {root}/b\nset -b {root}/b /w==\ncreate {root}/a\n"
        f'set -b {root}/a AMOpIgo=\ncreate {root}/a/n x ip:127.0.0.1:cdrwa,world:anyone:r\n'
        f"create {root}/a/m\n")
    run(server, "export", root, file)
    anyone = [{"scheme": "world", "id": "anyone", "perms": "cdrwa"}]
    assert [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] == [
        {"path": root, "type": "persistent", "data": "top", "acl": anyone},
        {"path": root + "/a", "type": "persistent", "data": "\0é\"\n", "acl": anyone},
        {"path": root + "/b", "type": "persistent", "data_base64": "/w==", "acl": anyone},
        {"path": root + "/a/m", "type": "persistent", "data": None, "acl": anyone},
        {"path": root + "/a/n", "type": "persistent", "data": "x",
         "acl": [{"scheme": "ip", "id": "127.0.0.1", "perms": "cdrwa"},
                 {"scheme": "world", "id": "anyone", "perms": "r"}]}]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_export_and_import_of_the_whole_tree(own_server, tmp_path):
    one, two, file = own_server(CONFIG), own_server(CONFIG), tmp_path / "e"
    run(one, stdin="create /a 1\ncreate /a/b 2\nsetquota -n 5 /a\n")
    assert run(one, "export", "/", file).err == ["Nodes exported: 3"]
    assert "/zookeeper" not in file.read_text(), "the server's own"
    assert run(two, "import", file).err == ["Nodes imported: 2", "Nodes left as they were: 1"]
    assert run(two, "get", "/a/b").out[-1] == "2"
    assert run(two, "import", file, "/below").err == ["Nodes imported: 3"]
    assert run(two, "get", "/below/a/b").out[-1] == "2"
    run(one, "export", "/a", file)
    assert run(two, "import", file, "/").err == ["Nodes imported: 1", "Nodes left as they were: 1"]
    assert run(two, "get", "/b").out[-1] == "2"
    assert run(one, "export", "/zookeeper/quota", file).code == 0
    assert len(file.read_text().splitlines()) == 4


def test_export_of_ephemerals(own_server, tmp_path):
    """They are written down, and no import makes them."""
    server, root, file = own_server(CONFIG), "/x", tmp_path / "e"
    run(server, "create", root)
    said = run(server, stdin=f"create -e {root}/e x\ncreate {root}/p x\nexport {root} {file}\n")
    assert said.err[-2:] == ["Nodes exported: 3", "Ephemerals among them: 1"]
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line["type"] for line in lines] == ["persistent", "ephemeral", "persistent"]
    assert run(server, "import", file, "/y").err == ["Nodes imported: 2", "Ephemerals left out: 1"]
    assert run(server, "ls", "/y").out[-1] == "[p]"


def test_export_says_what_the_server_hides(server, root, tmp_path):
    """Digests, from who may not administrate; a node that may not be read is an error."""
    file = tmp_path / "e"
    run(server, "create", root + "/d", "x", "digest:a:b:cdrwa,world:anyone:r")
    assert run(server, "export", root, file).err == [
        "Nodes exported: 2",
        "Digests hidden by the server, for want of admin permission: 1"]
    before = file.read_text()
    assert '"id":"a:x"' in before
    run(server, "create", root + "/no", "x", "world:anyone:cdwa")
    said = run(server, "export", root, file)
    assert said.err == [f"Insufficient permission : {root}/no"] and said.code == 1
    assert file.read_text() == before


def test_export_to_a_disk_that_is_full(server, root, tmp_path):
    """What there was stays, and half an export does not."""
    def small_files():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))

    file = tmp_path / "e"
    assert run(server, "export", root, file).code == 0
    before = file.read_text()
    run(server, stdin="".join(f"create {root}/{i} {'x' * 1000}\n" for i in range(30)))
    done = subprocess.run([shells.program(), "-server", server.address, "export", root, file],
                          stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, timeout=20,
                          preexec_fn=small_files, env=shells.env())
    assert done.returncode == 1 and done.stderr.decode() == f"{file}: File too large\n"
    assert file.read_text() == before and os.listdir(tmp_path) == ["e"]


def test_import_of_other_types(server, root, tmp_path):
    file = tmp_path / "types"
    file.write_text("\n".join(json.dumps(node) for node in [
        {"path": root + "/c", "type": "container"},
        {"path": root + "/t", "ttl": 100000, "type": "ttl", "data": "a"},
        {"path": root + "/p"}]) + "\n")
    assert run(server, "import", file).err == ["Nodes imported: 3"]
    assert run(server, "get", root + "/t").out[-1] == "a"
    said = run(server, "--json", stdin="".join(f"{command} {root}/p\n" for command in
                                              ("get", "getAcl")))
    get, acl = map(json.loads, said.raw_out.splitlines())
    assert get["data"] is None
    assert acl["acl"] == [{"scheme": "world", "id": "anyone", "perms": "cdrwa"}]


def test_import_sends_the_types(server, root, tmp_path):
    """What cannot be read back from a server is seen in the frames."""
    file = tmp_path / "types"
    file.write_text(f'{{"path":"{root}/c","type":"container"}}\n'
                    f'{{"path":"{root}/t","type":"ttl","ttl":123456}}\n')
    said = run(server, "explain", "import", file).raw_out
    assert re.search(rf'sent createContainer.*path = \d+ "{root}/c".*flags = 4', said, re.S)
    assert re.search(rf'sent createTTL.*path = \d+ "{root}/t".*flags = 5.*ttl = 123456', said, re.S)


def test_import_reads_all_of_json(server, root, tmp_path):
    file = tmp_path / "json"
    data = r'"\u0000\"\\\/\b\f\n\r\t\u00e9\uD83D\ude00é"'
    file.write_text(f' \t{{ "data" : {data} , "path":"{root}\\/\\u00e9" }}  \n', encoding="utf-8")
    assert run(server, "import", file).err == ["Nodes imported: 1"]
    text = base64.b64decode(run(server, "get", "-b", root + "/é").out[-1]).decode()
    assert text == '\0"\\/\b\f\n\r\té😀é'


WORLD = '"acl":[{"scheme":"world","id":"anyone","perms":"r"}]'


@pytest.mark.parametrize("line,message", [
    ("", "column 1: { expected"),
    ("{}", "a string expected"),
    ("[]", "{ expected"),
    ("null", "{ expected"),
    ("{'path':'/a'}", "a string expected"),
    ('{"type":"persistent"}', "there is no path"),
    ('{"path":"/a"', "} expected"),
    ('{"path":"/a"}}', "something follows"),
    ('{"path":"/a"} x', "something follows"),
    ('{"path":"/a",}', "a string expected"),
    ('{"path":"/a" "data":"x"}', "} expected"),
    ('{"path" "/a"}', ": expected"),
    ('{"path":3}', "a string expected"),
    ('{"path":null}', "a string expected"),
    ('{"path":"/a","path":"/b"}', "path once more"),
    ('{"path":"/a","data":"x","data_base64":"eA=="}', "data once more"),
    ('{"path":"/a","dta":"x"}', 'unknown key "dta"'),
    ('{"path":"/a","data":7}', "a string expected"),
    ('{"path":"/a","data":"x}', "a string without an end"),
    ('{"path":"/a","data":"\t"}', "a control character"),
    ('{"path":"/a","data":"\0"}', "a control character"),
    ('{"path":"/a","data":"\\x"}', "no such escape"),
    ('{"path":"/a","data":"\\', "no such escape"),
    ('{"path":"/a","data":"\\u12g4"}', "four hexadecimal digits"),
    ('{"path":"/a","data":"\\u12', "four hexadecimal digits"),
    ('{"path":"/a","data":"\\ud800"}', "half a surrogate pair"),
    ('{"path":"/a","data":"\\ud800\\u0041"}', "half a surrogate pair"),
    ('{"path":"/a","data":"\\udc00"}', "half a surrogate pair"),
    (b'{"path":"/a","data":"\xff"}', "not UTF-8"),
    (b'{"path":"/a","data":"\xed\xa0\x80"}', "not UTF-8"),
    ('{"path":"/a","data_base64":"!"}', "Illegal base64 character 21"),
    ('{"path":"/a","data_base64":"A"}', "wrong 4-byte ending unit"),
    ('{"path":"/a","type":"other"}', "the type is persistent"),
    ('{"path":"/a","type":"ttl"}', "there is no ttl"),
    ('{"path":"/a","ttl":5}', "a ttl is for the type ttl"),
    ('{"path":"/a","type":"ttl","ttl":0}', "ttl is from 1 to"),
    ('{"path":"/a","type":"ttl","ttl":1099511627776}', "ttl is from 1 to"),
    ('{"path":"/a","type":"ttl","ttl":-1}', "a whole number expected"),
    ('{"path":"/a","type":"ttl","ttl":1.5}', "} expected"),
    ('{"path":"/a","type":"ttl","ttl":"5"}', "a whole number expected"),
    ('{"path":"/a","type":"ttl","ttl":99999999999999999999}', "a whole number expected"),
    ('{"path":"/a","acl":[]}', "{ expected"),
    ('{"path":"/a","acl":null}', "[ expected"),
    ('{"path":"/a","acl":[{"scheme":"world","id":"anyone"}]}', "an ACL has scheme, id and perms"),
    ('{"path":"/a","acl":[{"scheme":"world","id":"anyone","perms":"x"}]}', "letters of cdrwa"),
    ('{"path":"/a","acl":[{"scheme":"world","id":"a","id":"b","perms":"r"}]}', "once each"),
    ('{"path":"/a","acl":[{"scheme":"world","id":"a","perms":"r","more":"r"}]}', "once each"),
    ('{"path":"/a","acl":[{"scheme":"wor\\u0000ld","id":"a","perms":"r"}]}', "a null character"),
    ('{"path":"/a\\u0000b"}', "a null character"),
    ('{"path":""}', "Path length must be > 0"),
    ('{"path":"a"}', "Path must start with / character"),
    ('{"path":"/a/"}', "Path must not end with / character"),
    ('{"path":"/a/../b"}', "relative paths not allowed @4"),
    ('{"path":"/a//b"}', "empty node name specified @3"),
])
def test_import_of_a_damaged_file_changes_nothing(server, root, tmp_path, line, message):
    file = tmp_path / "damaged"
    text = line if isinstance(line, bytes) else line.encode()
    file.write_bytes(f'{{"path":"{root}/good",{WORLD}}}\n'.encode() + text.replace(
        b'"/', f'"{root}/'.encode()) + b'\n{"also":"damaged"}\n')
    said = run(server, "import", file)
    assert said.code == 1 and len(said.err) == 1
    message = re.sub(r"(?<=@)\d$", lambda at: str(int(at.group()) + len(root)), message)
    assert said.err[0].startswith(f"{file}: line 2: ") and message in said.err[0]
    assert run(server, "ls", root).out[-1] == "[]"


def test_import_from_a_pipe(server, root, tmp_path):
    """It can be read once only; what stands before the line that is wrong is there."""
    text = f'{{"path":"{root}/a"}}\n{{"path":"{root}/b"}}\n'
    assert run(server, "import", "/dev/stdin", stdin=text).err == ["Nodes imported: 2"]
    text = f'{{"path":"{root}/c"}}\n{{"path":"{root}/c/d"}}\nx\n{{"path":"{root}/d"}}\n'
    said = run(server, "import", "/dev/stdin", stdin=text)
    assert said.err == ["/dev/stdin: line 3: column 1: { expected", "Nodes imported: 2"]
    assert said.code == 1 and run(server, "ls", root).out[-1] == "[a, b, c]"


def test_import_errors_of_the_server(server, root, tmp_path):
    """The line is that of the node, also behind ephemerals, which are not asked for."""
    file = tmp_path / "x"
    file.write_text(f'{{"path":"{root}/e","type":"ephemeral"}}\n{{"path":"{root}/a",{WORLD}}}\n'
                    f'{{"path":"{root}/none/a"}}\n{{"path":"{root}/b"}}\n')
    said = run(server, "import", file)
    assert said.code == 1 and said.err[0] == f"{file}: line 3: KeeperErrorCode = NoNode"
    assert said.err[1] in ("Nodes imported: 1", "Nodes imported: 2")
    file.write_text(f'{{"path":"{root}/i","acl":[{{"scheme":"nosuch","id":"","perms":""}}]}}\n')
    assert run(server, "import", file).err == [f"{file}: line 1: KeeperErrorCode = InvalidACL"]
    file.write_text(f'{{"path":"{root}/l","data":"{"x" * 2_000_000}"}}\n')
    assert run(server, "import", file).err[0].startswith(f"{file}: line 1: ")
    run(server, "export", root, file)
    assert run(server, "import", file, "/no/such").err == [
        f"{file}: line 1: KeeperErrorCode = NoNode"]


def test_import_errors(server, root, tmp_path):
    file = tmp_path / "x"
    assert "No such file" in run(server, "import", file).err[0]
    assert "Is a directory" in run(server, "import", tmp_path).err[0]
    assert run(server, "import", "/dev/zero").err == ["/dev/zero: line 1: too long"]
    assert run(server, "import", "/dev/null").err == ["/dev/null: there is nothing in it"]
    assert run(server, "import", "/dev/null", "x").err == ["Path must start with / character"]
    assert "No such file" in run(server, "export", root, "/none/x").err[0]
    assert run(server, "export", root, "/dev/full").err == ["/dev/full: No space left on device"]
    assert run(server, "export", "/none", file).err == ["Node does not exist: /none"]
    assert not file.exists()
    file.write_text('{"path":"/app"}\n{"path":"/application"}\n')
    assert run(server, "import", file, root + "/n").err == [
        f"{file}: line 2: not below /app, the path of the first line"]
    assert run(server, "get", root + "/n").code == 1


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
    assert re.search(r'sent auth, .*auth = 3 "a:b"\nreceived auth, 20 bytes\n.* xid = -4\n',
                     said.raw_out, re.S)


def test_explain_names_what_numbers_mean(server, root):
    said = run(server, stdin=f"explain create -e -s {root}/e x ip:1.2.3.4:rw\n"
               f"explain addWatch -m PERSISTENT {root}\nexplain create {root}/x\n"
               f"explain removewatches {root} -p\nexplain getEphemerals\n").raw_out
    for text in ("flags = 3 (EPHEMERAL_SEQUENTIAL)", "acl[0].perms = 3 (rw)", "data = -1 (null)",
                 "mode = 0 (PERSISTENT)", "type = 4 (NodeChildrenChanged)",
                 "state = 3 (SyncConnected)", "type = 4 (Persistent)",
                 "ephemerals = 1\n", "stat.ctime = "):
        assert text in said, text
    assert "passwd = 16 bytes" in run(server, "explain", "get", root).raw_out


def test_explain_of_text_that_is_not_plain(server, root):
    """What would move the cursor is escaped, bytes are counted, long texts are cut."""
    text = base64.b64encode(b"a\0\n\x1b[2J").decode()
    said = run(server, stdin=f"explain set -b {root} {text}\nexplain set -b {root} /w==\n"
               f"explain set {root} {'y' * 1000}\n").raw_out
    assert r'data = 7 "a\u0000\u000a\u001b[2J"' in said and "\x1b" not in said
    assert "data = 1 bytes" in said and f'data = 1000 "{"y" * 200}" ...\n' in said
    assert said.count("79 79 79") > 60, "each byte all the same"


def test_explain_of_the_session(server):
    said = run(server, stdin="ls /\nexplain close\nexplain close\nexplain connect\nexplain quit\n")
    frames = [line.split(",")[0] for line in said.out if re.match("(sent|received) ", line)]
    assert frames == ["sent closeSession", "received closeSession", "sent ConnectRequest",
                      "received ConnectResponse", "sent closeSession", "received closeSession"]
    assert said.out.count("Not connected") == 1


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
    # ConnectResponse, too, where the first line comes before the session is there
    assert {"create2", "createContainer", "createTTL", "multi",
            "getChildren2", "getData", "exists", "setData", "getACL", "setACL", "sync", "whoAmI",
            "getEphemerals", "getAllChildrenNumber", "addWatch", "removeWatches", "reconfig",
            "delete", "auth"} <= names
    for frame in frames:
        whole = bytes.fromhex("".join(field["bytes"] for field in frame["fields"]))
        assert int.from_bytes(whole[:4], "big") == len(whole) - 4, frame
        assert "rest" not in [field["name"] for field in frame["fields"]], frame


def test_a_hundred_thousand_nodes(own_server, tmp_path):
    """With many requests in flight; the times are for the reader."""
    server = own_server(CONFIG)
    file, times = tmp_path / "big", {}
    paths = ["/big", *(f"/big/{i}" for i in range(NODES // 100))]
    paths += [f"/big/{i}/{k}" for i in range(NODES // 100) for k in range(99)]
    file.write_text("".join(f'{{"path":"{path}","data":"abc"}}\n' for path in paths))
    for name, words in {"import": ["import", file], "ls": ["ls", "-R", "/big"],
                        "export": ["export", "/big", tmp_path / "out"],
                        "deleteall": ["deleteall", "/big"]}.items():
        began = time.monotonic()
        said = run(server, *words)
        times[name] = round(time.monotonic() - began, 2)
        assert said.code == 0, said.err
        assert "\r" not in said.raw_err, "progress is for terminals"
        if name == "ls":
            assert len(said.out) == NODES + 2
    assert len((tmp_path / "out").read_text().splitlines()) == NODES + 1
    assert run(server, "ls", "/big").code == 1
    print(times)
    assert sum(times.values()) < 60
