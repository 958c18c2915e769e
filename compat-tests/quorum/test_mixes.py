"""Every mix of zkd and stock, each kind leading: load through all members leaves all the same."""
import pytest

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
