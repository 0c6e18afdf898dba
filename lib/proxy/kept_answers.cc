// Manifests and lists of tags that are given again for a short time without asking their registry.
#include <fmt/format.h>

#include "base/digest.h"
#include "proxy/conditions.h"
#include "proxy/proxy.h"

namespace d7y::proxy {
namespace {

// "GET" or "HEAD" stands behind the URL, so that all of a repository begin alike.
std::string key_for(std::string_view method, const std::string& url, const http::Headers& headers) {
  return fmt::format("{}\n{}\n{}\n{}", url, method, headers.joined("Accept"),
                     headers.joined("Accept-Encoding"));
}

// Whether content is what the end of its URL says, where that is a digest.
bool fits_name(const Url& url, const KeptAnswer& answer) {
  auto reference = url.path().substr(url.path().rfind('/') + 1);
  if (reference.find(':') == std::string::npos) return true;
  auto wanted = Digest::parse(reference);
  if (!wanted || answer.head.headers.has("Content-Encoding")) return false;
  Hasher hasher(wanted->kind());
  hasher.update(as_bytes(answer.body));
  return Digest::of(hasher) == *wanted;
}

}  // namespace

std::string Proxy::key_of(const Exchange& exchange, const Route& route) const {
  const auto& request = exchange.request;
  const bool reads = request.method() == "GET" || request.method() == "HEAD";
  const bool bodyless = request.length() == std::optional<std::uint64_t>(0);
  if (!kept_.on() || !reads || !bodyless || request.headers().has("Range") ||
      request.headers().has("Upgrade"))
    return {};
  const auto& path = route.url.path();
  if (repository_in(path).empty() || path.find("/blobs/") != std::string::npos) return {};
  return key_for(request.method(), route.url.to_string(), request.headers());
}

AnswerCache::Found Proxy::kept_for(const Exchange& exchange, const std::string& key) {
  const auto now = parts_.world.now();
  const auto& headers = exchange.request.headers();
  for (auto fresh : {"no-cache", "no-store", "max-age=0"}) {
    if (headers.has_token("Cache-Control", fresh)) return {};
  }
  if (options_.check_rights && !rights_.is_accepted(exchange.caller, exchange.scope, now)) return {};
  auto found = kept_.fresh(key, now);
  if (found.answer || exchange.request.method() != "HEAD") return found;
  // What GET gave tells HEAD as well.
  return kept_.fresh(key_for("GET", key.substr(0, key.find('\n')), headers), now);
}

Task<Result<void>> Proxy::answer_kept(Exchange& exchange, AnswerCache::Found kept) {
  exchange.via = "cache";
  http::ResponseHead head;
  head.headers = kept.answer->head.headers;
  head.headers.set("Age", std::to_string(std::chrono::duration_cast<std::chrono::seconds>(kept.age).count()));
  if (client_has_it(exchange.request.headers(), head.headers)) {
    head.status = exchange.status = 304;
    co_return co_await exchange.responder.send(std::move(head), "");
  }
  head.status = exchange.status = 200;
  CO_OK(co_await exchange.responder.begin(std::move(head), kept.answer->length));
  if (exchange.request.method() == "GET") {
    CO_OK(co_await exchange.responder.write(as_bytes(kept.answer->body)));
    exchange.sent = kept.answer->body.size();
  }
  co_return co_await exchange.responder.finish();
}

void Proxy::keep(const std::string& key, const Route& route, KeptAnswer answer) {
  const bool whole = answer.body.size() == answer.length;
  if (whole && !answer.body.empty() && !fits_name(route.url, answer)) return;
  for (auto name : {"Date", "Age", "Content-Length", "Via"}) answer.head.headers.remove(name);
  kept_.put(key, std::move(answer), parts_.world.now());
}

}  // namespace d7y::proxy
