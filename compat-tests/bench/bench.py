"""Benchmarks: stock ZooKeeper, zkd and a bare echo server in turn on the same machine.

    python bench.py [--quick] [--only get,set,idle,...] [--seconds S] [--rounds N] [--json FILE]

Absolute numbers of one machine mean little, so the table is one of ratios: zkd to stock, and zkd
to what the machine allows (echo.c, which with its log fdatasyncs before it answers a write, as
the other two do). Rounds are interleaved and medians shown. CPU per operation is the first thing
to compare: it is much less noisy than the rate.

Items for --only: get set create delete mixed (at 1x1, 64x1, 16x32 connections x depth), idle
(RSS and start-up of an empty server), sessions (10,000 idle ones), million (fill, RSS, start-up
with 1,000,000 nodes of 100 bytes), snapshot (sets while a snapshot of that million is written).
"""
import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.dirname(HERE), os.path.join(os.path.dirname(HERE), "raw")]

import frames  # noqa: E402
from harness import cache, servers  # noqa: E402

WORKLOADS = ["get", "set", "mixed", "delete", "create"]  # create last: it makes the tree grow
SHAPES = [(1, 1), (64, 1), (16, 32)]
ITEMS = WORKLOADS + ["idle", "sessions", "million", "snapshot"]
NODES = 1000000
NEVER = 2000000000          # a snapCount that is not reached
OFTEN = 20000               # one that is, every second or so


# ---- the servers -----------------------------------------------------------------------------
class BenchStock(servers.StockServer):
    """Stock as it would be run: the JVM's own choices, 4 GB of heap, fsync on."""

    def _spawn(self):
        logback = self.workdir / "logback.xml"
        logback.write_text(servers.LOGBACK.format(level="WARN"))
        return self._spawn_logged(
            ["java", "-Xmx4g", "-Dlogback.configurationFile=%s" % logback, "-cp",
             cache.java_classpath(), "org.apache.zookeeper.server.quorum.QuorumPeerMain",
             self._write_config(self.config)])


class EchoServer(servers.Server):
    kind = "echo"
    program = None
    value_bytes = 1024
    followers = ()      # in an ensemble: two others, to which this one passes writes on

    def _spawn(self):
        words = [self.program, "-p", self.port, "-v", self.value_bytes, "-s", self.datadir / "log"]
        for server in self.followers:
            words += ["-f", server.port]
        return self._spawn_logged(words)


CLASSES = {"stock": BenchStock, "zkd": servers.ZkdServer, "echo": EchoServer}


def handshake_time(server):
    """Start it; seconds until the first handshake is answered."""
    began = time.monotonic()
    server.start(wait=False)
    while not servers.handshake_works(server.sockaddr):
        if not server.running or time.monotonic() - began > 120:
            raise servers.ServerError("%s does not start\n%s" % (server.kind, server.log))
        time.sleep(0.001)
    return time.monotonic() - began


def rss_mb(server):
    with open("/proc/%d/status" % server.pid, encoding="ascii") as file:
        for line in file:
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
    raise RuntimeError("no VmRSS")


def settled_rss_mb(server):
    """RSS once it has not moved by more than 1 % for a second; JVMs take their time."""
    last, since, deadline = rss_mb(server), time.monotonic(), time.monotonic() + 15
    while time.monotonic() - since < 1 and time.monotonic() < deadline:
        time.sleep(0.1)
        now = rss_mb(server)
        if abs(now - last) > last / 100:
            last, since = now, time.monotonic()
    return last


def snapshots(server):
    folder = server.datadir / "version-2"
    return {name for name in os.listdir(folder) if name.startswith("snapshot.")}


def settle_snapshots(server):
    """Waits until the snapshot of the start, which may go on beside the first clients, is there."""
    folder, before = server.datadir / "version-2", None
    while before != (now := {path.name: path.stat().st_size for path in folder.glob("*snap*")}):
        before = now
        time.sleep(2)


# ---- the bench -------------------------------------------------------------------------------
def build(name, workdir):
    program = os.path.join(workdir, name)
    subprocess.run([os.environ.get("CC", "cc"), "-std=c11", "-O2", "-Wall", "-Wextra", "-Werror",
                    "-o", program, os.path.join(HERE, name + ".c")], check=True)
    return program


