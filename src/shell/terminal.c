/*
 * shell/terminal: lines from a terminal, with editing, completion and a history that lasts.
 *
 * Arrows, Home, End, Delete, Ctrl-A E K L U W, Alt-B D F, Tab; Ctrl-R looks for a line; Ctrl-C
 * drops the line, Ctrl-D ends an empty one, Ctrl-Z suspends.
 */
#include "shell/shell.h"

#include <ctype.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

static struct {
    struct text line;
    size_t at;   /* of the cursor */
    char **past; /* lines of this run and earlier ones, n of them */
    int n, back; /* back: so many lines up from the end */
    struct termios saved;
} ed;

/* A key; -1 at the end of input. Sequences of a terminal stand for control characters, or for one
 * of these. */
enum { DELETE = 256, WORD_LEFT, WORD_RIGHT, WORD_DELETE };

static int read_key(void) {
    static const struct {
        const char *sequence;
        int key;
    } keys[] = {{"[A", 16}, {"[B", 14}, {"[C", 6}, {"[D", 2}, {"[H", 1}, {"[F", 5}, {"OA", 16},
                {"OB", 14}, {"OC", 6}, {"OD", 2}, {"OH", 1}, {"OF", 5}, {"[1~", 1}, {"[4~", 5},
                {"[7~", 1}, {"[8~", 5}, {"[3~", DELETE}, {"[1;5C", WORD_RIGHT},
                {"[1;5D", WORD_LEFT}, {"[1;3C", WORD_RIGHT}, {"[1;3D", WORD_LEFT},
                {"f", WORD_RIGHT}, {"b", WORD_LEFT}, {"d", WORD_DELETE}, {"\x7f", 23}};
    char c, s[8];
    size_t n = 0;
    if (read(0, &c, 1) != 1) return -1;
    if (c != 27) return (unsigned char)c;
    while (n < sizeof s - 1 && turn(0, 50) && read(0, &s[n], 1) == 1) {
        bool leads = n == 0 && (s[0] == '[' || s[0] == 'O');
        if (n++ == 0 ? !leads : isalpha((unsigned char)s[n - 1]) || s[n - 1] == '~') break;
    }
    s[n] = '\0';
    for (size_t i = 0; i < COUNT(keys); i++)
        if (strcmp(s, keys[i].sequence) == 0) return keys[i].key;
    return 0;
}

/* The whole character that a key begins; its length. */
static size_t read_char(int key, char *bytes) {
    size_t n = 1, more = key < 0xc0 ? 0 : key < 0xe0 ? 1 : key < 0xf0 ? 2 : 3;
    bytes[0] = (char)key;
    while (n <= more && turn(0, 50) && read(0, &bytes[n], 1) == 1) n++;
    return n;
}

static int next_key(void) { return turn(0, -1) ? read_key() : interrupted ? -1 : 0; }

/* How wide a terminal draws a character: Chinese, Japanese, Korean and pictures take two columns,
 * marks over letters none. */
static size_t width(uint32_t c) {
    static const struct {
        uint32_t first, last;
        size_t wide;
    } ranges[] = {{0x300, 0x36f, 0}, {0x1100, 0x115f, 2}, {0x200b, 0x200d, 0}, {0x2e80, 0xa4cf, 2},
                  {0xac00, 0xd7a3, 2}, {0xf900, 0xfaff, 2}, {0xfe00, 0xfe0f, 0},
                  {0xfe30, 0xfe6f, 2}, {0xff00, 0xff60, 2}, {0xffe0, 0xffe6, 2},
                  {0x1f300, 0x1faff, 2}, {0x20000, 0x3fffd, 2}};
    for (size_t i = 0; i < COUNT(ranges); i++)
        if (c >= ranges[i].first && c <= ranges[i].last) return ranges[i].wide;
    return 1;
}

