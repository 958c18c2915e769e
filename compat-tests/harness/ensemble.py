"""Ensembles of server processes on loopback: zkd and stock Apache ZooKeeper in any mix.

A member is a seat: an id, three ports and a directory. Which kind of server sits on it may change
from one start to the next, with everything on disk staying as it is. Kinds are told by a letter:
z is zkd, j stock of the newest version, d stock 3.8.0 as Debian packages it. So "zjj" are three
voters, the first of them zkd; observers have the ids after the voters.
"""
import os
import re
import signal
import struct
import threading
import time
from pathlib import Path

from . import servers
from .proxy import Proxy
from .servers import wait_for

KINDS = {"z": "zkd", "j": "stock", "d": "stock-3.8.0"}
SETTLE_TIMEOUT_S = 40
DIAL_TIMEOUT_S = 1.0

# Short ticks, so that what is decided by time is decided soon; the limits leave a busy machine
# 10 s for a sync and 4 s for an answer.
CONFIG = {"tickTime": 200, "initLimit": 50, "syncLimit": 20, "minSessionTimeout": 500,
          "maxSessionTimeout": 60000, "extendedTypesEnabled": "true",
          "DigestAuthenticationProvider.superDigest": "super:D/InIHSb7yEEbrWz8b9l71RjZJU="}


class Link(Proxy):
    """The connections that one member opens to one port of another. With `back`, the port is an
    election port: an initial message carries the address at which its sender is dialed in turn,
    and must name the link that leads back, or the answer would go past all links."""

    def __init__(self, target, back=None):
        self.back = back
        super().__init__(target)

    def _join(self, client):
        threading.Thread(target=self._join_later, args=(client,), daemon=True).start()

    def _join_later(self, client):
        self._flowing.wait()        # while nothing flows, nothing is connected either
        try:
            super()._join(client)
        except OSError:
            client.close()

    def _dial(self):
        """A learner is often faster than the leader opens its port. Refused, it would try again;
        but it has been accepted here, so the trying is up to us."""
        deadline = time.monotonic() + DIAL_TIMEOUT_S
        while True:
            try:
                return super()._dial()
            except ConnectionRefusedError:
                if time.monotonic() >= deadline or not self._open:
                    raise
                time.sleep(0.01)

    def _greet(self, client, server):
        if self.back is None:
            return
        head = _exactly(client, 20)
        _exactly(client, struct.unpack_from(">i", head, 16)[0])
        named = self.back().address.encode()
        server.sendall(head[:16] + struct.pack(">i", len(named)) + named)


def _exactly(sock, count):
    got = b""
    while len(got) < count:
        part = sock.recv(count - len(got))
        if not part:
            raise OSError("closed in its initial message")
        got += part
    return got


