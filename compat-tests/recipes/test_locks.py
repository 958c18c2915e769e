"""Locks of zk.h, alone and with those of Curator and kazoo on the same path: one owner at a time,
whatever happens to the owners, the connections and the sessions."""
import os
import signal
import threading

import pytest

from contending import Exclusive, contention
from harness.clients import (CONNECTIONLOSS, EPHEMERAL, NOAUTH, NONODE, READ, SESSIONEXPIRED,
                             refused)
from harness.servers import wait_for
from losing import CREATE2, DELETE, GET

CANCELED, CLOSING = -1002, -116
IN_USE, NOT_OWNED, SEQUENCE_OVERFLOW = -1010, -1011, -1013
MUTEX, WRITE, READ_LOCK, LEASE = range(4)
SESSION_MS = 2500       # of those that are killed or stopped
SOON_S = 15
pytestmark = pytest.mark.server(config={"tickTime": 500})   # sessions may be short


def nodes(zk, path):
    return zk.children(path) if zk.exists(path) else []


def line(zk, path, count):
    """Waits until so many stand in line; they, in order."""
    wait_for(lambda: len(nodes(zk, path)) == count, SOON_S, f"line of {count}")
    return sorted(nodes(zk, path), key=lambda name: name[-10:])


def told(client, hold, as_):
    client.wait_event(SOON_S, kind="hold", **{"as": as_, "hold": hold})


def acquire(client, path, **args):
    assert client.call("lock_acquire", path=path, wait_ms=30000, **args) is True


def either(client, path, **args):
    """A contender of either library."""
    return (lambda: client.call("lock_acquire", path=path, wait_ms=60000, **args),
            lambda: client.unlock(path))


@pytest.mark.timeout(300)
def test_with_curator(contend, curators, zk, path):
    everyone = [either(contend(), path), either(contend(), path), either(contend(), path),
                either(curators(), path), either(curators(), path)]
    contention(Exclusive(zk, f"{path}-work"), everyone, 200)
    wait_for(lambda: nodes(zk, path) == [], SOON_S, "empty line")


@pytest.mark.timeout(300)
def test_with_kazoo(contend, kazoo, zk, path):
    everyone = [either(contend(), path, kazoo=True), either(contend(), path, kazoo=True),
                either(kazoo(), path), either(kazoo(), path)]
    contention(Exclusive(zk, f"{path}-work"), everyone, 150)
    wait_for(lambda: nodes(zk, path) == [], SOON_S, "empty line")


@pytest.mark.timeout(300)
def test_with_kazoo_under_curator_names(contend, kazoo, zk, path):
    """Each is told of the other's names."""
    everyone = [either(contend(), path, extra=["__lock__"]) for _ in range(2)]
    everyone += [either(kazoo(), path, extra=["lock-"]) for _ in range(2)]
    contention(Exclusive(zk, f"{path}-work"), everyone, 150)


def test_foreign_names_do_not_exclude(contend, kazoo, path):
    """What the interoperation needs is really needed."""
    client, other = contend(), kazoo()
    acquire(client, path)
    assert other.call("lock_acquire", path=path, wait_ms=5000) is True
    other.unlock(path)


def test_layout_and_order(contend, zk, path):
    clients = [contend() for _ in range(4)]
    futures = []
    for number, client in enumerate(clients):
        futures.append(client.lock_later(path))
        names = line(zk, path, number + 1)
        assert len(names[-1]) == 40 + len("lock-0000000000") and names[-1].startswith("_c_")
        assert names[-1].endswith(f"-lock-{number:010}")
    assert zk.exists(path)["ephemeralOwner"] == 0
    for number, client in enumerate(clients):
        assert client.result(futures[number]) is True
        assert not any(future.done() for future in futures[number + 1:])
        owner = zk.exists(f"{path}/{line(zk, path, 4 - number)[0]}")
        assert owner["ephemeralOwner"] == client.session_id
        assert client.call("lock_token", path=path) == owner["czxid"]
        client.unlock(path)