class Bench:
    def __init__(self, args, workdir):
        self.args = args
        self.workdir = workdir
        self.count = 0
        self.results = {}       # (item, kind) -> list of values, one a round
        self.load = build("load", workdir)
        EchoServer.program = build("echo", workdir)
        EchoServer.value_bytes = args.value
        self.kinds = [kind for kind in CLASSES if kind != "zkd" or servers.zkd_program()]
        if args.kinds:
            self.kinds = [kind for kind in self.kinds if kind in args.kinds.split(",")]

    def server(self, kind, **config):
        self.count += 1
        folder = os.path.join(self.workdir, "%d-%s" % (self.count, kind))
        return CLASSES[kind](folder, {"snapCount": NEVER, "snapSizeLimitInKb": -1, **config})

    def say(self, text):
        print(text, file=sys.stderr, flush=True)

    def note(self, item, kind, value):
        self.results.setdefault((item, kind), []).append(value)

    def run_load(self, server, workload, conns, depth, seconds=None, warmup=None, **options):
        words = [self.load, "-p", server.port, "-P", server.pid, "-w", workload, "-c", conns,
                 "-d", depth, "-t", self.args.seconds if seconds is None else seconds,
                 "-u", self.args.warmup if warmup is None else warmup,
                 "-v", options.get("value", self.args.value)]
        if "count" in options:
            words += ["-n", options["count"]]
        done = subprocess.run([str(word) for word in words], capture_output=True, text=True,
                              timeout=1200)
        if done.returncode != 0:
            raise RuntimeError("%s on %s: %s\n%s" % (
                " ".join(map(str, words)), server.kind, done.stderr, server.log[-2000:]))
        return json.loads(done.stdout)

    def wanted(self, item):
        return not self.args.only or item in self.args.only.split(",")

    # -- throughput and latency
    def cells(self, kind):
        """All wanted workloads on one fresh server."""
        workloads = [workload for workload in WORKLOADS if self.wanted(workload)]
        with self.server(kind) as server:
            # a JVM compiles what it has run; the others need no more than a moment
            warm = self.args.jvm_warmup if kind == "stock" else 0.2
            for workload in ("mixed", "set"):
                self.run_load(server, workload, 16, 32, seconds=warm / 2, warmup=0)
            for workload in workloads:
                for conns, depth in SHAPES:
                    options = {}
                    if workload == "delete":
                        # few enough to be made quickly, enough for the window on a fast server
                        options = {"value": 100, "count": 400000 if depth > 1 else 100000}
                    result = self.run_load(server, workload, conns, depth, **options)
                    self.note("%s %dx%d" % (workload, conns, depth), kind, result)
                    self.say("  %-6s %-6s %2dx%-2d %10.0f/s  cpu %7.2f us  p99 %8.0f us" % (
                        kind, workload, conns, depth, result["ops_per_s"],
                        result["server_cpu_us_per_op"], result["p99_us"]))

    # -- footprint
    def idle(self, kind):
        server = self.server(kind)
        self.note("start, empty (s)", kind, handshake_time(server))
        self.note("RSS idle (MB)", kind, settled_rss_mb(server))
        server.kill()

    def sessions(self, kind):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        number = min(10000, hard - 200)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        with self.server(kind) as server:
            before = settled_rss_mb(server)
            began = time.monotonic()
            conns = [frames.session(server.address, timeout_ms=40000) for _ in range(number)]
            self.note("sessions opened (/s)", kind, number / (time.monotonic() - began))
            grown = settled_rss_mb(server) - before
            self.note("RSS per idle session (KB)", kind, grown * 1024 / number)
            for conn in conns:
                conn.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    def million(self, kind):
        server = self.server(kind)
        server.start()
        nodes = self.args.nodes
        filled = self.run_load(server, "fill", 4, 2, value=100, count=nodes)
        size = "%d nodes" % nodes
        self.note(size + ": fill (nodes/s)", kind, filled["ops_per_s"])
        self.note(size + ": RSS after the fill (MB)", kind, settled_rss_mb(server))
        server.stop()
        # stock writes a snapshot when it starts; a server that does not replays its log again
        handshake_time(server)
        server.stop()
        self.note(size + ": start (s)", kind, handshake_time(server))
        self.note(size + ": RSS after that start (MB)", kind, settled_rss_mb(server))
        if self.wanted("snapshot"):
            self.snapshot(kind, server)
        server.kill()

    def snapshot(self, kind, server):
        seconds = max(4, self.args.seconds * 2)
        for item, count in (("without", NEVER), ("with", OFTEN)):
            server.stop()
            server.config["snapCount"] = count
            server.start()
            settle_snapshots(server)
            self.run_load(server, "set", 16, 32, seconds=self.args.jvm_warmup / 2, warmup=0)
            before = snapshots(server)
            result = self.run_load(server, "set", 64, 1, seconds=seconds)
            written = len(snapshots(server) - before)
            self.note("set 64x1 %s snapshots" % item, kind, result)
            self.say("  %-6s sets %s snapshots: %.0f/s, p99 %.0f us, %d snapshots" % (
                kind, item, result["ops_per_s"], result["p99_us"], written))
            if bool(written) != (item == "with"):
                raise RuntimeError("%s wrote %d snapshots %s" % (kind, written, item))

    def run(self):
        for turn in range(self.args.rounds):
            self.say("round %d of %d" % (turn + 1, self.args.rounds))
            for kind in self.kinds:
                if any(self.wanted(workload) for workload in WORKLOADS):
                    self.cells(kind)
                if kind == "echo":
                    continue
                for item in ("idle", "sessions"):
                    if self.wanted(item):
                        getattr(self, item)(kind)
        for kind in self.kinds:  # minutes each with stock: once
            if kind != "echo" and (self.wanted("million") or self.wanted("snapshot")):
                self.say("a million nodes on " + kind)
                self.million(kind)


