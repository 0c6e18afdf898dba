#include "world/uv_network.h"

#include <ifaddrs.h>
#include <net/if.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstdio>

#include "base/scope.h"
#include "world/pool_work.h"
#include "world/small_file.h"
#include "world/socket_stream.h"
#include "world/system_error.h"

namespace d7y::world {
namespace {

using namespace std::chrono_literals;

#ifndef IP_BIND_ADDRESS_NO_PORT
constexpr int IP_BIND_ADDRESS_NO_PORT = 24;
#endif

// A Unix listener whose queue is full says EAGAIN instead of letting us wait.
constexpr Duration kQueueFullPause = 5ms;

struct Lookup final : PoolRequest {
  uv_getaddrinfo_t request{};
  int status = 0;
  addrinfo* found = nullptr;

  ~Lookup() override {
    if (found != nullptr) uv_freeaddrinfo(found);
  }
  void give_up() { uv_cancel(reinterpret_cast<uv_req_t*>(&request)); }
};

void lookup_ended(uv_getaddrinfo_t* request, int status, addrinfo* found) {
  auto* lookup = static_cast<Lookup*>(request->data);
  lookup->status = status;
  lookup->found = found;
  PoolRequest::finish(lookup);
}

ErrorCode code_of_lookup(int status) {
  switch (status) {
    // Not kNotFound: that whoever is named cannot be reached says nothing about what is there.
    case UV_EAI_NONAME:
    case UV_EAI_NODATA:
    case UV_EAI_ADDRFAMILY: return ErrorCode::kRefused;
    case UV_EAI_MEMORY:
    case UV_ENOMEM: return ErrorCode::kExhausted;
    case UV_EAI_BADFLAGS:
    case UV_EINVAL: return ErrorCode::kInvalid;
    default: return ErrorCode::kUnavailable;
  }
}

// RFC 6761 6.3: these never leave the machine, so no resolver is asked.
bool is_localhost(std::string_view host) {
  if (host.ends_with('.')) host.remove_suffix(1);
  constexpr std::string_view kName = "localhost";
  if (host.size() < kName.size()) return false;
  auto tail = host.substr(host.size() - kName.size());
  bool same = std::equal(tail.begin(), tail.end(), kName.begin(),
                         [](char a, char b) { return (a >= 'A' && a <= 'Z' ? a + 32 : a) == b; });
  return same && (host.size() == kName.size() || host[host.size() - kName.size() - 1] == '.');
}

Error connect_error(int number, const Address& to, const std::optional<Address>& from) {
  auto attempt = fmt::format("connecting to {}", to.to_string());
  if (from) attempt += fmt::format(" from {}", from->ip());
  if (number == EADDRNOTAVAIL && !from) {
    return error(ErrorCode::kExhausted, "{}: no free local port left; use fewer connections at once",
                 attempt);
  }
  if (number == ENOENT)
    return error(ErrorCode::kRefused, "{}: no such socket; is its server running?", attempt);
  return describe_system_error(number, attempt);
}

// Binds before connecting, so that the connection leaves from `from`.
Result<void> bind_from(int socket, const Address& from, const Address& to) {
  if (from.family() != to.family()) {
    return error(ErrorCode::kInvalid, "connecting to {} from {}: the addresses are of different families",
                 to.to_string(), from.to_string());
  }
  TRY(auto address, socket_address(from));
  if (from.port() == 0 && from.family() != Address::Family::kUnix) {
    // The port is chosen at connect(), where one port can serve many targets.
    int yes = 1;
    ::setsockopt(socket, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &yes, sizeof yes);
  }
  if (::bind(socket, &address.any, address.size) != 0) {
    return system_error(errno, "binding to {} to connect to {}", from.to_string(), to.to_string());
  }
  return {};
}

std::uint64_t number_in(const std::string& path) {
  auto text = read_small_file(path);
  std::int64_t number = 0;
  if (!text) return 0;
  std::from_chars(text->data(), text->data() + text->size(), number);
  return number > 0 ? static_cast<std::uint64_t>(number) : 0;
}

}  // namespace

Task<Result<std::unique_ptr<Stream>>> UvNetwork::connect(Address to, ConnectOptions options,
                                                         Deadline deadline) {
  CO_TRY(auto target, socket_address(to));
  auto opened = open_socket(target.family());
  if (!opened) co_return std::move(opened).error().in(fmt::format("connecting to {}", to.to_string()));
  int number = opened->get();
  tune_socket(number, target.family(), {options.send_buffer, options.receive_buffer, options.keepalive});
  if (options.from) CO_OK(bind_from(number, *options.from, to));

  int failure = 0;
  for (;;) {
    failure = ::connect(number, &target.any, target.size) == 0 ? 0 : errno;
    if (failure == EINTR) failure = EINPROGRESS;
    if (failure != EAGAIN) break;
    if (to.family() != Address::Family::kUnix) co_return connect_error(EADDRNOTAVAIL, to, options.from);
    Loop& loop = co_await this_loop();
    auto next = Deadline::in(kQueueFullPause, loop.now());
    if (deadline <= next) {
      co_return error(ErrorCode::kTimeout, "connecting to {}: its queue stayed full until the deadline",
                      to.to_string());
    }
    co_await sleep_until(next.when());
  }
  if (failure != 0 && failure != EINPROGRESS) co_return connect_error(failure, to, options.from);

  CO_TRY(auto stream, SocketStream::make(poller_, std::move(*opened), to, failure == EINPROGRESS));
  if (failure == EINPROGRESS) {
    std::optional<int> outcome;
    while (!(outcome = stream->connected())) {
      auto woken = co_await stream->writable().wait(deadline);
      if (!woken)
        co_return error(ErrorCode::kTimeout, "connecting to {}: no answer before the deadline",
                        to.to_string());
    }
    if (*outcome != 0) co_return connect_error(*outcome, to, options.from);
  }
  // A free port of the ephemeral range may be handed out as our own end, and TCP then connects a
  // socket with itself.
  if (to.is_loopback() && to.port() != 0 && stream->local() == to) {
    co_return connect_error(ECONNREFUSED, to, options.from);
  }
  co_return std::unique_ptr<Stream>(std::move(stream));
}

Result<std::unique_ptr<Listener>> UvNetwork::listen(const Address& at, const ListenOptions& options) {
  return SocketListener::make(poller_, at, options);
}

Task<Result<std::vector<Address>>> UvNetwork::resolve(std::string host, std::uint16_t port,
                                                      Deadline deadline) {
  std::vector<Address> addresses;
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  if (auto literal = Address::parse_ip(host, port); literal) {
    addresses.push_back(std::move(*literal));
    co_return std::move(addresses);
  }
  if (is_localhost(host)) {
    std::array<std::uint8_t, 16> one{};
    one[15] = 1;
    addresses.push_back(Address::ipv4({127, 0, 0, 1}, port));
    addresses.push_back(Address::ipv6(one, port));
    co_return std::move(addresses);
  }
  if (host.empty() || host.size() > 253 || host.find('\0') != std::string::npos) {
    co_return error(ErrorCode::kInvalid, "a host name has 1 to 253 characters, this one {}", host.size());
  }

  Claim<Lookup> lookup(std::make_unique<Lookup>());
  lookup->request.data = &*lookup;
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_ADDRCONFIG;
  int status = uv_getaddrinfo(&loop_, &lookup->request, lookup_ended, host.c_str(), nullptr, &hints);
  if (status != 0) {
    lookup->finished = true;  // it never began
    co_return error(code_of_lookup(status), "looking up \"{}\": {}", host, uv_strerror(status));
  }
  while (!lookup->finished) {
    auto woken = co_await lookup->done.wait(deadline);
    if (!woken && !lookup->finished) {
      co_return error(ErrorCode::kTimeout, "looking up \"{}\": the name server did not answer in time", host);
    }
  }
  if (lookup->status != 0) {
    co_return error(code_of_lookup(lookup->status), "looking up \"{}\": {}", host,
                    uv_strerror(lookup->status));
  }
  for (auto* entry = lookup->found; entry != nullptr; entry = entry->ai_next) {
    if (entry->ai_family != AF_INET && entry->ai_family != AF_INET6) continue;
    SocketAddress raw;
    std::copy_n(reinterpret_cast<const char*>(entry->ai_addr), entry->ai_addrlen,
                reinterpret_cast<char*>(&raw.storage));
    raw.size = entry->ai_addrlen;
    auto address = raw.address().with_port(port);
    if (std::find(addresses.begin(), addresses.end(), address) == addresses.end())
      addresses.push_back(address);
  }
  if (addresses.empty()) co_return error(ErrorCode::kRefused, "looking up \"{}\": it has no address", host);
  co_return std::move(addresses);
}

std::vector<Interface> UvNetwork::interfaces() {
  std::vector<Interface> result;
  ifaddrs* all = nullptr;
  if (::getifaddrs(&all) != 0) return result;
  for (auto* entry = all; entry != nullptr; entry = entry->ifa_next) {
    if (entry->ifa_addr == nullptr) continue;
    SocketAddress raw;
    int family = entry->ifa_addr->sa_family;
    if (family != AF_INET && family != AF_INET6) continue;
    raw.size = family == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6);
    std::copy_n(reinterpret_cast<const char*>(entry->ifa_addr), raw.size,
                reinterpret_cast<char*>(&raw.storage));
    Interface interface;
    interface.name = entry->ifa_name;
    interface.address = raw.address().with_port(0);
    interface.up = (entry->ifa_flags & IFF_UP) != 0 && (entry->ifa_flags & IFF_RUNNING) != 0;
    auto known = std::find_if(result.begin(), result.end(),
                              [&](const Interface& other) { return other.name == interface.name; });
    if (known != result.end()) {
      interface.speed_bits_per_second = known->speed_bits_per_second;
      interface.received_bytes = known->received_bytes;
      interface.sent_bytes = known->sent_bytes;
    } else {
      auto folder = "/sys/class/net/" + interface.name;
      interface.speed_bits_per_second = number_in(folder + "/speed") * 1'000'000;  // the file counts Mbit/s
      interface.received_bytes = number_in(folder + "/statistics/rx_bytes");
      interface.sent_bytes = number_in(folder + "/statistics/tx_bytes");
    }
    result.push_back(std::move(interface));
  }
  ::freeifaddrs(all);
  return result;
}

}  // namespace d7y::world
