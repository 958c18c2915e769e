"""The shell against stock's: the recorded transcripts, and the same lines typed into both.

Where zkcli differs on purpose:
  usage list          has the commands that stock lacks, too
  version             names this program
  uncaught exceptions stock prints a stack trace and dies (non-numeric -v, bad base64, a bad path
                      for addWatch, redo of a word); zkcli says what stock's exception says, in one
                      line, and goes on with exit code 1
  a line of blanks    is ignored; stock takes the last blank for a command
  -client-configuration that is missing   one line instead of a stack trace; exit code 2 as in stock
  -timeout that is negative   is refused at once; stock takes it, and no command gets a connection
  one-shot commands   end the session, so that ephemerals go at once; stock leaves it to time out
  getEphemerals path  is below the chroot of the connect string, as all paths are; not in stock
  the session         what WARN lines there are about it (a refused identity, an expired session) go
                      to stderr, where stock's log goes to stdout
  ls -R -w            sets watches behind a node that may not be read, too: it does not read one by
                      one
  config -c           in the order of the configuration, not of a Java hash table
  on a terminal       Ctrl-C drops the line, or ends the command, and the prompt stays
  output that is lost (a full disk) is exit code 1
"""
import itertools
import re
import time
from pathlib import Path

import pytest

import shells

CONFIG = {"extendedTypesEnabled": "true"}
extended = pytest.mark.server(config=CONFIG)
CONNECTED = "WatchedEvent state:SyncConnected type:None path:null zxid: -1"
CLOSED = "WatchedEvent state:Closed type:None path:null zxid: -1"
GREETING = ["Connecting to <address>", "Welcome to ZooKeeper!", "JLine support is disabled"]


def golden():
    """[(title, [(line, {"O": [...], "E": [...], "W": [...]})])]"""
    sections = []
    for line in Path(__file__).with_name("golden.txt").read_text().splitlines():
        if line.startswith("## "):
            sections.append((line[3:], []))
        elif line.startswith("> "):
            sections[-1][1].append((line[2:], {"O": [], "E": [], "W": []}))
        elif line[1:2] == "|":
            sections[-1][1][-1][1][line[0]].append(line[2:])
    return sections


def masked(lines, address):
    """What may differ between two runs goes: the address, usage list, version; the order of
    identities, which the server keeps in a set."""
    text = "\n".join(lines).replace(address, "<address>")
    text = re.sub(r"^ZooKeeper -server host:port .*(\n\t.*)*", "<usage list>", text, flags=re.M)
    text = re.sub(r"(?<=CLI version: ).*", "<version>", text)
    text = re.sub(r"(?<=Auth scheme: User\n)(\w+: .*\n?)+",
                  lambda m: "".join(sorted(m.group().splitlines(True))), text)
    return text.split("\n") if text else []


def in_order(events):
    """Watches that are removed together are told in the order of a Java hash table: sorted."""
    out = []
    for removed, group in itertools.groupby(events, lambda event: "WatchRemoved" in event):
        out += sorted(group) if removed else group
    return out


def told(client, events, lines):
    """Stock ends at `quit` while another thread of it may yet have to tell of the close."""
    late = client == "stock" and lines[-1] == "quit" and events[-1:] != [CLOSED]
    return events + [CLOSED] if late else events


def without_values(lines):
    return [re.sub(r"^<stat>.*", "<stat>", line) for line in lines]


@pytest.mark.parametrize("client", shells.KINDS)
def test_golden(client, own_server):
    """All transcripts, one session after another."""
    server = own_server(CONFIG)
    for path in ("/app", "/app/d"):
        assert shells.run("zkcli", "-server", server.address, "create", path, "x").code == 0
    for title, lines in golden():
        said = shells.run(client, "-server", server.address, stdin="".join(
            line.replace("{address}", server.address) + "\n" for line, _ in lines))
        want = {stream: [text for _, said in lines for text in said[stream]] for stream in "OEW"}
        assert without_values(masked(said.out, server.address)) == \
            masked([*GREETING, *want["O"]], server.address), title
        assert masked(said.err, server.address) == want["E"], title
        assert told(client, said.events, [line for line, _ in lines]) == \
            [CONNECTED, *want["W"]], title


