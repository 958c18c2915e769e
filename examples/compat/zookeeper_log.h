/*
 * zookeeper_log.h: the log of the C client, for libraries that stand on it.
 *
 * A line goes to the callback of the handle if there is one, else to the stream of the process.
 */
#ifndef ZOO_LOG_H
#define ZOO_LOG_H

#include "zookeeper.h"

#ifdef __cplusplus
extern "C" {
#endif

extern ZOOAPI ZooLogLevel logLevel;

#define LOGCALLBACK(zh) zoo_get_log_callback(zh)
#define LOGSTREAM NULL /* in place of a callback */

#define ZOO_LOG_AT(level, cb, ...) \
    if (logLevel >= (level)) log_message(cb, level, __LINE__, __func__, __VA_ARGS__)
#define LOG_ERROR(cb, ...) ZOO_LOG_AT(ZOO_LOG_LEVEL_ERROR, cb, __VA_ARGS__)
#define LOG_WARN(cb, ...) ZOO_LOG_AT(ZOO_LOG_LEVEL_WARN, cb, __VA_ARGS__)
#define LOG_INFO(cb, ...) ZOO_LOG_AT(ZOO_LOG_LEVEL_INFO, cb, __VA_ARGS__)
#define LOG_DEBUG(cb, ...) ZOO_LOG_AT(ZOO_LOG_LEVEL_DEBUG, cb, __VA_ARGS__)

ZOOAPI void log_message(log_callback_fn callback, ZooLogLevel curLevel, int line,
                        const char *funcName, const char *format, ...);
ZOOAPI FILE *zoo_get_log_stream(void);

#ifdef __cplusplus
}
#endif

#endif
