"""Members of groups and services of zk.h, alone and with Curator's."""
import json
import os
import random
import signal

import pytest

from harness.clients import EPHEMERAL, NOAUTH, NONODE, READ, ZkError, encode, refused
from harness.servers import wait_for

MALFORMED = -1015
SESSION_MS = 2500
SOON_S = 15
pytestmark = pytest.mark.server(config={"tickTime": 500})   # sessions may be short


def start(client, path, data=b"", **args):
    client.call("member_start", path=path, data=encode(data), **args)


def content(zk, path):
    """None: there is no node."""
    try:
        return zk.get(path)[0]
    except ZkError as problem:
        assert problem.code == NONODE
        return None


def test_a_group(contend, curators, zk, path):
    ours, theirs = contend(), curators()
    start(ours, f"{path}/one", b"1")
    assert theirs.call("member_list", path=path, id="two") is not None
    wait_for(lambda: theirs.call("member_list", path=path, id="two") == ["one", "two"], SOON_S,
             "both")
    ours.call("cache_start", path=path, levels=2)
    ours.wait_event(SOON_S, kind="cache", type="added", path=f"{path}/two")
    ours.call("free", path=f"{path}/one")
    wait_for(lambda: theirs.call("member_list", path=path, id="two") == ["two"], SOON_S, "one")
    theirs.call("member_close", path=path)
    ours.wait_event(SOON_S, kind="cache", type="removed", path=f"{path}/two")


def test_it_stays(contend, zk, path):
    client = contend()
    node = f"{path}/id"
    start(client, node, b"1")
    stat = zk.exists(node)
    assert stat["ephemeralOwner"] == client.session_id
    client.call("member_set", path=node, data=encode(b"2"))
    wait_for(lambda: zk.get(node)[0] == b"2", SOON_S, "the new content")
    zk.delete(node)
    wait_for(lambda: content(zk, node) == b"2", SOON_S, "the node again")
    client.call("free", path=node)
    wait_for(lambda: not zk.exists(node), SOON_S, "its end")


def test_its_session_ends(contend, zk, path):
    client = contend(timeout_ms=SESSION_MS)
    start(client, path, b"1")
    os.kill(client.driver.process.pid, signal.SIGSTOP)
    wait_for(lambda: not zk.exists(path), SOON_S, "its end")
    asked = client.submit("member_state", path=path)
    os.kill(client.driver.process.pid, signal.SIGCONT)
    assert client.result(asked) in ("suspended", "lost")
    wait_for(lambda: zk.exists(path), SOON_S, "the node again")
    assert zk.get(path)[0] == b"1"
    wait_for(lambda: client.call("member_state", path=path) == "owned", SOON_S, "its state")


def test_somebody_has_the_name(contend, zk, path):
    """What is there at the beginning is left over; who comes later may keep it."""
    zk.create(path, b"left over", EPHEMERAL)
    client, other = contend(), contend()
    start(client, path, b"first")
    assert zk.get(path)[0] == b"first"
    start(other, path, b"second")
    assert zk.get(path)[0] == b"second"
    wait_for(lambda: client.call("member_state", path=path) == "lost", SOON_S, "loss")
    assert zk.get(path)[0] == b"second"
    other.call("free", path=path)
    wait_for(lambda: content(zk, path) == b"first", SOON_S, "the first again")
    start(other, path, b"third")
    third = zk.exists(path)["czxid"]
    client.call("free", path=path)      # which is not its own any more
    for number in range(3):             # after what that had to do, one request after the other
        start(client, f"{path}-{number}", b"")
    assert zk.exists(path)["czxid"] == third


def test_a_broken_connection(contend, losing, zk, path):
    client = contend(losing.address)
    start(client, path, b"1")
    losing.refuse()
    client.wait_event(SOON_S, kind="hold", hold="suspended")
    client.call("member_set", path=path, data=encode(b"2"))
    losing.accept()
    wait_for(lambda: client.call("member_state", path=path) == "owned", SOON_S, "its state")
    wait_for(lambda: zk.get(path)[0] == b"2", SOON_S, "the new content")
    losing.refuse()
    client.call("free", path=path)
    losing.accept()
    wait_for(lambda: not zk.exists(path), SOON_S, "its end")


