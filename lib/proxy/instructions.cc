#include "proxy/instructions.h"

#include <algorithm>
#include <charconv>

#include "base/config_tree.h"

namespace d7y::proxy {
namespace {

constexpr std::string_view kOurs = "X-Dragonfly-";

// A word is enough: these hold no secrets and may change what the origin sends.
constexpr std::string_view kOpen[] = {
    "Accept",
    "Accept-Charset",
    "Accept-Language",
    "Cache-Control",
    "Pragma",
    "User-Agent",
    "X-Request-Id",
    "X-Meta-Source-Client",
    "Via",
    // Podman, CRI-O and skopeo say it with every request; aria2 the other.
    "Docker-Distribution-Api-Version",
    "Want-Digest",
};
// Ours to decide, or about this request alone.
constexpr std::string_view kAnswered[] = {
    "Range",           "If-Range",    "If-None-Match", "If-Match", "If-Modified-Since", "If-Unmodified-Since",
    "Accept-Encoding", "Traceparent", "Tracestate",    "Baggage",
};

bool is_ours(std::string_view name) {
  return name.size() >= kOurs.size() && http::same_name(name.substr(0, kOurs.size()), kOurs);
}

template <std::size_t N>
bool is_one_of(std::string_view name, const std::string_view (&list)[N]) {
  return std::any_of(std::begin(list), std::end(list),
                     [&](std::string_view each) { return http::same_name(name, each); });
}

Error bad(std::string_view header, std::string_view why) {
  return error(ErrorCode::kInvalid, "header {}{}: {}", kOurs, header, why).with_status(400);
}

Result<std::optional<bool>> flag(const http::Headers& headers, std::string_view name) {
  auto value = headers.get(std::string(kOurs) + std::string(name));
  if (!value) return std::optional<bool>();
  if (http::same_name(*value, "true")) return std::optional(true);
  if (http::same_name(*value, "false")) return std::optional(false);
  return bad(name, "must be true or false");
}

std::vector<std::string> list_of(std::string_view text) {
  std::vector<std::string> out;
  while (!text.empty()) {
    auto part = text.substr(0, text.find(','));
    text.remove_prefix(std::min(text.size(), part.size() + 1));
    while (part.starts_with(' ')) part.remove_prefix(1);
    while (part.ends_with(' ')) part.remove_suffix(1);
    if (!part.empty()) out.emplace_back(part);
  }
  return out;
}

}  // namespace

Result<Instructions> Instructions::read(const http::Headers& headers) {
  Instructions out;
  auto text = [&](std::string_view name) { return headers.get(std::string(kOurs) + std::string(name)); };
  out.registry = text("Registry").value_or("");
  out.tag = text("Tag").value_or("");
  out.application = text("Application").value_or("");
  out.output_path = text("Output-Path").value_or("");
  if (auto value = text("Priority")) {
    std::uint32_t number = 0;
    auto [end, failed] = std::from_chars(value->data(), value->data() + value->size(), number);
    if (failed != std::errc{} || end != value->data() + value->size() || number > 6)
      return bad("Priority", "must be a number from 0 to 6");
    out.priority = number;
  }
  if (auto value = text("Filtered-Query-Params")) out.filtered_query_params = list_of(*value);
  TRY(out.use_p2p, flag(headers, "Use-P2P"));
  TRY(out.prefetch, flag(headers, "Prefetch"));
  TRY(out.blob_digest_ids, flag(headers, "Enable-Task-ID-Based-Blob-Digest"));
  TRY(auto hard, flag(headers, "Force-Hard-Link"));
  out.force_hard_link = hard.value_or(false);
  if (auto value = text("Piece-Length")) {
    auto size = parse_size(*value);
    if (!size) return bad("Piece-Length", "must be a size such as 4MiB");
    out.piece_length = *size;
  }
  if (auto value = text("Content-For-Calculating-Task-ID")) out.content_for_task_id = std::string(*value);
  return out;
}

http::Headers forwarded(const http::Headers& headers, std::string_view credentials) {
  http::Headers out = headers;
  http::remove_hop_by_hop(out);
  auto& list = out.list();
  std::erase_if(list, [&](const http::Header& header) {
    return (!credentials.empty() && header.value == credentials) || is_ours(header.name) ||
           http::same_name(header.name, "Host") || http::same_name(header.name, "Proxy-Authorization") ||
           http::same_name(header.name, "Content-Length") || http::same_name(header.name, "Expect");
  });
  return out;
}

Shared divide(const http::Headers& forwarded) {
  Shared out;
  for (const auto& header : forwarded) {
    if (is_one_of(header.name, kAnswered)) continue;
    if (is_one_of(header.name, kOpen)) {
      auto& value = out.open[header.name];
      if (!value.empty()) value += ", ";
      value += header.value;
    } else {
      out.secret.add(header.name, header.value);
    }
  }
  return out;
}

}  // namespace d7y::proxy
