// A node's proxy in a simulated world: a registry, the machine with the proxy, and a client on another one.
#pragma once

#include <doctest/doctest.h>

#include <memory>
#include <string>

#include "base/hash.h"
#include "base/metrics.h"
#include "net/http/client.h"
#include "proxy/proxy.h"
#include "sim/origin.h"
#include "sim/simulation.h"
#include "source/http_backend.h"

namespace proxy_test {

using namespace d7y;
using namespace std::chrono_literals;

inline std::string random_bytes(std::size_t size, std::uint64_t seed = 1) {
  sim::Random random(seed);
  std::string out(size, '\0');
  for (auto& c : out) c = static_cast<char>(random.next());
  return out;
}

inline std::string sha256_of(const std::string& bytes) {
  Hasher hasher(HashKind::kSha256);
  hasher.update(as_bytes(bytes));
  return hasher.hex();
}

struct Answer {
  http::ResponseHead head;
  std::string body;
  std::optional<Error> broken;  // why the body did not come to its end
  Duration to_head{}, to_first_byte{}, to_end{};
  std::string header(std::string_view name) const { return std::string(head.headers.get(name).value_or("")); }
};

struct Rig {
  explicit Rig(std::uint64_t seed = 1, proxy::ProxyOptions options = standard(), std::string trust_pem = {},
               fetch::EngineOptions engine_options = {})
      : sim(seed),
        origin_host(sim.add_host({.name = "origin"})),
        host(sim.add_host({.name = "peer"})),
        client_host(sim.add_host({.name = "client"})),
        origin(origin_host) {
    auto opened = sim.run(store::Store::open(host, {.folder = "/store"}, {}), 10s);
    REQUIRE_MESSAGE(opened.ok(), opened.error().message());
    store = std::move(*opened);
    http::ClientOptions client_options;
    if (!trust_pem.empty()) {
      client_options.tls = [trust_pem] { return net::TlsContext::client({.trust_pem = {trust_pem}}); };
    }
    http_client = std::make_unique<http::Client>(host, client_options);
    auto backend = std::make_shared<source::HttpBackend>(*http_client, source::HttpBackendOptions{});
    sources.add("http", backend);
    sources.add("https", backend);
    engine_options.ip = "10.0.0.2";
    engine_options.hostname = "peer";
    fetch::EngineParts parts{.world = host, .store = *store, .sources = sources};
    engine = std::make_unique<fetch::Engine>(parts, engine_options);
    options.ip = "10.0.0.2";
    if (options.mirror_address.empty()) options.mirror_address = origin.url("");
    auto made = proxy::Proxy::make({.world = host,
                                    .engine = *engine,
                                    .store = *store,
                                    .client = *http_client,
                                    .metrics = &metrics,
                                    .log = Log(host.log_sink(), "proxy")},
                                   std::move(options));
    REQUIRE_MESSAGE(made.ok(), made.error().message());
    proxy = std::move(*made);
    listener = std::move(*host.network().listen(host.address(4001), {}));
    server = std::make_unique<http::Server>(host, *proxy, proxy::Proxy::server_options());
    host.spawn(server->serve(*listener));
    client = std::make_unique<http::Client>(
        client_host, http::ClientOptions{.connections_per_origin = 1000, .head_timeout = 600s});
  }

  static proxy::ProxyOptions standard() {
    proxy::ProxyOptions options;
    options.rules = {{.regex = "blobs/sha256.*"}};
    return options;
  }

  // Puts a blob into the registry; its path.
  std::string add_blob(const std::string& content, const std::string& repository = "team/app") {
    auto path = "/v2/" + repository + "/blobs/sha256:" + sha256_of(content);
    origin.serve(path, content);
    return path;
  }
  std::string url(const std::string& target) const {
    return "http://" + host.address(4001).to_string() + target;
  }

  http::Request request(const std::string& target, http::Headers headers = {},
                        std::string method = "GET") const {
    http::Request request;
    request.method = std::move(method);
    request.url = url(target);
    request.headers = std::move(headers);
    request.redirects.limit = 0;
    return request;
  }

  // `pause`: between reads of 64 KiB, for slow readers.
  Task<Result<Answer>> fetch(http::Request request, Duration pause = Duration(0)) {
    Answer answer;
    const auto began = client_host.now();
    auto response = co_await client->fetch(std::move(request), Deadline::never());
    if (!response) co_return std::move(response).error();
    answer.head = response->head();
    answer.to_head = client_host.now() - began;
    std::vector<std::byte> buffer(64 << 10);
    for (;;) {
      auto got = co_await response->read(buffer, Deadline::never());
      if (!got) {
        answer.broken = std::move(got).error();
        break;
      }
      if (*got == 0) break;
      if (answer.body.empty()) answer.to_first_byte = client_host.now() - began;
      answer.body.append(as_text(Bytes(buffer).first(*got)));
      if (pause > Duration::zero()) co_await sleep_for(pause);
    }
    answer.to_end = client_host.now() - began;
    co_return answer;
  }
  Answer get(const std::string& target, http::Headers headers = {}, Duration limit = 60s) {
    return send(request(target, std::move(headers)), limit);
  }
  Answer send(http::Request what, Duration limit = 60s) {
    auto answer = sim.run(fetch(std::move(what)), limit);
    REQUIRE_MESSAGE(answer.ok(), answer.error().message());
    return std::move(*answer);
  }

  sim::Simulation sim;
  sim::Host &origin_host, &host, &client_host;
  sim::Origin origin;
  Metrics metrics;
  std::unique_ptr<store::Store> store;
  std::unique_ptr<http::Client> http_client;
  source::Sources sources;
  std::unique_ptr<fetch::Engine> engine;
  std::unique_ptr<proxy::Proxy> proxy;
  std::unique_ptr<world::Listener> listener;
  std::unique_ptr<http::Server> server;
  std::unique_ptr<http::Client> client;
};

}  // namespace proxy_test
