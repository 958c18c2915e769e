"""The shell on a terminal: editing, completion, history, Ctrl-C, Ctrl-D."""
import os
import pty
import re
import select
import signal
import stat
import subprocess
import termios
import time
from functools import cache

import pytest

import shells

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
            stderr=slave, start_new_session=True, env=shells.env(HOME=str(home), TERM="xterm"))
        os.close(slave)
        self.text = ""
        self.seen = 0

    def read(self, deadline):
        ready, _, _ = select.select([self.master], [], [], max(0, deadline - time.monotonic()))
        if not ready:
            return False
        try:
            part = os.read(self.master, 65536)
        except OSError:     # the other side is closed
            part = b""
        self.text += part.decode(errors="replace")
        return bool(part)

    def expect(self, pattern):
        """Waits for something new; returns the match."""
        deadline = time.monotonic() + TIMEOUT_S
        while not (match := re.search(pattern, self.text[self.seen:], re.S)):
            assert self.read(deadline), f"no {pattern!r} in {self.text[self.seen:]!r}"
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


@cache
def has_an_editor():
    master, slave = pty.openpty()
    process = subprocess.Popen([shells.program(), "-server", "127.0.0.1:1"], stdin=slave,
                               stdout=slave, stderr=slave, env=shells.env(HOME="/nonexistent"))
    os.close(slave)
    text = b""
    while not re.search(rb"(en|dis)abled", text):
        text += os.read(master, 4096)
    process.kill()
    process.wait()
    os.close(master)
    return b"enabled" in text


@pytest.fixture
def terminal(server, tmp_path):
    """Makes shells on terminals, with one home directory."""
    if not has_an_editor():
        pytest.skip("this zkcli has no line editor")
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
    ("\x1b[15~versio\x1b[1;5Dn\x00\x1f", "version"),
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
    screen.prompt()
    screen.type("\x04")
    assert screen.end() == 0
    path = tmp_path / ".zkcli_history"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "ls /none1\n" in path.read_text() and "secret" not in path.read_text()
    again = terminal()
    assert "ZooKeeper CLI version" in again.run(UP)
    assert again.run("history").strip() .endswith("1 - history"), "that of this run only"


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


def test_completion_without_a_server(tmp_path):
    if not has_an_editor():
        pytest.skip("this zkcli has no line editor")

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
