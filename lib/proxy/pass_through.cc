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

Task<void> Proxy::pass_through(Exchange& exchange, Route route) {
  exchange.via = "origin";
  const auto& head = exchange.request.head();
  http::Request request;
  request.method = head.method;
  request.url = route.url.to_string();
  request.headers = forwarded(head.headers);
  request.headers.add("Via", via_);
  request.redirects.limit = 0;  // the client's to follow
  Upload upload(exchange.request);
  if (exchange.request.length() != std::optional<std::uint64_t>(0)) request.producer = &upload;
  auto fetched = co_await parts_.client.fetch(std::move(request), Deadline::never());
  if (!fetched) {
    auto refused = refuse(exchange, status_of(fetched.error()), Fault::kBackend, fetched.error());
    co_return co_await refused;
  }
  http::ResponseHead answer;
  answer.status = exchange.status = fetched->status();
  answer.reason = fetched->head().reason;
  answer.headers = fetched->headers();
  http::remove_hop_by_hop(answer.headers);
  answer.headers.remove("Alt-Svc");
  auto length = length_of(head.method, *fetched);
  auto going = co_await exchange.responder.begin(std::move(answer), length);
  std::vector<std::byte> buffer(kBuffer);
  while (going) {
    auto got = co_await fetched->read(buffer, Deadline::never());
    if (!got) {
      going = std::move(got).error();
      break;
    }
    if (*got == 0) {
      going = co_await exchange.responder.finish();
      break;
    }
    exchange.sent += *got;
    going = co_await exchange.responder.write(Bytes(buffer).first(*got));
  }
  if (going) co_return;
  exchange.failure = going.error().message();
  exchange.responder.abort();
}

}  // namespace d7y::proxy
