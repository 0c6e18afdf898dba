#include "world/uv_world.h"

#include <fcntl.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <utility>
#include <vector>

#include "world/descriptor.h"
#include "world/machine.h"
#include "world/poller.h"
#include "world/pool_work.h"
#include "world/posix_files.h"
#include "world/receiving_threads.h"
#include "world/socket_stream.h"
#include "world/uv_network.h"

namespace d7y::world {
namespace {

using namespace std::chrono_literals;

// How long ready work runs before sockets and clocks are looked at again, and how many events pass
// between two looks at the clock.
constexpr Duration kTurn = 200us;
constexpr std::size_t kEventsPerLook = 8;

// Threads that receive into files; the environment's D7Y_RECEIVING_THREADS says another number, 0 for none.
// Two write about as fast as one file can be written; one processor has no use for them.
constexpr unsigned kReceivingThreads = 2, kMostReceivingThreads = 8;

unsigned receiving_threads() {
  if (const char* wanted = std::getenv("D7Y_RECEIVING_THREADS"); wanted != nullptr)
    return static_cast<unsigned>(
        std::min<unsigned long>(std::strtoul(wanted, nullptr, 10), kMostReceivingThreads));
  return uv_available_parallelism() > 1 ? kReceivingThreads : 0;
}

// Takes the places of standard input, output and error where they are closed: libuv ends a process that
// closes such a descriptor, and what the host prints would go into a file of the store. Whoever reads or
// writes them is told what he was told before (EBADF). They stay: the host may have put others in their
// places meanwhile.
void hold_standard_descriptors() {
  constexpr int kModes[] = {O_WRONLY, O_RDONLY, O_RDONLY};
  for (int number = 0; number <= 2; ++number) {
    if (::fcntl(number, F_GETFD) < 0) (void)::open("/dev/null", kModes[number] | O_CLOEXEC);
  }
}

// Whether there are as many as a loop takes. libuv ends the process if its very first loop finds none.
bool descriptors_left() {
  constexpr std::size_t kOfLoop = 8;
  std::array<Descriptor, kOfLoop> probes;
  return std::all_of(probes.begin(), probes.end(), [](Descriptor& probe) {
    probe = Descriptor(::fcntl(0, F_DUPFD_CLOEXEC, 0));
    return static_cast<bool>(probe);
  });
}

Duration read_clock(clockid_t clock) {
  timespec now{};
  ::clock_gettime(clock, &now);
  return std::chrono::seconds(now.tv_sec) + std::chrono::nanoseconds(now.tv_nsec);
}

// xoshiro256** (Blackman and Vigna), seeded by the kernel.
class Generator {
 public:
  Generator() {
    auto* at = reinterpret_cast<char*>(state_.data());
    auto left = sizeof state_;
    while (left > 0) {
      auto count = ::getrandom(at, left, 0);
      if (count <= 0) continue;  // EINTR; with these flags it cannot fail otherwise
      at += count;
      left -= static_cast<std::size_t>(count);
    }
    state_[0] |= 1;  // all zero would stay zero
  }
  std::uint64_t next() {
    auto result = std::rotl(state_[1] * 5, 7) * 9;
    auto shifted = state_[1] << 17;
    state_[2] ^= state_[0];
    state_[3] ^= state_[1];
    state_[1] ^= state_[2];
    state_[0] ^= state_[3];
    state_[2] ^= shifted;
    state_[3] = std::rotl(state_[3], 45);
    return result;
  }

