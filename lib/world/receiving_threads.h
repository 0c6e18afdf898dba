// The system's Receiver: a few threads that wait for streams on loan.
//
// A thread serves one loan at a time, from its order to its end. Where none is free there is no loan: the
// loop itself is a further hand then. So a loan has a processor's cache for itself, a slow one holds up
// nobody, and no lock is taken but once per buffer.
#pragma once

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "world/receiver.h"

namespace d7y::world {

class SocketStream;
class World;

class ReceivingThreads final : public Receiver {
 public:
  // Threads are started as they are needed, at most `most`. `world` is told when a loan has ended.
  ReceivingThreads(World& world, unsigned most) : world_(world), most_(most) {}
  // All loans have ended.
  ~ReceivingThreads() override;
  ReceivingThreads(const ReceivingThreads&) = delete;
  ReceivingThreads& operator=(const ReceivingThreads&) = delete;

  const Terms& terms() const override { return terms_; }
  std::unique_ptr<Receiving> start(Stream& stream, std::shared_ptr<File> file, const Order& order,
                                   Bytes ahead) override;

 private:
  friend class Loan;
  struct Job;
  bool has_hand();
  void serve();
  void move(Job& job, std::vector<std::byte>& buffer);
  static bool wait_for_more(Job& job, std::vector<std::byte>& buffer, std::size_t& filled);
  static bool write(Job& job, Bytes bytes);

  World& world_;
  const unsigned most_;
  const Terms terms_;
  std::vector<std::thread> threads_;

  std::mutex mutex_;  // of what follows
  std::condition_variable come_;
  std::deque<std::shared_ptr<Job>> waiting_;
  std::size_t idle_ = 0;  // threads that wait
  bool ending_ = false;
};

}  // namespace d7y::world
