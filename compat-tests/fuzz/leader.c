/* Learners of a leader. */
#include "member.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct seat m;
    seat_open(&m);
    seat_elect(&m, 2);
    seat_feed(&m, LINK_QUORUM, data, size);
    seat_close(&m);
    return 0;
}
