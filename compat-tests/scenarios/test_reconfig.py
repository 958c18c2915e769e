"""Reconfiguration has no place on a standalone server."""
import pytest

from harness.clients import RECONFIGDISABLED, UNIMPLEMENTED, refused

JOINING = "server.2=127.0.0.1:2888:3888;2181"


def test_refused_by_default(zk):
    with refused(RECONFIGDISABLED):
        zk.reconfig(joining=JOINING)


@pytest.mark.server(config={"reconfigEnabled": "true"})
def test_refused_without_an_ensemble(zk):
    for args in ({"joining": JOINING}, {"leaving": "1"}, {"members": JOINING}):
        with refused(UNIMPLEMENTED):
            zk.reconfig(**args)


def test_the_configuration_is_empty(zk):
    data, stat = zk.get_config()
    assert data == b""
    assert (stat["version"], stat["aversion"], stat["czxid"], stat["mzxid"]) == (0, -1, 0, 0)
