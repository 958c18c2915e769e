"""Elections of several machines in one process, on a seeded network in memory (election_test.c)."""
import pathlib
import subprocess

import pytest

HERE = pathlib.Path(__file__).resolve().parent
SRC = HERE.parent.parent / "src"
ROOMS = ["base/base", "base/log", "base/jute", "ensemble/config", "ensemble/link",
         "ensemble/quorum", "ensemble/mesh", "ensemble/election"]
SEEDS = {
    "cold_start": 300, "dark": 100, "failover": 100, "join": 100, "chaos": 300, "noise": 100,
    "golden_start": 1, "golden_join": 1, "out_of_election": 1, "answers": 1, "hellos": 1,
    "notifications": 1, "deaf": 1, "silent_guests": 1, "strangers": 1, "who_dials": 1,
    "quorums": 1, "dial_timeout": 1, "one_after_the_other": 100,
}


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    out = tmp_path_factory.mktemp("ensemble") / "election_test"
    subprocess.run(
        ["gcc", "-std=c11", "-g", "-O1", "-fsanitize=address,undefined",
         "-fno-sanitize-recover=all", f"-I{SRC}", HERE / "election_test.c",
         *[SRC / f"{room}.c" for room in ROOMS], "-o", out], check=True)
    return out


def test_every_scenario_is_run(program):
    names = subprocess.run([program], capture_output=True, text=True, check=True).stdout.split()
    assert sorted(names) == sorted(SEEDS)


@pytest.mark.parametrize("name,seeds", SEEDS.items())
def test_election(program, name, seeds):
    done = subprocess.run([program, name, str(seeds)], capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert done.stdout == f"{name}: {seeds} seeds\n"
