/* Names with sequences, as recipes read them; and their order. */
#include "zk.c"

#define CHECK(x) ((x) ? (void)0 : (fprintf(stderr, "%d: %s\n", __LINE__, #x), exit(1)))

static const struct {
    const char *name, *marker;
    bool is;
    int32_t seq;
} NAMES[] = {
    {"_c_14b5e63a-5b08-41e8-9a77-edd18e19026f-lock-0000000000", "lock-", true, 0},
    {"lock-2147483647", "lock-", true, INT32_MAX},
    {"lock--2147483648", "lock-", true, INT32_MIN},
    {"lock--0000000001", "lock-", true, -1},
    {"lock-0000000001-lock-0000000002", "lock-", true, 2},
    {"x-12-0000000007", "-", true, 7},
    {"0123456789abcdef0123456789abcdef__lock__0000000003", "__lock__", true, 3},
    {"0123456789abcdef0123456789abcdef__rlock__0000000003", "__lock__", false, 0},
    {"lock-2147483648", "lock-", false, 0},
    {"lock--2147483649", "lock-", false, 0},
    {"lock-000000000", "lock-", false, 0},
    {"lock-00000000001", "lock-", false, 0},
    {"lock-000000000x", "lock-", false, 0},
    {"lock- 000000001", "lock-", false, 0},
    {"lock-0000000001x", "lock-", false, 0},
    {"lock-", "lock-", false, 0},
    {"", "lock-", false, 0},
    {"latch-0000000001", "lock-", false, 0},
};

int main(void) {
    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++) {
        int32_t seq = 0;
        bool is = recipe_sequence(NAMES[i].name, NAMES[i].marker, &seq);
        if (is == NAMES[i].is && (!is || seq == NAMES[i].seq)) continue;
        fprintf(stderr, "%s: %d %d\n", NAMES[i].name, is, (int)seq);
        return 1;
    }
    CHECK(line_before(1, "b", 2, "a") && !line_before(2, "a", 1, "b"));
    CHECK(line_before(-5, "b", 2, "a"));
    CHECK(line_before(2, "a", 2, "b") && !line_before(2, "b", 2, "a"));
    CHECK(!line_before(2, "a", 2, "a"));
    return 0;
}