def watchers(server, path):
    """How many sessions watch each child of a node."""
    found, at = {}, None
    for text in server.four("wchp").decode().splitlines():
        if not text.startswith("\t"):
            at = text
        elif at.startswith(f"{path}/"):
            found[at] = found.get(at, 0) + 1
    return found


def test_one_watch_each(contend, server, zk, path):
    """... on the one ahead, so that nobody is woken in vain."""
    waiters = [contend() for _ in range(6)]
    futures = [client.lock_later(path) for client in waiters]
    for left in range(6, 1, -1):
        names = line(zk, path, left)
        wait_for(lambda: watchers(server, path) == {f"{path}/{name}": 1 for name in names[:-1]},
                 SOON_S, "one watch on each but the last")

        def owners():
            return [index for index, future in enumerate(futures) if future.done()]
        wait_for(lambda: len(owners()) == 1, SOON_S, "one owner")
        owner = owners()[0]
        waiters[owner].unlock(path)
        del waiters[owner], futures[owner]
    line(zk, path, 1)
    assert waiters[0].result(futures[0]) is True


def test_the_one_ahead_leaves_but_did_not_own(contend, zk, path):
    first, second, third = contend(), contend(), contend()
    acquire(first, path)
    second_future = second.lock_later(path)
    line(zk, path, 2)
    third_future = third.lock_later(path)
    line(zk, path, 3)
    second.unlock(path)     # stops waiting
    with refused(CANCELED):
        second.result(second_future)
    line(zk, path, 2)
    wait_for(lambda: third.call("watches") == 1, SOON_S, "watch on the owner")
    assert not third_future.done()
    first.unlock(path)
    assert third.result(third_future) is True


def test_out_of_time(contend, server, zk, path):
    owner, waiter = contend(), contend()
    acquire(owner, path)
    assert waiter.call("lock_acquire", path=path, wait_ms=300) is False
    line(zk, path, 1)
    wait_for(lambda: waiter.call("watches") == 0, SOON_S, "end of the watch")
    wait_for(lambda: path.encode() not in server.four("wchp"), SOON_S, "end on the server")
    owner.unlock(path)
    acquire(waiter, path)


def test_try(contend, zk, path):
    owner, other = contend(), contend()
    assert owner.call("lock_try", path=path) is True
    assert other.call("lock_try", path=path) is False
    line(zk, path, 1)
    owner.unlock(path)
    assert other.call("lock_try", path=path) is True


def test_misuse(contend, path):
    client = contend()
    acquire(client, path)
    for _ in range(2):
        with refused(IN_USE):
            client.call("lock_acquire", path=path)
    client.unlock(path)
    with refused(NOT_OWNED):
        client.unlock(path)
    for wrong in ({"path": "no/path"}, {"path": "/"}, {"path": path, "kind": 9},
                  {"path": path, "kind": LEASE}, {"path": path, "leases": 2},
                  {"path": path, "kind": LEASE, "leases": 1, "kazoo": True},
                  {"path": path, "extra": [""]}):
        with refused(-8):
            client.call("lock_acquire", **wrong, **{"as": "wrong"})


def test_reentrant(contend, path):
    client, other = contend(), contend()
    for _ in range(3):
        acquire(client, path, reentrant=True)
    for _ in range(2):
        client.unlock(path)
        assert other.call("lock_try", path=path) is False
    client.unlock(path)
    assert other.call("lock_try", path=path) is True


def test_reentrant_without_a_connection(contend, losing, path):
    client = contend(losing.address)
    acquire(client, path, reentrant=True)
    losing.refuse()
    told(client, "suspended", path)
    with refused(CONNECTIONLOSS):
        client.call("lock_acquire", path=path)
    losing.accept()
    wait_for(lambda: client.call("lock_state", path=path) == "owned", SOON_S, "owner again")
    acquire(client, path)
    for _ in range(2):
        client.unlock(path)
    with refused(NOT_OWNED):
        client.unlock(path)


def test_two_objects_of_one_client(contend, path):
    client = contend()
    acquire(client, path, **{"as": "a"})
    future = client.submit("lock_acquire", path=path, **{"as": "b"})
    assert client.call("lock_try", path=path, **{"as": "c"}) is False
    assert not future.done()
    client.call("lock_release", **{"as": "a"})
    assert client.result(future) is True


