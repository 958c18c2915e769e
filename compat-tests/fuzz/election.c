/* Strangers and servers on the election port of one that is looking, and later leads or follows. */
#include "member.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct seat m;
    seat_open(&m);
    seat_feed(&m, LINK_ELECTION, data, size);
    seat_close(&m);
    return 0;
}