class Ensemble:
    """Members by id in `servers`; none is running at first."""

    def __init__(self, folder, voters, observers="", config=None, props=None, linked=False,
                 log_level="INFO", base=CONFIG):
        self.servers = {}
        self.paused = set()
        self.links = {}         # (from, to): the links for quorum and election, when linked
        seats = list(enumerate(voters + observers, 1))
        ports = self._ports(3 * len(seats))
        self.voters = {sid for sid, _ in seats if sid <= len(voters)}
        self._seats = {sid: ports[3 * (sid - 1):3 * sid] for sid, _ in seats}
        if linked:
            self._link()
        for sid, letter in seats:
            settings = {**base, "clientPort": self._seats[sid][0], **self._lines(sid)}
            if sid not in self.voters:
                settings["peerType"] = "observer"
            self.servers[sid] = servers.make(
                KINDS[letter], Path(folder) / f"server{sid}", config={**settings, **(config or {})},
                props=props, myid=sid, log_level=log_level)

    @staticmethod
    def _ports(count):
        ports = set()
        while len(ports) < count:
            ports.add(servers.free_port())
        return list(ports)

    def _link(self):
        for here in self._seats:
            for there in self._seats:
                if here == there:
                    continue
                _, quorum, election = self._seats[there]
                self.links[here, there] = (
                    Link(("127.0.0.1", quorum)),
                    Link(("127.0.0.1", election),
                         back=lambda key=(there, here): self.links[key][1]))

    def _lines(self, sid):
        lines = {}
        for other, (_, quorum, election) in self._seats.items():
            if (sid, other) in self.links:
                quorum, election = (link.port for link in self.links[sid, other])
            role = "participant" if other in self.voters else "observer"
            lines[f"server.{other}"] = f"127.0.0.1:{quorum}:{election}:{role}"
        return lines

    # What a test asks

    @property
    def sids(self):
        return list(self.servers)

    @property
    def address(self) -> str:
        """The connect string with all members."""
        return ",".join(server.address for server in self.servers.values())

    def address_of(self, *sids) -> str:
        return ",".join(self.servers[sid].address for sid in sids)

    @property
    def awake(self):
        """The members that run and are not paused."""
        return [sid for sid, server in self.servers.items()
                if server.running and sid not in self.paused]

    def four(self, sid, word) -> str:
        """The answer of a member to a four-letter word; empty when there is none."""
        try:
            return self.servers[sid].four(word, timeout_s=5).decode(errors="replace")
        except OSError:
            return ""

    def role(self, sid):
        """leader, follower, observer, or None while it is none of them."""
        found = re.search(r"^Mode: (\w+)", self.four(sid, "srvr"), re.M)
        return found and found[1]

    def zxid(self, sid) -> int:
        return int(re.search(r"^Zxid: 0x([0-9a-f]+)", self.four(sid, "srvr"), re.M)[1], 16)

    def mntr(self, sid) -> dict:
        return dict(line.split("\t", 1) for line in self.four(sid, "mntr").splitlines()
                    if "\t" in line)

    def leader(self):
        """The leader, when every member that is awake has found its role; else None."""
        roles = {sid: self.role(sid) for sid in self.awake}
        leaders = [sid for sid, role in roles.items() if role == "leader"]
        return leaders[0] if len(leaders) == 1 and all(roles.values()) else None

    def log(self, sid) -> str:
        return self.servers[sid].log

    # What a test does

    def start(self, leader=None, but=()):
        """Start all members (`but` some) and return the leader. One that is to lead an ensemble
        that has no data must have a larger id than enough others to be elected by."""
        sids = [sid for sid in self.servers if sid not in but]
        if leader is not None:
            voters = sorted(self.voters - {leader} - set(but))
            first = [leader, *voters[:len(self.voters) // 2]]
            for sid in first:       # it comes first, for the others may start faster
                self.servers[sid].start(wait=False)
                self.wait_listening(sid)
            self.wait_role(leader, "leader")
            sids = [sid for sid in sids if sid not in first]
        for sid in sids:
            self.servers[sid].start(wait=False)
        found = self.settle()
        assert leader in (None, found), f"{found} leads, not {leader}"
        return found

    def start_member(self, sid, kind=None):
        """Start one member, as another kind of server if a letter is given."""
        if kind is not None:
            old = self.servers[sid]
            assert not old.running
            self.servers[sid] = servers.make(KINDS[kind], old.workdir, config=old.config,
                                             props=old.props, log_level=old.log_level)
        self.servers[sid].start(wait=False)

    def kill(self, *sids):
        for sid in sids:
            self.paused.discard(sid)
            self.servers[sid].kill()

    def stop(self, *sids):
        for sid in sids:
            self.resume(sid)
            self.servers[sid].stop()

    def pause(self, *sids):
        for sid in sids:
            self.paused.add(sid)
            os.kill(self.servers[sid].pid, signal.SIGSTOP)

    def resume(self, *sids):
        for sid in sids:
            if sid in self.paused:
                self.paused.discard(sid)
                os.kill(self.servers[sid].pid, signal.SIGCONT)

    def close(self):
        for server in self.servers.values():
            server.kill()
        for pair in self.links.values():
            for link in pair:
                link.close()

    # Links

    def between(self, here, there):
        """All links between two sets of members, both ways."""
        return [link for (a, b), pair in self.links.items() for link in pair
                if a in here and b in there or a in there and b in here]

    def split(self, here, there, silent=True):
        """Nothing gets from one set of members to the other: silently, or with every connection
        closed and new ones refused."""
        for link in self.between(here, there):
            link.stall() if silent else link.refuse()

    def heal(self, lossy=False):
        """Bytes that were held back arrive now; when lossy their connections are closed instead."""
        for pair in self.links.values():
            for link in pair:
                if lossy and not link.flowing:
                    link.cut()
                link.resume()
                link.accept()

    # Waiting

    def wait_listening(self, sid):
        """Its election port is open, so it takes part in what follows."""
        port = self._seats[sid][2]
        wait_for(lambda: _listens(port), servers.START_TIMEOUT_S, f"election port of {sid}")

    def wait_role(self, sid, role, timeout_s=SETTLE_TIMEOUT_S):
        self._wait(lambda: self.role(sid) == role, timeout_s, f"{role} {sid}")

    def settle(self, timeout_s=SETTLE_TIMEOUT_S):
        """Wait until each member that is awake has a role, and return the leader."""
        return self._wait(self.leader, timeout_s, "ensemble with one leader")

    def _wait(self, condition, timeout_s, what):
        def alive():
            for sid in self.servers:
                self.check_running(sid)
            return condition()
        try:
            return wait_for(alive, timeout_s, what)
        except TimeoutError as problem:
            raise servers.ServerError(f"{problem}\n{self.story()}") from None

    def check_running(self, sid):
        """A server that a test did not end must not end."""
        server = self.servers[sid]
        if server.process is not None and server.process.poll() is not None:
            raise servers.ServerError(
                f"{server.kind} {sid} ended with {server.process.returncode}\n{self.story()}")

    def story(self, lines=40) -> str:
        """The roles and the ends of all logs, for a test that fails."""
        out = []
        for sid, server in self.servers.items():
            state = "paused" if sid in self.paused else self.role(sid) if server.running else "off"
            out.append(f"--- {sid} {server.kind}: {state}")
            out += server.log.splitlines()[-lines:]
        return "\n".join(out)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Whole:
    """An ensemble of three in the place of one server, for scenarios that run on any."""

    # what a scenario does not set is as in its single server
    BASE = {key: CONFIG[key] for key in ("initLimit", "syncLimit")}

    def __init__(self, kind, folder, config=None, props=None):
        self.kind = kind
        voters, self._leader = WHOLES[kind]
        self.group = Ensemble(folder, voters, config=config, props=props, base=self.BASE)

    @property
    def address(self) -> str:
        return self.group.address

    @property
    def sockaddrs(self):
        return [server.sockaddr for server in self.group.servers.values()]

    @property
    def running(self) -> bool:
        return all(server.running for server in self.group.servers.values())

    @property
    def log(self) -> str:
        return self.group.story()

    def four(self, word) -> bytes:
        """What all members answer."""
        return b"".join(server.four(word) for server in self.group.servers.values())

    def start(self):
        self.group.start(self._leader)
        self._leader = None     # from now on whoever has the newest data
        return self

    def stop(self):
        self.group.close()

    def restart(self, kill=False):
        (self.group.kill if kill else self.group.stop)(*self.group.sids)
        return self.start()


# Voters, and who is to lead at first.
WHOLES = {"zkd3": ("zzz", 3), "mixed3": ("zzj", 2)}


def _listens(port):
    """Looks into the kernel's table: a connection to try would be a guest of the member."""
    text = Path("/proc/net/tcp").read_text() + Path("/proc/net/tcp6").read_text()
    return re.search(rf":{port:04X} [0-9A-F]+:0000 0A ", text) is not None

