"""Runs every scenario for every client library against every server.

  --servers=stock,zkd,zkd3,mixed3     which servers (default: all)
  --clients=kazoo,java,go,c           which client libraries (default: all)

zkd3 and mixed3 are ensembles, of three zkd and of two zkd with a stock server. Clients are given
the addresses of all members, and what a scenario cuts off comes back at another member.

A scenario that asks for `zk`, `connect` or `driver` runs once per client library; one that asks
for `server` (or anything made from it) runs once per server.
"""
import itertools
import re
from collections import Counter

import pytest

from harness import clients, servers
from harness.ensemble import WHOLES, Whole
from harness.proxy import Proxy

# Scenarios that are about a single server.
STANDALONE = {
    "test_data_and_stats_stay": "counts zxids over a restart, which begins a new epoch",
    "test_refused_without_an_ensemble": "is about a server without an ensemble",
    "test_a_session_moves_to_another_connection":
        "is about a move to another connection of the same server; see quorum/test_moves.py",
    "test_the_configuration_is_empty": "is about a server without an ensemble",
}


def _choice(value, known):
    chosen = [word for word in value.split(",") if word]
    unknown = set(chosen) - set(known)
    if unknown or not chosen:
        raise pytest.UsageError(f"choose from {','.join(known)}, not '{value}'")
    return chosen


def pytest_addoption(parser):
    parser.addoption("--servers", default="stock,zkd,zkd3,mixed3",
                     help="servers to test: stock, zkd, zkd3, mixed3")
    parser.addoption("--clients", default="kazoo,java,go,c", help="clients to test with")


def pytest_configure(config):
    chosen = _choice(config.getoption("--servers"), [*servers.KINDS, *WHOLES])
    config.server_kinds = [kind for kind in chosen if kind in servers.KINDS]
    config.ensemble_kinds = [kind for kind in chosen if kind in WHOLES]
    config.client_kinds = _choice(config.getoption("--clients"), clients.DRIVERS)


def pytest_generate_tests(metafunc):
    if "server_kind" in metafunc.fixturenames:
        kinds = list(metafunc.config.server_kinds)
        if metafunc.definition.path.parent.name == "scenarios":
            kinds += metafunc.config.ensemble_kinds
        metafunc.parametrize("server_kind", kinds, scope="session")
    if "client_kind" in metafunc.fixturenames:
        metafunc.parametrize("client_kind", metafunc.config.client_kinds, scope="session")


def pytest_collection_modifyitems(items):
    """What fails on a stock server, or in the stock shell, is tried once more, and the summary
    says so: stock counts some things after it has answered, leaves a handshake without an answer
    now and then, and prints events into its other output. Ours has one try."""
    for item in items:
        params = item.callspec.params if hasattr(item, "callspec") else {}
        if "stock" in params.values():
            item.add_marker(pytest.mark.flaky(reruns=1))
        if params.get("server_kind") in WHOLES and item.originalname in STANDALONE:
            item.add_marker(pytest.mark.skip(reason=STANDALONE[item.originalname]))


# Servers

def make_server(kind, folder, config, props):
    make = Whole if kind in WHOLES else servers.make
    return make(kind, folder, config=config, props=props)


class Pool:
    """Long-lived servers, one per kind and settings, shared by the scenarios of a run."""

    def __init__(self, folder):
        self.folder = folder
        self.servers = {}

    def get(self, kind, config, props):
        key = (kind, *sorted(config.items()), None, *sorted(props.items()))
        server = self.servers.get(key)
        if server is None or not server.running:
            server = make_server(kind, self.folder.mktemp(kind), config, props)
            server.start()
            self.servers[key] = server
        return server

    def close(self):
        for server in self.servers.values():
            server.stop()


@pytest.fixture(scope="session")
def pool(tmp_path_factory):
    pool = Pool(tmp_path_factory)
    yield pool
    pool.close()


@pytest.fixture
def server(request, pool, server_kind):
    """The shared server with the settings of the scenario's `server` mark."""
    mark = request.node.get_closest_marker("server")
    settings = mark.kwargs if mark else {}
    server = pool.get(server_kind, settings.get("config", {}), settings.get("props", {}))
    yield server
    assert server.running, f"the server ended\n{server.log[-10000:]}"


@pytest.fixture
def own_server(tmp_path, server_kind):
    """Makes a started server for this scenario alone, to be stopped and restarted at will."""
    made = []

    def make(config=None, props=None):
        server = make_server(server_kind, tmp_path / f"server{len(made)}", config, props)
        made.append(server)
        return server.start()
    yield make
    for server in made:
        server.stop()


@pytest.fixture
def proxy():
    """Makes a proxy in front of a server."""
    made = []

    def make(server):
        made.append(Proxy(*server.sockaddrs))
        return made[-1]
    yield make
    for one in made:
        one.close()


# Clients

@pytest.fixture(scope="session")
def drivers():
    running = {}
    yield running
    for driver in running.values():
        driver.close()


@pytest.fixture
def driver(drivers, client_kind):
    if client_kind not in drivers:
        drivers[client_kind] = clients.start(client_kind)
    return drivers[client_kind]


@pytest.fixture
def connect(request, driver, server_kind):
    """Connects clients: connect(address=of the server, timeout_ms=..., chroot=..., ...)."""
    made = []

    def make(hosts=None, **options):
        if hosts is None:
            hosts = request.getfixturevalue("server").address
        client = driver.new_client(hosts=hosts, **options)
        client.syncs = server_kind in WHOLES
        made.append(client)
        client.connect()
        return client
    yield make
    pending = [client.submit("close") for client in made if client.open]
    for future in pending:
        future.result(clients.CALL_TIMEOUT_S)
    for client in made:
        driver.forget(client)


@pytest.fixture
def zk(connect, server):
    """A connected client."""
    return connect()


@pytest.fixture
def curator(driver, server):
    """Makes Curator clients, which only the Java driver has."""
    with clients.curators(driver, server.address) as make:
        yield make


_roots = itertools.count(1)


@pytest.fixture
def root_name(request):
    """A path that no other scenario uses; the node does not exist yet."""
    name = re.sub(r"[^a-z0-9_]", "-", request.node.originalname)
    return f"/{name}-{next(_roots)}"


@pytest.fixture
def root(zk, root_name):
    """A node that no other scenario uses."""
    return zk.create(root_name)


# Summary

def pytest_terminal_summary(terminalreporter, config):
    scenarios, outcomes = set(), Counter()
    for outcome in ("passed", "failed", "error", "skipped"):
        for report in terminalreporter.stats.get(outcome, []):
            if hasattr(report, "nodeid"):
                scenarios.add(report.nodeid.split("[")[0])
                outcomes[outcome] += 1
    counts = ", ".join(f"{number} {outcome}" for outcome, number in outcomes.items())
    kinds = config.server_kinds + config.ensemble_kinds
    terminalreporter.write_line(
        f"{len(scenarios)} scenarios x clients {','.join(config.client_kinds)}"
        f" x servers {','.join(kinds)}: {counts or 'nothing ran'}")
