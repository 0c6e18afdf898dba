// An HTTP/2 client for tests, inside of a tunnel through the rig's proxy: many requests at once, each read or
// left unread.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "net/http2/connection.h"
#include "net/tls/tls.h"
#include "rig.h"

namespace proxy_test {

class Http2Client final : public http2::Connection::Owner {
 public:
  struct Exchange final : http2::Stream {
    Exchange(Http2Client& client, bool reads) : client(client), reads(reads) {}
    void on_field(std::string_view name, std::string_view value) override {
      if (name == ":status") {
        status = std::stoi(std::string(value));
      } else {
        headers.add(std::string(name), std::string(value));
      }
    }
    void on_fields_end(http2::FieldsKind kind) override {
      if (kind == http2::FieldsKind::kInformational) informed = std::exchange(status, 0);
      client.changed.notify_all();
    }
    void on_data(Bytes bytes) override {
      body.append(as_text(bytes));
      if (reads) consume(bytes.size());
      client.changed.notify_all();
    }
    void on_end() override { whole = true; }
    void on_close(http2::H2Error code, bool) override {
      closed = code;
      client.changed.notify_all();
    }
    // Reads from now on.
    void go_on() {
      reads = true;
      consume(body.size());
    }

    Http2Client& client;
    bool reads;
    int status = 0, informed = 0;
    http::Headers headers;
    std::string body;
    bool whole = false;  // the other side ended it
    std::optional<http2::H2Error> closed;
  };

  static Task<Result<std::unique_ptr<Http2Client>>> open(Rig& rig, std::string authority_pem,
                                                         std::string target = "origin:443") {
    world::ConnectOptions options;
    auto& host = rig.client_host;
    CO_TRY(auto stream, co_await host.network().connect(rig.host.address(4001), options, Deadline::never()));
    const auto connect = "CONNECT " + target + " HTTP/1.1\r\nHost: " + target + "\r\n\r\n";
    CO_OK(co_await world::write_all(*stream, as_bytes(connect), Deadline::never()));
    std::string answer;
    while (!answer.ends_with("\r\n\r\n")) {
      std::byte next{};
      CO_TRY(auto got, co_await world::read_some(*stream, MutableBytes(&next, 1), Deadline::never()));
      if (got == 0) co_return error(ErrorCode::kReset, "{}", answer);
      answer.push_back(static_cast<char>(next));
    }
    if (!answer.starts_with("HTTP/1.1 200")) co_return error(ErrorCode::kRefused, "{}", answer);
    net::TlsClientOptions trust;
    trust.trust_pem = {std::move(authority_pem)};
    CO_TRY(auto context, net::TlsContext::client(std::move(trust)));
    net::TlsConnectOptions tls;
    tls.server_name = "origin";
    tls.now = host.wall_now();
    tls.alpn = {"h2", "http/1.1"};
    auto connecting =
        net::tls_connect(std::move(stream), std::move(context), std::move(tls), Deadline::never());
    CO_TRY(auto secured, co_await connecting);
    if (secured->alpn() != "h2") co_return error(ErrorCode::kProtocol, "ALPN chose {}", secured->alpn());
    co_return std::make_unique<Http2Client>(host, std::move(secured));
  }

  Http2Client(sim::Host& host, std::unique_ptr<world::Stream> stream)
      : connection_(host.loop(), std::move(stream), options(), *this, buffer_), scope_(host.loop()) {
    scope_.spawn(run());
  }

  using Fields = std::vector<std::pair<std::string, std::string>>;
  // `body` false: the request ends with its fields; else with what is sent on it, and finish().
  Exchange& ask(std::string method, std::string path, Fields more = {}, bool body = false,
                bool reads = true) {
    auto& exchange = *exchanges_.emplace_back(std::make_unique<Exchange>(*this, reads));
    Fields all = {{":method", std::move(method)}, {":scheme", "https"}, {":path", std::move(path)}};
    const bool names = !more.empty() && more.front().first == ":authority";
    if (!names) all.emplace_back(":authority", "origin");
    all.insert(all.end(), more.begin(), more.end());
    std::vector<http2::Field> fields;
    for (const auto& [name, value] : all) fields.push_back({name, value});
    connection_.session().request(exchange, fields, body);
    return exchange;
  }
  Exchange& get(std::string path, Fields more = {}) { return ask("GET", std::move(path), std::move(more)); }

  // Waits until `exchange` has been closed, or the connection is.
  Task<Result<void>> end_of(Exchange& exchange) {
    while (!exchange.closed && !over) CO_OK(co_await changed.wait(Deadline::never()));
    co_return Result<void>{};
  }
  Task<Result<void>> bytes_of(Exchange& exchange, std::size_t count) {
    while (exchange.body.size() < count && !exchange.closed && !over)
      CO_OK(co_await changed.wait(Deadline::never()));
    co_return Result<void>{};
  }
  http2::Session& session() { return connection_.session(); }

  Signal changed;
  std::optional<http2::H2Error> goaway;
  bool over = false;

 private:
  static http2::ConnectionOptions options() {
    http2::ConnectionOptions options;
    options.session.stream_window = 128 << 10;
    return options;
  }
  Task<void> run() {
    auto why = co_await connection_.run();
    over = true;
    changed.notify_all();
  }
  void on_goaway(std::int32_t, http2::H2Error code, std::string_view) override {
    if (!goaway || code != http2::H2Error::kNone) goaway = code;
    changed.notify_all();
  }

  http2::ReadBuffer buffer_;
  std::vector<std::unique_ptr<Exchange>> exchanges_;
  http2::Connection connection_;
  Scope scope_;
};

}  // namespace proxy_test
