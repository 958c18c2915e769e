/*
 * shell/ensemble: identities and the configuration of the ensemble.
 */
#include "shell/shell.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

int do_whoami(struct args *a) {
    int err = call(zk_who_am_i());
    (void)a, out(stdout, "Auth scheme: User\n");
    if (err) return js_error(err, keeper_text(err, NULL)), 0; /* stock: not a word of it */
    js("identities", "[");
    for (int i = 0; i < sh.result->count; i++) {
        js_identity(&sh.result->acl[i]);
        js_put("}");
        out(stdout, fmt("%s: %s\n", sh.result->acl[i].scheme, sh.result->acl[i].id));
    }
    js_put("]");
    return 0;
}

int do_add_auth(struct args *a) {
    const char *auth = a->n > 2 ? a->word[2] : NULL;
    struct zk_op op = zk_add_auth(a->word[1], auth, auth ? (int)strlen(auth) : -1);
    int64_t id = zk_submit(sh.zk, op, NULL, NULL);
    return id < 0 ? fail_zk((int)id, NULL) : 0;
}

/* With -c the addresses for clients, which stand behind a semicolon. */
int do_config(struct args *a) {
    int err = call(watching(a, zk_get_config()));
    if (err) return fail_zk(err, "/zookeeper/config");
    char *text = copy(sh.result->data ? sh.result->data : ""), *rest = text, *line, *client;
    const char *clients = "", *version = "";
    if (!a->value['c']) say(stdout, "config", "", text);
    for (const char *comma = ""; a->value['c'] && (line = cut(&rest, '\n'));) {
        client = strchr(line, ';');
        if (strncmp(line, "version=", 8) == 0) version = line + 8;
        if (strncmp(line, "server.", 7) != 0) continue;
        clients = fmt("%s%s%s", clients, comma, client ? client + 1 : "");
        comma = ",";
    }
    if (a->value['c']) say(stdout, "clients", fmt("%s ", version), clients);
    free(text);
    return 0;
}

/* The lines of a dynamic configuration file as a list. NULL: errno says why. */
static const char *read_members(const char *path) {
    FILE *f = fopen(path, "r");
    const char *all = "";
    char line[4096];
    while (f && fgets(line, sizeof line, f)) {
        line[strcspn(line, "\r\n")] = '\0';
        if (*line && *line != '#') all = fmt("%s%s%s", all, *all ? "," : "", line);
    }
    if (f) (void)fclose(f);
    return f ? all : NULL;
}

static const char *lower(const char *s) {
    char *p = s ? copy(s) : NULL;
    for (size_t i = 0; p && p[i]; i++) p[i] = (char)tolower((unsigned char)p[i]);
    return p;
}

int do_reconfig(struct args *a) {
    const char *file = a->value['f'], *v = a->value['v'], *members = lower(a->value['m']);
    const char *join = lower(a->value['a']), *leave = lower(a->value['r']);
    int64_t version = -1;
    if (!file && !members && !join && !leave) return usage(a);
    if (v && !number(v, 16, INT64_MIN, INT64_MAX, &version))
        return refuse("-v must be followed by a long (configuration version)");
    if ((file || members) && (join || leave))
        return refuse("Can't use -file or -members together with -add or -remove (mixing"
                      " incremental and non-incremental modes is not allowed)");
    if (file && members)
        return refuse("Can't use -file and -members together (conflicting non-incremental modes)");
    if (file && !(members = read_members(file)))
        return refuse(fmt("Error processing %s%s (%s)", file, file, strerror(errno)));
    int err = call(zk_reconfig(join, leave, members, version));
    if (err) return fail_zk(err, "");
    say(stdout, "config", "Committed new configuration:\n", sh.result->data ? sh.result->data : "");
    return 0;
}
