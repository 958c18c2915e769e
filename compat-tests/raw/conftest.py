"""Fixtures of the raw-frame tests: each test runs on stock and on zkd, same assertions."""
import contextlib
import itertools
import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import frames  # noqa: E402
import pair  # noqa: E402


def start_server(kind, workdir, config=None, props=None):
    try:
        return pair.make_server(kind, workdir, config, props)
    except pair.Missing as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="session")
def shared_servers(tmp_path_factory):
    """One long-lived server of each kind, started when first asked for. One that a test has
    killed is replaced, so that one crash is one failed test."""
    running = {}

    def get(kind):
        if kind not in running or not running[kind].running:
            running[kind] = start_server(kind, tmp_path_factory.mktemp("raw-" + kind))
        return running[kind]
    yield get
    for server in running.values():
        server.stop()


@pytest.fixture
def server(shared_servers, server_kind):
    return shared_servers(server_kind)


@pytest.fixture
def zkd(request, shared_servers):
    """For what stock does not survive."""
    if "zkd" not in request.config.server_kinds:
        pytest.skip("for zkd only, which --servers leaves out")
    return shared_servers("zkd")


@contextlib.contextmanager
def starter(kind, tmp_path):
    started = []

    def start(config=None, props=None):
        workdir = tmp_path / ("server%d" % len(started))
        started.append(start_server(kind, workdir, config, props))
        return started[-1]
    yield start
    for running in started:
        running.stop()


@pytest.fixture
def fresh(server_kind, tmp_path):
    """A function that starts a server of its own with this configuration; stopped at the end."""
    with starter(server_kind, tmp_path) as start:
        yield start


@pytest.fixture
def fresh_zkd(request, tmp_path):
    """The same, for what only zkd can be held to."""
    if "zkd" not in request.config.server_kinds:
        pytest.skip("for zkd only, which --servers leaves out")
    with starter("zkd", tmp_path) as start:
        yield start


@pytest.fixture
def connect(server):
    """Opens sessions on the shared server and closes their sockets at the end."""
    opened = []

    def open_session(**options):
        opened.append(frames.session(server.address, **options))
        return opened[-1]
    yield open_session
    for conn in opened:
        conn.close()


numbers = itertools.count()


@pytest.fixture
def root(server):
    """A node of its own for the test. Left behind: the server is thrown away as a whole."""
    path = "/t%d" % next(numbers)
    with frames.session(server.address) as conn:
        assert conn.call("create", path=path).err == 0
        conn.call("closeSession")
    return path
