"""zkcli --json: one document per command on stdout, errors and warnings in it, nothing on stderr.
What comes of a failure of the output itself (it was lost, out of memory) is on stderr all the same.
"""
import base64
import json

import pytest

import shells

CONFIG = {"extendedTypesEnabled": "true"}
pytestmark = pytest.mark.server(config=CONFIG)


def documents(server, *lines, code=0):
    said = shells.run("zkcli", "-server", server.address, "--json",
                      stdin="".join(line + "\n" for line in lines))
    assert said.raw_err == "" and said.code == code
    return [json.loads(line) for line in said.raw_out.splitlines()]


def one(server, *words, code=0):
    said = shells.run("zkcli", "-server", server.address, "--json", *words)
    assert said.raw_err == "" and said.code == code
    assert said.raw_out.count("\n") == 1 and said.raw_out.endswith("}\n")
    return json.loads(said.raw_out)


@pytest.fixture
def tree(server):
    shells.run("zkcli", "-server", server.address,
               stdin="deleteall /j\ncreate /j data\ncreate /j/b\ncreate /j/a \"\"\n")
    return server


def test_reading(tree):
    get, children, paths, stat, number = documents(
        tree, "get -s /j", "ls -s /j", "ls -R /j", "stat /j/a", "getAllChildrenNumber /j")
    assert get["command"] == "get" and get["data"] == "data" and get["stat"]["dataLength"] == 4
    assert get["stat"] == children["stat"] and children["children"] == ["a", "b"]
    assert get["stat"]["cZxid"].startswith("0x") and get["stat"]["ephemeralOwner"] == "0x0"
    assert paths["paths"] == ["/j", "/j/a", "/j/b"]
    assert stat["stat"]["numChildren"] == 0 and number["number"] == 2


def test_data(tree):
    raw = bytes(range(256))
    documents(tree, "set -b /j " + base64.b64encode(raw).decode())
    assert base64.b64decode(one(tree, "get", "/j")["data_base64"]) == raw
    for text in ('"\\/\b\f\n\r\t\x01\x7fé日😀', "", "\ufffd"):
        documents(tree, f'set -b /j "{base64.b64encode(text.encode()).decode()}"')
        assert one(tree, "get", "/j")["data"] == text
        encoded = one(tree, "get", "-b", "/j")["data_base64"]
        assert base64.b64decode(encoded) == text.encode()
    assert one(tree, "get", "/j/b")["data"] is None
    assert one(tree, "get", "-x", "/j/a")["data"] == ""


def test_writing(tree):
    created, sequential, none, stat, gone = documents(
        tree, "create /j/c x", "create -s /j/s- x", "set /j y", "set -s /j z", "delete /j/c")
    assert created == {"command": "create", "created": "/j/c"}
    assert sequential["created"] == "/j/s-0000000003"
    assert none == {"command": "set"} and gone == {"command": "delete"}
    assert stat["stat"]["dataVersion"] == 2


@pytest.mark.parametrize("words,code,number,name,message", [
    (["get", "/none"], 1, -101, "NONODE", "Node does not exist: /none"),
    (["create", "/j"], 1, -110, "NODEEXISTS", "Node already exists: /j"),
    (["delete", "/j"], 1, -111, "NOTEMPTY", "Node not empty: /j"),
    (["set", "-v", "9", "/j", "x"], 1, -103, "BADVERSION", "version No is not valid : /j"),
    (["reconfig", "-remove", "1"], 1, -123, "RECONFIGDISABLED",
     "KeeperErrorCode = Reconfig is disabled"),
    (["get"], 1, -8, "BADARGUMENTS", "get [-s] [-w] [-b] [-x] path\n -b "),
    (["get", "x"], 1, -8, "BADARGUMENTS", "Path must start with / character"),
    (["get", "-z", "/j"], 1, -8, "BADARGUMENTS",
     "org.apache.commons.cli.UnrecognizedOptionException: Unrecognized option: -z"),
    (["set", "-v", "x", "/j", "1"], 1, -8, "BADARGUMENTS", "java.lang.NumberFormatException"),
    (["removewatches", "/j"], 1, -121, "NOWATCHER", "KeeperErrorCode = No such watcher for /j"),
    (["bogus"], 127, -6, "UNIMPLEMENTED", "Command not found: Command not found bogus"),
])
def test_errors(tree, words, code, number, name, message):
    error = one(tree, *words, code=code)["error"]
    assert (error["code"], error["name"]) == (number, name)
    assert error["message"].startswith(message)


