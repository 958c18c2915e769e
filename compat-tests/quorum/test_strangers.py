"""What must not disturb an ensemble: strangers on its ports, members with other people's data."""
import random
import shutil
import socket
import struct
import threading

import pytest

import frames
import histories
import members
from harness.servers import wait_for

SOON = {"initLimit": 5, "syncLimit": 5}     # of ticks of 200 ms


def packet(kind, zxid, data):
    return struct.pack(">iqi", kind, zxid, len(data)) + data + struct.pack(">i", -1)


def learner_info(sid, accepted):
    return packet(11, accepted << 32, struct.pack(">qiq", sid, 0x10000, 0))


def noise(rng):
    """What a stranger may say, on either port."""
    hello = struct.pack(">qqi", -65536, rng.choice([0, 3, 9, 2 ** 40, -5]), 9) + b"1.2.3.4:5"
    return rng.choice([
        rng.randbytes(rng.randrange(1, 4000)),
        b"", b"ruok", bytes(100), b"\xff" * 64,
        hello + struct.pack(">i", rng.choice([-1, 0, 2 ** 31 - 1, 524289])) + bytes(50),
        hello + struct.pack(">iiqqqqii", 44, rng.choice([0, 1, 2, 3, 77]), 9, 2 ** 40, 99, 99, 2, 0),
        learner_info(rng.choice([77, -1, 2 ** 50]), rng.choice([0, 5, 2 ** 31 - 1])) + bytes(500),
        packet(3, 2 ** 33, b""), struct.pack(">iqi", 11, 0, 2 ** 31 - 1),
        struct.pack(">iqii", 11, 0, 0, 4096) + bytes(4000)])


@pytest.mark.parametrize("voters, leader", [("zzz", 3), ("jzj", 2)])
def test_strangers_on_the_ports(ensemble, voters, leader):
    """Nobody notices: the same leader, and no session moves."""
    group = ensemble(voters)
    group.start(leader)
    world = histories.World(group).start()
    world.progress()
    stop = threading.Event()

    def pester(seed):
        rng, held = random.Random(seed), []
        while not stop.is_set():
            sid = leader if rng.random() < 0.7 else rng.choice(group.sids)
            if group.servers[sid].kind != "zkd":
                continue                # stock reads a stranger's first bytes while all others wait
            port = group._seats[sid][rng.choice([1, 2])]
            try:
                sock = socket.create_connection(("127.0.0.1", port), 2)
                sock.sendall(noise(rng))
                held.append(sock)
            except OSError:
                pass                    # only a leader listens for learners
            if len(held) > 40:
                held.pop(rng.randrange(len(held))).close()
    strangers = [threading.Thread(target=pester, args=(seed,)) for seed in range(3)]
    for thread in strangers:
        thread.start()
    for _ in range(3):
        world.progress(200, 60)
    stop.set()
    for thread in strangers:
        thread.join()
    assert group.leader() == leader
    world.end()
    assert not any(writer.moves for writer in world.writers)
    world.check(members.check_same(group, stock_led=group.servers[leader].kind != "zkd"))


def version2(group, sid):
    return group.servers[sid].datadir / "version-2"


@pytest.mark.parametrize("voters, leader", [("zzz", 3), ("jzz", 3)])
def test_a_member_that_promised_itself_to_a_later_epoch(ensemble, voters, leader):
    """It accepted the epoch of a leader that never came to be: the running one makes room."""
    group = ensemble(voters, config=SOON)
    group.start(leader)
    with frames.session(group.servers[leader].address) as conn:
        assert conn.call("create", path="/before", data=b"1").err == 0
    group.stop(1)
    (version2(group, 1) / "acceptedEpoch").write_text("50")
    group.start_member(1)
    group.settle()
    assert "has promised itself to a later epoch" in group.log(leader)
    with frames.session(group.servers[1].address) as conn:
        assert conn.call("create", path="/after").err == 0
        assert conn.call("exists", path="/after").record("exists")["stat"]["czxid"] >> 32 == 51
    members.check_same(group)


def test_a_member_with_the_data_of_another_ensemble(ensemble):
    """It is kept out, whatever its epoch, and told of; with no data it is brought up."""
    other = ensemble("zzz")
    for _ in range(4):                  # epochs go by
        other.start(3)
        with frames.session(other.servers[3].address) as conn:
            conn.call("create", path="/foreign-", flags=2)
        other.stop(*other.sids)
    group = ensemble("zzz", config=SOON)
    group.start(3)
    with frames.session(group.servers[3].address) as conn:
        assert conn.call("create", path="/ours").err == 0
    group.stop(1)
    shutil.rmtree(version2(group, 1))
    shutil.copytree(version2(other, 1), version2(group, 1))
    group.start_member(1)
    wait_for(lambda: "another ensemble" in group.log(3), 20, "the leader's complaint")
    assert group.role(1) is None and group.role(3) == "leader" and group.role(2) == "follower"
    with frames.session(group.servers[2].address) as conn:
        assert conn.call("create", path="/still-ours").err == 0
        assert conn.call("exists", path="/foreign-0000000000").err == -101
    group.stop(1)
    shutil.rmtree(version2(group, 1))
    group.start_member(1)
    group.settle()
    assert "/still-ours" in members.check_same(group)


def test_ids_that_are_none(ensemble):
    """A server without an id, or with one that is not in the list, does not start."""
    group = ensemble("zzz")
    group.start()
    group.stop(1)
    myid = group.servers[1].datadir / "myid"
    for text, message in (("7", "My id 7 not in the peer list"), ("x", "serverid x is not a number")):
        myid.write_text(text)
        group.servers[1].start(wait=False)
        wait_for(lambda: not group.servers[1].running, 10, "its end")
        assert message in group.log(1)
        assert group.role(2) and group.role(3)
