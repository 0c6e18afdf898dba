#include "base/task.h"

#include <cstdio>

#include "base/scope.h"

namespace d7y {

void Event::unqueue() {
  if (previous_ == nullptr) return;
  previous_->next_ = next_;
  next_->previous_ = previous_;
  previous_ = next_ = nullptr;
}

TaskRoot::~TaskRoot() = default;

void TaskRoot::fire() {
  if (started_) {
    // Queued a second time at the task's end, when its stack is gone.
    auto self = scope_ != nullptr ? scope_->unlink(*this) : nullptr;
    return;
  }
  started_ = true;
  task_.handle().promise().root = this;
  resume(task_.handle());
}

void TaskRoot::resume(std::coroutine_handle<> handle) {
  auto* outer = std::exchange(loop_.running_, this);
  handle.resume();
  loop_.running_ = outer;
  if (task_.handle().done()) loop_.make_ready(*this);
}

Scope::~Scope() {
  while (first_ != nullptr) {
    if (loop_.running() == first_) {
      std::fputs("d7y: a scope was destroyed from inside one of its own tasks\n", stderr);
      std::abort();
    }
    auto root = unlink(*first_);
  }
}

void Scope::spawn(Task<void> task) {
  auto* root = new TaskRoot(loop_, std::move(task));
  root->scope_ = this;
  root->after_ = first_;
  if (first_ != nullptr) first_->before_ = root;
  first_ = root;
  ++size_;
  loop_.make_ready(*root);
}

void Scope::cancel() {
  while (first_ != nullptr) loop_.bury(unlink(*first_));
}

std::unique_ptr<TaskRoot> Scope::unlink(TaskRoot& root) {
  (root.before_ != nullptr ? root.before_->after_ : first_) = root.after_;
  if (root.after_ != nullptr) root.after_->before_ = root.before_;
  root.before_ = root.after_ = nullptr;
  root.scope_ = nullptr;
  root.unqueue();
  if (--size_ == 0) idle_.notify_all();
  return std::unique_ptr<TaskRoot>(&root);
}

Task<Result<void>> Scope::idle(Deadline deadline) {
  while (size_ > 0) CO_OK(co_await idle_.wait(deadline));
  co_return Result<void>{};
}

}  // namespace d7y
