"""Benchmarks of ensembles of three: stock ZooKeeper and zkd in turn on the same machine.

    python ensemble.py [--quick] [--only set,latency,failover,big] [--rounds N] [--json FILE]

set        pipelined sets of 1 KiB through the leader and through a follower, 16x32; CPU of all three
latency    one client's sets, one at a time; also of three bare echo servers (echo.c), which pass
           them on, sync and answer: what the machine allows. All are up at once, and take turns
failover   from kill -9 of the leader to the first write that a new session has acknowledged; for
           zkd also with a stock server as one of the three
big        a million nodes of 100 bytes: the same with them, and how long a member that was killed
           takes to be back (its four-letter word says follower)

fsync on, stock with the JVM's own choices. Rates are ratios of one run, medians of the rounds.
"""
import argparse
import contextlib
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "raw")]

import frames  # noqa: E402
from bench import EchoServer, build  # noqa: E402
from harness import servers  # noqa: E402
from harness.ensemble import Ensemble  # noqa: E402

servers.JVM = ["-Xmx3g"]        # the tests' choice favours a quick start

ITEMS = ["set", "latency", "failover", "big"]
CONFIG = {"tickTime": 2000, "initLimit": 10, "syncLimit": 5, "snapCount": 2000000000,
          "minSessionTimeout": 4000}
TICKS = os.sysconf("SC_CLK_TCK")
TRIES = {"failover": 7, "big": 3, "latency": 5}


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


