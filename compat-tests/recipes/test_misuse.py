"""Recipes in the wrong hands: of everything that cannot be, an error."""
import subprocess

import pytest

from contending import program


@pytest.fixture(scope="session")
def misuse(tmp_path_factory):
    return program(tmp_path_factory.mktemp("misuse"), "misuse")


@pytest.mark.parametrize("what", ["nulls", "paths", "closed", "expired", "callbacks", "threads",
                                  "turns"])
def test_misuse(misuse, server, zk, path, what):
    zk.create(path)
    done = subprocess.run([misuse, server.address, path, what], capture_output=True,
                          text=True, timeout=100)
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-4000:]
