// One request and its answer, and how it is refused and written down.
#pragma once

#include <string>
#include <string_view>

#include "base/log.h"
#include "net/http/server.h"

namespace d7y::proxy {

// Whose failure it was (header X-Dragonfly-Error-Type; Dragonfly client 7.2).
enum class Fault : std::uint8_t { kBackend, kProxy, kDaemon };

struct Exchange {
  http::ServerRequest& request;
  http::Responder& responder;
  std::string shown;      // target as sent, secrets left out: http.url
  std::string inside_of;  // "https://host[:port]" of the tunnel it came through; empty: none
  // Filled in on the way, for the log.
  int status = 0;
  std::uint64_t sent = 0;          // bytes of the body
  std::string_view via = "proxy";  // "task", "origin", "tunnel"
  std::string upstream, task, failure;
  std::string asked;  // the URL that the origin is asked for, secrets left out; only where spans are kept
  // Who asks, and for what such a caller has rights or has none (rights.h).
  std::string caller, scope;
};

// The status that tells `why` to an HTTP client: the origin's own where there is one, else 4xx for what the
// client did, 502 and 504 for what the origin did, 5xx for us.
int status_of(const Error& why);
Fault fault_of(const Error& why);

// Answers with `status` and a body that says why: in the registry's JSON form on its API, else as text.
// Headers of an origin's refusal that its client needs (WWW-Authenticate, Retry-After) come along when
// `why` carries them.
Task<void> refuse(Exchange& exchange, int status, Fault fault, const Error& why);
Task<void> refuse(Exchange& exchange, int status, Fault fault, const Error& why, http::Headers more);
Task<void> refuse(Exchange& exchange, const Error& why);

// The body of a refusal of a request for `target`.
struct Explanation {
  std::string content_type, body;
};
Explanation explain(std::string_view target, int status, std::string_view message);

// A request target for the log: values of query parameters that authorise are left out, and what is too long.
std::string shown_target(std::string_view target);

}  // namespace d7y::proxy
