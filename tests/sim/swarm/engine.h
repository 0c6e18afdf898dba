// The simulated swarm: peers, their transfers, and the messages between them and the tracker. What a client
// does with parents and pieces is its model's (client.h).
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <queue>
#include <utility>
#include <vector>

#include "sim/rng.h"
#include "sim/swarm/links.h"
#include "sim/swarm/swarm.h"
#include "sim/swarm/tracker.h"
#include "swarm/parent_set.h"

namespace d7y::sim::swarm {

using Bits = std::vector<std::uint64_t>;
inline bool bit(const Bits& bits, std::uint32_t at) { return (bits[at / 64] >> (at % 64) & 1) != 0; }
inline void set_bit(Bits& bits, std::uint32_t at) { bits[at / 64] |= std::uint64_t{1} << (at % 64); }
inline void clear_bit(Bits& bits, std::uint32_t at) { bits[at / 64] &= ~(std::uint64_t{1} << (at % 64)); }

inline constexpr PeerNumber kOrigin = ~PeerNumber{0};  // as the parent of a transfer

// One piece on its way to a peer.
struct Fetch {
  PeerNumber parent = kOrigin;
  std::uint32_t piece = 0;
  FlowId flow = kNoFlow;  // none: all is sent that the parent had, it waits for the rest (cut-through)
  Seconds started = 0;
  double counted = 0;  // bytes told to the client's ParentSet
  bool rival = false;
  bool beyond = false;  // its parent deals it to another child
  bool waits = false;   // for its turn among those that the child asked its parent for
};

struct ParentSlot {
  PeerNumber peer = 0;
  bool gone = false;
  std::uint32_t id = 0;  // in the d7y client's ParentSet
  double use_seen = 0;   // of its uplink, as a Rust client knows it
  Seconds use_seen_at = -1e9;
  std::optional<std::uint32_t> deal;  // its place in the parent's AnnouncePlan
};

enum class PeerStatus : std::uint8_t { kAbsent, kWaiting, kDownloading, kSource, kDone, kFailed, kCrashed };

struct Peer {
  PeerStatus status = PeerStatus::kAbsent;
  bool seed = false, slow = false, lies = false, rust = false;
  bool from_peers = false;  // a seed that may not ask the origin
  std::uint32_t site = 0;
  std::uint32_t have_count = 0;
  std::uint8_t responses = 0;
  Seconds asked = 0, first_answer = -1, done_at = -1;
  Bits have, taken;  // complete; on their way
  Bits given;        // of a seed: pieces that it sends or has sent to somebody
  std::vector<ParentSlot> parents;
  std::vector<PeerNumber> children;  // who follows it, also when it is gone
  std::vector<Fetch> fetches;
  // Of a seed that deals.
  std::vector<PeerNumber> dealt_to;
  std::vector<PeerNumber> later;  // told of everything when there is nothing to deal any more
  Seconds began_dealing = -1;
  bool dealt_out = false, line_set = false;
  Bits dealt;                       // pieces that one of them was told of
  PeerNumber dealer = kOrigin;      // of a Rust client: the parent that deals to it
  std::vector<std::uint32_t> told;  // by that one, and not fetched yet
  // Rust clients.
  std::vector<std::uint8_t> announced;                       // which parents said they have a piece
  std::vector<std::uint8_t> dispatched;                      // pieces that left the collector
  std::deque<std::pair<Seconds, std::uint32_t>> collecting;  // when a piece leaves it at last
  std::deque<std::uint32_t> queue;                           // pieces that may be fetched
  // d7y clients.
  std::unique_ptr<d7y::swarm::ParentSet> set;
  bool hungry = false, wake_set = false;
  Seconds idle_since = -1;

  bool live() const { return status != PeerStatus::kAbsent && status < PeerStatus::kFailed; }
  bool downloading() const { return status == PeerStatus::kDownloading; }
};

class ClientModel;

class Engine final : public Answers {
 public:
  Engine(const Scenario& scenario, std::uint64_t seed);
  ~Engine() override;
  Result run();

