// A peer's id in 24 bytes. Nearly all ids are "<ip>-<hostname>-<uuid>" with the host's own first two parts
// and perhaps "-seed"; of those only the UUID is kept. Any other id is kept as it is.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <variant>

namespace d7y::scheduler {

// An id taken apart, to be compared with many names.
struct PeerIdParts {
  explicit PeerIdParts(std::string_view id);

  std::string_view id;
  std::string_view prefix;           // what is before the UUID
  std::uint64_t high = 0, low = 0;   // the UUID
  bool usual = false, seed = false;  // it has a UUID; and "-seed" behind it
};

class PeerName {
 public:
  PeerName() = default;
  // `host_prefix` is "<ip>-<hostname>-" of the peer's host.
  PeerName(std::string_view id, std::string_view host_prefix);

  // All but the host's part is the same.
  bool may_be(const PeerIdParts& id) const;
  bool is(const PeerIdParts& id, std::string_view host_prefix) const {
    return may_be(id) && (std::holds_alternative<Text>(kept_) || id.prefix == host_prefix);
  }
  bool is(std::string_view id, std::string_view host_prefix) const {
    return is(PeerIdParts(id), host_prefix);
  }
  std::string text(std::string_view host_prefix) const;

 private:
  struct Uuid {
    std::uint64_t high, low;
  };
  struct SeedUuid : Uuid {};
  using Text = std::unique_ptr<std::string>;

  std::variant<Text, Uuid, SeedUuid> kept_;
};

}  // namespace d7y::scheduler
