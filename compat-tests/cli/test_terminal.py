"""The shell on a terminal: editing, completion, history, Ctrl-C, Ctrl-D."""
import codecs
import fcntl
import os
import pty
import re
import select
import signal
import stat
import subprocess
import termios
import time
from pathlib import Path

import pytest

import shells
from harness.servers import wait_for

TIMEOUT_S = 15
UP, DOWN, RIGHT, LEFT, HOME, END = (f"\x1b[{letter}" for letter in "ABCDHF")
DELETE = "\x1b[3~"


class Screen:
    """A shell on a pseudo terminal. `text` is all that it wrote."""

    def __init__(self, home, server, *options, columns=100):
        self.master, slave = pty.openpty()
        termios.tcsetwinsize(slave, (24, columns))
        self.before = termios.tcgetattr(slave)
        self.process = subprocess.Popen(
            [shells.program(), "-server", server.address, *options], stdin=slave, stdout=slave,
            stderr=slave, start_new_session=True, env=shells.env(HOME=str(home), TERM="xterm"),
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        os.close(slave)
        self.text = ""
        self.decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self.seen = 0

    def read(self, deadline):
        ready, _, _ = select.select([self.master], [], [], max(0, deadline - time.monotonic()))
        if not ready:
            return False
        try:
            part = os.read(self.master, 65536)
        except OSError:     # the other side is closed
            part = b""
        self.text += self.decode(part)
        return bool(part)

    def expect(self, pattern):
        """Waits for something new; returns the match."""
        deadline = time.monotonic() + TIMEOUT_S
        while not (match := re.search(pattern, self.text[self.seen:], re.S)):
            assert self.read(deadline), f"no {pattern!r} in {self.text[self.seen:][:1000]!r}"
        self.seen += match.end()
        return match

    def prompt(self, n=None):
        return self.expect(rf"\[zk: \S+\((\w+)\) {r'[0-9]+' if n is None else n}\] ")

    def type(self, keys):
        os.write(self.master, keys.encode())
        return self

    def run(self, line, n=None):
        """Types a line and returns what the command prints."""
        self.prompt(n)
        self.type(line + "\r")
        self.expect(r"\r\n")
        return self.expect(r"(.*?)(?=\r\[zk: )").group(1)

    def asleep(self):
        """Waits until the shell waits for something."""
        with open(f"/proc/{self.process.pid}/stat", encoding="ascii") as said:
            def state():
                said.seek(0)
                return said.read().rpartition(")")[2].split()[0]
            wait_for(lambda: state() == "S", TIMEOUT_S, "the shell")

    def end(self):
        deadline = time.monotonic() + TIMEOUT_S
        while self.read(deadline):
            pass
        return self.process.wait(TIMEOUT_S)

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.master)


@pytest.fixture
def terminal(server, tmp_path):
    """Makes shells on terminals, with one home directory."""
    made = []

    def make(*options, **more):
        made.append(Screen(tmp_path, server, *options, **more))
        return made[-1]
    yield make
    for screen in made:
        screen.close()


def test_greeting_and_prompt(terminal, server):
    screen = terminal()
    screen.expect("Connecting to .*Welcome to ZooKeeper!\r\nJLine support is enabled\r\n")
    assert screen.prompt(0).group(1) in ("CONNECTED", "CONNECTING")
    screen.type("ls /none\r").expect("Node does not exist: /none\r\n")
    assert screen.prompt(1).group(1) == "CONNECTED"
    screen.type("close\r").expect("state:Closed")
    assert screen.prompt(2).group(1) == "CLOSED"
    screen.type("ls /none\r").expect("Not connected")
    screen.prompt(3)
    screen.type("\x04")
    assert screen.end() == 0 and "JLine support is disabled" in screen.text