# --- the same lines for both shells, each in a tree of its own ---

_names = itertools.count(1)


def both(server, lines, *options):
    """What either says; they see their trees as the root."""
    said = []
    number = next(_names)
    for client in shells.KINDS:
        chroot = f"/{client[0]}{number:04}"
        assert shells.run("zkcli", "-server", server.address, "create", chroot).code == 0
        one = shells.run(client, "-server", server.address + chroot, *options,
                         stdin="".join(line + "\n" for line in lines))
        one.out = masked(one.out, server.address + chroot)
        one.err = masked(one.err, server.address + chroot)
        said.append(one)
    return said


def scripts():
    """{name: its lines}"""
    found = {}
    for line in Path(__file__).with_name("scripts.txt").read_text().split("\n"):
        if line.startswith("## "):
            found[line[3:]] = lines = []
        elif line.startswith("> "):
            lines.append(re.sub(r"\\(x..|u....|U........)", lambda escape: escape.group().encode(
                "latin-1").decode("unicode_escape"), line[2:]))
    return found


SCRIPTS = scripts()


@extended
@pytest.mark.parametrize("name", SCRIPTS)
def test_same_as_stock(name, server):
    ours, stock = both(server, SCRIPTS[name])
    assert ours.out == stock.out
    assert ours.err == stock.err
    assert in_order(ours.events) == in_order(told("stock", stock.events, SCRIPTS[name]))
    assert ours.code == stock.code


# --- what stock dies of is one line here ---

@pytest.mark.parametrize("line,message", [
    ("set /a -v abc x", 'java.lang.NumberFormatException: For input string: "abc"'),
    ("delete -v 99999999999 /a",
     'java.lang.NumberFormatException: For input string: "99999999999"'),
    ("setAcl -v x /a world:anyone:r", 'java.lang.NumberFormatException: For input string: "x"'),
    ("redo abc", 'java.lang.NumberFormatException: For input string: "abc"'),
    ("set -b /a $$$", "java.lang.IllegalArgumentException: Illegal base64 character 24"),
    ("addWatch a", "java.lang.IllegalArgumentException: Path must start with / character"),
])
def test_one_line_where_stock_dies(line, message, server):
    stock = shells.run("stock", "-server", server.address, line.split()[0], *line.split()[1:])
    if not line.startswith("redo"):
        assert stock.code == 1
    ours = shells.run("zkcli", "-server", server.address, stdin=f"{line}\nversion\n")
    assert len(ours.err) == 1 and ours.out[-1].startswith("ZooKeeper CLI version"), "it goes on"
    assert ours.err[0] == message or message.endswith(ours.err[0])
    if not line.startswith("redo"):
        assert message in stock.raw_err


def test_a_line_of_blanks_is_ignored(server):
    said = shells.run("zkcli", "-server", server.address, stdin="   \n\t\n\nhistory\n")
    assert said.err == [] and said.out[-1] == "0 - history"


# --- how it is called ---

ONE_SHOT = [
    ["ls", "/"], ["get", "/none"], ["stat", "/none"], ["create"], ["create", "/one", "a b c"],
    ["get", "/one"], ["get", "-s", "/one"], ["create", "/one"], ["bogus"], ["version"], ["history"],
    ["redo", "0"], ["redo"], ["printwatches"], ["printwatches", "off"], ["sync", "/"],
    ["get", "-q", "/one"], ["get", "/one", "--", "-x"], ["get", "/one", "true"], ["delete", "/one"],
    ["create", "/two", '"quoted"'], ["get", "/two"], ["create", "/é", "ü"], ["get", "/é"],
    ["getEphemerals"], ["whoami"], ["config"], ["config", "-c"], ["ls", "-?"], ["ls", ""], [""],
    ["setquota", "-n", "0", "/two"], ["deleteall", "/two"], ["reconfig", "-remove", "1"],
    ["close"], ["reconfig"], ["reconfig", "-v", "zz", "-add", "x"],
    ["reconfig", "-v", "0x1", "-add", "x"], ["reconfig", "-f", "x"], ["reconfig", "-file=x"],
    ["reconfig", "-add", "x", "-members", "y"], ["reconfig", "-file", "/nonexistent"],
    ["reconfig", "-file", "/nonexistent", "-members", "a"], ["quit"],
]