 private:
  std::array<std::uint64_t, 4> state_{};
};

// The process whose libuv has a pool of threads; 0: none yet.
std::atomic<pid_t> pool_owner{0};

// At its end libuv joins the threads of its pool, and crashes in a child of fork(), which has none of them
// (1.44). This runs before, and lets such a child have a pool of its own to end. Without descriptors it
// cannot.
__attribute__((destructor)) void give_forked_child_a_pool() {
  const auto owner = pool_owner.load();
  uv_loop_t loop;
  if (owner == 0 || owner == ::getpid() || uv_loop_init(&loop) != 0) return;
  uv_work_t nothing{};
  uv_queue_work(&loop, &nothing, [](uv_work_t*) {}, [](uv_work_t*, int) {});
  uv_run(&loop, UV_RUN_DEFAULT);
  uv_loop_close(&loop);
}

struct Work final : PoolRequest {
  uv_work_t request{};
  std::function<void()> work;
  void give_up() {}  // it runs to its end
};

class UvLoopWorld final : public UvWorld {
 public:
  ~UvLoopWorld() override {
    receiving_.reset();
    if (!begun_) return;
    if (sockets_.type != UV_UNKNOWN_HANDLE) uv_poll_stop(&sockets_);  // not so if begin() has failed
    for (auto* handle : {reinterpret_cast<uv_handle_t*>(&sockets_), reinterpret_cast<uv_handle_t*>(&alarm_),
                         reinterpret_cast<uv_handle_t*>(&wake_)}) {
      if (handle->type != UV_UNKNOWN_HANDLE) uv_close(handle, nullptr);
    }
    // Also waits for the work that still runs on the pool.
    while (uv_loop_close(&uv_) == UV_EBUSY) uv_run(&uv_, UV_RUN_ONCE);
  }

  // 0, or libuv's error number.
  int begin() {
    hold_standard_descriptors();
    if (!descriptors_left()) return UV_EMFILE;
    pid_t nobody = 0;
    pool_owner.compare_exchange_strong(nobody, ::getpid());
    if (int failed = uv_loop_init(&uv_); failed != 0) return failed;
    begun_ = true;
    auto poller = Poller::make();
    if (!poller) return UV_EMFILE;
    poller_ = std::move(*poller);
    if (int failed = uv_async_init(&uv_, &wake_, [](uv_async_t*) {}); failed != 0) return failed;
    uv_timer_init(&uv_, &alarm_);
    if (int failed = uv_poll_init(&uv_, &sockets_, poller_->descriptor()); failed != 0) return failed;
    sockets_.data = this;
    uv_poll_start(&sockets_, UV_READABLE, [](uv_poll_t* handle, int, int) {
      static_cast<UvLoopWorld*>(handle->data)->poller_->poll();
    });
    network_.emplace(uv_, *poller_);
    if (const auto threads = receiving_threads(); threads > 0) receiving_.emplace(*this, threads);
    loop_.set_now(clock());
    return 0;
  }

  Loop& loop() override { return loop_; }
  WallTime wall_now() override { return WallTime(read_clock(CLOCK_REALTIME)); }
  std::uint64_t random() override { return generator_.next(); }
  Network& network() override { return *network_; }
  Files& files() override { return files_; }
  Receiver* receiver() override { return receiving_ ? &*receiving_ : nullptr; }
  MachineFacts machine() override { return read_machine_facts(); }
  MachineLoad load() override {
    if (!load_meter_) load_meter_.emplace();
    return load_meter_->measure();
  }

  Task<void> offload(std::function<void()> work) override {
    Claim<Work> claim(std::make_unique<Work>());
    claim->request.data = &*claim;
    claim->work = std::move(work);
    // Fails only for a null callback.
    uv_queue_work(
        &uv_, &claim->request, [](uv_work_t* request) { static_cast<Work*>(request->data)->work(); },
        [](uv_work_t* request, int) { PoolRequest::finish(static_cast<Work*>(request->data)); });
    while (!claim->finished) {
      if (auto woken = co_await claim->done.wait(Deadline::never()); !woken) break;
    }
  }

  void post(std::function<void()> work) override {
    {
      std::lock_guard lock(posted_mutex_);
      posted_.push_back(std::move(work));
      has_posted_.store(true, std::memory_order_release);
    }
    uv_async_send(&wake_);
  }