@pytest.mark.parametrize("keys,line", [
    ("version", "version"),
    (f"ersion{HOME}v", "version"),
    (f"ersion\x01v", "version"),
    (f"vrsion{LEFT * 5}e{END}", "version"),
    (f"versio{LEFT * 2}{RIGHT * 2}n", "version"),
    (f"versio\x02\x02\x05n", "version"),
    (f"verrsion{LEFT * 4}\x7f", "version"),
    (f"verrsion{HOME}{RIGHT * 2}{DELETE}", "version"),
    (f"verrsion{HOME}{RIGHT * 2}\x04", "version"),
    ("junk\x15version", "version"),
    (f"version junk{LEFT * 5}\x0b", "version"),
    ("version junk more\x17\x17", "version"),
    ("\x1bOHversion\x1bOF", "version"),
    ("\x1b[1~version\x1b[4~", "version"),
    ("\x1b[15~versio\x1b[1;9Zn\x00\x1f", "version"),
    ("more junk\x1bb\x1bb\x1bd\x1bdversion", "version"),
    ("version more junk\x1b[1;5D\x1b[1;3D\x0b", "version"),
    ("rsion\x1bbve\x1bf junk\x1b\x7f", "version"),
    ("rsion\x1b[1;5Dve\x1b[1;5C", "version"),
    ("junk \x0cversion\x01\x1bd\x1b[3~", "version"),
    (f"version{LEFT * 50}{RIGHT * 50}\x7f\x7f{HOME}\x7f\x08{END}on", "version"),
])
def test_editing(terminal, keys, line):
    screen = terminal()
    screen.prompt(0)
    screen.type(keys + "\r").expect("ZooKeeper CLI version: ")
    screen.prompt(1)
    screen.type("history\r").expect(f"0 - {line} ?\r\n")


def test_editing_characters_of_several_bytes(terminal):
    screen = terminal()
    assert "does not exist: /aé日" in screen.run(f"get /aéx日{LEFT}\x7f{END}")
    assert "does not exist: /日" in screen.run(f"get /é日{LEFT * 2}{DELETE}")


def test_wide_characters(terminal):
    """The cursor stands behind the columns that they take, and no character is shown in half."""
    screen = terminal(columns=60)
    prompt = len(screen.prompt(0).group())
    screen.type("get /日e\u0301é😀").expect(rf"日e\u0301é😀\x1b\[K\r\x1b\[{prompt + 5 + 6}C$")
    screen.type("é日" * 40 + "\r").expect("Invalid path string .* caused by invalid character @5")
    assert "\ufffd" not in screen.text


def test_long_lines(terminal):
    """They are shown in part, and are whole all the same."""
    screen = terminal(columns=40)
    name = "".join(chr(97 + i % 26) for i in range(300))
    assert f"does not exist: /{name}" in screen.run(f"get /{name}").replace("\r\n", "")
    shown = re.findall(r"\r(\[zk: [^\r\x1b]*)\x1b\[K", screen.text)
    assert max(map(len, shown)) < 40 + 1


def test_history_of_lines(terminal, tmp_path):
    screen = terminal()
    for line in ("ls /none1", "ls /none2", "addauth digest me:secret", "ls /none3"):
        screen.run(line)
    assert "/none2" in screen.run(UP * 3)
    assert "/none1" in screen.run(UP * 5)
    assert "/none3" in screen.run(f"{UP * 9}{DOWN * 3}")
    assert "version" in screen.run(f"{UP}{DOWN}version")
    screen.run('"addauth" digest me:secret')
    screen.run("explain addauth digest me:secret")
    screen.prompt()
    screen.type("\x04")
    assert screen.end() == 0
    path = tmp_path / ".zkcli_history"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "ls /none1\n" in path.read_text() and "secret" not in path.read_text()
    again = terminal()
    assert "ZooKeeper CLI version" in again.run(UP)
    assert again.run("history").strip() .endswith("1 - history"), "that of this run only"


def test_history_is_searched(terminal, tmp_path):
    (tmp_path / ".zkcli_history").write_text("ls /one/a\nls /two\nget /öne\nls /one/b\nversion\n")
    screen = terminal()
    screen.prompt(0)
    screen.type("\x12one").expect(r"\(search\)`one': ls /one/b")
    screen.type("\x12\r").expect("does not exist: /one/a")
    screen.prompt(1)
    screen.type("\x12two\x7f\x7f\x7fönx\x7fe").expect("`öne': get /öne")
    screen.type("\x01\x1b[C\r").expect("does not exist: /öne")
    screen.prompt(2)
    screen.type("\x12none of them\x12\x07version\r").expect("CLI version")
    screen.prompt(3)
    screen.type("\x12\x12\x03").expect(r"\^C")
    screen.prompt(3)


def test_a_history_that_has_grown_is_cut(terminal, tmp_path):
    path = tmp_path / ".zkcli_history"
    path.write_text("".join(f"get /{i}\n" for i in range(3000)))
    terminal().prompt(0)
    assert path.read_text() == "".join(f"get /{i}\n" for i in range(2000, 3000))


def test_completion_of_commands(terminal):
    screen = terminal()
    screen.prompt(0)
    screen.type("vers\t\r").expect("ZooKeeper CLI version: ")
    screen.prompt(1)
    screen.type("getA\t\t").expect(r"getAcl  getAllChildrenNumber\r\n")
    screen.type("ll\t/no-such\r").expect("Node does not exist: /no-such")
    screen.prompt(2)
    screen.type("history\r").expect("1 - getAllChildrenNumber /no-such\r\n")


