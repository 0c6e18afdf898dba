#include "loop_thread.h"

#include <pthread.h>

#include <system_error>

#include "quiet_signals.h"

namespace d7y::capi {

Result<std::unique_ptr<LoopThread>> LoopThread::start(const char* name) {
  TRY(auto world, world::make_uv_world());
  std::unique_ptr<LoopThread> self(new LoopThread(std::move(world)));
  try {
    QuietSignals quiet;
    self->thread_ = std::thread([world = self->world_.get()] { world->run(); });
  } catch (const std::system_error& problem) {
    return error(ErrorCode::kExhausted, "start a thread: {}", problem.what());
  }
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
