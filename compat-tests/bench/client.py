"""The client library beside the C client of Apache ZooKeeper (libzookeeper_mt of Debian), and zkcli
beside zkCli, on the same server in one run.

    python client.py [--quick] [--only get,set,...] [--rounds N] [--json FILE]

Rounds are interleaved and medians shown; the ratio is ours to theirs. What a row is: client.c.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
TOP = HERE.parents[1]
sys.path.insert(0, str(HERE.parent))

from harness import cache, servers  # noqa: E402

# row: (what it is called, unit, count, count when quick, more is better)
ROWS = {
    "get": ("get, synchronous, median", "us", 50000, 10000, False),
    "set": ("set, synchronous, median", "us", 10000, 2000, False),
    "pipe-get": ("get, 1,000 in flight", "/s", 1000000, 200000, True),
    "pipe-set": ("set, 1,000 in flight", "/s", 300000, 100000, True),
    "connect": ("connect and first get", "ms", 500, 100, False),
    "handles": ("memory of a connected handle", "kB", 500, 200, False),
    "watches": ("watches set again", "ms", 100000, 20000, False),
}
SHELL = "zkcli"
SHELL_CALLS = 5


def compile_client(folder, name, flags, *more):
    program = pathlib.Path(folder) / f"bench-{name}"
    subprocess.run(["cc", "-O2", "-std=gnu11", HERE / "client.c", HERE / f"client_{name}.c", *flags,
                    *more, "-pthread", "-o", program], check=True)
    return program


def measure(program, env, row, address, count):
    done = subprocess.run([program, row, address, str(count)], check=True, capture_output=True,
                          text=True, env={**os.environ, **env}, timeout=600)
    return json.loads(done.stdout)


def shell_ms(argv):
    start = time.monotonic()
    subprocess.run([*argv, "get", "/bench"], check=True, capture_output=True)
    return {"value": (time.monotonic() - start) * 1000, "cpu_us": 0}


def run(args, folder):
    stock = cache.debian_c_client()
    programs = {
        "theirs": compile_client(folder, "zoo", [f"-I{stock}/include"], f"-L{stock}/lib",
                                 "-lzookeeper_mt"),
        "ours": compile_client(folder, "zk", [f"-I{TOP}"], TOP / "zk.c")}
    env = {"LD_LIBRARY_PATH": str(stock / "lib")}
    results = {}
    # All watches of theirs come in one packet.
    props = {"jute.maxbuffer": 64 << 20}
    with servers.make("zkd", pathlib.Path(folder) / "server", config={"maxClientCnxns": 0},
                      props=props) as server:
        for number in range(args.rounds):
            for row in args.only:
                if row == SHELL:
                    continue
                count = ROWS[row][3 if args.quick else 2]
                for kind, program in programs.items():
                    got = measure(program, env, row, server.address, count)
                    results.setdefault(row, {}).setdefault(kind, []).append(got)
                print(".", end="", file=sys.stderr, flush=True)
        shells = {"theirs": ["java", "-cp", cache.java_classpath(),
                             "org.apache.zookeeper.ZooKeeperMain", "-server", server.address],
                  "ours": [TOP / "zkcli", "-server", server.address]}
        for _ in range(SHELL_CALLS if SHELL in args.only else 0):
            for kind, argv in shells.items():
                results.setdefault(SHELL, {}).setdefault(kind, []).append(shell_ms(argv))
    print(file=sys.stderr)
    return results


def table(results):
    print("| | libzookeeper_mt | zk.c | ratio | CPU a call, theirs | ours |")
    print("|---|---|---|---|---|---|")
    for row, kinds in results.items():
        name, unit, _, _, _ = ROWS.get(row, ("zkCli get, one call (the shell)", "ms", 0, 0, False))
        value = {kind: statistics.median(got["value"] for got in all_got)
                 for kind, all_got in kinds.items()}
        cpu = {kind: statistics.median(got["cpu_us"] for got in all_got)
               for kind, all_got in kinds.items()}
        print(f"| {name}, {unit} | {value['theirs']:,.1f} | {value['ours']:,.1f} "
              f"| {value['ours'] / value['theirs']:.2f} "
              f"| {cpu['theirs']:.2f} us | {cpu['ours']:.2f} us |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    items = [*ROWS, SHELL]
    parser.add_argument("--quick", action="store_true", help="fewer calls")
    parser.add_argument("--only", default=",".join(items), help="comma list of: " + " ".join(items))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", help="also write all measurements to this file")
    args = parser.parse_args()
    args.only = args.only.split(",")
    with tempfile.TemporaryDirectory(prefix="zk-bench-") as folder:
        results = run(args, folder)
    table(results)
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