def test_children_that_are_no_contenders(contend, zk, path):
    zk.create(path)
    for name in ("0", "note", "lock-", "lock-12", "lock-00000000001", "x-0000000000",
                 "latch-0000000000", "a-lock-000000000x"):
        zk.create(f"{path}/{name}")
    acquire(contend(), path)


def test_not_allowed(contend, zk, path):
    zk.create(path, acl=[[READ, "world", "anyone"]])
    with refused(NOAUTH):
        contend().call("lock_acquire", path=path)
    assert zk.children(path) == []


def test_its_parent_goes(contend, zk, path):
    """As containers do: after each release there is nothing any more."""
    client = contend()
    for _ in range(5):
        acquire(client, f"{path}/a/b")
        client.unlock(f"{path}/a/b")
        wait_for(lambda: nodes(zk, f"{path}/a/b") == [], SOON_S, "empty line")
        for name in (f"{path}/a/b", f"{path}/a", path):
            zk.delete(name)


def test_somebody_deletes_the_waiting_node(contend, zk, path):
    owner, waiter, last = contend(), contend(), contend()
    acquire(owner, path)
    future = waiter.lock_later(path)
    names = line(zk, path, 2)
    last_future = last.lock_later(path)
    line(zk, path, 3)
    zk.delete(f"{path}/{names[1]}")
    owner.unlock(path)
    assert last.result(last_future) is True
    last.unlock(path)
    assert waiter.result(future) is True


def test_without_threads(contend, zk, path):
    """Calls that wait run the session themselves."""
    one, other = contend(own_loop=True), contend(own_loop=True)
    futures = [client.submit("lock_loop", path=path, count=50) for client in (one, other)]
    assert [one.result(futures[0]), other.result(futures[1])] == [True, True]
    line(zk, path, 0)


def test_a_sequence_runs_over(contend, losing, path):
    """It would come before all others."""
    client = contend(losing.address)
    acquire(client, path)
    client.unlock(path)
    losing.overflows = True
    with refused(SEQUENCE_OVERFLOW):
        client.call("lock_acquire", path=path)
    losing.overflows = False
    assert client.call("lock_state", path=path) == "none"


# --- deaths ---

@pytest.mark.timeout(240)
def test_owners_are_killed(contend, zk, path):
    survivor = contend()
    for _ in range(2):
        victim = contend(timeout_ms=SESSION_MS)
        acquire(victim, path)
        future = survivor.lock_later(path)
        line(zk, path, 2)
        assert not future.done()
        os.kill(victim.driver.process.pid, signal.SIGKILL)
        assert survivor.result(future) is True
        survivor.unlock(path)


def stopped(client):
    os.kill(client.driver.process.pid, signal.SIGSTOP)


def go_on(client):
    os.kill(client.driver.process.pid, signal.SIGCONT)


@pytest.mark.timeout(240)
def test_an_owner_stands_still(contend, zk, path):
    """Its session ends meanwhile. It must not say that it owns when it goes on."""
    for _ in range(2):
        sleeper, other = contend(timeout_ms=SESSION_MS), contend()
        acquire(sleeper, path)
        token = sleeper.call("lock_token", path=path)
        future = other.lock_later(path)
        line(zk, path, 2)
        # asked while it stands still, answered first thing when it goes on
        stopped(sleeper)
        asked = [sleeper.submit("lock_token", path=path), sleeper.submit("lock_state", path=path)]
        assert other.result(future) is True
        assert other.call("lock_token", path=path) > token
        go_on(sleeper)
        assert sleeper.result(asked[0]) == 0
        assert sleeper.result(asked[1]) in ("suspended", "lost")
        told(sleeper, "lost", path)
        sleeper.unlock(path)    # of what is lost: fine, and nothing happens
        assert other.call("lock_state", path=path) == "owned"
        again = sleeper.lock_later(path)
        line(zk, path, 2)
        other.unlock(path)
        assert sleeper.result(again) is True
        sleeper.unlock(path)


