/* Arbitrary bytes from the first one on: handshakes, four-letter words, garbage. */
#include "node.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct fuzz_node f;
    fuzz_open(&f);
    uint32_t whole = fuzz_accept(&f), drip = fuzz_accept(&f);
    fuzz_bytes(&f, whole, data, size);
    for (size_t i = 0; i < size && i < 256; i++) fuzz_bytes(&f, drip, data + i, 1);
    fuzz_close(&f);
    return 0;
}
