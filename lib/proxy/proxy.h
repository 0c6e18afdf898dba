// The HTTP proxy of a node: registry mirror for container runtimes and forward proxy, on the download engine.
//
//   CO_TRY(auto proxy, Proxy::make(parts, options));
//   http::Server server(world, *proxy, proxy->server_options(), log);
//
// A GET that a rule matches becomes a wish of the engine and is answered in order while its bytes arrive,
// from wherever they come. Everything else goes to its origin and back unchanged. docs/proxy.md tells it to
// users.
#pragma once

#include <list>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/metrics.h"
#include "base/scope.h"
#include "base/token_bucket.h"
#include "base/trace.h"
#include "fetch/engine.h"
#include "net/http/client.h"
#include "net/http/server.h"
#include "net/tls/issuer.h"
#include "proxy/answer_cache.h"
#include "proxy/exchange.h"
#include "proxy/instructions.h"
#include "proxy/registries.h"
#include "proxy/rights.h"
#include "proxy/rules.h"

namespace d7y::proxy {

struct ProxyOptions {
  std::vector<RuleOptions> rules;
  std::string mirror_address;               // the default registry; empty: none
  std::vector<RegistryOptions> registries;  // configured ones
  // GET /v2/ that names no registry is answered here: clients whose registries are in the path of all else
  // ask it first, and what the default registry says to it (or that it cannot be reached) is of no use to
  // them.
  bool answer_version_check = false;
  bool blob_digest_ids = true;  // a blob's digest is its task's id
  bool disable_back_to_source = false;
  // Cached content only for callers whose credentials its origin accepted no longer ago than this (rights.h).
  bool check_rights = true;
  Duration rights_last = std::chrono::minutes(5);
  // Manifests and lists of tags are given again for so long without asking their registry; 0: never.
  Duration keep_manifests{0};
  std::uint64_t requests_per_second = 0;  // 0: any number
  std::string credentials;                // "Basic ..." that every request needs; empty: none. A secret.
  // Behind a ranged request the whole is fetched, at most at so many bytes per second (0: any).
  bool prefetch = false;
  std::uint64_t prefetch_rate = 0;
  // Tunnels to hosts where one of these is found in "https://host[:port]/" are opened and served like any
  // request, with certificates of this authority. None: all tunnels stay closed.
  std::vector<std::string> intercept;
  std::optional<net::TlsIdentity> authority;
  std::string ip;    // told in X-Dragonfly-Server-IP
  std::string host;  // this host's name, for spans
};

// All of it must outlive the proxy.
struct ProxyParts {
  world::World& world;
  fetch::Engine& engine;
  store::Store& store;
  http::Client& client;  // for what is not served through tasks
  Metrics* metrics = nullptr;
  Log log;
  SpanSink* spans = nullptr;  // gets one of each request; null: nobody wants them
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
  std::string refusal(std::string_view target, const Error& why, const Address& client,
                      http::Headers& headers) override;

  // Gives up what nobody waits for, and lets what is asked for inside of tunnels end.
  Task<Result<void>> drain(Deadline deadline);

  // Requests that come in through a port of their own are for the configured registry `name`, unless they say
  // otherwise themselves. The handler lives as long as the proxy.
  http::Handler& port_of(const std::string& name);

 private:
  class Port;
  class Intercepted;
  // Where a request goes and how.
  struct Route {
    Url url;
    const Rule* rule = nullptr;
    Instructions said;
  };
  struct Numbers {
    explicit Numbers(Metrics& metrics);
    Counter &requests, &failures, &via_tasks, &prefetches, &prefetch_failures;
    Counter &kept, &renewed, &not_kept;  // requests that may be answered from what is kept, and how they were
  };

  Proxy(ProxyParts parts, ProxyOptions options, Rules rules, Rules intercept, Registries registries);
  Task<void> handle_at(http::ServerRequest& request, http::Responder& responder, std::string port_name,
                       std::string inside_of);
  Task<void> serve(Exchange& exchange, std::string port_name);
  // How a request is refused before anybody looks where it goes; nothing: it is not.
  struct Objection {
    int status = 0;
    std::string why;
    http::Headers headers;
  };
  std::optional<Objection> objection_to(const http::ServerRequest& request, bool inside);
  bool is_version_check(const Exchange& exchange, const std::string& port_name) const;
  Result<Route> route(const Exchange& exchange, const std::string& port_name) const;
  void write_down(const Exchange& exchange, TimePoint began);
  void show(const Exchange& exchange, WallTime began);

  // task_answer.cc: through the engine.
  Result<fetch::Wish> wish_for(const Exchange& exchange, const Route& route) const;
  Task<void> answer_from_task(Exchange& exchange, Route route);
  Task<void> answer_head(Exchange& exchange, Route route);
  Task<Result<void>> send_content(Exchange& exchange, fetch::Download& download, bool was_finished);

  void prefetch_behind(const Exchange& exchange, const Route& route, fetch::Wish wish,
                       const store::TaskHandle& task);
  Task<void> prefetch(fetch::Wish wish);
  bool may_have(const Exchange& exchange);
  void note_accepted(const Exchange& exchange);
  // What the origin says to HEAD, or to GET for the first byte.
  Task<Result<http::Response>> ask_by(std::string method, const Exchange& exchange, const Route& route,
                                      Deadline deadline);
  // Asks the origin whether it would give this to the client. Its refusal otherwise.
  Task<Result<void>> ask_origin(Exchange& exchange, Route route);

  // pass_through.cc: to the origin and back.
  http::Request request_for(const Exchange& exchange, const Route& route) const;
  Task<void> pass_through(Exchange& exchange, Route route);

  // kept_answers.cc: small answers of registries that are given again.
  // What tells such a request apart; empty: it is none.
  std::string key_of(const Exchange& exchange, const Route& route) const;
  AnswerCache::Found kept_for(const Exchange& exchange, const std::string& key);
  Task<Result<void>> answer_kept(Exchange& exchange, AnswerCache::Found kept);
  void keep(const std::string& key, const Route& route, KeptAnswer answer);

  // interception.cc: tunnels that are opened.
  bool opens(const Url& url) const { return issuer_ && intercept_.match(url) != nullptr; }
  Task<void> serve_inside(Exchange& exchange, Url url);
  Result<Intercepted*> intercepted(const Url& url);

  // tunnel.cc: connections that are no longer HTTP.
  Task<void> tunnel(Exchange& exchange);
  Task<void> join(Exchange& exchange, http::ResponseHead head, std::unique_ptr<world::Stream> far);

  ProxyParts parts_;
  ProxyOptions options_;
  Rules rules_, intercept_;
  Registries registries_;
  std::string via_;  // our mark in Via, by which a request that comes back is known
  Rights rights_;
  AnswerCache kept_;
  TokenBucket requests_;
  std::vector<std::unique_ptr<Port>> ports_;
  std::optional<net::CertificateIssuer> issuer_;
  std::list<std::unique_ptr<Intercepted>> opened_;  // longest unused first
  std::unique_ptr<Numbers> numbers_;
  Scope prefetching_;
};

}  // namespace d7y::proxy
