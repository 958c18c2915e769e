"""Every mix of zkd and stock, each kind leading: load through all members leaves all the same."""
import pytest

import frames
import members
import mixture

# voters, observers, who leads. In the order of their ids; the one that leads has the largest id
# of those that elect it.
MIXES = [
    ("zzz", "", 3), ("jzz", "", 3), ("zzj", "", 3), ("jjz", "", 3), ("zjj", "", 3),
    ("zzzzz", "", 4), ("jzjzj", "", 5), ("jzjzz", "", 4),
    ("zzz", "j", 3), ("zjj", "z", 3), ("zjz", "zj", 3),
    ("ddz", "", 3), ("zzd", "", 3), ("djz", "d", 3),
]


def name(mix):
    voters, observers, leader = mix
    return "-".join(filter(None, [voters, observers and f"observers-{observers}",
                                  f"led-by-{voters[leader - 1]}"]))


@pytest.mark.parametrize("voters, observers, leader", MIXES, ids=map(name, MIXES))
def test_all_members_agree(ensemble, voters, observers, leader):
    group = ensemble(voters, observers, props={"znode.container.checkIntervalMs": 500})
    group.start(leader)
    addresses = [server.address for server in group.servers.values()]
    threads = mixture.run(addresses, seed=len(voters), count=1200 // len(addresses),
                          old="d" in voters + observers)
    assert sum(thread.refused for thread in threads) < sum(thread.answers for thread in threads)
    members.check_same(group, stock_led=voters[leader - 1] != "z")
    assert group.leader() == leader
    # and a second time, with every member started anew from what it has on disk
    group.stop(*group.sids)
    group.start(leader)
    tree = members.check_same(group, stock_led=voters[leader - 1] != "z", restarted=True)
    assert len(tree) > 4


@pytest.mark.parametrize("voters", ["zjj", "jjz", "zzz"])
def test_an_identity_that_is_null_and_not_read(ensemble, voters):
    """kazoo sends the empty identity of `auth` as null; any leader gets through that."""
    group = ensemble(voters)
    group.start(3)
    with frames.session(group.servers[1].address) as conn:
        create = {"path": "/a", "acl": [(31, "auth", None), (1, "world", "anyone")]}
        assert conn.call("create", **create).err == frames.ERR["INVALIDACL"]
        assert conn.call("auth", -4, type=0, scheme="digest", auth=b"bob:secret").err == 0
        assert conn.call("create", **create).err == 0
        owners = [scheme for _, scheme, _ in conn.call("getACL", path="/a").record("getACL")["acl"]]
        assert owners == ["digest", "world"]
        conn.call("closeSession")
    members.check_same(group, stock_led=voters[2] == "j")