  // For client models.
  const Scenario& scenario() const { return scenario_; }
  Seconds now() const { return now_; }
  Peer& peer(PeerNumber number) { return peers_[number]; }
  Random& random() { return random_; }
  Links& links() { return links_; }
  // Bytes per second that the peer can send.
  double uplink(PeerNumber number) const { return links_.uplink(host_of(number)); }
  std::uint32_t pieces() const { return task_.pieces; }
  double piece_bytes(std::uint32_t piece) const;
  void fetch(PeerNumber child, PeerNumber parent, std::uint32_t piece, bool rival);
  void stop_fetch(PeerNumber child, std::size_t at);  // of child's fetches
  void reschedule(PeerNumber peer);                   // its parents are used up
  void wake(PeerNumber peer, Seconds after);          // calls the model's wake()
  void collect_at(PeerNumber peer, Seconds when);     // calls the model's collect()
  // Following a parent, and not any more.
  void follow(PeerNumber child, PeerNumber parent);
  bool deals(PeerNumber parent, PeerNumber child) const { return peers_[child].dealer == parent; }
  void deal_out(PeerNumber parent);  // tells those to whom it deals of more pieces

  // What the tracker says.
  void parents(PeerNumber peer, const std::vector<PeerNumber>& parents) override;
  void deal(PeerNumber seed, PeerNumber peer, bool later) override;
  void back_to_source(PeerNumber peer) override;
  void refused(PeerNumber peer) override;
  void trigger(HostNumber seed, std::uint32_t attempt, bool from_peers) override;
  void wake_at(Seconds when) override;

 private:
  enum class Kind : std::uint8_t {
    kArrive,
    kRegister,
    kStarted,
    kSourceStarted,
    kReschedule,
    kFinished,
    kLost,
    kAnswer,
    kCollect,
    kWake,
    kCrash,
    kTick,
    kReadSource,
    kNotice,
    kLine,
    kPause,
    kResume,
  };
  struct Event {
    Seconds when;
    std::uint64_t order;
    Kind kind;
    std::uint32_t a, b;
    bool operator>(const Event& other) const {
      return when != other.when ? when > other.when : order > other.order;
    }
  };
  struct Answer {
    enum class Kind : std::uint8_t { kParents, kSource, kRefused } kind;
    std::vector<PeerNumber> parents;
  };

  ClientModel& model(PeerNumber peer) { return peers_[peer].rust ? *rust_ : *client_; }
  HostNumber host_of(PeerNumber peer) const { return peer + 1; }  // 0 is the origin
  Seconds delay(PeerNumber a, PeerNumber b) const;
  void build();
  double rate_of(const Peer& peer) const;  // up and down
  Seconds up_to(Seconds most);             // by chance
  void at(Seconds when, Kind kind, std::uint32_t a, std::uint32_t b = 0);
  void happen(const Event& event);
  void push_answer(PeerNumber peer, Answer answer);
  void take_answer(PeerNumber peer, const Answer& answer);
  void read_source(PeerNumber peer);
  void flow_ended(FlowId flow);
  void sent(PeerNumber child, std::size_t at);
  bool unmodified(PeerNumber number) const;
  std::size_t going(PeerNumber child, PeerNumber parent) const;
  std::size_t at_once(PeerNumber parent) const;
  bool takes_turns(PeerNumber child, PeerNumber parent) const;
  void next_turn(PeerNumber child, PeerNumber parent);
  void piece_arrived(PeerNumber child, std::size_t at);
  void piece_broken(PeerNumber child, std::size_t at);
  void done(PeerNumber peer);
  void leaves_table(PeerNumber child);
  void serve_line(PeerNumber seed);
  void crash(PeerNumber peer);
  void notice_gone(PeerNumber child, PeerNumber parent);
  bool upstream_incomplete(const Fetch& fetch) const;
  void after_tracker();
  Result summary();

  Scenario scenario_;
  Random random_;
  TaskSpec task_;
  Links links_;
  std::vector<Peer> peers_;
  std::unique_ptr<Tracker> tracker_;
  std::unique_ptr<ClientModel> client_, rust_;
  std::priority_queue<Event, std::vector<Event>, std::greater<>> events_;
  std::vector<Answer> answers_;
  std::vector<std::uint32_t> free_answers_;
  std::uint64_t order_ = 0;
  Seconds now_ = 0, tick_at_ = 1e18;
  std::uint32_t running_ = 0;  // peers that are not seeds and not at an end
  Result result_;
  double bound_ = 0;
  Bits injected_;
  Seconds sample_at_ = 0;
};

}  // namespace d7y::sim::swarm
