// Connections that are no longer HTTP: CONNECT, and what an upgrade leads to. Bytes go both ways, untouched.
#include "net/http/http_url.h"
#include "proxy/proxy.h"

namespace d7y::proxy {
namespace {

constexpr std::size_t kBuffer = 16 << 10;
constexpr auto kConnectTimeout = std::chrono::seconds(30);
// Without a byte either way for so long, nobody is there any more.
constexpr Duration kIdle = std::chrono::hours(1);

// Both directions of a tunnel.
struct Both {
  world::Stream &near, &far;
  std::uint64_t sent = 0;  // to the client
  int open = 2;
  bool broken = false;
  TimePoint moved{};
  Signal changed;
};

Task<void> pump(Both& both, bool outward) {
  Loop& loop = co_await this_loop();
  world::Stream& from = outward ? both.near : both.far;
  world::Stream& to = outward ? both.far : both.near;
  std::vector<std::byte> buffer(kBuffer);
  for (;;) {
    auto got = co_await world::read_some(from, buffer, Deadline::in(kIdle, loop.now()));
    if (got.failed_with(ErrorCode::kTimeout) && loop.now() - both.moved < kIdle) continue;
    both.broken = both.broken || !got;
    if (!got) break;
    both.moved = loop.now();
    if (*got == 0) {
      to.finish_writing();
      break;
    }
    auto written = co_await world::write_all(to, Bytes(buffer).first(*got), Deadline::in(kIdle, loop.now()));
    both.broken = both.broken || !written;
    if (!written) break;
    if (!outward) both.sent += *got;
  }
  --both.open;
  both.changed.notify_all();
}

}  // namespace

Task<void> Proxy::join(Exchange& exchange, http::ResponseHead head, std::unique_ptr<world::Stream> far) {
  exchange.via = "tunnel";
  exchange.status = head.status;
  auto near = co_await exchange.responder.take_stream(std::move(head));
  if (!near) {
    exchange.failure = near.error().message();
    co_return;
  }
  Both both{.near = **near, .far = *far, .moved = parts_.world.now()};
  {
    Scope scope(parts_.world.loop());
    scope.spawn(pump(both, true));
    scope.spawn(pump(both, false));
    while (both.open > 0 && !both.broken) (void)co_await both.changed.wait(Deadline::never());
  }
  exchange.sent = both.sent;
  if (!both.broken) co_return;
  far->abort();
  (*near)->abort();
}

Task<void> Proxy::tunnel(Exchange& exchange) {
  exchange.via = "tunnel";
  const auto& target = exchange.request.head().target;
  auto url = http::parse_http_url("https://" + target + "/");
  const bool plain = url && url->target() == "/" && url->user.empty() &&
                     target.find(':') != std::string::npos &&
                     target.find_first_of("/?#@") == std::string::npos;
  if (!plain) {
    const auto why = error(ErrorCode::kInvalid, "CONNECT wants host:port");
    auto refused = refuse(exchange, 400, Fault::kProxy, why);
    co_return co_await refused;
  }
  exchange.upstream = url->authority();
  if (opens(url->url)) {
    auto served = serve_inside(exchange, url->url);
    co_return co_await served;
  }
  auto deadline = Deadline::in(kConnectTimeout, parts_.world.now());
  auto far = co_await parts_.client.tunnel("https", url->host, url->port, deadline);
  if (!far) {
    auto refused = refuse(exchange, status_of(far.error()), Fault::kBackend, far.error());
    co_return co_await refused;
  }
  http::ResponseHead head;
  head.reason = "Connection established";
  auto joined = join(exchange, std::move(head), std::move(*far));
  co_await joined;
}

}  // namespace d7y::proxy
