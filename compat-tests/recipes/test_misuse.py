"""Recipes in the wrong hands: of everything that cannot be, an error."""
import subprocess

import pytest

from contending import program


@pytest.mark.parametrize("what", ["nulls", "paths", "closed", "expired", "callbacks", "threads",
                                  "turns"])
def test_misuse(server, zk, path, what):
    zk.create(path)
    done = subprocess.run([program("misuse"), server.address, path, what], capture_output=True,
                          text=True, timeout=100)
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-4000:]
