// The HTTP proxy of a node: registry mirror for container runtimes and forward proxy, on the download engine.
//
//   CO_TRY(auto proxy, Proxy::make(parts, options));
//   http::Server server(world, *proxy, proxy->server_options(), log);
//
// A GET that a rule matches becomes a wish of the engine and is answered in order while its bytes arrive,
// from wherever they come. Everything else goes to its origin and back unchanged. docs/proxy.md tells it to
// users.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/metrics.h"
#include "fetch/engine.h"
#include "net/http/client.h"
#include "net/http/server.h"
#include "proxy/exchange.h"
#include "proxy/instructions.h"
#include "proxy/registries.h"
#include "proxy/rules.h"

namespace d7y::proxy {

struct ProxyOptions {
  std::vector<RuleOptions> rules;
  std::string mirror_address;               // the default registry; empty: none
  std::vector<RegistryOptions> registries;  // configured ones
  bool blob_digest_ids = true;              // a blob's digest is its task's id
  bool disable_back_to_source = false;
  std::string ip;  // told in X-Dragonfly-Server-IP
};

// All of it must outlive the proxy.
struct ProxyParts {
  world::World& world;
  fetch::Engine& engine;
  store::Store& store;
  http::Client& client;  // for what is not served through tasks
  Metrics* metrics = nullptr;
  Log log;
};

class Proxy final : public http::Handler {
 public:
  // kInvalid: a rule or address that is none.
  static Result<std::unique_ptr<Proxy>> make(ProxyParts parts, ProxyOptions options);
  ~Proxy() override;
  Proxy(const Proxy&) = delete;
  Proxy& operator=(const Proxy&) = delete;

  static http::ServerOptions server_options();

  Task<void> handle(http::ServerRequest& request, http::Responder& responder) override;

  // Requests that come in through a port of their own are for the configured registry `name`, unless they say
  // otherwise themselves. The handler lives as long as the proxy.
  http::Handler& port_of(const std::string& name);

 private:
  class Port;
  // Where a request goes and how.
  struct Route {
    Url url;
    const Rule* rule = nullptr;
    const RegistryOptions* registry = nullptr;
    Instructions said;
  };
  struct Numbers {
    explicit Numbers(Metrics& metrics);
    Counter &requests, &failures, &via_tasks;
  };

  Proxy(ProxyParts parts, ProxyOptions options, Rules rules, Registries registries);
  Task<void> handle_at(http::ServerRequest& request, http::Responder& responder, std::string port_name);
  Task<void> serve(Exchange& exchange, std::string port_name);
  Result<Route> route(const Exchange& exchange, const std::string& port_name) const;
  void write_down(const Exchange& exchange, TimePoint began);

  // task_answer.cc: through the engine.
  Result<fetch::Wish> wish_for(const Exchange& exchange, const Route& route) const;
  Task<void> answer_from_task(Exchange& exchange, Route route);
  Task<void> answer_head_from_store(Exchange& exchange, Route route, std::string task_id);
  Task<Result<void>> send_content(Exchange& exchange, fetch::Download& download, bool was_finished);

  // pass_through.cc: to the origin and back.
  Task<void> pass_through(Exchange& exchange, Route route);

  ProxyParts parts_;
  ProxyOptions options_;
  Rules rules_;
  Registries registries_;
  std::string via_;  // our mark in Via, by which a request that comes back is known
  std::vector<std::unique_ptr<Port>> ports_;
  std::unique_ptr<Numbers> numbers_;
};

}  // namespace d7y::proxy
