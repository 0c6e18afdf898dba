// A hash table from ids to positions in a slab that stores no ids: the records have them, and a record knows
// whether it is the one. 12 bytes an entry at the usual fill. The hash is keyed, so strangers who choose ids
// cannot choose collisions.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "base/siphash.h"

namespace d7y::scheduler {

class IdTable {
 public:
  explicit IdTable(std::uint64_t key) : key_(key) { slots_.resize(16); }

  // The position of the entry for `id` for which `matches(position)` holds.
  template <class Matches>
  std::optional<std::uint32_t> find(std::string_view id, Matches matches) const {
    const auto hash = hash_of(id);
    for (std::size_t at = hash & mask();; at = (at + 1) & mask()) {
      const auto& slot = slots_[at];
      if (slot.position == kEmpty) return std::nullopt;
      if (slot.hash == hash && slot.position != kErased && matches(slot.position)) return slot.position;
    }
  }
  // The caller has made sure that it is not there yet.
  void insert(std::string_view id, std::uint32_t position) {
    if ((used_ + 1) * 4 > slots_.size() * 3) grow();
    put({hash_of(id), position});
    ++size_;
    ++used_;
  }
  void erase(std::string_view id, std::uint32_t position) {
    const auto hash = hash_of(id);
    for (std::size_t at = hash & mask(); slots_[at].position != kEmpty; at = (at + 1) & mask()) {
      if (slots_[at].hash == hash && slots_[at].position == position) {
        slots_[at].position = kErased;
        --size_;
        return;
      }
    }
  }
  std::size_t size() const { return size_; }
  std::size_t memory() const { return slots_.capacity() * sizeof(Slot); }  // bytes

 private:
  static constexpr std::uint32_t kEmpty = ~std::uint32_t{0};
  static constexpr std::uint32_t kErased = kEmpty - 1;
  struct Slot {
    std::uint32_t hash = 0;
    std::uint32_t position = kEmpty;
  };

  std::size_t mask() const { return slots_.size() - 1; }
  std::uint32_t hash_of(std::string_view id) const {
    return static_cast<std::uint32_t>(siphash24(as_bytes(id), key_, ~key_));
  }
  void put(Slot entry) {
    std::size_t at = entry.hash & mask();
    while (slots_[at].position != kEmpty) at = (at + 1) & mask();
    slots_[at] = entry;
  }
  void grow() {
    std::vector<Slot> old(slots_.size() * (size_ * 2 >= slots_.size() ? 2 : 1));
    old.swap(slots_);
    for (const auto& entry : old) {
      if (entry.position < kErased) put(entry);
    }
    used_ = size_;
  }

  std::uint64_t key_;
  std::vector<Slot> slots_;  // a power of two
  std::size_t size_ = 0;
  std::size_t used_ = 0;  // with erased ones
};

}  // namespace d7y::scheduler
