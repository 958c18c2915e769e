#!/usr/bin/env python3
"""Whether the simulator bites: each mutation of the core must be found within its seeds.

    mutations.py [name ...]     all of them, or those whose name contains one of the words

A mutation is a text of one file of src/ and what is put in its place. The unchanged core is built
once; for each mutation that one file is compiled anew. SIM_SRC and SIM_OUT may be set, as for
./build; CC too.
"""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
TOP = HERE.parent.parent

# name, file, old text, new text, seeds within which it has to be found: the first so many, or
# others where those that find it are rare
MUTATIONS = [
    ("ACK before fsync", "node/role.c",
     "    pipeline_log(n, &t);\n}",
     "    pipeline_log(n, &t);\n    learner_synced(&n->role.learner, news->zxid);\n}", 20),
    ("the leader counts itself before its fsync", "node/role.c",
     "    if (o->phase == ROLE_LEADING)\n        leader_propose(",
     "    if (o->phase == ROLE_LEADING) leader_synced(&o->leader, p->zxid);\n"
     "    if (o->phase == ROLE_LEADING)\n        leader_propose(", 20),
    ("ACK of NEWLEADER before the log and the epoch are on disk", "node/role.c",
     "    if (o->newleader && n->synced >= n->appended && !o->unsaved) {\n"
     "        o->newleader = false;\n"
     "        role_save_epoch(n, false, o->learner.epoch);\n",
     "    if (o->newleader) {\n"
     "        o->newleader = false;\n"
     "        role_save_epoch(n, false, o->learner.epoch);\n"
     "        learner_saved_current(&o->learner);\n", 200),
    ("ACK of NEWLEADER before the leader's snapshot is on disk", "node/role.c",
     "        o->unsaved = true;\n", "        o->learner.hold = false;\n", 200),
    ("an epoch has no end", "node/role.c",
     "    return n->role.phase == ROLE_LEADING && n->role.leader.phase == LEADER_BROADCAST &&\n"
     "           !n->role.leader.up && (",
     "    return n->role.phase == ROLE_LEADING && n->role.leader.phase == LEADER_BROADCAST &&\n"
     "           n->now < 0 && !n->role.leader.up && (", 100),
    ("commit without a quorum", "ensemble/leader.c",
     "        if (quorum_reached(l->cfg, &set)) best = zxid;",
     "        best = zxid;", 20),
    ("election without zxids", "ensemble/election.c",
     "    if (!order) order = election_order(a->zxid, b->zxid);\n", "", 100),
    ("election without epochs", "ensemble/election.c",
     "    int order = election_order(a->epoch, b->epoch);\n"
     "    if (!order) order = election_order(a->zxid, b->zxid);\n",
     "    int order = election_order(a->zxid & 0xffffffff, b->zxid & 0xffffffff);\n", 200),
    ("acceptedEpoch is not written", "ensemble/learner.c",
     "    if (epoch > l->accepted) return LEARNER_ACCEPT_EPOCH;\n", "", 400),
    ("two epochs equal", "ensemble/leader.c",
     "        l->epoch = l->accepted + 1;\n",
     "        l->epoch = l->accepted > 0 ? l->accepted : 1;\n", 100),
    ("a follower that is ahead is taken", "ensemble/leader.c",
     "    bool ahead = current > l->current ||",
     "    bool ahead = l->epoch < 0 || current > l->current + 1000 ||", range(1200, 1300)),
    ("a learner keeps what only it has", "ensemble/leader.c",
     "    if (last == max) return diff;\n",
     "    if (last >= max) return diff;\n", 300),
    ("TRUNC keeps the log", "host/files.c",
     "static int files_cut_logs(struct files_cutting *c) {\n",
     "static int files_cut_logs(struct files_cutting *c) {\n    if (c->zxid >= 0) return 0;\n",
     600),
    ("the log is not synced", "host/files.c",
     "    if (err) return files_fail(f, \"cannot write the log in\", f->log_dir, err);\n"
     "    if (f->cfg->force_sync) err = os_fdatasync(f->log.fd);\n",
     "    if (err) return files_fail(f, \"cannot write the log in\", f->log_dir, err);\n", 100),
    ("the name of a log file is not synced", "host/files.c",
     "        if (!err && f->cfg->force_sync) err = os_fsync_dir(f->log_dir);\n", "", 200),
    ("a snapshot of the leader leaves the old end of the log", "node/role.c",
     "        o->cut = n->db.last_zxid > o->learner.incoming.last_zxid;\n",
     "        o->cut = false;\n", range(800, 900)),
    ("a lost watch", "node/pipeline.c",
     "    if (e->type == EVENT_DATA_CHANGED) return;\n",
     "    if (e->type != EVENT_CREATED) return;\n", 20),
    ("reads overtake writes", "node/serve.c",
     "    if (behind && (refused || !serve_ordered(n, op)))\n",
     "    if (behind && (refused || (!serve_ordered(n, op) && frame.n > 1000000)))\n", 20),
    ("ephemerals outlive their session", "state/txn.c",
     "        if (!r->bad && path.p) (void)txn_remove(db, h->zxid, path, o);\n"
     "    }\n    r->bad = false;\n    txn_remove_leftovers(db, h, o);\n",
     "        if (!r->bad && path.p && n > 1) (void)txn_remove(db, h->zxid, path, o);\n"
     "    }\n    r->bad = false;\n    if (n < 0) txn_remove_leftovers(db, h, o);\n", 20),
    ("the leader does not hear of a learner's sessions", "node/role.c",
     "        if (!s->live || !s->touched) continue;\n",
     "        if (s->live) continue;\n", 200),
    ("a leader without a quorum goes on", "ensemble/leader.c",
     "        if (!leader_quorum(l, PEER_EPOCH))\n",
     "        if (l->epoch < 0)\n", 100),
    ("sync is answered at once", "node/role.c",
     "    if (q->op == ZOP_SYNC) {\n        w->body",
     "    if (q->op == ZOP_SYNC) {\n        w->ready_at = 0;\n        w->body", 300),
    ("an owner is not told that the connection broke", "client/line.c",
     "    case ZK_STATE_SUSPENDED: line_tell(l, LINE_DOUBT, ZK_OK); break;\n"
     "    case ZK_STATE_LOST: line_tell(l, LINE_LATE, ZK_OK); break;\n",
     "    case ZK_STATE_SUSPENDED:\n    case ZK_STATE_LOST: break;\n", 200),
    ("whatever is heard proves that the server hears", "client/session.c",
     "    if (c->link < CLIENT_GREETING) return;\n    c->counters.bytes_received",
     "    if (c->link < CLIENT_GREETING) return;\n    c->proven = c->now;\n"
     "    c->counters.bytes_received", 600),
    ("the second in line has the lock, too", "client/line.c",
     "    if (!nearest)\n        line_set_first(l);",
     "    if (!nearest || r->count == 2)\n        line_set_first(l);", 100),
    ("a log whose end has rotted is taken for whole", "host/files.c",
     "    if (!logfile_was_cut_off(&lf)) r->ragged = true;",
     "    if (!logfile_was_cut_off(&lf)) r->ragged = false;", range(405100, 405110)),
    ("a request is no sign of life", "node/role.c",
     "    role_heard_of(n, r->session);", "    role_heard_of(n, 0);", range(13550, 13555)),
]


