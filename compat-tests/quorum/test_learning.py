"""How a member that was away is brought up to date: by DIFF, TRUNC or SNAP, each kind by each."""
import re
import shutil

import pytest

import frames
import members
from harness import servers
from harness.servers import wait_for

SIDES = [("j", "z"), ("z", "j"), ("z", "z"), ("d", "z"), ("z", "d")]     # away, leading
sides = pytest.mark.parametrize("away, leading", SIDES,
                                ids=[f"{away}-by-{leading}" for away, leading in SIDES])
NO_LOG = {"snapshotSizeFactor": -1}     # no DIFF from files: what is too old comes as SNAP
ANY_LOG = {"snapshotSizeFactor": 0}     # DIFF from files however large
KEPT = 500                              # transactions a leader has in memory
# What tells, in the log of the leader, or of the member itself, how it was brought up to date.
BY_LEADER = {
    "zkd": {"DIFF": "Synchronizing server {0}, .*: DIFF 0x",
            "log": "Synchronizing server {0}, .*: DIFF, log",
            "SNAP": "Synchronizing server {0}, .*: SNAP"},
    "stock": {"DIFF": "Using committedLog for peer sid: {0}",
              "log": "Use txnlog and committedLog for peer sid: {0}",
              "SNAP": "Sending snapshot last zxid of peer"},
}
BY_MEMBER = {"zkd": "Cut .*/log.*: zxid", "stock": "Truncating log to get in sync"}


def check_chosen(group, leader, away, how):
    """It was done this way."""
    def kind(sid):
        return group.servers[sid].kind.split("-")[0]
    if how == "TRUNC":
        found = re.search(BY_MEMBER[kind(away)], group.log(away))
    else:
        found = re.search(BY_LEADER[kind(leader)][how].format(away), group.log(leader))
    assert found, f"no {how}\n{group.story()}"


def writes(group, sid, count, prefix="/n", size=20):
    with frames.session(group.servers[sid].address) as conn:
        for number in range(count):
            conn.submit("create", path=f"{prefix}{number:05}", data=b"x" * size)
        for _ in range(count):
            assert conn.reply().err == 0
        conn.call("closeSession")


def agree(group, leading, away):
    """The same tree everywhere; and what the one that was away has on disk holds it too."""
    tree = members.check_same(group, stock_led=leading != "z", restarted=True)
    group.stop(away)
    group.start_member(away)
    assert members.check_same(group, stock_led=leading != "z", restarted=True) == tree
    return tree


@sides
@pytest.mark.parametrize("count, config, how", [
    (100, {}, "DIFF"), (KEPT + 200, ANY_LOG, "log"), (KEPT + 200, NO_LOG, "SNAP")],
    ids=["diff", "diff-from-log", "snap"])
def test_a_member_was_away(ensemble, away, leading, count, config, how):
    group = ensemble(away + 2 * leading, config=config)
    leader = group.start(leader=3)
    writes(group, leader, 20, "/before")
    members.check_same(group)
    group.stop(1)
    writes(group, leader, count)
    group.start_member(1)
    group.settle()
    tree = agree(group, leading, 1)
    assert sum(path.startswith("/n") for path in tree) == count
    check_chosen(group, leader, 1, how)


@sides
def test_a_member_lost_its_disk(ensemble, away, leading):
    group = ensemble(away + 2 * leading, config=NO_LOG)
    leader = group.start(leader=3)
    writes(group, leader, KEPT + 100)
    group.stop(1)
    shutil.rmtree(group.servers[1].datadir / "version-2")
    group.start_member(1)
    group.settle()
    check_chosen(group, leader, 1, "SNAP")
    assert len(agree(group, leading, 1)) > KEPT


def uncommitted(group, leader):
    """Cuts the leader off, lets it log what nobody else gets, and kills it."""
    others = set(group.sids) - {leader}
    with frames.session(group.servers[leader].address, timeout_ms=60000) as conn:
        group.split({leader}, others)
        for number in range(20):
            conn.submit("create", path=f"/tail{number:05}", data=b"y" * 100)
        logs = group.servers[leader].datadir / "version-2"
        wait_for(lambda: any(b"/tail00019" in path.read_bytes() for path in logs.glob("log.*")),
                 10, "uncommitted transactions in the log", 0.005)
        group.kill(leader)
    group.heal(lossy=True)


@sides
@pytest.mark.parametrize("goes_on", [False, True], ids=["at-once", "later"])
def test_a_leader_comes_back_with_what_was_never_committed(ensemble, away, leading, goes_on):
    group = ensemble(2 * leading + away, linked=True)
    leader = group.start(leader=3)
    writes(group, leader, 50)
    members.check_same(group)
    uncommitted(group, leader)
    successor = group.settle()
    if goes_on:
        writes(group, successor, 30, "/later")
    group.start_member(leader)
    group.settle()
    tree = agree(group, leading, leader)
    # stock cuts nothing when the epochs differ by then
    how = "SNAP" if goes_on and leading != "z" else "TRUNC"
    check_chosen(group, successor, leader, how)
    assert not any(path.startswith("/tail") for path in tree)
    assert sum(path.startswith("/n") for path in tree) == 50
    assert sum(path.startswith("/later") for path in tree) == (30 if goes_on else 0)


@pytest.mark.parametrize("leading", ["z", "j"])
def test_an_observer_that_met_a_leader_who_never_came_to_be(ensemble, leading):
    """It accepted that one's epoch, which the voters know nothing of. stock stays away until an
    election goes beyond it."""
    group = ensemble(3 * leading, "z")
    group.start(leader=3)
    writes(group, 3, 10)
    group.stop(4)
    (group.servers[4].datadir / "version-2" / "acceptedEpoch").write_text("7")
    group.start_member(4)
    group.wait_role(4, "observer")
    assert len(agree(group, leading, 4)) > 10


@pytest.mark.parametrize("leading", ["z", "j"])
def test_a_tail_that_cannot_be_cut_and_a_quorum_that_needs_it(ensemble, tmp_path, leading):
    """All that one member has is a snapshot that goes beyond what the others know. It finds in one
    term of the only leader there can be that TRUNC does not help, and gets SNAP in the next."""
    group = ensemble("z" + 2 * leading, config={"initLimit": 10})
    leader = group.start(leader=3)
    writes(group, leader, 20)
    members.check_same(group)
    group.stop(1)
    alone = servers.make("zkd", tmp_path / "alone", config={
        "dataDir": str(group.servers[1].datadir)})
    with alone.start():
        with frames.session(alone.address) as conn:
            assert conn.call("create", path="/tail").err == 0
    version2 = group.servers[1].datadir / "version-2"
    before = set(version2.glob("snapshot.*"))
    with alone.start():     # its start has replayed something, so it takes a snapshot
        newest, = wait_for(lambda: set(version2.glob("snapshot.*")) - before, 10, "a snapshot")
    for path in [*version2.glob("log.*"), *version2.glob("snapshot.*")]:
        if path != newest:
            path.unlink()
    group.stop(2, 3)        # the other two go on to another epoch
    group.start(but=[1])
    group.stop(2, 3)
    assert group.start(but=[3]) == 2
    check_chosen(group, 2, 1, "SNAP")
    tree = members.check_same(group, stock_led=leading == "j", restarted=True)
    assert "/tail" not in tree and "/n00019" in tree
