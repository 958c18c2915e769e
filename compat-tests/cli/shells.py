"""The two shells, zkcli and stock's ZooKeeperMain, run alike; what they print, made comparable.

Stock runs without JLine, as a pipe would have it, and logs nothing. What is masked, and why:
  events       the four lines of each are taken out of stdout and kept apart: stock prints them from
               another thread, so that their place among the other lines is not fixed
  zxid         of an event: depends on all that the server has done before
  stat         eleven lines become one when each has its form: zxids and times differ
  stack trace  lines of it go, and what stands before the exception
"""
import os
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from functools import cache as once
from pathlib import Path

from harness import cache, servers

TIMEOUT_S = 60
KINDS = ("zkcli", "stock")
HEX, NUMBER = r"0x[0-9a-f]+", r"-?\d+"
TIME = r"\w{3} \w{3} \d\d \d\d:\d\d:\d\d \S+ \d{4}"
STAT = [("cZxid", HEX), ("ctime", TIME), ("mZxid", HEX), ("mtime", TIME), ("pZxid", HEX),
        ("cversion", NUMBER), ("dataVersion", NUMBER), ("aclVersion", NUMBER),
        ("ephemeralOwner", HEX), ("dataLength", NUMBER), ("numChildren", NUMBER)]
STAT_LINES = [re.compile(f"{name} = {form}") for name, form in STAT]
# Of a stat that was masked, what depends on nothing but the script.
STAT_KEPT = ("cversion", "dataVersion", "aclVersion", "dataLength", "numChildren")


def program():
    """The shell under test: $ZKCLI, else zkcli at the top of the repository."""
    path = shutil.which(os.environ.get("ZKCLI") or str(servers.REPO / "zkcli"))
    assert path, "no zkcli: build it first, or name it in the environment as ZKCLI"
    return path


@once
def stock_command():
    """Without JLine, and with logging switched off."""
    jars = [str(jar) for jar in sorted(Path(cache.java_jars()).glob("*.jar"))
            if not re.match(r"jline|logback|slf4j-simple", jar.name)]
    return ("java", *servers.JVM, "-Dfile.encoding=UTF-8", "-Dsun.stdout.encoding=UTF-8",
            "-Dsun.stderr.encoding=UTF-8", "-cp", os.pathsep.join(jars),
            "org.apache.zookeeper.ZooKeeperMain")


def command(kind):
    return (program(),) if kind == "zkcli" else stock_command()


def env(**more):
    clean = {key: value for key, value in os.environ.items() if "JVMFLAGS" not in key}
    return {**clean, "TZ": "UTC", "LC_ALL": "C.UTF-8", **more}


@dataclass
class Said:
    code: int
    out: list = field(default_factory=list)     # lines of stdout without events, stats masked
    err: list = field(default_factory=list)
    events: list = field(default_factory=list)
    raw_out: str = ""
    raw_err: str = ""


def take_events(lines):
    """(other lines, events). Each event is two prints, of an empty line and one more."""
    rest, events = [], []
    for line in lines:
        event = line.startswith("WatchedEvent ")
        if rest and rest[-1] == "" and (event or line == "WATCHER::"):
            rest.pop()
            if event:
                events.append(re.sub(r"zxid: \d+$", "zxid: N", line))
        else:
            rest.append(line)
    return rest, events


def mask_stats(lines):
    out, i = [], 0
    while i < len(lines):
        part = lines[i:i + len(STAT)]
        if len(part) == len(STAT) and all(map(re.Pattern.fullmatch, STAT_LINES, part)):
            kept = [line for line in part if line.split(" ")[0] in STAT_KEPT]
            out.append("<stat> " + ", ".join(kept))
            i += len(STAT)
        else:
            out.append(lines[i])
            i += 1
    return out


def comparable_errors(text):
    """Stack traces cut down to what was thrown."""
    lines = [line for line in text.split("\n")
             if not re.match(r"\tat |\t\.\.\. \d+ more|Caused by: |SLF4J", line)]
    return [re.sub(r'^Exception in thread "main" ', "", line) for line in lines[:-1]]


def read(code, out, err):
    out, err = (text.decode(errors="surrogateescape") for text in (out, err))
    lines, events = take_events(out.split("\n"))
    if lines and lines[-1] == "":
        lines.pop()
    return Said(code, mask_stats(lines), comparable_errors(err), events, out, err)


def run(kind, *words, stdin=b"", timeout_s=TIMEOUT_S, **more):
    if isinstance(stdin, str):
        stdin = stdin.encode()
    done = subprocess.run([*command(kind), *map(str, words)], input=stdin, capture_output=True,
                          timeout=timeout_s, env=env(**more))
    return read(done.returncode, done.stdout, done.stderr)


def script(kind, server, lines, *options):
    """Runs lines from a pipe, as one session that is closed."""
    return run(kind, "-server", server.address, *options, stdin="\n".join([*lines, "quit", ""]))
