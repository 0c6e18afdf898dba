#include "swarm/candidate.h"

#include <set>

namespace d7y::swarm {

std::vector<Candidate> usable_parents(const google::protobuf::RepeatedPtrField<api::common::Peer>& offered,
                                      const Self& self, std::size_t most, std::vector<std::string>* ignored) {
  // Ids go into logs, and back to the scheduler.
  constexpr std::size_t kMaxId = 1024;
  std::vector<Candidate> parents;
  std::set<std::string_view> seen;
  auto ignore = [ignored](std::string why) {
    if (ignored != nullptr && ignored->size() < 16) ignored->push_back(std::move(why));
  };
  for (const auto& peer : offered) {
    if (parents.size() >= most) {
      ignore(fmt::format("{} parents are more than anybody needs", offered.size()));
      break;
    }
    const auto& host = peer.host();
    if (peer.id().empty() || peer.id().size() > kMaxId || host.id().size() > kMaxId) {
      ignore("a parent without a usable id");
      continue;
    }
    if (host.port() <= 0 || host.port() > 0xffff) {
      ignore(fmt::format("parent {} with port {}", peer.id(), host.port()));
      continue;
    }
    auto address = Address::parse_ip(host.ip(), static_cast<std::uint16_t>(host.port()));
    if (!address || address->is_unspecified()) {
      ignore(fmt::format("parent {} with an ip that is no address", peer.id()));
      continue;
    }
    if ((!host.id().empty() && host.id() == self.host_id) || *address == self.upload) {
      ignore(fmt::format("parent {} is this host itself", peer.id()));
      continue;
    }
    if (!seen.insert(peer.id()).second) {
      ignore(fmt::format("parent {} twice", peer.id()));
      continue;
    }
    Candidate parent;
    parent.peer_id = peer.id();
    parent.host_id = host.id();
    parent.upload = *address;
    parent.seed = host.type() != 0;
    parent.max_tx = host.network().max_tx_bandwidth();
    parent.tx = host.network().tx_bandwidth();
    parent.peer = peer;
    parents.push_back(std::move(parent));
  }
  return parents;
}

}  // namespace d7y::swarm
