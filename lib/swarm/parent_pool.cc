#include "swarm/parent_pool.h"

#include <algorithm>

#include "swarm/parent_link.h"

namespace d7y::swarm {

namespace {

constexpr std::chrono::nanoseconds kCollectEvery = std::chrono::seconds(5);
// What is known about a parent's nature is asked for anew after this.
constexpr std::chrono::nanoseconds kKnowledgeLasts = std::chrono::hours(1);
constexpr std::size_t kMostKnowledge = 100'000;

}  // namespace

ParentPool::ParentPool(world::World& world, ParentPoolOptions options, Log log)
    : world_(world), options_(std::move(options)), log_(log.in("parents")), scope_(world.loop()) {
  scope_.spawn(collect());
}

ParentPool::~ParentPool() = default;

Task<Result<store::PieceInfo>> ParentPool::fetch(DataAddress parent, store::PieceClaim claim,
                                                 FetchOptions options) {
  std::shared_ptr<ParentLink> way = link(parent.address);
  constexpr auto kNeeded = vortex::kKeepsOpen | vortex::kStreams;
  if ((parent.abilities & kNeeded) == kNeeded) way->set_d7y(true);
  Task<Result<store::PieceInfo>> fetching = way->fetch(std::move(claim), options);
  co_return co_await fetching;
}

std::shared_ptr<ParentLink> ParentPool::link(const Address& data) {
  auto& link = links_[data];
  if (!link) link = std::make_shared<ParentLink>(*this, data, log_);
  return link;
}

grpc::Channel& ParentPool::channel(const Address& upload) {
  auto& entry = channels_[upload];
  entry.used = world_.now();
  if (!entry.channel) {
    grpc::ChannelOptions options;
    if (options_.connect_grpc) {
      auto connect = [make = options_.connect_grpc, upload](Deadline deadline) {
        return make(upload, deadline);
      };
      entry.channel =
          std::make_unique<grpc::Channel>(world_, upload.to_string(), std::move(connect), options, log_);
    } else {
      entry.channel = std::make_unique<grpc::Channel>(world_, upload, options, log_);
    }
  }
  return *entry.channel;
}

std::optional<DataAddress> ParentPool::known(const Address& upload) const {
  auto found = known_.find(upload);
  if (found == known_.end() || world_.now() - found->second.learned >= kKnowledgeLasts) return std::nullopt;
  return found->second.data;
}

void ParentPool::remember(const Address& upload, DataAddress data) {
  if (known_.size() >= kMostKnowledge) known_.clear();
  known_[upload] = {std::move(data), world_.now()};
}

void ParentPool::forget(const Address& upload) {
  auto found = known_.find(upload);
  if (found == known_.end()) return;
  if (auto way = links_.find(found->second.data.address); way != links_.end()) way->second->set_d7y(false);
  known_.erase(found);
}

ParentPool::Stats ParentPool::stats() const {
  Stats stats = stats_;
  stats.links = links_.size();
  for (const auto& [address, way] : links_) stats.connections += way->connections();
  return stats;
}

Task<void> ParentPool::collect() {
  for (;;) {
    co_await sleep_for(kCollectEvery);
    auto now = world_.now();
    std::erase_if(links_, [now](const auto& entry) {
      return entry.second->collect(now) && entry.second.use_count() == 1;
    });
    std::erase_if(channels_, [&](const auto& entry) {
      return entry.second.channel->open_calls() == 0 &&
             now - entry.second.used >= Duration(options_.channel_idle_timeout);
    });
  }
}

}  // namespace d7y::swarm
