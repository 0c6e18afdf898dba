#include "proxy/proxy.h"

#include <fmt/format.h>

#include <limits>

#include "proxy/interception.h"

namespace d7y::proxy {
namespace {

// With proxy.registryMirror.manifestCacheTTL. "renewed": the registry was asked, and had nothing new.
constexpr std::string_view kManifestHelp =
    "Manifests and lists of tags that may be kept, by where their answers came from.";
const Labels kPrefetchLabels = {{"type", "0"}, {"tag", ""}, {"app", ""}, {"priority", "0"}};

// Whether both are the same, in a time that does not tell where they differ.
bool same_secret(std::string_view a, std::string_view b) {
  unsigned difference = a.size() == b.size() ? 0 : 1;
  for (std::size_t i = 0; i < a.size() && i < b.size(); ++i)
    difference |= static_cast<unsigned>(static_cast<unsigned char>(a[i]) ^ static_cast<unsigned char>(b[i]));
  return difference == 0;
}

}  // namespace

Proxy::Numbers::Numbers(Metrics& metrics)
    : requests(metrics.counter("dragonfly_client_proxy_request_total", "Requests to the proxy.")),
      failures(metrics.counter("dragonfly_client_proxy_request_failure_total",
                               "Requests to the proxy that failed here or broke off.")),
      via_tasks(metrics.counter("dragonfly_client_proxy_request_via_dfdaemon_total",
                                "Requests to the proxy that were answered through tasks.")),
      prefetches(metrics.counter("dragonfly_client_prefetch_task_total",
                                 "Whole tasks that were begun behind a ranged request.", kPrefetchLabels)),
      prefetch_failures(metrics.counter("dragonfly_client_prefetch_task_failure_total",
                                        "Those of them that failed.", kPrefetchLabels)),
      kept(metrics.counter("d7y_proxy_manifests", kManifestHelp, {{"from", "cache"}})),
      renewed(metrics.counter("d7y_proxy_manifests", kManifestHelp, {{"from", "renewed"}})),
      not_kept(metrics.counter("d7y_proxy_manifests", kManifestHelp, {{"from", "registry"}})) {}

class Proxy::Port final : public http::Handler {
 public:
  Port(Proxy& proxy, std::string name) : proxy_(proxy), name_(std::move(name)) {}
  Task<void> handle(http::ServerRequest& request, http::Responder& responder) override {
    return proxy_.handle_at(request, responder, name_, {});
  }
  std::string refusal(std::string_view target, const Error& why, const Address& client,
                      http::Headers& headers) override {
    return proxy_.refusal(target, why, client, headers);
  }

