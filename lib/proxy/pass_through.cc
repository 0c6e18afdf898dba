// Requests that go to their origin and answers that come back, both streamed and unchanged but for the
// headers that belong to a connection.
#include <charconv>

#include "proxy/proxy.h"

namespace d7y::proxy {
namespace {

constexpr std::size_t kBuffer = 16 << 10;

// The client's body on its way to the origin.
class Upload final : public http::BodyProducer {
 public:
  explicit Upload(http::ServerRequest& request) : request_(request) {}
  std::optional<std::uint64_t> length() const override { return request_.length(); }
  Task<Result<std::size_t>> read(MutableBytes buffer, Deadline deadline) override {
    return request_.read(buffer, deadline);
  }

 private:
  http::ServerRequest& request_;
};

// The protocol that the client wants to change to; empty: none, or one that would take requests past us.
std::string upgrade_of(const http::RequestHead& head) {
  if (head.minor_version == 0 || !head.headers.has_token("Connection", "upgrade")) return {};
  for (auto hidden : {"h2c", "h2", "HTTP/2.0", "TLS/1.0"}) {
    if (head.headers.has_token("Upgrade", hidden)) return {};
  }
  return head.headers.joined("Upgrade");
}

std::optional<std::uint64_t> length_of(std::string_view method, const http::Response& response) {
  if (method != "HEAD") return response.length();
  auto text = response.headers().get("Content-Length");
  std::uint64_t length = 0;
  if (!text) return std::nullopt;
  auto [end, failed] = std::from_chars(text->data(), text->data() + text->size(), length);
  if (failed != std::errc{} || end != text->data() + text->size()) return std::nullopt;
  return length;
}

}  // namespace

http::Request Proxy::request_for(const Exchange& exchange, const Route& route) const {
  http::Request request;
  request.method = exchange.request.method();
  request.url = route.url.to_string();
  request.headers = forwarded(exchange.request.headers(), options_.credentials);
  request.headers.add("Via", via_);
  request.redirects.limit = 0;  // the client's to follow
  return request;
}

Task<void> Proxy::pass_through(Exchange& exchange, Route route) {
  exchange.via = "origin";
  const auto& head = exchange.request.head();
  auto request = request_for(exchange, route);
  if (options_.check_rights && exchange.scope.empty() && !repository_in(route.url.path()).empty()) {
    exchange.caller = Rights::caller(divide(request.headers).secret, route.url);
    exchange.scope = Rights::scope(route.url);
  }
  const auto key = key_of(exchange, route);
  AnswerCache::Found stale;
  if (!key.empty()) {
    if (auto kept = kept_for(exchange, key); kept.answer) {
      if (numbers_) numbers_->kept.add();
      auto given = co_await answer_kept(exchange, std::move(kept));
      if (!given) exchange.failure = given.error().message();
      if (!given) exchange.responder.abort();
      co_return;
    }
    const bool asks = head.headers.has("If-None-Match") || head.headers.has("If-Modified-Since");
    if (head.method == "GET" && !asks) stale = kept_.find(key, parts_.world.now());
    auto tag = stale.answer ? stale.answer->head.headers.get("ETag") : std::nullopt;
    if (tag) request.headers.set("If-None-Match", std::string(*tag));
    if (!tag) stale = {};
  }
  const bool bodyless = exchange.request.length() == std::optional<std::uint64_t>(0);
  const auto upgrade = upgrade_of(head);
  if (bodyless && !upgrade.empty()) {
    request.headers.add("Connection", "Upgrade");
    request.headers.add("Upgrade", upgrade);
  }
  Upload upload(exchange.request);
  if (!bodyless) request.producer = &upload;
  // Reading the body is what tells the client to send it; so its origin is asked first.
  request.expect_continue = !bodyless && head.headers.has_token("Expect", "100-continue");
  auto fetched = co_await parts_.client.fetch(std::move(request), Deadline::never());
  if (!fetched) {
    // What its client did wrong with the body is not the origin's fault.
    const auto& why = fetched.error();
    const bool clients = why.status() == 400 || why.status() == 408 || why.status() == 413;
    auto refused = refuse(exchange, status_of(why), clients ? Fault::kProxy : Fault::kBackend, why);
    co_return co_await refused;
  }
  http::ResponseHead answer;
  answer.status = exchange.status = fetched->status();
  answer.reason = fetched->head().reason;
  answer.headers = fetched->headers();
  const bool reads = head.method == "GET" || head.method == "HEAD";
  if (answer.status < 400 && reads) note_accepted(exchange);
  if (answer.status == 401 || answer.status == 403) rights_.refused(exchange.caller, exchange.scope);
  // Who writes to a repository sees what he wrote.
  if (!reads && !exchange.scope.empty()) kept_.forget(exchange.scope + "/");
  if (stale.answer && answer.status == 304) {
    if (numbers_) numbers_->renewed.add();
    kept_.renew(key, parts_.world.now());
    stale.age = {};
    auto given = co_await answer_kept(exchange, std::move(stale));
    exchange.via = "origin";
    if (given) co_return;
    exchange.failure = given.error().message();
    exchange.responder.abort();
    co_return;
  }
  if (numbers_ && !key.empty()) numbers_->not_kept.add();
  if (answer.status == 101) {
    auto far = fetched->take_stream();
    auto joined = join(exchange, std::move(answer), std::move(far));
    co_return co_await joined;
  }
  http::remove_hop_by_hop(answer.headers);
  answer.headers.remove("Alt-Svc");
  auto length = length_of(head.method, *fetched);
  std::optional<KeptAnswer> keeping;
  if (!key.empty() && may_be_kept(answer) && length.value_or(0) <= AnswerCache::kLongest) {
    keeping.emplace();
    keeping->head = answer;
  }
  if (keeping && head.method == "HEAD" && length) {
    keeping->length = *length;
    keep(key, route, std::move(*keeping));
    keeping.reset();
  }
  auto going = co_await exchange.responder.begin(std::move(answer), length);
  std::vector<std::byte> buffer(kBuffer);
  while (going) {
    auto got = co_await fetched->read(buffer, Deadline::never());
    if (!got) {
      going = std::move(got).error();
      break;
    }
    if (*got == 0) {
      if (keeping && head.method == "GET") {
        keeping->length = keeping->body.size();
        keep(key, route, std::move(*keeping));
      }
      going = co_await exchange.responder.finish();
      break;
    }
    if (keeping) keeping->body.append(as_text(Bytes(buffer).first(*got)));
    if (keeping && keeping->body.size() > AnswerCache::kLongest) keeping.reset();
    exchange.sent += *got;
    going = co_await exchange.responder.write(Bytes(buffer).first(*got));
  }
  if (going) co_return;
  exchange.failure = going.error().message();
  exchange.responder.cut_short();
}

}  // namespace d7y::proxy