@pytest.mark.timeout(300)
def test_one_shot(server):
    """Exit code, stdout and stderr of each, as stock's; only that the session is closed shows."""
    for words in ONE_SHOT:
        ours, stock = (shells.run(client, "-server", server.address, "-waitforconnection", *words)
                       for client in shells.KINDS)
        for said in (ours, stock):
            said.out, said.err = (masked(lines, server.address) for lines in (said.out, said.err))
            shells.run("zkcli", "-server", server.address, "deleteall", "/one")
            if words[:2] != ["create", "/one"]:
                shells.run("zkcli", "-server", server.address, "create", "/one", "a b c")
        assert (ours.code, ours.out, ours.err) == (stock.code, stock.out, stock.err) or \
            words[0] in ("create", "delete", "deleteall"), words
        assert ours.events[:1] == [CONNECTED] and stock.events[:1] == [CONNECTED], words


def test_quit_waits_for_the_connection(server):
    """Without -waitforconnection, too. Stock does so if it has begun to connect by then, which is
    mostly the case but nothing to rely on in a test."""
    said = shells.run("zkcli", "-server", server.address, "quit")
    assert said.events == [CONNECTED, CLOSED] and said.code == 0
    said = shells.run("zkcli", "-server", server.address, stdin="connect\nclose\n")
    assert said.events == [CONNECTED, CLOSED] * 2 and said.code == 0


def test_quit_without_a_server():
    said = shells.run("zkcli", "-server", "127.0.0.1:1,127.0.0.1:2", "quit")
    assert said.events == [CLOSED] and said.code == 0


def test_exit_codes(own_server):
    server = own_server()
    for words, code in (["create /a/b", 1], ["create /m", 0], ["create /m", 1], ["nope", 127],
                        ["quit", 0], ["ls -z", 1], ["get", 1], ["set /m -v x 1", 1]):
        assert shells.run("zkcli", "-server", server.address, *words.split()).code == code, words


@pytest.mark.parametrize("client", shells.KINDS)
def test_a_script_ends_with_the_code_of_its_last_command(client, server):
    for lines, code in ((["ls /none"], 1), (["ls /none", "ls /"], 0), (["bogus"], 127),
                        (["ls /none", "quit"], 1), (["bogus", "close"], 0), ([], 0)):
        said = shells.run(client, "-server", server.address, stdin="".join(f"{l}\n" for l in lines))
        assert said.code == code, lines


@pytest.mark.parametrize("client", shells.KINDS)
def test_a_missing_argument(client, server):
    said = shells.run(client, "-server", server.address, "-r", "-nonsense", "-server")
    assert said.err == ["Error: no argument found for option -server"]
    assert said.out[:2] == [f"Connecting to {server.address}", "Welcome to ZooKeeper!"]


@pytest.mark.parametrize("client", shells.KINDS)
def test_a_timeout_that_is_no_number(client, server):
    said = shells.run(client, "-server", server.address, "-timeout", "abc", "ls", "/")
    assert said.err == ['java.lang.NumberFormatException: For input string: "abc"']
    assert said.code == 1


def test_a_timeout_that_is_negative(server):
    said = shells.run("zkcli", "-server", server.address, "-timeout", "-5", "ls", "/")
    assert said.err == ["-timeout cannot be negative: -5"] and said.code == 1
    assert shells.run("stock", "-server", server.address, "-timeout", "-5", "ls", "/").code == 1


@pytest.mark.parametrize("client", shells.KINDS)
def test_a_configuration_that_is_missing(client, server):
    said = shells.run(client, "-server", server.address, "-client-configuration", "/none", "ls",
                      "/")
    assert said.code == 2 and "Error while processing /none" in said.raw_err


def test_client_configuration(server, tmp_path):
    path = tmp_path / "client.properties"
    path.write_text("# keys\njute.maxbuffer = 200\n zookeeper.request.timeout: 4000\nother=1\n\n")
    said = shells.run("zkcli", "-server", server.address, "-client-configuration", path, "create",
                      "/large", "x" * 500)
    assert said.code == 1 and said.err, "larger than jute.maxbuffer"
    path.write_text("zookeeper.client.secure=true\n")
    said = shells.run("zkcli", "-server", server.address, "-client-configuration", path, "ls", "/")
    assert said.code == 2 and "TLS" in said.raw_err
    said = shells.run("zkcli", "-server", server.address, "ls", "/",
                      CLIENT_JVMFLAGS="-Xmx1g -Dzookeeper.client.secure=true")
    assert said.code == 2


