#include "base/loop.h"

#include <utility>

#include "base/task.h"

namespace d7y {

Loop::Loop() { ring_.previous_ = ring_.next_ = &ring_; }

Loop::~Loop() {
  empty_graveyard();
  while (ring_.next_ != &ring_) ring_.next_->unqueue();
  for (Timer* timer : heap_) timer->index_ = Timer::kUnset;
  ring_.previous_ = ring_.next_ = nullptr;
}

void Loop::make_ready(Event& event) {
  if (event.queued()) return;
  event.previous_ = ring_.previous_;
  event.next_ = &ring_;
  ring_.previous_->next_ = &event;
  ring_.previous_ = &event;
}

bool Loop::run_ready(std::size_t limit) {
  for (; limit > 0 && has_ready(); --limit) {
    Event& event = *ring_.next_;
    event.unqueue();
    in_event_ = true;
    event.fire();
    in_event_ = false;
    empty_graveyard();
  }
  return has_ready();
}

void Loop::fire_timers() {
  while (!heap_.empty() && heap_.front()->when_ <= now_) {
    Timer& timer = *heap_.front();
    remove(timer);
    in_event_ = true;
    timer.fire();
    in_event_ = false;
    empty_graveyard();
  }
}

TimePoint Loop::next_timer() const { return heap_.empty() ? TimePoint::max() : heap_.front()->when_; }

void Loop::bury(std::unique_ptr<TaskRoot> root) {
  graveyard_.push_back(std::move(root));
  if (!in_event_) empty_graveyard();
}

void Loop::empty_graveyard() {
  // Destroying a task may cancel further scopes, which then join the graveyard.
  while (!graveyard_.empty()) {
    auto dead = std::exchange(graveyard_, {});
    dead.clear();
  }
}

bool Loop::earlier(const Timer& a, const Timer& b) {
  return a.when_ != b.when_ ? a.when_ < b.when_ : a.sequence_ < b.sequence_;
}

void Loop::insert(Timer& timer) {
  timer.sequence_ = sequence_++;
  timer.index_ = heap_.size();
  heap_.push_back(&timer);
  sift_up(timer.index_);
}

void Loop::remove(Timer& timer) {
  auto index = std::exchange(timer.index_, Timer::kUnset);
  Timer* last = heap_.back();
  heap_.pop_back();
  if (last == &timer) return;
  heap_[index] = last;
  last->index_ = index;
  sift_up(index);
  sift_down(last->index_);
}

void Loop::sift_up(std::size_t index) {
  Timer* timer = heap_[index];
  while (index > 0) {
    auto parent = (index - 1) / 2;
    if (!earlier(*timer, *heap_[parent])) break;
    heap_[index] = heap_[parent];
    heap_[index]->index_ = index;
    index = parent;
  }
  heap_[index] = timer;
  timer->index_ = index;
}

void Loop::sift_down(std::size_t index) {
  Timer* timer = heap_[index];
  for (;;) {
    auto child = 2 * index + 1;
    if (child >= heap_.size()) break;
    if (child + 1 < heap_.size() && earlier(*heap_[child + 1], *heap_[child])) ++child;
    if (!earlier(*heap_[child], *timer)) break;
    heap_[index] = heap_[child];
    heap_[index]->index_ = index;
    index = child;
  }
  heap_[index] = timer;
  timer->index_ = index;
}

void Timer::set(Loop& loop, TimePoint when) {
  cancel();
  loop_ = &loop;
  when_ = when;
  loop.insert(*this);
}

void Timer::cancel() {
  if (is_set()) loop_->remove(*this);
}

}  // namespace d7y
