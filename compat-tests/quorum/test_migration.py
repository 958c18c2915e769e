"""Three stock servers become zkd one by one, on their data directories and under load, and stock
again. The load comes from the client libraries people use; they may notice that connections break
and nothing else."""
import itertools
import threading
import time

import pytest

import members
from harness import clients
from harness.servers import wait_for

TIMEOUT_MS = 15000
CLIENTS = 2                 # of each library
PROGRESS = 15               # rounds of each client between two replacements


class Lane(threading.Thread):
    """One client with one request under way: new nodes, a register, an ephemeral, and a queue it
    takes from the front. An answer that is lost with a connection leaves its request open; any
    other error is a problem."""

    def __init__(self, client, number):
        super().__init__(name=client.name, daemon=True)
        self.client = client
        self.home = f"/lane{number}"
        self.made, self.deleted = set(), set()
        self.value, self.version = 0, 0     # newest acknowledged of the register
        self.open = set()                   # nodes made or deleted without an answer
        self.rounds, self.losses = 0, 0
        self.going = threading.Event()
        self.resting = threading.Event()
        self.over = False
        self.problem = None
        client.create(self.home, b"0")
        client.create(f"{self.home}-e", mode=clients.EPHEMERAL)

    def run(self):
        try:
            for number in itertools.count():
                self.resting.set()
                self.going.wait()
                self.resting.clear()
                if self.over:
                    return
                self.round(number)
                self.rounds += 1
        except Exception as problem:
            self.problem = problem

    def ask(self, op, *args):
        """The answer, or None when the connection was lost meanwhile."""
        try:
            return op(*args)
        except clients.ZkError as error:
            if error.code != clients.CONNECTIONLOSS:
                raise
        self.losses += 1
        time.sleep(0.02)        # a library without a connection refuses at once
        return None

    def round(self, number):
        path = f"{self.home}/n{number:06}"
        made = self.ask(self.client.create, path, str(number))
        assert made in (path, None)
        (self.open if made is None else self.made).add(path)
        stat = self.ask(self.client.set, self.home, str(number))
        if stat is not None:
            assert stat["version"] > self.version
            self.value, self.version = number, stat["version"]
        got = self.ask(self.client.get, self.home)
        if got is not None:
            data, stat = got
            assert int(data) >= self.value and stat["version"] >= self.version, \
                f"{self.home} goes back to {got} from {self.value}, {self.version}"
        if number % 4 == 3 and self.made:
            self.remove(min(self.made))

    def remove(self, path):
        self.made.remove(path)
        try:
            self.client.delete(path)
            self.deleted.add(path)
        except clients.ZkError as error:
            if error.code != clients.CONNECTIONLOSS:
                raise
            self.losses += 1
            self.open.add(path)

    def check(self, tree):
        """What was acknowledged is there, and who made it is the same session as ever."""
        assert tree[f"{self.home}-e"][2]["ephemeralOwner"] == self.client.session_id
        there = {path for path in tree if path.startswith(f"{self.home}/")}
        assert self.made <= there, f"lost: {sorted(self.made - there)}"
        assert not self.deleted & there, f"back: {sorted(self.deleted & there)}"
        assert there <= self.made | self.open
        data, _, stat = tree[self.home]
        assert int(data) >= self.value and stat["version"] >= self.version
        states = {item["state"] for item in self.client.history if item.get("kind") == "session"}
        assert states <= {"connected", "disconnected"}, f"{self.client.name} was {states}"


class Load:
    def __init__(self, group, drivers):
        self.group = group
        self.lanes = []
        for driver in drivers * CLIENTS:
            client = driver.connect(group.address, timeout_ms=TIMEOUT_MS)
            self.lanes.append(Lane(client, len(self.lanes)))
        for lane in self.lanes:
            lane.start()
        self.go()

    def go(self):
        for lane in self.lanes:
            lane.going.set()

    def rest(self):
        for lane in self.lanes:
            lane.going.clear()
        self._wait(lambda: all(lane.resting.is_set() for lane in self.lanes), "rest")

    def progress(self):
        wanted = [lane.rounds + PROGRESS for lane in self.lanes]
        self._wait(lambda: all(lane.rounds >= rounds
                               for lane, rounds in zip(self.lanes, wanted)), "progress")

    def end(self):
        for lane in self.lanes:
            lane.over = True
        self.go()
        for lane in self.lanes:
            lane.join(clients.CALL_TIMEOUT_S)
        self._problems()

    def check(self, tree):
        for lane in self.lanes:
            lane.check(tree)

    def _problems(self):
        for lane in self.lanes:
            if lane.problem:
                raise AssertionError(f"{lane.name}: {lane.problem!r}\n{self.group.story()}") \
                    from lane.problem

    def _wait(self, condition, what):
        def done():
            self._problems()
            return condition()
        try:
            wait_for(done, 40, what)
        except TimeoutError as problem:
            rounds = {lane.name: lane.rounds for lane in self.lanes}
            raise AssertionError(f"{problem}: {rounds}\n{self.group.story()}") from None


@pytest.fixture
def libraries():
    drivers = [clients.start(kind) for kind in clients.DRIVERS]
    yield drivers
    for driver in drivers:
        driver.close()


def replace(group, load, kind):
    """Every member by one of the other kind; whoever leads comes last, as an operator would."""
    leader = group.leader()
    for sid in [*(set(group.sids) - {leader}), leader]:
        group.stop(sid)
        group.start_member(sid, kind)
        group.settle()
        load.progress()


def test_three_stock_servers_become_zkd_and_stock_again(ensemble, libraries):
    group = ensemble("jjj")
    group.start()
    load = Load(group, libraries)
    load.progress()
    for kind in ("z", "j"):
        replace(group, load, kind)
        load.rest()
        load.check(members.check_same(group, stock_led=True, restarted=True))
        load.go()
    load.end()
    load.check(members.check_same(group, stock_led=True, restarted=True))
    assert any(lane.losses for lane in load.lanes), "the load never met a replacement"
