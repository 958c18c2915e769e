"""A session goes from a member of one kind to one of the other, with its ephemerals and watches."""
import time

import pytest

import frames
import members
from harness import clients
from harness.clients import EPHEMERAL, ZkError
from harness.proxy import Proxy
from harness.servers import wait_for

TIMEOUT_MS = 10000
SHORT_MS = 1000
# voters, who leads, and the ways a session goes between members of different kinds
WAYS = [("jzz", 3, [(1, 2), (2, 1), (1, 3), (3, 1)]), ("zjj", 3, [(1, 2), (2, 1), (1, 3), (3, 1)]),
        ("zzz", 3, [(1, 2), (3, 1), (2, 3)])]
ways = pytest.mark.parametrize("voters, leader, moves", WAYS,
                               ids=[f"{voters}-led-by-{voters[leader - 1]}"
                                    for voters, leader, _ in WAYS])


def resumed(group, sid, old, zxid=0):
    """The session of a connection on one to another member, which refuses until it knows as much
    as the client."""
    def attempt():
        conn = frames.Conn(group.servers[sid].address)
        response = conn.connect(session_id=old.session_id, timeout_ms=TIMEOUT_MS, last_zxid=zxid)
        if response is frames.CLOSED:
            conn.close()
            return None
        assert response["timeOut"] == TIMEOUT_MS, response
        return conn
    return wait_for(attempt, 5, f"session at {sid}")


def refuses(conn, session, **options):
    """The answer, or a member hears just then that the session ended and hangs up."""
    answer = conn.connect(session_id=session, **options)
    return answer is frames.CLOSED or answer["timeOut"] == 0


def everywhere(group, path):
    """The owner of a node, or None when it is not there, as all members see it after a sync."""
    seen = set()
    for sid in group.awake:
        with frames.session(group.servers[sid].address) as conn:
            assert conn.call("sync", path="/").err == 0
            reply = conn.call("exists", path=path)
            seen.add(None if reply.err else reply.record("exists")["stat"]["ephemeralOwner"])
            conn.call("closeSession")
    assert len(seen) == 1, f"members disagree about {path}: {seen}"
    return seen.pop()


@ways
def test_a_session_moves(ensemble, voters, leader, moves):
    """What a session had under way at the member it left comes too late."""
    group = ensemble(voters)
    group.start(leader)
    for here, there in moves:
        path = f"/from{here}to{there}"
        old = frames.session(group.servers[here].address, timeout_ms=TIMEOUT_MS)
        assert old.call("create", path=path, flags=1).err == 0
        zxid = old.call("create", path=f"{path}-data").zxid
        new = resumed(group, there, old, zxid)
        assert new.call("getData", path=path).err == 0      # its own writes are there
        assert new.call("setData", path=path, data=b"new").err == 0
        # the member it left may still read for it; a write says that the session has moved, which
        # ends the connection
        assert old.call("setData", path=path, data=b"old") is frames.CLOSED
        assert new.call("getData", path=path).record("getData")["data"] == b"new"
        # and back again: the other way round it is the newer connection that ends
        back = resumed(group, here, new)
        assert back.call("setData", path=path, data=b"back").err == 0
        assert new.call("setData", path=path, data=b"new") is frames.CLOSED
        assert everywhere(group, path) == back.session_id
        back.call("closeSession")
        assert everywhere(group, path) is None
        for conn in (old, new, back):
            conn.close()
    members.check_same(group, stock_led=voters[leader - 1] == "j")


@ways
def test_a_session_cannot_be_taken_or_raised(ensemble, voters, leader, moves):
    """A wrong password, a closed session and one that never was are refused by every member."""
    group = ensemble(voters)
    group.start(leader)
    for here, there in moves:
        old = frames.session(group.servers[here].address, timeout_ms=TIMEOUT_MS)
        thief = frames.Conn(group.servers[there].address)
        assert refuses(thief, old.session_id, password=b"x" * 16)
        assert old.call("create", path=f"/{here}{there}").err == 0, "the thief did harm"
        old.call("closeSession")
        for session in (old.session_id, 0x3fedcba987654321):
            with frames.Conn(group.servers[there].address) as conn:
                assert refuses(conn, session)
        old.close()
        thief.close()


