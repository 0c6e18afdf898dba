/**
 * @file d7y/error.h
 * How calls fail.
 */
#ifndef D7Y_ERROR_H
#define D7Y_ERROR_H

#include <d7y/common.h>

D7Y_BEGIN_DECLS

/** What kind of failure it was. Values never change their meaning; new ones may be added. */
typedef enum d7y_code {
  D7Y_OK = 0,
  D7Y_EINVAL = -1,         /**< an argument, option, URL or configuration is wrong */
  D7Y_ENOTFOUND = -2,      /**< no such task or file, or the origin says 404 or 410 */
  D7Y_EEXIST = -3,         /**< the output exists and overwriting was not asked for; address in use */
  D7Y_EPERM = -4,          /**< no permission, here or at the origin (403) */
  D7Y_EAUTH = -5,          /**< the origin wants credentials (401) */
  D7Y_ECANCELLED = -6,     /**< cancelled by d7y_download_cancel() or by freeing a handle */
  D7Y_ETIMEOUT = -7,       /**< the timeout passed */
  D7Y_EREFUSED = -8,       /**< nobody listens there, its name is unknown, or the network is unreachable */
  D7Y_ERESET = -9,         /**< a connection broke */
  D7Y_EPROTOCOL = -10,     /**< the other side broke its protocol */
  D7Y_ETOOLARGE = -11,     /**< over one of our limits */
  D7Y_ECORRUPT = -12,      /**< bytes do not match their digest or length */
  D7Y_ECHANGED = -13,      /**< the origin's content changed during the download */
  D7Y_EDISKFULL = -14,     /**< no space left for the store or the output */
  D7Y_EIO = -15,           /**< a file or device failed */
  D7Y_EEXHAUSTED = -16,    /**< too many requests, here or there (429), or no memory; try later */
  D7Y_EUNAVAILABLE = -17,  /**< the other side is not able now (503); try later */
  D7Y_EUNSUPPORTED = -18,  /**< not known to this version, to the source or to the daemon */
  D7Y_EPRECONDITION = -19, /**< right call, wrong state; a range that does not fit (416) */
  D7Y_ECLOSED = -20,       /**< the node is shutting down */
  D7Y_EINTERNAL = -21      /**< should not happen; please report the message */
} d7y_code;

/** The last failure of the calling thread. */
typedef struct d7y_error {
  d7y_code code;
  const char *message; /**< what was attempted, on what, why it failed, what to do; never NULL */
  int status;          /**< HTTP status of the origin, or gRPC status of a daemon; 0 if none */
} d7y_error;

/**
 * What went wrong in the calling thread's most recent call that failed.
 *
 * @return valid until the thread's next call into libd7y; code D7Y_OK and an empty message if nothing
 *         failed yet. Never NULL. Any thread; each has its own.
 */
D7Y_EXTERN const d7y_error *d7y_error_last(void);

/** A short name of `code` for people, "not found" for D7Y_ENOTFOUND. Static. Any thread. */
D7Y_EXTERN const char *d7y_code_name(d7y_code code);

D7Y_END_DECLS

#endif
