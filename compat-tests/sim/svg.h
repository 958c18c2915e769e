/* What the picture wants to know; nothing happens unless there is to be one. */
#ifndef SIM_SVG_H
#define SIM_SVG_H

#include "sim.h"

enum svg_kind {
    /* the role of a server from here on */
    SVG_START,
    SVG_LOOKING,
    SVG_LEADING,
    SVG_ESTABLISHED, /* value: the epoch */
    SVG_LEARNING,
    SVG_SERVING, /* as a follower or observer */
    SVG_DOWN,
    /* value: zxid */
    SVG_PROPOSED,
    SVG_DURABLE,
    SVG_COMMITTED,
    SVG_KINDS
};

void svg_start(int64_t from_ms, int64_t to_ms); /* 0, 0: the first fall of a leader */
void svg_mark(uint32_t server, enum svg_kind kind, int64_t value);
void svg_sent(uint32_t stream, int side, struct slice bytes);
void svg_delivered(uint32_t stream, int side, size_t n);
bool svg_write(const char *path);

#endif
