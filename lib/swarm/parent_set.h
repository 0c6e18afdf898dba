// Which parent is asked for the next piece. Pure: observations and a time in, decisions out.
//
// One ParentSet belongs to one download. It knows for every parent what it really delivered lately,
// how it failed, and what is still on its way; it prefers whoever would finish first, so a slow
// parent is used exactly as much as it helps. Parents never measured count as fast as the best one
// known: they get a piece soon and then are known, too.
//
//   auto id = set.add(peer_id, host_id, now);
//   if (auto best = set.pick(having, piece_length, now)) { set.asked(*best, piece_length, now); ... }
//   set.received(id, bytes, now);  set.finished(id, left, now)  or  set.failed(id, left, code, now);
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/deadline.h"
#include "base/result.h"

namespace d7y::swarm {

struct ParentPolicy {
  // Requests on the way to one parent: at least `window_min`, and up to `window_max` as far as the
  // parent delivers a piece faster than a request needs to get there (performance: 2-4 pieces).
  std::uint32_t window_min = 2, window_max = 4;
  Duration window_time = std::chrono::milliseconds(50);
  // The same while there are only pieces that the parent itself still receives: they come no faster than they
  // get there, and it reads an origin in several places at once.
  std::uint32_t window_arriving = 6;
  // A second request to one parent only while fewer than this are on their way from all: many pieces at once
  // come late all of them, and are taken from others who could bring them.
  std::uint32_t spread = 8;
  // Rate in bytes/s of a parent before anybody has been measured.
  double rate_guess = 100e6;
  // Half of a failure's weight is forgotten after this time.
  Duration failure_half_life = std::chrono::seconds(30);
  // A parent that failed is left alone for this long, doubled for each further failure.
  Duration rest_min = std::chrono::milliseconds(200), rest_max = std::chrono::seconds(20);
  // A failing parent is given up once its remembered failures weigh this much.
  double failures_max = 6;
  // A piece is asked for a second time elsewhere if it got no byte for `stall`, or if another parent
  // would deliver all of it in less than 1/`hedge_gain` of the time that its rest still needs, and
  // that rest is at least `hedge_worth`.
  Duration stall = std::chrono::seconds(2), hedge_worth = std::chrono::milliseconds(150);
  double hedge_gain = 2.5;
  // A parent lags if half of at least so many have uplinks that are so many times faster, by their own words,
  // and deliver as much as it does. It is asked only while nothing is on the way: a piece that comes from it
  // is late for all those as well who wait for it here.
  std::size_t lag_among = 4;
  double lag = 4;
  double usual_share = 8;  // a child's part of an uplink, where nothing has been measured
  // Whoever is behind those he shares with by so many pieces and this part of the content asks for a piece
  // more, and for a second one when it is twice as much. For a parent divides its uplink evenly among
  // requests, and who has parents with many children would get less than others to the end.
  double behind_pieces = 3, behind_part = 0.01;
  std::uint32_t urgent_max = 2;
};

class ParentSet {
 public:
  using Id = std::uint32_t;

  explicit ParentSet(ParentPolicy policy = {}) : policy_(policy) {}

  // A parent that may be asked. The same peer id again gives the same parent with its history.
  Id add(std::string peer_id, std::string host_id, TimePoint now);
  // It is gone; it is picked no more. Its number stays valid for what is still on its way.
  void remove(Id id);

  // What the parent says it could send us, in bytes/s (SyncHost, or the scheduler's word); 0: it does not
  // say. Believed as an upper bound, and only until the parent was measured.
  void hint(Id id, double rate) { parents_[id].hint = rate; }

  // How many of all pieces the parent has, and then how many we have ourselves: who is behind may ask for
  // more. Those that had everything when they came are no measure.
  void parent_has(Id id, std::uint32_t pieces, std::uint32_t all);
  void we_have(std::uint32_t pieces, std::uint32_t all);
  // Whether a request to this parent would be one of those that only somebody makes who is behind.
  bool urgent(Id id) const;

  // The parent's whole uplink in bytes/s, as it says; 0: it does not say.
  void capacity(Id id, double rate) { parents_[id].capacity = rate; }

  const std::string& peer_id(Id id) const { return parents_[id].peer_id; }
  const std::string& host_id(Id id) const { return parents_[id].host_id; }
  std::size_t size() const { return parents_.size(); }

  // The best of `having` (those who have the piece) for a piece of `length` bytes; none if all are
  // busy up to their window, resting or given up.
  std::optional<Id> pick(std::span<const Id> having, std::uint64_t length, TimePoint now) const;
  // May this parent be asked for a piece of `length` bytes right now? `arriving`: one that it still receives;
  // `dealt`: and that others wait for us to take.
  bool usable(Id id, std::uint64_t length, TimePoint now, bool arriving = false, bool dealt = false) const;
  // When a parent that rests can be asked again; TimePoint::max() if none rests.
  TimePoint next_return(TimePoint now) const;
  // Given up for good: it sent wrong bytes, broke the protocol or failed too often.
  bool given_up(Id id) const { return parents_[id].gone || parents_[id].banned; }
  // Nobody is left who could ever be asked.
  bool exhausted() const;

  // What happened. `left` is what had not arrived of the piece when it ended.
  void asked(Id id, std::uint64_t length, TimePoint now);
  void received(Id id, std::uint64_t bytes, TimePoint now);
  void finished(Id id, TimePoint now);
  void cancelled(Id id, std::uint64_t left, TimePoint now);
  // kCorrupt and kProtocol ban the parent.
  void failed(Id id, std::uint64_t left, ErrorCode code, TimePoint now);

  // A piece that is on its way.
  struct Running {
    Id parent = 0;
    std::uint64_t length = 0, left = 0;
    TimePoint asked{}, last_byte{};
  };
  // Who should be asked for the same piece as well, now that nothing else is left to ask for; none
  // if waiting is as good. The caller takes whoever is first and cancels the other.
  std::optional<Id> hedge(const Running& running, std::span<const Id> having, TimePoint now) const;

  // Measured bytes/s, 0 before anything was; for progress and logs.
  double rate(Id id) const { return parents_[id].rate; }
  std::uint32_t in_flight(Id id) const { return parents_[id].in_flight; }

 private:
  struct Parent {
    std::string peer_id, host_id;
    double rate = 0;           // bytes/s, weighted towards the last seconds
    double hint = 0;           // bytes/s
    double capacity = 0;       // bytes/s
    std::uint32_t pieces = 0;  // that it has
    bool equal = false;        // it had not everything when it came
    std::uint32_t in_flight = 0;
    std::uint64_t on_the_way = 0;  // bytes asked for that have not arrived
    std::uint64_t counted = 0;     // bytes since counting_from
    TimePoint counting_from{};
    double failures = 0;  // as of failed_at
    TimePoint failed_at{}, rests_until{};
    bool banned = false, gone = false;
  };

  double failures(const Parent& parent, TimePoint now) const;
  bool lags(Id id) const;
  double expected_rate(const Parent& parent) const;
  std::uint32_t window(const Parent& parent, std::uint64_t length) const;
  Duration time_to_deliver(const Parent& parent, std::uint64_t length, TimePoint now) const;
  void measure(Parent& parent, TimePoint now, bool pause);
  void ended(Parent& parent, std::uint64_t left, TimePoint now);

  ParentPolicy policy_;
  std::vector<Parent> parents_;
  std::uint32_t on_their_way_ = 0;  // requests to all parents
  std::uint32_t busy_ = 0;          // parents with any
  std::uint32_t urgent_ = 0;        // requests that may be made beside those, being behind
};

}  // namespace d7y::swarm
