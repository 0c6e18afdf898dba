/**
 * @file d7y/download.h
 * A download: one caller's wish for the content behind a URL.
 *
 * Three ways to get the bytes: to a file (output_path), to a callback (on_data), or by
 * d7y_download_read(). With none of them the content only lands in the node's store.
 */
#ifndef D7Y_DOWNLOAD_H
#define D7Y_DOWNLOAD_H

#include <d7y/common.h>
#include <d7y/error.h>
#include <d7y/node.h>
#include <d7y/source.h>

D7Y_BEGIN_DECLS

/** A running or ended download. All functions may be called from any thread; only one thread reads. */
typedef struct d7y_download d7y_download;

/**
 * Receives content in order. Called on a thread of the library, with the host's signals blocked, and never
 * before d7y_download_start() has stored the handle. It may cancel or free that download, but not wait for
 * it.
 *
 * @return 0 to go on; anything else cancels the download (D7Y_ECANCELLED). Returning late slows this
 *         download's delivery, never the node.
 */
typedef int (*d7y_data_callback)(void *user, const void *data, size_t size);

#define D7Y_DOWNLOAD_OPTIONS_VERSION 1

typedef struct d7y_download_options {
  unsigned int version; /**< D7Y_DOWNLOAD_OPTIONS_VERSION */

  const char *output_path; /**< where the verified content appears at the end; NULL: no file */
  int overwrite;           /**< nonzero: an existing output may be replaced */
  int force_hard_link;     /**< nonzero: fail rather than copy when the output cannot be a hard link */

  d7y_data_callback on_data; /**< NULL: none */
  void *on_data_user;
  int readable; /**< nonzero: d7y_download_read() will be called */

  const char *digest; /**< "sha256:<hex>", md5, sha1, sha512 or crc32; always verified; NULL: none */

  /** Part of the task's identity: peers share content only if all of these agree. */
  const char *tag;
  const char *application;
  const char *const *filtered_query_params; /**< NULL: the default list of signature parameters */
  size_t filtered_query_param_count;
  uint64_t piece_length;           /**< 0: by content length (4 MiB to 64 MiB) */
  const char *content_for_task_id; /**< hashed instead of the URL; NULL: none */

  const char *const *headers; /**< request headers for the origin, "Name: value" each */
  size_t header_count;
  const char *range; /**< "bytes=0-99" style; NULL: everything */

  int priority;                   /**< Dragonfly's level 0 to 6 */
  int disable_back_to_source;     /**< nonzero: peers only */
  uint64_t timeout_ms;            /**< whole download; 0: two hours */
  uint64_t rate_limit;            /**< bytes per second for this download; 0: none */
  unsigned int concurrent_pieces; /**< 0: the node's default */
  /** Nonzero, with a daemon's node: this process writes the output itself, with its own rights and on
   *  its own file systems, instead of the daemon. */
  int transfer;
  const d7y_source_options *source; /**< for origins that are not http; copied; NULL: none */
} d7y_download_options;

/* clang-format off */
#define D7Y_DOWNLOAD_OPTIONS_INIT                                                                  \
  {                                                                                                \
    D7Y_DOWNLOAD_OPTIONS_VERSION, NULL, 0, 0, NULL, NULL, 0, NULL, NULL, NULL, NULL, 0, 0, NULL,   \
        NULL, 0, NULL, 0, 0, 0, 0, 0, 0, NULL                                                      \
  }
/* clang-format on */

/**
 * Starts a download and returns at once; the work runs on the node's threads.
 *
 * The content appears under options->output_path only when it is complete and verified.
 *
 * @param[out] download  free it with d7y_download_free(), which cancels it if it has not ended.
 * @param      url       http, https or file. Copied.
 * @param      options   NULL for defaults. Copied.
 * @return D7Y_OK; D7Y_EINVAL (bad URL or option: the message names it); D7Y_EEXIST (output exists and
 *         overwrite is off); D7Y_EUNSUPPORTED (scheme); D7Y_EEXHAUSTED (no more threads); D7Y_ECLOSED.
 *         What only a daemon sees, its output among it, d7y_download_wait() returns.
 */
