#include "proxy/proxy.h"

#include <fmt/format.h>

#include <limits>

namespace d7y::proxy {

Proxy::Numbers::Numbers(Metrics& metrics)
    : requests(metrics.counter("dragonfly_client_proxy_request_total", "Requests to the proxy.")),
      failures(metrics.counter("dragonfly_client_proxy_request_failure_total",
                               "Requests to the proxy that failed here or broke off.")),
      via_tasks(metrics.counter("dragonfly_client_proxy_request_via_dfdaemon_total",
                                "Requests to the proxy that were answered through tasks.")) {}

class Proxy::Port final : public http::Handler {
 public:
  Port(Proxy& proxy, std::string name) : proxy_(proxy), name_(std::move(name)) {}
  Task<void> handle(http::ServerRequest& request, http::Responder& responder) override {
    return proxy_.handle_at(request, responder, name_);
  }

 private:
  Proxy& proxy_;
  std::string name_;
};

Result<std::unique_ptr<Proxy>> Proxy::make(ProxyParts parts, ProxyOptions options) {
  TRY(auto rules, Rules::make(options.rules));
  TRY(auto registries, Registries::make(options.mirror_address, options.registries));
  return std::unique_ptr<Proxy>(
      new Proxy(std::move(parts), std::move(options), std::move(rules), std::move(registries)));
}

Proxy::Proxy(ProxyParts parts, ProxyOptions options, Rules rules, Registries registries)
    : parts_(std::move(parts)),
      options_(std::move(options)),
      rules_(std::move(rules)),
      registries_(std::move(registries)),
      via_(fmt::format("1.1 d7y-{:016x}", parts_.world.random())) {
  if (parts_.metrics != nullptr) numbers_ = std::make_unique<Numbers>(*parts_.metrics);
}
Proxy::~Proxy() = default;

http::ServerOptions Proxy::server_options() {
  http::ServerOptions options;
  options.name = "d7y";
  options.max_body = std::numeric_limits<std::uint64_t>::max();  // uploads pass through
  return options;
}

http::Handler& Proxy::port_of(const std::string& name) {
  return *ports_.emplace_back(std::make_unique<Port>(*this, name));
}

Task<void> Proxy::handle(http::ServerRequest& request, http::Responder& responder) {
  return handle_at(request, responder, {});
}

namespace {

// What ends a request: its answer, or its client's leaving.
struct End {
  bool answered = false, left = false;
  Signal changed;
};

Task<void> run(Task<void> work, End& end) {
  co_await work;
  end.answered = true;
  end.changed.notify_all();
}

Task<void> watch(http::Responder& responder, End& end) {
  co_await responder.hung_up();
  end.left = true;
  end.changed.notify_all();
}

}  // namespace

Task<void> Proxy::handle_at(http::ServerRequest& request, http::Responder& responder, std::string port_name) {
  const auto began = parts_.world.now();
  if (numbers_) numbers_->requests.add();
  Exchange exchange{.request = request, .responder = responder, .shown = shown_target(request.head().target)};
  exchange.registry = request.path().starts_with("/v2/");
  {
    End end;
    Scope scope(parts_.world.loop());
    auto work = serve(exchange, std::move(port_name));
    scope.spawn(run(std::move(work), end));
    scope.spawn(watch(responder, end));
    while (!end.answered && !end.left) (void)co_await end.changed.wait(Deadline::never());
    if (!end.answered) exchange.failure = "the client hung up";
  }
  write_down(exchange, began);
}

void Proxy::write_down(const Exchange& exchange, TimePoint began) {
  const bool failed = !exchange.failure.empty();
  if (numbers_ && failed) numbers_->failures.add();
  auto took = std::chrono::duration<double, std::milli>(parts_.world.now() - began).count();
  std::string more;
  if (!exchange.upstream.empty()) more += fmt::format(" upstream={}", exchange.upstream);
  if (!exchange.task.empty()) more += fmt::format(" task={}", exchange.task);
  if (failed) more += fmt::format(" error=\"{}\"", exchange.failure);
  parts_.log.info(
      "http.method={} http.url=\"{}\" http.status_code={} http.response_content_length={} ms={:.1f} via={} "
      "client={}{}",
      exchange.request.method(), exchange.shown, exchange.status, exchange.sent, took, exchange.via,
      exchange.request.remote().ip(), more);
}

Result<Proxy::Route> Proxy::route(const Exchange& exchange, const std::string& port_name) const {
  const auto& head = exchange.request.head();
  Route route;
  TRY(route.said, Instructions::read(head.headers));
  if (head.target.starts_with('/')) {
    TRY(auto target, registries_.find(head.target, route.said.registry, port_name));
    route.url = std::move(target.url);
    route.registry = target.known;
  } else {
    TRY(route.url, Url::parse(head.target));
    if (!route.url.is_http()) {
      return error(ErrorCode::kInvalid,
                   "a proxy request names an http:// or https:// URL, not {}:", route.url.scheme());
    }
    route.url.clear_fragment();
  }
  route.rule = rules_.match(route.url);
  if (route.rule != nullptr) route.url = route.rule->applied_to(route.url);
  return route;
}

Task<void> Proxy::serve(Exchange& exchange, std::string port_name) {
  const auto& head = exchange.request.head();
  if (head.method == "CONNECT" || head.target == "*") {
    const auto why = error(ErrorCode::kUnsupported, "{} {} is not served here", head.method, head.target);
    auto refused = refuse(exchange, 501, Fault::kProxy, why);
    co_return co_await refused;
  }
  for (const auto& header : head.headers) {
    const bool ours = http::same_name(header.name, "Via") && header.value.find(via_) != std::string::npos;
    if (!ours) continue;
    const auto why = error(ErrorCode::kInvalid,
                           "this request has been here before: {} leads back to this proxy", exchange.shown);
    auto refused = refuse(exchange, 508, Fault::kProxy, why);
    co_return co_await refused;
  }
  auto routed = route(exchange, port_name);
  if (!routed) {
    auto refused = refuse(exchange, 400, Fault::kProxy, routed.error());
    co_return co_await refused;
  }
  exchange.upstream = routed->url.origin();
  const bool wanted = routed->rule != nullptr || routed->said.use_p2p.value_or(false);
  const bool bodyless = exchange.request.length() == std::optional<std::uint64_t>(0);
  if (wanted && bodyless && (head.method == "GET" || head.method == "HEAD")) {
    auto answered = answer_from_task(exchange, std::move(*routed));
    co_return co_await answered;
  }
  auto passed = pass_through(exchange, std::move(*routed));
  co_await passed;
}

}  // namespace d7y::proxy
