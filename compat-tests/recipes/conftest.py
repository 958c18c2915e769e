"""Contenders of zk.h beside those of Curator and kazoo."""
import pytest

from contending import Contender, program
from harness import clients
from losing import LosingProxy


@pytest.fixture(scope="session")
def contender_program(tmp_path_factory):
    return program(tmp_path_factory.mktemp("contender"), "contender")


@pytest.fixture
def contenders(contender_program):
    """Makes processes of contenders."""
    made = []

    def make():
        made.append(Contender(contender_program))
        return made[-1]
    yield make
    for one in made:
        one.end()


@pytest.fixture
def contend(contenders, server):
    """Makes a contender, a client in a process of its own: contend(address=..., timeout_ms=...)."""
    def make(hosts=None, process=None, **options):
        return (process or contenders()).connect(hosts or server.address, **options)
    return make


@pytest.fixture
def kazoo(server):
    """Makes kazoo clients."""
    made, driver = [], clients.start("kazoo")

    def make(**options):
        made.append(driver.connect(server.address, **options))
        return made[-1]
    yield make
    for client in made:
        client.close()
    driver.close()


@pytest.fixture
def curators(server):
    """Makes Curator clients."""
    driver = clients.start("java")
    with clients.curators(driver, server.address) as make:
        yield make
    driver.close()


@pytest.fixture
def zk(kazoo):
    """A client that looks on."""
    return kazoo()


@pytest.fixture
def losing(server):
    """A proxy in front of the server that loses replies on demand."""
    one = LosingProxy(*server.sockaddrs)
    yield one
    one.close()


@pytest.fixture
def path(root_name):
    return root_name
