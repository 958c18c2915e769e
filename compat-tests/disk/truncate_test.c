/*
 * Cutting off the end of history, and saving an epoch, with the process or the power dying at every
 * call to the operating system: what is recovered must be what was there before, with none but its
 * newest transactions gone, and never one that was to stay. host/files runs on the disk of the
 * simulator.
 *
 * A history is written as text: 1.3 is transaction 3 of epoch 1, 1.3-7 are several, | starts a new
 * log file, S takes a snapshot, ( ) hold what came with a snapshot and is in no log, X and Y lose
 * the oldest log file and the oldest snapshot as a purge does, and ~1.5:1.6-8 adds the snapshot of
 * another server, whose history has 1.6 to 1.8 behind 1.5.
 */
#include <errno.h>
#include <stdio.h>

#include "../sim/sim.h"
/* for its static functions: one writes snapshots */
#include "host/files.c"

#define SEEDS 6u
#define STATES 128
#define Z(epoch, n) ((int64_t)(epoch) << 32 | (n))

struct sim sim;
static struct server *const server = &sim.servers[0];
static const char *scene = "";

_Noreturn static void failed(const char *what, int64_t a, int64_t b) {
    (void)fprintf(stderr, "%s: %s: 0x%llx, 0x%llx\n%s\n", scene, what, (unsigned long long)a,
                  (unsigned long long)b, server->files.error);
    exit(1);
}

_Noreturn void sim_assert_failed(const char *what, const char *file, int line) {
    (void)fprintf(stderr, "%s: %s:%d: %s\n", scene, file, line, what);
    abort();
}

struct server *server_running(void) {
    return server;
}

int64_t server_mono_ms(const struct server *s) {
    return s->mono_base;
}

int64_t server_wall_ms(const struct server *s) {
    return s->wall_base;
}

/* --- a process that may die --- */

/* False when it died before it was done. */
static bool live(void (*work)(void), uint32_t calls, bool power) {
    volatile bool done = false; /* set behind a setjmp */
    server->disk.calls_left = calls;
    server->disk.calls_power = power;
    server->crash_set = true;
    (void)mem_owned_by(&server->mem);
    if (setjmp(server->crash) == 0) {
        work();
        done = true;
    }
    (void)mem_owned_by(&sim.mem);
    server->crash_set = false;
    server->disk.calls_left = 0;
    mem_forget(&server->mem);
    if (!done && power)
        disk_power_cut(&server->disk);
    else
        disk_process_gone(&server->disk);
    return done;
}

static void new_disk(uint64_t seed) {
    mem_forget(&server->mem);
    mem_forget(&sim.mem);
    (void)mem_owned_by(&sim.mem);
    disk_init(&server->disk, seed);
    sim.t.journal_ordered = seed % 2;
    sim.t.direct = seed % 3 == 0 ? 2 : 0;
}

static void open_files(void) {
    if (files_open(&server->files, &server->cfg)) failed("cannot be opened", 0, 0);
}

/* --- histories --- */

static struct {
    const char *text;
    int64_t zxid[STATES]; /* after each transaction, from 0 on */
    uint64_t digest[STATES];
    uint32_t n;
    int64_t last; /* zxid of the server's own history */
    struct db db;
    bool roll, elsewhere;
} history;

static void check_call(int err) {
    if (err) failed("a call failed", err, 0);
}

/* The transaction of a zxid is the same wherever it is made. */
static void make_txn(int64_t zxid, struct db *db, struct buf *entry) {
    struct buf body = {0};
    struct txn_out out = {0};
    char path[32];
    const struct txn_header h = {.cxid = 1, .zxid = zxid, .time = zxid, .type = ZOP_CREATE};
    jw_txn_header(&body, &h);
    size_t head = body.n;
    (void)snprintf(path, sizeof path, "/n%llx", (unsigned long long)zxid);
    jw_str(&body, path);
    jw_str(&body, "data");
    jw_i32(&body, 1);
    jw_i32(&body, 31);
    jw_str(&body, "world");
    jw_str(&body, "anyone");
    jw_u8(&body, 0);
    jw_i32(&body, -1);
    (void)txn_apply(db, &h, slice_of(body.p + head, body.n - head), &out);
    txn_out_free(db, &out);
    logfile_put_entry(buf_grow(entry, body.n + LOGFILE_ENTRY_OVERHEAD), buf_slice(&body));
    buf_free(&body);
}

static void note_state(const struct db *db) {
    history.zxid[history.n] = db->last_zxid;
    history.digest[history.n++] = db->tree.digest;
}