def test_freed_after_a_broken_connection(contend, losing, zk, path):
    """The event of the old watch and the answer that sets a new one come together then."""
    client = contend(losing.address)
    start(client, path, b"1")
    losing.refuse()
    client.wait_event(SOON_S, kind="hold", hold="suspended")
    zk.set(path, b"2")
    losing.accept()
    wait_for(lambda: client.call("member_state", path=path) == "owned", SOON_S, "its state")
    client.call("free", path=path)
    assert client.call("watches") == 0
    wait_for(lambda: not zk.exists(path), SOON_S, "its end")
    start(client, f"{path}-2")


def test_not_allowed(contend, zk, path):
    zk.create(path, acl=[[READ, "world", "anyone"]])
    with refused(NOAUTH):
        start(contend(), f"{path}/id")


# --- services ---

URI = {"parts": [{"value": "scheme", "variable": True}, {"value": "://", "variable": False},
                 {"value": "address", "variable": True}, {"value": ":", "variable": False},
                 {"value": "port", "variable": True}]}


def test_services_for_curator(contend, curators, zk, path):
    ours, theirs = contend(), curators()
    services = [
        {"name": "svc", "id": "id-1", "address": "10.0.0.1", "port": 8080,
         "registered": 1700000000000},
        {"name": "svc", "id": 'q"uo\\te \u00e9\u20ac', "address": "h\n\u0001\U0001f600", "port": 1,
         "ssl_port": 443, "payload": '"pay\\u0041load"', "uri_spec": json.dumps(URI),
         "registered": 5, "type": 2}]
    for one in services:
        ours.call("service_register", path=path, **one, **{"as": one["id"]})
    data = zk.get(f"{path}/svc/id-1")[0]
    assert data == (b'{"name":"svc","id":"id-1","address":"10.0.0.1","port":8080,"sslPort":null,'
                    b'"payload":null,"registrationTimeUTC":1700000000000,"serviceType":"DYNAMIC",'
                    b'"uriSpec":null}')
    assert zk.exists(f"{path}/svc/id-1")["ephemeralOwner"] == ours.session_id
    found = {one["id"]: one for one in theirs.call("service_list", path=path, name="svc")}
    assert found["id-1"] == {
        "name": "svc", "id": "id-1", "address": "10.0.0.1", "port": 8080, "ssl_port": None,
        "payload": None, "type": "DYNAMIC", "enabled": True, "registered": 1700000000000,
        "uri": None}
    other = found[services[1]["id"]]
    assert (other["address"], other["ssl_port"], other["payload"], other["type"]) == (
        services[1]["address"], 443, "payAload", "PERMANENT")
    assert other["uri"].endswith(f"://{services[1]['address']}:1")
    ours.call("free", **{"as": "id-1"})
    wait_for(lambda: len(theirs.call("service_list", path=path, name="svc")) == 1, SOON_S, "one")


def test_services_of_curator(contend, curators, zk, path):
    ours, theirs = contend(), curators()
    assert ours.call("service_list", path=path, name="svc") == []
    theirs.call("service_register", path=path, name="svc", id="a\u00e9", address="1.2.3.4",
                port=99, payload='with "quotes"')

    def found_one():    # it registers once more, in the background, when it is connected
        found = ours.call("service_list", path=path, name="svc")
        return found if len(found) == 1 else None
    found = wait_for(found_one, SOON_S, "the service")
    assert found[0].pop("registered") > 1600000000000
    spec = json.loads(found[0].pop("uri_spec"))
    assert [part["value"] for part in spec["parts"]] == ["scheme", "://", "address", ":", "port"]
    assert found == [{"name": "svc", "id": "a\u00e9", "address": "1.2.3.4", "port": 99,
                      "ssl_port": -1, "payload": '"with \\"quotes\\""', "type": 0,
                      "disabled": False}]
    zk.create(f"{path}/svc/broken", b'{"name":"svc","id":')
    wait_for(found_one, SOON_S, "the service alone")


