"""Programs written for the C client of stock, against that and against ours (examples/compat).

Each program in this folder is compiled twice, with the headers and the library of Debian's 3.8.0
and with ours, which is built with sanitizers. Both run against the same server and must say the
same. Together they use every symbol that the library of stock exports. What is only in ours,
because it is newer or because stock fails there, is in fixes.c.
"""
import itertools
import os

import pytest

from libraries import FORMS, PROGRAMS, run

# Whoever comes first builds the library.
pytestmark = pytest.mark.timeout(400)

_numbers = itertools.count(1)


def root_of(name):
    return f"/capi-{os.getpid()}-{name}-{next(_numbers)}"


@pytest.mark.server(config={"extendedTypesEnabled": "true"},
                    props={"zookeeper.extendedTypesEnabled": "true"})
@pytest.mark.parametrize("name, form", PROGRAMS, ids=[f"{n}-{f}" for n, f in PROGRAMS])
def test_a_program_says_the_same(programs, stock, ours, server, name, form):
    said = {library.name: run(programs(name, form, library), library, server.address,
                              root_of(name)) for library in (stock, ours)}
    assert said["ours"] == said["stock"]
    assert len(said["ours"]) > 20


@pytest.mark.server(config={"extendedTypesEnabled": "true"},
                    props={"zookeeper.extendedTypesEnabled": "true"})
def test_a_program_may_be_relinked(programs, stock, relinked, server):
    said = {library.name: run(programs("sync", "mt", library), library, server.address,
                              root_of("sync")) for library in (stock, relinked)}
    assert said["relinked"] == said["stock"]


@pytest.mark.server(config={"tickTime": 200})
@pytest.mark.parametrize("form", FORMS)
def test_a_broken_connection(programs, stock, ours, server, proxy, form):
    said = {}
    for library in (stock, ours):
        link = proxy(server)
        said[library.name] = run(programs("reconnect", form, library), library, link.address,
                                 root_of("reconnect"), server.address,
                                 obey=lambda what: getattr(link, what)())
    assert said["ours"] == said["stock"]
    assert said["ours"][-2:] == ["close: 0", "close: 0"]


FIXED = """\
root: 0
no handle: -8 -8 -8
no handle: -8 -8
no path: -8 -8 -8 -8
no length: -8
no stat: 0
no names: 0
no acl: -114
no operations: -8
no path in a multi: -5
no completion: 0
no vector: 0 0
no handle: 1 1
multi: 0
  0 ROOT/container ROOT/container
  0 ROOT/ttl-0000000001 ROOT/ttl-0000000001
  0 ROOT/two ROOT/two
unknown operation: -6
configuration below a root of one's own: 0
no path: -8
bad path in a multi: -5
close: 0
watch: 0
removed locally: 0
remove: 0
watch: 0
all of them: 0
remove: 0
set: 0
watch: 0
watcher: 3 3 ROOT
set: 0
told: 20
identity: 0, a call meanwhile: 0
add: 0
mine: 0
close: 0
bad lists: -8 -8
only another port: 0
works: 0
close: 0
no connection in time: -4
multi: -4 -4
close: 0
all were called: 50 -116
a call while the handle is closed: 1
close: 0
write: 0
read: 0 1
too long: 1
greeting: 0 31 bytes, the last 1
version: 3.9.5 3.9.5
close: 0
"""


@pytest.mark.server(config={"extendedTypesEnabled": "true"},
                    props={"zookeeper.extendedTypesEnabled": "true"})
def test_what_stock_does_wrong(programs, ours, server):
    said = run(programs("fixes", "mt", ours), ours, server.address, root_of("fixes"))
    assert said == FIXED.splitlines()
