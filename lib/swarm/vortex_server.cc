#include "swarm/vortex_server.h"

#include <algorithm>

#include "swarm/vortex_connection.h"

namespace d7y::swarm {

VortexServer::VortexServer(world::World& world, store::Store& store, VortexServerOptions options, Log log)
    : world_(world),
      store_(store),
      options_(std::move(options)),
      log_(log.in("vortex")),
      upload_turns_(world),
      listening_(world.loop()),
      connections_(world.loop()) {
  if (options_.metrics != nullptr) {
    traffic_ =
        &options_.metrics->counter("dragonfly_client_upload_traffic", "Bytes of pieces sent to other peers.");
    uploading_gauge_ = &options_.metrics->gauge("dragonfly_client_concurrent_upload_piece_total",
                                                "Pieces that are being sent to other peers now.");
  }
}

VortexServer::~VortexServer() = default;

Result<Address> VortexServer::listen(const Address& at, world::ListenOptions options) {
  // Children that vanish without a word (Dragonfly client 3.7).
  if (options.keepalive == std::chrono::seconds(0)) options.keepalive = std::chrono::seconds(5);
  TRY(auto listener, world_.network().listen(at, options));
  auto real = listener->local();
  listeners_.push_back(std::move(listener));
  listening_.spawn(accept_forever(*listeners_.back()));
  return real;
}

Task<void> VortexServer::accept_forever(world::Listener& listener) {
  for (;;) {
    auto stream = co_await listener.accept(Deadline::never());
    if (stream) {
      serve(std::move(*stream));
      continue;
    }
    if (stream.failed_with(ErrorCode::kClosed)) co_return;
    log_.warn("accepting children at {}: {}", listener.local().to_string(), stream.error().message());
    co_await sleep_for(std::chrono::milliseconds(100));
  }
}

void VortexServer::serve(std::unique_ptr<world::Stream> stream) {
  ++stats_.connections_accepted;
  if (draining_ || stats_.connections >= options_.max_connections) {
    ++stats_.connections_refused;
    stream->abort();
    return;
  }
  auto host = stream->remote().ip();
  auto& of_host = per_host_[host];
  if (of_host >= options_.max_connections_per_host) {
    ++stats_.connections_refused;
    log_.debug("child {}: already {} connections from this host; refused", host, of_host);
    stream->abort();
    return;
  }
  connections_.spawn(run(std::move(stream)));
}

Task<void> VortexServer::run(std::unique_ptr<world::Stream> stream) {
  struct Counted {
    VortexServer& server;
    std::string host;
    Counted(VortexServer& owner, std::string name) : server(owner), host(std::move(name)) {
      ++server.stats_.connections;
      ++server.per_host_[host];
    }
    ~Counted() {
      --server.stats_.connections;
      if (--server.per_host_[host] == 0) server.per_host_.erase(host);
    }
  };
  Counted counted(*this, stream->remote().ip());
  VortexConnection connection(*this, std::move(stream));
  co_await connection.run();
}

Task<Result<void>> VortexServer::drain(Deadline deadline) {
  draining_ = true;
  listening_.cancel();
  listeners_.clear();
  for (auto* connection : open_) connection->drain();
  auto idle = co_await connections_.idle(deadline);
  if (!idle) connections_.cancel();
  co_return idle;
}

void VortexServer::count(std::uint64_t bytes) {
  stats_.bytes += bytes;
  upload_turns_.sent(bytes);
  if (traffic_ != nullptr) traffic_->add(bytes);
}

VortexServer::Uploading::Uploading(VortexServer& server) : server_(server) {
  ++server_.stats_.uploading;
  if (server_.uploading_gauge_ != nullptr) server_.uploading_gauge_->add(1);
}

VortexServer::Uploading::~Uploading() {
  --server_.stats_.uploading;
  if (server_.uploading_gauge_ != nullptr) server_.uploading_gauge_->add(-1);
}

}  // namespace d7y::swarm