D7Y_EXTERN d7y_code d7y_download_start(d7y_download **download, d7y_node *node, const char *url,
                                       const d7y_download_options *options);

/**
 * Waits for the end.
 *
 * @return D7Y_OK: complete and verified. D7Y_ETIMEOUT with d7y_download_ended() == 0: it still runs.
 *         D7Y_EPRECONDITION with d7y_download_ended() == 0: called from this download's on_data.
 *         Any other code: how it ended. May be called again.
 */
D7Y_EXTERN d7y_code d7y_download_wait(d7y_download *download, uint64_t timeout_ms);

/** Nonzero once the download has ended, well or not. */
D7Y_EXTERN int d7y_download_ended(const d7y_download *download);

/**
 * Reads the next bytes in order, as they arrive. Needs options.readable (else D7Y_EPRECONDITION), and room
 * for a byte.
 *
 * @param[out] length  bytes read; 0 with D7Y_OK: the end, everything was verified.
 * @return D7Y_OK, D7Y_ETIMEOUT (nothing yet; call again), or how the download failed.
 */
D7Y_EXTERN d7y_code d7y_download_read(d7y_download *download, void *buffer, size_t size, size_t *length,
                                      uint64_t timeout_ms);

#define D7Y_PROGRESS_VERSION 1

typedef struct d7y_progress {
  unsigned int version;    /**< set to D7Y_PROGRESS_VERSION before the call */
  uint64_t content_length; /**< of what was asked for (the range's); D7Y_UNKNOWN_SIZE: not known yet */
  uint64_t completed;      /**< bytes of it here; those of pieces that still arrive are not verified yet */
  uint64_t from_source;    /**< bytes received from the origin */
  uint64_t from_seeds;     /**< bytes received from seed peers */
  uint64_t from_peers;     /**< bytes received from other peers */
  uint64_t from_local;     /**< bytes that were in the store already */
  uint32_t pieces_total;   /**< 0: not known yet */
  uint32_t pieces_done;
  uint64_t elapsed_ms;    /**< since the start, or until the end */
  uint64_t first_byte_ms; /**< since the start; D7Y_UNKNOWN_SIZE: none yet */
} d7y_progress;

/** How far the download is. */
D7Y_EXTERN d7y_code d7y_download_progress(const d7y_download *download, d7y_progress *progress);

/** The task's id, 64 hex digits as a rule; empty until known. Valid as long as the download. */
D7Y_EXTERN const char *d7y_download_task_id(const d7y_download *download);

/** A response header of the origin, name without regard to case; NULL if there is none (yet). Valid
 *  as long as the download. */
D7Y_EXTERN const char *d7y_download_header(const d7y_download *download, const char *name);

/** Gives the download up; d7y_download_wait() then returns D7Y_ECANCELLED. What was fetched stays in
 *  the store, so that a later download resumes. */
D7Y_EXTERN void d7y_download_cancel(d7y_download *download);

/** Cancels if needed and frees. */
D7Y_EXTERN void d7y_download_free(d7y_download *download);

/** One entry below a URL that is a folder. */
typedef struct d7y_entry {
  const char *url;
  const char *path; /**< relative to the folder listed, with '/', never leading out of it */
  uint64_t size;    /**< D7Y_UNKNOWN_SIZE: not said */
  int is_folder;
} d7y_entry;

/** Receives one entry; valid during the call only. Nonzero ends the listing. */
typedef int (*d7y_entry_callback)(void *user, const d7y_entry *entry);

/**
 * Lists everything below `url` (which ends in '/' or names a folder), depth first.
 *
 * @param options     headers and timeout are used; NULL for defaults.
 * @return D7Y_OK; D7Y_EUNSUPPORTED (the source cannot list); the source's failure; D7Y_ECANCELLED if
 *         the callback ended it.
 */
D7Y_EXTERN d7y_code d7y_list(d7y_node *node, const char *url, const d7y_download_options *options,
                             d7y_entry_callback callback, void *user);

D7Y_END_DECLS

#endif
