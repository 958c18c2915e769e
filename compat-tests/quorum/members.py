"""What each member of an ensemble holds, to be the same everywhere: tree and digests."""
import re

import frames
from harness.servers import wait_for

SUPER = b"super:test"
STATS = "/zookeeper_stats"
BATCH = 64                  # requests under way while a tree is read
LOCAL = "/zookeeper/config"     # what a member writes there by itself carries its own clock


def answered(reply):
    if reply is frames.CLOSED:
        raise ConnectionError("closed while its tree was read")
    return reply


def tree(address):
    """{path: (data, ACL, Stat)} as this one member has it, once it has caught up."""
    with frames.session(address, timeout_ms=10000) as conn:
        assert answered(conn.call("auth", -4, type=0, scheme="digest", auth=SUPER)).err == 0
        assert answered(conn.call("sync", path="/")).err == 0
        out, ahead = {}, ["/"]
        while ahead:
            paths, ahead = ahead[:BATCH], ahead[BATCH:]
            for path in paths:
                for op in ("getData", "getChildren", "getACL"):
                    conn.submit(op, path=path)
            for path in paths:
                replies = [answered(conn.reply()) for _ in range(3)]
                if any(reply.err == frames.ERR["NONODE"] for reply in replies):
                    continue        # went away meanwhile
                data, children, acl = (reply.record(op) for reply, op in zip(
                    replies, ("getData", "getChildren", "getACL")))
                out[path] = data["data"], acl["acl"], data["stat"]
                ahead += [f"{path.rstrip('/')}/{name}" for name in children["children"]]
        conn.call("closeSession")
    out.pop(LOCAL)
    return out


def difference(trees):
    """How the trees of several members differ, briefly; empty when they do not."""
    sids = list(trees)
    first = trees[sids[0]]
    out = []
    for sid in sids[1:]:
        for path in sorted(first.keys() | trees[sid].keys()):
            here, there = first.get(path), trees[sid].get(path)
            if here != there:
                out.append(f"{path}: {sids[0]} has {here}, {sid} has {there}")
    return out[:10]


def digests(ensemble, sid):
    """{zxid: digest} of the last transactions whose digest the member remembers."""
    found = re.findall(r"^([0-9a-f]+): (-?\d+)$", ensemble.four(sid, "hash"), re.M)
    return {int(zxid, 16): int(digest) for zxid, digest in found}


def check_digests(ensemble, stock_led):
    """Where two members remember the digest at a zxid, it is the same one. No member has ever
    found its tree to be another than what the leader announced; only a stock leader may announce
    a wrong digest, which its own tree then does not have either."""
    seen, mismatches = {}, {}
    for sid in ensemble.awake:
        mismatches[sid] = int(ensemble.mntr(sid)["zk_digest_mismatches_count"])
        for zxid, digest in digests(ensemble, sid).items():
            other, wanted = seen.setdefault(zxid, (sid, digest))
            assert digest == wanted, f"at {zxid:#x} the trees of {other} and {sid} differ"
    if not stock_led:
        assert not any(mismatches.values()), f"digest mismatches: {mismatches}"
        for sid in ensemble.sids:
            found = re.search(r"^.*igest mismatch.*$", ensemble.log(sid), re.M)
            assert not found, f"{sid}: {found[0]}"


def check_same(ensemble, stock_led=False, restarted=False, timeout_s=60):
    """All members that are awake hold the same. Returns the tree. What a quota has counted is in no
    transaction: a start counts anew, so it may differ between members with different pasts."""
    ensemble.settle()
    trees = {}

    def same():
        for sid in ensemble.awake:
            try:
                trees[sid] = tree(ensemble.servers[sid].address)
            except ConnectionError:     # a member that finds its leader anew hangs up
                return False
            except TimeoutError:        # a follower of stock 3.8 may lose a sync; ours may not
                assert ensemble.servers[sid].kind != "zkd", f"no answer from {sid}\n" + \
                    ensemble.story()
                return False
            for path in [path for path in trees[sid] if restarted and path.endswith(STATS)]:
                trees[sid][path] = None
        return not difference(trees)
    try:
        wait_for(same, timeout_s, "agreement", 0.2)
    except TimeoutError:
        how = "\n".join(trees and difference(trees)) or "no tree could be read"
        raise AssertionError(f"{how}\n{ensemble.story()}") from None
    check_digests(ensemble, stock_led)
    return next(iter(trees.values()))
