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
  D7Y_LOG_OFF = 5,
  D7Y_LOG_AS_CONFIGURED = -1 /**< in options: the configuration file's level, or info */
} d7y_log_level;

/** In options: what the callback is given as `message`. */
typedef enum d7y_log_format {
  D7Y_LOG_MESSAGE = 0,             /**< the bare message */
  D7Y_LOG_TEXT = 1,                /**< a whole line with time, level, room and message */
  D7Y_LOG_JSON = 2,                /**< the same as a JSON object */
  D7Y_LOG_FORMAT_AS_CONFIGURED = 3 /**< a line as the configuration file says, or text */
} d7y_log_format;

/**
 * Receives one message without newline. Called on a thread of the library, one call at a time for
 * each handle; it must not call back into that handle and should return quickly.
 *
 * Once a configuration file has named a folder for log files (log.dir, server.logDir), lines go there
 * and no longer to the callback, unless the options say no_log_files.
 *
 * @param room     which part speaks, "fetch" or "scheduler"
 * @param message  valid during the call only; its form is the options' log_format
 */
typedef void (*d7y_log_callback)(void *user, d7y_log_level level, const char *room, const char *message);

D7Y_END_DECLS

#endif