# ---- the table -------------------------------------------------------------------------------
def median(values, key=None):
    if not values:
        return None
    return statistics.median(value[key] if key else value for value in values)


def show(value, big=100):
    """Three digits or so: more would pretend to know them."""
    if value is None:
        return "-"
    if value >= 100000:
        return "%.0fk" % (value / 1000)
    return "%.0f" % value if value >= big else "%.1f" % value if value >= 10 else "%.2f" % value


def ratio(one, other):
    return "-" if not one or not other else "%.2f" % (one / other)


def print_rows(head, rows):
    widths = [max(len(row[i]) for row in [head] + rows) for i in range(len(head))]
    for number, row in enumerate([head] + rows):
        print("| " + " | ".join(text.ljust(width) for text, width in zip(row, widths)) + " |")
        if number == 0:
            print("|" + "|".join("-" * (width + 2) for width in widths) + "|")
    print()


def print_table(results):
    """Speed, then footprint; the ratio columns are what to look at."""
    names = list(dict.fromkeys(item for item, _ in results))
    speed, rest = [], []
    for name in names:
        values = {kind: results.get((name, kind), []) for kind in CLASSES}
        first = next(iter(filter(None, values.values())))[0]
        if not isinstance(first, dict):
            stock, zkd = median(values["stock"]), median(values["zkd"])
            rest.append([name, show(stock), show(zkd), ratio(zkd, stock)])
            continue
        rate = {kind: median(values[kind], "ops_per_s") for kind in CLASSES}
        cpu = {kind: median(values[kind], "server_cpu_us_per_op") for kind in CLASSES}
        row = [name] + [show(rate[kind]) for kind in CLASSES]
        row += [ratio(rate["zkd"], rate["stock"]), ratio(rate["zkd"], rate["echo"])]
        row += [show(cpu[kind]) for kind in CLASSES] + [ratio(cpu["zkd"], cpu["stock"])]
        for kind in CLASSES:
            row.append("/".join(show(median(values[kind], key), 10)
                                for key in ("p50_us", "p99_us", "p999_us")))
        speed.append(row)
    if speed:
        print("Rates in operations/s, server CPU in us per operation, "
              "latencies p50/p99/p99.9 in us\n")
        print_rows(["workload", "stock", "zkd", "echo", "zkd/stock", "zkd/echo", "cpu stock",
                    "cpu zkd", "cpu echo", "cpu zkd/stock", "latency stock", "latency zkd",
                    "latency echo"], speed)
    if rest:
        print_rows(["footprint", "stock", "zkd", "zkd/stock"], rest)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--quick", action="store_true",
                        help="one short round, and 200,000 nodes for a million")
    parser.add_argument("--only", default="", help="comma list of: " + " ".join(ITEMS))
    parser.add_argument("--seconds", type=float, help="measured time of each cell (4)")
    parser.add_argument("--rounds", type=int, help="interleaved rounds, medians shown (3)")
    parser.add_argument("--kinds", default="", help="comma list of: " + " ".join(CLASSES))
    parser.add_argument("--value", type=int, default=1024, help="bytes of a value")
    parser.add_argument("--json", help="also write all measurements to this file")
    args = parser.parse_args()
    unknown = set(filter(None, args.only.split(","))) - set(ITEMS)
    if unknown:
        parser.error("unknown item: " + ", ".join(sorted(unknown)))
    args.seconds = args.seconds or (0.8 if args.quick else 4)
    args.rounds = args.rounds or (1 if args.quick else 3)
    args.warmup = 0.2 if args.quick else 1
    args.jvm_warmup = 4 if args.quick else 16
    args.nodes = NODES // 5 if args.quick else NODES
    workdir = tempfile.mkdtemp(prefix="zk-bench-")
    bench = Bench(args, workdir)
    if "zkd" not in bench.kinds:
        print("zkd is not built: its columns stay empty", file=sys.stderr)
    try:
        bench.run()
    finally:
        shutil.rmtree(workdir, ignore_errors=True)
        print_table(bench.results)
        if args.json:
            with open(args.json, "w", encoding="utf-8") as file:
                json.dump([{"item": item, "server": kind, "values": values} for
                           (item, kind), values in bench.results.items()], file, indent=1)


if __name__ == "__main__":
    main()
