#include "proxy/exchange.h"

#include <nlohmann/json.hpp>

#include "base/ids.h"
#include "base/url.h"
#include "proxy/registries.h"

namespace d7y::proxy {
namespace {

constexpr std::size_t kShownBytes = 2048;

// Error codes of the registry API by status (OCI distribution specification).
std::string_view registry_code(std::string_view target, int status) {
  switch (status) {
    case 401:
    case 407: return "UNAUTHORIZED";
    case 403: return "DENIED";
    case 404:
      if (target.find("/blobs/") != std::string_view::npos) return "BLOB_UNKNOWN";
      if (target.find("/manifests/") != std::string_view::npos) return "MANIFEST_UNKNOWN";
      return "NAME_UNKNOWN";
    case 405:
    case 501: return "UNSUPPORTED";
    case 416: return "RANGE_INVALID";
    case 429: return "TOOMANYREQUESTS";
    default: return status >= 500 ? "UNAVAILABLE" : "UNKNOWN";
  }
}

// What the origin said beside its status: {"header": {name: value}} (source.h).
void add_origin_headers(const std::string& details, http::Headers& headers) {
  if (details.empty()) return;
  auto json = nlohmann::json::parse(details, nullptr, false);
  if (!json.is_object() || !json.contains("header") || !json["header"].is_object()) return;
  for (auto name : {"WWW-Authenticate", "Retry-After", "Docker-Distribution-Api-Version"}) {
    for (const auto& [key, value] : json["header"].items()) {
      if (!http::same_name(key, name) || !value.is_string()) continue;
      auto text = value.get<std::string>();
      if (http::is_header_value(text)) headers.set(name, std::move(text));
    }
  }
}

std::string_view name_of(Fault fault) {
  switch (fault) {
    case Fault::kBackend: return "backend";
    case Fault::kProxy: return "proxy";
    case Fault::kDaemon: break;
  }
  return "dfdaemon";
}

}  // namespace

int status_of(const Error& why) {
  // 407 is a proxy's between us and the origin: the client cannot answer it.
  if (why.status() >= 400 && why.status() < 600 && why.status() != 407) return why.status();
  switch (why.code()) {
    case ErrorCode::kInvalid: return 400;
    case ErrorCode::kPermission: return 403;
    case ErrorCode::kTimeout: return 504;
    case ErrorCode::kTooLarge:
    case ErrorCode::kNotFound:
    case ErrorCode::kRefused:
    case ErrorCode::kReset:
    case ErrorCode::kProtocol:
    case ErrorCode::kCorrupt:
    case ErrorCode::kChanged:
    case ErrorCode::kUnauthenticated: return 502;
    case ErrorCode::kUnavailable:
    case ErrorCode::kExhausted:
    case ErrorCode::kClosed: return 503;
    case ErrorCode::kUnsupported: return 501;
    case ErrorCode::kDiskFull: return 507;
    default: return 500;
  }
}

Fault fault_of(const Error& why) {
  if (why.status() != 0 || !why.details().empty()) return Fault::kBackend;
  switch (why.code()) {
    case ErrorCode::kInvalid:
    case ErrorCode::kPermission: return Fault::kProxy;
    case ErrorCode::kTimeout:
    case ErrorCode::kNotFound:
    case ErrorCode::kRefused:
    case ErrorCode::kReset:
    case ErrorCode::kProtocol:
    case ErrorCode::kUnauthenticated: return Fault::kBackend;
    default: return Fault::kDaemon;
  }
}

Explanation explain(std::string_view target, int status, std::string_view message) {
  if (!is_registry_path(target)) return {"text/plain; charset=utf-8", std::string(message) + "\n"};
  nlohmann::json entry;
  entry["code"] = registry_code(target, status);
  entry["message"] = message;
  nlohmann::json all;
  all["errors"] = nlohmann::json::array({std::move(entry)});
  return {"application/json", all.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n"};
}

Task<void> refuse(Exchange& exchange, int status, Fault fault, const Error& why) {
  http::Headers none;
  auto refused = refuse(exchange, status, fault, why, std::move(none));
  co_await refused;
}

Task<void> refuse(Exchange& exchange, int status, Fault fault, const Error& why, http::Headers more) {
  exchange.failure = why.message();
  exchange.status = status;
  http::ResponseHead head;
  head.status = status;
  auto explanation = explain(exchange.request.path(), status, why.message());
  head.headers.add("Content-Type", explanation.content_type);
  head.headers.add("X-Dragonfly-Error-Type", std::string(name_of(fault)));
  add_origin_headers(why.details(), head.headers);
  for (const auto& header : more) head.headers.add(header.name, header.value);
  exchange.sent = explanation.body.size();
  (void)co_await exchange.responder.send(std::move(head), std::move(explanation.body));
}

Task<void> refuse(Exchange& exchange, const Error& why) {
  auto refused = refuse(exchange, status_of(why), fault_of(why), why);
  co_await refused;
}

std::string shown_target(std::string_view target) {
  std::string shown;
  if (target.starts_with('/')) {
    auto mark = target.find('?');
    shown = target.substr(0, mark);
    if (mark != std::string_view::npos) {
      auto pairs = form_decode(target.substr(mark + 1));
      bool secret = false;
      for (auto& [name, value] : pairs) {
        if (!is_secret_query_param(name) || name == "ns") continue;
        value = "...";
        secret = true;
      }
      shown += '?';
      shown += secret ? form_encode(pairs) : std::string(target.substr(mark + 1));
    }
  } else if (target.find("://") != std::string_view::npos) {
    auto url = Url::parse(target);
    shown = url ? url->redacted() : "(not a URL)";
  } else {
    shown = target;
  }
  if (shown.size() > kShownBytes) shown.replace(kShownBytes, std::string::npos, "...");
  return shown;
}

}  // namespace d7y::proxy
