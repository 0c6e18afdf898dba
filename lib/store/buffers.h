// The buffers that pieces are received into: few, of one size, used again and again, so that they
// stay in a core's L2 cache (so at most 512 KiB) and cost no allocation per piece.
#pragma once

#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

#include "base/bytes.h"

namespace d7y::store {

class BufferPool {
 public:
  // Keeps at most `idle` unused buffers of `size` bytes.
  BufferPool(std::size_t size, std::size_t idle) : size_(size), idle_limit_(idle) {}
  BufferPool(const BufferPool&) = delete;
  BufferPool& operator=(const BufferPool&) = delete;

  // A buffer on loan; goes back at its end. Must not outlive the pool.
  class Loan {
   public:
    Loan() = default;
    Loan(Loan&& other) noexcept
        : pool_(std::exchange(other.pool_, nullptr)), memory_(std::move(other.memory_)) {}
    Loan& operator=(Loan&& other) noexcept {
      give_back();
      pool_ = std::exchange(other.pool_, nullptr);
      memory_ = std::move(other.memory_);
      return *this;
    }
    ~Loan() { give_back(); }

    explicit operator bool() const { return memory_ != nullptr; }
    MutableBytes bytes() const {
      return memory_ ? MutableBytes(memory_.get(), pool_->size_) : MutableBytes();
    }

   private:
    friend class BufferPool;
    Loan(BufferPool& pool, std::unique_ptr<std::byte[]> memory) : pool_(&pool), memory_(std::move(memory)) {}
    void give_back();
    BufferPool* pool_ = nullptr;
    std::unique_ptr<std::byte[]> memory_;
  };

  Loan borrow();
  std::size_t size() const { return size_; }
  std::size_t lent() const { return lent_; }

 private:
  std::size_t size_, idle_limit_, lent_ = 0;
  std::vector<std::unique_ptr<std::byte[]>> idle_;
};

}  // namespace d7y::store
