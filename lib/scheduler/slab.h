// Where the brain's records live: dense, at stable addresses, addressed by handles that notice when what they
// meant is gone. A handle is 8 bytes, finding its record is an index and a comparison. A record begins with
// what is asked of it most: its first 56 bytes share a line of memory with what the slab has to know.
//
//   Slab<PeerRecord> peers;
//   auto handle = peers.insert();
//   if (PeerRecord* peer = peers.find(handle)) ...
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace d7y::scheduler {

template <class Record>
struct Handle {
  std::uint32_t index = 0;
  std::uint32_t generation = 0;  // 0: means nothing
  explicit operator bool() const { return generation != 0; }
  auto operator<=>(const Handle&) const = default;
};

template <class Record>
class Slab {
 public:
  using RecordHandle = Handle<Record>;

  // A fresh record.
  RecordHandle insert() {
    std::uint32_t index = 0;
    if (free_ != kNone) {
      index = free_;
      free_ = slot(index).next_free;
    } else {
      index = end_++;
      if (index / kChunk == chunks_.size()) chunks_.push_back(std::make_unique<Chunk>());
    }
    auto& made = slot(index);
    made.next_free = kLive;
    if (++made.generation == 0) made.generation = 1;
    ++size_;
    return {index, made.generation};
  }
  void erase(RecordHandle handle) {
    if (find(handle) == nullptr) return;
    auto& dead = slot(handle.index);
    dead.record = Record();
    dead.next_free = free_;
    free_ = handle.index;
    --size_;
  }

  // Null if it was erased. Stays where it is until then.
  Record* find(RecordHandle handle) {
    if (handle.generation == 0 || handle.index >= end_) return nullptr;
    auto& found = slot(handle.index);
    return found.next_free == kLive && found.generation == handle.generation ? &found.record : nullptr;
  }
  const Record* find(RecordHandle handle) const { return const_cast<Slab*>(this)->find(handle); }

  // By position, for walks and dense tables: those below end() that are live().
  std::uint32_t end() const { return end_; }
  bool live(std::uint32_t index) const { return const_cast<Slab*>(this)->slot(index).next_free == kLive; }
  Record& at(std::uint32_t index) { return slot(index).record; }
  const Record& at(std::uint32_t index) const { return const_cast<Slab*>(this)->slot(index).record; }
  RecordHandle handle_of(std::uint32_t index) const {
    return {index, const_cast<Slab*>(this)->slot(index).generation};
  }

  // Has the beginning of a record brought near. Worth it for several that are looked at soon after, because
  // waiting for memory is most of what a look costs, and they are waited for together.
  void prefetch(std::uint32_t index) const { __builtin_prefetch(&const_cast<Slab*>(this)->slot(index)); }
  void prefetch_all(std::uint32_t index) const {
    const auto* bytes = reinterpret_cast<const char*>(&const_cast<Slab*>(this)->slot(index));
    for (std::size_t at = 0; at < sizeof(Slot); at += kLine) __builtin_prefetch(bytes + at);
  }

  std::size_t size() const { return size_; }
  std::size_t memory() const { return chunks_.size() * sizeof(Chunk); }  // bytes

 private:
  static constexpr std::uint32_t kChunk = 1024;
  static constexpr std::uint32_t kNone = ~std::uint32_t{0};
  static constexpr std::uint32_t kLive = kNone - 1;
  static constexpr std::size_t kLine = 64;
  struct alignas(kLine) Slot {
    std::uint32_t generation = 0;
    std::uint32_t next_free = kNone;  // kLive: it holds a record
    Record record;
  };
  using Chunk = std::array<Slot, kChunk>;
  Slot& slot(std::uint32_t index) { return (*chunks_[index / kChunk])[index % kChunk]; }

  std::vector<std::unique_ptr<Chunk>> chunks_;
  std::uint32_t end_ = 0;
  std::uint32_t free_ = kNone;
  std::size_t size_ = 0;
};

}  // namespace d7y::scheduler
