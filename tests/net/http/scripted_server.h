// A server in the simulation that answers requests with bytes the test wrote down, and notes what it
// was asked.
#pragma once

#include <deque>
#include <string>
#include <vector>

#include "sim/simulation.h"
#include "world/network.h"

namespace d7y::http {

struct Reply {
  std::string bytes;
  enum class After : std::uint8_t { kKeep, kClose, kReset, kSilence } after = After::kKeep;
  bool before_body = false;  // answers when it has seen the head only, and never reads the body
};

class ScriptedServer {
 public:
  ScriptedServer(sim::Host& host, std::uint16_t port) {
    listener_ = std::move(host.network().listen(host.address(port), {}).value());
    host.spawn(accept(host));
  }

  std::deque<Reply> replies;
  std::vector<std::string> requests;  // heads, with bodies of a given length behind them
  std::size_t connections = 0;

 private:
  Task<void> accept(sim::Host& host) {
    while (true) {
      auto stream = co_await listener_->accept(Deadline::never());
      if (!stream) co_return;
      ++connections;
      host.spawn(serve(std::move(stream).value()));
    }
  }

  Task<void> serve(std::unique_ptr<world::Stream> stream) {
    std::string inbox;
    std::vector<std::byte> buffer(100'000);
    while (true) {
      std::size_t end = 0;
      while ((end = inbox.find("\r\n\r\n")) == std::string::npos) {
        auto got = co_await world::read_some(*stream, buffer, Deadline::never());
        if (!got || *got == 0) co_return;
        inbox += as_text(Bytes(buffer).first(*got));
      }
      std::size_t whole = end + 4;
      const bool chunked = inbox.substr(0, end).find("Transfer-Encoding: chunked") != std::string::npos;
      const bool early = !replies.empty() && replies.front().before_body;
      if (const auto at = inbox.substr(0, end).find("Content-Length: "); at != std::string::npos && !early) {
        whole += std::stoul(inbox.substr(at + 16));
      }
      if (inbox.find("100-continue") != std::string::npos && !early) {
        (void)co_await world::write_all(*stream, as_bytes("HTTP/1.1 100 Continue\r\n\r\n"),
                                        Deadline::never());
      }
      while (inbox.size() < whole || (chunked && !early && !inbox.ends_with("0\r\n\r\n"))) {
        auto got = co_await world::read_some(*stream, buffer, Deadline::never());
        if (!got || *got == 0) co_return;
        inbox += as_text(Bytes(buffer).first(*got));
        if (chunked) whole = inbox.size();
      }
      requests.push_back(inbox.substr(0, whole));
      inbox.erase(0, whole);
      if (replies.empty()) co_return;
      const Reply reply = replies.front();
      replies.pop_front();
      (void)co_await world::write_all(*stream, as_bytes(reply.bytes), Deadline::never());
      if (reply.after == Reply::After::kClose) co_return;
      if (reply.after == Reply::After::kReset) {
        stream->abort();
        co_return;
      }
      if (reply.after == Reply::After::kSilence || early) {
        Signal never;
        (void)co_await never.wait(Deadline::never());
      }
    }
  }

  std::unique_ptr<world::Listener> listener_;
};

inline std::string ok(std::string body, std::string headers = {}) {
  return "HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(body.size()) + "\r\n" + headers + "\r\n" +
         body;
}

}  // namespace d7y::http