@pytest.mark.parametrize("client", shells.KINDS)
@pytest.mark.parametrize("words,err", [
    (["ls", "/"], ["KeeperErrorCode = ConnectionLoss for /"]),
    (["-waitforconnection", "ls", "/"],
     ["java.io.IOException: org.apache.zookeeper.KeeperException$ConnectionLossException:"
      " KeeperErrorCode = ConnectionLoss"]),
    (["deleteall", "/a"], ["KeeperErrorCode = ConnectionLoss for /a"]),
    (["sync", "/"], []), (["whoami"], []), (["version"], []),
])
def test_no_server(client, words, err):
    began = time.monotonic()
    said = shells.run(client, "-server", "127.0.0.1:1", "-timeout", "2000", *words)
    assert said.err == err and said.code == (1 if err else 0)
    assert time.monotonic() - began < 10
    if words == ["sync", "/"]:
        assert said.out[-1] == "Sync has failed. rc=-4"
    if words == ["whoami"]:
        assert said.out[-1] == "Auth scheme: User"


@pytest.mark.parametrize("hosts", ["", ":", "a:b", "127.0.0.1:99999", "127.0.0.1:1/a/", "/",
                                   "[::1"])
def test_bad_addresses(hosts):
    said = shells.run("zkcli", "-server", hosts, "-timeout", "500", "ls", "/")
    assert said.code == 1 and len(said.err) == 1


@pytest.mark.parametrize("refused", ["addauth nosuch x", "addauth digest"])
def test_auth_that_is_refused(refused, server):
    """The handle is dead; connect makes a new one. Refusal comes at some time after addauth."""
    lines = ["ls /", refused, *["sync /"] * 3, "addauth digest a:b c", "printwatches", "connect",
             "version"]
    for client in shells.KINDS:
        said = shells.run(client, "-server", server.address, stdin="\n".join(lines))
        assert "WatchedEvent state:AuthFailed type:None path:null zxid: -1" in said.events
        assert said.out[-4:-1] == ["Not connected", "printwatches is on", "Not connected"], client
        assert said.out[-1].startswith("ZooKeeper CLI version") and said.code == 0


def test_binary_bytes_in_a_script(server):
    said = shells.run("zkcli", "-server", server.address,
                      stdin=b"create /bin \xff\xfe\xc3\nget -b /bin\nls /\xff\n\x00\nls /\r\n"
                            b"version")
    assert "//7D" in said.out
    assert "ls /\\xff" not in said.raw_out and len(said.err) >= 2
    assert said.out[-1].startswith("ZooKeeper CLI version"), "a last line without its end"


def test_the_session_ends_with_the_command(server):
    """Unlike stock's, which leaves its ephemerals until the session times out."""
    assert shells.run("zkcli", "-server", server.address, "create", "-e", "/brief", "x").code == 0
    assert shells.run("zkcli", "-server", server.address, "get", "/brief").code == 1


def test_it_starts_in_milliseconds(server):
    times = []
    for _ in range(5):
        began = time.monotonic()
        assert shells.run("zkcli", "-server", server.address, "version").code == 0
        times.append(time.monotonic() - began)
    assert min(times) < 0.1


def test_many_nodes(own_server):
    """More than are in flight at a time, of ls -R and of deleteall."""
    server = own_server(CONFIG)
    lines = ["create /big"] + [f"create /big/{i}" for i in range(2000)]
    assert shells.run("zkcli", "-server", server.address, stdin="\n".join(lines)).code == 0
    said = shells.run("zkcli", "-server", server.address, "ls", "-R", "/big")
    assert len(said.out) == 2002 and said.out[1:4] == ["/big", "/big/0", "/big/1"]
    said = shells.run("zkcli", "-server", server.address, "deleteall", "-b", "300", "/big")
    assert said.code == 0
    assert shells.run("zkcli", "-server", server.address, "ls", "/big").code == 1
