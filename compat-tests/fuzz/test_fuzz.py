"""The seed corpus of every fuzz target, and mutations of it, under the sanitizers."""
import pathlib
import random
import subprocess

import pytest

from harness import native

HERE = pathlib.Path(__file__).resolve().parent
TARGETS = ["frames", "handshake", "logfile", "snapfile", "config",
           "election", "leader", "follower", "stream", "client"]
MUTATIONS = 300  # per seed file


@pytest.fixture(scope="module")
def replay(tmp_path_factory):
    """Builds a target that reads files instead of being driven by libFuzzer."""
    built = {}

    def build(target):
        if target not in built:
            built[target] = native.program(tmp_path_factory.mktemp("fuzz") / target,
                                           HERE / f"{target}.c", HERE / "replay.c",
                                           flags=native.ASAN, within=True)
        return built[target]
    return build


def mutate(rng, data):
    """One of the usual damages: bits, interesting numbers, cuts, repetitions."""
    data = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 4, 16])):
        at = rng.randrange(len(data)) if data else 0
        kind = rng.randrange(5)
        if kind == 0 and data:
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            number = rng.choice([-1, 0, 1, 2 ** 31 - 1, -2 ** 31, 0x7f, 0xffff, 4, 13, 65536])
            data[at:at + 4] = (number & 0xffffffff).to_bytes(4, "big")
        elif kind == 2:
            del data[at:at + rng.randrange(1, 64)]
        elif kind == 3:
            data[at:at] = data[at:at + rng.randrange(1, 256)]
        else:
            data[at:at + 1] = rng.randbytes(rng.randrange(1, 8))
    return bytes(data[:1 << 20])


@pytest.mark.parametrize("target", TARGETS)
def test_seeds_and_their_mutations(target, replay, tmp_path):
    seeds = sorted((HERE / "corpus" / target).iterdir())
    assert seeds
    rng = random.Random(target)
    files = list(seeds)
    for seed in seeds:
        for number in range(MUTATIONS):
            path = tmp_path / f"{seed.name}-{number}"
            path.write_bytes(mutate(rng, seed.read_bytes()))
            files.append(path)
    done = subprocess.run([replay(target), *files], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stdout == f"{len(files)} inputs\n"