def test_a_waiter_stands_still(contend, zk, path):
    """It begins anew at the end of the line."""
    owner, sleeper, other = contend(), contend(timeout_ms=SESSION_MS), contend()
    acquire(owner, path)
    future = sleeper.lock_later(path)
    line(zk, path, 2)
    other_future = other.lock_later(path)
    line(zk, path, 3)
    stopped(sleeper)
    line(zk, path, 2)
    go_on(sleeper)
    line(zk, path, 3)
    owner.unlock(path)
    assert other.result(other_future) is True
    assert not future.done()
    other.unlock(path)
    assert sleeper.result(future) is True


def test_a_session_without_another_after_it(contend, zk, path):
    owner = contend()
    acquire(owner, path)
    waiter = contend(timeout_ms=SESSION_MS, final=True)
    future = waiter.lock_later(path)
    holding = f"{path}-2"
    acquire(waiter, holding)
    line(zk, path, 2)
    stopped(waiter)
    line(zk, path, 1)
    go_on(waiter)
    with refused(SESSIONEXPIRED):
        waiter.result(future)
    told(waiter, "lost", holding)
    with refused(SESSIONEXPIRED):
        waiter.call("lock_acquire", path=path, **{"as": "other"})
    waiter.unlock(holding)


def test_the_session_is_closed(contend, zk, path):
    client, waiter = contend(), contend()
    acquire(client, path)
    future = waiter.lock_later(path)
    line(zk, path, 2)
    waiter.call("close", keep=True)
    with refused(CLOSING):
        waiter.result(future)
    line(zk, path, 1)
    client.call("close", keep=True)
    told(client, "lost", path)
    line(zk, path, 0)


# --- connections ---

def test_the_connection_breaks_while_it_owns(contend, losing, zk, path):
    client = contend(losing.address)
    acquire(client, path)
    token = client.call("lock_token", path=path)
    names = line(zk, path, 1)
    losing.refuse()
    told(client, "suspended", path)
    assert client.call("lock_token", path=path) == 0
    assert client.call("lock_state", path=path) == "suspended"
    losing.accept()
    wait_for(lambda: client.call("lock_state", path=path) == "owned", SOON_S, "owner again")
    assert client.call("lock_token", path=path) == token
    assert line(zk, path, 1) == names


def test_the_node_goes_while_it_is_not_connected(contend, losing, zk, path):
    client = contend(losing.address)
    acquire(client, path)
    losing.refuse()
    told(client, "suspended", path)
    zk.delete(f"{path}/{line(zk, path, 1)[0]}")
    losing.accept()
    told(client, "lost", path)
    acquire(client, path)


def test_not_connected_for_too_long(contend, losing, zk, path):
    """By its own clock, while nobody answers."""
    client = contend(losing.address, timeout_ms=SESSION_MS)
    acquire(client, path)
    losing.refuse()
    told(client, "lost", path)
    assert client.call("lock_state", path=path) == "lost"
    losing.accept()
    wait_for(lambda: nodes(zk, path) == [], SOON_S, "empty line")
    acquire(client, path)


@pytest.mark.parametrize("request_lost", [False, True], ids=["reply", "request"])
@pytest.mark.parametrize("kazoo_names", [False, True], ids=["curator", "kazoo"])
def test_a_create_is_lost(contend, losing, zk, path, request_lost, kazoo_names):
    client = contend(losing.address)
    acquire(client, path, kazoo=kazoo_names)
    client.unlock(path)
    for _ in range(5):
        losing.lose(CREATE2, request=request_lost)
        acquire(client, path)
        assert losing.lost.is_set()
        assert len(line(zk, path, 1)) == 1
        owner = zk.exists(f"{path}/{line(zk, path, 1)[0]}")
        assert client.call("lock_token", path=path) == owner["czxid"]
        client.unlock(path)
        line(zk, path, 0)


def test_a_create_is_lost_and_nobody_wants_it_any_more(contend, losing, zk, path):
    client = contend(losing.address)
    zk.create(path)
    losing.lose(CREATE2)
    future = client.submit("lock_acquire", path=path, wait_ms=300)
    assert losing.lost.wait(SOON_S)
    losing.refuse()
    assert client.result(future) is False
    assert len(line(zk, path, 1)) == 1
    losing.accept()
    line(zk, path, 0)


