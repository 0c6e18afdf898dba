/**
 * @file d7y/task.h
 * What a node has stored.
 */
#ifndef D7Y_TASK_H
#define D7Y_TASK_H

#include <d7y/common.h>
#include <d7y/download.h>
#include <d7y/error.h>
#include <d7y/node.h>

D7Y_BEGIN_DECLS

#define D7Y_TASK_VERSION 1

/** One task in a store. The strings are valid during the callback, or until the next call with the
 *  same thread for d7y_task_stat(). */
typedef struct d7y_task {
  unsigned int version; /**< D7Y_TASK_VERSION; what the library filled */
  const char *id;
  const char *url;         /**< may be empty when it is not known */
  uint64_t content_length; /**< D7Y_UNKNOWN_SIZE: not known */
  uint64_t stored;         /**< bytes of complete pieces */
  uint64_t piece_length;
  uint32_t pieces_total;
  uint32_t pieces_done;
  int complete;
  int64_t created_at;  /**< Unix seconds */
  int64_t accessed_at; /**< Unix seconds */
} d7y_task;

typedef int (*d7y_task_callback)(void *user, const d7y_task *task);

/** Calls `callback` for each stored task until it returns nonzero. */
D7Y_EXTERN d7y_code d7y_task_list(d7y_node *node, d7y_task_callback callback, void *user);

/** Fills *task for the task with this id. @return D7Y_OK, D7Y_ENOTFOUND. */
D7Y_EXTERN d7y_code d7y_task_stat(d7y_node *node, const char *id, d7y_task *task);

/**
 * Deletes a task from the store (and tells its scheduler). Content in use is removed when the last
 * user is done. @return D7Y_OK, D7Y_ENOTFOUND.
 */
D7Y_EXTERN d7y_code d7y_task_delete(d7y_node *node, const char *id);

/**
 * The id a download of `url` with `options` has, without starting it.
 *
 * @param[out] id  at least 129 bytes.
 */
D7Y_EXTERN d7y_code d7y_task_id(const char *url, const d7y_download_options *options, char *id, size_t size);

D7Y_END_DECLS

#endif
