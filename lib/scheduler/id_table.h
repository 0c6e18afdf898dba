// A hash table from ids to positions in a slab that stores no ids: the records have them, and a record knows
// whether it is the one. 12 bytes an entry at the usual fill. The hash is keyed, so strangers who choose ids
// cannot choose collisions. It is made of parts that grow each by itself, so that no insertion takes long.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "base/siphash.h"

namespace d7y::scheduler {

class IdTable {
 public:
  explicit IdTable(std::uint64_t key) : key_(key) {}

  // The position of the entry for `id` for which `matches(position)` holds.
  template <class Matches>
  std::optional<std::uint32_t> find(std::string_view id, Matches matches) const {
    const auto hash = hash_of(id);
    return part_of(hash).find(static_cast<std::uint32_t>(hash), matches);
  }
  // The caller has made sure that it is not there yet.
  void insert(std::string_view id, std::uint32_t position) {
    const auto hash = hash_of(id);
    part_of(hash).insert({static_cast<std::uint32_t>(hash), position});
    ++size_;
  }
  void erase(std::string_view id, std::uint32_t position) {
    const auto hash = hash_of(id);
    if (part_of(hash).erase({static_cast<std::uint32_t>(hash), position})) --size_;
  }
  std::size_t size() const { return size_; }
  // Bytes.
  std::size_t memory() const {
    std::size_t sum = 0;
    for (const auto& part : parts_) sum += part.memory();
    return sum;
  }

 private:
  static constexpr std::uint32_t kEmpty = ~std::uint32_t{0};
  static constexpr std::uint32_t kErased = kEmpty - 1;
  static constexpr std::size_t kParts = 256;
  struct Slot {
    std::uint32_t hash = 0;
    std::uint32_t position = kEmpty;
  };

  class Part {
   public:
    template <class Matches>
    std::optional<std::uint32_t> find(std::uint32_t hash, Matches matches) const {
      if (slots_.empty()) return std::nullopt;
      for (std::size_t at = hash & mask(); slots_[at].position != kEmpty; at = (at + 1) & mask()) {
        const auto& slot = slots_[at];
        if (slot.hash == hash && slot.position != kErased && matches(slot.position)) return slot.position;
      }
      return std::nullopt;
    }
    void insert(Slot entry) {
      if ((used_ + 1) * 4 > slots_.size() * 3) grow();
      put(entry);
      ++size_;
      ++used_;
    }
    bool erase(Slot entry) {
      if (slots_.empty()) return false;
      for (std::size_t at = entry.hash & mask(); slots_[at].position != kEmpty; at = (at + 1) & mask()) {
        if (slots_[at].hash != entry.hash || slots_[at].position != entry.position) continue;
        slots_[at].position = kErased;
        --size_;
        return true;
      }
      return false;
    }
    std::size_t memory() const { return slots_.capacity() * sizeof(Slot); }

   private:
    std::size_t mask() const { return slots_.size() - 1; }
    void put(Slot entry) {
      std::size_t at = entry.hash & mask();
      while (slots_[at].position != kEmpty) at = (at + 1) & mask();
      slots_[at] = entry;
    }
    void grow() {
      const std::size_t wanted = slots_.size() * (size_ * 2 >= slots_.size() ? 2 : 1);
      std::vector<Slot> old(std::max<std::size_t>(wanted, 4));
      old.swap(slots_);
      for (const auto& entry : old) {
        if (entry.position < kErased) put(entry);
      }
      used_ = size_;
    }

    std::vector<Slot> slots_;  // a power of two, or none yet
    std::uint32_t size_ = 0;
    std::uint32_t used_ = 0;  // with erased ones
  };

  // The part is chosen by one half of the hash, the place in it by the other.
  std::uint64_t hash_of(std::string_view id) const { return siphash24(as_bytes(id), key_, ~key_); }
  Part& part_of(std::uint64_t hash) { return parts_[hash >> 32 & (kParts - 1)]; }
  const Part& part_of(std::uint64_t hash) const { return parts_[hash >> 32 & (kParts - 1)]; }

  std::uint64_t key_;
  std::array<Part, kParts> parts_;
  std::size_t size_ = 0;
};

}  // namespace d7y::scheduler
