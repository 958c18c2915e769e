/*
 * The client machine against a server that says anything.
 *
 * The input is a script: a byte says what happens next, the bytes behind it how. Besides raw bytes
 * there are replies with the number that is waited for, events and greetings, so that what is in
 * them gets further than the first check. Half of the requests are a recipe's, which submits more
 * from within; memory fails where the script says so.
 *
 * It looks at what the machine waits for, which no header shows, so that it includes the library
 * rather than being linked with it.
 */
#define _GNU_SOURCE 1
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

static int fuzz_budget = -1; /* allocations until there is no memory; below 0: always some */

static void *fuzz_realloc(void *p, size_t n) {
    if (fuzz_budget == 0) return NULL;
    if (fuzz_budget > 0) fuzz_budget--;
    return realloc(p, n);
}

#define ZK_MALLOC(n) fuzz_realloc(NULL, n)
#define ZK_REALLOC(p, n) fuzz_realloc(p, n)
#define ZK_FREE(p) free(p)
#define ZK_WITH_SERVER 0
#define ZK_API static
#include "zk.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct script {
    const uint8_t *p, *end;
    struct client *c;
    int64_t now, last_id;
    uint32_t more; /* requests that a recipe may still make from within */
    int budget;    /* of allocations, for the machine in the next step; -1: no limit */
};

static uint8_t script_byte(struct script *s) { return s->p < s->end ? *s->p++ : 0; }

static struct slice script_bytes(struct script *s) {
    size_t n = script_byte(s), left = (size_t)(s->end - s->p);
    if (n > left) n = left;
    s->p += n;
    return slice_of(s->p - n, n);
}

static void on_event(void *user, const struct zk_event *e) {
    (void)user;
    if (!e->path || strlen(e->path) > 1u << 20) abort();
}

static void check_result(const struct zk_result *r) {
    for (int i = 0; r->names && i < r->count; i++)
        if (strlen(r->names[i]) > 1u << 20) abort();
    for (int i = 0; r->acl && i < r->count; i++)
        if (strlen(r->acl[i].scheme) + strlen(r->acl[i].id) > 1u << 20) abort();
    for (int i = 0; r->results && i < r->count; i++) check_result(&r->results[i]);
    if (r->data && ((const char *)r->data)[r->data_len] != '\0') abort();
}

static void on_result(void *user, const struct zk_result *r) {
    (void)user;
    check_result(r);
}

/* A recipe's: asks for more at once. */
static void on_inside(void *user, const struct zk_result *r) {
    struct script *s = user;
    check_result(r);
    struct zk_op op = zk_watching(zk_exists("/more"), on_event, s);
    if (s->more && s->more--) (void)client_submit(s->c, &op, CLIENT_INSIDE, on_inside, s);
}

static void script_submit(struct script *s) {
    static const struct zk_acl acl[] = {{1, "digest", "a:b"}, {31, "world", "anyone"}};
    uint8_t kind = script_byte(s);
    const struct zk_op parts[] = {zk_create("/m", "x", 1, ZK_EPHEMERAL), zk_check("/c", 1),
                                  zk_delete("/d", -1), zk_set("/s", NULL, -1, 2)};
    const struct zk_op reads[] = {zk_get("/a"), zk_get_children("/a")};
    const struct zk_op ops[] = {
        zk_create("/a", "data", 4, ZK_PERSISTENT), zk_delete("/a", 3), zk_exists("/a"),
        zk_get("/a"), zk_set("/a", "d", 1, -1), zk_get_acl("/a"), zk_set_acl("/a", acl, 2, 1),
        zk_get_children("/a"), zk_sync("/"), zk_multi(parts, 4), zk_multi_read(reads, 2),
        zk_get_ephemerals("/"), zk_get_all_children_number("/a"), zk_who_am_i(),
        zk_get_config(), zk_reconfig("server.1=a", NULL, NULL, -1),
        zk_watching(zk_get("/a"), on_event, s), zk_watching(zk_exists("/a/b"), on_event, s),
        zk_watching(zk_get_children("/a"), on_event, s),
        zk_add_watch("/a", ZK_WATCH_PERSISTENT, on_event, s),
        zk_add_watch("/", ZK_WATCH_RECURSIVE, on_event, s),
        zk_remove_watches("/a", ZK_WATCH_ANY, NULL, NULL),
        zk_remove_watches("/a", ZK_WATCH_DATA, on_event, s), zk_add_auth("digest", "u:p", 3)};
    bool inside = kind & 0x80;
    fuzz_budget = s->budget;
    struct zk_op op = ops[(kind & 0x3f) % (sizeof ops / sizeof *ops)];
    op.timeout_ms = kind & 0x40 ? 50 : 0;
    int64_t id = client_submit(s->c, &op, inside ? CLIENT_INSIDE : CLIENT_POSTED,
                               inside ? on_inside : on_result, s);
    if (id > 0) s->last_id = id;
}

