#include "source/gate.h"

namespace d7y::source {

void Gate::Place::leave() {
  if (auto* gate = std::exchange(gate_, nullptr)) gate->leave();
}

// Somebody in the queue. A place granted to one who gave up in the same turn goes on to the next.
struct Gate::Waiter {
  explicit Waiter(Gate& of) : gate(of), place(of.waiters_.insert(of.waiters_.end(), this)) {}
  ~Waiter() {
    if (granted) {
      gate.leave();
    } else if (queued) {
      gate.waiters_.erase(place);
    }
  }
  Gate& gate;
  std::list<Waiter*>::iterator place;
  bool queued = true;
  bool granted = false;
  Signal signal;
};

Task<Result<Gate::Place>> Gate::enter(Deadline deadline) {
  if (places_ == 0 || (inside_ < places_ && waiters_.empty())) {
    ++inside_;
    co_return Place(*this);
  }
  Waiter waiter(*this);
  while (!waiter.granted) {
    auto woken = co_await waiter.signal.wait(deadline);
    if (!woken && !waiter.granted) {
      co_return error(ErrorCode::kExhausted, "all {} places stayed taken until the deadline", places_);
    }
  }
  waiter.granted = waiter.queued = false;
  co_return Place(*this);
}

void Gate::leave() {
  --inside_;
  if (waiters_.empty()) return;
  auto* next = waiters_.front();
  waiters_.pop_front();
  next->queued = false;
  next->granted = true;
  ++inside_;
  next->signal.notify_all();
}

Gates::Place& Gates::Place::operator=(Place&& other) noexcept {
  if (this == &other) return *this;
  leave();
  gates_ = std::exchange(other.gates_, nullptr);
  key_ = std::move(other.key_);
  own_ = std::move(other.own_);
  total_ = std::move(other.total_);
  return *this;
}

void Gates::Place::leave() {
  auto* gates = std::exchange(gates_, nullptr);
  if (gates == nullptr) return;
  own_.leave();
  total_.leave();
  const auto found = gates->gates_.find(key_);
  if (found != gates->gates_.end() && found->second->unused()) gates->gates_.erase(found);
}

Task<Result<Gates::Place>> Gates::enter(std::string key, Deadline deadline) {
  auto& gate = gates_[key];
  if (!gate) gate = std::make_unique<Gate>(per_key_);
  // The origin's own gate first: waiting for one slow origin must not hold a place of all.
  Place place;
  place.gates_ = this;
  place.key_ = std::move(key);
  auto own = co_await gate->enter(deadline);
  if (!own) co_return std::move(own).error();
  place.own_ = std::move(own).value();
  auto total = co_await total_.enter(deadline);
  if (!total) co_return std::move(total).error();
  place.total_ = std::move(total).value();
  co_return std::move(place);
}

}  // namespace d7y::source