@ways
def test_the_leader_decides_who_has_expired(ensemble, voters, leader, moves):
    """A client is silent: on a member that lives, and on one that is killed."""
    group = ensemble(voters)
    group.start(leader)
    silent = []
    for sid in group.sids:
        conn = frames.session(group.servers[sid].address, timeout_ms=SHORT_MS)
        assert conn.call("create", path=f"/silent{sid}", flags=1).err == 0
        silent.append(conn)
    watcher = frames.session(group.servers[leader].address, timeout_ms=TIMEOUT_MS)
    for sid in group.sids:
        assert watcher.call("exists", path=f"/silent{sid}", watch=True).err == 0
    lost = next(sid for sid in group.sids if sid != leader)
    group.kill(lost)
    paths = {watcher.event(10).event[1] for _ in group.sids}
    assert paths == {f"/silent{sid}" for sid in group.sids}
    group.start_member(lost)
    group.settle()
    for sid, conn in zip(group.sids, silent):
        assert everywhere(group, f"/silent{sid}") is None
        with frames.Conn(group.servers[sid % len(group.sids) + 1].address) as late:
            assert refuses(late, conn.session_id)
        conn.close()
    watcher.close()


@ways
def test_a_session_that_is_alive_anywhere_does_not_expire(ensemble, voters, leader, moves):
    """Only the member it is connected to hears of it; for several times its timeout."""
    group = ensemble(voters)
    group.start(leader)
    conns = {sid: frames.session(group.servers[sid].address, timeout_ms=SHORT_MS)
             for sid in group.sids}
    for sid, conn in conns.items():
        assert conn.call("create", path=f"/alive{sid}", flags=1).err == 0
    for _ in range(15):
        for conn in conns.values():
            assert conn.call("ping", -2).err == 0
        time.sleep(SHORT_MS / 5000)
    for sid, conn in conns.items():
        assert everywhere(group, f"/alive{sid}") == conn.session_id
        conn.close()


# The client libraries

@pytest.fixture(params=clients.DRIVERS)
def driver(request):
    driver = clients.start(request.param)
    yield driver
    driver.close()


class Watcher:
    """A client behind a proxy that leads it to one member, with an ephemeral and watches."""

    def __init__(self, group, driver, sid):
        self.group = group
        self.link = Proxy(group.servers[sid].sockaddr)
        self.client = driver.connect(self.link.address, timeout_ms=TIMEOUT_MS)
        self.rewatches = (driver.kind, clients.WATCHES_SET_AGAIN) not in clients.LACKS
        self.root = self.client.create(f"/{driver.kind}")
        self.client.create(f"{self.root}/e", mode=EPHEMERAL)
        self.client.create(f"{self.root}/data", b"0")
        self.count = 0

    def watch(self):
        self.client.get(f"{self.root}/data", watch="data")
        self.client.children(self.root, watch="child")

    def go_to(self, sid, cut=True):
        self.link.lead_to(self.group.servers[sid].sockaddr)
        if cut:
            self.link.cut()
        self.client.wait_state("disconnected")
        self.client.wait_state("connected")

    def check(self, other):
        """The session is the same; a change made by another client at another member is told."""
        if not self.rewatches:
            self.watch()
        owner = wait_for(self.owner, 10, "answer")
        assert owner == self.client.session_id
        self.count += 1
        assert other.call("setData", path=f"{self.root}/data", data=b"%d" % self.count).err == 0
        assert self.client.event() == ("data", "changed", f"{self.root}/data")
        assert other.call("create", path=f"{self.root}/c{self.count}").err == 0
        assert self.client.event() == ("child", "child", self.root)
        self.watch()

    def owner(self):
        try:
            return self.client.exists(f"{self.root}/e")["ephemeralOwner"]
        except ZkError as problem:
            assert problem.code == clients.CONNECTIONLOSS
            return None

    def close(self):
        assert {item["state"] for item in self.client.history if item.get("kind") == "session"} \
            <= {"connected", "disconnected"}
        self.client.close()
        self.link.close()


@pytest.mark.parametrize("voters, leader, moves", WAYS[:2], ids=["led-by-z", "led-by-j"])
def test_clients_move(ensemble, driver, voters, leader, moves):
    """By an explicit switch, there and back; then because the member they are at is killed."""
    group = ensemble(voters)
    group.start(leader)
    here, there = moves[0]
    watcher = Watcher(group, driver, here)
    with frames.session(group.servers[leader].address, timeout_ms=60000) as other:
        watcher.watch()
        for sid in (there, here):
            watcher.go_to(sid)
            watcher.check(other)
        for lost, sid in ((here, there), (there, here)):
            watcher.link.lead_to(group.servers[sid].sockaddr)
            group.kill(lost)
            watcher.go_to(sid, cut=False)
            watcher.check(other)
            group.start_member(lost)
            group.settle()
        assert everywhere(group, f"{watcher.root}/e") == watcher.client.session_id
        watcher.close()
        assert everywhere(group, f"{watcher.root}/e") is None
        other.call("closeSession")
    members.check_same(group, stock_led=voters[leader - 1] == "j", restarted=True)
