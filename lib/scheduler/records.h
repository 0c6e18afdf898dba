// What the brain remembers: hosts, tasks, and peers (one download of one task by one host). Times are the
// world's monotonic clock; whoever shows them to people converts.
#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/deadline.h"
#include "scheduler/compact_list.h"
#include "scheduler/host_health.h"
#include "scheduler/peer_name.h"
#include "scheduler/short_list.h"
#include "scheduler/slab.h"

namespace d7y::scheduler {

struct HostRecord;
struct TaskRecord;
struct PeerRecord;
using HostHandle = Handle<HostRecord>;
using TaskHandle = Handle<TaskRecord>;
using PeerHandle = Handle<PeerRecord>;

// No position in a list or table.
inline constexpr std::uint32_t kNowhere = ~std::uint32_t{0};

// Upload capacity is counted in twenty-fourths of a child, because a child spreads its demand over its one to
// twelve parents.
inline constexpr std::uint32_t kChildUnits = 24;
inline constexpr std::size_t kMaxParents = 12;
// A place in a tree: half of a peer's uplink; and what slow children may have beside those that have all.
inline constexpr std::uint32_t kBranch = kChildUnits / 2;
inline constexpr std::uint32_t kSlowRoom = kChildUnits / 4;

// An uplink of so many bits per second, or more, is not known: dfdaemon says so where the interface does not
// tell its speed (Dragonfly scheduler 0.17).
inline constexpr std::uint64_t kUnknownBandwidth = 400'000'000'000;

enum class PeerState : std::uint8_t {
  kPending,
  kReceivedEmpty,
  kReceivedNormal,
  kRunning,
  kBackToSource,
  kSucceeded,
  kFailed,
  kLeave,
};
std::string_view name_of(PeerState state);  // Dragonfly's names

enum class TaskState : std::uint8_t { kPending, kRunning, kSucceeded, kFailed };
std::string_view name_of(TaskState state);

// A network site: an IDC and the location inside it. Interned, so comparing two is comparing numbers.
struct Site {
  std::string idc;       // lower case; may be empty
  std::string location;  // "country|region|..."
};

// What a host says about itself, as far as decisions need it.
struct HostFacts {
  bool seed = false;
  bool disable_shared = false;
  std::uint16_t port = 0;  // of the gRPC upload server
  std::string id, hostname, ip;
  std::string idc, location;
  std::uint64_t max_tx_bandwidth = 0;  // bits per second; 0: unknown
  Duration interval{0};                // between announcements; 0: not said
  std::string announcement;            // the whole message, opaque here
};

struct HostRecord {
  // Asked of every candidate, to the first ones of the facts (slab.h).
  HostHealth health;
  std::uint32_t site = 0;
  std::uint32_t used_units = 0;  // by children of all its peers
  float uplink = 0;              // logarithm to base 2 of what it says of it in bits/s; 0: it does not say
  HostFacts facts;
  std::uint32_t first_peer = kNowhere;
  std::uint32_t peers = 0, finished = 0;  // of them those that succeeded
  std::string prefix;                     // "<ip>-<hostname>-", what its peers' ids begin with
  TimePoint created{}, updated{};
  TimePoint unreachable_until{};  // as a seed: nobody answered there
  TimePoint deals_from{};         // as a seed: it did not take to dealing before
  std::uint32_t seed_position = kNowhere;
  std::uint32_t question = 0;  // whether it is there, under way; 0: none
  bool silent = false;         // it did not answer that, and has said nothing since
};

// One parent of a child, held by the child.
struct ParentEdge {
  PeerHandle parent;
  std::uint32_t host = 0;       // position of the parent's
  std::uint16_t units = 0;      // of the parent's capacity
  std::uint8_t pieces = 0;      // that came from it; 255: or more
  bool failed : 1 = false;      // the child said so
  bool cross_site : 1 = false;  // counted as inbound by the child's site
};

// Of one child, best first.
using ParentList = ShortList<PeerHandle, kMaxParents>;

// A parent that a child does not want for a while.
struct BlockedParent {
  PeerHandle parent;
  TimePoint until{};
  // One that did not fail, but had nothing more to give, is wanted again when it has more than so many.
  std::uint32_t pieces = std::numeric_limits<std::uint32_t>::max();
  // And when it reads the origin, if it did not then.
  bool to_read = false;
  bool served = false;  // gave pieces and did not fail: it will be given again
};

// What a peer needs only while its download is in progress.
struct Progress {
  CompactList<ParentEdge> parents;  // at most kMaxParents
  CompactList<BlockedParent> blocked;
  TimePoint deadline{};  // when waiting ends somehow; only while waiting
  TimePoint last_piece{};
  TimePoint look_again{};      // when more parents are looked for; zero: not
  std::uint8_t responses = 0;  // sent on its stream
  std::uint8_t offers = 0;     // of those, the ones that nobody asked for
  std::uint8_t looks = 0;      // how often more parents were looked for
  bool rescheduling = false;   // waits for other parents, not for its first
  bool last_resort = false;    // waited its patience out already
  bool untold = false;         // has parents that it was not sent yet
};

struct PeerRecord {
  // Asked of every candidate (slab.h).
  HostHandle host;
  TaskHandle task;
  std::uint64_t range_start = 0, range_length = 0;  // bytes; length 0: the whole task
  std::uint32_t finished_pieces = 0;
  std::uint32_t children_units = 0;
  std::uint32_t open_position = kNowhere;  // in its task's open parents
  PeerState state = PeerState::kPending;
  std::uint8_t priority = 0;
  std::uint8_t depth = 0;        // hops from a source of the whole content
  bool waiting : 1 = false;      // in its task's queue
  bool holds_token : 1 = false;  // may read the origin
  bool need_back_to_source : 1 = false;
  bool disable_back_to_source : 1 = false;
  bool has_stream : 1 = false;
  bool takes_offers : 1 = false;    // listens while it downloads
  bool counted_root : 1 = false;    // among its task's roots
  bool counted_usable : 1 = false;  // among its task's usable peers
  bool token_serves : 1 = false;    // what it reads from the origin is for others as well
  bool counted_seed : 1 = false;    // among its task's seeds
  std::uint16_t concurrent_pieces = 8;
  std::uint32_t cost_ms = 0;  // of the whole download, once it has ended
  // The rest.
  std::unique_ptr<Progress> progress;
  PeerName name;
  TimePoint created{}, updated{};
  std::uint32_t task_before = kNowhere, task_after = kNowhere;
  std::uint32_t host_before = kNowhere, host_after = kNowhere;

