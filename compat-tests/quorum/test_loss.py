"""The leader, or a follower, is lost under load: nothing acknowledged is, and no session."""
import pytest

import histories
import members

MIXES = [("zzz", 3), ("jjz", 3), ("zzj", 3), ("jzz", 3), ("zjj", 3), ("zjzjz", 5)]
names = [f"{voters}-led-by-{voters[leader - 1]}" for voters, leader in MIXES]


@pytest.mark.parametrize("voters, leader", MIXES, ids=names)
def test_the_leader_is_killed(ensemble, voters, leader):
    group = ensemble(voters)
    group.start(leader)
    world = histories.World(group).start()
    world.progress()
    for _ in range(2):          # then its successor too
        lost = group.leader()
        group.kill(lost)
        assert group.settle() != lost
        world.progress()
        group.start_member(lost)
        group.settle()
        world.progress(50)
    world.end()
    tree = members.check_same(group, stock_led="j" in voters, restarted=True)
    world.check(tree)
    assert all(writer.moves for writer in world.writers if writer.number % len(voters) == 2)


@pytest.mark.parametrize("voters, leader", MIXES[1:5], ids=names[1:5])
def test_a_follower_is_killed(ensemble, voters, leader):
    group = ensemble(voters)
    group.start(leader)
    world = histories.World(group).start()
    world.progress()
    for lost in (1, 2):
        group.kill(lost)
        world.progress()
        assert group.leader() == leader
        group.start_member(lost)
        group.settle()
        world.progress(50)
    world.end()
    world.check(members.check_same(group, stock_led="j" in voters, restarted=True))
