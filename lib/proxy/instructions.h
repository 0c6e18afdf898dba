// What a request says to d7y itself, and what of it goes on to others.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "net/http/headers.h"

namespace d7y::proxy {

// The X-Dragonfly-* headers of a request (Dragonfly client 7.2).
struct Instructions {
  std::string registry;
  std::string tag, application;
  std::optional<std::uint32_t> priority;  // 0 to 6
  std::optional<std::vector<std::string>> filtered_query_params;
  std::optional<bool> use_p2p, prefetch, blob_digest_ids;
  std::optional<std::uint64_t> piece_length;  // bytes
  std::optional<std::string> content_for_task_id;
  std::string output_path;
  bool force_hard_link = false;

  // kInvalid (400) names the header whose value is wrong.
  static Result<Instructions> read(const http::Headers& headers);
};

// The headers that go on to the origin: without those of this connection, ours, and Host. `credentials` are
// the proxy's own, which do not go on under any name; empty: it has none.
http::Headers forwarded(const http::Headers& headers, std::string_view credentials = {});

// The same for a download that a seed may make in our place. Only headers that are known to hold no secret
// may be told to it; all others are for the origin alone.
struct Shared {
  std::map<std::string, std::string> open;
  http::Headers secret;
};
Shared divide(const http::Headers& forwarded);

}  // namespace d7y::proxy
