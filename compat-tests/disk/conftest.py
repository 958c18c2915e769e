"""What the tests of data directories share; the raw-frame client is that of ../raw."""
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
for folder in (HERE, HERE.parent / "raw"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
pytest.register_assert_rewrite("datadir")
