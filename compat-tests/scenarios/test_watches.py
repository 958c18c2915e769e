"""Watches: what fires which, once or for ever, and who is told."""
import pytest

from harness.clients import (ANY_WATCH, CHILDREN_WATCH, DATA_WATCH, EPHEMERAL, NONODE, NOWATCHER,
                             OPEN, PERSISTENT_WATCH, READ, RECURSIVE_WATCH, WIRE_ORDER, WRITE,
                             op_create, op_delete, op_set, refused)


@pytest.fixture
def other(connect):
    """The client that makes the changes."""
    return connect()


# One-shot watches

def test_data_watch_tells_of_a_change(zk, other, root):
    zk.get(root, watch="w")
    other.set(root, b"x")
    assert zk.event() == ("w", "changed", root)


def test_data_watch_tells_of_the_delete(zk, other, root):
    path = zk.create(f"{root}/a")
    zk.get(path, watch="w")
    other.delete(path)
    assert zk.event() == ("w", "deleted", path)


def test_exists_watch_on_a_missing_node(zk, other, root):
    path = f"{root}/a"
    assert zk.exists(path, watch="w") is None
    other.create(path)
    assert zk.event() == ("w", "created", path)


@pytest.mark.parametrize("change", ["changed", "deleted"])
def test_exists_watch_on_a_node(zk, other, root, change):
    path = zk.create(f"{root}/a")
    zk.exists(path, watch="w")
    other.set(path, b"x") if change == "changed" else other.delete(path)
    assert zk.event() == ("w", change, path)


def test_child_watch_tells_of_a_new_child(zk, other, root):
    zk.children(root, watch="w")
    other.create(f"{root}/a")
    assert zk.event() == ("w", "child", root)


def test_child_watch_tells_of_a_lost_child(zk, other, root):
    zk.create(f"{root}/a")
    zk.children(root, watch="w")
    other.delete(f"{root}/a")
    assert zk.event() == ("w", "child", root)


def test_child_watch_tells_of_the_delete_of_its_node(zk, other, root):
    path = zk.create(f"{root}/a")
    zk.children(path, watch="w")
    other.delete(path)
    assert zk.event() == ("w", "deleted", path)


def test_a_watch_fires_once(zk, other, root):
    zk.get(root, watch="data")
    zk.children(root, watch="child")
    other.set(root, b"1")
    other.create(f"{root}/a")
    assert sorted(zk.events(2)) == [("child", "child", root), ("data", "changed", root)]
    other.set(root, b"2")
    other.create(f"{root}/b")
    zk.no_event()


def test_what_does_not_fire(zk, other, root):
    zk.create(f"{root}/a")
    zk.get(root, watch="data")
    zk.children(root, watch="child")
    other.set_acl(root, OPEN)               # no watch tells of ACLs
    other.set(f"{root}/a", b"x")            # data of a child
    other.create(f"{root}/a/b")             # a grandchild
    zk.no_event()
    other.create(f"{root}/c")
    assert zk.event() == ("child", "child", root)
    other.set(root, b"x")
    assert zk.event() == ("data", "changed", root)


def test_a_failed_read_leaves_no_watch(zk, other, root):
    path = f"{root}/a"
    with refused(NONODE):
        zk.get(path, watch="data")
    with refused(NONODE):
        zk.children(path, watch="child")
    other.create(path)
    other.set(path, b"x")
    zk.no_event()


def test_a_failed_write_fires_nothing(zk, other, root):
    zk.get(root, watch="data")
    zk.children(root, watch="child")
    with refused(NONODE):
        other.multi(op_set(root, b"x"), op_create(f"{root}/a"), op_delete(f"{root}/missing"))
    zk.no_event()


def test_watches_of_several_clients(zk, connect, other, root):
    second = connect()
    zk.get(root, watch="first")
    second.get(root, watch="second")
    other.set(root, b"x")
    assert zk.event() == ("first", "changed", root)
    assert second.event() == ("second", "changed", root)


def test_own_changes_fire_too(zk, root):
    zk.get(root, watch="data")
    zk.children(root, watch="child")
    zk.set(root, b"x")
    assert zk.event() == ("data", "changed", root)
    zk.create(f"{root}/a")
    assert zk.event() == ("child", "child", root)