static void write_txn(int64_t zxid) {
    struct buf entry = {0};
    make_txn(zxid, &history.db, &entry);
    if (!history.elsewhere) {
        if (history.roll) check_call(files_log_roll(&server->files, zxid));
        history.roll = false;
        check_call(files_log_append(&server->files, buf_slice(&entry)));
    }
    note_state(&history.db);
    history.last = zxid;
    buf_free(&entry);
}

static void lose_oldest(const char *dir, const char *prefix) {
    struct files_list l;
    check_call(files_list(dir, prefix, &l));
    char *path = files_path(dir, l.at[0].name, -1);
    check_call(os_unlink(path));
    check_call(os_fsync_dir(dir));
    mem_free(path);
    files_list_free(&l);
}

/* 1.3 or 1.3-7 */
static const char *read_range(const char *at, int64_t *first, int64_t *last) {
    char *end;
    int64_t epoch = strtoll(at, &end, 10), n = strtoll(end + 1, &end, 10);
    *first = *last = Z(epoch, n);
    if (*end == '-') *last = Z(epoch, strtoll(end + 1, &end, 10));
    return end;
}

static const char *add_foreign(const char *at) {
    struct buf ignored = {0};
    struct db db;
    int64_t common, first, last;
    uint32_t own = history.n;
    at = read_range(at, &common, &common);
    at = read_range(at + 1, &first, &last);
    db_init(&db, 1, 2000, 0);
    db_add_builtin(&db);
    for (uint32_t i = 1; i < own && history.zxid[i] <= common; i++)
        make_txn(history.zxid[i], &db, &ignored);
    for (int64_t z = first; z <= last; z++) make_txn(z, &db, &ignored);
    check_call(files_save(&server->files, &db));
    note_state(&db);
    db_free(&db);
    buf_free(&ignored);
    return at;
}

static void write_text(const char *at) {
    while (*at) {
        int64_t first, last;
        if (*at >= '0' && *at <= '9') {
            at = read_range(at, &first, &last);
            for (int64_t z = first; z <= last; z++) write_txn(z);
            continue;
        }
        char c = *at++;
        if (c == '|') history.roll = true;
        if (c == 'S') check_call(files_save(&server->files, &history.db));
        if (c == '(' || c == ')') history.elsewhere = c == '(';
        if (c == 'X') lose_oldest(server->files.log_dir, "log");
        if (c == 'Y') lose_oldest(server->files.snap_dir, "snapshot");
        if (c == '~') at = add_foreign(at);
    }
}

static void write_history(void) {
    struct files_report report;
    struct logq log = {.max_level = 0};
    open_files();
    db_init(&history.db, 1, 2000, 0);
    check_call(files_recover(&server->files, &history.db, &report, &log));
    history.n = 0;
    history.last = 0;
    history.roll = true;
    history.elsewhere = false;
    note_state(&history.db);
    write_text(history.text);
    check_call(files_log_sync(&server->files));
    disk_sync_names(&server->disk, ""); /* of the parents of it all */
}

/* --- truncating --- */

static struct {
    int64_t zxid;
    int result;
    int64_t found; /* zxid of the recovered state */
} cut;

static void truncate_it(void) {
    struct logq log = {.max_level = 0};
    open_files();
    cut.result = files_truncate(&server->files, cut.zxid, &log);
    if (cut.result < 0) failed("cannot be truncated", cut.zxid, 0);
}

static uint32_t state_of(int64_t zxid) {
    for (uint32_t i = 0; i < history.n; i++)
        if (history.zxid[i] == zxid) return i;
    failed("recovered to a state that never was", zxid, 0);
}

static void recover_it(void) {
    struct files_report report;
    struct logq log = {.max_level = 0};
    struct db db;
    open_files();
    for (int twice = 0; twice < 2; twice++) { /* a second time in the same process */
        db_init(&db, 1, 2000, 0);
        if (files_recover(&server->files, &db, &report, &log)) failed("not recovered", 0, 0);
        uint32_t i = state_of(db.last_zxid);
        if (history.digest[i] != db.tree.digest) failed("another state", db.last_zxid, 0);
        cut.found = db.last_zxid;
        db_free(&db);
    }
}

/* What comes after goes on from what the disk holds now. */
static void go_on(const char *text) {
    struct files_report report;
    struct logq log = {.max_level = 0};
    db_init(&history.db, 1, 2000, 0);
    check_call(files_recover(&server->files, &history.db, &report, &log));
    history.roll = true;
    history.elsewhere = false;
    write_text(text);
    check_call(files_log_sync(&server->files));
}

static void append_it(void) {
    open_files();
    go_on("9.1-3");
}

struct scenario {
    const char *name, *text;
    int64_t zxid, after; /* after -1: has to be refused */
    bool strict;         /* nothing between before and after may be found */
};