static size_t columns(const char *s, size_t n) {
    size_t wide = 0;
    uint32_t c;
    for (size_t i = 0; i < n;) i += utf8_next(s + i, n - i, &c), wide += width(c);
    return wide;
}

static bool continues(size_t at) { return (ed.line.s[at] & 0xc0) == 0x80; }

/* A line that is too long is shown in part, around the cursor. */
static void redraw(const char *prompt) {
    struct winsize size;
    size_t wide = ioctl(1, TIOCGWINSZ, &size) || !size.ws_col ? 80 : size.ws_col;
    size_t lead = columns(prompt, strlen(prompt)), room = wide > lead + 1 ? wide - lead - 1 : 1;
    size_t from = 0, to = ed.line.n;
    while (columns(ed.line.s + from, ed.at - from) > room)
        do from++;
        while (continues(from));
    while (columns(ed.line.s + from, to - from) > room)
        do to--;
        while (continues(to));
    printf("\r%s%.*s\033[K\r\033[%zuC", prompt, (int)(to - from), ed.line.s + from,
           lead + columns(ed.line.s + from, ed.at - from));
    fflush(stdout);
}

static void erase(size_t from, size_t to) {
    memmove(ed.line.s + from, ed.line.s + to, ed.line.n - to + 1);
    ed.line.n -= to - from;
    ed.at = from;
}

static void insert(const char *s, size_t n) {
    put(&ed.line, s, n);
    memmove(ed.line.s + ed.at + n, ed.line.s + ed.at, ed.line.n - n - ed.at);
    memcpy(ed.line.s + ed.at, s, n);
    ed.at += n;
}

/* The place one character on, or back. */
static size_t beside(int way) {
    size_t at = ed.at;
    if (way > 0 ? at == ed.line.n : at == 0) return at;
    do at = way > 0 ? at + 1 : at - 1;
    while (continues(at));
    return at;
}

/* The place beyond blanks and then a word, on or back. */
static size_t beyond_word(int way) {
    size_t at = ed.at, step = way > 0 ? 0 : 1, end = way > 0 ? ed.line.n : 0;
    while (at != end && ed.line.s[at - step] == ' ') at = way > 0 ? at + 1 : at - 1;
    while (at != end && ed.line.s[at - step] != ' ') at = way > 0 ? at + 1 : at - 1;
    return at;
}

static void recall(int back) {
    if (back < 0 || back > ed.n) return;
    ed.back = back;
    ed.line.n = 0;
    add(&ed.line, back ? ed.past[ed.n - back] : "");
    ed.at = ed.line.n;
}

/* Where the word at the cursor begins, behind its quote if it has one. */
static size_t word_start(char *quote) {
    const char *s = ed.line.s, *end = s + ed.at, *p = s, *close;
    for (*quote = '\0'; p < end;) {
        const char *start = p;
        if (*p == '"' || *p == '\'') {
            close = memchr(p + 1, *p, (size_t)(end - p) - 1);
            if (!close) return *quote = *p, (size_t)(p + 1 - s);
            p = close + 1;
        } else if (isspace((unsigned char)*p)) {
            p++;
        } else {
            while (p < end && !isspace((unsigned char)*p)) p++;
            if (p == end) return (size_t)(start - s);
        }
    }
    return ed.at;
}

/* What of the names begins like part, sorted, to found; their number. */
static size_t matching(const char *part, const char *const *names, size_t n, const char **found) {
    size_t k = 0;
    for (size_t i = 0; names && i < n; i++)
        if (strncmp(names[i], part, strlen(part)) == 0) found[k++] = names[i];
    for (size_t i = 0; !names && i < n; i++)
        if (strncmp(command_name(i), part, strlen(part)) == 0) found[k++] = command_name(i);
    qsort(found, k, sizeof *found, by_name);
    return k;
}

