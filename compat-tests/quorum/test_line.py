"""The request throttler where requests of others go through the same servers."""
import frames
import pytest
from harness.servers import wait_for

MOST = "request_throttle_max_requests"


def flood(conn, prefix, count):
    raw = [frames.frame(frames.request(xid, "create", path=f"{prefix}{xid}"))
           for xid in range(1, count + 1)]
    conn.xid = count
    conn.send_raw(b"".join(raw))


@pytest.mark.parametrize("role", ["leader", "follower"])
def test_closing_is_not_forgotten_in_line(ensemble, role):
    """A client that closes its session and hangs up while others keep its server busy."""
    group = ensemble("zzz", config={MOST: 1})
    leader = group.start()
    sid = leader if role == "leader" else min(set(group.sids) - {leader})
    address = group.servers[sid].address
    busy = [frames.session(address) for _ in range(4)]
    leaving = frames.session(address, timeout_ms=40000)
    assert leaving.call("create", path="/e", flags=1).err == 0
    for number, conn in enumerate(busy):
        flood(conn, f"/b{number}-", 500)
    leaving.submit("closeSession")
    leaving.close()
    for conn in busy:
        assert all(conn.reply().err == 0 for _ in range(500))
    wait_for(lambda: busy[0].call("exists", path="/e").err == -101, 5, "end of the session")


def test_the_work_of_others_takes_no_room(ensemble):
    group = ensemble("zzz", config={MOST: 4})
    leader = group.start()
    mine, other = sorted(set(group.sids) - {leader})
    with frames.session(group.servers[mine].address) as conn:
        busy = [frames.session(group.servers[other].address) for _ in range(3)]
        for number, one in enumerate(busy):
            flood(one, f"/b{number}-", 1000)
        for _ in range(50):
            assert conn.call("exists", path="/").err == 0
        waits = [line for line in frames.four_letter(group.servers[mine].address,
                                                     "mntr").splitlines()
                 if line.startswith("zk_request_throttle_wait_count")]
        assert waits == ["zk_request_throttle_wait_count\t0"]
        for one in busy:
            assert all(one.reply().err == 0 for _ in range(1000))
