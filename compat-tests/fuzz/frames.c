/* Arbitrary requests of two sessions. First byte of a piece: connection and length. */
#include "node.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const uint8_t connect[] = {0, 0, 0, 45, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
                                      0, 0x27, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0,
                                      0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
    struct fuzz_node f;
    uint32_t conn[2];
    fuzz_open(&f);
    for (int i = 0; i < 2; i++) {
        conn[i] = fuzz_accept(&f);
        fuzz_bytes(&f, conn[i], connect, sizeof connect);
    }
    while (size >= 3) {
        /* One frame: byte with the connection, two bytes of length, the body after its length. */
        uint8_t frame[4 + 65535];
        size_t n = (size_t)data[1] << 8 | data[2];
        int which = data[0] & 1;
        bool torn = (data[0] & 2) != 0;
        data += 3;
        size -= 3;
        if (n > size) n = size;
        put_be32(frame, (uint32_t)n);
        memcpy(frame + 4, data, n);
        data += n;
        size -= n;
        if (torn) {
            fuzz_bytes(&f, conn[which], frame, (n + 4) / 2);
            fuzz_bytes(&f, conn[which], frame + (n + 4) / 2, n + 4 - (n + 4) / 2);
        } else {
            fuzz_bytes(&f, conn[which], frame, n + 4);
        }
        f.now += 7;
    }
    fuzz_close(&f);
    return 0;
}