def build(out, src):
    env = dict(os.environ, SIM_SRC=str(src))
    done = subprocess.run([HERE / "build", out], env=env, capture_output=True, text=True)
    return done.returncode == 0 and (pathlib.Path(out) / "sim.bin").exists(), done.stderr


def seek(out, seeds):
    """The first seed that fails, and what it says; None when all pass."""
    done = subprocess.run([pathlib.Path(out) / "sim.bin", "--from", str(seeds.start), "--seeds",
                           str(len(seeds)), "--first"],
                          capture_output=True, text=True)
    found = re.search(r"^seed (\d+)(?: FAILED at [\d.]+ s)?: (.*)$", done.stdout + done.stderr,
                      re.M)
    return (int(found[1]), found[2]) if done.returncode and found else None


def mutate(work, src, base, mutation):
    name, file, old, new, seeds = mutation
    seeds = seeds if isinstance(seeds, range) else range(1, seeds + 1)
    copy, out = work / "src", work / "out"
    for place, origin in ((copy, src), (out, base)):
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(origin, place)  # times are kept: only what changes is compiled
    text = (copy / file).read_text()
    if text.count(old) != 1:
        return f"its text occurs {text.count(old)} times in {file}"
    (copy / file).write_text(text.replace(old, new))
    (out / "sim.bin").unlink()
    built, why = build(out, copy)
    if not built:
        return "does not compile: " + why[-500:]
    found = seek(out, seeds)
    return found or f"NOT FOUND within the seeds {seeds.start} to {seeds.stop - 1}"


def main():
    src = pathlib.Path(os.environ.get("SIM_SRC", TOP / "src"))
    base = pathlib.Path(os.environ.get("SIM_OUT", TOP / "build" / "sim"))
    built, why = build(base, src)
    if not built:
        sys.exit(why)
    missed = 0
    with tempfile.TemporaryDirectory(prefix="sim-mutations-") as work:
        for mutation in MUTATIONS:
            if sys.argv[1:] and not any(word in mutation[0] for word in sys.argv[1:]):
                continue
            result = mutate(pathlib.Path(work), src, base, mutation)
            if isinstance(result, str):
                missed += 1
                print(f"{mutation[0]}: {result}", flush=True)
            else:
                print(f"{mutation[0]}: seed {result[0]}, {result[1]}", flush=True)
    sys.exit(missed != 0)


if __name__ == "__main__":
    main()