  void run() override {
    run_until([] { return false; }, Deadline::never());
  }

  bool run_until(const std::function<bool()>& done, Deadline deadline) override {
    if (running_) {
      std::fputs("d7y: a world was run from inside itself\n", stderr);
      std::abort();
    }
    running_ = true;
    SigpipeBlock no_signal;
    bool reached = false;
    for (;;) {
      work();
      if ((reached = done())) break;
      if (stop_.exchange(false)) break;
      if (deadline.passed(loop_.now())) break;
      wait(deadline);
    }
    running_ = false;
    return reached;
  }

  void stop() override {
    stop_.store(true);
    uv_async_send(&wake_);
  }

 private:
  static TimePoint clock() { return TimePoint(read_clock(CLOCK_MONOTONIC)); }

  // One turn: what others posted, what is due, what is ready.
  void work() {
    loop_.set_now(clock());
    if (has_posted_.load(std::memory_order_acquire)) {
      std::vector<std::function<void()>> posted;
      {
        std::lock_guard lock(posted_mutex_);
        posted.swap(posted_);
        has_posted_.store(false, std::memory_order_relaxed);
      }
      for (auto& function : posted) function();
    }
    loop_.fire_timers();
    while (loop_.run_ready(kEventsPerLook)) {
      if (clock() - loop_.now() > kTurn) break;
    }
  }

  // Sleeps in libuv until something happens, or looks only when work is left.
  void wait(Deadline deadline) {
    auto until = std::min(loop_.next_timer(), deadline.when());
    auto left = until == TimePoint::max() ? Duration::max() : until - clock();
    bool at_once = loop_.has_ready() || has_posted_.load(std::memory_order_relaxed) ||
                   stop_.load(std::memory_order_relaxed) || left <= Duration::zero();
    if (!at_once) set_alarm(until, left);
    uv_run(&uv_, at_once ? UV_RUN_NOWAIT : UV_RUN_ONCE);
  }

  void set_alarm(TimePoint until, Duration left) {
    if (until == alarm_for_ &&
        (uv_is_active(reinterpret_cast<uv_handle_t*>(&alarm_)) != 0 || until == TimePoint::max())) {
      return;
    }
    alarm_for_ = until;
    if (until == TimePoint::max()) {
      uv_timer_stop(&alarm_);
      return;
    }
    uv_update_time(&uv_);
    auto milliseconds = std::chrono::ceil<std::chrono::milliseconds>(left).count();
    // uv_run looks at timers before it polls. One that is due already would fire there and leave the poll
    // without an end; a loop told to stop does not wait.
    uv_timer_start(
        &alarm_, [](uv_timer_t* alarm) { uv_stop(alarm->loop); }, static_cast<std::uint64_t>(milliseconds),
        0);
  }

  uv_loop_t uv_{};
  uv_async_t wake_{};
  uv_timer_t alarm_{};
  uv_poll_t sockets_{};
  bool begun_ = false, running_ = false;
  TimePoint alarm_for_ = TimePoint::max();

  std::unique_ptr<Poller> poller_;
  Loop loop_;
  std::optional<UvNetwork> network_;
  PosixFiles files_{*this};
  Generator generator_;
  std::optional<ReceivingThreads> receiving_;
  std::optional<LoadMeter> load_meter_;

  std::atomic<bool> stop_{false};
  std::atomic<bool> has_posted_{false};
  std::mutex posted_mutex_;
  std::vector<std::function<void()>> posted_;
};

}  // namespace

Result<std::unique_ptr<UvWorld>> make_uv_world() {
  auto world = std::make_unique<UvLoopWorld>();
  if (int failed = world->begin(); failed != 0) {
    return error(ErrorCode::kExhausted, "making an event loop: {}; raise the limit of open files (ulimit -n)",
                 uv_strerror(failed));
  }
  return std::unique_ptr<UvWorld>(std::move(world));
}

}  // namespace d7y::world