def test_the_node_is_another_sessions(contend, losing, zk, path):
    """A create that is looked for is found, but does not belong to this session: as after an expiry
    between the two."""
    client = contend(losing.address)
    zk.create(path)
    losing.shut()
    losing.lose(CREATE2, request=True)
    future = client.lock_later(path)
    assert losing.lost.wait(SOON_S)
    foreign = zk.create(f"{losing.dropped_path}0000000050", b"", EPHEMERAL)
    losing.accept()
    assert client.result(future) is True
    assert zk.exists(foreign) is None
    names = line(zk, path, 1)
    assert names[0][:40] != foreign[len(path) + 1:][:40]
    assert zk.exists(f"{path}/{names[0]}")["ephemeralOwner"] == client.session_id


def test_a_create_is_under_way_and_nobody_wants_it_any_more(contend, losing, zk, path):
    client = contend(losing.address)
    zk.create(path)
    losing.stall()
    assert client.call("lock_acquire", path=path, wait_ms=300) is False
    assert zk.exists(path)["cversion"] == 0
    losing.resume()
    wait_for(lambda: zk.exists(path)["cversion"] == 2, SOON_S, "creation and deletion")
    line(zk, path, 0)


@pytest.mark.parametrize("request_lost", [False, True], ids=["reply", "request"])
def test_a_delete_is_lost(contend, losing, zk, path, request_lost):
    client = contend(losing.address)
    for _ in range(3):
        acquire(client, path)
        losing.lose(DELETE, request=request_lost)
        client.unlock(path)
        assert losing.lost.wait(SOON_S)
        line(zk, path, 0)


def test_freed_without_a_connection(contend, losing, zk, path):
    client = contend(losing.address)
    acquire(client, path)
    losing.refuse()
    told(client, "suspended", path)
    client.call("free", path=path)
    assert len(line(zk, path, 1)) == 1
    losing.accept()
    line(zk, path, 0)


def test_a_waiter_changes_connections(contend, losing, zk, path):
    owner, waiter = contend(), contend(losing.address)
    acquire(owner, path)
    future = waiter.lock_later(path)
    line(zk, path, 2)
    for _ in range(3):
        losing.cut()
    owner.unlock(path)
    assert waiter.result(future) is True


def test_a_waiter_forgets_its_watches(contend, losing, zk, path):
    """... as some like it, and what happened while it was away."""
    owner, waiter = contend(), contend(losing.address, no_watch_reset=True)
    acquire(owner, path)
    future = waiter.lock_later(path)
    line(zk, path, 2)
    losing.refuse()
    owner.unlock(path)
    line(zk, path, 1)
    losing.accept()
    assert waiter.result(future) is True


def test_a_waiter_leaves_while_it_looks(contend, losing, zk, path):
    """The one ahead has changed: the event of the old watch comes before the answer that sets a
    new one."""
    owner, waiter = contend(), contend(losing.address)
    acquire(owner, path)
    future = waiter.lock_later(path)
    ahead = f"{path}/{line(zk, path, 2)[0]}"
    wait_for(lambda: waiter.call("watches") == 1, SOON_S, "watch")
    losing.refuse()
    zk.set(ahead, b"1")
    losing.hold(GET)
    losing.accept()
    assert losing.held.wait(SOON_S)
    wait_for(lambda: waiter.call("watches") == 0, SOON_S, "the event")
    waiter.unlock(path)
    with refused(CANCELED):
        waiter.result(future)
    losing.let_go()
    line(zk, path, 1)
    wait_for(lambda: waiter.call("waiting") == 0, SOON_S, "all answers")
    assert waiter.call("watches") == 0
    zk.set(ahead, b"2")
    assert waiter.call("lock_try", path=path, **{"as": "other"}) is False


