"""Access control: the five schemes, every permission, and who sees what of an ACL."""
import base64
import hashlib

import pytest

from harness.clients import (ADMIN, ALL, AUTHFAILED, CREATE, DELETE, INVALIDACL, NOAUTH, OPEN,
                             READ, WRITE, op_check, op_create, op_set, refused)

SUPER = "super:D/InIHSb7yEEbrWz8b9l71RjZJU="     # super:test
with_super = pytest.mark.server(config={"DigestAuthenticationProvider.superDigest": SUPER})


def digest(user, password):
    text = f"{user}:{password}"
    return f"{user}:{base64.b64encode(hashlib.sha1(text.encode()).digest()).decode()}"


BOB = digest("bob", "secret")
assert BOB == "bob:fyVmFCwVbTJYrznoSu1koqYEYF0="
FOR_BOB = [[ALL, "digest", BOB]]


@pytest.fixture
def bob(connect):
    client = connect()
    client.add_auth("digest", "bob:secret")
    return client


def check_everything_refused(client, path):
    """A node with one child, both closed to this client."""
    for call in (lambda: client.get(path), lambda: client.exists(path),
                 lambda: client.children(path), lambda: client.set(path, b""),
                 lambda: client.create(f"{path}/new"), lambda: client.delete(f"{path}/child"),
                 lambda: client.get_acl(path), lambda: client.set_acl(path, OPEN),
                 lambda: client.multi(op_set(path, b"")),
                 lambda: client.multi(op_check(path, -1))):
        with refused(NOAUTH):
            call()


def check_everything_allowed(client, path):
    client.get(path)
    client.children(path)
    client.set(path, b"x")
    client.create(f"{path}/new")
    client.delete(f"{path}/new")
    client.set_acl(path, client.get_acl(path)[0])


def guarded(client, root, acl):
    path = client.create(f"{root}/guarded")
    client.create(f"{path}/child")
    client.set_acl(path, acl)
    return path


# Permissions

def test_world_without_any_right(zk, root):
    path = guarded(zk, root, [[0, "world", "anyone"]])
    check_everything_refused(zk, path)


def test_each_permission_allows_what_it_says(zk, root):
    calls = {
        READ: lambda path: (zk.get(path), zk.children(path), zk.exists(path), zk.get_acl(path)),
        WRITE: lambda path: zk.set(path, b"x"),
        CREATE: lambda path: zk.create(f"{path}/new"),
        DELETE: lambda path: zk.delete(f"{path}/child"),
        ADMIN: lambda path: (zk.get_acl(path), zk.set_acl(path, OPEN)),
    }
    for right in calls:
        path = zk.create(f"{root}/{right}")
        zk.create(f"{path}/child")
        zk.set_acl(path, [[right, "world", "anyone"]])
        for other, call in calls.items():
            if other != right and right != ADMIN:       # ADMIN may give itself all others
                with refused(NOAUTH):
                    call(path)
        calls[right](path)


def test_rights_are_not_inherited(zk, root):
    path = guarded(zk, root, [[0, "world", "anyone"]])
    zk.set(f"{path}/child", b"x")
    assert zk.get(f"{path}/child")[0] == b"x"


def test_the_parent_says_who_may_delete(zk, root):
    closed = zk.create(f"{root}/closed", acl=[[0, "world", "anyone"]])
    zk.delete(closed)
    path = guarded(zk, root, [[ALL - DELETE, "world", "anyone"]])
    with refused(NOAUTH):
        zk.delete(f"{path}/child")


def test_get_acl_gives_what_was_set(zk, root):
    path = zk.create(f"{root}/a", acl=[[READ, "world", "anyone"], [ALL, "ip", "127.0.0.1"]])
    assert zk.get_acl(path)[0] == [[READ, "world", "anyone"], [ALL, "ip", "127.0.0.1"]]
    zk.set_acl(path, OPEN)
    acl, stat = zk.get_acl(path)
    assert acl == OPEN
    assert stat["aversion"] == 1


def test_duplicates_are_removed(zk, root):
    path = zk.create(f"{root}/a", acl=[[ALL, "world", "anyone"], [READ, "ip", "10.0.0.1"],
                                       [ALL, "world", "anyone"]])
    assert zk.get_acl(path)[0] == [[ALL, "world", "anyone"], [READ, "ip", "10.0.0.1"]]


# Schemes

def test_digest(zk, connect, bob, root):
    path = guarded(bob, root, FOR_BOB)
    check_everything_allowed(bob, path)
    check_everything_refused(zk, path)
    wrong = connect()
    wrong.add_auth("digest", "bob:wrong")
    check_everything_refused(wrong, path)
    wrong.add_auth("digest", "bob:secret")      # identities add up
    check_everything_allowed(wrong, path)


def test_auth_stands_for_own_identities(zk, bob, root):
    path = guarded(bob, root, [[ALL, "auth", ""]])
    assert bob.get_acl(path)[0] == FOR_BOB
    check_everything_allowed(bob, path)
    check_everything_refused(zk, path)


