#include "world/receiving_threads.h"

#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <system_error>
#include <utility>

#include "base/crc32.h"
#include "world/files.h"
#include "world/socket_stream.h"
#include "world/world.h"

namespace d7y::world {
namespace {

constexpr std::size_t kBuffer = 256 << 10;  // what stays in a core's L2 cache beside the rest
// How long a stream may bring nothing before its lender has it back: longer than a sender on the same machine
// waits for its turn on a processor.
constexpr int kPatience = 8;  // milliseconds

}  // namespace

// What both threads see.
struct ReceivingThreads::Job {
  // Set before it is queued, and read only.
  int socket = -1;
  std::shared_ptr<File> file;
  std::uint64_t offset = 0, length = 0;
  std::vector<std::byte> ahead;
  World* world = nullptr;
  std::weak_ptr<Signal> changed;

  std::mutex mutex;  // of what follows
  std::condition_variable over;
  std::uint64_t taken = 0, written = 0;
  std::uint32_t crc = 0;
  int wake = -1;  // of the thread that has begun it: ends its wait for bytes
  bool begun = false, stop = false, hurry = false, ended = false;
  std::optional<Receiving::Refused> refused;

  // With the lock held, or by the only one who knows the job.
  void tell() const {
    world->post([signal = changed] {
      if (auto there = signal.lock()) there->notify_all();
    });
  }
};

class Loan final : public Receiving {
 public:
  Loan(std::shared_ptr<ReceivingThreads::Job> job, std::shared_ptr<Signal> changed)
      : job_(std::move(job)), changed_(std::move(changed)) {}
  ~Loan() override { stop(); }
  Loan(const Loan&) = delete;
  Loan& operator=(const Loan&) = delete;

  // The descriptor to read from; -1 if the stream is not to be had.
  int borrow(SocketStream& stream) {
    int socket = stream.lend(*this);
    if (socket >= 0) stream_ = &stream;
    return socket;
  }

  State state() override {
    State now;
    {
      std::lock_guard lock(job_->mutex);
      now = {job_->taken, job_->written, job_->crc, job_->ended};
      // Taken to the end only once it is the lender's again.
      if (!now.ended && now.written > 0)
        now.taken = std::min(now.written - job_->ahead.size(), job_->length - 1);
    }
    if (now.ended) give_back();
    return now;
  }
  Signal& changed() override { return *changed_; }
  void hurry() override {
    std::lock_guard lock(job_->mutex);
    if (std::exchange(job_->hurry, true) || job_->ended) return;
    job_->tell();
  }
  void stop() override {
    {
      std::unique_lock lock(job_->mutex);
      job_->stop = true;
      if (!job_->begun) job_->ended = true;  // whoever finds it in the queue lets it lie
      std::uint64_t one = 1;
      if (!job_->ended) (void)!::write(job_->wake, &one, sizeof one);
      job_->over.wait(lock, [this] { return job_->ended; });
      // What was given along is not lost with a loan that never began.
      if (!job_->begun && !job_->ahead.empty()) {
        job_->refused = Refused{std::move(job_->ahead), Error(ErrorCode::kCancelled, "not written yet")};
      }
    }
    give_back();
  }
  std::optional<Refused> refused() override {
    std::lock_guard lock(job_->mutex);
    return std::exchange(job_->refused, std::nullopt);
  }

 private:
  void give_back() {
    if (auto* stream = std::exchange(stream_, nullptr)) stream->give_back();
  }

