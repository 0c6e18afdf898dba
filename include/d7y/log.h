/**
 * @file d7y/log.h
 * Where a node's or scheduler's messages go: to a callback of yours, or to files by configuration.
 */
#ifndef D7Y_LOG_H
#define D7Y_LOG_H

#include <d7y/common.h>

D7Y_BEGIN_DECLS

typedef enum d7y_log_level {
  D7Y_LOG_TRACE = 0,
  D7Y_LOG_DEBUG = 1,
  D7Y_LOG_INFO = 2,
  D7Y_LOG_WARN = 3,
  D7Y_LOG_ERROR = 4,
  D7Y_LOG_OFF = 5
} d7y_log_level;

/**
 * Receives one message without newline. Called on a thread of the library, one call at a time for
 * each handle; it must not call back into that handle and should return quickly.
 *
 * @param room     which part speaks, "fetch" or "scheduler"
 * @param message  valid during the call only
 */
typedef void (*d7y_log_callback)(void *user, d7y_log_level level, const char *room, const char *message);

D7Y_END_DECLS

#endif
