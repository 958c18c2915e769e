#include "client/hosts.h"

/* --- reading --- */

static bool hosts_read_port(struct slice text, uint16_t *port) {
    uint32_t v = 0;
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] < '0' || text.p[i] > '9') return false;
        v = v * 10 + (uint32_t)(text.p[i] - '0');
        if (v > UINT16_MAX) return false;
    }
    *port = (uint16_t)v;
    return text.n && v;
}

static struct slice hosts_trim(struct slice s) {
    while (s.n && (s.p[0] == ' ' || s.p[0] == '\t')) s = slice_of(s.p + 1, s.n - 1);
    while (s.n && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t')) s.n--;
    return s;
}

/* "name", "name:port", "[address]" or "[address]:port". */
static bool hosts_read_one(struct slice text, struct host *out) {
    struct slice name = text, port = {0};
    const uint8_t *end = text.p + text.n, *sep;
    if (text.p[0] == '[') {
        sep = memchr(text.p, ']', text.n);
        if (!sep) return false;
        name = slice_of(text.p + 1, (size_t)(sep - text.p) - 1);
        sep++;
        if (sep < end && *sep != ':') return false;
    } else {
        sep = memchr(text.p, ':', text.n);
        if (!sep) sep = end;
        name.n = (size_t)(sep - text.p);
    }
    if (sep < end) port = slice_of(sep + 1, (size_t)(end - sep) - 1);
    if (!name.n || name.n >= HOSTS_NAME || memchr(name.p, '\0', name.n)) return false;
    memset(out, 0, sizeof *out);
    memcpy(out->name, name.p, name.n);
    out->port = HOSTS_PORT;
    return sep == end || hosts_read_port(port, &out->port);
}

ZK_PRIVATE int hosts_parse(struct hosts *h, const char *text, const char **chroot) {
    memset(h, 0, sizeof *h);
    const char *end = strchr(text, '/');
    if (!end) end = text + strlen(text);
    if (*end && !chroot) return ZK_BAD_ARGUMENTS;
    if (chroot) *chroot = end;
    uint32_t most = 1;
    for (const char *p = text; p < end; p++) most += *p == ',';
    h->at = mem_try(sizeof *h->at * most);
    if (!h->at) return ZK_OUT_OF_MEMORY;
    for (const char *p = text; p <= end;) {
        const char *comma = memchr(p, ',', (size_t)(end - p));
        if (!comma) comma = end;
        struct slice one = hosts_trim(slice_of(p, (size_t)(comma - p)));
        if (one.n && !hosts_read_one(one, &h->at[h->n++])) break;
        p = comma + 1;
        if (p > end && h->n) {
            h->current = h->probed = h->n;
            return ZK_OK;
        }
    }
    hosts_free(h);
    return ZK_BAD_ARGUMENTS;
}

ZK_PRIVATE void hosts_free(struct hosts *h) {
    mem_free(h->at);
    memset(h, 0, sizeof *h);
}

ZK_PRIVATE void hosts_shuffle(struct hosts *h, struct prng *r) {
    for (uint32_t i = h->n; i > 1; i--) {
        uint32_t j = (uint32_t)prng_below(r, i);
        struct host one = h->at[i - 1];
        h->at[i - 1] = h->at[j];
        h->at[j] = one;
    }
}

/* --- a new list --- */

static bool hosts_has(const struct hosts *h, const struct host *one) {
    for (uint32_t i = 0; i < h->n; i++)
        if (h->at[i].port == one->port && strcmp(h->at[i].name, one->name) == 0) return true;
    return false;
}

#define HOSTS_MILLION 1000000u

/*
 * The chance, of a million, with which a client that moves goes to a server that is new. With s
 * servers before, and kept and fresh ones now: each server shall end with the same share.
 */
static uint32_t hosts_fresh_chance(uint64_t s, uint64_t kept, uint64_t fresh, bool listed) {
    uint64_t now = kept + fresh;
    if (now > s || s <= kept) return HOSTS_MILLION;
    if (listed) return 0;
    uint64_t old = HOSTS_MILLION * kept * (s - now) / (now * (s - kept));
    return old > HOSTS_MILLION ? 0 : (uint32_t)(HOSTS_MILLION - old);
}

ZK_PRIVATE bool hosts_replace(struct hosts *h, struct hosts *by, bool connected, struct prng *r) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < by->n; i++) {
        by->at[i].fresh = !hosts_has(h, &by->at[i]);
        kept += !by->at[i].fresh;
    }
    bool listed = h->current < h->n && hosts_has(by, &h->at[h->current]);
    uint32_t s = h->n, now = by->n;
    bool move = connected && !listed;
    if (connected && listed && now > s) /* it got longer: a share of the clients moves */
        move = prng_below(r, now) >= s;
    by->moving = move;
    by->p_fresh = hosts_fresh_chance(s, kept, now - kept, listed);
    if (connected && listed && !move)
        for (uint32_t i = 0; i < by->n; i++)
            if (by->at[i].port == h->at[h->current].port &&
                strcmp(by->at[i].name, h->at[h->current].name) == 0)
                by->current = i;
    hosts_free(h);
    *h = *by;
    memset(by, 0, sizeof *by);
    return move;
}

/* --- taking turns --- */

/* The next one of a kind that was not tried since the list changed; n: none is left. */
static uint32_t hosts_untried(const struct hosts *h, bool fresh) {
    for (uint32_t k = 0; k < h->n; k++) {
        uint32_t i = (h->next + k) % h->n;
        if (h->at[i].fresh == fresh && !h->at[i].tried) return i;
    }
    return h->n;
}

ZK_PRIVATE const struct host *hosts_next(struct hosts *h, struct prng *r) {
    uint32_t i = h->next;
    if (h->moving) {
        bool fresh = prng_below(r, HOSTS_MILLION) < h->p_fresh;
        i = hosts_untried(h, fresh);
        if (i == h->n) i = hosts_untried(h, !fresh);
        h->moving = i < h->n;
        if (!h->moving) i = h->next;
        h->at[i].tried = true;
    }
    h->current = i;
    h->next = (i + 1) % h->n;
    return &h->at[i];
}

ZK_PRIVATE const struct host *hosts_probe(struct hosts *h) {
    h->probed = h->next;
    h->next = (h->next + 1) % h->n;
    return &h->at[h->probed];
}

ZK_PRIVATE bool hosts_take_probed(struct hosts *h) {
    if (h->probed == h->n) return false;
    h->next = h->probed;
    h->moving = false;
    return true;
}

ZK_PRIVATE uint32_t hosts_pause(const struct hosts *h, uint32_t max_ms, struct prng *r) {
    uint32_t pass = h->failures / h->n, most = HOSTS_PAUSE_MIN_MS;
    if (!pass || h->failures % h->n) return 0; /* only between one pass and the next */
    while (--pass && most < HOSTS_PAUSE_MAX_MS) most *= 2;
    if (most > HOSTS_PAUSE_MAX_MS) most = HOSTS_PAUSE_MAX_MS;
    if (most > max_ms) most = max_ms;
    return most / 2 + (uint32_t)prng_below(r, most / 2 + 1);
}

ZK_PRIVATE void hosts_failed(struct hosts *h) {
    h->failures++;
}

ZK_PRIVATE void hosts_worked(struct hosts *h) {
    h->failures = 0;
}
