/* An arbitrary zoo.cfg, dynamic file, myid and JVM flags. */
#include "rooms.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct config c;
    struct logq log = {.max_level = LOG_INFO_LEVEL};
    memset(&c, 0, sizeof c);
    config_defaults(&c);
    char *text = mem_alloc(size + 1);
    memcpy(text, data, size);
    text[size] = '\0';
    config_jvm_flags(&c, text, &log);
    mem_free(text);
    if (config_parse(&c, slice_of(data, size), &log) == 0) {
        (void)config_parse_dynamic(&c, slice_of(data, size), &log);
        (void)config_parse_myid(&c, slice_of(data, size));
    }
    config_free(&c);
    buf_free(&log.lines);
    return 0;
}
