"""One disk that is slow. A leader's: the others commit without it, and its tree is behind."""
import time

import frames
from harness import weather

SLOW_MS = 150
QUOTA = "/zookeeper/quota/q"


def led_slowly(ensemble, tmp_path, slow_ms=SLOW_MS, writes_before=0, **config):
    """A session at the leader, and one at a follower."""
    group = ensemble("zzz", config=config)
    weather.over(group, tmp_path)
    leader = group.start()
    follower = min(set(group.sids) - {leader})
    conns = [frames.session(group.servers[sid].address) for sid in (leader, follower)]
    for number in range(writes_before):
        done(conns[0], "create", path=f"/before{number}")
    group.servers[leader].set(("fdatasync", "log.", 0, slow_ms, 0, -1))
    return conns


def done(conn, op, **fields):
    assert conn.call(op, **fields).err == 0


def test_quotas_hold(ensemble, tmp_path):
    """What a client has seen done through a follower counts for its next write."""
    _, conn = led_slowly(ensemble, tmp_path, enforceQuota="true")
    for path, data in (("/q", b""), (QUOTA, b""), (f"{QUOTA}/zookeeper_stats", b"count=0,bytes=0"),
                       (f"{QUOTA}/zookeeper_limits", b"count=-1,bytes=-1=;byteHardLimit=-1;"
                                                     b"countHardLimit=3")):
        done(conn, "create", path=path, data=data)
    for name in "ab":
        done(conn, "create", path=f"/q/{name}")
    assert conn.call("create", path="/q/c").err == frames.ERR["QUOTAEXCEEDED"]
    done(conn, "delete", path="/q/a", version=-1)
    done(conn, "create", path="/q/c")


def test_sync_sees_what_others_have_seen(ensemble, tmp_path):
    at_leader, conn = led_slowly(ensemble, tmp_path)
    for number in range(10):
        done(conn, "create", path=f"/n{number}")
        at_leader.submit("sync", path="/")
        at_leader.submit("exists", path=f"/n{number}")
        assert [at_leader.reply().err for _ in range(2)] == [0, 0]


def test_a_leader_does_not_wait_for_its_disk(ensemble, tmp_path):
    """Not when it was the quickest of all before, either."""
    _, conn = led_slowly(ensemble, tmp_path, slow_ms=5000, writes_before=300)
    start = time.monotonic()
    for number in range(10):
        done(conn, "setData", path=f"/before{number}")
    assert time.monotonic() - start < 5


def test_sessions_outlive_a_stall(ensemble, tmp_path):
    """The clients of a follower ping it while its disk stands still: the leader hears of them."""
    group = ensemble("zzz", config={"tickTime": 500})
    weather.over(group, tmp_path)
    follower = min(set(group.sids) - {group.start()})
    server = group.servers[follower]
    writer = frames.session(server.address, timeout_ms=10000)
    other = frames.session(server.address, timeout_ms=1000)
    done(other, "create", path="/e", flags=1)
    for number in range(300):       # a disk that was quick so far
        done(writer, "create", path=f"/before{number}")
    server.set(("fdatasync", "log.", 0, 2500, 0, 1))
    writer.submit("create", path="/slow")
    for _ in range(14):
        other.submit("ping", -2)
        time.sleep(0.2)
    assert writer.reply().err == 0
    assert all(other.reply().xid == -2 for _ in range(14))
    assert other.call("exists", path="/e").err == 0
