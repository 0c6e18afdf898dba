// A peer's id in 24 bytes. Nearly all ids are "<ip>-<hostname>-<uuid>" with the host's own first two parts
// and perhaps "-seed"; of those only the UUID is kept. Any other id is kept as it is.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace d7y::scheduler {

class PeerName {
 public:
  PeerName() = default;
  // `host_prefix` is "<ip>-<hostname>-" of the peer's host.
  PeerName(std::string_view id, std::string_view host_prefix);

  bool is(std::string_view id, std::string_view host_prefix) const;
  std::string text(std::string_view host_prefix) const;

 private:
  enum class Kind : std::uint8_t { kText, kUuid, kSeedUuid };
  Kind kind_ = Kind::kText;
  std::uint64_t high_ = 0, low_ = 0;    // the UUID
  std::unique_ptr<std::string> other_;  // the whole id
};

}  // namespace d7y::scheduler
