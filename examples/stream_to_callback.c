/* Streams a URL to a callback, in order, while it arrives; here the callback writes to stdout. What was
 * handed out is only known to be right once d7y_download_wait() says D7Y_OK.
 *
 *   ./stream_to_callback https://example.com/archive.tar | tar -t
 */
#include <d7y/d7y.h>
#include <stdio.h>

static int on_data(void *user, const void *data, size_t size) {
  return fwrite(data, 1, size, user) == size ? 0 : 1;
}

int main(int argc, char **argv) {
  if (argc != 2) {
    fprintf(stderr, "usage: %s URL\n", argv[0]);
    return 2;
  }

  d7y_node *node = NULL;
  if (d7y_node_open(&node, NULL) != D7Y_OK) {
    fprintf(stderr, "open a node: %s\n", d7y_error_last()->message);
    return 1;
  }

  d7y_download_options options = D7Y_DOWNLOAD_OPTIONS_INIT;
  options.on_data = on_data;
  options.on_data_user = stdout;
  d7y_download *download = NULL;
  d7y_code code = d7y_download_start(&download, node, argv[1], &options);
  if (code == D7Y_OK) code = d7y_download_wait(download, D7Y_FOREVER);
  if (code != D7Y_OK) fprintf(stderr, "%s\n", d7y_error_last()->message);
  if (fflush(stdout) != 0) code = D7Y_EIO;

  d7y_download_free(download);
  d7y_node_free(node);
  return code == D7Y_OK ? 0 : 1;
}
