// What a client does with the parents it was given: which piece it asks whom for, and when it gives up.
#pragma once

#include <memory>

#include "sim/swarm/engine.h"

namespace d7y::sim::swarm {

class ClientModel {
 public:
  virtual ~ClientModel() = default;
  // An answer: follow these parents from now on.
  virtual void offered(PeerNumber self, const std::vector<PeerNumber>& parents) = 0;
  // `parent` has the piece, or (cut-through) receives it.
  virtual void parent_has(PeerNumber self, PeerNumber parent, std::uint32_t piece, bool complete) = 0;
  virtual void parent_gone(PeerNumber self, PeerNumber parent) = 0;
  virtual void parent_done(PeerNumber self, PeerNumber parent) = 0;  // it has everything
  virtual void fetched(PeerNumber self, const Fetch& fetch) = 0;
  virtual void broken(PeerNumber self, const Fetch& fetch, bool wrong_bytes) = 0;
  // `self` is done or crashed.
  virtual void ended(PeerNumber) {}
  virtual void wake(PeerNumber) {}
  virtual void collect(PeerNumber) {}
  virtual bool cut_through() const { return false; }
  virtual bool takes_offers() const { return false; }
  virtual std::uint32_t most_responses() const { return 5; }
  virtual Seconds notices_silence() const { return 10; }
};

std::unique_ptr<ClientModel> rust_client(Engine& engine);
std::unique_ptr<ClientModel> d7y_client(Engine& engine);
// Kraken's agent: rarest first, three requests to each neighbour, whole pieces only.
std::unique_ptr<ClientModel> mesh_client(Engine& engine);
// In order, four requests to the one parent, whole pieces only.
std::unique_ptr<ClientModel> tree_client(Engine& engine);

}  // namespace d7y::sim::swarm
