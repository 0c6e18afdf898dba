/**
 * @file d7y/scheduler.h
 * A scheduler inside this process.
 */
#ifndef D7Y_SCHEDULER_H
#define D7Y_SCHEDULER_H

#include <d7y/common.h>
#include <d7y/error.h>
#include <d7y/log.h>

D7Y_BEGIN_DECLS

/** A running scheduler. All functions may be called from any thread. */
typedef struct d7y_scheduler d7y_scheduler;

#define D7Y_SCHEDULER_OPTIONS_VERSION 1

typedef struct d7y_scheduler_options {
  unsigned int version;    /**< D7Y_SCHEDULER_OPTIONS_VERSION */
  const char *config_path; /**< a Dragonfly scheduler.yaml, or NULL */
  const char *config_text; /**< its text instead; at most one of the two */
  const char *listen;      /**< "ip:port"; NULL: the file's, or 0.0.0.0:8002. Port 0: any free */
  const char *metrics;     /**< "ip:port" of the metrics server; NULL: the file's, or none */
  d7y_log_callback log;    /**< NULL: as the file says, or silent */
  void *log_user;
  d7y_log_level log_level;   /**< of callback and log files; D7Y_LOG_AS_CONFIGURED: the file's */
  d7y_log_format log_format; /**< what the callback gets; log files are text */
  int no_log_files;          /**< nonzero: the callback gets everything, whatever server.logDir says */
} d7y_scheduler_options;

/* clang-format off */
#define D7Y_SCHEDULER_OPTIONS_INIT \
  { D7Y_SCHEDULER_OPTIONS_VERSION, NULL, NULL, NULL, NULL, NULL, NULL, D7Y_LOG_INFO, D7Y_LOG_MESSAGE, 0 }
/* clang-format on */

/** Opens a scheduler. @return D7Y_OK, D7Y_EINVAL (options or file), D7Y_EEXIST (port taken), D7Y_EPERM. */
D7Y_EXTERN d7y_code d7y_scheduler_open(d7y_scheduler **scheduler, const d7y_scheduler_options *options);

/** As d7y_node_warning(). */
D7Y_EXTERN const char *d7y_scheduler_warning(const d7y_scheduler *scheduler, size_t index);

/** The gRPC port it listens on. */
D7Y_EXTERN int d7y_scheduler_port(const d7y_scheduler *scheduler);

/** Lets calls in progress end, at most `timeout_ms`, and accepts no new ones. */
D7Y_EXTERN d7y_code d7y_scheduler_drain(d7y_scheduler *scheduler, uint64_t timeout_ms);

/** Stops and frees it. */
D7Y_EXTERN void d7y_scheduler_free(d7y_scheduler *scheduler);

D7Y_END_DECLS

#endif