/* Puts a quote in front of a word that has become one with blanks, and behind one that is whole. */
static void put_quotes(size_t start, char quote, bool whole) {
    size_t at = ed.at;
    if (!quote && memchr(ed.line.s + start, ' ', at - start)) {
        quote = memchr(ed.line.s + start, '"', at - start) ? '\'' : '"';
        ed.at = start;
        insert(&quote, 1);
        ed.at = at + 1;
    }
    if (whole && quote) insert(&quote, 1);
    if (whole) insert(" ", 1);
}

/* Nodes when the word begins with a slash, else commands. */
static void complete(void) {
    char quote;
    size_t start = word_start(&quote), most = 0;
    const char *word = fmt("%.*s", (int)(ed.at - start), ed.line.s + start), *part = word;
    const char *const *names = NULL;
    while (command_name(most)) most++;
    if (*word == '/') {
        part = strrchr(word, '/') + 1;
        const char *dir = fmt("%.*s", part == word + 1 ? 1 : (int)(part - word - 1), word);
        struct zk_op op = zk_get_children(dir);
        op.timeout_ms = 2000;
        bool good = up() && !path_error(dir) && !call(op);
        most = good ? (size_t)sh.result->count : 0;
        names = good ? sh.result->names : NULL;
    }
    const char **found = grow(NULL, sizeof *found * most);
    size_t n = matching(part, names, most, found);
    size_t known = strlen(part), common = n ? strlen(found[0]) : known;
    for (size_t i = 1; i < n; i++)
        while (strncmp(found[0], found[i], common) != 0) common--;
    for (size_t i = 0; n > 1 && common == known && i < n; i++)
        printf("%s%s%s", i ? "  " : "\n", found[i], i + 1 < n ? "" : "\n");
    if (n) insert(found[0] + known, common - known);
    if (n) put_quotes(start, quote, n == 1);
    free(found);
}

/* The latest line with the text in it, so many lines up or more; 0: there is none. */
static int find_back(const char *text, int back) {
    while (back <= ed.n && !strstr(ed.past[ed.n - back], text)) back++;
    return back <= ed.n ? back : 0;
}

/* Ctrl-R: looks for a line while its text is typed; again: for an older one. The key that ended it,
 * 0 after Ctrl-G, which gives up. */
static int search(void) {
    struct text what = {0}, prompt = {0};
    int key = 0, back = 1, found;
    put(&what, "", 0);
    do {
        char bytes[4];
        bool erases = key == 8 || key == 127;
        while (erases && what.n && (what.s[--what.n] & 0xc0) == 0x80) {}
        put(&what, bytes, key >= 32 && !erases ? read_char(key, bytes) : 0);
        if (erases) back = 1;
        found = what.n ? find_back(what.s, back + (key == 18)) : 0;
        if (found) recall(back = found);
        prompt.n = 0;
        add(&prompt, fmt("(search)`%s': ", what.s));
        redraw(prompt.s);
        key = next_key();
    } while (key == 0 || key == 18 || key == 8 || (key >= 32 && key < DELETE));
    free(what.s);
    free(prompt.s);
    if (key == 7) recall(0);
    return key == 7 ? 0 : key;
}

static void suspend(void) {
    struct termios raw;
    (void)tcgetattr(0, &raw);
    (void)tcsetattr(0, TCSADRAIN, &ed.saved);
    printf("\n");
    fflush(stdout);
    (void)raise(SIGTSTP);
    (void)tcsetattr(0, TCSADRAIN, &raw);
}