def test_completion_of_paths(terminal, server):
    for path in ("/tab", "/tab/one", "/tab/other", "/tab/other/x", "/tab/two"):
        shells.run("zkcli", "-server", server.address, "create", path, "it")
    screen = terminal()
    screen.prompt(0)
    screen.type("get /tab/t\t\r").expect("it\r\n")
    screen.prompt(1)
    screen.type("get /tab/o\t\t").expect("one  other\r\n")
    screen.type("th\t\x7f/\t\r").expect("it\r\n")
    screen.prompt(2)
    screen.type("get /none/\t\tzzz\t\r").expect("does not exist: /none/zzz")
    screen.prompt(3)
    screen.type("history\r").expect("0 - get /tab/two ?\r\n1 - get /tab/other/x ?\r\n")


def test_completion_with_quotes(terminal, server):
    paths = ["/tab q", "/tab q/one two", "/tab q/one two/x", "/tab q/one three", '/tab q/q "q" q']
    for path in paths:
        assert shells.run("zkcli", "-server", server.address, "create", path, "=" + path).code == 0
    screen = terminal()
    screen.prompt(0)
    for n, keys in enumerate(["get /tab\\ q", "get '/tab q/one th\t", 'get "/tab q/one tw\t']):
        screen.type(keys + "\r").expect(r"/tab\\\r|=/tab q/one three|=/tab q/one two\r")
        screen.prompt(n + 1)
    screen.type("get \"/tab q/o\t\t").expect("one three  one two\r\n")
    screen.type("w\t\x7f\x7f/\t\r").expect("=/tab q/one two/x\r\n")
    screen.prompt(4)
    screen.type("get '/tab q/q\t\x7f\x7f\t \r").expect("\r\n")
    screen.prompt(5)
    screen.type("history\r").expect('2 - get "/tab q/one two" ?\r\n'
                                    '3 - get "/tab q/one two/x" ?\r\n')


def test_completion_puts_quotes(terminal, server):
    for path in ("/put it", "/put it/there", '/pur"e" it'):
        assert shells.run("zkcli", "-server", server.address, "create", path, "=" + path).code == 0
    screen = terminal()
    screen.prompt(0)
    screen.type("get /put\t\r").expect("=/put it\r\n")
    screen.prompt(1)
    screen.type("get /pur\t\r").expect('=/pur"e" it\r\n')
    screen.prompt(2)
    screen.type("get /put\t\x7f\x7f/t\t\r").expect("=/put it/there\r\n")
    screen.prompt(3)
    screen.type("history\r").expect("""0 - get "/put it" ?\r\n1 - get '/pur"e" it' ?\r\n"""
                                    """2 - get "/put it/there" ?\r\n""")


def test_completion_without_a_server(tmp_path):
    class Nowhere:
        address = "127.0.0.1:1"
    screen = Screen(tmp_path, Nowhere)
    try:
        screen.prompt(0)
        screen.type("ls /a\t\r").expect("KeeperErrorCode = ConnectionLoss for /a")
    finally:
        screen.close()


def test_control_c_drops_the_line(terminal):
    screen = terminal()
    screen.prompt(0)
    screen.type("bogus\x03").expect(r"\^C\r\n")
    screen.prompt(0)
    screen.type("version\r").expect("CLI version")
    screen.prompt(1)


def test_control_c_ends_a_command(terminal):
    screen = terminal()
    screen.prompt(0)
    screen.type("connect 192.0.2.1:2181\r")
    screen.prompt(1)
    screen.type("ls /\r").expect(r"\r\n")
    os.kill(screen.process.pid, signal.SIGINT)
    screen.expect("KeeperErrorCode = ConnectionLoss for /")
    screen.prompt(2)


@pytest.fixture
def hanging(own_server, tmp_path):
    """(a shell that has done one command, its server as a process to be stopped and continued)"""
    server = own_server()
    screen = Screen(tmp_path, server)
    screen.run("create /x")

    def stopped():
        states = [path.read_text().rpartition(")")[2].split()[0]
                  for path in Path(f"/proc/{server.pid}/task").glob("*/stat")]
        return set(states) == {"T"}

    def kill(number):
        os.kill(server.pid, number)
        if number == signal.SIGSTOP:  # which the sender need not wait for
            wait_for(stopped, 10, "the server to stand still")
    yield screen, kill
    os.kill(server.pid, signal.SIGCONT)
    screen.close()


@pytest.mark.parametrize("command", ["ls /", "ls -R /", "deleteall /x", "deleteall -b 0 /x",
                                     "whoami", "tree /", "export /x /dev/null"])
