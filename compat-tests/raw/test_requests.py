"""What each request does, at its edges, in raw frames: paths, ACLs, modes, multi, watches, quotas.

Each test runs against stock and against zkd with the same assertions, except those that take the
fixture `zkd`: there stock crashes or corrupts its tree, and ours has to refuse and go on serving.
Section numbers are those of the client protocol spec.
"""
import itertools
import struct

import pytest

import frames
from frames import CLOSED, ERR, WORLD

DENIED = [(0, "world", "anyone")]


def events_of(conn):
    return [event.event for event in conn.drain()]


def code(reply):
    """The error of a reply that must exist; an error other than the multiRead oddity has no
    body."""
    assert reply is not CLOSED
    assert not reply.err or reply.body == b"", reply
    return reply.err


# ---- paths (10) ------------------------------------------------------------------------------
GOOD_NAMES = ["\x20", "\x7e", "\u00a0", "\ud7ff", "\uf900", "\uffef", "...", ".a", "a..", "a.b",
              "~", "-", "\\", "?", "a b", "\u00e4\u20ac"]
BAD_NAMES = ["\0", "\x01", "\x1f", "\x7f", "\x80", "\x9f", "\ue000", "\uf8ff", "\ufff0",
             "\ufffd", "\uffff", "\U00010000", "\U0001f600", "\U0010ffff", ".", "..", "a\0b",
             "a\nb", "a\x7f"]


@pytest.mark.parametrize("name", GOOD_NAMES, ids=ascii)
def test_valid_path_components(connect, root, name):
    conn = connect()
    path = root + "/" + name
    assert conn.call("create", path=path).record("create") == {"path": path}
    assert conn.call("create", path=path + "/c").err == 0
    assert code(conn.call("setData", path=path)) == 0
    assert name in conn.call("getChildren", path=root).record("getChildren")["children"]


@pytest.mark.parametrize("name", BAD_NAMES, ids=ascii)
def test_invalid_path_components(connect, root, name):
    conn = connect()
    path = root + "/" + name
    for opcode in ("create", "create2", "createContainer", "setData", "setACL"):
        flags = 4 if opcode == "createContainer" else 0
        assert code(conn.call(opcode, path=path, flags=flags)) == ERR["BADARGUMENTS"], opcode
    has_nul = "\0" in name
    # delete validates less, reads hardly at all: to them a path is a hash key
    assert code(conn.call("delete", path=path)) == ERR["BADARGUMENTS" if has_nul else "NONODE"]
    assert code(conn.call("exists", path=path)) == ERR["BADARGUMENTS" if has_nul else "NONODE"]
    for read in ("getData", "getACL", "getChildren", "getChildren2", "getAllChildrenNumber"):
        assert code(conn.call(read, path=path)) == ERR["NONODE"], read


@pytest.mark.parametrize("raw", [b"\xff", b"\xc3", b"\xc3\x28", b"\xed\xa0\xbd\xed\xb8\x80",
                                 b"\xf0\x9f\x98", b"\xc0\x80", b"\xf8\x88\x80\x80\x80", b"a\x80"])
def test_paths_that_are_not_utf8(connect, root, raw):
    conn = connect()
    path = root.encode() + b"/" + raw
    assert code(conn.call("create", path=path)) == ERR["BADARGUMENTS"]
    assert code(conn.call("exists", path=path)) == ERR["NONODE"]


@pytest.mark.parametrize("path,wanted", [
    ("", -8), ("a", -8), ("/", -110), ("//", -8), ("/missing/x", -101), ("/missing/x/", -101),
    ("{root}/", -8), ("{root}//x", -101), ("{root}/x/", -101), ("{root}/.", -8),
    ("{root}/..", -8), ("{root}/./x", -101), ("x/y", -101), ("{root}", -110)])
def test_create_order_of_checks(connect, root, path, wanted):
    """9.1: the parent is looked up before the whole path is validated."""
    assert code(connect().call("create", path=path.format(root=root))) == wanted


def test_create_below_an_empty_component(connect, root):
    conn = connect()
    assert code(conn.call("create", path=root + "/a")) == 0
    assert code(conn.call("create", path=root + "/a/")) == ERR["BADARGUMENTS"]
    assert code(conn.call("create", path=root + "/a//b")) == ERR["NONODE"]
    assert code(conn.call("setData", path=root + "/a/")) == ERR["BADARGUMENTS"]
    assert code(conn.call("delete", path=root + "/a/")) == ERR["NONODE"]


@pytest.mark.parametrize("path", ["", "a", "/", "/zookeeper", "/zookeeper/quota",
                                  "/zookeeper/config"])
def test_nodes_that_cannot_be_deleted(connect, path):
    assert code(connect().call("delete", path=path)) == ERR["BADARGUMENTS"]


def test_empty_path_is_the_root_to_reads(connect):
    conn = connect()
    for name in ("exists", "getData", "getACL", "getChildren2"):
        empty, slash = conn.call(name, path=""), conn.call(name, path="/")
        assert empty.err == 0 and empty.payload[16:] == slash.payload[16:], name
    assert code(conn.call("setData", path="")) == ERR["BADARGUMENTS"]


def test_sync_echoes_any_path(connect):
    conn = connect()
    for path in ("/", "", "x", "/no/such/node/", "/\x01", None):
        assert conn.call("sync", path=path).record("sync") == {"path": path}


# ---- modes, TTL, containers, sequences (9.1, 11, 14) -----------------------------------------
@pytest.mark.parametrize("name", ["create", "create2", "createContainer", "createTTL"])
@pytest.mark.parametrize("flags", [-1, 7, 8, 100, 2 ** 31 - 1, -2 ** 31])
def test_invalid_flags(connect, root, name, flags):
    fields = {"path": root + "/n", "flags": flags}
    if name == "createTTL":
        fields["ttl"] = 1000
    assert code(connect().call(name, **fields)) == ERR["BADARGUMENTS"]


@pytest.mark.parametrize("name", ["create", "create2", "createContainer"])
@pytest.mark.parametrize("flags", [5, 6])
def test_ttl_modes_need_the_ttl_opcode(connect, root, name, flags):
    assert code(connect().call(name, path=root + "/n", flags=flags)) == ERR["BADARGUMENTS"]


@pytest.mark.parametrize("ttl,wanted", [
    (1, 0), (2 ** 40 - 1, 0), (0, -8), (-1, -8), (2 ** 40, -8), (-2 ** 63, -8),
    (2 ** 63 - 1, -8)])
@pytest.mark.parametrize("flags", [5, 6])
def test_ttl_range(connect, root, flags, ttl, wanted):
    # what is created with a TTL of one millisecond may be reaped, but not within this request
    reply = connect().call("createTTL", path=root + "/n", flags=flags, ttl=ttl)
    assert code(reply) == wanted
    if not wanted:
        made = reply.record("createTTL")
        assert made["path"] == root + ("/n" if flags == 5 else "/n0000000000")
        assert made["stat"]["ephemeralOwner"] == 0


