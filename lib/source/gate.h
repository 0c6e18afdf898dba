// A bound on how many do something at once: a counting semaphore for coroutines of one loop, first
// come, first served.
//
//   CO_TRY(auto place, co_await gate.enter(deadline));   // leaves when `place` is destroyed
#pragma once

#include <cstddef>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "base/notify.h"
#include "base/result.h"
#include "base/task.h"

namespace d7y::source {

class Gate {
 public:
  class Place {
   public:
    Place() = default;
    Place(Place&& other) noexcept : gate_(std::exchange(other.gate_, nullptr)) {}
    Place& operator=(Place&& other) noexcept {
      if (this != &other) {
        leave();
        gate_ = std::exchange(other.gate_, nullptr);
      }
      return *this;
    }
    ~Place() { leave(); }
    void leave();

   private:
    friend class Gate;
    explicit Place(Gate& gate) : gate_(&gate) {}
    Gate* gate_ = nullptr;
  };

  // `places` 0: no bound.
  explicit Gate(std::size_t places) : places_(places) {}
  Gate(const Gate&) = delete;
  Gate& operator=(const Gate&) = delete;

  // Waits for a place; kExhausted when none becomes free before `deadline`.
  Task<Result<Place>> enter(Deadline deadline);
  std::size_t inside() const { return inside_; }
  std::size_t waiting() const { return waiters_.size(); }
  std::size_t places() const { return places_; }
  bool unused() const { return inside_ == 0 && waiters_.empty(); }

 private:
  struct Waiter;
  void leave();

  std::size_t places_;
  std::size_t inside_ = 0;
  std::list<Waiter*> waiters_;  // longest first
};

// One gate for everything and one per key (an origin's host and port). Gates nobody uses vanish.
class Gates {
 public:
  class Place {
   public:
    Place() = default;
    Place(Place&& other) noexcept { *this = std::move(other); }
    Place& operator=(Place&& other) noexcept;
    ~Place() { leave(); }
    void leave();

   private:
    friend class Gates;
    Gates* gates_ = nullptr;
    std::string key_;
    Gate::Place own_, total_;
  };

  // 0: no bound.
  Gates(std::size_t per_key, std::size_t total) : per_key_(per_key), total_(total) {}
  Task<Result<Place>> enter(std::string key, Deadline deadline);
  std::size_t keys() const { return gates_.size(); }

 private:
  std::size_t per_key_;
  Gate total_;
  std::map<std::string, std::unique_ptr<Gate>> gates_;
};

}  // namespace d7y::source
