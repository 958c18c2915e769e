"""Members of an ensemble of zkd are killed, paused, cut off and restarted, again and again, while
clients write and check what they get; and one has its disk full.

KILL_CYCLES faults follow each other (default 100), drawn from KILL_SEED (default 1).
"""
import errno
import os
import random
import time
from collections import Counter

import pytest

import histories
import members
from harness import weather
from harness.servers import wait_for

CYCLES = int(os.environ.get("KILL_CYCLES", 100))
SEED = int(os.environ.get("KILL_SEED", 1))
HOLD_S = 0.02, 0.5          # how long a fault lasts
# A follower notices after 300 ms that its leader is silent, and the reverse.
CONFIG = {"tickTime": 50, "syncLimit": 6, "initLimit": 60}
SILENCE_S = 0.4


class Nemesis:
    """Each method is a fault: it harms, holds, and heals."""

    FAULTS = ["kill_leader", "kill_leader", "kill_follower", "kill_majority", "kill_all", "restart",
              "pause_leader", "pause_follower", "pause_majority", "cut_leader_off",
              "cut_leader_off", "cut_follower_off", "refuse", "kill_while_cut_off",
              "kill_while_joining"]

    def __init__(self, group, rng):
        self.group, self.rng = group, rng
        self.done = Counter()

    def cycle(self):
        fault = self.rng.choice(self.FAULTS)
        leader = self.group.settle()
        others = [sid for sid in self.group.sids if sid != leader]
        self.rng.shuffle(others)
        getattr(self, fault)(leader, others)
        self.done[fault] += 1

    def hold(self):
        time.sleep(self.rng.uniform(*HOLD_S))

    def _kill(self, *sids):
        self.group.kill(*sids)
        self.hold()
        for sid in sids:
            self.group.start_member(sid)

    def kill_leader(self, leader, others):
        self._kill(leader)

    def kill_follower(self, leader, others):
        self._kill(others[0])

    def kill_majority(self, leader, others):
        self._kill(leader, others[0])

    def kill_all(self, leader, others):
        self._kill(*others, leader)

    def kill_while_joining(self, leader, others):
        """A follower, and again before it has its part, and then the leader that gives it."""
        self._kill(others[0])
        time.sleep(self.rng.uniform(0, 0.03))
        self.group.kill(others[0])
        self.group.start_member(others[0])
        time.sleep(self.rng.uniform(0, 0.03))
        self._kill(leader)

    def restart(self, leader, others):
        sid = self.rng.choice(self.group.sids)
        self.group.stop(sid)
        self.group.start_member(sid)

    def _pause(self, *sids):
        self.group.pause(*sids)
        self.hold()
        self.group.resume(*sids)

    def pause_leader(self, leader, others):
        self._pause(leader)

    def pause_follower(self, leader, others):
        self._pause(others[0])

    def pause_majority(self, leader, others):
        self._pause(leader, others[0])

    def _cut_off(self, one, silent=True):
        self.group.split({one}, set(self.group.sids) - {one}, silent)
        self.hold()
        self.group.heal(lossy=self.rng.random() < 0.5)

    def cut_leader_off(self, leader, others):
        """It goes on for some time with what clients send it, all in vain."""
        self._cut_off(leader)

    def cut_follower_off(self, leader, others):
        self._cut_off(others[0])

    def refuse(self, leader, others):
        self._cut_off(self.rng.choice(self.group.sids), silent=False)

    def kill_while_cut_off(self, leader, others):
        """What it has logged alone is in its log when it comes back."""
        self.group.split({leader}, set(others))
        self.hold()
        self._kill(leader)
        self.group.heal(lossy=True)


@pytest.mark.timeout(60 + 5 * CYCLES)
def test_cycles_of_faults(ensemble):
    """Checked by breaking zkd: a leader that commits without a quorum is found within 30 faults, as
    an acknowledged compare-and-set that is gone, a follower that drops every 97th set at once. One
    that acknowledges before its sync is not: a killed process leaves its writes to the kernel."""
    group = ensemble("zzz", linked=True, config=CONFIG)
    group.start()
    nemesis = Nemesis(group, random.Random(SEED))
    world = histories.World(group, seed=SEED, silence_s=SILENCE_S).start()
    world.progress(50)
    for _ in range(CYCLES):
        try:
            nemesis.cycle()
            world.progress(5)
        except AssertionError as problem:
            raise AssertionError(f"{problem}\nafter {nemesis.done}") from None
    group.settle()
    world.end()
    world.check(members.check_same(group, restarted=True))
    moves = sum(writer.moves for writer in world.writers)
    print(f"{CYCLES} faults: {dict(nemesis.done)}; {world.answers} answers, {moves} moves, "
          f"{len(world.winners)} compared and set")


@pytest.mark.parametrize("call", ["write", "ftruncate"])
@pytest.mark.parametrize("role", ["follower", "leader"])
def test_a_disk_is_full(ensemble, tmp_path, role, call):
    """Its member says so and ends; the others go on; with room again it comes back."""
    group = ensemble("zzz", config=CONFIG, props={"preAllocSize": 64})
    weather.over(group, tmp_path)
    leader = group.start()
    lost = leader if role == "leader" else min(set(group.sids) - {leader})
    world = histories.World(group, silence_s=SILENCE_S).start()
    world.progress(50)
    server = group.servers[lost]
    server.set((call, "/log.", errno.ENOSPC, 0, 0, -1))
    wait_for(lambda: not server.running, 15, "end of a member whose disk is full")
    assert server.process.returncode == 1
    assert os.strerror(errno.ENOSPC) in server.log.rstrip().splitlines()[-1]
    group.kill(lost)        # nothing is left of it but what a test must collect
    world.progress(100)
    assert group.settle() != lost
    server.fair()
    group.start_member(lost)
    group.settle()
    world.progress(50)
    world.end()
    world.check(members.check_same(group, restarted=True))
