// One peer in a simulated world, without scheduler or other peers: an origin, a store and an engine.
#pragma once

#include <doctest/doctest.h>

#include <memory>
#include <string>

#include "base/metrics.h"
#include "fetch/engine.h"
#include "net/http/client.h"
#include "sim/origin.h"
#include "sim/simulation.h"
#include "source/http_backend.h"

namespace fetch_test {

using namespace d7y;
using namespace std::chrono_literals;

struct Rig {
  explicit Rig(std::uint64_t seed, fetch::EngineOptions options = {},
               sim::HostOptions machine = {.name = "peer"})
      : sim(seed),
        origin_host(sim.add_host({.name = "origin"})),
        host(sim.add_host(std::move(machine))),
        origin(origin_host) {
    auto opened = sim.run(store::Store::open(host, {.folder = "/store"}, {}), 10s);
    REQUIRE_MESSAGE(opened.ok(), opened.error().message());
    store = std::move(*opened);
    client = std::make_unique<http::Client>(host, http::ClientOptions{});
    sources.add("http", std::make_shared<source::HttpBackend>(*client, source::HttpBackendOptions{}));
    options.ip = "10.0.0.2";
    options.hostname = "peer";
    fetch::EngineParts parts{.world = host, .store = *store, .sources = sources};
    engine = std::make_unique<fetch::Engine>(parts, options);
  }

  fetch::Wish wish(const std::string& path) const {
    fetch::Wish wish;
    wish.message.set_url(origin.url(path));
    return wish;
  }

  // Runs one download to its end.
  Result<void> download(fetch::Wish wish, Duration timeout = 60s) {
    auto started = engine->start(std::move(wish), Deadline::in(timeout, host.now()));
    if (!started) return std::move(started).error();
    last = std::move(*started);
    return sim.run(last->ended(), timeout + 10s);
  }

  std::string file(const std::string& path) {
    auto opened = host.files().open(path, world::OpenMode::kRead);
    if (!opened) return "(" + opened.error().message() + ")";
    std::string bytes((*opened)->status()->size, '\0');
    REQUIRE((*opened)->read_at(0, as_mutable_bytes(bytes)).ok());
    return bytes;
  }
  bool exists(const std::string& path) { return host.files().status(path).ok(); }

  sim::Simulation sim;
  sim::Host& origin_host;
  sim::Host& host;
  sim::Origin origin;
  std::unique_ptr<store::Store> store;
  std::unique_ptr<http::Client> client;
  source::Sources sources;
  std::unique_ptr<fetch::Engine> engine;
  std::unique_ptr<fetch::Download> last;
};

}  // namespace fetch_test
