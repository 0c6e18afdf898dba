#include "swarm/manager_client.h"

#include <algorithm>
#include <cctype>
#include <charconv>

#include "api/manager.h"
#include "api/methods.h"

namespace d7y::swarm {

namespace {

std::string without_scheme(std::string address) {
  for (std::string_view scheme : {"http://", "https://", "grpc://"}) {
    if (address.starts_with(scheme)) address.erase(0, scheme.size());
  }
  while (!address.empty() && address.back() == '/') address.pop_back();
  return address;
}

}  // namespace

ManagerClient::ManagerClient(world::World& world, ManagerClientOptions options, Log log)
    : world_(world),
      options_(std::move(options)),
      log_(log.in("manager")),
      channel_(
          world, without_scheme(options_.address), [this](Deadline deadline) { return connect(deadline); },
          grpc::ChannelOptions{}, log_) {}

Task<Result<std::unique_ptr<world::Stream>>> ManagerClient::connect(Deadline deadline) {
  if (options_.connect) {
    Task<Result<std::unique_ptr<world::Stream>>> making = options_.connect(deadline);
    co_return co_await making;
  }
  auto address = without_scheme(options_.address);
  auto colon = address.rfind(':');
  std::uint16_t port = 0;
  if (colon != std::string::npos)
    std::from_chars(address.data() + colon + 1, address.data() + address.size(), port);
  if (port == 0) {
    co_return error(ErrorCode::kInvalid, "manager.addr \"{}\" has no port; expected http://host:port",
                    address);
  }
  auto host = address.substr(0, colon);
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
  CO_TRY(std::vector<Address> candidates, co_await world_.network().resolve(std::move(host), port, deadline));
  Task<Result<std::unique_ptr<world::Stream>>> connecting =
      world::connect_any(world_.network(), std::move(candidates), world::ConnectOptions{}, deadline);
  co_return co_await connecting;
}

Task<Result<std::vector<ListedScheduler>>> ManagerClient::list_schedulers(Deadline deadline) {
  api::manager::ListSchedulersRequest request;
  request.set_source_type(options_.seed ? api::manager::SEED_PEER_SOURCE : api::manager::PEER_SOURCE);
  // Managers insist on a DNS name (Dragonfly grpc 5.20).
  auto hostname = options_.hostname;
  std::replace_if(
      hostname.begin(), hostname.end(),
      [](unsigned char c) { return std::isalnum(c) == 0 && c != '-' && c != '.'; }, '-');
  request.set_hostname(hostname);
  request.set_ip(options_.ip);
  if (!options_.idc.empty()) request.set_idc(options_.idc);
  if (!options_.location.empty()) request.set_location(options_.location);
  request.set_version(options_.version);
  request.set_scheduler_cluster_id(options_.scheduler_cluster_id);
  grpc::CallOptions call_options;
  call_options.deadline = deadline;
  Task<Result<api::manager::ListSchedulersResponse>> calling =
      channel_.unary<api::manager::ListSchedulersResponse>(api::method::manager::kListSchedulers, request,
                                                           std::move(call_options));
  auto called = co_await calling;
  if (!called)
    co_return std::move(called).error().in(fmt::format("asking manager {} for schedulers", channel_.name()));

  std::vector<ListedScheduler> out;
  for (const auto& scheduler : called->schedulers()) {
    // Other daemons give up over one bad address; one scheduler less is better than none.
    bool port_fits = scheduler.port() > 0 && scheduler.port() <= 0xffff;
    auto address =
        Address::parse_ip(scheduler.ip(), static_cast<std::uint16_t>(port_fits ? scheduler.port() : 0));
    if (!port_fits || !address) {
      log_.warn("manager {} lists a scheduler without a usable address; ignored", channel_.name());
      continue;
    }
    if (out.empty()) {
      const auto& cluster = scheduler.scheduler_cluster();
      client_config_ = options_.seed ? cluster.seed_client_config() : cluster.client_config();
    }
    ListedScheduler listed{address->to_string(), scheduler.scheduler_cluster_id()};
    out.push_back(std::move(listed));
  }
  if (out.empty())
    co_return error(ErrorCode::kUnavailable, "manager {} lists no scheduler for us", channel_.name());
  co_return out;
}

}  // namespace d7y::swarm