 private:
  Proxy& proxy_;
  std::string name_;
};

Result<std::unique_ptr<Proxy>> Proxy::make(ProxyParts parts, ProxyOptions options) {
  TRY(auto rules, Rules::make(options.rules));
  TRY(auto registries, Registries::make(options.mirror_address, options.registries));
  std::vector<RuleOptions> hosts;
  for (const auto& regex : options.intercept) hosts.push_back({.regex = regex});
  TRY(auto intercept, Rules::make(std::move(hosts)));
  std::optional<net::CertificateIssuer> issuer;
  if (options.authority) {
    auto made = net::CertificateIssuer::make(*options.authority);
    if (!made) return std::move(made).error().in("proxy.server.caCert and caKey");
    issuer = std::move(*made);
  }
  std::unique_ptr<Proxy> proxy(new Proxy(std::move(parts), std::move(options), std::move(rules),
                                         std::move(intercept), std::move(registries)));
  proxy->issuer_ = std::move(issuer);
  return proxy;
}

Proxy::Proxy(ProxyParts parts, ProxyOptions options, Rules rules, Rules intercept, Registries registries)
    : parts_(std::move(parts)),
      options_(std::move(options)),
      rules_(std::move(rules)),
      intercept_(std::move(intercept)),
      registries_(std::move(registries)),
      via_(fmt::format("1.1 d7y-{:016x}", parts_.world.random())),
      rights_(options_.rights_last),
      kept_(options_.keep_manifests),
      requests_(options_.requests_per_second, options_.requests_per_second, parts_.world.now()),
      prefetching_(parts_.world.loop()) {
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
  return handle_at(request, responder, {}, {});
}

std::string Proxy::refusal(std::string_view target, const Error& why, const Address& client,
                           http::Headers& headers) {
  if (numbers_) numbers_->requests.add();
  if (numbers_) numbers_->failures.add();
  parts_.log.info("http.url=\"{}\" http.status_code={} via=proxy client={} error=\"{}\"",
                  shown_target(target), why.status(), client.ip(), why.message());
  auto explanation = explain(target, why.status(), why.message());
  headers.set("Content-Type", std::move(explanation.content_type));
  headers.set("X-Dragonfly-Error-Type", "proxy");
  return std::move(explanation.body);
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

Task<void> Proxy::handle_at(http::ServerRequest& request, http::Responder& responder, std::string port_name,
                            std::string inside_of) {
  const auto began = parts_.world.now();
  const auto began_at = parts_.world.wall_now();
  if (numbers_) numbers_->requests.add();
  Exchange exchange{.request = request, .responder = responder, .shown = shown_target(request.head().target)};
  exchange.inside_of = std::move(inside_of);
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
  if (parts_.spans != nullptr) show(exchange, began_at);
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

// The request's span, under the names that Dragonfly's had (Dragonfly deploy 13): http.url is the request's
// own text, a path and query where it came from a mirror's client.
void Proxy::show(const Exchange& exchange, WallTime began) {
  const auto& headers = exchange.request.headers();
  std::optional<TraceContext> caller;
  if (auto value = headers.get("traceparent")) caller = TraceContext::parse(*value);
  Span span;
  span.context = TraceContext::inside(caller, [this] { return parts_.world.random(); });
  if (!span.context.sampled) return;
  span.name = "proxy";
  span.kind = Span::Kind::kServer;
  span.began = began;
  span.ended = parts_.world.wall_now();
  span.failure = exchange.failure;
  auto add = [&span](std::string_view key, SpanValue value) {
    span.attributes.emplace_back(key, std::move(value));
  };
  auto add_known = [&](std::string_view key, std::string_view value) {
    if (!value.empty()) add(key, std::string(value));
  };
  add("http.method", exchange.request.method());
  add("http.url", exchange.shown);
  add("http.scheme", std::string(exchange.inside_of.empty() ? "http" : "https"));
  add_known("http.host", headers.get("Host").value_or(""));
  add("http.status_code", std::int64_t{exchange.status});
  add("http.response_content_length", static_cast<std::int64_t>(exchange.sent));
  add_known("net.host.ip", options_.ip);
  add("net.peer.ip", exchange.request.remote().ip());
  add_known("url.full", exchange.asked);
  add_known("d7y.peer.host", options_.host);
  add_known("d7y.peer.task.id", exchange.task);
  add("d7y.proxy.via", std::string(exchange.via));
  parts_.spans->take(std::move(span));
}

bool Proxy::is_version_check(const Exchange& exchange, const std::string& port_name) const {
  const auto& head = exchange.request.head();
  const bool asks = head.target == "/v2/" || head.target == "/v2";
  return asks && options_.answer_version_check && (head.method == "GET" || head.method == "HEAD") &&
         port_name.empty() && exchange.inside_of.empty() && !head.headers.get("X-Dragonfly-Registry");
}

Result<Proxy::Route> Proxy::route(const Exchange& exchange, const std::string& port_name) const {
  const auto& head = exchange.request.head();
  Route route;
  TRY(route.said, Instructions::read(head.headers));
  if (!exchange.inside_of.empty()) {
    const bool path = head.target.starts_with('/');
    TRY(route.url, Url::parse(path ? exchange.inside_of + head.target : head.target));
    if (route.url.origin() != exchange.inside_of) {
      return error(ErrorCode::kInvalid, "a request inside of a tunnel to {} names another origin",
                   exchange.inside_of);
    }
    route.url.clear_fragment();
  } else if (head.target.starts_with('/')) {
    TRY(auto target, registries_.find(head.target, route.said.registry, port_name));
    route.url = std::move(target.url);
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

std::optional<Proxy::Objection> Proxy::objection_to(const http::ServerRequest& request, bool inside) {
  const auto& head = request.head();
  if (options_.requests_per_second > 0 && requests_.take(1, parts_.world.now()) == 0) {
    return Objection{
        429,
        fmt::format("more than {} requests per second (proxy.server.requestRateLimit); try later",
                    options_.requests_per_second),
        {{"Retry-After", "1"}}};
  }
  if (!options_.credentials.empty() && !inside) {
    // Runtimes that cannot say Proxy-Authorization to a mirror may say it as their own.
    const bool to_mirror = head.target.starts_with('/');
    bool known = false;
    for (auto name : {"Proxy-Authorization", "Authorization"}) {
      auto given = head.headers.get(name);
      known = known || (given && same_secret(*given, options_.credentials));
    }
    if (!known) {
      return Objection{to_mirror ? 401 : 407,
                       "this proxy wants credentials (proxy.server.basicAuth)",
                       {{to_mirror ? "WWW-Authenticate" : "Proxy-Authenticate", "Basic realm=\"d7y\""}}};
    }
  }
  for (const auto& header : head.headers) {
    if (http::same_name(header.name, "Via") && header.value.find(via_) != std::string::npos)
      return Objection{508, "this request has been here before: it leads back to this proxy", {}};
  }
  if (head.target == "*") return Objection{501, head.method + " * is not served here", {}};
  return std::nullopt;
}

Task<void> Proxy::serve(Exchange& exchange, std::string port_name) {
  const auto& head = exchange.request.head();
  if (auto objection = objection_to(exchange.request, !exchange.inside_of.empty())) {
    const Error why(ErrorCode::kPermission, objection->why);
    auto refused = refuse(exchange, objection->status, Fault::kProxy, why, std::move(objection->headers));
    co_return co_await refused;
  }
  if (head.method == "CONNECT" && exchange.inside_of.empty()) {
    auto tunnelled = tunnel(exchange);
    co_return co_await tunnelled;
  }
  if (is_version_check(exchange, port_name)) {
    exchange.status = 200;
    http::ResponseHead answer;
    answer.status = 200;
    answer.headers.set("Content-Type", "application/json");
    answer.headers.set("Docker-Distribution-Api-Version", "registry/2.0");
    (void)co_await exchange.responder.send(std::move(answer), "{}");
    co_return;
  }
  auto routed = route(exchange, port_name);
  if (!routed) {
    auto refused = refuse(exchange, 400, Fault::kProxy, routed.error());
    co_return co_await refused;
  }
  exchange.upstream = routed->url.origin();
  if (parts_.spans != nullptr) exchange.asked = routed->url.redacted();
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