  bool partial() const { return range_length != 0; }
  bool terminal() const { return state >= PeerState::kSucceeded; }
};

static_assert(sizeof(PeerRecord) <= 120, "a peer takes two lines of memory in its slab");

// A piece that somebody read from the origin, for StatTask.
struct SourcePiece {
  std::uint32_t number = 0;
  std::uint32_t cost_ms = 0;
  std::uint32_t crc32 = 0;
  bool has_crc32 = false;
  std::uint64_t offset = 0, length = 0;
  TimePoint created{};
};

// Unmodified clients of one site, with uplinks of about the same speed, that pass on what they get, the
// nearest to the source first.
struct Tree {
  CompactList<PeerHandle> nodes;
  std::uint32_t from = 0;      // those before it are full or gone
  std::uint8_t band = 0;       // of the uplinks: the logarithm to base 2, rounded; 0: unknown
  std::unique_ptr<Tree> next;  // of another band
};

// A herd of unmodified clients that came together, placed in two trees of which each of them is an inner node
// of one and a leaf of the other (brain_twins.cc).
struct Twins {
  PeerHandle dealer;                // tells the roots of the two trees of different pieces
  std::vector<PeerHandle> herd;     // even places are the first tree's inner nodes, odd ones the second's
  std::array<PeerHandle, 2> under;  // whose children the roots of this herd's trees become
  std::uint32_t placed = 0;         // of the herd, those that were answered
};

// A range that is read from the origin now, by peers that share.
struct RangeReaders {
  std::uint64_t start = 0, length = 0;
  std::uint32_t count = 0;
};

// Open parents of one site.
struct SiteParents {
  std::uint32_t site = 0;
  std::uint32_t inbound = 0;        // edges that come from other sites
  CompactList<std::uint32_t> open;  // positions of peers with room for children
  Tree tree;                        // and the next ones
  std::uint32_t open_roots = 0;     // of the open ones, the first, which have everything or read the origin
};

struct TaskRecord {
  std::string id;
  std::string download;  // the serialized Download of the last cold registration, opaque here
  std::uint32_t origin = 0;
  std::int64_t content_length = -1;  // bytes; -1: unknown
  std::uint64_t piece_length = 0;
  std::uint32_t piece_count = 0;
  TaskState state = TaskState::kPending;
  std::uint32_t first_peer = kNowhere;
  std::uint32_t peers = 0;
  std::uint32_t roots = 0;                // peers that have everything or read the origin
  std::uint32_t usable = 0;               // peers that may be parents, with or without room
  std::uint32_t open = 0;                 // of those, the ones with room, of all sites
  std::uint32_t tokens = 0;               // peers that may read the origin now
  std::uint32_t readers = 0;              // of those, the ones that read all of it and share
  std::vector<RangeReaders> ranges;       // and those that read a part
  std::uint32_t back_to_source_told = 0;  // how often, ever
  std::vector<SiteParents> sites;
  std::vector<PeerHandle> waiting;  // first come, first served; may hold ones that do not wait any more
  std::size_t waiting_from = 0;     // those before it are done
  std::uint32_t waiters = 0;        // peers that wait
  std::uint32_t look_from = 0;      // how far behind it the last search came without success
  std::vector<SourcePiece> pieces;
  // The seed that was asked to fetch it.
  HostHandle seed;
  std::uint32_t seed_attempt = 0;                             // 0: none is at work
  std::uint64_t seed_range_start = 0, seed_range_length = 0;  // what it was asked for; length 0: all
  TimePoint seed_asked{};
  std::vector<std::string> seeds_failed;  // host ids, since the last success
  // Peers on seeds that may be parents, and one more seed that was asked to become such a one.
  CompactList<std::uint32_t> seeds;
  HostHandle more_seed;
  std::uint32_t more_attempt = 0;  // 0: none is at work
  TimePoint more_rest_until{};     // none is asked before
  TimePoint seed_rest_until{};     // no seed is asked before
  TimePoint refused_until{};       // the origin said no (4xx); whoever asks shall hear it itself
  std::uint32_t refusals = 0;      // how often since
  TimePoint created{}, updated{};
  TimePoint kept_until{};  // the ledger has it until then
  std::unique_ptr<Twins> twins;
  // Until when unmodified clients wait for others, and at the latest; zero: nobody does.
  TimePoint gather_until{}, gather_longest{};
  std::uint32_t gathered = 0;  // who waited when somebody came the last time
  bool dirty = false;
  TimePoint moved{};          // when a peer got its latest piece
  bool watched = false;       // looked at each second
  bool orphaned = false;      // its last root went while others download it
  bool wants_origin = false;  // among those that wait for a token of their origin
  bool wants_seed = false;    // among those that nobody fetches, because nobody may
};

}  // namespace d7y::scheduler