static const struct scenario scenarios[] = {
    {"one file", "1.1-20", Z(1, 12), Z(1, 12), true},
    {"epoch 0", "0.1-20|0.21-30", Z(0, 12), Z(0, 12), false},
    {"nothing beyond", "1.1-5|1.6-9", Z(1, 9), Z(1, 9), true},
    {"several files", "1.1-5|1.6-9|2.1-4|3.1-2", Z(1, 7), Z(1, 7), false},
    {"between two files", "1.1-5|1.6-9", Z(1, 5), Z(1, 5), true},
    {"absent zxid", "1.1-5 2.1-3", Z(1, 9), Z(1, 5), true},
    {"snapshot at the point", "1.1-5S1.6-9", Z(1, 5), Z(1, 5), true},
    {"snapshots beyond", "1.1-3S1.4-6S1.7-9S2.1-2", Z(1, 5), Z(1, 5), true},
    {"snapshots and files beyond", "1.1-3S|1.4-6S|1.7-9S|2.1-2", Z(1, 5), Z(1, 5), false},
    {"all but a snapshot", "1.1-5S|1.6-9|2.1-3X", Z(1, 5), Z(1, 5), false},
    {"all of an epoch", "1.1-5|2.1-9S|3.1", Z(1, 5), Z(1, 5), false},
    {"everything", "1.1-5|2.1-9S|3.1", 0, 0, false},
    {"behind another's snapshot", "1.1-5|2.1-3S2.4-6~1.5:1.6-8", Z(1, 8), Z(1, 8), false},
    {"no snapshot that may stay", "1.1-5S1.6-9Y", Z(1, 3), -1, true},
    {"held by a snapshot alone", "1.1-3(1.4-8S)1.9-12", Z(1, 6), -1, true},
    {"... of another epoch", "1.1-5(1.6-7S)|2.1-3", Z(1, 6), -1, true},
    {"no older snapshot", "1.1-5(1.6-7S)|2.1-3X", 0, 0, false},
    {"behind a foreign snapshot", "1.1-5(1.6-8S)|2.1-3S2.4-6", Z(1, 8), Z(1, 8), false},
    {"up to a foreign snapshot", "1.1-5(1.6-8S)1.9-12", Z(1, 10), Z(1, 10), true},
};

static void run_one(const struct scenario *s, uint32_t calls, bool power, bool *over) {
    int64_t before, after;
    if (!live(write_history, 0, false)) failed("no history", 0, 0);
    before = history.last;
    after = s->after < 0 ? before : s->after;
    cut.zxid = s->zxid;
    *over = live(truncate_it, calls, power);
    if (*over && cut.result != (s->after < 0)) failed("result", cut.result, s->after < 0);
    if (*over && power) disk_power_cut(&server->disk);
    (void)live(recover_it, 0, false);
    if (*over && cut.found != after) failed("not truncated there", cut.found, after);
    if (cut.found < after || cut.found > before) failed("beyond the two", cut.found, after);
    if (s->strict && cut.found != before && cut.found != after)
        failed("between the two", cut.found, after);
    (void)live(truncate_it, 0, false);
    (void)live(recover_it, 0, false);
    if (cut.found != after) failed("not truncated by another try", cut.found, after);
    (void)live(append_it, 0, false);
    (void)live(recover_it, 0, false);
    if (cut.found != Z(9, 3)) failed("does not go on", cut.found, Z(9, 3));
}

static uint32_t run_scenario(const struct scenario *s) {
    uint32_t runs = 0;
    scene = s->name;
    history.text = s->text;
    for (uint64_t seed = 0; seed < 2 * SEEDS; seed++) {
        bool over = false;
        for (uint32_t calls = 1; !over; calls++, runs++) {
            new_disk(seed);
            run_one(s, calls, seed < SEEDS, &over);
        }
    }
    return runs;
}

/* The process that wrote it truncates it and goes on. */
static void write_cut_write(void) {
    struct logq log = {.max_level = 0};
    write_history();
    write_text("1.8-9"); /* not synced yet */
    check_call(files_truncate(&server->files, Z(1, 4), &log));
    if (server->files.log.fd >= 0) failed("the log is still open", 0, 0);
    go_on("2.1-3");
}

static void recover_hole(void) {
    struct files_report report;
    struct logq log = {.max_level = 0};
    struct db db;
    open_files();
    db_init(&db, 1, 2000, 0);
    cut.result = files_recover(&server->files, &db, &report, &log);
}

