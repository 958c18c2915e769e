/*
 * shell: zkcli, the ZooKeeper shell.
 *
 *   zkcli [-server hosts] [-timeout ms] [-r] [-waitforconnection] [-client-configuration file]
 *         [--json] [command words...]
 *
 * With a command it runs that one, else it reads lines: with editing from a terminal, plainly from
 * anything else. Commands, texts, streams and exit codes (0; 1 error; 2 bad configuration; 127 no
 * such command) are those of stock's zkCli.sh 3.9. Kinder than stock: what makes stock end with a
 * stack trace is one line here, a line of blanks is ignored, the session is always closed.
 *
 * It is one program of several files, which know nothing of the library but zk.h; `make zkcli.c`
 * puts them together. One thread does it all: the session lives in turn(), which waits for the
 * server and the keyboard. It ends when memory does.
 */
#ifndef SHELL_SHELL_H
#define SHELL_SHELL_H

#include <signal.h>
#include <stdio.h>

#include "zk.h"

/* zkcli.c has every function static; a build from src/ needs those that are shared extern. */
#ifndef ZK_PRIVATE
#define ZK_PRIVATE
#endif

#define WINDOW 1000 /* requests in flight */
#define COUNT(a) (sizeof(a) / sizeof *(a))

struct text { /* grows; NUL-terminated once something was put */
    char *s;
    size_t n, cap;
};

struct args {
    const struct command *command;
    char **raw, **word; /* all words; those that are neither options nor their values */
    int raw_n, n;
    int32_t version;        /* of -v */
    const char *value[128]; /* of an option, by its first letter; "" when it takes none */
};

struct command {
    const char *name, *usage; /* more lines of usage may follow the first */
    const char *options;      /* "s v: file:" (with : it takes a value); NULL: words are words */
    char group;               /* '|': at most one of the options, '!': exactly one */
    int words;                /* at least, itself included; 0: does without a session, too */
    int (*run)(struct args *a);
    const char *old; /* a word too many was a watch (version) once: what to write today */
};

struct shell {
    struct zk *zk;            /* NULL: closed */
    const struct zk_result *result; /* of the latest call() */
    const char *host;
    int timeout_ms, op_timeout_ms, count, exit_code, pending, error, acl_n;
    unsigned flags, max_packet;
    bool json, quiet, wait, editing, quitting, inside; /* inside: a callback may run */
    enum zk_watch_kind mode;                           /* of addWatch, the latest one given */
    char **history;                                    /* lines of this run, count of them */
    struct text document, warnings, *doc; /* doc: where JSON goes, one of the others */
    struct zk_acl *acl;                   /* that was read last */
};
extern struct shell sh;

struct tree { /* a subtree, as walk() has read it */
    struct node {
        char *name;
        uint32_t parent, first, n; /* n children, from first on, sorted by name */
        int error;
    } *node;
    uint32_t n, cap, asked, done;
    char *root;
    bool watch;
    int64_t batch;   /* of deleteall */
    int32_t version; /* of setAcl */
};
extern struct tree tree;

extern volatile sig_atomic_t interrupted; /* 0, SIGINT or SIGTERM */

/* text */
ZK_PRIVATE void *grow(void *p, size_t n);
ZK_PRIVATE char *copy(const char *s);
ZK_PRIVATE void put(struct text *t, const void *s, size_t n);
ZK_PRIVATE void add(struct text *t, const char *s);
ZK_PRIVATE const char *fmt(const char *format, ...);
ZK_PRIVATE size_t utf8_next(const char *s, size_t n, uint32_t *c);
ZK_PRIVATE void put_utf8(struct text *t, const char *s, size_t n);
ZK_PRIVATE bool is_utf8(const void *data, size_t n);
ZK_PRIVATE void put_json(struct text *t, const char *s, size_t n);
ZK_PRIVATE void put_base64(struct text *t, const void *data, size_t n);
ZK_PRIVATE const char *read_base64(const char *s, struct text *out);
ZK_PRIVATE bool number(const char *s, int base, int64_t min, int64_t max, int64_t *out);
ZK_PRIVATE int64_t now_ms(void);
ZK_PRIVATE char *cut(char **p, char at);

/* json */
struct jsin {
    char *start, *p, *end;
    const char *wrong; /* NULL, or what and where */
};
ZK_PRIVATE void jsin_wrong(struct jsin *j, const char *what);
ZK_PRIVATE bool jsin_take(struct jsin *j, char c);
ZK_PRIVATE void jsin_need(struct jsin *j, char c);
ZK_PRIVATE bool jsin_null(struct jsin *j);
ZK_PRIVATE int64_t jsin_int(struct jsin *j);
ZK_PRIVATE char *jsin_string(struct jsin *j, size_t *n);

