// As whom a task's origin is asked. Pure.
//
// A download goes to the origin with its caller's credentials. They may end while it runs: a registry's token
// is good for minutes, a layer may take longer. Then it goes on as another caller who waits for the same
// content, the latest first; the origin's word about each of them is final.
//
//   const auto turn = accesses.turn();
//   ask the origin as accesses.now()
//   if (refused && accesses.refused(turn)) ask again
#pragma once

#include <cstdint>
#include <list>
#include <string>
#include <vector>

#include "net/http/headers.h"

namespace d7y::fetch {

// Where, and with what that is for this origin alone. A secret.
struct Access {
  std::string url;
  http::Headers headers;
  bool operator==(const Access&) const = default;
};

class Accesses {
 public:
  explicit Accesses(Access first) : now_(std::move(first)) {}

  const Access& now() const { return now_; }
  // Another number whenever now() becomes another.
  std::uint64_t turn() const { return turn_; }

  // One more caller; and one who has gone.
  using Id = std::uint64_t;
  Id add(Access access);
  void remove(Id id);

  // The origin refused what was now() at `turn`. True: there is another by now.
  bool refused(std::uint64_t turn);

 private:
  struct Caller {
    Id id = 0;
    Access access;
  };
  Access now_;
  std::uint64_t turn_ = 0;
  Id next_id_ = 1;
  std::list<Caller> callers_;  // the latest last
  std::vector<Access> refused_;
};

}  // namespace d7y::fetch
