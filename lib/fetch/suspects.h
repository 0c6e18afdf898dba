// Whose bytes are not taken. Pure.
//
// Each piece is as its sender said it is; that is all a peer can be held to while content arrives. When the
// whole then is not what its digest says, somebody sent something else than asked for, and nobody can say
// who. So all who gave pieces of it are suspects: they are not asked for this task again. When the right
// content is here, piece is compared with piece: who gave a wrong one lied, and is not asked for anything for
// a while.
//
//   suspects.suspect(task_id, evidence, now);              // the whole was wrong
//   if (suspects.may_give(task_id, peer_id, host_id, now)) ...
//   for (auto& liar : suspects.judge(task_id, pieces_now, now)) log(liar.host_id);   // the whole is right
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/deadline.h"

namespace d7y::fetch {

class Suspects {
 public:
  // One piece of content that was wrong as a whole.
  struct Evidence {
    std::uint32_t number = 0, crc = 0;
    std::uint64_t length = 0;      // bytes
    std::string peer_id, host_id;  // who gave it; the host's may not be known (empty)
  };

  // How long suspects are left out of their task, and liars out of everything. A first lie may not be the
  // peer's own: it may have relayed what a sick origin or another peer sent. So the first ban is short, and
  // each further one within `remembered` after the last is twice as long, up to `longest`.
  struct Terms {
    Duration suspects = std::chrono::minutes(30);
    Duration first = std::chrono::seconds(30), longest = std::chrono::minutes(10);
    Duration remembered = std::chrono::hours(1);
  };
  Suspects() = default;
  explicit Suspects(Terms terms) : terms_(terms) {}

  // Remembers `evidence`, the pieces that came from peers, of at most 64 tasks and 65536 pieces each.
  void suspect(const std::string& task_id, std::vector<Evidence> evidence, TimePoint now);
  // The task's content was wrong lately, and has not been right since.
  bool distrusted(const std::string& task_id, TimePoint now) const;
  bool may_give(const std::string& task_id, const std::string& peer_id, const std::string& host_id,
                TimePoint now) const;

  // The right content is here: `crc_of` tells the sum of a piece of a length in it. Returns those pieces that
  // were wrong, one for each peer, and bans their hosts.
  using CrcOf = std::function<std::optional<std::uint32_t>(std::uint32_t number, std::uint64_t length)>;
  std::vector<Evidence> judge(const std::string& task_id, const CrcOf& crc_of, TimePoint now);
  // Nobody is to blame: the origin's content is not what was expected either.
  void acquit(const std::string& task_id) { cases_.erase(task_id); }

 private:
  struct Case {
    TimePoint since{};
    std::vector<Evidence> evidence;
  };
  struct Ban {
    TimePoint until{};
    Duration lasted{};
  };
  void ban(const std::string& host_id, TimePoint now);

  Terms terms_;
  std::map<std::string, Case> cases_;
  std::map<std::string, Ban> bans_;  // by host
};

}  // namespace d7y::fetch
