// What user threads and the loop share about one download. The loop fills it, users wait on it.
#pragma once

#include <d7y/download.h>
#include <d7y/error.h>

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <string>

#include "base/bytes.h"
#include "base/result.h"
#include "fetch/download.h"
#include "store/task_facts.h"

namespace d7y::capi {

class Transfer {
 public:
  // Bytes kept for a slow reader before the loop stops reading ahead.
  static constexpr std::size_t kRoom = 4 << 20;

  // `wake` tells the loop that there is room again; called on user threads, with the lock held: the loop may
  // be gone once end() was called.
  void on_room(std::function<void()> wake);

  // ---- The loop's side
  void set_task(std::string id);
  void set_headers(const store::Headers& headers);
  void set_progress(const fetch::Progress& progress);
  // Takes bytes for read(); says whether there is room for more.
  bool put(std::string bytes);
  bool has_room();
  // The end of everything; the first call counts.
  void end(const Result<void>& outcome);

  // ---- The users' side
  // ok, or how it failed; D7Y_ETIMEOUT while it runs.
  d7y_code wait(std::uint64_t timeout_ms);
  bool ended();
  d7y_code read(void* buffer, std::size_t size, std::size_t* length, std::uint64_t timeout_ms);
  void progress(d7y_progress& out);
  // Both give pointers that stay good as long as the transfer.
  const char* task_id();
  const char* header(const char* name);
  // Somebody delivers by callback: wait() holds until delivered().
  void expect_delivery() { delivering_ = true; }
  void delivered(bool refused);

 private:
  using Clock = std::chrono::steady_clock;
  d7y_code outcome_locked();
  template <class Ready>
  bool wait_locked(std::unique_lock<std::mutex>& lock, std::uint64_t timeout_ms, Ready ready);

  std::mutex mutex_;
  std::condition_variable changed_;
  std::function<void()> wake_;
  Clock::time_point began_ = Clock::now(), ended_at_{};
  bool ended_ = false, delivering_ = false;
  d7y_code code_ = D7Y_OK;
  std::string message_;
  int status_ = 0;
  fetch::Progress progress_;
  std::string task_id_;
  std::map<std::string, std::string> headers_;  // by lower-case name
  std::deque<std::string> chunks_;
  std::size_t used_ = 0, buffered_ = 0;  // used_: of the first chunk
  bool room_wanted_ = false;
};

}  // namespace d7y::capi
