#include "base/notify.h"

namespace d7y {

Signal::~Signal() {
  while (first_ != nullptr) first_->end(Wait::Outcome::kClosed);
}

void Signal::notify_all() {
  // Woken tasks run later, so nobody can join the list while it is emptied.
  while (first_ != nullptr) first_->end(Wait::Outcome::kNotified);
}

bool Signal::notify_one() {
  if (first_ == nullptr) return false;
  first_->end(Wait::Outcome::kNotified);
  return true;
}

Signal::Wait Signal::wait(Deadline deadline) { return Wait(this, deadline); }

void Signal::append(Wait& wait) {
  wait.before_ = last_;
  wait.after_ = nullptr;
  (last_ != nullptr ? last_->after_ : first_) = &wait;
  last_ = &wait;
}

void Signal::unlink(Wait& wait) {
  (wait.before_ != nullptr ? wait.before_->after_ : first_) = wait.after_;
  (wait.after_ != nullptr ? wait.after_->before_ : last_) = wait.before_;
  wait.before_ = wait.after_ = nullptr;
}

Signal::Wait::~Wait() {
  if (signal_ != nullptr && resumption_.bound() && outcome_ == Outcome::kWaiting) signal_->unlink(*this);
}

void Signal::Wait::begin() {
  Loop& loop = resumption_.loop();
  signal_->append(*this);
  if (deadline_.passed(loop.now())) {
    end(Outcome::kTimeout);
  } else if (!deadline_.is_never()) {
    alarm_.set(loop, deadline_.when());
  }
}

void Signal::Wait::end(Outcome outcome) {
  signal_->unlink(*this);
  outcome_ = outcome;
  alarm_.cancel();
  resumption_.resume_later();
}

Result<void> Signal::Wait::await_resume() {
  switch (outcome_) {
    case Outcome::kNotified: return {};
    case Outcome::kClosed: return Error(ErrorCode::kClosed, "what was waited for is gone");
    default: return Error(ErrorCode::kTimeout, "the deadline passed");
  }
}

Task<void> sleep_until(TimePoint when) {
  Signal nothing;
  if (auto woken = co_await nothing.wait(Deadline::at(when)); !woken) co_return;
}

Task<void> sleep_for(Duration how_long) {
  Loop& loop = co_await this_loop();
  co_await sleep_until(Deadline::in(how_long, loop.now()).when());
}

}  // namespace d7y
