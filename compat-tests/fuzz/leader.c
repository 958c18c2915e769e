/* Learners of a leader. */
#include "member.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct member m;
    member_open(&m);
    member_elect(&m, 2);
    member_feed(&m, LINK_QUORUM, data, size);
    member_close(&m);
    return 0;
}