def test_without_a_connection_and_without_patience(contend, losing, zk, path):
    client = contend(losing.address, fail_fast=True)
    acquire(client, path)
    client.unlock(path)
    losing.refuse()
    client.wait_event(kind="session", state="SUSPENDED")
    with refused(CONNECTIONLOSS):
        client.call("lock_try", path=path)
    future = client.lock_later(path)
    losing.accept()
    assert client.result(future) is True


# --- revocation ---

def test_revoked_by_curator(contend, curators, zk, path):
    client, theirs = contend(), curators()
    for number in range(1, 3):
        acquire(client, path, revocable=True)
        node = f"{path}/{line(zk, path, 1)[0]}"
        wait_for(lambda: client.call("watches") == 1, SOON_S, "watch on the own node")
        zk.set(node, b"not that")
        theirs.call("revocable_ask", path=node)
        wait_for(lambda: len([e for e in client.history if e.get("kind") == "revoke"]) == number,
                 SOON_S, "the wish")
        client.unlock(path)
        line(zk, path, 0)
        wait_for(lambda: client.call("watches") == 0, SOON_S, "end of the watch")


def test_its_node_goes_while_it_listens(contend, zk, path):
    client = contend()
    acquire(client, path, revocable=True)
    wait_for(lambda: client.call("watches") == 1, SOON_S, "watch on the own node")
    zk.delete(f"{path}/{line(zk, path, 1)[0]}")
    told(client, "lost", path)


def test_revoking_curator(contend, curators, zk, path):
    client, theirs = contend(), curators()
    with refused(NONODE):
        client.call("lock_revoke", path=path)
    assert theirs.call("revocable_acquire", path=path) is True
    future = client.lock_later(path)
    line(zk, path, 2)
    client.call("lock_revoke", path=path)
    theirs.wait_event(kind="revoke")
    theirs.call("revocable_release", path=path)
    assert client.result(future) is True


# --- read and write locks ---

def test_readers_and_writers(contend, zk, path):
    clients = [contend() for _ in range(5)]
    kinds = [READ_LOCK, READ_LOCK, WRITE, READ_LOCK, WRITE]
    futures = []
    for number, (client, kind) in enumerate(zip(clients, kinds)):
        futures.append(client.submit("lock_acquire", path=path, kind=kind))
        names = line(zk, path, number + 1)
        assert ("__READ__" if kind == READ_LOCK else "__WRIT__") in names[-1]

    def owners():
        return [number for number, future in enumerate(futures) if future.done()]
    wait_for(lambda: owners() == [0, 1], SOON_S, "two readers")
    clients[0].unlock(path)
    line(zk, path, 4)
    assert owners() == [0, 1]
    clients[1].unlock(path)
    wait_for(lambda: owners() == [0, 1, 2], SOON_S, "the writer")
    clients[2].unlock(path)
    wait_for(lambda: owners() == [0, 1, 2, 3], SOON_S, "the reader behind it")
    clients[3].unlock(path)
    wait_for(lambda: owners() == [0, 1, 2, 3, 4], SOON_S, "the last writer")


@pytest.mark.timeout(240)
@pytest.mark.parametrize("theirs", ["curators", "kazoo"])
def test_writers_with_others(request, contend, zk, path, theirs):
    """Readers among them, who must not see the work half done."""
    work, readers, problems = Exclusive(zk, f"{path}-work"), [0], []
    args, make = {"kazoo": theirs == "kazoo"}, request.getfixturevalue(theirs)
    everyone = [either(contend(), path, kind=WRITE, **args) for _ in range(2)]
    for _ in range(2):
        client = make()
        everyone.append((lambda client=client: client.call("rw_acquire", path=path, write=True),
                         lambda client=client: client.call("rw_release", path=path, write=True)))
    ours_reading, theirs_reading = contend(), make()

    def read(take, give):
        while work.count < 150 and not problems:
            take()
            before = work.count
            if work.lock.locked() or work.count != before:
                problems.append("a writer beside a reader")
            give()
            readers[0] += 1
    threads = [
        threading.Thread(target=read, args=(
            lambda: ours_reading.call("lock_acquire", path=path, kind=READ_LOCK, **args),
            lambda: ours_reading.unlock(path))),
        threading.Thread(target=read, args=(
            lambda: theirs_reading.call("rw_acquire", path=path, write=False),
            lambda: theirs_reading.call("rw_release", path=path, write=False)))]
    for thread in threads:
        thread.start()
    contention(work, everyone, 150)
    for thread in threads:
        thread.join()
    assert not problems and readers[0] > 0


