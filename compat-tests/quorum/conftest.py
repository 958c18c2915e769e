"""Ensembles for the tests; the raw-frame client is that of ../raw."""
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
for folder in (HERE, HERE.parent / "raw"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
pytest.register_assert_rewrite("members", "histories", "mixture")

from harness.cache import Unavailable, debian_classpath  # noqa: E402
from harness.ensemble import Ensemble  # noqa: E402


@pytest.fixture
def ensemble(tmp_path):
    """Makes ensembles that end with the test."""
    made = []

    def make(voters, observers="", **options):
        if "d" in voters + observers:
            try:
                debian_classpath()
            except Unavailable as problem:
                pytest.fail(f"stock 3.8.0 cannot be had: {problem}")
        made.append(Ensemble(tmp_path / f"ensemble{len(made)}", voters, observers, **options))
        return made[-1]
    yield make
    for one in made:
        one.close()
