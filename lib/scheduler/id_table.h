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

  // An id's place in the table: made once for several looks.
  struct Key {
    std::uint64_t hash;
  };
  // Also has that place brought near.
  Key key(std::string_view id) const {
    const Key made{siphash24(as_bytes(id), key_, ~key_)};
    part_of(made).prefetch(low(made));
    return made;
  }

  // The position of the entry with that key for which `matches(position)` holds.
  template <class Matches>
  std::optional<std::uint32_t> find(Key key, Matches matches) const {
    return part_of(key).find(low(key), matches);
  }
  // What find() is going to look at first.
  std::optional<std::uint32_t> likely(Key key) const {
    return find(key, [](std::uint32_t) { return true; });
  }
  // The caller has made sure that it is not there yet.
  void insert(Key key, std::uint32_t position) {
    part_of(key).insert({low(key), position});
    ++size_;
  }
  void erase(Key key, std::uint32_t position) {
    if (part_of(key).erase({low(key), position})) --size_;
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
    void prefetch(std::uint32_t hash) const {
      if (!slots_.empty()) __builtin_prefetch(&slots_[hash & mask()]);
    }
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
    std::size_t size_ = 0;
    std::size_t used_ = 0;  // with erased ones
  };

  // The part is chosen by one half of the hash, the place in it by the other.
  static std::uint32_t low(Key key) { return static_cast<std::uint32_t>(key.hash); }
  Part& part_of(Key key) { return parts_[key.hash >> 32 & (kParts - 1)]; }
  const Part& part_of(Key key) const { return parts_[key.hash >> 32 & (kParts - 1)]; }

  std::uint64_t key_;
  std::array<Part, kParts> parts_;
  std::size_t size_ = 0;
};

}  // namespace d7y::scheduler
