#include "base/log.h"

ZK_PRIVATE void log_line(struct logq *q, int level, const char *fmt, ...) {
    if (level > q->max_level) return;
    if (buf_len(&q->lines) > LOG_MAX) {
        q->dropped++;
        return;
    }
    buf_compact(&q->lines);
    buf_putc(&q->lines, (char)level);
    va_list ap;
    va_start(ap, fmt);
    buf_vprintf(&q->lines, fmt, ap);
    va_end(ap);
    buf_putc(&q->lines, '\0');
}

ZK_PRIVATE bool log_take(struct logq *q, int *level, const char **text) {
    struct slice s = buf_slice(&q->lines);
    if (!s.n) return false;
    *level = s.p[0];
    *text = (const char *)s.p + 1;
    buf_consume(&q->lines, strlen(*text) + 2);
    return true;
}
