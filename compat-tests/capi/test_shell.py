"""A program that exists: stock's shell on its C client, as Debian compiled it, with our shared
library in the place of stock's."""
import os
import re
import subprocess
import threading

import pytest

from harness import cache
from harness.servers import reap, spawn

pytestmark = pytest.mark.timeout(400)

# (command, what comes at the end of its answer)
STEPS = [
    ("create ROOT", r"name ="), ("create ROOT", r"rc = -110"), ("create +e ROOT/e", r"name ="),
    ("create +s ROOT/s", r"name ="), ("create2 ROOT/two", r"ephemeralOwner"),
    ("set ROOT new data", r"ephemeralOwner"), ("get ROOT", r"ephemeralOwner"),
    ("exists ROOT/none", r"Error -101"), ("wexists ROOT/w", r"Error -101"),
    ("create ROOT/w", r"name ="), ("ls ROOT/w", r"rc = 0"), ("ls2 ROOT", r"ephemeralOwner"),
    ("ls ROOT/none", r"rc = -101"), ("sync ROOT", r"name ="), ("delete ROOT/none", r"rc = -101"),
    ("delete ROOT/w", r"/w: rc = 0"), ("myid", r"session Id"),
]


def answers(library, address, root):
    """What the shell says to each command, without what differs from run to run."""
    process = spawn(["stdbuf", "-oL", str(cache.debian_c_shell()), address],
                    env={**os.environ, "LD_LIBRARY_PATH": str(library)}, stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    guard = threading.Timer(30, process.kill)
    guard.start()
    said = []

    def read(until):
        for line in process.stdout:
            line = line.rstrip("\n")
            if "ZOO_" in line:
                continue
            said.append(masked(line, root))
            if re.search(until, line):
                return
        pytest.fail(f"the shell ended after {said[-10:]}")
    try:
        read("Got a new session id")
        for command, end in STEPS:
            said.append(f"> {command}")
            process.stdin.write(command.replace("ROOT", root) + "\n")
            process.stdin.flush()
            read(end)
        process.stdin.write("quit\n")
        process.stdin.flush()
        said += [masked(line, root) for line in process.stdout.read().split("\n")
                 if line and "ZOO_" not in line]
        assert process.wait() == 0
    finally:
        guard.cancel()
        reap(process)
    return said


def masked(line, root):
    line = line.replace(root, "ROOT")
    line = re.sub(r"^(time =).*", r"\1", line)
    line = re.sub(r"(?i)(session id:? =? ?)(0x)?[0-9a-f]+", r"\1ID", line)
    line = re.sub(r"((?:c|m|p)?zxid|[cm]time|ephemeralOwner)( ?= ?).*", r"\1", line)
    return line


def test_the_shell_says_the_same(server):
    stock = answers(cache.debian_c_client() / "lib", server.address, f"/shell-{os.getpid()}-a")
    ours = answers(cache.c_compat() / "shared", server.address, f"/shell-{os.getpid()}-b")
    assert "Watcher CREATED_EVENT state = CONNECTED_STATE for path ROOT/w" in ours
    # what watchers say may come before or after the answers
    assert sorted(ours) == sorted(stock)
