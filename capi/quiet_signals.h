// Threads of the library take no signals: those belong to the host program.
#pragma once

#include <pthread.h>
#include <signal.h>

namespace d7y::capi {

// While it lives, threads that its own thread starts begin with all signals blocked, but for those that a
// thread causes itself: a host that reports crashes sees those of its callbacks, too.
class QuietSignals {
 public:
  QuietSignals() {
    sigset_t quiet;
    sigfillset(&quiet);
    for (int own : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS}) sigdelset(&quiet, own);
    pthread_sigmask(SIG_SETMASK, &quiet, &before_);
  }
  ~QuietSignals() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  QuietSignals(const QuietSignals&) = delete;
  QuietSignals& operator=(const QuietSignals&) = delete;

 private:
  sigset_t before_;
};

}  // namespace d7y::capi