class Bench:
    def __init__(self, args, workdir):
        self.args = args
        self.workdir = pathlib.Path(workdir)
        self.results = {}       # row -> {kind: [values]}
        self.count = 0
        self.load = build("load", workdir)
        EchoServer.program = build("echo", workdir)

    def note(self, row, kind, value):
        self.results.setdefault(row, {}).setdefault(kind, []).append(value)
        print(f"  {kind:8} {row:40} {value:12.3f}", file=sys.stderr, flush=True)

    def ensemble(self, members):
        self.count += 1
        return Ensemble(self.workdir / f"{self.count}", members, config=CONFIG, log_level="WARN")

    def run_load(self, server, workload, conns, depth, seconds, value=1024, count=None):
        words = [self.load, "-p", server.port, "-P", server.pid, "-w", workload, "-c", conns, "-d",
                 depth, "-t", seconds, "-u", 0.5, "-v", value]
        if count:
            words += ["-n", count]
        done = subprocess.run([str(word) for word in words], capture_output=True, text=True,
                              timeout=1200, check=False)
        if done.returncode:
            raise RuntimeError(done.stderr)
        return json.loads(done.stdout)

    def measured(self, ensemble, sid, conns, depth):
        """Rate, and CPU per write of all members together, in us."""
        def used():
            return sum(cpu_seconds(server.pid) for server in ensemble.servers.values())
        before = used()
        result = self.run_load(ensemble.servers[sid], "set", conns, depth, self.args.seconds)
        writes = result["ops_per_s"] * (self.args.seconds + 0.5)    # the warm-up costs CPU too
        return result["ops_per_s"], (used() - before) / writes * 1e6

    @contextlib.contextmanager
    def warm(self, kind):
        """An ensemble, and its leader and a follower by their role."""
        with self.ensemble({"stock": "jjj", "zkd": "zzz"}[kind]) as ensemble:
            leader = ensemble.start()
            follower = min(sid for sid in ensemble.sids if sid != leader)
            for _ in range(2 if kind == "stock" else 1):     # a JVM compiles what it has run
                self.run_load(ensemble.servers[leader], "set", 16, 32, self.args.warmup)
                self.run_load(ensemble.servers[follower], "set", 16, 32, self.args.warmup)
            yield ensemble, {"leader": leader, "follower": follower}

    def writes(self, kind):
        with self.warm(kind) as (ensemble, roles):
            for where, sid in roles.items():
                rate, cpu = self.measured(ensemble, sid, 16, 32)
                self.note(f"set 16x32 through the {where} (/s)", kind, rate)
                self.note(f"CPU of three per set, {where} (us)", kind, cpu)

    @contextlib.contextmanager
    def echoes(self):
        """The one of three echo servers that passes writes on."""
        with contextlib.ExitStack() as up:
            started = []
            for i in range(3):
                server = EchoServer(self.workdir / f"echo{i}")
                server.followers = list(started) if i == 2 else []
                started.append(up.enter_context(server))
            yield started[-1]

    def latency(self):
        with self.warm("stock") as stock, self.warm("zkd") as zkd, self.echoes() as echo:
            places = [(kind, where, ensemble.servers[sid])
                      for kind, (ensemble, roles) in (("stock", stock), ("zkd", zkd))
                      for where, sid in roles.items()] + [("echo", "leader", echo)]
            for _ in range(TRIES["latency"]):
                for kind, where, server in places:
                    result = self.run_load(server, "set", 1, 1, 1)
                    self.note(f"set 1x1 p50 through the {where} (ms)", kind,
                              result["p50_us"] / 1000)

    @staticmethod
    def outage(ensemble, leader):
        """kill -9 of the leader; seconds until somebody new has written."""
        rest = [server.address for sid, server in ensemble.servers.items() if sid != leader]
        began = time.monotonic()
        ensemble.kill(leader)
        while time.monotonic() - began < 60:
            for address in rest:
                try:
                    with frames.session(address, timeout_ms=4000) as conn:
                        made = conn.call("create", path="/after-", data=b"", acl=frames.WORLD,
                                         flags=2)
                        if made is not frames.CLOSED and made.err == 0:
                            return time.monotonic() - began
                except (OSError, ConnectionError):
                    pass
            time.sleep(0.002)
        raise RuntimeError("nobody took over in a minute")

    def failover(self, label, ensemble, tries):
        """Kills leaders; the one that was killed is started again, and timed."""
        for _ in range(tries):
            leader = ensemble.settle()
            self.note(f"failover{label[1]} (s)", label[0], self.outage(ensemble, leader))
            began = time.monotonic()
            ensemble.start_member(leader)
            while ensemble.role(leader) not in ("follower", "leader"):
                time.sleep(0.002)
            self.note(f"restart and rejoin{label[1]} (s)", label[0], time.monotonic() - began)

    def outages(self, kind, members):
        with self.ensemble(members) as ensemble:
            ensemble.start()
            self.failover((kind, ", empty"), ensemble, TRIES["failover"])

    def big(self, kind):
        with self.ensemble({"stock": "jjj", "zkd": "zzz"}[kind]) as ensemble:
            leader = ensemble.start()
            self.run_load(ensemble.servers[leader], "fill", 4, 32, 1, 100, self.args.nodes)
            ensemble.settle()
            self.failover((kind, f", {self.args.nodes} nodes"), ensemble, TRIES["big"])

    def run(self):
        for turn in range(self.args.rounds):
            print(f"round {turn + 1} of {self.args.rounds}", file=sys.stderr)
            for kind in ("stock", "zkd"):
                if "set" in self.args.only:
                    self.writes(kind)
                if "failover" in self.args.only:
                    self.outages(kind, {"stock": "jjj", "zkd": "zzz"}[kind])
            if "failover" in self.args.only:
                self.outages("mixed", "zzj")
            if "latency" in self.args.only:
                self.latency()
        for kind in ("stock", "zkd") if "big" in self.args.only else ():
            self.big(kind)

    def table(self):
        print("| ensemble of three | stock | zkd | 2 zkd + 1 stock | echo | zkd/stock |\n"
              "|---|---|---|---|---|---|")
        for row, kinds in self.results.items():
            median = {kind: statistics.median(values) for kind, values in kinds.items()}
            cells = [f"{median[kind]:.3f}" if kind in median else "-"
                     for kind in ("stock", "zkd", "mixed", "echo")]
            both = "stock" in median and "zkd" in median
            cells.append(f"{median['zkd'] / median['stock']:.2f}" if both else "-")
            print(f"| {row} | {' | '.join(cells)} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--quick", action="store_true", help="short cells, 100,000 nodes")
    parser.add_argument("--only", default=",".join(ITEMS), help="comma list of: " + " ".join(ITEMS))
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--json", help="also write all measurements to this file")
    args = parser.parse_args()
    args.only = args.only.split(",")
    args.seconds = 2 if args.quick else 5
    args.warmup = 2 if args.quick else 8
    args.nodes = 100000 if args.quick else 1000000
    with tempfile.TemporaryDirectory(prefix="zk-bench-") as workdir:
        bench = Bench(args, workdir)
        try:
            bench.run()
        finally:
            bench.table()
            if args.json:
                pathlib.Path(args.json).write_text(json.dumps(bench.results, indent=1))


if __name__ == "__main__":
    main()