  SocketStream* stream_ = nullptr;  // null: it has its stream back
  std::shared_ptr<ReceivingThreads::Job> job_;
  std::shared_ptr<Signal> changed_;
};

ReceivingThreads::~ReceivingThreads() {
  {
    std::lock_guard lock(mutex_);
    ending_ = true;
  }
  come_.notify_all();
  for (auto& thread : threads_) thread.join();
}

// There is a thread that does nothing else. With the lock held.
bool ReceivingThreads::has_hand() {
  if (idle_ > waiting_.size()) return true;
  if (threads_.size() >= most_) return false;
  // They take no signals: those belong to the host program.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  bool started = true;
  try {
    threads_.emplace_back([this] { serve(); });
    pthread_setname_np(threads_.back().native_handle(), "d7y-receive");
  } catch (const std::system_error&) {
    started = false;
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return started;
}

std::unique_ptr<Receiving> ReceivingThreads::start(Stream& stream, std::shared_ptr<File> file,
                                                   const Order& order, Bytes ahead) {
  auto* socket = dynamic_cast<SocketStream*>(&stream);
  if (socket == nullptr || ahead.size() > kBuffer) return nullptr;
  auto job = std::make_shared<Job>();
  auto changed = std::make_shared<Signal>();
  job->file = std::move(file);
  job->offset = order.offset;
  job->length = order.length;
  job->crc = order.crc;
  job->ahead.assign(ahead.begin(), ahead.end());
  job->world = &world_;
  job->changed = changed;
  auto loan = std::make_unique<Loan>(job, std::move(changed));
  {
    std::lock_guard lock(mutex_);
    std::erase_if(waiting_, [](const auto& other) {
      std::lock_guard look(other->mutex);
      return other->ended;
    });
    job->socket = has_hand() ? loan->borrow(*socket) : -1;
    if (job->socket >= 0) waiting_.push_back(job);
  }
  if (job->socket < 0) {
    std::lock_guard lock(job->mutex);
    job->ahead.clear();
    job->ended = true;
    return nullptr;
  }
  come_.notify_one();
  return loan;
}

void ReceivingThreads::serve() {
  std::vector<std::byte> buffer(kBuffer);
  Descriptor wake(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  std::unique_lock lock(mutex_);
  for (;;) {
    ++idle_;
    come_.wait(lock, [this] { return ending_ || !waiting_.empty(); });
    --idle_;
    if (waiting_.empty()) return;
    auto job = std::move(waiting_.front());
    waiting_.pop_front();
    lock.unlock();
    {
      std::lock_guard look(job->mutex);
      if (!job->ended) {
        job->begun = true;
        job->wake = wake.get();
      }
    }
    if (job->begun) move(*job, buffer);
    job.reset();
    lock.lock();
  }
}

// False when it is to end.
bool ReceivingThreads::write(Job& job, Bytes bytes) {
  auto offset = job.offset + job.written;
  auto crc = crc32(bytes, job.crc);
  auto written = job.file->write_at(offset, bytes);
  std::lock_guard lock(job.mutex);
  if (!written) {
    job.refused = Receiving::Refused{{bytes.begin(), bytes.end()}, std::move(written).error()};
    return false;
  }
  job.written += bytes.size();
  job.crc = crc;
  if (job.hurry) job.tell();
  return !job.stop;
}

// The socket is empty. False when it is to end.
bool ReceivingThreads::wait_for_more(Job& job, std::vector<std::byte>& buffer, std::size_t& filled) {
  bool hurry = false;
  {
    std::lock_guard lock(job.mutex);
    if (job.stop) return false;
    hurry = job.hurry;
  }
  if (hurry && filled > 0) {
    if (!write(job, Bytes(buffer).first(std::exchange(filled, 0)))) return false;
  }
  std::array<pollfd, 2> watched{pollfd{job.socket, POLLIN, 0}, pollfd{job.wake, POLLIN, 0}};
  int ready = ::poll(watched.data(), watched.size(), kPatience);
  if (ready == 0) return false;
  if (ready > 0 && watched[1].revents != 0) {
    std::uint64_t count = 0;  // it may have been meant for the loan before this one
    (void)!::read(job.wake, &count, sizeof count);
    std::lock_guard lock(job.mutex);
    return !job.stop;
  }
  return true;
}

void ReceivingThreads::move(Job& job, std::vector<std::byte>& buffer) {
  std::size_t filled = job.ahead.size();
  std::copy(job.ahead.begin(), job.ahead.end(), buffer.begin());
  std::uint64_t taken = 0;
  bool going = true;
  while (going && taken < job.length) {
    auto room = std::min<std::uint64_t>(buffer.size() - filled, job.length - taken);
    auto got = ::recv(job.socket, buffer.data() + filled, room, MSG_DONTWAIT);
    if (got < 0 && errno == EINTR) continue;
    // An end or an error is found by the lender's own read.
    if (got == 0 || (got < 0 && errno != EAGAIN && errno != EWOULDBLOCK)) break;
    if (got > 0) {
      filled += static_cast<std::size_t>(got);
      taken += static_cast<std::uint64_t>(got);
      bool all = taken == job.length;
      if (filled == buffer.size() || all) {
        going = write(job, Bytes(buffer).first(filled));
        filled = 0;
      }
      // One that gave less than asked for is empty.
      if (all || static_cast<std::uint64_t>(got) == room) continue;
    }
    going = going && wait_for_more(job, buffer, filled);
  }
  bool refused = false;
  {
    std::lock_guard lock(job.mutex);
    refused = job.refused.has_value();
  }
  if (filled > 0 && !refused) write(job, Bytes(buffer).first(filled));
  std::lock_guard lock(job.mutex);
  job.taken = taken;
  job.ended = true;
  job.tell();
  job.over.notify_all();
}

}  // namespace d7y::world
