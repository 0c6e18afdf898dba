/**
 * @file d7y/node.h
 * A node: a peer with its store, or a connection to a daemon that has one.
 *
 * @code
 * d7y_node_options options = D7Y_NODE_OPTIONS_INIT;
 * options.storage_path = "cache";
 * d7y_node *node;
 * if (d7y_node_open(&node, &options) != D7Y_OK) return fail(d7y_error_last()->message);
 * ...
 * d7y_node_free(node);
 * @endcode
 */
#ifndef D7Y_NODE_H
#define D7Y_NODE_H

#include <d7y/common.h>
#include <d7y/error.h>
#include <d7y/log.h>

D7Y_BEGIN_DECLS

/** A running peer, or a daemon's. All functions on it may be called from any thread. */
typedef struct d7y_node d7y_node;

#define D7Y_NODE_OPTIONS_VERSION 1

typedef struct d7y_node_options {
  unsigned int version; /**< D7Y_NODE_OPTIONS_VERSION */

  /**
   * A Dragonfly dfdaemon.yaml to start from (docs/configuration.md lists the keys), or NULL. The
   * members below, where set, win over the file. With a file the node is a full daemon: it opens
   * all servers the file configures. Without one it opens only what the members ask for.
   */
  const char *config_path;
  /** The file's text itself instead of a path; at most one of the two. */
  const char *config_text;

  /**
   * Folder of the piece store, made if missing. NULL: the file's, or without a file a private one
   * in /tmp that only this user can read, removed by d7y_node_free(), or after a crash by the next node
   * that makes its own. Only one node at a time may use it.
   */
  const char *storage_path;

  /**
   * Addresses "host:port" of schedulers. NULL: the file's, or none, in which case everything comes
   * from the origin.
   */
  const char *const *schedulers;
  size_t scheduler_count;

  const char *ip;       /**< address that peers reach this node at; NULL: chosen */
  const char *hostname; /**< name announced; NULL: the system's */
  int seed;             /**< nonzero: announce as a seed peer */

  /** TCP port of the upload server (gRPC) and of the piece server; 0: any free; -1: the default or
   *  the file's (for a node without a file: any free if schedulers are set, else none). */
  int upload_port;
  int piece_port;
  /** Unix socket of the download server; NULL: the file's, or none. */
  const char *download_socket;

  uint64_t download_rate_limit; /**< bytes per second for all downloads together; 0: the file's or none */
  uint64_t upload_rate_limit;   /**< bytes per second for all uploads together; 0: the file's or none */
  uint64_t source_rate_limit;   /**< bytes per second from origins; 0: the file's or none */

  /** "host:port" URLs like curl's http_proxy, and a comma-separated list of hosts to reach directly.
   *  NULL: none. The environment is not read by the library. */
  const char *http_proxy;
  const char *https_proxy;
  const char *no_proxy;

  const char *ca_path; /**< PEM bundle to trust for https origins besides the system's; NULL: none */
  int insecure;        /**< nonzero: do not verify https origins; only for tests */

  d7y_log_callback log; /**< NULL: as the file says, or silent */
  void *log_user;
  d7y_log_level log_level;   /**< of callback and log files; D7Y_LOG_AS_CONFIGURED: the file's */
  d7y_log_format log_format; /**< what the callback gets; log files follow the configuration */
  int no_log_files;          /**< nonzero: the callback gets everything, whatever log.dir says */

  const char *dynconfig_path;      /**< where schedulers are named without a manager; NULL: dynconfig.yaml
                                        beside the configuration file */
  const char *log_dir;             /**< folder of log files; NULL: the file's, or none */
  uint64_t log_max_file_size;      /**< bytes, at least 64 KiB; 0: the file's, or 1 GiB */
  unsigned int log_max_file_count; /**< kept in all; 0: the file's, or 6 */

  /**
   * Nonzero: the caller deletes storage_path after d7y_node_free(). Nothing in it is made durable, which
   * saves short-lived nodes most of their time. Left in place all the same, it serves the next node, which
   * reads again what it finds there before it uses it.
   */
  int temporary_storage;
} d7y_node_options;