def test_an_event_comes_before_the_reply_to_its_cause(zk, root):
    zk.needs(WIRE_ORDER)
    zk.get(root, watch="w")
    start = len(zk.history)
    zk.set(root, b"x")
    kinds = [item["received"] for item in zk.history[start:]]
    assert kinds == ["event", "reply"]


def test_events_come_in_the_order_of_the_changes(zk, other, root):
    zk.needs(WIRE_ORDER)
    paths = [zk.create(f"{root}/{i:03}") for i in range(100)]
    for path in paths:
        zk.get(path, watch="w")
    for path in paths:
        other.set(path, b"x")
    assert zk.events(100) == [("w", "changed", path) for path in paths]


def test_a_read_that_shows_a_change_comes_after_its_event(zk, other, root):
    zk.needs(WIRE_ORDER)
    for number in range(50):
        zk.get(root, watch="w")
        other.set(root, str(number))
        while zk.get(root)[0] != str(number).encode():
            pass
        # whoever has seen the new data has got the event
        with_event = [item for item in zk.history if item.get("kind") == "watch"]
        assert len(with_event) == number + 1


def test_a_multi_fires_for_each_of_its_operations(zk, other, root):
    zk.create(f"{root}/a")
    zk.get(f"{root}/a", watch="a")
    zk.get(root, watch="data")
    zk.children(root, watch="child")
    other.multi(op_set(f"{root}/a", b"x"), op_create(f"{root}/b"), op_set(root, b"y"))
    assert sorted(zk.events(3)) == [("a", "changed", f"{root}/a"), ("child", "child", root),
                                    ("data", "changed", root)]


def test_closing_a_session_fires_for_its_ephemerals(zk, connect, root):
    owner = connect()
    path = owner.create(f"{root}/e", mode=EPHEMERAL)
    zk.get(path, watch="e")
    zk.children(root, watch="child")
    owner.close()
    assert sorted(zk.events(2)) == [("child", "child", root), ("e", "deleted", path)]


def test_a_watch_is_gone_with_its_node_made_again(zk, other, root):
    path = zk.create(f"{root}/a")
    zk.get(path, watch="w")
    other.delete(path)
    other.create(path)
    other.set(path, b"x")
    assert zk.event() == ("w", "deleted", path)
    zk.no_event()


def test_events_need_the_right_to_read(zk, other, root):
    path = zk.create(f"{root}/a")
    zk.get(path, watch="w")
    other.set_acl(path, [[WRITE | 16, "world", "anyone"]])
    other.set(path, b"secret")
    zk.no_event()
    # the one-shot watch was used up all the same
    other.set_acl(path, OPEN)
    other.set(path, b"open")
    zk.no_event()


def test_two_watches_on_one_node(zk, other, root):
    zk.get(root, watch="one")
    zk.get(root, watch="two")
    other.set(root, b"x")
    assert sorted(zk.events(2)) == [("one", "changed", root), ("two", "changed", root)]


# Persistent watches

def test_persistent_watch(zk, other, root):
    path = f"{root}/a"
    zk.add_watch(path, "p")
    other.create(path)
    other.set(path, b"1")
    other.set(path, b"2")
    other.create(f"{path}/b")
    other.set(f"{path}/b", b"x")
    other.create(f"{path}/b/c")
    other.delete(f"{path}/b/c")
    other.delete(f"{path}/b")
    other.delete(path)
    other.create(path)
    assert zk.events(7) == [
        ("p", "created", path), ("p", "changed", path), ("p", "changed", path),
        ("p", "child", path), ("p", "child", path), ("p", "deleted", path),
        ("p", "created", path)]
    zk.no_event()


