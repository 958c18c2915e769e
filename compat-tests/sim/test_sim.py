"""Whole ensembles in one process: seeds, determinism, and that the simulator finds faults."""
import os
import pathlib
import re
import shutil
import subprocess

import pytest

import mutations

HERE = pathlib.Path(__file__).resolve().parent
TOP = HERE.parent.parent
pytestmark = pytest.mark.timeout(1200)
SEEDS = int(os.environ.get("SIM_SEEDS", "2000"))


def build(out, **env):
    done = subprocess.run([HERE / "build", out], env=dict(os.environ, **env), capture_output=True,
                          text=True)
    assert done.returncode == 0, done.stderr
    return out / "sim.bin"


@pytest.fixture(scope="module")
def sim():
    return build(TOP / "build" / ("sim-" + os.environ.get("PYTEST_XDIST_WORKER", "main")))


def run(program, *arguments):
    done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def hashes(program, seeds):
    return [re.search(r"trace hash (\w+)", run(program, "--seed", seed)[1])[1] for seed in seeds]


def test_seeds(sim):
    code, out = run(sim, "--seeds", SEEDS)
    assert code == 0, out
    print(out)


def test_a_seed_is_a_run(sim):
    code, out = run(sim, "--seeds", 20, "--twice")
    assert code == 0, out


def test_both_compilers_agree(sim, tmp_path):
    compilers = [c for c in ("gcc", "clang") if shutil.which(c)]
    if len(compilers) < 2:
        pytest.skip("needs gcc and clang")
    first, second = (hashes(build(tmp_path / c, CC=c), range(1, 6)) for c in compilers)
    assert first == second


def test_a_trace_and_a_picture(sim, tmp_path):
    picture = tmp_path / "out.svg"
    code, out = run(sim, "--seed", 1, "--trace", "--svg", picture)
    assert code == 0 and "is established as the leader" in out
    text = picture.read_text()
    assert text.startswith("<svg") and text.rstrip().endswith("</svg>")


@pytest.mark.parametrize("mutation", mutations.MUTATIONS, ids=lambda m: m[0])
def test_mutation_is_found(sim, mutation, tmp_path):
    found = mutations.mutate(tmp_path, TOP / "src", sim.parent, mutation)
    assert not isinstance(found, str), found
