/*
 * shell/words: lines into words, words into options and arguments (stock: commons-cli), ACLs.
 */
#include "shell/shell.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

/* Cuts a line into words, in place. Quotes count where a word begins; those without end do not. */
char **split(char *line, int *n) {
    char **words = grow(NULL, sizeof *words * (strlen(line) / 2 + 2));
    *n = 0;
    for (char *p = line, *end; *p;) {
        bool quote = *p == '"' || *p == '\'';
        end = quote ? strchr(p + 1, *p) : p + strcspn(p, " \t\n\v\f\r");
        if (end && end != p) {
            words[(*n)++] = p + quote;
            p = end + (*end != '\0');
            *end = '\0';
        } else {
            p++;
        }
    }
    return words;
}

/* An option of the list by its name, or NULL. */
static const char *option_find(const char *list, const char *name, size_t n) {
    for (const char *p = list; *p; p += strcspn(p, " "), p += *p == ' ')
        if (n && strcspn(p, ": ") == n && strncmp(p, name, n) == 0) return p;
    return NULL;
}

static bool option_valued(const char *option) { return option[strcspn(option, ": ")] == ':'; }
static int option_fail(const char *what) { return refuse(fmt("org.apache.commons.cli.%s", what)); }

/* The option found for a word. What can be wrong is said in the words of commons-cli. */
static int option_take(struct args *a, const char *option, const char *word, const char **open) {
    if (!option)
        return option_fail(fmt("UnrecognizedOptionException: Unrecognized option: %s", word));
    if (*open)
        return option_fail(fmt("MissingArgumentException: Missing argument for option: %.*s",
                               (int)strcspn(*open, ": "), *open));
    for (const char *p = a->command->options; a->command->group && *p; p++)
        if (isalpha((unsigned char)*p) && a->value[(int)*p] && *p != *option)
            return option_fail(fmt("AlreadySelectedException: The option '%c' was specified but an"
                                   " option from this group has already been selected: '%c'",
                                   *option, *p));
    if (!a->value[(int)*option]) a->value[(int)*option] = "";
    *open = option_valued(option) ? option : NULL;
    return 0;
}

/* The first value holds. */
static void option_value(struct args *a, const char **open, const char *value) {
    if (!*a->value[(int)**open]) a->value[(int)**open] = value;
    *open = NULL;
}

/* stock: DefaultParser. A word with options: -s, -sw, -v3, -v=3, -file. */
static int option_parse(struct args *a, const char *word, const char **open) {
    const char *list = a->command->options, *t = word + 1;
    size_t n = strcspn(t, "="), whole = *t == '-' || t[n] || option_find(list, t, n) ? n : 1;
    for (int err; *t; t += whole) {
        const char *o = *t == '-' ? NULL : option_find(list, t, whole);
        if (o && t[whole] == '=' && (whole > 1 || !option_valued(o))) o = NULL;
        if ((err = option_take(a, o, word, open))) return err;
        if (!*open || !t[whole]) continue;
        option_value(a, open, t + whole + (t[whole] == '='));
        break;
    }
    return 0;
}

/* After an option that takes a value: all but another option, and negative numbers. */
static bool option_is_value(const char *list, const char *word) {
    char *end;
    bool other = word[0] == '-' && (option_find(list, word + 1, strcspn(word + 1, "=")) ||
                                    option_find(list, word + 1, 1));
    if (other) (void)strtod(word, &end);
    return !other || !*end;
}

int parse_options(struct args *a) {
    const char *open = NULL, *list = a->command->options, *p = list;
    bool plain = !list;
    memset(a->value, 0, sizeof a->value);
    a->n = 0;
    for (int i = 0, err = 0; i < a->raw_n; i++) {
        char *w = a->raw[i];
        if (!plain && strcmp(w, "--") == 0) plain = true;
        else if (!plain && open && option_is_value(list, w)) option_value(a, &open, w);
        else if (!plain && w[0] == '-' && w[1]) err = option_parse(a, w, &open);
        else a->word[a->n++] = w;
        if (err) return err;
    }
    if (open) return option_take(a, open, "", &open);
    if (a->command->group != '!') return 0;
    while (*p && !a->value[(int)*p]) p++;
    return *p ? 0 : option_fail("MissingOptionException: Missing required option: [-n num soft"
                                " quota, -b bytes soft quota, -N num hard quota,"
                                " -B bytes hard quota]");
}

/* A word too many: it stands for -w (of delete: it is ignored), and the options are read again. */
int old_spelling(struct args *a) {
    static char watch[] = "-w";
    const char *name = a->command->name, *word = *name == 'd' ? "version" : "watch";
    if (*word == 'w') a->raw[2] = watch;
    warn(stderr, fmt("'%s path [%s]' has been deprecated. Please use '%s %s path' instead.\n", name,
                     word, name, a->command->old));
    return parse_options(a);
}

const char *perms_text(int p) {
    return fmt("%s%s%s%s%s", p & ZK_PERM_CREATE ? "c" : "", p & ZK_PERM_DELETE ? "d" : "",
               p & ZK_PERM_READ ? "r" : "", p & ZK_PERM_WRITE ? "w" : "",
               p & ZK_PERM_ADMIN ? "a" : "");
}

/* One "scheme:id:perms", which it cuts, onto sh.acl. stock: AclParser */
void acl_entry(char *entry) {
    static const char letters[] = "rwcda";
    char *first = strchr(entry, ':'), *last = strrchr(entry, ':');
    uint32_t c;
    if (!first || first == last) {
        warn(stderr, fmt("%s does not have the form scheme:id:perm\n", entry));
        return;
    }
    *first = *last = '\0';
    sh.acl = grow(sh.acl, sizeof *sh.acl * (size_t)(sh.acl_n + 1));
    struct zk_acl *acl = &sh.acl[sh.acl_n++];
    *acl = (struct zk_acl){.scheme = entry, .id = first + 1};
    for (size_t i = 1, len; last[i]; i += len) {
        const char *known = strchr(letters, last[i]);
        len = utf8_next(last + i, strlen(last + i), &c);
        if (known) acl->perms |= 1 << (known - letters);
        else warn(stderr, fmt("Unknown perm type: %.*s\n", (int)len, last + i));
    }
}

void acl_parse(char *list) {
    size_t n = strlen(list);
    sh.acl_n = 0;
    while (n > 1 && list[n - 1] == ',') list[--n] = '\0';
    while (list && strcmp(list, ",") != 0) acl_entry(cut(&list, ','));
}