def read(client, text):
    return client.call("service_read", data=encode(text))


def test_services_as_they_may_be(contend):
    client = contend()
    assert read(client, b"{}")["name"] is None
    assert read(client, b' { "port" : 1.5e1 , "x":[{"y":[1,-2,{}]},true,null,"\\u00e9"] } ')[
        "port"] == 1
    assert read(client, b'{"enabled":false}')["disabled"] is True
    assert read(client, b'{"id":"\\ud83d\\ude00\\n\\/"}')["id"] == "\U0001f600\n/"
    assert read(client, b'{"serviceType":"DYNAMIC_SEQUENTIAL"}')["type"] == 3
    assert read(client, b'{"payload":["java.util.ArrayList",["a",{"b":"}"}]]}')["payload"] == (
        '["java.util.ArrayList",["a",{"b":"}"}]]')
    assert read(client, b'{"x":123456789012345678901234567890,"y":-0.5e+400,"id":"\xc3\xa9"}')[
        "id"] == "\u00e9"
    for wrong in (b"", b"null", b"[]", b"{", b'{"id"}', b'{"id":}', b'{"id":"a",}', b'{"id":"a"}x',
                  b'{"id":"\\ud83d"}', b'{"id":"\\u0000"}', b'{"id":"a\nb"}', b'{"id":"\\x"}',
                  b'{"id":1}', b'{"port":"1"}', b'{"port":99999999999}', b'{"enabled":1}',
                  b'{"serviceType":"OTHER"}', b'{"id":"', b'{"x":' + b"[" * 100 + b"]" * 100 +
                  b"}", b"{'id':1}", b'{"port":-}', b'{"port":1.}', b'{"x":tru}', b"\xff\x00",
                  b'{"port":01}', b'{"id":"\xff"}', b'{"id":"\xc0\x80"}',
                  b'{"id":"\xed\xa0\x80"}', b'{"x":"\xf4\x90\x80\x80"}', b'{"id":"\xc3"}'):
        with refused(MALFORMED):
            read(client, wrong)


def test_services_damaged_by_chance(contend):
    """What is accepted is JSON for others too."""
    client, rng = contend(), random.Random(20)
    whole = json.dumps({
        "name": "s\u00e9\U0001f600\n", "id": "i\\\"", "address": None, "port": -0, "sslPort": 443,
        "payload": ["java.lang.Long", 5, {"a": [True, 1.5e-7, {}]}], "uriSpec": URI,
        "registrationTimeUTC": 1700000000000, "serviceType": "STATIC", "enabled": False})
    seeds = [whole.encode(), json.dumps(json.loads(whole), ensure_ascii=False).encode()]
    accepted = 0
    for number in range(1500):
        text = bytearray(seeds[number % 2])
        for _ in range(rng.choice([1, 1, 2, 5])):
            at = rng.randrange(len(text))
            kind = rng.randrange(4)
            if kind == 0:
                text[at] ^= 1 << rng.randrange(8)
            elif kind == 1:
                del text[at:at + rng.randrange(1, 9)]
            elif kind == 2:
                text[at:at] = text[at:at + rng.randrange(1, 9)]
            else:
                text[at:at] = rng.choice([b'"', b"\\", b"{", b"]", b",", b"0", b"e", b"\\ud800"])
        try:
            read(client, bytes(text))
        except ZkError as problem:
            assert problem.code == MALFORMED
            continue
        accepted += 1
        assert isinstance(json.loads(text.decode()), dict)
    assert 100 < accepted < 1400


@pytest.mark.parametrize("wrong", [
    {"name": "a/b"}, {"id": "a/b"}, {"name": ""}, {"id": ""}, {"payload": "not json"},
    {"payload": '"a" "b"'}, {"uri_spec": "{"}, {"type": 3}, {"type": 4}])
def test_services_that_cannot_be(contend, path, wrong):
    with refused(-8):
        contend().call("service_register", path=path, **{"name": "n", "id": "i", "as": "x",
                                                         **wrong})