static void run_plain(void) {
    static const char *const holes[] = {"1.1-5(1.6)1.7", "1.1-5|(1.6)1.7", "1.1-5|(2.1-3)2.4",
                                        "1.1-5|(2.1)|2.2-3", "(1.1)1.2"};
    scene = "one process";
    history.text = "1.1-7";
    new_disk(1);
    if (!live(write_cut_write, 0, false)) failed("did not live", 0, 0);
    (void)live(recover_it, 0, false);
    if (cut.found != Z(2, 3)) failed("recovered", cut.found, Z(2, 3));
    for (size_t i = 0; i < sizeof holes / sizeof holes[0]; i++) {
        scene = history.text = holes[i];
        new_disk(1);
        (void)live(write_history, 0, false);
        (void)live(recover_hole, 0, false);
        if (cut.result != -1 || !strstr(server->files.error, "are missing"))
            failed("a hole was not seen", cut.result, 0);
    }
}

/* --- epochs --- */

static int64_t accepted, current;

static void load_epochs(void) {
    open_files();
    if (files_load_epochs(&server->files, &accepted, &current)) failed("epochs", 0, 0);
}

static void first_epochs(void) {
    open_files();
    check_call(files_save_epoch(&server->files, "acceptedEpoch", 9));
    check_call(files_save_epoch(&server->files, "currentEpoch", 8));
    disk_sync_names(&server->disk, "");
}

static void next_epoch(void) {
    open_files();
    check_call(files_save_epoch(&server->files, "acceptedEpoch", 10));
}

static void put_file(const char *path, const char *text) {
    int fd = os_create(path);
    check_call(os_pwrite(fd, text, strlen(text), 0));
    check_call(os_fdatasync(fd));
    check_call(os_close(fd));
}

static uint32_t run_epochs(void) {
    uint32_t runs = 0;
    scene = "epochs";
    for (uint64_t seed = 0; seed < 2 * SEEDS; seed++) {
        bool over = false;
        for (uint32_t calls = 1; !over; calls++, runs++) {
            new_disk(seed);
            (void)live(load_epochs, 0, false);
            if (accepted != -1 || current != -1) failed("epochs of nothing", accepted, current);
            (void)live(first_epochs, 0, false);
            over = live(next_epoch, calls, seed < SEEDS);
            for (int i = 0; i < 3; i++) { /* whatever was found stays */
                int64_t found = accepted;
                (void)live(load_epochs, 0, false);
                if (i && accepted != found) failed("epochs that change", accepted, found);
                if (accepted != 10 && (accepted != 9 || over)) failed("epoch", accepted, 10);
                if (current != 8) failed("current epoch", current, 8);
                if (i == 1 && seed < SEEDS) disk_power_cut(&server->disk);
            }
        }
    }
    return runs;
}

static void strange_epochs(void) {
    static const struct {
        const char *file, *tmp;
        int64_t epoch; /* -2: refused */
    } cases[] = {
        {"9", NULL, 9}, {"9\n", NULL, 9}, {"9\r\nx", NULL, 9}, {"", NULL, -2}, {" 9", NULL, -2},
        {"9 ", NULL, -2}, {"x", NULL, -2}, {"2147483647", NULL, INT32_MAX},
        {"2147483648", NULL, -2}, {"99999999999999999999", NULL, -2}, {"-1", NULL, -1},
        {"-2", NULL, -2}, {"9", "10", 10}, {"9", "8", 9}, {"9", "", 9}, {"9", "x", 9},
        {NULL, "10", 10}, {NULL, "", -1}, {"x", "10", -2},
    };
    scene = "strange epochs";
    for (uint32_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *path = "/data/version-2/acceptedEpoch";
        const char *tmp = "/data/version-2/acceptedEpoch.tmp";
        new_disk(i);
        (void)mem_owned_by(&server->mem);
        open_files();
        if (cases[i].file) put_file(path, cases[i].file);
        if (cases[i].tmp) put_file(tmp, cases[i].tmp);
        int err = files_load_epochs(&server->files, &accepted, &current);
        if (err != (cases[i].epoch == -2 ? -1 : 0)) failed("result", i, err);
        if (!err && accepted != cases[i].epoch) failed("epoch", i, accepted);
        if (!err && os_file_size(tmp) >= 0) failed("a leftover", i, 0);
        (void)mem_owned_by(&sim.mem);
    }
}

int main(void) {
    static struct mem_owner stays;
    uint32_t runs = 0;
    mem_owner_init(&stays);
    (void)mem_owned_by(&stays);
    mem_owner_init(&sim.mem);
    mem_owner_init(&server->mem);
    config_defaults(&server->cfg);
    static char data[] = "/data";
    server->cfg.data_dir = server->cfg.data_log_dir = data;
    server->cfg.pre_alloc_size_kb = 16;
    for (size_t i = 0; i < sizeof scenarios / sizeof scenarios[0]; i++)
        runs += run_scenario(&scenarios[i]);
    run_plain();
    runs += run_epochs();
    strange_epochs();
    printf("%u deaths\n", (unsigned)runs);
    return 0;
}