def test_recursive_watch(zk, other, root):
    zk.add_watch(root, "r", recursive=True)
    other.set(root, b"x")
    other.create(f"{root}/a")
    other.create(f"{root}/a/b")
    other.set(f"{root}/a/b", b"x")
    other.delete(f"{root}/a/b")
    other.delete(f"{root}/a")
    other.delete(root)
    assert zk.events(7) == [
        ("r", "changed", root), ("r", "created", f"{root}/a"), ("r", "created", f"{root}/a/b"),
        ("r", "changed", f"{root}/a/b"), ("r", "deleted", f"{root}/a/b"),
        ("r", "deleted", f"{root}/a"), ("r", "deleted", root)]
    zk.no_event()


def test_recursive_watch_of_everything(zk, other, root):
    zk.add_watch("/", "r", recursive=True)
    path = other.create(f"{root}/a")
    assert zk.event() == ("r", "created", path)
    zk.remove_watches("/", RECURSIVE_WATCH, "r")


def test_recursive_and_one_shot_watches_together(zk, other, root):
    zk.add_watch(root, "r", recursive=True)
    zk.get(root, watch="data")
    zk.children(root, watch="child")
    other.set(root, b"x")
    assert sorted(zk.events(2)) == [("data", "changed", root), ("r", "changed", root)]
    other.create(f"{root}/a")
    assert sorted(zk.events(2)) == [("child", "child", root), ("r", "created", f"{root}/a")]
    zk.no_event()


def test_persistent_and_one_shot_watches_together(zk, other, root):
    zk.add_watch(root, "p")
    zk.get(root, watch="data")
    other.set(root, b"1")
    assert sorted(zk.events(2)) == [("data", "changed", root), ("p", "changed", root)]
    other.set(root, b"2")
    assert zk.event() == ("p", "changed", root)
    zk.no_event()


def test_recursive_watch_needs_the_right_to_read(zk, other, root):
    zk.add_watch(root, "r", recursive=True)
    other.create(f"{root}/hidden", acl=[[31 - READ, "world", "anyone"]])
    other.set(f"{root}/hidden", b"x")
    other.create(f"{root}/seen")
    assert zk.event() == ("r", "created", f"{root}/seen")
    zk.no_event()


# Removal

def test_remove_a_data_watch(zk, other, root):
    zk.get(root, watch="data")
    zk.children(root, watch="child")
    zk.remove_watches(root, DATA_WATCH, "data")
    assert zk.event() == ("data", "data_watch_removed", root)
    other.set(root, b"x")
    zk.no_event()
    other.create(f"{root}/a")
    assert zk.event() == ("child", "child", root)


def test_remove_a_child_watch(zk, other, root):
    zk.get(root, watch="data")
    zk.children(root, watch="child")
    zk.remove_watches(root, CHILDREN_WATCH, "child")
    assert zk.event() == ("child", "child_watch_removed", root)
    other.create(f"{root}/a")
    zk.no_event()
    other.set(root, b"x")
    assert zk.event() == ("data", "changed", root)


def test_remove_any_watch(zk, other, root):
    zk.get(root, watch="data")
    zk.children(root, watch="child")
    zk.remove_watches(root, ANY_WATCH)
    assert sorted(zk.events(2)) == [("child", "child_watch_removed", root),
                                    ("data", "data_watch_removed", root)]
    other.set(root, b"x")
    other.create(f"{root}/a")
    zk.no_event()


def test_remove_persistent_watches(zk, other, root):
    for kind, recursive in ((PERSISTENT_WATCH, False), (RECURSIVE_WATCH, True)):
        zk.add_watch(root, "p", recursive=recursive)
        zk.remove_watches(root, kind)
        assert zk.event() == ("p", "persistent_watch_removed", root)
        other.set(root, b"x")
        other.create(f"{root}/child-{kind}")
        zk.no_event()


def test_remove_one_of_two_watchers(zk, other, root):
    zk.get(root, watch="one")
    zk.get(root, watch="two")
    zk.remove_watches(root, DATA_WATCH, "one")
    assert zk.event() == ("one", "data_watch_removed", root)
    other.set(root, b"x")
    assert zk.event() == ("two", "changed", root)


def test_removing_what_is_not_there(zk, root):
    for kind in (CHILDREN_WATCH, DATA_WATCH, ANY_WATCH, PERSISTENT_WATCH, RECURSIVE_WATCH):
        with refused(NOWATCHER):
            zk.remove_watches(root, kind)