def test_auth_with_two_identities(bob, root):
    bob.add_auth("digest", "ann:other")
    path = bob.create(f"{root}/a", acl=[[ALL, "auth", "ignored"]])
    assert sorted(bob.get_acl(path)[0]) == sorted(
        [[ALL, "digest", BOB], [ALL, "digest", digest("ann", "other")]])


def test_auth_without_identity(zk, root):
    with refused(INVALIDACL):
        zk.create(f"{root}/a", acl=[[ALL, "auth", ""]])
    with refused(INVALIDACL):
        zk.set_acl(root, [[ALL, "auth", ""]])


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.0/8", "127.0.0.1/32", "0.0.0.0/0"])
def test_ip_that_matches(zk, root, address):
    path = guarded(zk, root, [[ALL, "ip", address]])
    check_everything_allowed(zk, path)


@pytest.mark.parametrize("address", ["127.0.0.2", "10.0.0.0/8", "126.0.0.0/8", "::1"])
def test_ip_that_does_not_match(zk, root, address):
    path = guarded(zk, root, [[ALL, "ip", address]])
    check_everything_refused(zk, path)


@with_super
def test_super_may_do_everything(zk, connect, bob, root):
    closed = guarded(zk, root, [[0, "world", "anyone"]])
    superuser = connect()
    superuser.add_auth("digest", "super:test")
    check_everything_allowed(superuser, closed)
    check_everything_refused(bob, closed)
    assert superuser.get("/zookeeper/config")[0] is not None


@with_super
def test_super_with_a_wrong_password(zk, connect, root):
    closed = guarded(zk, root, [[0, "world", "anyone"]])
    wrong = connect()
    wrong.add_auth("digest", "super:tess")
    check_everything_refused(wrong, closed)


def test_super_is_nobody_unless_configured(zk, connect, root):
    closed = guarded(zk, root, [[0, "world", "anyone"]])
    superuser = connect()
    superuser.add_auth("digest", "super:test")
    check_everything_refused(superuser, closed)


def test_the_config_node_is_read_only(zk):
    assert zk.get_acl("/zookeeper/config")[0] == [[READ, "world", "anyone"]]
    with refused(NOAUTH):
        zk.set("/zookeeper/config", b"x")
    with refused(NOAUTH):
        zk.create("/zookeeper/config/a")


# Masking

def test_get_acl_masks_digests_without_admin(zk, bob, root):
    path = bob.create(f"{root}/a", acl=[[ALL, "digest", BOB], [READ, "world", "anyone"]])
    assert bob.get_acl(path)[0] == [[ALL, "digest", BOB], [READ, "world", "anyone"]]
    assert zk.get_acl(path)[0] == [[ALL, "digest", "bob:x"], [READ, "world", "anyone"]]


# Bad ACLs and bad credentials

BAD = [
    [],
    [[ALL, "world", "someone"]],
    [[ALL, "nosuchscheme", "x"]],
    [[ALL, "super", "x"]],
    [[ALL, "digest", "bob"]],
    [[ALL, "digest", "a:b:c"]],
    [[ALL, "ip", "1.2.3"]],
    [[ALL, "ip", "1.2.3.4/33"]],
    [[ALL, "ip", "localhost"]],
    [[ALL, "", ""]],
    [[ALL, "world", "anyone"], [ALL, "ip", "1.2.3.4/"]],
]


@pytest.mark.parametrize("acl", BAD, ids=str)
def test_bad_acls(zk, root, acl):
    with refused(INVALIDACL):
        zk.create(f"{root}/a", acl=acl)
    with refused(INVALIDACL):
        zk.set_acl(root, acl)
    assert zk.exists(f"{root}/a") is None
    assert zk.exists(root)["aversion"] == 0


def test_a_bad_acl_in_a_multi(zk, root):
    with refused(INVALIDACL) as caught:
        zk.multi(op_create(f"{root}/a"), op_create(f"{root}/b", acl=[[ALL, "digest", "bob"]]))
    assert [result["err"] for result in caught.value.results] == [0, INVALIDACL]


@pytest.mark.parametrize("scheme", ["nosuchscheme", "world"])
def test_bad_credentials_end_the_connection(connect, root, scheme):
    client = connect()
    with refused(AUTHFAILED):
        client.add_auth(scheme, "x:y")


def test_identities_survive_a_reconnect(zk, connect, server, proxy, root):
    link = proxy(server)
    client = connect(link.address)
    client.add_auth("digest", "bob:secret")
    path = guarded(client, root, FOR_BOB)
    link.cut()
    client.wait_state("disconnected")
    client.wait_state("connected")
    check_everything_allowed(client, path)
    check_everything_refused(zk, path)


def test_who_am_i(bob):
    assert bob.who_am_i() == [["digest", "bob"], ["ip", "127.0.0.1"]]
