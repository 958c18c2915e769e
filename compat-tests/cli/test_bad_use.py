"""Streams, sessions and data that are not as one would wish."""
import base64
import json
import os
import signal
import subprocess

import pytest

import shells
from harness.servers import wait_for

EXPIRED = "WatchedEvent state:Expired type:None path:null zxid: -1"


def start(server, *words, **more):
    return subprocess.Popen([shells.program(), "-server", server.address, *words],
                            env=shells.env(), **more)


@pytest.fixture
def many(server, tmp_path_factory):
    """A server with a node that has 20,000 children."""
    if shells.run("zkcli", "-server", server.address, "stat", "/many").code:
        file = tmp_path_factory.mktemp("many") / "nodes"
        file.write_text("".join(f'{{"path":"/many{name}"}}\n' for name in
                                ("", *(f"/{i:06}" for i in range(20000)))))
        assert shells.run("zkcli", "-server", server.address, "import", file).code == 0
    return server


@pytest.mark.parametrize("options", [[], ["--json"]])
@pytest.mark.parametrize("script", [False, True])
def test_a_pipe_that_is_closed(many, options, script):
    """The reader has seen enough: the shell ends, silently, as programs do."""
    words = [] if script else ["ls", "-R", "/many"]
    process = start(many, *options, *words, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE)
    if script:
        process.stdin.write(b"ls -R /many\n" * 20)
        process.stdin.flush()
    assert process.stdout.read(100)
    process.stdout.close()
    assert process.wait(20) == -signal.SIGPIPE
    assert process.stderr.read() == b""


def test_large_output_is_whole(many):
    said = shells.run("zkcli", "-server", many.address, stdin="ls /many\nls -R /many\n")
    assert len(said.out[-20002].split(", ")) == 20000 and said.out[-1] == "/many/019999"


@pytest.mark.parametrize("words", [["ls", "/"], ["--json", "ls", "/"], ["version"]])
def test_output_that_cannot_be_written(server, words):
    with open("/dev/full", "wb") as full:
        process = start(server, *words, stdout=full, stderr=subprocess.PIPE)
        assert process.stderr.read() == b"zkcli: output was lost\n" and process.wait(10) == 1


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_streams_that_are_closed(server, closed):
    """None of their numbers becomes the connection."""
    line = f'"{shells.program()}" -server {server.address} {{}} {closed}'
    lost = ">&-" in closed.replace("2>&-", "")
    for words, code, there in (("get /none", 1, False), ("create /closed x", 0, True),
                               ("delete /closed", 0, False)):
        done = subprocess.run(["sh", "-c", line.format(words)], capture_output=True, timeout=20,
                              env=shells.env())
        assert done.returncode == (1 if lost else code), done
        assert (shells.run("zkcli", "-server", server.address, "get", "/closed").code == 0) == there


def test_a_session_that_expires_in_a_script(own_server):
    """What comes after it finds no connection, as in stock, until there is a new one."""
    server = own_server()
    process = start(server, "-timeout", "4000", stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE)
    text = bytearray()

    def until(part):
        while part not in text:
            more = os.read(process.stdout.fileno(), 4096)
            assert more, bytes(text)
            text.extend(more)

    process.stdin.write(b"create -e /mine x\nget /mine\n")
    process.stdin.flush()
    until(b"\nx\n")
    process.send_signal(signal.SIGSTOP)
    wait_for(lambda: shells.run("zkcli", "-server", server.address, "get", "/mine").code, 20,
             "the end of the session")
    process.send_signal(signal.SIGCONT)
    until(b"state:Expired")
    out, err = process.communicate(b"get /mine\nversion\nconnect\nget /mine\ncreate /mine y\n"
                                   b"get /mine\n", timeout=20)
    said = shells.read(process.returncode, bytes(text) + out, err)
    assert EXPIRED in said.events and said.code == 0
    assert said.out[3:] == ["x", "Not connected", "Not connected", "y"]
    assert said.err[-2:] == ["Node does not exist: /mine", "Created /mine"]


def test_a_server_that_goes_and_comes_back(own_server):
    server = own_server()
    process = start(server, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdin.write(b"create /a x\nget /a\n")
    process.stdin.flush()
    text = b""
    while b"\nx\n" not in text:
        text += process.stdout.readline()
    server.stop()
    process.stdin.write(b"get /a\n")
    process.stdin.flush()
    assert process.stderr.readline() == b"Created /a\n"
    assert process.stderr.readline() == b"KeeperErrorCode = ConnectionLoss for /a\n"
    server.start()
    out, err = process.communicate(b"get /a\n", timeout=20)
    assert out.decode().endswith("x\n") and err == b"" and process.returncode == 0


@pytest.mark.parametrize("client", shells.KINDS)
def test_data_with_zero_bytes(client, server):
    text = base64.b64encode(b"a\0b\0\n\0").decode()
    said = shells.run(client, "-server", server.address, stdin=f"create /zeros x\n"
                      f"set -b /zeros {text}\nget /zeros\nget -b /zeros\nget -x /zeros\n"
                      "delete /zeros\n")
    assert "\na\0b\0\n\0\n" in said.raw_out and text in said.out
    row = "|00000000| 61 00 62 00 0a 00"
    assert f"{row:59}|a.b...          |" in said.out


@pytest.mark.parametrize("options,code,name", [
    (["-timeout", "abc"], 1, "BADARGUMENTS"),
    (["-timeout", "-5"], 1, "BADARGUMENTS"),
    (["-server", "a:b"], 1, "BADARGUMENTS"),
    (["-client-configuration", "/none"], 2, "SYSTEMERROR"),
    (["-server", "127.0.0.1:1", "-timeout", "500", "-waitforconnection"], 1, "CONNECTIONLOSS"),
])
def test_what_goes_wrong_at_the_start_is_json_too(options, code, name):
    said = shells.run("zkcli", "--json", *options, "ls", "/")
    assert said.code == code and said.raw_err == ""
    assert json.loads(said.raw_out)["error"]["name"] == name


def test_help():
    said = shells.run("zkcli", "--help")
    assert said.code == 0 and said.err == []
    assert all(word in said.raw_out for word in ("--json", "-waitforconnection", "\texplain "))
