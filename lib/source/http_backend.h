// Origins that speak HTTP.
//
// stat asks with HEAD; origins that refuse HEAD (whose answer may be about HEAD alone) or say too little are
// asked for their first byte instead. A read sends If-Range or If-Match for the pinned version and then
// still believes only what the answer proves: status, Content-Range, ETag, Last-Modified, length.
// It goes to the other host that a redirect led to before, for that version, as long as that one answers.
#pragma once

#include <memory>
#include <string>

#include "net/http/client.h"
#include "source/gate.h"
#include "source/source.h"

namespace d7y::source {

struct HttpBackendOptions {
  http::Headers default_headers;    // added where the request lacks them
  std::size_t max_per_origin = 64;  // requests under way at once to one host and port
  std::size_t max_total = 1024;
  bool allow_downgrade =
      false;  // redirects from https to http, which requests that verify nothing follow, too
  std::size_t listing_bytes = 16 << 20;  // longest directory page
  // How long is remembered where redirects to other hosts led; 0: each request asks again.
  Duration redirects_kept = std::chrono::minutes(10);
};

// "d7y/<version>", the user agent of all requests to origins.
std::string_view user_agent();

class HttpBackend final : public Backend {
 public:
  // `client` must outlive the backend.
  HttpBackend(http::Client& client, HttpBackendOptions options);
  ~HttpBackend() override;

  Task<Result<Info>> stat(const Request& request, Deadline deadline) override;
  Task<Result<std::unique_ptr<Body>>> read(const Request& request, Span span, const Version& pinned,
                                           Deadline deadline) override;
  // Reads the directory pages of nginx (HTML and JSON), Apache, Python's http.server, lighttpd, Caddy, rclone
  // and webfs: links to names directly below the page's own path.
  Task<Result<std::vector<Entry>>> list(const Request& request, Deadline deadline) override;

 private:
  struct Inside;
  std::unique_ptr<Inside> inside_;
};

}  // namespace d7y::source
