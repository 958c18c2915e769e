/*
 * shell/commands: the table of commands, the way through it, and those about the shell itself.
 */
#include "shell/shell.h"

#include <stdlib.h>
#include <string.h>

static int do_version(struct args *a) {
    if (a->n > 1) return usage(a);
    say(stdout, "version", "ZooKeeper CLI version: ", ZK_COMPATIBLE_VERSION "-zk." ZK_VERSION);
    return 0;
}

/* Said instead of most commands, and after those that can do without a session. */
static int not_connected(void) {
    return alive() ? 0 : fail_softly(ZK_CLOSING, "Not connected");
}

static int do_print_watches(struct args *a) {
    if (a->n == 1) say(stdout, "printwatches", "printwatches is ", sh.quiet ? "off" : "on");
    else sh.quiet = strcmp(a->word[1], "on") != 0;
    return not_connected();
}

static int do_history(struct args *a) {
    (void)a, js("history", "[");
    for (int i = sh.count < 10 ? 0 : sh.count - 10; i <= sh.count; i++) {
        const char *line = sh.history ? sh.history[i] : "null";
        js(NULL, fmt("{\"number\":%d", i));
        js_text("line", line);
        js_put("}");
        out(stdout, fmt("%d - %s\n", i, line));
    }
    js_put("]");
    return not_connected();
}

static int do_redo(struct args *a) {
    int64_t i;
    int n;
    if (a->n < 2) return not_connected();
    if (!number(a->word[1], 0, INT32_MIN, INT32_MAX, &i)) return bad_number(a->word[1]);
    if (i < 0 || i >= sh.count) return refuse("Command index out of range");
    char *line = copy(sh.history[i]), **words = split(line, &n);
    bool again = strcmp(words[0], "redo") == 0; /* there is no line without words */
    if (!again) {
        sh.history[sh.count] = copy(sh.history[i]);
        (void)execute(words, n), (void)not_connected();
    }
    free(words);
    free(line);
    return again ? refuse("No redoing redos") : 0;
}

static int do_connect(struct args *a) { return open_session(a->n > 1 ? a->word[1] : sh.host); }

static int do_close(struct args *a) { return (void)a, hang_up(), 0; }

static int do_quit(struct args *a) {
    sh.quitting = true;
    return (void)do_close(a), sh.exit_code;
}

/* --- the table of commands, and the way through it --- */

static const struct command commands[] = {
    {"addWatch", "[-m mode] path # optional mode is one of [PERSISTENT, PERSISTENT_RECURSIVE] -"
                 " default is PERSISTENT_RECURSIVE", "m:", 0, 1, do_add_watch, NULL},
    {"addauth", "scheme auth", "", 0, 2, do_add_auth, NULL},
    {"close", "", NULL, 0, 1, do_close, NULL},
    {"config", "[-c] [-w] [-s]", "c w s", 0, 1, do_config, NULL},
    {"connect", "host:port", NULL, 0, 0, do_connect, NULL},
    {"create", "[-s] [-e] [-c] [-t ttl] path [data] [acl]", "s e c t:", 0, 2, do_create, NULL},
    {"delete", "[-v version] path", "v:", 0, 2, do_delete, "[-v version]"},
    {"deleteall", "path [-b batch size]", "b:", 0, 2, do_delete_all, NULL},
    {"delquota", "[-n|-b|-N|-B] path", "n b N B", '|', 2, do_del_quota, NULL},
    {"explain", "command [words...]", NULL, 0, 0, do_explain, NULL},
    {"export", "path file", "", 0, 3, do_export, NULL},
    {"get", "[-s] [-w] [-b] [-x] path\n -b   Output data in base64 format\n"
            " -s   Print znode stats additionally\n -w   Watch for changes on the znode\n"
            " -x   Output data in hexdump format\n", "s w b x", 0, 2, do_get, "[-s] [-w]"},
    {"getAcl", "[-s] path", "s", 0, 2, do_get_acl, NULL},
    {"getAllChildrenNumber", "path", "", 0, 2, do_get_all_children_number, NULL},
    {"getEphemerals", "path", "", 0, 1, do_get_ephemerals, NULL},
    {"history", "", NULL, 0, 0, do_history, NULL},
    {"import", "file [path]", "", 0, 2, do_import, NULL},
    {"listquota", "path", "", 0, 2, do_list_quota, NULL},
    {"ls", "[-s] [-w] [-R] path", "? s w R", 0, 2, do_ls, "[-w]"},
    {"printwatches", "on|off", NULL, 0, 0, do_print_watches, NULL},
    {"quit", "", NULL, 0, 0, do_quit, NULL},
    {"reconfig", "[-s] [-v version] [[-file path] | [-members"
                 " serverID=host:port1:port2;port3[,...]*]] | [-add"
                 " serverId=host:port1:port2;port3[,...]]* [-remove serverId[,...]*]",
     "s v: file: members: add: remove:", 0, 1, do_reconfig, NULL},
    {"redo", "cmdno", NULL, 0, 0, do_redo, NULL},
    {"removewatches", "path [-c|-d|-a] [-l]", "c d p r a l", 0, 2, do_remove_watches, NULL},
    {"set", "path data [-s] [-v version] [-b]\n -b         Supply data in base64 format\n"
            " -s         Print znode stats additionally\n"
            " -v <arg>   Set with an expected version\n", "s v: b", 0, 3, do_set, NULL},
    {"setAcl", "[-s] [-v version] [-R] path acl", "s v: R", 0, 3, do_set_acl, NULL},
    {"setquota", "-n|-b|-N|-B val path", "n: b: N: B:", '!', 2, do_set_quota, NULL},
    {"stat", "[-w] path", "w", 0, 2, do_stat, "[-w]"},
    {"sync", "path", "", 0, 2, do_sync, NULL},
    {"tree", "[path]", "", 0, 1, do_tree, NULL},
    {"version", "", "", 0, 1, do_version, NULL},
    {"watch", "[-R] path", "R", 0, 2, do_watch, NULL},
    {"whoami", "", NULL, 0, 1, do_whoami, NULL},
};

