#include "store/buffers.h"

namespace d7y::store {

BufferPool::Loan BufferPool::borrow() {
  ++lent_;
  if (idle_.empty()) return Loan(*this, std::unique_ptr<std::byte[]>(new std::byte[size_]));
  auto memory = std::move(idle_.back());
  idle_.pop_back();
  return Loan(*this, std::move(memory));
}

void BufferPool::Loan::give_back() {
  if (!memory_) return;
  --pool_->lent_;
  if (pool_->idle_.size() < pool_->idle_limit_) {
    pool_->idle_.push_back(std::move(memory_));
  } else {
    memory_.reset();
  }
}

}  // namespace d7y::store
