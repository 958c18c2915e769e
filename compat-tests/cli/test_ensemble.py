"""config and reconfig, which need an ensemble: both shells on one of stock servers."""
import re

import pytest

import shells
from harness.ensemble import Ensemble
from harness.servers import wait_for

SUPER = "super:D/InIHSb7yEEbrWz8b9l71RjZJU="    # super:test


@pytest.fixture(scope="module")
def ensemble(tmp_path_factory):
    made = Ensemble(tmp_path_factory.mktemp("ensemble"), "jjj", config={"reconfigEnabled": "true"},
                    props={"zookeeper.DigestAuthenticationProvider.superDigest": SUPER})
    for server in made.servers.values():
        server.config.update({f"server.{sid}": f"{server.config[f'server.{sid}']};{other.address}"
                              for sid, other in made.servers.items()})
    made.start(leader=2)
    yield made
    made.close()


class Member:
    """One server of the ensemble, as a server to connect to."""

    def __init__(self, ensemble, sid):
        self.address = ensemble.servers[sid].address


def masked(said):
    """Versions grow with each change; zxids and times are those of the run."""
    return ([re.sub(r"version=\w+", "version=V", re.sub(r"^<stat>.*", "<stat>", line))
             for line in said.out], said.err)


def versions(lines):
    return re.findall(r"version=(\w+)", "\n".join(lines))


def test_config(ensemble):
    member = Member(ensemble, 2)
    lines = ["config", "config -s", "config -w", "config -sw", "getAcl /zookeeper/config",
             "get /zookeeper/config"]
    ours, stock = (shells.script(kind, member, lines) for kind in shells.KINDS)
    assert masked(ours) == masked(stock) and len(ours.out) > 20
    ours, stock = (shells.script(kind, member, ["config -c"]).out[-1] for kind in shells.KINDS)
    version, clients = ours.split(" ")
    assert stock.split(" ")[0] == version
    assert sorted(stock.split(" ")[1].split(",")) == sorted(clients.split(","))
    assert clients.split(",") == [f"127.0.0.1:{server.port}" for server in
                                  ensemble.servers.values()], "in the order of their ids"


def test_reconfig(ensemble, tmp_path):
    """Server 3 goes and comes back, in all ways that there are."""
    member = Member(ensemble, 2)
    text = shells.script("zkcli", member, ["config"]).out
    lines = [line for line in text if line.startswith("server.")]
    third = next(line for line in lines if line.startswith("server.3="))
    file = tmp_path / "members.cfg"
    file.write_text("# all of them\n\n" + "\n".join(lines) + "\n")
    script = ["reconfig -remove 3", "addauth digest super:test", "reconfig -remove 3", "config",
              f"reconfig -s -add {third}", "reconfig -v 100000000 -remove 3",
              "reconfig -remove 1,2,3", "reconfig -add server.9=127.0.0.1", "reconfig -add foo",
              "reconfig -remove 3",
              f"reconfig -add {third.removeprefix('server.').upper()}", "reconfig -remove 3",
              f"reconfig -members {','.join(lines)}", "reconfig -remove 3", f"reconfig -file {file}",
              "reconfig -v zz -remove 3", "config"]
    said = {}
    for kind in shells.KINDS:
        said[kind] = shells.script(kind, member, script)
        wait_for(lambda: ensemble.role(3) == "follower" or ensemble.role(3) == "leader", 60,
                 "the third member")
    assert masked(said["zkcli"])[0] == masked(said["stock"])[0]
    assert masked(said["zkcli"])[1] == masked(said["stock"])[1]
    assert said["zkcli"].err[0] == "Insufficient permission : "
    assert len(versions(said["zkcli"].out)) >= 9


def test_reconfig_in_json(ensemble):
    member = Member(ensemble, 2)
    said = shells.run("zkcli", "-server", member.address, "--json", "config")
    assert re.search(r'"config":"server.1=127.0.0.1:\d+:\d+:participant[^"]*version=\w+"',
                     said.raw_out)
    said = shells.run("zkcli", "-server", member.address, "--json", "reconfig", "-remove", "9")
    assert said.code == 1 and '"name":"NOAUTH"' in said.raw_out
