// Where the brain's records live: dense, at stable addresses, addressed by handles that notice when what they
// meant is gone. A handle is 8 bytes, finding its record is an index and a comparison.
//
//   Slab<PeerRecord> peers;
//   auto handle = peers.insert();
//   if (PeerRecord* peer = peers.find(handle)) ...
#pragma once

#include <array>
#include <compare>
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
    made.live = true;
    if (++made.generation == 0) made.generation = 1;
    ++size_;
    return {index, made.generation};
  }
  void erase(RecordHandle handle) {
    if (find(handle) == nullptr) return;
    auto& dead = slot(handle.index);
    dead.record = Record();
    dead.live = false;
    dead.next_free = free_;
    free_ = handle.index;
    --size_;
  }

  // Null if it was erased. Stays where it is until then.
  Record* find(RecordHandle handle) {
    if (handle.generation == 0 || handle.index >= end_) return nullptr;
    auto& found = slot(handle.index);
    return found.live && found.generation == handle.generation ? &found.record : nullptr;
  }
  const Record* find(RecordHandle handle) const { return const_cast<Slab*>(this)->find(handle); }

  // By position, for walks and dense tables: those below end() that are live().
  std::uint32_t end() const { return end_; }
  bool live(std::uint32_t index) const { return const_cast<Slab*>(this)->slot(index).live; }
  Record& at(std::uint32_t index) { return slot(index).record; }
  const Record& at(std::uint32_t index) const { return const_cast<Slab*>(this)->slot(index).record; }
  RecordHandle handle_of(std::uint32_t index) const {
    return {index, const_cast<Slab*>(this)->slot(index).generation};
  }

  std::size_t size() const { return size_; }
  std::size_t memory() const { return chunks_.size() * sizeof(Chunk); }  // bytes

 private:
  static constexpr std::uint32_t kChunk = 1024;
  static constexpr std::uint32_t kNone = ~std::uint32_t{0};
  struct Slot {
    Record record;
    std::uint32_t generation = 0;
    std::uint32_t next_free = kNone;
    bool live = false;
  };
  using Chunk = std::array<Slot, kChunk>;
  Slot& slot(std::uint32_t index) { return (*chunks_[index / kChunk])[index % kChunk]; }

  std::vector<std::unique_ptr<Chunk>> chunks_;
  std::uint32_t end_ = 0;
  std::uint32_t free_ = kNone;
  std::size_t size_ = 0;
};

}  // namespace d7y::scheduler
