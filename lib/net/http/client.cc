#include "net/http/client.h"

#include <algorithm>

#include "net/http/exchange.h"
#include "net/http/pool.h"
#include "net/http/wire.h"

namespace d7y::http {
namespace {

bool is_redirect(int status) {
  return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

bool is_safe_to_repeat(std::string_view method) {
  return method == "GET" || method == "HEAD" || method == "PUT" || method == "DELETE" || method == "OPTIONS";
}

constexpr std::size_t kRedirectBodyBytes = 64 << 10;  // read away to keep the connection

}  // namespace

void drop_credentials(Headers& headers) {
  for (auto name : {"Authorization", "Cookie", "Cookie2", "Proxy-Authorization", "WWW-Authenticate"}) {
    headers.remove(name);
  }
}

// One request to one origin: where it goes and what it looks like on the wire.
struct Client::Hop {
  HttpUrl url;
  const Proxy* proxy = nullptr;
  std::shared_ptr<net::TlsContext> tls;  // for https
  std::string key;                       // of the connections that may serve it
  std::string head;
  std::string shown;
};

Response::Response() = default;
Response::Response(Response&&) noexcept = default;
Response& Response::operator=(Response&&) noexcept = default;
Response::~Response() = default;

std::optional<std::uint64_t> Response::length() const { return length_; }
bool Response::complete() const { return complete_; }
const Headers& Response::trailers() const { return trailers_; }

// Gives the connection back once the body has been read.
void Response::settle() {
  if (!connection_ || !connection_->wire().body_complete()) return;
  complete_ = true;
  if (connection_->wire().reader().framing() == Framing::kChunked) {
    trailers_ = connection_->wire().reader().trailers();
  }
  detail::Pool& pool = connection_->pool();
  pool.give_back(std::move(connection_));
}

Task<Result<std::size_t>> Response::read(MutableBytes buffer, Deadline deadline) {
  if (failed_) co_return failed_->clone();
  if (complete_ || !connection_ || buffer.empty()) co_return std::size_t{0};
  Loop& loop = co_await this_loop();
  const auto until = connection_->stall_deadline(deadline, loop.now());
  auto got = co_await connection_->wire().read_body(buffer, until);
  if (got) {
    settle();
    if (turn_.spent(*got, loop.now())) co_await yield();
    co_return got;
  }
  Error why = std::move(got).error();
  if (why.code() == ErrorCode::kTimeout && until < deadline) {
    why = error(ErrorCode::kTimeout, "no byte for {} s",
                std::chrono::duration_cast<std::chrono::seconds>(connection_->stall()).count());
  }
  const auto query = url_.find('?');
  failed_ = std::move(why).in(fmt::format("reading {}", url_.substr(0, query)));
  connection_.reset();
  co_return failed_->clone();
}

Response::Bare Response::bare() const {
  if (failed_ || complete_ || !connection_) return {};
  const auto left = connection_->wire().bare();
  if (left == 0) return {};
  return {&connection_->wire().stream(), left};
}

void Response::took(std::uint64_t bytes) {
  connection_->wire().took(bytes);
  settle();
}

Task<Result<std::string>> Response::read_all(std::size_t limit, Deadline deadline) {
  std::string body;
  const auto too_large = [&] {
    return error(ErrorCode::kTooLarge, "the answer of {} is longer than {} bytes",
                 url_.substr(0, url_.find('?')), limit);
  };
  if (length_ && *length_ > limit) co_return too_large();
  if (length_) body.reserve(*length_);
  std::vector<std::byte> buffer(32 << 10);
  while (true) {
    auto got = co_await read(buffer, deadline);
    if (!got) co_return std::move(got).error();
    if (*got == 0) co_return body;
    if (body.size() + *got > limit) co_return too_large();
    body.append(as_text(Bytes(buffer).first(*got)));
  }
}

Task<Result<void>> Response::discard(std::size_t limit, Deadline deadline) {
  if (!connection_) co_return Result<void>{};
  if (length_ && *length_ > limit) {
    connection_.reset();
    co_return Result<void>{};
  }
  std::vector<std::byte> buffer(std::min<std::size_t>(limit, 16 << 10));
  while (connection_ && limit > 0) {
    auto got = co_await read(MutableBytes(buffer).first(std::min(buffer.size(), limit)), deadline);
    if (!got) co_return std::move(got).error();
    if (*got == 0) co_return Result<void>{};
    limit -= *got;
  }
  connection_.reset();
  co_return Result<void>{};
}

std::unique_ptr<world::Stream> Response::take_stream() {
  if (!connection_) return nullptr;
  auto stream = connection_->wire().release();
  connection_.reset();
  return stream;
}

Client::Client(world::World& world, ClientOptions options, Log log)
    : world_(world),
      options_(std::move(options)),
      log_(log),
      pool_(std::make_unique<detail::Pool>(
          world.loop(), detail::PoolLimits{options_.connections_per_origin, options_.idle_per_origin,
                                           options_.idle_total, options_.idle_timeout})) {}
Client::~Client() = default;

std::size_t Client::idle_connections() const { return pool_->idle(); }
std::size_t Client::open_connections() const { return pool_->open(); }
void Client::close_idle() { pool_->close_idle(); }

Result<std::shared_ptr<net::TlsContext>> Client::default_tls() {
  if (tls_) return tls_;
  if (!options_.tls) return error(ErrorCode::kUnsupported, "this client was opened without TLS");
  TRY(tls_, options_.tls());
  return tls_;
}

Result<Client::Hop> Client::plan(const Request& request, const HttpUrl& url) {
  Hop hop;
  hop.url = url;
  hop.shown = fmt::format("{} {}", request.method, url.shown());
  hop.proxy = options_.proxies.proxy_for(url.scheme, url.host, url.port);
  if (url.tls()) {
    hop.tls = request.tls;
    if (!hop.tls) {
      auto own = options_.tls_of.find(url.url.origin());
      if (own != options_.tls_of.end()) hop.tls = own->second;
    }
    if (!hop.tls) {
      TRY(hop.tls, default_tls());
    }
  }
  hop.key = fmt::format("{}://{}", url.scheme, url.authority());
  if (hop.proxy != nullptr && !url.tls()) hop.key = "http";  // one proxy connection serves all plain origins
  if (hop.proxy != nullptr) hop.key += fmt::format(" via {}:{}", hop.proxy->host, hop.proxy->port);
  if (hop.tls) hop.key += fmt::format(" trust {}", static_cast<const void*>(hop.tls.get()));

  RequestHead head;
  head.method = request.method;
  head.target = url.target();
  head.headers.add("Host", request.host.empty() ? url.authority() : request.host);
  if (hop.proxy != nullptr && !url.tls()) {
    head.target = url.to_string();
    if (!hop.proxy->authorization.empty()) head.headers.add("Proxy-Authorization", hop.proxy->authorization);
  }
  for (const auto& header : request.headers) {
    const bool ours = same_name(header.name, "Host") || same_name(header.name, "Content-Length") ||
                      same_name(header.name, "Transfer-Encoding") || same_name(header.name, "Expect") ||
                      (hop.proxy != nullptr && same_name(header.name, "Proxy-Authorization"));
    const bool upgrade = same_name(header.name, "Connection") && request.headers.has("Upgrade");
    if (ours || (same_name(header.name, "Connection") && !upgrade)) continue;
    head.headers.add(header.name, header.value);
  }
  if (!url.user.empty() && !head.headers.has("Authorization")) {
    head.headers.add("Authorization", basic_credentials(url.user, url.password));
  }
  if (!options_.user_agent.empty() && !head.headers.has("User-Agent")) {
    head.headers.add("User-Agent", options_.user_agent);
  }
  if (!head.headers.has("Accept")) head.headers.add("Accept", "*/*");

  const bool wants_length = request.method == "POST" || request.method == "PUT" || request.method == "PATCH";
  if (request.producer != nullptr) {
    if (const auto length = request.producer->length()) {
      head.headers.add("Content-Length", fmt::format("{}", *length));
    } else {
      head.headers.add("Transfer-Encoding", "chunked");
    }
  } else if (!request.body.empty() || wants_length) {
    head.headers.add("Content-Length", fmt::format("{}", request.body.size()));
  }
  const bool has_body = request.producer != nullptr || !request.body.empty();
  if (has_body && request.expect_continue) head.headers.add("Expect", "100-continue");
  TRY(hop.head, to_wire(head));
  return hop;
}

Task<Result<Response>> Client::fetch(Request request, Deadline deadline) {
  auto parsed = parse_http_url(request.url);
  if (!parsed) co_return std::move(parsed).error();
  HttpUrl url = std::move(parsed).value();
  if (!is_host(request.host)) {
    co_return error(ErrorCode::kInvalid, "{} {}: the Host header is no name of a host", request.method,
                    url.shown());
  }
  for (int hops = 0;; ++hops) {
    auto hop = plan(request, url);
    if (!hop) co_return std::move(hop).error().in(fmt::format("{} {}", request.method, url.shown()));
    auto answer = co_await fetch_hop(request, *hop, deadline);
    if (!answer) co_return std::move(answer).error().in(hop->shown);
    answer->url_ = url.to_string();

    const int status = answer->status();
    const auto location = answer->headers().get("Location");
    if (!is_redirect(status) || !location || request.redirects.limit == 0) co_return answer;
    const bool keeps_method =
        status == 307 || status == 308 || request.method == "GET" || request.method == "HEAD";
    if (keeps_method && request.producer != nullptr) co_return answer;  // cannot be sent again
    if (hops == request.redirects.limit) {
      co_return error(ErrorCode::kProtocol, "{}: more than {} redirects", hop->shown, request.redirects.limit)
          .with_status(status);
    }
    auto next = resolve_http_url(url, *location);
    if (!next) co_return std::move(next).error().in(hop->shown + ": redirect").with_status(status);
    if (url.tls() && !next->tls() && !request.redirects.allow_downgrade) {
      co_return error(
          ErrorCode::kPermission,
          "{}: it redirects from https to {}, where anybody on the way could change what comes; if that "
          "is right, ask for that URL",
          hop->shown, next->shown())
          .with_status(status);
    }
    if (!keeps_method) {
      request.method = "GET";
      request.body.clear();
      request.producer = nullptr;
      for (auto name : {"Content-Type", "Content-Encoding", "Content-Language", "Content-Location"}) {
        request.headers.remove(name);
      }
    }
    if (next->same_origin(url)) {
      next->user = url.user;
      next->password = url.password;
    } else {
      drop_credentials(request.headers);
      request.host.clear();
      next->user.clear();
      next->password.clear();
    }
    url = std::move(next).value();
    auto emptied = co_await answer->discard(kRedirectBodyBytes, deadline);
    if (!emptied && deadline.passed(world_.now())) co_return std::move(emptied).error().in(hop->shown);
  }
}

Task<Result<Response>> Client::fetch_hop(const Request& request, const Hop& hop, Deadline deadline) {
  detail::Outgoing outgoing;
  outgoing.head = hop.head;
  outgoing.method = request.method;
  outgoing.body = request.body;
  outgoing.producer = request.producer;
  outgoing.expect_continue = request.expect_continue;
  for (bool fresh = false;; fresh = true) {
    std::optional<detail::Pool::Unheard> unheard;
    unheard.emplace(*pool_, hop.key);
    auto got = co_await acquire(hop, fresh, deadline);
    if (!got) co_return std::move(got).error();
    auto connection = std::move(got).value();
    detail::Heard heard;
    auto done = co_await detail::exchange(*connection, outgoing, options_.head_timeout, heard, deadline);
    unheard.reset();
    if (!done) {
      const bool stale = connection->reused && !heard.anything &&
                         (done.failed_with(ErrorCode::kReset) || done.failed_with(ErrorCode::kIo));
      connection.reset();
      if (!stale || fresh || !is_safe_to_repeat(request.method)) co_return std::move(done).error();
      pool_->close_idle(hop.key);
      continue;
    }
    Response response;
    auto& reader = connection->wire().reader();
    response.head_ = std::move(reader.response());
    response.reused_ = connection->reused;
    response.remote_ = connection->wire().stream().remote().to_string();
    if (reader.framing() == Framing::kLength) response.length_ = reader.content_length();
    if (reader.framing() == Framing::kNone) response.length_ = 0;
    response.connection_ = std::move(connection);
    if (!reader.switches_protocol()) response.settle();
    co_return std::move(response);
  }
}

Task<Result<std::unique_ptr<detail::Connection>>> Client::acquire(const Hop& hop, bool fresh,
                                                                  Deadline deadline) {
  while (true) {
    if (!fresh) {
      if (auto kept = pool_->take_idle(hop.key)) co_return std::move(kept);
    }
    if (pool_->has_room(hop.key)) break;
    auto woken = co_await pool_->wait(hop.key, deadline);
    if (!woken) {
      co_return error(ErrorCode::kExhausted,
                      "all {} connections to this origin stayed busy until the deadline",
                      options_.connections_per_origin);
    }
  }
  // Made before connecting, so that it counts.
  auto connection =
      std::make_unique<detail::Connection>(*pool_, hop.key, options_.limits, options_.stall_timeout);
  connection->trust = hop.tls;
  const auto until = deadline.or_earlier(Deadline::in(options_.connect_timeout, world_.now()));
  auto stream = co_await dial(hop, until);
  if (!stream) co_return std::move(stream).error();
  connection->attach(std::move(stream).value());
  co_return std::move(connection);
}

Task<Result<std::unique_ptr<world::Stream>>> Client::dial_host(std::string host, std::uint16_t port,
                                                               Deadline deadline) {
  auto addresses = co_await world_.network().resolve(host, port, deadline);
  if (!addresses) co_return std::move(addresses).error();
  auto stream =
      co_await world::connect_any(world_.network(), std::move(addresses).value(), options_.connect, deadline);
  if (!stream) {
    Error why = std::move(stream).error();
    if (why.code() == ErrorCode::kTimeout) {
      co_return error(ErrorCode::kTimeout,
                      "connecting to {}:{} took too long; is the address right and reachable?", host, port);
    }
    co_return std::move(why);
  }
  co_return std::move(stream).value();
}

Task<Result<std::unique_ptr<world::Stream>>> Client::secure(std::unique_ptr<world::Stream> stream,
                                                            std::shared_ptr<net::TlsContext> context,
                                                            std::string host, Deadline deadline) {
  net::TlsConnectOptions options;
  options.server_name = std::move(host);
  options.now = world_.wall_now();
  options.alpn = {"http/1.1"};
  auto secured =
      co_await net::tls_connect(std::move(stream), std::move(context), std::move(options), deadline);
  if (!secured) co_return std::move(secured).error();
  co_return std::unique_ptr<world::Stream>(std::move(secured).value());
}

// A connection to the hop's proxy, led on to the origin by CONNECT where it is https.
Task<Result<std::unique_ptr<world::Stream>>> Client::dial_proxy(const Hop& hop, Deadline deadline) {
  const Proxy& proxy = *hop.proxy;
  const auto where = fmt::format("proxy {}:{}", proxy.host, proxy.port);
  auto dialed = co_await dial_host(proxy.host, proxy.port, deadline);
  if (!dialed) co_return std::move(dialed).error().in(where);
  auto stream = std::move(dialed).value();
  if (proxy.tls) {
    auto context = default_tls();
    if (!context) co_return std::move(context).error().in(where);
    auto secured = co_await secure(std::move(stream), std::move(context).value(), proxy.host, deadline);
    if (!secured) co_return std::move(secured).error().in(where);
    stream = std::move(secured).value();
  }
  if (!hop.url.tls()) co_return std::move(stream);

  const bool ipv6 = hop.url.host.find(':') != std::string::npos;
  RequestHead head;
  head.method = "CONNECT";
  head.target = fmt::format(fmt::runtime(ipv6 ? "[{}]:{}" : "{}:{}"), hop.url.host, hop.url.port);
  head.headers.add("Host", head.target);
  if (!options_.user_agent.empty()) head.headers.add("User-Agent", options_.user_agent);
  if (!proxy.authorization.empty()) head.headers.add("Proxy-Authorization", proxy.authorization);
  auto wire = to_wire(head);
  if (!wire) co_return std::move(wire).error();
  auto written = co_await world::write_all(*stream, as_bytes(*wire), deadline);
  if (!written) co_return std::move(written).error().in(where);
  detail::Wire answer(std::move(stream), MessageReader::Kind::kResponse, options_.limits);
  answer.begin("CONNECT");
  auto got = co_await answer.read_head(deadline);
  if (!got) co_return std::move(got).error().in(where);
  if (!*got) co_return error(ErrorCode::kReset, "{} closed the connection without an answer", where);
  const int status = answer.reader().response().status;
  if (status / 100 != 2) {
    const auto code = status == 407 ? ErrorCode::kUnauthenticated : ErrorCode::kRefused;
    co_return error(code, "{} refused to connect to {}: {} {}", where, head.target, status, reason_of(status))
        .with_status(status);
  }
  co_return answer.release();
}

Task<Result<std::unique_ptr<world::Stream>>> Client::dial(const Hop& hop, Deadline deadline) {
  std::unique_ptr<world::Stream> stream;
  if (hop.proxy != nullptr) {
    auto dialed = co_await dial_proxy(hop, deadline);
    if (!dialed) co_return std::move(dialed).error();
    stream = std::move(dialed).value();
  } else {
    auto dialed = co_await dial_host(hop.url.host, hop.url.port, deadline);
    if (!dialed) co_return std::move(dialed).error();
    stream = std::move(dialed).value();
  }
  if (!hop.tls) co_return std::move(stream);
  auto secured = co_await secure(std::move(stream), hop.tls, hop.url.host, deadline);
  co_return secured;
}

Task<Result<std::unique_ptr<world::Stream>>> Client::tunnel(std::string scheme, std::string host,
                                                            std::uint16_t port, Deadline deadline) {
  const Proxy* proxy = options_.proxies.proxy_for(scheme, host, port);
  if (proxy == nullptr) {
    auto direct = co_await dial_host(std::move(host), port, deadline);
    co_return direct;
  }
  Hop hop;
  hop.url.scheme = "https";  // asks for CONNECT whatever runs inside
  hop.url.host = std::move(host);
  hop.url.port = port;
  hop.proxy = proxy;
  auto led = co_await dial_proxy(hop, deadline);
  co_return led;
}

}  // namespace d7y::http