@pytest.mark.parametrize("flags", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("ttl", [0, 1, 2 ** 40])
def test_ttl_with_another_mode(connect, root, flags, ttl):
    assert code(connect().call("createTTL", path=root + "/n", flags=flags,
                               ttl=ttl)) == ERR["BADARGUMENTS"]


@pytest.mark.parametrize("flags", [0, 1, 2, 3, 4])
def test_ttl_with_another_mode_and_no_ttl(zkd, flags):
    """Stock exits, and exits again whenever it replays its log."""
    with frames.session(zkd.address) as conn:
        reply = conn.call("createTTL", path="/ttl", flags=flags, ttl=-1)
        assert code(reply) == ERR["BADARGUMENTS"]
        assert code(conn.call("exists", path="/ttl")) == ERR["NONODE"]


@pytest.mark.parametrize("name", ["create", "create2"])
def test_container_mode_under_the_wrong_opcode(zkd, name):
    """Stock stores a plain node while its digest has a container."""
    with frames.session(zkd.address) as conn:
        assert code(conn.call(name, path="/wrong", flags=4)) == ERR["BADARGUMENTS"]
        assert code(conn.call("exists", path="/wrong")) == ERR["NONODE"]


@pytest.mark.parametrize("flags", [0, 1, 2, 3])
def test_another_mode_under_the_container_opcode(zkd, flags):
    with frames.session(zkd.address) as conn:
        reply = conn.call("createContainer", path="/wrong", flags=flags)
        assert code(reply) == ERR["BADARGUMENTS"]
        assert conn.call("exists", path="/wrong").err == ERR["NONODE"]


def test_extended_types_off(fresh):
    server = fresh({"extendedTypesEnabled": "false"})
    with frames.session(server.address) as conn:
        for flags, ttl in ((5, 1000), (6, 1000), (5, 0), (5, -1)):
            assert code(conn.call("createTTL", path="/n", flags=flags,
                                  ttl=ttl)) == ERR["UNIMPLEMENTED"]
        assert code(conn.call("createContainer", path="/c", flags=4)) == 0


def test_container(connect, root):
    conn = connect()
    made = conn.call("createContainer", path=root + "/c", flags=4, data=b"x")
    stat = made.record("createContainer")["stat"]
    assert stat["ephemeralOwner"] == 0 and stat["dataLength"] == 1
    assert code(conn.call("create", path=root + "/c/child")) == 0


def test_create_answers(connect, root):
    """create answers with the path, create2 adds the Stat, ephemerals carry their session."""
    conn = connect()
    assert conn.call("create", path=root + "/a").record("create") == {"path": root + "/a"}
    for flags in range(4):
        reply = conn.call("create2", path=root + "/b%d-" % flags, flags=flags, data=b"four")
        stat = reply.record("create2")["stat"]
        assert stat["czxid"] == stat["mzxid"] == stat["pzxid"] == reply.zxid
        assert stat["ctime"] == stat["mtime"] > 0
        assert stat["ephemeralOwner"] == (conn.session_id if flags & 1 else 0)
        assert (stat["version"], stat["cversion"], stat["aversion"]) == (0, 0, 0)
        assert (stat["dataLength"], stat["numChildren"]) == (4, 0)


def test_ephemerals_have_no_children(connect, root):
    conn = connect()
    conn.call("create", path=root + "/e", flags=1)
    for flags in range(4):
        assert code(conn.call("create", path=root + "/e/c",
                              flags=flags)) == ERR["NOCHILDRENFOREPHEMERALS"]


def test_null_and_empty_data(connect, root):
    conn = connect()
    for data in (None, b"", b"x"):
        path = root + "/n%s" % (data and len(data))
        conn.call("create", path=path, data=data)
        got = conn.call("getData", path=path).record("getData")
        assert got["data"] == data and got["stat"]["dataLength"] == len(data or b"")
        conn.call("delete", path=path)
        conn.call("create", path=path, data=b"was")
        conn.call("setData", path=path, data=data)
        assert conn.call("getData", path=path).record("getData")["data"] == data


def test_sequence_numbers(connect, root):
    conn = connect()

    def sequential(path, flags=2):
        reply = conn.call("create", path=path, flags=flags)
        return reply.record("create")["path"] if code(reply) == 0 else reply.err
    assert sequential(root + "/s-") == root + "/s-0000000000"
    assert sequential(root + "/") == root + "/0000000001"
    assert sequential(root + "/s-", 3) == root + "/s-0000000002"
    conn.call("delete", path=root + "/s-0000000002")
    assert sequential(root + "/s-") == root + "/s-0000000003", "a delete gives nothing back"
    conn.call("create", path=root + "/plain")
    assert sequential(root + "/s-") == root + "/s-0000000005", "a plain create counts"
    conn.call("create", path=root + "/plain")
    conn.call("setData", path=root)
    assert sequential(root + "/..") == root + "/..0000000006", "valid with the number appended"
    assert sequential(root + "/x/") == ERR["NONODE"]
    assert code(conn.call("create", path=root + "/\x01", flags=2)) == ERR["BADARGUMENTS"]


def test_stat_of_parent(connect, root):
    conn = connect()

    def stat():
        return conn.call("exists", path=root).record("exists")["stat"]
    before = stat()
    made = conn.call("create", path=root + "/a")
    after = stat()
    assert (after["cversion"], after["numChildren"]) == (1, 1)
    assert after["pzxid"] == made.zxid and after["mzxid"] == before["mzxid"]
    gone = conn.call("delete", path=root + "/a")
    last = stat()
    assert (last["cversion"], last["numChildren"], last["pzxid"]) == (2, 0, gone.zxid)
    conn.call("setACL", path=root, acl=WORLD)
    assert stat()["aversion"] == 1 and stat()["mzxid"] == before["mzxid"]


@pytest.mark.parametrize("version,wanted", [
    (-1, 0), (0, 0), (1, -103), (-2, -103), (2 ** 31 - 1, -103), (-2 ** 31, -103)])
@pytest.mark.parametrize("name", ["setData", "setACL", "delete"])
def test_versions(connect, root, name, version, wanted):
    assert code(connect().call(name, path=root, version=version)) == wanted


def test_delete_with_children(connect, root):
    conn = connect()
    conn.call("create", path=root + "/a")
    assert code(conn.call("delete", path=root, version=9)) == ERR["BADVERSION"]
    assert code(conn.call("delete", path=root)) == ERR["NOTEMPTY"]


# ---- ACLs (12, 13) ---------------------------------------------------------------------------
BOB = "bob:fyVmFCwVbTJYrznoSu1koqYEYF0="


def stored_acl(conn, path):
    return conn.call("getACL", path=path).record("getACL")["acl"]


@pytest.mark.parametrize("acl", [
    None, [], [(31, "world", "someone")], [(31, "world", "")], [(31, None, "anyone")],
    [(31, "bogus", "x")], [(31, "", "anyone")], [(31, "World", "anyone")], [(31, "super", "")],
    [(31, "super", "anyone")], [(31, "sasl", "bob")], [(31, "auth", "")], [(31, "auth", None)],
    WORLD + [(31, "bogus", "x")]], ids=str)
@pytest.mark.parametrize("name", ["create", "create2", "createContainer", "createTTL", "setACL"])
def test_invalid_acl(connect, root, name, acl):
    fields = {"acl": acl, "path": root if name == "setACL" else root + "/n"}
    if name == "createContainer":
        fields["flags"] = 4
    if name == "createTTL":
        fields.update(flags=5, ttl=10 ** 9)
    assert code(connect().call(name, **fields)) == ERR["INVALIDACL"]


@pytest.mark.parametrize("scheme", ["world", "digest", "ip"])
def test_null_acl_id(connect, root, scheme):
    reply = connect().call("create", path=root + "/n", acl=[(31, scheme, None)])
    assert code(reply) == ERR["MARSHALLINGERROR"]


def test_negative_acl_count_is_an_empty_list(connect, root):
    body = frames.blob(root + "/n") + frames.blob(b"") + struct.pack(">ii", -5, 0)
    assert code(connect().call_body(1, body)) == ERR["INVALIDACL"]


@pytest.mark.parametrize("ident,valid", [
    ("a:b", True), (":b", True), ("a:b:", True), ("a:b::", True), (BOB, True), ("a:", False),
    ("a", False), ("", False), (":", False), ("::", False), ("a::b", False), ("a:b:c", False),
    ("::b", False), (" : ", True)])
def test_digest_ids(connect, root, ident, valid):
    reply = connect().call("create", path=root + "/n", acl=[(31, "digest", ident)])
    assert code(reply) == (0 if valid else ERR["INVALIDACL"])


@pytest.mark.parametrize("ident,valid", [
    ("1.2.3.4", True), ("1.2.3.4/0", True), ("1.2.3.4/8", True), ("1.2.3.4/32", True),
    ("1.2.3.4/33", False), ("1.2.3.4/-1", False), ("1.2.3.4/", False), ("1.2.3.4/x", False),
    ("1.2.3.4/8/9", False), ("1.2.3", False), ("1.2.3.4.5", False), ("1.2.3.256", False),
    ("1.2.3.-1", False), ("01.002.0003.4", True), ("+1.2.3.4", True), ("1.2.3.x", False),
    ("1..2.3", False), (" 1.2.3.4", False), ("1.2.3.4 ", False), ("", False), ("abc", False),
    ("1.2.3.4/+8", True), ("1.2.3.4/08", True), ("/8", False),
    ("::1", True), ("::", True), ("::/0", True), ("::1/128", True), ("::1/129", False),
    ("1:2:3:4:5:6:7:8", True), ("1:2:3:4:5:6:7", False), ("1:2:3:4:5:6:7:8:9", False),
    ("fe80::1/64", True), ("fe80::1::2", False), ("FE80::ABCD", True), ("fe80::12345", False),
    ("fe80::g", False), ("::ffff:1.2.3.4", False), ("fe80::1%eth0", False), ("1::", True),
    ("1:2:3:4:5:6:7::", True), ("::2:3:4:5:6:7:8", True), ("1:2:3:4::5:6:7:8", False)])
def test_ip_ids(connect, root, ident, valid):
    reply = connect().call("create", path=root + "/n", acl=[(31, "ip", ident)])
    assert code(reply) == (0 if valid else ERR["INVALIDACL"])


@pytest.mark.parametrize("ident,allowed", [
    ("127.0.0.1", True), ("127.0.0.0/8", True), ("127.0.0.2", False), ("127.0.0.2/31", False),
    ("127.0.0.3/30", True), ("0.0.0.0/0", True), ("10.0.0.0/8", False), ("::1", False),
    ("::/0", False), ("127.0.0.1/32", True), ("127.0.0.000", False), ("255.255.255.255/1", False),
    ("0.0.0.0/1", True), ("127.000.0.01", True)])
def test_ip_matching(connect, root, ident, allowed):
    conn = connect()
    conn.call("create", path=root + "/n", acl=[(31, "ip", ident)])
    assert code(conn.call("getData", path=root + "/n")) == (0 if allowed else ERR["NOAUTH"])


def test_acl_fix_up(connect, root):
    """12.2: exact duplicates go, order stays, auth becomes the identities, perms are any bits."""
    conn = connect()
    conn.call("auth", -4, scheme="digest", auth=b"bob:secret")
    conn.call("auth", -4, scheme="digest", auth=b"super:test")  # super may read all it stores
    wanted = [(2, "ip", "1.2.3.4"), (1, "world", "anyone"), (31, "world", "anyone")]
    assert code(conn.call("create", path=root + "/a", acl=wanted + wanted[::-1] + wanted)) == 0
    assert stored_acl(conn, root + "/a") == wanted
    odd = [(0, "world", "anyone"), (-1, "ip", "1.2.3.4"), (2 ** 31 - 1, "world", "anyone")]
    assert code(conn.call("setACL", path=root + "/a", acl=odd)) == 0
    assert stored_acl(conn, root + "/a") == odd
    assert code(conn.call("create", path=root + "/b", acl=[
        (31, "auth", "ignored"), (1, "world", "anyone")])) == 0
    *expanded, last = stored_acl(conn, root + "/b")
    assert last == (1, "world", "anyone")
    assert sorted(expanded) == [(31, "digest", BOB),
                                (31, "digest", "super:D/InIHSb7yEEbrWz8b9l71RjZJU=")]


def test_auth_expansion_is_not_deduplicated(connect, root):
    conn = connect()
    conn.call("auth", -4, scheme="digest", auth=b"bob:secret")
    acl = [(31, "auth", ""), (31, "digest", BOB), (31, "auth", "other")]
    assert code(conn.call("create", path=root + "/a", acl=acl)) == 0
    assert stored_acl(conn, root + "/a") == [(31, "digest", BOB)] * 3


def test_get_acl_masks_digests_without_admin(connect, root):
    owner, other = connect(), connect()
    owner.call("auth", -4, scheme="digest", auth=b"bob:secret")
    acl = [(31, "digest", BOB), (1, "world", "anyone"), (1, "digest", "a:b:"),
           (1, "ip", "1.2.3.4"), (1, "digest", ":x")]
    owner.call("create", path=root + "/a", acl=acl)
    assert stored_acl(owner, root + "/a") == acl
    masked = [(perms, scheme, ident.split(":")[0] + ":x" if scheme == "digest" else ident)
              for perms, scheme, ident in acl]
    assert stored_acl(other, root + "/a") == masked


# which permission each request needs, and on which node
NEEDED = [
    ("create", 4, "parent"), ("delete", 8, "parent"), ("setData", 2, "node"),
    ("setACL", 16, "node"), ("exists", 1, "node"), ("getData", 1, "node"),
    ("getChildren", 1, "node"), ("getChildren2", 1, "node"), ("getAllChildrenNumber", 1, "node"),
    ("getACL", 17, "node"), ("check", 1, "node")]


@pytest.mark.parametrize("name,needed,where", NEEDED)
def test_permissions(connect, root, name, needed, where):
    boss, conn = connect(), connect()
    boss.call("auth", -4, scheme="digest", auth=b"super:test")
    for perms in (0, 1, 2, 4, 8, 16, 30, 15, 23, 27, 29, 31):
        parent = root + "/p%d" % perms
        acl = [(perms, "world", "anyone")]
        boss.call("create", path=parent, acl=acl if where == "parent" else WORLD)
        if name != "create":
            boss.call("create", path=parent + "/n", acl=acl if where == "node" else DENIED)
        if name == "check":
            reply = conn.call("multi", ops=[("check", {"path": parent + "/n"})])
            got = reply.record("multi")["results"][0][1]
        else:
            got = code(conn.call(name, path=parent + "/n"))
        assert got == (0 if perms & needed else ERR["NOAUTH"]), perms


def test_a_new_acl_holds_for_the_next_request_in_the_pipeline(zkd):
    """Stock prepares what is behind a setACL with the old list until the new one is applied, so
    there either outcome may come. Ours has to be the new list's, every time."""
    with frames.session(zkd.address) as conn:
        for turn in range(50):
            path = "/pending%d" % turn
            conn.send_raw(b"".join(frames.frame(request) for request in (
                frames.request(1, "create", path=path),
                frames.request(2, "setACL", path=path, acl=[(29, "world", "anyone")]),
                frames.request(3, "setData", path=path),
                frames.request(4, "setACL", path=path, acl=[(2, "world", "anyone")]),
                frames.request(5, "create", path=path + "/c"),
                frames.request(6, "setData", path=path))))
            assert [conn.reply().err for _ in range(6)] == [
                0, 0, ERR["NOAUTH"], 0, ERR["NOAUTH"], 0]


def test_config_node_is_read_only(connect):
    conn = connect()
    assert code(conn.call("getData", path="/zookeeper/config")) == 0
    assert code(conn.call("setData", path="/zookeeper/config")) == ERR["NOAUTH"]
    assert code(conn.call("create", path="/zookeeper/config/a")) == ERR["NOAUTH"]
    assert code(conn.call("setACL", path="/zookeeper/config")) == ERR["NOAUTH"]


def test_skip_acl(fresh):
    server = fresh({"skipACL": "yes"})
    with frames.session(server.address) as conn:
        assert code(conn.call("create", path="/a", acl=DENIED)) == 0
        assert code(conn.call("getData", path="/a")) == 0
        assert code(conn.call("create", path="/b", acl=[])) == ERR["INVALIDACL"]


# ---- multi and multiRead (8) -----------------------------------------------------------------
def multi(conn, *ops):
    reply = conn.call("multi", ops=list(ops))
    assert reply.err == 0, reply
    return [(kind, err) for kind, err, _ in reply.record("multi")["results"]]


def test_multi_results(connect, root):
    conn = connect()
    reply = conn.call("multi", ops=[
        ("create", {"path": root + "/a"}), ("create2", {"path": root + "/b"}),
        ("createContainer", {"path": root + "/c", "flags": 4}),
        ("createTTL", {"path": root + "/t", "flags": 5, "ttl": 10 ** 9}),
        ("setData", {"path": root + "/a", "data": b"x"}),
        ("check", {"path": root + "/a", "version": 1}), ("delete", {"path": root + "/b"})])
    results = reply.record("multi")["results"]
    assert [(kind, err) for kind, err, _ in results] == [
        (1, 0), (15, 0), (15, 0), (15, 0), (5, 0), (13, 0), (2, 0)]
    zxids = {fields["stat"]["mzxid"] for _, _, fields in results if "stat" in fields}
    assert zxids == {reply.zxid}


@pytest.mark.parametrize("at", range(4))
def test_failed_multi(connect, root, at):
    conn = connect()
    ops = [("create", {"path": root + "/n%d" % n}) for n in range(4)]
    ops[at] = ("check", {"path": root, "version": 5})
    reply = conn.call("multi", ops=ops)
    assert reply.err == 0
    wanted = [0] * at + [-103] + [-2] * (3 - at)
    assert [(kind, err, fields["error"]) for kind, err, fields in
            reply.record("multi")["results"]] == [(-1, err, err) for err in wanted]
    assert conn.call("getChildren", path=root).record("getChildren")["children"] == []
    nothing = conn.call("create", path=root + "/s", flags=2).record("create")["path"]
    assert nothing == root + "/s0000000000", "the sequence is not used up"


def test_multi_sees_its_own_changes(connect, root):
    conn = connect()
    assert multi(
        conn, ("create", {"path": root + "/a"}), ("create", {"path": root + "/a/b"}),
        ("setData", {"path": root + "/a", "version": 0}),
        ("setData", {"path": root + "/a", "version": 1}), ("delete", {"path": root + "/a/b"}),
        ("delete", {"path": root + "/a", "version": 2}), ("create", {"path": root + "/a"})) == [
            (1, 0), (1, 0), (5, 0), (5, 0), (2, 0), (2, 0), (1, 0)]
    reply = conn.call("multi", ops=[("create", {"path": root + "/s", "flags": 2})] * 3)
    assert [fields["path"] for _, _, fields in reply.record("multi")["results"]] == [
        root + "/s%010d" % n for n in (2, 3, 4)]


def test_empty_multi(connect, root):
    conn = connect()
    before = conn.call("setData", path=root).zxid
    reply = conn.call("multi", ops=[])
    assert (reply.err, reply.zxid, reply.body) == (0, before + 1, frames.MULTI_END)
    read = conn.call("multiRead", ops=[])
    assert (read.err, read.zxid, read.body) == (0, before + 1, frames.MULTI_END)


def headers(kind, body=b"", done=False, err=-1):
    return frames.multi_header(kind, done, err) + body


GET = frames.blob("/") + b"\0"
CREATE_HEAD = frames.blob("/zz") + frames.blob(b"")
ACL_ALL = frames.vector(WORLD, frames.encode_acl)


@pytest.mark.parametrize("body", [
    headers(4, GET) + frames.MULTI_END,                             # a read in a multi
    headers(2, frames.blob("/x") + b"\0\0\0\0") + headers(8, GET) + frames.MULTI_END,
    headers(3, GET) + frames.MULTI_END,                             # kinds that cannot be in it
    headers(7, GET) + frames.MULTI_END, headers(14, b"") + frames.MULTI_END,
    headers(0) + frames.MULTI_END, headers(-1) + frames.MULTI_END,
    headers(2, frames.blob("/x")),                                  # cut short
    headers(2, frames.blob("/x") + b"\0\0\0\0"),                    # no terminator
    b"", b"\0\0\0\1",
    headers(1, CREATE_HEAD + ACL_ALL + struct.pack(">i", 7)) + frames.MULTI_END,
    headers(1, CREATE_HEAD + ACL_ALL + struct.pack(">i", 5)) + frames.MULTI_END,
    headers(15, CREATE_HEAD + ACL_ALL + struct.pack(">i", 6)) + frames.MULTI_END,
    headers(1, CREATE_HEAD + b"\xff\xff\xff\xff" + struct.pack(">i", 0)) + frames.MULTI_END])
def test_multi_that_fails_as_a_whole(connect, body):
    conn = connect()
    reply = conn.call_body(14, body)
    assert code(reply) == ERR["MARSHALLINGERROR"]
    assert conn.call("ping") is not CLOSED


def test_multi_headers_errors_and_terminator_type_are_ignored(connect, root):
    body = headers(2, frames.blob(root) + struct.pack(">i", -1), err=77)
    body += frames.multi_header(12345, True, 6)
    reply = connect().call_body(14, body)
    assert reply.err == 0 and reply.body == headers(2, err=0) + frames.MULTI_END


@pytest.mark.parametrize("opcode", [1, 15])
def test_container_mode_in_a_multi_becomes_a_container(connect, root, opcode):
    """8.1: header 1 or 15 with flags 4 is executed, and answered, as createContainer."""
    conn = connect()
    name = frames.NAMES[opcode]
    assert multi(conn, (name, {"path": root + "/c", "flags": 4})) == [(15, 0)]


@pytest.mark.parametrize("flags", [0, 1, 2, 3])
def test_other_modes_under_the_ttl_header_in_a_multi_become_plain_creates(connect, root, flags):
    conn = connect()
    assert multi(conn, ("createTTL", {"path": root + "/c", "flags": flags, "ttl": -1})) == [
        (1, 0)]


@pytest.mark.parametrize("flags", [7, 100, -1])
def test_invalid_modes_under_the_ttl_header_in_a_multi_fail_alone(connect, root, flags):
    """Unlike under the headers 1, 15 and 19 the whole request is not refused."""
    assert multi(connect(), ("check", {"path": root}), ("createTTL", {
        "path": root + "/c", "flags": flags, "ttl": 1000})) == [(-1, 0), (-1, -8)]


@pytest.mark.parametrize("bad,wanted", [
    (("create", {"path": "/missing/x"}), -101), (("create", {"path": "x"}), -8),
    (("create", {"path": "{root}/n", "acl": []}), -114), (("delete", {"path": "/"}), -8),
    (("setData", {"path": "{root}", "version": 8}), -103),
    (("setData", {"path": "{root}/missing"}), -101), (("check", {"path": "{root}/n/"}), -8),
    (("create", {"path": "{root}"}), -110),
    (("createTTL", {"path": "{root}/t", "flags": 5, "ttl": 2 ** 40}), -8)])
def test_multi_error_codes(connect, root, bad, wanted):
    name, fields = bad
    fields = dict(fields, path=fields["path"].format(root=root))
    assert multi(connect(), ("check", {"path": root}), (name, fields),
                 ("check", {"path": root})) == [(-1, 0), (-1, wanted), (-1, -2)]


def test_null_path_in_a_multi(connect, root):
    """An exception inside prep takes the whole request down, not just its op."""
    reply = connect().call("multi", ops=[("create", {"path": None})])
    assert code(reply) == ERR["MARSHALLINGERROR"]


def test_multi_read(connect, root):
    conn = connect()
    conn.call("create", path=root + "/a", data=b"x")
    conn.call("create", path=root + "/secret", acl=DENIED)
    reply = conn.call("multiRead", ops=[
        ("getData", {"path": root + "/a", "watch": True}), ("getChildren", {"path": root}),
        ("getData", {"path": root + "/none"}), ("getData", {"path": root + "/secret"}),
        ("getChildren", {"path": ""}), ("getData", {"path": "bad//path"})])
    results = reply.record("multiRead")["results"]
    assert reply.err == 0 and [(kind, err) for kind, err, _ in results] == [
        (4, 0), (8, 0), (-1, -101), (-1, -102), (8, 0), (-1, -101)]
    assert results[0][2]["data"] == b"x"
    assert sorted(results[1][2]["children"]) == ["a", "secret"]
    conn.call("setData", path=root + "/a")
    assert conn.events == [], "the watch flag is ignored"


@pytest.mark.parametrize("ops,results", [
    ([("delete", {"path": "{root}"})], []),
    ([("delete", {"path": "{root}"}), ("check", {"path": "{root}"})], []),
    ([("getData", {"path": None})], []),
    ([("getData", {"path": "{root}"}), ("getData", {"path": "/none"}),
      ("getChildren", {"path": None}), ("getData", {"path": "{root}"})], [(4, 0), (-1, -101)])])
def test_multi_read_that_breaks_off(connect, root, ops, results):
    """8.3: an error in the header and still a body, with the results so far."""
    conn = connect()
    ops = [(name, {"path": fields["path"] and fields["path"].format(root=root)})
           for name, fields in ops]
    reply = conn.call("multiRead", ops=ops)
    assert reply.err == ERR["MARSHALLINGERROR"]
    assert [(kind, err) for kind, err, _ in reply.record("multiRead")["results"]] == results
    assert code(conn.call("exists", path=root)) == 0


def test_reads_and_writes_in_one_multi_read(connect, root):
    conn = connect()
    for ops in ([("getData", {"path": root}), ("delete", {"path": root})],
                [("delete", {"path": root}), ("getData", {"path": root})]):
        assert code(conn.call("multiRead", ops=ops)) == ERR["MARSHALLINGERROR"]
    assert code(conn.call("exists", path=root)) == 0


def test_large_multi(connect, root):
    conn = connect()
    ops = [("create", {"path": root + "/n%d" % n, "data": b"x" * 50}) for n in range(5000)]
    assert multi(conn, *ops) == [(1, 0)] * 5000
    reply = conn.call("getAllChildrenNumber", path=root).record("getAllChildrenNumber")
    assert reply == {"total": 5000}


# ---- watches (21) ----------------------------------------------------------------------------
def set_watch(conn, kind, path):
    name = {"data": "getData", "exist": "exists", "child": "getChildren"}.get(kind)
    if name:
        return conn.call(name, path=path, watch=True)
    return conn.call("addWatch", path=path, mode=0 if kind == "persistent" else 1)


KINDS = ["data", "exist", "child", "persistent", "recursive"]
# what a watch of each kind on P says to: data of P, data of child C, a new C, C gone, then data of
# P a second time, a grandchild, P gone and made again. P is {}.
TOLD = {
    "data": [(3, "P")],
    "exist": [(3, "P")],
    "child": [(4, "P")],
    "persistent": [(3, "P"), (4, "P"), (4, "P"), (3, "P"), (2, "P"), (1, "P")],
    "recursive": [(3, "P"), (1, "P/c"), (3, "P/c"), (1, "P/c/d"), (2, "P/c/d"), (2, "P/c"),
                  (3, "P"), (2, "P"), (1, "P")],
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_watch_tells(connect, root, kind):
    writer, watcher = connect(), connect()
    path = root + "/p"
    writer.call("create", path=path)
    assert set_watch(watcher, kind, path).err == 0
    for name, where in (("setData", ""), ("create", "/c"), ("setData", "/c"), ("create", "/c/d"),
                        ("delete", "/c/d"), ("delete", "/c"), ("setData", ""), ("setACL", ""),
                        ("delete", ""), ("create", "")):
        assert code(writer.call(name, path=path + where)) == 0
    told = [(number, where.replace("P", path, 1)) for number, where in TOLD[kind]]
    assert events_of(watcher) == told


@pytest.mark.parametrize("kind", KINDS)
def test_watch_on_a_deleted_node(connect, root, kind):
    writer, watcher = connect(), connect()
    path = root + "/p"
    writer.call("create", path=path)
    set_watch(watcher, kind, path)
    writer.call("delete", path=path)
    assert events_of(watcher) == [(2, path)]


def test_deleted_node_is_told_once_to_all_watches_of_a_connection(connect, root):
    writer, watcher = connect(), connect()
    path = root + "/p"
    writer.call("create", path=path)
    for kind in KINDS:
        set_watch(watcher, kind, path)
    set_watch(watcher, "recursive", root)
    set_watch(watcher, "child", root)
    writer.call("delete", path=path)
    assert events_of(watcher) == [(2, path), (4, root)]


def test_watch_on_a_missing_node(connect, root):
    writer, watcher = connect(), connect()
    path = root + "/p"
    for kind, err in (("exist", -101), ("data", -101), ("child", -101), ("persistent", 0)):
        assert set_watch(watcher, kind, path).err == err
    writer.call("create", path=path)
    assert events_of(watcher) == [(1, path)]
    writer.call("setData", path=path)
    assert events_of(watcher) == [(3, path)], "persistent stays, exists is used up"


def test_watch_is_set_once(connect, root):
    writer, watcher = connect(), connect()
    for _ in range(3):
        set_watch(watcher, "data", root)
        set_watch(watcher, "exist", root)
    writer.call("setData", path=root)
    writer.call("setData", path=root)
    assert events_of(watcher) == [(3, root)]


def test_denied_event_uses_up_the_watch(connect, root):
    owner, watcher = connect(), connect()
    path = root + "/p"
    owner.call("auth", -4, scheme="digest", auth=b"bob:secret")
    owner.call("create", path=path)
    set_watch(watcher, "data", path)
    set_watch(watcher, "persistent", path)
    owner.call("setACL", path=path, acl=[(31, "digest", BOB)])
    owner.call("setData", path=path)
    assert events_of(watcher) == []
    owner.call("setACL", path=path, acl=WORLD)
    watcher.call("removeWatches", path=path, type=4)
    owner.call("setData", path=path)
    assert events_of(watcher) == []


@pytest.mark.parametrize("kind", ["data", "exist"])
def test_reads_that_fail_set_no_watch(connect, root, kind):
    conn = connect()
    path = root + "/p"
    conn.call("create", path=path, acl=[(30, "world", "anyone")])
    assert set_watch(conn, kind, path).err == ERR["NOAUTH"]
    conn.call("setACL", path=path, acl=WORLD)
    conn.call("setData", path=path)
    assert events_of(conn) == []


def test_multi_events_in_order(connect, root):
    writer, watcher = connect(), connect()
    watcher.call("addWatch", path=root, mode=1)
    reply = writer.call("multi", ops=[
        ("create", {"path": root + "/a"}), ("create", {"path": root + "/a/b"}),
        ("setData", {"path": root + "/a"}), ("delete", {"path": root + "/a/b"})])
    events = watcher.drain()
    assert [event.event for event in events] == [
        (1, root + "/a"), (1, root + "/a/b"), (3, root + "/a"), (2, root + "/a/b")]
    assert {event.zxid for event in events} == {reply.zxid}
    writer.call("multi", ops=[("setData", {"path": root}), ("check", {"path": "/none"})])
    assert watcher.drain() == []


@pytest.mark.parametrize("mode", [2, -1, 3, 100, 2 ** 31 - 1])
def test_add_watch_bad_mode(connect, root, mode):
    assert code(connect().call("addWatch", path=root, mode=mode)) == ERR["MARSHALLINGERROR"]


@pytest.mark.parametrize("mode", [0, 1])
@pytest.mark.parametrize("path", ["/", "", "x", "/no/such/", "/\x01", None])
def test_add_watch_takes_any_path(connect, mode, path):
    reply = connect().call("addWatch", path=path, mode=mode)
    assert reply.err == 0 and reply.record("addWatch") == {"error": 0}


# watch kind -> the types that find it
FINDS = {"data": {2, 3}, "exist": {2, 3}, "child": {1, 3}, "persistent": {3, 4},
         "recursive": {3, 5}}


@pytest.mark.parametrize("name", ["checkWatches", "removeWatches"])
@pytest.mark.parametrize("kind,number", list(itertools.product(KINDS, [1, 2, 3, 4, 5])))
def test_check_and_remove_watches(connect, root, name, kind, number):
    conn = connect()
    assert set_watch(conn, kind, root).err == 0
    found = number in FINDS[kind]
    assert code(conn.call(name, path=root, type=number)) == (0 if found else ERR["NOWATCHER"])
    removed = found and name == "removeWatches"
    assert code(conn.call("checkWatches", path=root, type=3)) == (
        ERR["NOWATCHER"] if removed else 0)
    conn.call("create", path=root + "/c")
    conn.call("setData", path=root)
    assert bool(events_of(conn)) != removed


def test_remove_one_of_several(connect, root):
    """Removing one mode leaves the others of the same path."""
    for number, left in ((1, {2, 4, 5}), (2, {1, 4, 5}), (4, {1, 2, 5}), (5, {1, 2, 4}),
                         (3, set())):
        conn = connect()
        for kind in KINDS:
            set_watch(conn, kind, root)
        assert code(conn.call("removeWatches", path=root, type=number)) == 0
        for other in (1, 2, 4, 5):
            wanted = 0 if other in left else ERR["NOWATCHER"]
            assert code(conn.call("checkWatches", path=root, type=other)) == wanted, (
                number, other)


@pytest.mark.parametrize("name", ["checkWatches", "removeWatches"])
@pytest.mark.parametrize("number", [0, 6, -1, 2 ** 31 - 1])
def test_bad_watcher_type(connect, root, name, number):
    assert code(connect().call(name, path=root, type=number)) == ERR["MARSHALLINGERROR"]


def test_watches_of_others_are_not_removed(connect, root):
    one, two = connect(), connect()
    set_watch(one, "data", root)
    assert code(two.call("removeWatches", path=root, type=3)) == ERR["NOWATCHER"]
    assert code(one.call("checkWatches", path=root, type=3)) == 0


@pytest.mark.parametrize("opcode,kind", [("setWatches", kind) for kind in KINDS[:3]] +
                         [("setWatches2", kind) for kind in KINDS])
@pytest.mark.parametrize("state", ["missing", "present", "changed"])
def test_catch_up(connect, root, opcode, kind, state):
    """21.3: fires at once or registers, per list and per state of the node."""
    writer, conn = connect(), connect()
    path = root + "/p"
    seen = writer.call("setData", path=root).zxid
    if state != "missing":
        seen = writer.call("create", path=path).zxid
    if state == "changed":
        assert writer.call("setData", path=path).err == 0
        assert writer.call("create", path=path + "/c").err == 0
    reply = conn.call(opcode, -8, relativeZxid=seen, **{kind: [path]})
    assert (reply.xid, reply.err, reply.body) == (-8, 0, b"")
    fires = {
        ("data", "missing"): 2, ("data", "changed"): 3, ("exist", "present"): 1,
        ("exist", "changed"): 1, ("child", "missing"): 2, ("child", "changed"): 4,
    }.get((kind, state))
    assert [event.event for event in conn.events] == ([(fires, path)] if fires else [])
    assert all(event.zxid == -1 for event in conn.events), "no transaction caused it"
    assert [message.is_event for message in conn.log] == [True] * len(conn.events) + [False]
    found = conn.call("checkWatches", path=path, type=3).err == 0
    assert found == (fires is None), "what fires is not registered"


def test_catch_up_lists_in_order_and_without_acl(connect, root):
    conn = connect()
    conn.call("create", path=root + "/hidden", acl=DENIED)
    reply = conn.call("setWatches2", -8, relativeZxid=0, data=[root + "/hidden", root + "/no"],
                      exist=[root + "/hidden", root + "/none"], child=[root],
                      persistent=[root + "/a"], recursive=[root + "/b"])
    assert reply.err == 0
    assert [event.event for event in conn.events] == [
        (3, root + "/hidden"), (2, root + "/no"), (1, root + "/hidden"), (4, root)]


def test_catch_up_of_any_xid(connect, root):
    conn = connect()
    for xid in (-8, 5, 0, 2 ** 31 - 1):
        assert conn.call("setWatches", xid, data=[root], relativeZxid=2 ** 60).xid == xid


@pytest.mark.parametrize("missing", ["data", "exist", "child", "persistent", "recursive"])
def test_catch_up_with_a_null_list(connect, root, missing):
    """-5, after the lists before it have been worked off."""
    conn = connect()
    fields = {name: [root + "/" + name] for name in
              ("data", "exist", "child", "persistent", "recursive")}
    fields[missing] = None
    reply = conn.call("setWatches2", -8, relativeZxid=2 ** 60, **fields)
    assert code(reply) == ERR["MARSHALLINGERROR"]
    done = ["data", "exist", "child", "persistent", "recursive"]
    done = done[:done.index(missing)]
    told = [(2, root + "/" + name) for name in done if name in ("data", "child")]
    assert [event.event for event in conn.events] == told
    for name in ("exist", "persistent", "recursive"):
        found = conn.call("checkWatches", path=root + "/" + name, type=3).err == 0
        assert found == (name in done), name


@pytest.mark.parametrize("kind,wanted", [("data", -5), ("exist", -5), ("child", -5),
                                         ("persistent", 0), ("recursive", 0)])
def test_catch_up_of_a_null_path(connect, root, kind, wanted):
    """Only the lists whose nodes are looked up stumble over it."""
    conn = connect()
    reply = conn.call("setWatches2", -8, relativeZxid=2 ** 60, **{kind: [None, root]})
    assert code(reply) == wanted
    found = conn.call("checkWatches", path=root, type=3).err == 0
    assert found == (wanted == 0)


# ---- the other reads -------------------------------------------------------------------------
def test_get_ephemerals(connect, root):
    conn, other = connect(), connect()
    names = [root + "/a", root + "/ab", root + "/b"]
    for path in names:
        conn.call("create", path=path, flags=1)
    other.call("create", path=root + "/theirs", flags=1)
    # Java's trim(), which takes off all up to U+0020, decides whether it is / or nothing
    for prefix, wanted in (("/", names), ("", names), (None, names), ("  ", names),
                           (" / ", names), ("/\x14", names), ("\0\t\x1f", names),
                           ("\u00a0", []), (" " + root, []), (root + " ", []),
                           (root, names), (root + "/a", names[:2]), (root + "/ab", names[1:2]),
                           ("/none", []), (root[1:], []), (root + "/b/", [])):
        got = conn.call("getEphemerals", prefix=prefix).record("getEphemerals")["paths"]
        assert sorted(got) == wanted, prefix
    assert other.call("getEphemerals", prefix="/").record("getEphemerals") == {
        "paths": [root + "/theirs"]}


def test_get_all_children_number(connect, root):
    conn = connect()

    def total(path):
        return conn.call("getAllChildrenNumber", path=path).record(
            "getAllChildrenNumber")["total"]
    before = total("/")
    for path in ("/a", "/a/b", "/a/b/c", "/ab"):
        conn.call("create", path=root + path)
    assert total(root) == 4 and total(root + "/a") == 2 and total(root + "/ab") == 0
    assert total("/") == before + 4
    assert total("") == total("/") + 1, "by its other name the root counts itself"
    assert code(conn.call("getAllChildrenNumber", path="/none")) == ERR["NONODE"]


def test_initial_tree(fresh):
    server = fresh()
    with frames.session(server.address) as conn:
        for path, fields, children in (
                ("/", {"cversion": -1, "numChildren": 1}, ["zookeeper"]),
                ("/zookeeper", {"cversion": -2, "numChildren": 2}, ["config", "quota"]),
                ("/zookeeper/quota", {}, []), ("/zookeeper/config", {"aversion": -1}, [])):
            got = conn.call("getChildren2", path=path).record("getChildren2")
            wanted = dict.fromkeys(frames.STAT_FIELDS, 0)
            wanted.update(fields)
            assert got["stat"] == wanted and sorted(got["children"]) == children, path
            perms = 1 if path == "/zookeeper/config" else 31
            assert stored_acl(conn, path) == [(perms, "world", "anyone")]
            assert conn.call("getData", path=path).record("getData")["data"] in (b"", None)


# ---- reconfig (9.3) --------------------------------------------------------------------------
def reconfig(conn):
    return code(conn.call("reconfig", joining=None, leaving="1", members=None, config=-1))


def test_reconfig_disabled(connect):
    assert reconfig(connect()) == ERR["RECONFIGDISABLED"]


def test_reconfig_standalone(fresh):
    server = fresh({"reconfigEnabled": "true"})
    with frames.session(server.address) as conn:
        assert reconfig(conn) == ERR["UNIMPLEMENTED"]
        assert conn.call("ping") is not CLOSED


# ---- quotas (15) -----------------------------------------------------------------------------
QUOTA = "/zookeeper/quota"


def set_quota(conn, path, limits):
    parts = (QUOTA + path).split("/")
    for end in range(4, len(parts) + 1):
        conn.call("create", path="/".join(parts[:end]))
    assert code(conn.call("create", path=QUOTA + path + "/zookeeper_limits", data=limits)) == 0
    assert code(conn.call("create", path=QUOTA + path + "/zookeeper_stats",
                          data=b"count=0,bytes=0")) == 0


def stats(conn, path):
    return conn.call("getData", path=QUOTA + path + "/zookeeper_stats").record("getData")


def test_quota_stats(connect, root):
    conn = connect()
    conn.call("create", path=root + "/a", data=b"12345")
    set_quota(conn, root, b"count=10,bytes=-1")
    made = stats(conn, root)
    assert made["data"] == b"count=2,bytes=5"
    conn.call("create", path=root + "/b", data=b"123")
    conn.call("setData", path=root, data=b"1")
    assert stats(conn, root)["data"] == b"count=3,bytes=9"
    conn.call("delete", path=root + "/a")
    last = stats(conn, root)
    assert last["data"] == b"count=2,bytes=4"
    assert last["stat"]["version"] == 0 and last["stat"]["mzxid"] == made["stat"]["mzxid"]


def test_quota_is_not_enforced_by_default(connect, root):
    conn = connect()
    set_quota(conn, root, b"count=1,bytes=1=;byteHardLimit=1;countHardLimit=1")
    assert code(conn.call("create", path=root + "/a", data=b"12345")) == 0


def test_hard_quota(fresh):
    server = fresh({"enforceQuota": "true"})
    with frames.session(server.address) as conn:
        conn.call("create", path="/q")
        set_quota(conn, "/q", b"count=-1,bytes=-1=;byteHardLimit=10;countHardLimit=3")
        assert code(conn.call("create", path="/q/a", data=b"12345")) == 0
        assert code(conn.call("create", path="/q/b", data=b"123456")) == ERR["QUOTAEXCEEDED"]
        assert code(conn.call("create", path="/q/b", data=b"12345")) == 0
        assert code(conn.call("create", path="/q/c")) == ERR["QUOTAEXCEEDED"]
        assert code(conn.call("setData", path="/q/a", data=b"123456")) == ERR["QUOTAEXCEEDED"]
        assert code(conn.call("setData", path="/q/a", data=b"54321")) == 0
        assert multi(conn, ("create", {"path": "/q/c"})) == [(-1, ERR["QUOTAEXCEEDED"])]


def test_soft_quota_only_logs(fresh):
    server = fresh({"enforceQuota": "true"})
    with frames.session(server.address) as conn:
        conn.call("create", path="/q")
        set_quota(conn, "/q", b"count=1,bytes=1")
        assert code(conn.call("create", path="/q/a", data=b"12345")) == 0


@pytest.mark.parametrize("path", [QUOTA + "/zookeeper_limits", QUOTA + "/zookeeper_stats"])
def test_quota_nodes_directly_below_quota(zkd, path):
    """Stock exits while it applies the creation (zookeeper_limits; stats is refused alike)."""
    with frames.session(zkd.address) as conn:
        for name in ("create", "create2"):
            assert code(conn.call(name, path=path, data=b"count=1,bytes=1")) == \
                ERR["BADARGUMENTS"]
        assert code(conn.call("exists", path=path)) == ERR["NONODE"]


def test_limits_outside_of_quota(zkd):
    """Stock exits when /zookeeper/x/zookeeper_limits is deleted. One of the two requests has to
    be refused, and the server goes on."""
    with frames.session(zkd.address) as conn:
        conn.call("create", path="/zookeeper/x")
        made = code(conn.call("create", path="/zookeeper/x/zookeeper_limits"))
        gone = code(conn.call("delete", path="/zookeeper/x/zookeeper_limits"))
        assert made in (0, ERR["BADARGUMENTS"])
        assert gone in (0, ERR["BADARGUMENTS"], ERR["NONODE"])
        assert code(conn.call("exists", path="/")) == 0


@pytest.mark.parametrize("text", [b"nonsense", b"count=x,bytes=1", b"", None, b"count=1",
                                  b"=,=", b"\xff\xfe"])
def test_stats_that_do_not_parse(zkd, text):
    """Stock exits at the next write below the quota. Refused, or tolerated."""
    with frames.session(zkd.address) as conn:
        conn.call("create", path="/qq")
        conn.call("create", path=QUOTA + "/qq")
        conn.call("create", path=QUOTA + "/qq/zookeeper_limits", data=b"count=5,bytes=50")
        conn.call("create", path=QUOTA + "/qq/zookeeper_stats", data=b"count=0,bytes=0")
        refused = code(conn.call("setData", path=QUOTA + "/qq/zookeeper_stats", data=text))
        assert refused in (0, ERR["BADARGUMENTS"])
        assert code(conn.call("setData", path="/qq", data=b"12")) == 0
        assert code(conn.call("setData", path="/qq", data=b"1")) == 0


# ---- the reaper (14) -------------------------------------------------------------------------
def test_containers_and_ttl_nodes_go_by_themselves(fresh):
    server = fresh(props={"znode.container.checkIntervalMs": "100"})
    with frames.session(server.address) as conn:
        assert conn.call("addWatch", path="/", mode=1).err == 0
        for path in ("/never", "/used", "/busy"):
            conn.call("createContainer", path=path, flags=4)
        for path in ("/used/c", "/busy/c"):
            conn.call("create", path=path)
        for path in ("/t1", "/t2"):
            conn.call("createTTL", path=path, flags=5, ttl=300)
        conn.call("createTTL", path="/long", flags=5, ttl=10 ** 9)
        conn.call("create", path="/t2/c")
        conn.call("delete", path="/used/c")
        gone = []
        while len(gone) < 3:  # /used/c by us, then the reaper's two in either order
            kind, path = conn.event().event
            gone += [path] if kind == 2 else []
        assert gone[0] == "/used/c" and sorted(gone[1:]) == ["/t1", "/used"]
        for path in ("/never", "/busy", "/t2", "/long"):
            assert code(conn.call("exists", path=path)) == 0, path


def test_writing_a_ttl_node_keeps_it(fresh):
    server = fresh(props={"znode.container.checkIntervalMs": "100"})
    with frames.session(server.address) as conn:
        conn.call("createTTL", path="/kept", flags=5, ttl=1500)
        conn.call("createTTL", path="/left", flags=5, ttl=1500)
        conn.call("exists", path="/left", watch=True)
        while not conn.events:
            assert code(conn.call("setData", path="/kept")) == 0
        assert conn.event().event == (2, "/left")
        assert code(conn.call("exists", path="/kept")) == 0


def test_never_used_containers_can_be_reaped(fresh):
    server = fresh(props={"znode.container.checkIntervalMs": "100",
                          "znode.container.maxNeverUsedIntervalMs": "300"})
    with frames.session(server.address) as conn:
        conn.call("createContainer", path="/never", flags=4)
        conn.call("exists", path="/never", watch=True)
        assert conn.event().event == (2, "/never")


# ---- replies that a cache may answer (20) ----------------------------------------------------
@pytest.mark.parametrize("sizes", [
    {}, {"maxResponseCacheSize": 0, "maxGetChildrenResponseCacheSize": 0},
    {"maxResponseCacheSize": 2, "maxGetChildrenResponseCacheSize": 2}], ids=str)
def test_cached_replies_are_never_stale(fresh, sizes):
    server = fresh(sizes)
    with frames.session(server.address) as conn:
        for path in ("/a", "/b", "/c"):
            conn.call("create", path=path)
        for turn in range(30):
            for path in ("/a", "/b", "/c"):
                conn.call("setData", path=path, data=b"%d" % turn)
                for _ in range(2):
                    got = conn.call("getData", path=path).record("getData")
                    assert got["data"] == b"%d" % turn and got["stat"]["version"] == turn + 1
                conn.call("create", path=path + "/n%d" % turn)
                for _ in range(2):
                    got = conn.call("getChildren2", path=path).record("getChildren2")
                    assert len(got["children"]) == turn + 1 == got["stat"]["cversion"]