/* output */
ZK_PRIVATE void out(FILE *to, const char *s);
ZK_PRIVATE void js_put(const char *brackets);
ZK_PRIVATE void js(const char *key, const char *value);
ZK_PRIVATE void js_text(const char *key, const char *s);
ZK_PRIVATE void js_print(struct text *t);
ZK_PRIVATE void js_end(void);
ZK_PRIVATE void say(FILE *to, const char *key, const char *before, const char *value);
ZK_PRIVATE void say_number(FILE *to, const char *key, const char *before, int64_t n);
ZK_PRIVATE void say_list(const char *key, const char *const *names, int n);
ZK_PRIVATE void say_stat(const struct zk_stat *s);
ZK_PRIVATE void js_identity(const struct zk_acl *who);
ZK_PRIVATE void say_data(char form, const void *data, int len);
ZK_PRIVATE const char *date(int64_t ms);
ZK_PRIVATE void warn(FILE *to, const char *text);
ZK_PRIVATE void js_error(int error, const char *text);
ZK_PRIVATE int fail(int error, const char *text);
ZK_PRIVATE int fail_softly(int error, const char *text);
ZK_PRIVATE int refuse(const char *text);
ZK_PRIVATE const char *keeper_text(int error, const char *path);
ZK_PRIVATE int fail_zk(int error, const char *path);
ZK_PRIVATE int usage(const struct args *a);
ZK_PRIVATE int bad_number(const char *s);

/* session */
ZK_PRIVATE const char *event_name(enum zk_event_type type);
ZK_PRIVATE enum zk_state state(void);
ZK_PRIVATE bool alive(void);
ZK_PRIVATE bool up(void);
ZK_PRIVATE void catch_interrupts(void);
ZK_PRIVATE bool turn(int fd, int64_t ms);
ZK_PRIVATE int open_session(const char *host);
ZK_PRIVATE void close_session(void);
ZK_PRIVATE void hang_up(void);
ZK_PRIVATE int connected(void);
ZK_PRIVATE int call(struct zk_op op);
ZK_PRIVATE const char *path_error(const char *p);
ZK_PRIVATE int check_path(const char *p);
ZK_PRIVATE int run(struct zk_op op);
ZK_PRIVATE void on_event(void *user, const struct zk_event *e);
ZK_PRIVATE struct zk_op watching(const struct args *a, struct zk_op op);

/* words */
ZK_PRIVATE char **split(char *line, int *n);
ZK_PRIVATE int parse_options(struct args *a);
ZK_PRIVATE int old_spelling(struct args *a);
ZK_PRIVATE const char *perms_text(int p);
ZK_PRIVATE void acl_entry(char *entry);
ZK_PRIVATE void acl_parse(char *list);

/* subtree */
ZK_PRIVATE int by_name(const void *a, const void *b);
ZK_PRIVATE void submit(struct zk_op op, zk_result_fn done, void *user);
ZK_PRIVATE int flow(const char *what, int window, bool (*next)(void));
ZK_PRIVATE const char *tree_path(uint32_t i);
ZK_PRIVATE int walk(const char *root, uint32_t must);
ZK_PRIVATE int list_tree(const char *root, bool watch);
ZK_PRIVATE int set_acl_tree(struct args *a);

/* commands */
ZK_PRIVATE const char *command_name(size_t i);
ZK_PRIVATE void usage_list(FILE *to);
ZK_PRIVATE int execute(char **words, int n);
ZK_PRIVATE void run_words(char **words, int n);
ZK_PRIVATE void run_line(const char *line);

ZK_PRIVATE void terminal(void); /* lines from a terminal */
ZK_PRIVATE void on_frame(void *user, bool sent, const uint8_t *bytes, size_t n); /* for explain */
ZK_PRIVATE int shell_main(int argc, char **argv);

/* What the table of commands calls, each in the file that its subject names. */
ZK_PRIVATE int do_add_auth(struct args *a);
ZK_PRIVATE int do_add_watch(struct args *a);
ZK_PRIVATE int do_config(struct args *a);
ZK_PRIVATE int do_create(struct args *a);
ZK_PRIVATE int do_del_quota(struct args *a);
ZK_PRIVATE int do_delete(struct args *a);
ZK_PRIVATE int do_delete_all(struct args *a);
ZK_PRIVATE int do_explain(struct args *a);
ZK_PRIVATE int do_export(struct args *a);
ZK_PRIVATE int do_get(struct args *a);
ZK_PRIVATE int do_get_acl(struct args *a);
ZK_PRIVATE int do_get_all_children_number(struct args *a);
ZK_PRIVATE int do_get_ephemerals(struct args *a);
ZK_PRIVATE int do_import(struct args *a);
ZK_PRIVATE int do_list_quota(struct args *a);
ZK_PRIVATE int do_ls(struct args *a);
ZK_PRIVATE int do_reconfig(struct args *a);
ZK_PRIVATE int do_remove_watches(struct args *a);
ZK_PRIVATE int do_set(struct args *a);
ZK_PRIVATE int do_set_acl(struct args *a);
ZK_PRIVATE int do_set_quota(struct args *a);
ZK_PRIVATE int do_stat(struct args *a);
ZK_PRIVATE int do_sync(struct args *a);
ZK_PRIVATE int do_tree(struct args *a);
ZK_PRIVATE int do_watch(struct args *a);
ZK_PRIVATE int do_whoami(struct args *a);

#endif
