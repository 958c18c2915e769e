/* The leader of a follower. */
#include "member.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct member m;
    member_open(&m);
    member_elect(&m, 3);
    member_feed(&m, LINK_ELECTION, data, size);
    member_close(&m);
    return 0;
}