static void script_frame(struct script *s, const struct buf *body) {
    uint8_t length[4];
    put_be32(length, (uint32_t)body->n);
    fuzz_budget = s->budget; /* what was put together so far is not the machine's */
    client_received(s->c, slice_of(length, 4));
    client_received(s->c, buf_slice(body));
}

static void script_greet(struct script *s) {
    struct buf b = {0};
    jw_i32(&b, 0);
    jw_i32(&b, script_byte(s) * 100);
    jw_i64(&b, 77);
    jw_bytes(&b, slice_of("0123456789abcdef", 16));
    jw_u8(&b, script_byte(s) & 1);
    script_frame(s, &b);
    buf_free(&b);
}

static void script_reply(struct script *s, int32_t xid, int32_t error) {
    struct buf b = {0};
    jw_i32(&b, xid);
    jw_i64(&b, script_byte(s));
    jw_i32(&b, error);
    struct slice body = script_bytes(s);
    buf_put(&b, body.p, body.n);
    script_frame(s, &b);
    buf_free(&b);
}

static void script_event(struct script *s) {
    struct buf b = {0};
    jw_i32(&b, CLIENT_XID_EVENT);
    jw_i64(&b, 5);
    jw_i32(&b, 0);
    jw_i32(&b, script_byte(s) % 6);
    jw_i32(&b, 3);
    static const char *const paths[] = {"/base/a", "/base", "/base/a/b", "/", "/basement", ""};
    jw_str(&b, paths[script_byte(s) % 6]);
    script_frame(s, &b);
    buf_free(&b);
}

/* What a host does after each input. */
static void script_settle(struct script *s) {
    struct client_order o;
    struct client_post *p;
    static const struct net_addr at[] = {{{127, 0, 0, 1}, 4, 1}, {{127, 0, 0, 2}, 4, 2}};
    while (client_take_order(s->c, &o)) {
        if (o.kind == CLIENT_RESOLVE) client_resolved(s->c, at, 2);
        if (o.kind == CLIENT_DIAL) client_dialed(s->c, script_byte(s) % 8 != 7);
    }
    struct buf *out = client_out(s->c);
    if (client_should_send(s->c)) buf_consume(out, buf_len(out));
    client_sent(s->c);
    while ((p = client_take_post(s->c))) p->run(p);
}

static void script_step(struct script *s) {
    uint8_t what = script_byte(s);
    switch (what % 12) {
    case 0:
    case 1: script_submit(s); break;
    case 2: script_greet(s); break;
    case 3:
        fuzz_budget = s->budget;
        client_received(s->c, script_bytes(s));
        break;
    case 4: script_reply(s, s->c->sent.first ? s->c->sent.first->xid : 1, 0); break;
    case 5:
        script_reply(s, s->c->sent.first ? s->c->sent.first->xid : 1, -(int32_t)script_byte(s));
        break;
    case 6: script_event(s); break;
    case 7:
        fuzz_budget = s->budget;
        client_tick(s->c, s->now += script_byte(s) * 20);
        break;
    case 8: client_broken(s->c, "the script says so"); break;
    case 9:
        if (what & 0x40)
            (void)client_forget(s->c, s->last_id);
        else
            (void)client_cancel(s->c, s->last_id);
        break;
    case 10: script_reply(s, CLIENT_XID_AUTH, script_byte(s) % 4 ? 0 : -115); break;
    case 11:
        if (what < 240)
            client_probed(s->c, true);
        else
            client_close(s->c, what & 1);
        break;
    default: break;
    }
    fuzz_budget = s->budget = -1;
    script_settle(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct script s = {.p = data, .end = data + size, .now = 1000, .more = 64,
                       .budget = -1};
    struct zk_options options = {.session_timeout_ms = 4000, .max_packet = 65536};
    options.flags = script_byte(&s) & (ZK_RENEW_SESSION | ZK_CAN_BE_READ_ONLY | ZK_FAIL_FAST);
    struct client_setup setup = {.options = &options, .seed = 7, .now = s.now};
    if (hosts_parse(&setup.hosts, "a:1,b:2,c:3/base", &setup.chroot)) abort();
    if (client_new(&s.c, &setup)) abort();
    client_tick(s.c, s.now);
    script_settle(&s);
    while (s.p < s.end) {
        if (*s.p == 0xff) { /* from here on memory is short, for one step */
            s.p++;
            s.budget = script_byte(&s) % 8;
        }
        script_step(&s);
    }
    client_end(s.c);
    script_settle(&s);
    if (s.c->sent.first || s.c->waiting.first) abort(); /* everybody has been told */
    client_free(s.c);
    return 0;
}
