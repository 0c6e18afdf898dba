/**
 * @file d7y/source.h
 * What an origin wants to know besides the URL: access to object stores, file systems and model hubs.
 */
#ifndef D7Y_SOURCE_H
#define D7Y_SOURCE_H

#include <d7y/common.h>

D7Y_BEGIN_DECLS

#define D7Y_SOURCE_OPTIONS_VERSION 1

/**
 * Options of origins that are not plain http; each scheme reads its own members and ignores the others.
 * Which schemes work is decided where the download runs: this version's own nodes read http, https and file,
 * a Dragonfly daemon behind d7y_node_connect() reads all of those below.
 *
 * What is given here goes to the daemon in the request, as Dragonfly's protocol has it.
 */
typedef struct d7y_source_options {
  unsigned int version; /**< D7Y_SOURCE_OPTIONS_VERSION */

  /** Object stores: s3, gs, abs, oss, obs, cos. NULL: not given. */
  const char *region;
  const char *endpoint;
  const char *access_key_id;
  const char *access_key_secret;
  const char *session_token;   /**< s3 */
  const char *security_token;  /**< oss */
  const char *credential_path; /**< gs: file on the daemon's machine */
  const char *predefined_acl;  /**< gs */
  int insecure_skip_verify;    /**< nonzero: take any certificate; only for tests */

  const char *hdfs_delegation_token; /**< hdfs; NULL: none */

  /** Model hubs: hf, modelscope. */
  const char *hub_revision; /**< NULL: "main" (hf) or "master" (modelscope); part of the task's identity */
  const char *hub_token;    /**< NULL: none */
  const char *hub_base_url; /**< NULL: the hub's own */
} d7y_source_options;

/* clang-format off */
#define D7Y_SOURCE_OPTIONS_INIT \
  { D7Y_SOURCE_OPTIONS_VERSION, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0, NULL, NULL, NULL, NULL }
/* clang-format on */

D7Y_END_DECLS

#endif
