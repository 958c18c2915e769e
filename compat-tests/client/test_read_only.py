"""Stock's read-only mode: a server without a quorum serves those who are content with it."""
import pathlib
import subprocess

import pytest

from harness import native
from harness.ensemble import Ensemble
from harness.servers import spawn

HERE = pathlib.Path(__file__).resolve().parent
PROPS = {"readonlymode.enabled": "true"}
# Stock lets a new session into a read-only server only when sessions may be local.
CONFIG = {"localSessionsEnabled": "true", "localSessionsUpgradingEnabled": "true"}


@pytest.fixture
def program(tmp_path):
    return native.program(tmp_path / "read_only", HERE / "read_only.c", flags=native.ASAN)


class Talk:
    def __init__(self, program, hosts):
        self.process = spawn([str(program), hosts], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                             text=True)

    def line(self):
        line = self.process.stdout.readline()
        assert line, "the client ended"
        return line.strip()

    def until(self, wanted):
        seen = [self.line()]
        while seen[-1] != wanted:
            seen.append(self.line())
        return seen

    def ask(self, what):
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()
        return [line for line in [*self.until(what), self.line()] if line != what]


@pytest.mark.timeout(180)
def test_a_read_only_server(program, tmp_path):
    """Reads are served, writes refused; when there is a quorum somewhere, the client goes there."""
    group = Ensemble(tmp_path, "jjj", config=CONFIG, props=PROPS)
    try:
        group.start_member(1)
        talk = Talk(program, group.address)
        talk.until("state READ_ONLY")
        assert talk.ask("read") == ["OK"]
        assert talk.ask("write") == ["NOTREADONLY"]
        group.start_member(2)
        group.start_member(3)
        talk.until("state CONNECTED")
        assert talk.ask("write") == ["OK"]
        talk.process.stdin.close()
        assert talk.process.wait(30) == 0
    finally:
        group.close()