def test_writers_with_kazoo_names(contend, path):
    reader, other, writer = contend(), contend(), contend()
    acquire(reader, path, kind=READ_LOCK, kazoo=True)
    acquire(other, path, kind=READ_LOCK, kazoo=True)
    future = writer.submit("lock_acquire", path=path, kind=WRITE, kazoo=True)
    reader.unlock(path)
    assert not future.done()
    other.unlock(path)
    assert writer.result(future) is True


def test_downgrade(contend, zk, path):
    client, writer = contend(), contend()
    acquire(client, path, kind=WRITE)
    future = writer.submit("lock_acquire", path=path, kind=WRITE)
    line(zk, path, 2)
    client.call("lock_downgrade", path=path, read="r")
    names = line(zk, path, 3)
    assert sorted(name[40:] for name in names) == ["__READ__0000000000", "__WRIT__0000000000",
                                                   "__WRIT__0000000001"]
    client.unlock(path)
    line(zk, path, 2)
    assert not future.done()
    client.call("lock_release", **{"as": "r"})
    assert writer.result(future) is True
    with refused(NOT_OWNED):
        client.call("lock_downgrade", path=path, read="r")


# --- semaphores ---

def test_leases(contend, curators, zk, path):
    """Three, wanted by six of ours and two of Curator's."""
    clients, theirs = [contend() for _ in range(6)], [curators() for _ in range(2)]
    futures = [client.submit("lock_acquire", path=path, kind=LEASE, leases=3)
               for client in clients]
    futures += [client.submit("semaphore_acquire", path=path, leases=3) for client in theirs]
    everyone = clients + theirs

    def owners():
        return [index for index, future in enumerate(futures) if future.done()]
    for number in range(3, 9):
        wait_for(lambda: len(owners()) == number, SOON_S, f"{number} owners so far")
        assert len(zk.children(f"{path}/leases")) <= 4      # one of them is still asking
        line(zk, f"{path}/leases", 3 if number == 8 else 4)
        assert len(owners()) == number
        index = next(i for i in owners() if everyone[i])
        client, everyone[index] = everyone[index], None
        if index < 6:
            client.unlock(path)
        else:
            client.call("semaphore_return", path=path)
    line(zk, f"{path}/leases", 2)
    assert all("-lease-" in name for name in zk.children(f"{path}/leases"))
    line(zk, f"{path}/locks", 0)


def test_leases_to_be_had_are_not_watched(contend, path):
    """Or all who have one would be woken by whoever comes and goes."""
    client, other = contend(), contend()
    for one in (client, other):
        acquire(one, path, kind=LEASE, leases=2)
        assert one.call("watches") == 0
    assert client.call("lock_try", path=path, kind=LEASE, leases=2, **{"as": "b"}) is False


def test_a_lease_takes_too_long(contend, zk, path):
    owner, other, third = contend(), contend(), contend()
    acquire(owner, path, kind=LEASE, leases=1)
    assert other.call("lock_try", path=path, kind=LEASE, leases=1) is False
    assert other.call("lock_acquire", path=path, wait_ms=300) is False
    line(zk, f"{path}/leases", 1)
    line(zk, f"{path}/locks", 0)
    future = third.submit("lock_acquire", path=path, kind=LEASE, leases=1)
    owner.unlock(path)
    assert third.result(future) is True


def test_an_owner_of_a_lease_dies(contend, zk, path):
    owner, other = contend(timeout_ms=SESSION_MS), contend()
    acquire(owner, path, kind=LEASE, leases=1)
    future = other.submit("lock_acquire", path=path, kind=LEASE, leases=1)
    line(zk, f"{path}/leases", 2)
    os.kill(owner.driver.process.pid, signal.SIGKILL)
    assert other.result(future) is True
