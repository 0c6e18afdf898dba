#include "scheduler/connections.h"

#include <charconv>

namespace d7y::scheduler {
namespace {

struct HostPort {
  std::string host;
  std::uint16_t port = 0;
};

Result<HostPort> split(const std::string& name) {
  HostPort out;
  const auto colon = name.rfind(':');
  if (colon != std::string::npos) {
    const auto* end = name.data() + name.size();
    const auto parsed = std::from_chars(name.data() + colon + 1, end, out.port);
    if (parsed.ec != std::errc() || parsed.ptr != end) out.port = 0;
  }
  if (out.port == 0 || colon == 0) {
    return error(ErrorCode::kInvalid, "\"{}\" is no address; expected host:port", name);
  }
  out.host = host_of(name);
  return out;
}

}  // namespace

std::string host_of(const std::string& name) {
  auto host = name.substr(0, name.rfind(':'));
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
  return host;
}

Task<Result<std::unique_ptr<world::Stream>>> dial(world::World& world, std::string name, Deadline deadline) {
  CO_TRY(HostPort to, split(name));
  auto resolving = world.network().resolve(to.host, to.port, deadline);
  CO_TRY(std::vector<Address> candidates, co_await resolving);
  auto connecting =
      world::connect_any(world.network(), std::move(candidates), world::ConnectOptions{}, deadline);
  co_return co_await connecting;
}

Task<Result<std::unique_ptr<world::Stream>>> dial_tls(world::World& world, std::string name,
                                                      std::string server,
                                                      std::shared_ptr<net::TlsContext> context,
                                                      std::vector<std::string> alpn, Deadline deadline) {
  auto dialing = dial(world, std::move(name), deadline);
  CO_TRY(std::unique_ptr<world::Stream> stream, co_await dialing);
  net::TlsConnectOptions options;
  options.server_name = std::move(server);
  options.now = world.wall_now();
  options.alpn = std::move(alpn);
  auto handshake = net::tls_connect(std::move(stream), std::move(context), options, deadline);
  CO_TRY(std::unique_ptr<net::TlsStream> secure, co_await handshake);
  std::unique_ptr<world::Stream> plain(std::move(secure));
  co_return plain;
}

Task<Result<std::unique_ptr<world::Stream>>> accept_tls(std::unique_ptr<world::Stream> stream,
                                                        std::shared_ptr<net::TlsContext> context,
                                                        WallTime now, Deadline deadline) {
  auto sniffing = net::sniff_tls(std::move(stream), deadline);
  CO_TRY(net::Sniffed sniffed, co_await sniffing);
  if (!sniffed.tls) co_return std::move(sniffed.stream);
  auto handshake = net::tls_accept(std::move(sniffed.stream), std::move(context), now, deadline);
  CO_TRY(std::unique_ptr<net::TlsStream> secure, co_await handshake);
  std::unique_ptr<world::Stream> plain(std::move(secure));
  co_return plain;
}

std::function<grpc::Channel::Connect(Address)> tls_connector(world::World& world,
                                                             std::shared_ptr<net::TlsContext> context) {
  return [&world, context = std::move(context)](Address to) -> grpc::Channel::Connect {
    return [&world, context, to](Deadline deadline) {
      return dial_tls(world, to.to_string(), to.ip(), context, {"h2"}, deadline);
    };
  };
}

}  // namespace d7y::scheduler
