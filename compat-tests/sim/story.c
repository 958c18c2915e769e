/* The story of a run in words, and its hash. */
#include <stdio.h>

#include "sim.h"

void story_mix(uint64_t x) {
    sim.hash = hash_u64(sim.hash ^ x ^ (uint64_t)sim.now);
}

void story(const char *fmt, ...) {
    if (!sim.trace) return;
    va_list ap;
    (void)printf("%10lld.%03lld  ", (long long)(sim.now / MS), (long long)(sim.now % MS));
    va_start(ap, fmt);
    (void)vprintf(fmt, ap);
    va_end(ap);
    (void)putchar('\n');
}

static void story_one(struct buf *out, int32_t type, struct jr *r) {
    static const char *const names[] = {[1] = "create", [2] = "delete", [5] = "set", [7] = "setACL",
                                        [13] = "check", [15] = "create"};
    if (type == ZOP_ERROR) {
        buf_printf(out, " error %d", jr_i32(r));
    } else if (type == ZOP_CREATE_SESSION) {
        buf_printf(out, " session of %d ms", jr_i32(r));
    } else if (type == ZOP_CLOSE_SESSION) {
        buf_puts(out, " close");
        for (int32_t n = jr_count(r); n > 0 && !r->bad; n--) {
            struct slice path = jr_bytes(r);
            buf_printf(out, " %.*s", (int)path.n, (const char *)path.p);
        }
    } else if (type > 0 && type < 16 && names[type]) {
        struct slice path = jr_bytes(r);
        buf_printf(out, " %s %.*s", names[type], (int)path.n, (const char *)path.p);
        if (type != ZOP_CREATE && type != ZOP_CREATE2) return;
        (void)jr_bytes(r);
        (void)jr_acl(r);
        if (jr_bool(r)) buf_puts(out, " (ephemeral)");
    }
}

/* A transaction in words. */
void story_txn(int64_t sid, const struct txn_header *h, struct slice record) {
    struct buf out = {0};
    struct jr r = jr_open(record, UINT32_MAX);
    if (!sim.trace) return;
    struct mem_owner *before = mem_owned_by(&sim.mem);
    if (h->type == ZOP_MULTI) {
        for (int32_t n = jr_count(&r); n > 0 && !r.bad; n--) {
            int32_t type = jr_i32(&r);
            struct jr one = jr_open(jr_bytes(&r), UINT32_MAX);
            if (buf_len(&out)) buf_puts(&out, ",");
            story_one(&out, type, &one);
        }
    } else {
        story_one(&out, h->type, &r);
    }
    buf_putc(&out, '\0');
    story("s%lld proposes 0x%llx for 0x%llx %d:%s", (long long)sid, (unsigned long long)h->zxid,
          (unsigned long long)h->client_id, h->cxid, (const char *)out.p);
    buf_free(&out);
    (void)mem_owned_by(before);
}
