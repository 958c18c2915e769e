"""The differential test (differential.py) with fixed seeds. `make differential N=...` runs more."""
import pytest

import differential
import pair

SEEDS = (1, 2, 3, 4)
OPERATIONS = 6000  # of each seed: 24,000 in all


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", SEEDS)
def test_zkd_does_what_stock_does(request, seed, tmp_path):
    if "zkd" not in request.config.server_kinds:
        pytest.skip("for zkd only, which --servers leaves out")
    try:
        both = differential.run(("stock", "zkd"), OPERATIONS, seed, tmp_path)
    except pair.Missing as reason:
        pytest.skip(str(reason))
    exercised(both)


def exercised(both):
    """A run that met no errors and no events would prove little."""
    assert both.operations >= OPERATIONS
    assert both.events > 500
    for code in (0, -5, -8, -101, -102, -103, -110, -111, -114, -121):
        assert both.errors.get(code, 0) > 10, (code, both.errors)


@pytest.mark.timeout(300)
def test_stock_does_what_stock_does(tmp_path):
    """No difference between two stock servers: the masks hide all that is not determined."""
    exercised(differential.run(("stock", "stock"), OPERATIONS, 11, tmp_path))


@pytest.mark.parametrize("setting", [
    {"extendedTypesEnabled": "false"}, {"enforceQuota": "false"}, {"skipACL": "yes"},
    {"minSessionTimeout": 50000, "maxSessionTimeout": 60000}, {"reconfigEnabled": "true"},
    {"DigestAuthenticationProvider.superDigest": "super:x"}])
def test_a_different_server_is_noticed(setting, tmp_path):
    """Two stock servers that differ in one setting: the comparison must see it."""
    with pytest.raises(differential.Difference):
        differential.run(("stock", "stock"), 4000, 1, tmp_path, config=(None, setting))