/* clang-format off */
#define D7Y_NODE_OPTIONS_INIT                                                                             \
  { D7Y_NODE_OPTIONS_VERSION, NULL, NULL, NULL, NULL, 0, NULL, NULL, 0, -1, -1, NULL, 0, 0, 0, NULL, NULL, \
    NULL, NULL, 0, NULL, NULL, D7Y_LOG_INFO, D7Y_LOG_MESSAGE, 0, NULL, NULL, 0, 0, 0 }
/* clang-format on */

/**
 * Opens a node in this process and starts its threads and servers.
 *
 * @param[out] node     the node; free it with d7y_node_free(). Several may live in one process.
 * @param      options  NULL for defaults.
 * @return D7Y_OK; D7Y_EINVAL (options or configuration: the message names line and key);
 *         D7Y_EEXIST (a port is taken or the store is in use); D7Y_EPERM, D7Y_EIO, D7Y_EDISKFULL (store).
 */
D7Y_EXTERN d7y_code d7y_node_open(d7y_node **node, const d7y_node_options *options);

/**
 * Whether d7y_node_open() would take these options and the configuration they name. Nothing is opened or
 * made, so a port that is taken, or a folder that cannot be written, shows only there.
 *
 * @return D7Y_OK, or what d7y_node_open() would return; the message names everything that is wrong, a line
 * each.
 */
D7Y_EXTERN d7y_code d7y_node_check(const d7y_node_options *options);

/**
 * Connects to a daemon instead: downloads then run there, through its Unix socket.
 *
 * @param[out] node        behaves like a node of this process; free it with d7y_node_free().
 * @param      endpoint    path of the daemon's download socket; NULL: /var/run/dragonfly/dfdaemon.sock
 * @param      timeout_ms  how long to wait for the daemon to answer.
 * @return D7Y_OK; D7Y_ENOTFOUND (no such socket); D7Y_EREFUSED (nobody listens); D7Y_ETIMEOUT (no answer);
 *         D7Y_ERESET, D7Y_EPROTOCOL (no daemon); D7Y_EUNAVAILABLE (it stops); D7Y_EPERM.
 */
D7Y_EXTERN d7y_code d7y_node_connect(d7y_node **node, const char *endpoint, uint64_t timeout_ms);

/**
 * Warnings about the configuration that was read (unknown keys, keys without effect yet), one per
 * call: index 0, 1, ... until NULL. Valid as long as the node.
 */
D7Y_EXTERN const char *d7y_node_warning(const d7y_node *node, size_t index);

typedef enum d7y_port {
  D7Y_PORT_UPLOAD = 0,  /**< gRPC upload server */
  D7Y_PORT_PIECE = 1,   /**< vortex piece server */
  D7Y_PORT_PROXY = 2,   /**< HTTP proxy */
  D7Y_PORT_METRICS = 3, /**< Prometheus metrics */
  D7Y_PORT_HEALTH = 4   /**< /healthy */
} d7y_port;

/** The port on which a server of the node listens; 0 if it does not run. */
D7Y_EXTERN int d7y_node_port(const d7y_node *node, d7y_port which);

/**
 * Writes the node's metrics in Prometheus's text format into `buffer` (at most `size` bytes with the
 * final NUL) and the full length without NUL into *length. Call with size 0 to learn the length.
 * A daemon has a port of its own for them: D7Y_EUNSUPPORTED.
 */
D7Y_EXTERN d7y_code d7y_node_metrics(d7y_node *node, char *buffer, size_t size, size_t *length);

/**
 * Stops accepting work, lets uploads and downloads in progress end, tells the schedulers good-bye.
 *
 * @param timeout_ms  how long to wait for them.
 * @return D7Y_OK, or D7Y_ETIMEOUT if some were still running; they end with d7y_node_free(). A daemon is not
 *         drained by its users: D7Y_OK at once.
 */
D7Y_EXTERN d7y_code d7y_node_drain(d7y_node *node, uint64_t timeout_ms);

/**
 * Stops everything and frees the node. Downloads that still run end with D7Y_ECANCELLED; free their
 * handles first or afterwards. What the store holds stays for the next time. Not from a callback.
 */
D7Y_EXTERN void d7y_node_free(d7y_node *node);

D7Y_END_DECLS

#endif
