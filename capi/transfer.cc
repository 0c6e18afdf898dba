#include "transfer.h"

#include <algorithm>
#include <cctype>
#include <cstring>

#include "last_error.h"

namespace d7y::capi {
namespace {

std::string lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(), [](unsigned char c) { return std::tolower(c); });
  return out;
}

}  // namespace

template <class Ready>
bool Transfer::wait_locked(std::unique_lock<std::mutex>& lock, std::uint64_t timeout_ms, Ready ready) {
  // Anything over a century is for ever.
  if (timeout_ms > 3'155'760'000'000ULL) {
    changed_.wait(lock, ready);
    return true;
  }
  return changed_.wait_for(lock, std::chrono::milliseconds(timeout_ms), ready);
}

void Transfer::on_room(std::function<void()> wake) {
  std::lock_guard guard(mutex_);
  if (!ended_) wake_ = std::move(wake);
}

void Transfer::set_task(std::string id) {
  std::lock_guard guard(mutex_);
  if (task_id_.empty()) task_id_ = std::move(id);
}

void Transfer::set_headers(const store::Headers& headers) {
  std::lock_guard guard(mutex_);
  for (const auto& [name, value] : headers) headers_.emplace(lower(name), value);
}

void Transfer::set_progress(const fetch::Progress& progress) {
  std::lock_guard guard(mutex_);
  progress_ = progress;
}

bool Transfer::put(std::string bytes) {
  std::lock_guard guard(mutex_);
  buffered_ += bytes.size();
  chunks_.push_back(std::move(bytes));
  room_wanted_ = buffered_ >= kRoom;
  changed_.notify_all();
  return !room_wanted_;
}

bool Transfer::has_room() {
  std::lock_guard guard(mutex_);
  room_wanted_ = buffered_ >= kRoom;
  return !room_wanted_;
}

void Transfer::end(const Result<void>& outcome) {
  std::lock_guard guard(mutex_);
  if (ended_) return;
  ended_ = true;
  ended_at_ = Clock::now();
  if (!outcome) {
    code_ = to_code(outcome.error().code());
    message_ = outcome.error().message();
    status_ = outcome.error().status();
  }
  wake_ = nullptr;
  changed_.notify_all();
}

d7y_code Transfer::outcome_locked() { return code_ == D7Y_OK ? D7Y_OK : fail(code_, message_, status_); }

d7y_code Transfer::wait(std::uint64_t timeout_ms) {
  std::unique_lock lock(mutex_);
  if (!wait_locked(lock, timeout_ms, [this] { return ended_ && !delivering_; })) {
    return fail(D7Y_ETIMEOUT, "the download still runs");
  }
  return outcome_locked();
}

bool Transfer::ended() {
  std::lock_guard guard(mutex_);
  return ended_ && !delivering_;
}

void Transfer::delivered(bool refused) {
  std::lock_guard guard(mutex_);
  delivering_ = false;
  if (refused && code_ == D7Y_OK) {
    code_ = D7Y_ECANCELLED;
    message_ = "the data callback asked to stop";
  }
  changed_.notify_all();
}

d7y_code Transfer::read(void* buffer, std::size_t size, std::size_t* length, std::uint64_t timeout_ms) {
  *length = 0;
  std::unique_lock lock(mutex_);
  if (!wait_locked(lock, timeout_ms, [this] { return ended_ || !chunks_.empty(); })) {
    return fail(D7Y_ETIMEOUT, "no bytes yet");
  }
  if (code_ != D7Y_OK || chunks_.empty()) return outcome_locked();
  auto* out = static_cast<char*>(buffer);
  while (size > 0 && !chunks_.empty()) {
    auto& first = chunks_.front();
    auto step = std::min(size, first.size() - used_);
    std::memcpy(out, first.data() + used_, step);
    out += step;
    size -= step;
    used_ += step;
    buffered_ -= step;
    *length += step;
    if (used_ == first.size()) {
      chunks_.pop_front();
      used_ = 0;
    }
  }
  if (room_wanted_ && buffered_ <= kRoom / 2) {
    room_wanted_ = false;
    if (wake_) wake_();
  }
  return D7Y_OK;
}

void Transfer::progress(d7y_progress& out) {
  std::lock_guard guard(mutex_);
  auto milliseconds = [](Duration d) {
    return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(d).count());
  };
  out.content_length = progress_.wanted.value_or(D7Y_UNKNOWN_SIZE);
  out.completed = progress_.done;
  out.from_source = progress_.from_source;
  out.from_seeds = progress_.from_seeds;
  out.from_peers = progress_.from_peers;
  out.from_local = progress_.from_local;
  out.pieces_total = progress_.pieces_total;
  out.pieces_done = progress_.pieces_done;
  out.elapsed_ms = milliseconds((ended_ ? ended_at_ : Clock::now()) - began_);
  out.first_byte_ms = progress_.first_byte ? milliseconds(*progress_.first_byte) : D7Y_UNKNOWN_SIZE;
}

const char* Transfer::task_id() {
  std::lock_guard guard(mutex_);
  return task_id_.c_str();
}

const char* Transfer::header(const char* name) {
  std::lock_guard guard(mutex_);
  auto found = headers_.find(lower(name));
  return found == headers_.end() ? nullptr : found->second.c_str();
}

}  // namespace d7y::capi
