// A server and a client on two simulated machines.
#pragma once

#include <doctest/doctest.h>

#include <optional>
#include <string>
#include <utility>

#include "echo_service.h"
#include "net/grpc/channel.h"
#include "net/grpc/server.h"
#include "sim/simulation.h"

namespace d7y::test {

inline EchoRequest request(std::string text) {
  EchoRequest made;
  made.set_text(std::move(text));
  return made;
}

inline grpc::ServerOptions big_messages() {
  grpc::ServerOptions options;
  options.max_receive_message = 128_MiB;
  return options;
}

struct TwoHosts {
  explicit TwoHosts(grpc::ServerOptions server_options = big_messages(),
                    grpc::ChannelOptions channel_options = {})
      : server(std::in_place, server_host, std::move(server_options)),
        channel(client, server_host.address(8002), std::move(channel_options)) {
    service.attach(*server);
    REQUIRE(server->listen(server_host.address(8002)).ok());
  }

  // Runs `task` on the client.
  template <class T>
  T run(Task<T> task) {
    std::optional<T> value;
    client.spawn(keep(std::move(task), value));
    sim.run_until([&] { return value.has_value(); }, std::chrono::hours(100));
    REQUIRE(value.has_value());
    return std::move(*value);
  }

  sim::Simulation sim{1};
  sim::Host& server_host = sim.add_host({.name = "server"});
  sim::Host& client = sim.add_host({.name = "client"});
  EchoService service;
  std::optional<grpc::Server> server;
  grpc::Channel channel;

 private:
  template <class T>
  static Task<void> keep(Task<T> task, std::optional<T>& value) {
    value.emplace(co_await task);
  }
};

}  // namespace d7y::test
