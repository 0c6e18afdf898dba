#include "loop_thread.h"

#include <pthread.h>
#include <signal.h>

#include <system_error>

namespace d7y::capi {

Result<std::unique_ptr<LoopThread>> LoopThread::start(const char* name) {
  TRY(auto world, world::make_uv_world());
  std::unique_ptr<LoopThread> self(new LoopThread(std::move(world)));
  // The thread takes no signals: they belong to the host program.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  try {
    self->thread_ = std::thread([world = self->world_.get()] { world->run(); });
  } catch (const std::system_error& problem) {
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    return error(ErrorCode::kExhausted, "start a thread: {}", problem.what());
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  pthread_setname_np(self->thread_.native_handle(), name);
  return self;
}

LoopThread::LoopThread(std::unique_ptr<world::UvWorld> world)
    : world_(std::move(world)), scope_(std::make_unique<Scope>(world_->loop())) {}

LoopThread::~LoopThread() {
  if (thread_.joinable()) {
    world_->stop();
    thread_.join();
  }
  scope_.reset();
}

}  // namespace d7y::capi