def test_control_c_when_the_server_hangs(hanging, command):
    screen, kill = hanging
    screen.prompt(1)
    kill(signal.SIGSTOP)
    screen.type(command + "\r").expect(r"\r\n")
    screen.type("\x03")
    screen.prompt(2)
    screen.type("get /x\t").expect("get /x")
    screen.type("\x03").expect(r"\^C\r\n")
    kill(signal.SIGCONT)
    screen.prompt(2)
    screen.type("create /again\r").expect("Created /again")


def test_control_c_ends_a_watch(terminal, server):
    shells.run("zkcli", "-server", server.address, "create", "/eyed", "x")
    screen = terminal()
    screen.prompt(0)
    screen.type("watch /eyed\r")
    wait_for(lambda: b"Total watches:0" not in server.four("wchs"), 10, "the watch")
    shells.run("zkcli", "-server", server.address, "set", "/eyed", "y")
    screen.expect(r"NodeDataChanged /eyed zxid: \d+\r\ny\r\n")
    screen.type("\x03")
    screen.prompt(1)
    assert b"Total watches:0" in server.four("wchs")
    screen.type("version\r").expect("CLI version")


def test_progress_of_long_work(hanging, tmp_path):
    """It is said when it takes long, and wiped away at the end."""
    screen, kill = hanging
    file, n = tmp_path / "many", 20000
    file.write_text("".join(f'{{"path":"/many{name}"}}\n' for name in
                            ("", *(f"/{i}" for i in range(n)))))
    for number, (command, progress, done) in enumerate([
            (f"import {file}", "imported", rf"Nodes imported: {n + 1}"),
            ("ls -R /many", "read", rf"/many/{n - 1}\r\n"),
            (f"export /many {tmp_path / 'out'}", "read", f"Nodes exported: {n + 1}"),
            ("setAcl -R /many world:anyone:cdrwa", "read", ""),
            ("deleteall /many", "read", "")], 1):
        screen.prompt(number)
        kill(signal.SIGSTOP)
        screen.type(command + "\r").expect(rf"\r{progress} \d+ nodes")
        kill(signal.SIGCONT)
        screen.expect(r"\r\x1b\[K.*" + done)
    screen.prompt(number + 1)
    screen.type("ls /\r").expect(r"\[x, zookeeper\]")


def test_sigterm_ends_the_shell_after_the_command(hanging):
    screen, kill = hanging
    screen.prompt(1)
    kill(signal.SIGSTOP)
    screen.type("ls /\r").expect(r"\r\n")
    screen.asleep()  # before that, the signal would end the shell before the command
    os.kill(screen.process.pid, signal.SIGTERM)
    assert screen.end() == 1


def test_control_z(terminal):
    screen = terminal()
    screen.prompt(0)
    screen.type("vers\x1a")
    screen.asleep()  # the shell leads its session, whose processes the kernel does not stop so
    screen.type("ion\r").expect("CLI version")


def test_control_d(terminal):
    screen = terminal()
    screen.run("ls /none")
    screen.prompt(1)
    screen.type("x\x04\x7f\x04")
    assert screen.end() == 1, "the code of the last command"


def test_the_terminal_is_left_as_it_was(terminal):
    screen = terminal()
    screen.prompt(0)
    assert termios.tcgetattr(screen.master)[3] != screen.before[3]
    screen.type("version\r")
    screen.prompt(1)
    screen.type("quit\r")
    assert screen.end() == 0
    assert termios.tcgetattr(screen.master)[3] == screen.before[3]


def test_a_signal_while_a_line_is_typed(terminal):
    screen = terminal()
    screen.prompt(0)
    screen.type("junk").expect("junk")
    os.kill(screen.process.pid, signal.SIGTERM)
    assert screen.end() == 0
    assert termios.tcgetattr(screen.master)[3] == screen.before[3]


def test_events_while_a_line_is_typed(terminal, server):
    shells.run("zkcli", "-server", server.address, "create", "/seen", "x")
    screen = terminal()
    screen.run("get -w /seen")
    screen.prompt(1)
    screen.type("vers").expect("vers")
    shells.run("zkcli", "-server", server.address, "set", "/seen", "y")
    screen.expect("WatchedEvent state:SyncConnected type:NodeDataChanged path:/seen")
    screen.expect(r"\[zk: \S+ 1\] vers")
    screen.type("ion\r").expect("CLI version")


def test_blank_lines_do_not_count(terminal):
    screen = terminal()
    screen.prompt(0)
    screen.type("\r")
    screen.prompt(0)
    screen.type("   \r")
    screen.prompt(0)