/* True: the line is complete, or with *key -1 the input. */
static bool edit(int *key) {
    char bytes[4];
    if (*key == 18) *key = search();
    if (*key == 4) *key = ed.line.n ? DELETE : -1;
    switch (*key) {
    case 1: ed.at = 0; break;
    case 2: ed.at = beside(-1); break;
    case 3: recall(0), *key = '\n', printf("^C"); break;
    case 5: ed.at = ed.line.n; break;
    case 6: ed.at = beside(1); break;
    case 8: case 127: erase(beside(-1), ed.at); break;
    case 9: complete(); break;
    case 11: erase(ed.at, ed.line.n); break;
    case 12: printf("\033[H\033[2J"); break;
    case 14: recall(ed.back - 1); break;
    case 16: recall(ed.back + 1); break;
    case 21: erase(0, ed.at); break;
    case 23: erase(beyond_word(-1), ed.at); break;
    case 26: suspend(); break;
    case DELETE: erase(ed.at, beside(1)); break;
    case WORD_LEFT: ed.at = beyond_word(-1); break;
    case WORD_RIGHT: ed.at = beyond_word(1); break;
    case WORD_DELETE: erase(ed.at, beyond_word(1)); break;
    default: if (*key >= 32) insert(bytes, read_char(*key, bytes));
    }
    return *key == -1 || *key == '\r' || *key == '\n';
}

/* The next line from the terminal, until the next call; NULL at the end. */
static const char *edit_line(void) {
    static const char *const names[] = {
        "", "CONNECTING", "CONNECTED", "CONNECTEDREADONLY", "CONNECTING", "CONNECTING", "CLOSED",
        "AUTH_FAILED", "CLOSED"};
    struct text prompt = {0};
    struct termios raw = ed.saved;
    int key;
    raw.c_iflag &= (tcflag_t) ~(ICRNL | IXON);
    raw.c_lflag &= (tcflag_t) ~(ECHO | ICANON | ISIG | IEXTEN);
    (void)tcsetattr(0, TCSADRAIN, &raw);
    recall(0);
    catch_interrupts(); /* a signal now ends the input, and finds the terminal put back in order */
    sh.editing = true;
    do {
        prompt.n = 0;
        add(&prompt, fmt("[zk: %s(%s) %d] ", sh.host, names[state()], sh.count));
        redraw(prompt.s);
        key = next_key();
    } while (!edit(&key));
    sh.editing = false;
    (void)tcsetattr(0, TCSADRAIN, &ed.saved);
    catch_interrupts(); /* from here on it is the command that they end */
    printf("\n");
    fflush(stdout);
    free(prompt.s);
    return key < 0 ? NULL : ed.line.s;
}

static void remember(const char *line) {
    if (ed.n && strcmp(ed.past[ed.n - 1], line) == 0) return;
    ed.past = grow(ed.past, sizeof *ed.past * (size_t)(ed.n + 1));
    ed.past[ed.n++] = copy(line);
}

/* Lines from a terminal. Those of earlier runs are in ~/.zkcli_history, but for secrets. */
void terminal(void) {
    const char *home = getenv("HOME"), *next;
    int fd = home ? open(fmt("%s/.zkcli_history", home), O_RDWR | O_CREAT | O_APPEND, 0600) : -1;
    FILE *f = fd < 0 ? NULL : fdopen(fd, "a+");
    char *line = NULL;
    size_t cap = 0;
    while (f && getline(&line, &cap, f) > 0) {
        line[strcspn(line, "\n")] = '\0';
        remember(line);
    }
    if (f && ed.n > 2000 && ftruncate(fd, 0) == 0)
        for (int i = ed.n - 1000; i < ed.n; i++) fprintf(f, "%s\n", ed.past[i]);
    if (f) fflush(f);
    (void)tcgetattr(0, &ed.saved);
    for (int64_t end = now_ms() + 200; state() == ZK_STATE_CONNECTING && now_ms() < end;)
        (void)turn(-1, end - now_ms()); /* so that the first prompt says CONNECTED */
    while (!sh.quitting && (next = edit_line())) {
        next += strspn(next, " \t");
        if (!*next) continue;
        remember(next);
        if (f && !strstr(next, "addauth")) fprintf(f, "%s\n", next), fflush(f);
        run_line(ed.past[ed.n - 1]);
    }
    if (!sh.quitting) out(stdout, "JLine support is disabled\n");
    if (f) (void)fclose(f);
    free(line);
}
