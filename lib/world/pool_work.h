// One piece of work on libuv's thread pool, and the right to hear of its end.
//
// The request itself lives on the heap until libuv has done with it; the one who waits holds a
// Claim. A claim that goes early (its task was cancelled) leaves the request to clean up after itself.
#pragma once

#include <memory>
#include <utility>

#include "base/notify.h"

namespace d7y::world {

struct PoolRequest {
  virtual ~PoolRequest() = default;
  // Runs when libuv is done with the request, on the loop's thread.
  static void finish(PoolRequest* request) {
    request->finished = true;
    if (request->abandoned) {
      delete request;
    } else {
      request->done.notify_all();
    }
  }
  Signal done;
  bool finished = false;
  bool abandoned = false;
};

template <class Request>
class Claim {
 public:
  explicit Claim(std::unique_ptr<Request> request) : request_(request.release()) {}
  Claim(const Claim&) = delete;
  Claim& operator=(const Claim&) = delete;
  ~Claim() {
    if (request_->finished) {
      delete request_;
    } else {
      request_->abandoned = true;
      request_->give_up();
    }
  }
  Request* operator->() const { return request_; }
  Request& operator*() const { return *request_; }

 private:
  Request* request_;
};

}  // namespace d7y::world
