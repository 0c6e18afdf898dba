// What origins said lately, so that of many peers that begin together one asks and tells the others. Events
// and the time go in, answers come out.
//
//   switch (stats.ask(task_id, now).what) {
//     case kKnown: ...   // another one was told this
//     case kWait: ...    // until `changed` or `until`, then ask again
//     case kLook: ...    // with found(), gave_up() or lost() afterwards, and the turn that it gave
//   }
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "base/notify.h"

namespace d7y::scheduler {

struct OriginStatsLimits {
  // So long after an origin was asked the next peer is content with what it said. A change at the origin is
  // seen this much later.
  Duration fresh = std::chrono::seconds(10);
  // Others wait so long for the one who looks, then another one looks as well.
  Duration patience = std::chrono::seconds(5);
  // So long after an origin said nothing of use everybody looks.
  Duration open = std::chrono::seconds(1);
  std::size_t most = 65'536;                // tasks
  std::size_t most_bytes = 32 * 1'048'576;  // of what is known
};

class OriginStats {
 public:
  explicit OriginStats(OriginStatsLimits limits = {}) : limits_(limits) {}

  enum class What : std::uint8_t { kKnown, kLook, kWait };
  // One telling to look, later ones have higher numbers. Only whoever has one may say what was found.
  using Turn = std::uint64_t;
  struct Entry;
  struct Answer {
    What what = What::kLook;
    Turn turn = 0;                 // kLook
    TimePoint until{};             // kWait
    std::shared_ptr<Entry> entry;  // kKnown, kWait
  };
  struct Entry {
    std::string stat;     // serialized; empty: nothing is known
    TimePoint at{};       // when the origin said it
    TimePoint looking{};  // somebody looks, and is waited for until then
    TimePoint open{};     // until then everybody looks
    Turn turn = 0;        // the latest that others wait for
    Turn told = 0;        // whose `stat` is
    Signal changed;
  };

  // `doubted`: what the one who asks was told and found to be wrong; empty: nothing.
  Answer ask(const std::string& task, TimePoint now, std::string_view doubted = {});
  // Said by the origin just now, to the one with that turn. What a later turn found stays.
  void found(const std::string& task, Turn turn, std::string stat, TimePoint now);
  // The one with that turn was told nothing that is for others; or is gone.
  void gave_up(const std::string& task, Turn turn, TimePoint now);
  void lost(const std::string& task, Turn turn);

  std::size_t size() const { return entries_.size(); }
  std::size_t bytes() const { return bytes_; }

 private:
  void clean(TimePoint now);
  std::shared_ptr<Entry> entry_for(const std::string& task, TimePoint now);
  Entry* with_turn(const std::string& task, Turn turn);
  bool over(const Entry& entry, TimePoint now) const;

  OriginStatsLimits limits_;
  std::unordered_map<std::string, std::shared_ptr<Entry>> entries_;
  std::deque<std::pair<TimePoint, std::string>> looks_;  // when each entry is looked at again
  std::size_t bytes_ = 0;
  Turn turns_ = 0;
};

}  // namespace d7y::scheduler
