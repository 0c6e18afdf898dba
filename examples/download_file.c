/* Downloads a URL to a file and shows how far it is.
 *
 *   cc download_file.c $(pkg-config --cflags --libs d7y) -o download_file
 *   ./download_file https://example.com/model.bin model.bin
 */
#include <d7y/d7y.h>
#include <inttypes.h>
#include <stdio.h>

int main(int argc, char **argv) {
  if (argc != 3) {
    fprintf(stderr, "usage: %s URL OUTPUT\n", argv[0]);
    return 2;
  }

  d7y_node *node = NULL;
  if (d7y_node_open(&node, NULL) != D7Y_OK) {
    fprintf(stderr, "open a node: %s\n", d7y_error_last()->message);
    return 1;
  }

  d7y_download_options options = D7Y_DOWNLOAD_OPTIONS_INIT;
  options.output_path = argv[2];
  options.overwrite = 1;
  d7y_download *download = NULL;
  d7y_code code = d7y_download_start(&download, node, argv[1], &options);
  while (code == D7Y_OK) {
    d7y_code waited = d7y_download_wait(download, 500);
    d7y_progress progress = {.version = D7Y_PROGRESS_VERSION};
    d7y_download_progress(download, &progress);
    printf("%" PRIu64 " bytes\n", progress.completed);
    if (d7y_download_ended(download)) {
      code = waited;
      break;
    }
  }
  if (code != D7Y_OK) fprintf(stderr, "%s\n", d7y_error_last()->message);

  d7y_download_free(download);
  d7y_node_free(node);
  return code == D7Y_OK ? 0 : 1;
}
