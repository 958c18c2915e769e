#include "node/ops.h"

/* A word is one of these, in lower case. stock: FourLetterCommands */
static const char ops_words[][5] = {"conf", "cons", "crst", "dirs", "dump", "envi", "gtmk",
                                    "ruok", "stmk", "srvr", "srst", "stat", "wchc", "wchp",
                                    "wchs", "mntr", "isro", "hash"};

ZK_PRIVATE bool ops_is_word(struct slice in) {
    for (size_t i = 0; i < sizeof ops_words / sizeof ops_words[0]; i++)
        if (memcmp(in.p, ops_words[i], 4) == 0) return true;
    return false;
}

ZK_PRIVATE void ops_answer(struct node *n, uint32_t conn, struct slice in) {
    struct buf *out = node_conn_out(n, conn);
    if (memcmp(in.p, "ruok", 4) == 0) buf_puts(out, "imok");
    if (memcmp(in.p, "isro", 4) == 0) buf_puts(out, "rw");
    if (memcmp(in.p, "srvr", 4) == 0)
        buf_printf(out, "Zookeeper version: %s\nMode: standalone\n", OPS_VERSION);
}
