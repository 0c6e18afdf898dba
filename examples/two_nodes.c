/* A whole swarm in one process: a scheduler, a seed and two peers. The peers download the same URL; the
 * origin is read once, by the seed, and the peers feed on it and on each other.
 *
 *   ./two_nodes http://127.0.0.1:8080/model.bin first.bin second.bin
 */
#include <d7y/d7y.h>
#include <inttypes.h>
#include <stdio.h>

static int fail(const char *what) {
  fprintf(stderr, "%s: %s\n", what, d7y_error_last()->message);
  return 1;
}

static d7y_node *open_peer(const char *scheduler, const char *name, int seed) {
  d7y_node_options options = D7Y_NODE_OPTIONS_INIT;
  options.schedulers = &scheduler;
  options.scheduler_count = 1;
  options.ip = "127.0.0.1";
  options.hostname = name;
  options.seed = seed;
  d7y_node *node = NULL;
  d7y_node_open(&node, &options);
  return node;
}

int main(int argc, char **argv) {
  if (argc != 4) {
    fprintf(stderr, "usage: %s URL OUTPUT1 OUTPUT2\n", argv[0]);
    return 2;
  }

  d7y_scheduler_options scheduler_options = D7Y_SCHEDULER_OPTIONS_INIT;
  scheduler_options.listen = "127.0.0.1:0";
  d7y_scheduler *scheduler = NULL;
  if (d7y_scheduler_open(&scheduler, &scheduler_options) != D7Y_OK) return fail("open the scheduler");
  char address[32];
  snprintf(address, sizeof address, "127.0.0.1:%d", d7y_scheduler_port(scheduler));

  d7y_node *nodes[3] = {open_peer(address, "seed", 1), open_peer(address, "first", 0),
                        open_peer(address, "second", 0)};
  d7y_download *downloads[3] = {NULL, NULL, NULL};
  int status = 0;
  if (!nodes[0] || !nodes[1] || !nodes[2]) status = fail("open a node");

  for (int i = 1; i < 3 && status == 0; ++i) {
    d7y_download_options options = D7Y_DOWNLOAD_OPTIONS_INIT;
    options.output_path = argv[i + 1];
    options.overwrite = 1;
    if (d7y_download_start(&downloads[i], nodes[i], argv[1], &options) != D7Y_OK) status = fail("start");
  }
  for (int i = 1; i < 3 && status == 0; ++i) {
    if (d7y_download_wait(downloads[i], D7Y_FOREVER) != D7Y_OK) {
      status = fail(argv[i + 1]);
      break;
    }
    d7y_progress progress = {.version = D7Y_PROGRESS_VERSION};
    d7y_download_progress(downloads[i], &progress);
    printf("%s: %" PRIu64 " bytes, of which %" PRIu64 " from the seed, %" PRIu64 " from peers, %" PRIu64
           " from the origin\n",
           argv[i + 1], progress.completed, progress.from_seeds, progress.from_peers, progress.from_source);
  }

  for (int i = 0; i < 3; ++i) {
    d7y_download_free(downloads[i]);
    d7y_node_free(nodes[i]);
  }
  d7y_scheduler_free(scheduler);
  return status;
}
