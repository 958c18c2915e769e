#include "client/discovery.h"

#include <stdio.h>

static const char *const DISCOVERY_TYPES[] = {
    [ZK_SERVICE_DYNAMIC] = "DYNAMIC",
    [ZK_SERVICE_STATIC] = "STATIC",
    [ZK_SERVICE_PERMANENT] = "PERMANENT",
    [ZK_SERVICE_DYNAMIC_SEQUENTIAL] = "DYNAMIC_SEQUENTIAL",
};
enum { DISCOVERY_TYPE_COUNT = sizeof DISCOVERY_TYPES / sizeof *DISCOVERY_TYPES };

/* --- writing --- */

static bool discovery_is_json(const char *text) {
    struct json j = json_open(slice_str(text));
    (void)json_any(&j);
    return json_at_end(&j);
}

/* {"parts":[...], ...}, which Curator's UriSpec reads; the null of a spec that is none. */
static bool discovery_is_spec(const char *text) {
    char key[8];
    bool first = true, parts = false;
    if (slice_is(slice_str(text), "null")) return true;
    struct json j = json_open(slice_str(text));
    json_enter(&j);
    while (json_key(&j, key, sizeof key, &first)) {
        struct slice value = json_any(&j);
        if (strcmp(key, "parts") == 0) parts = value.n && value.p[0] == '[';
    }
    return json_at_end(&j) && parts;
}

static bool discovery_ok(const struct zk_service *s) {
    if (!s->name || !*s->name || !s->id || !*s->id) return false;
    if (strchr(s->name, '/') || strchr(s->id, '/')) return false;
    if (s->type < ZK_SERVICE_DYNAMIC || s->type > ZK_SERVICE_PERMANENT) return false;
    if (!json_is_text(s->name) || !json_is_text(s->id)) return false;
    if (s->address && !json_is_text(s->address)) return false;
    if (s->payload && !discovery_is_json(s->payload)) return false;
    if (s->port > UINT16_MAX || s->ssl_port > UINT16_MAX) return false;
    if (s->port < -1 || s->ssl_port < -1) return false;
    return !s->uri_spec || discovery_is_spec(s->uri_spec);
}

static void discovery_put(struct buf *out, const char *key, const char *text, bool raw) {
    buf_printf(out, ",\"%s\":", key);
    if (!text)
        buf_puts(out, "null");
    else if (raw)
        buf_puts(out, text);
    else
        json_put_string(out, text);
}

static void discovery_put_port(struct buf *out, const char *key, int port) {
    if (port < 0)
        discovery_put(out, key, NULL, true);
    else
        buf_printf(out, ",\"%s\":%d", key, port);
}

ZK_PRIVATE int discovery_write(struct buf *out, const struct zk_service *s) {
    if (!discovery_ok(s)) return ZK_BAD_ARGUMENTS;
    size_t room = 400 + 6 * (strlen(s->name) + strlen(s->id));
    if (s->address) room += 6 * strlen(s->address);
    if (s->payload) room += strlen(s->payload);
    if (s->uri_spec) room += strlen(s->uri_spec);
    if (!buf_try_reserve(out, room)) return ZK_OUT_OF_MEMORY;
    buf_puts(out, "{\"name\":");
    json_put_string(out, s->name);
    discovery_put(out, "id", s->id, false);
    discovery_put(out, "address", s->address, false);
    discovery_put_port(out, "port", s->port);
    discovery_put_port(out, "sslPort", s->ssl_port);
    discovery_put(out, "payload", s->payload, true);
    buf_printf(out, ",\"registrationTimeUTC\":%lld", (long long)s->registered);
    discovery_put(out, "serviceType", DISCOVERY_TYPES[s->type], false);
    discovery_put(out, "uriSpec", s->uri_spec, true);
    if (s->disabled) buf_puts(out, ",\"enabled\":false");
    buf_putc(out, '}');
    return ZK_OK;
}

/* --- reading --- */

/* Where texts go: behind the struct, which has room for all that the JSON could hold. */
struct discovery_reader {
    struct json j;
    char *text;
    struct zk_service *s;
};

static const char *discovery_text(struct discovery_reader *r) {
    if (json_null(&r->j)) return NULL;
    char *text = r->text;
    r->text += json_string(&r->j, text) + 1;
    return text;
}

static const char *discovery_raw(struct discovery_reader *r) {
    struct slice raw = json_any(&r->j);
    if (!raw.n || slice_is(raw, "null")) return NULL;
    char *text = memcpy(r->text, raw.p, raw.n);
    text[raw.n] = '\0';
    r->text += raw.n + 1;
    return text;
}

static int discovery_port(struct discovery_reader *r) {
    int64_t port = json_null(&r->j) ? -1 : json_int(&r->j);
    if (port < -1 || port > INT32_MAX) r->j.bad = true;
    return r->j.bad ? -1 : (int)port;
}

static enum zk_service_type discovery_type(struct discovery_reader *r) {
    const char *name = discovery_text(r);
    for (int i = 0; name && i < DISCOVERY_TYPE_COUNT; i++)
        if (strcmp(name, DISCOVERY_TYPES[i]) == 0) return (enum zk_service_type)i;
    if (name) r->j.bad = true;
    return ZK_SERVICE_DYNAMIC;
}

static void discovery_value(struct discovery_reader *r, const char *key) {
    struct zk_service *s = r->s;
    if (strcmp(key, "name") == 0)
        s->name = discovery_text(r);
    else if (strcmp(key, "id") == 0)
        s->id = discovery_text(r);
    else if (strcmp(key, "address") == 0)
        s->address = discovery_text(r);
    else if (strcmp(key, "port") == 0)
        s->port = discovery_port(r);
    else if (strcmp(key, "sslPort") == 0)
        s->ssl_port = discovery_port(r);
    else if (strcmp(key, "payload") == 0)
        s->payload = discovery_raw(r);
    else if (strcmp(key, "registrationTimeUTC") == 0)
        s->registered = json_null(&r->j) ? 0 : json_int(&r->j);
    else if (strcmp(key, "serviceType") == 0)
        s->type = discovery_type(r);
    else if (strcmp(key, "uriSpec") == 0)
        s->uri_spec = discovery_raw(r);
    else if (strcmp(key, "enabled") == 0)
        s->disabled = !json_null(&r->j) && !json_bool(&r->j);
    else
        (void)json_any(&r->j);
}

ZK_PRIVATE int discovery_read(struct slice json, struct zk_service **out) {
    char key[32];
    bool first = true;
    /* Every text is shorter than its JSON, with the NUL in place of a quote or comma. */
    struct zk_service *s = mem_try(sizeof *s + json.n + 1);
    struct discovery_reader r = {json_open(json), (char *)(s + 1), s};
    *out = NULL;
    if (!s) return ZK_OUT_OF_MEMORY;
    s->port = s->ssl_port = -1;
    json_enter(&r.j);
    while (json_key(&r.j, key, sizeof key, &first)) discovery_value(&r, key);
    if (!json_at_end(&r.j)) {
        mem_free(s);
        return ZK_MALFORMED;
    }
    *out = s;
    return ZK_OK;
}
