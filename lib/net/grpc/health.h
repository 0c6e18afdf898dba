// grpc.health.v1.Health: tells orchestrators and peers whether a service here takes calls.
//
//   Health health;
//   health.attach(server);
//   health.set("", Health::Serving::kYes);
//
// Rust peers ask for "" before they use a manager or scheduler, Go schedulers before they use a
// seed; an unknown name is NOT_FOUND for Check and SERVICE_UNKNOWN for Watch.
#pragma once

#include <map>
#include <string>

#include "net/grpc/server.h"

namespace d7y::grpc {

class Health {
 public:
  enum class Serving : std::uint8_t { kUnknown = 0, kYes = 1, kNo = 2 };

  // Knows only "", not serving yet.
  Health();

  // May be attached to several servers; must outlive their calls.
  void attach(Server& server);

  void set(const std::string& service, Serving serving);
  // Everything kNo, and stays so whatever set() says: for shutting down.
  void shut_down();

 private:
  std::map<std::string, Serving> services_;
  bool down_ = false;
  Signal changed_;
};

// "/grpc.health.v1.Health/Check" over `channel`: ok only if `service` answers SERVING, kUnavailable if
// it says anything else.
class Channel;
Task<Result<void>> check_health(Channel& channel, std::string service, Deadline deadline);

}  // namespace d7y::grpc
