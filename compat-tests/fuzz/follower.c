/* The leader of a follower. */
#include "member.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct seat m;
    seat_open(&m);
    seat_elect(&m, 3);
    seat_feed(&m, LINK_ELECTION, data, size);
    seat_close(&m);
    return 0;
}