const char *command_name(size_t i) { return i < COUNT(commands) ? commands[i].name : NULL; }

void usage_list(FILE *to) {
    out(to, "ZooKeeper -server host:port -client-configuration properties-file cmd args\n");
    for (const struct command *c = commands; c < commands + COUNT(commands); c++)
        out(to, fmt("\t%s %.*s\n", c->name, (int)strcspn(c->usage, "\n"), c->usage));
}

/* Does what the words say, once the options are parsed; the exit code. */
static int execute_parsed(struct args *a) {
    const struct command *c = a->command;
    const char *v = a->value['v'];
    int64_t version = -1;
    int err;
    if (c->run == do_ls && a->value['?'])
        say(stdout, "help", "", "usage: ls [options] path\n -?   help\n -R   recurse\n -s   stat\n"
                                " -w   watch");
    if (a->n < c->words) return usage(a);
    if (c->old && a->n > 2 && (err = old_spelling(a))) return err;
    if (v && c->run != do_reconfig && !number(v, 10, INT32_MIN, INT32_MAX, &version))
        return bad_number(v);
    a->version = (int32_t)version;
    err = c->run(a);
    if (!err && a->value['s'] && sh.result && sh.result->has_stat) say_stat(&sh.result->stat);
    return err;
}

int execute(char **words, int n) {
    struct args a = {.command = commands, .raw = words, .raw_n = n};
    const struct command *end = commands + COUNT(commands);
    while (a.command < end && strcmp(a.command->name, words[0]) != 0) a.command++;
    if (a.command == end) {
        usage_list(stderr);
        (void)fail(ZK_UNIMPLEMENTED, fmt("Command not found: Command not found %s", words[0]));
        return 127;
    }
    if (!alive() && a.command->words) return not_connected();
    a.word = grow(NULL, sizeof *a.word * (size_t)n);
    int err = parse_options(&a);
    if (!err) err = execute_parsed(&a);
    free(a.word);
    return err;
}

/* A command with all that is said about it. */
void run_words(char **words, int n) {
    js_put("{");
    js_text("command", words[0]);
    sh.result = NULL;
    sh.exit_code = execute(words, n);
    (void)turn(-1, 0); /* events that came with the reply */
    js_end();
}

void run_line(const char *line) {
    char *text = copy(line);
    int n;
    char **words = split(text, &n);
    if (n) {
        sh.history = grow(sh.history, sizeof *sh.history * (size_t)(sh.count + 1));
        sh.history[sh.count] = copy(line);
        run_words(words, n);
        sh.count++;
    }
    free(words);
    free(text);
}