@pytest.mark.parametrize("words,code,message", [
    (["get", "/a"], 1, "KeeperErrorCode = ConnectionLoss for /a"),
    (["delquota", "/a"], 1, "KeeperErrorCode = ConnectionLoss for /zookeeper/quota/a/"
                            "zookeeper_limits"),
    (["sync", "/"], 0, "Sync has failed. rc=-4"),
    (["whoami"], 0, "KeeperErrorCode = ConnectionLoss"),
])
def test_no_server(words, code, message):
    """What fails says so, where the text of stock and its exit code do not, too."""
    said = shells.run("zkcli", "-server", "127.0.0.1:1", "--json", *words)
    assert said.code == code and said.raw_err == ""
    assert json.loads(said.raw_out) == {"command": words[0], "error": {
        "code": -4, "name": "CONNECTIONLOSS", "message": message}}


def test_a_quota_that_is_not_there(tree):
    assert one(tree, "delquota", "/none") == {"command": "delquota", "error": {
        "code": -101, "name": "NONODE", "message": "Quota does not exist for /none"}}


def test_warnings(tree):
    get, create = documents(tree, "get /j true", "create /j/w x world:anyone:rz,bad")
    assert get["data"] == "data" and "deprecated" in get["warnings"][0]
    assert create["created"] == "/j/w" and len(create["warnings"]) == 2


def test_warnings_between_two_commands_are_in_the_next(server):
    """Of the command line, and of the session: a refusal comes at some time after addauth."""
    said = shells.run("zkcli", "--json", "-server", stdin="version\n")
    assert said.raw_err == "" and json.loads(said.raw_out)["warnings"] == \
        ["Error: no argument found for option -server\n"]
    said = shells.run("zkcli", "--json", "-server")
    assert said.raw_err == "" and list(json.loads(said.raw_out)) == ["warnings"], "no next one"
    said = documents(server, "ls /", "addauth nosuch x", *["sync /"] * 3)
    assert [text for d in said for text in d.get("warnings", [])] == \
        ["zkcli: the server refuses an identity of scheme nosuch\n"]


def test_events(tree):
    said = documents(tree, "get -w /j", "set /j 2", "printwatches off", "get -w /j", "set /j 3")
    assert [d.get("command") for d in said].count(None) == 1
    event = next(d for d in said if "event" in d)
    assert event["event"] == "NodeDataChanged" and event["path"] == "/j"
    assert int(event["zxid"], 16) > 0


def test_acls_and_identities(tree):
    *_, acl, who, _ = documents(tree, "addauth digest me:pw",
                                "create /j/acl x auth::r,ip:1.2.3.4:w", "getAcl /j/acl", "whoami",
                                "delete /j/acl")    # deleteall could not look into it
    assert acl["acl"][1] == {"scheme": "ip", "id": "1.2.3.4", "perms": "w"}
    assert {"scheme": "digest", "id": "me"} in who["identities"]


def test_every_command_gives_one_document(tree, tmp_path):
    out = tmp_path / "e.txt"
    lines = ["addWatch /j", "addauth digest a:b", "config", "config -c", "create -e /j/e x",
             "getEphemerals", "delete /j/e", "getAcl /j", "setAcl /j world:anyone:cdrwa",
             "setAcl -R -s /j world:anyone:cdrwa", "history", "setquota -n 5 /j", "listquota /j",
             "delquota /j", "delquota /j", "listquota /j", "ls -?", "ls /", "printwatches",
             "redo 3", "redo", "removewatches /j", "sync /", "version", "whoami", "stat /j",
             "reconfig", "deleteall /j/b", "close", "ls /", "connect", "ls /", "quit"]
    more = [f"export /j {out}", f"import {out} /j2", "tree /j", "deleteall /j2", "explain ls /j",
            "explain bogus"]
    lines[-5:-5] = more
    said = [d for d in documents(tree, *lines) if "command" in d]
    assert [d["command"] for d in said] == [line.split()[0] for line in lines]
    assert not {"", None} & {key for d in said for key in d}


def test_not_connected_is_an_error(tree):
    close, ls, watches = documents(tree, "close", "ls /", "printwatches")
    assert close == {"command": "close"} and ls["error"]["message"] == "Not connected"
    assert watches["printwatches"] == "on" and watches["error"]["name"] == "CLOSING"


def test_binary_names_make_valid_json(tree):
    said = shells.run("zkcli", "-server", tree.address, "--json",
                      stdin=b"ls /\xff\xfe\nget \xc3\n\x01\n")
    commands = [json.loads(line)["command"] for line in said.raw_out.splitlines()]
    assert commands == ["ls", "get", "\x01"]
