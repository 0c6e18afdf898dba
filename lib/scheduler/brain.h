// The scheduler's decisions. A pure state machine: events and the time go in, actions come out; no socket, no
// clock, no lock, no thread. The same object runs in the server, in simulations of a million peers, and in
// tests that are lists of events.
//
//   Brain brain(options, random_seed);
//   brain.announce_host(facts, now);
//   TRY(auto peer, brain.register_peer(registration, now));
//   for (auto& action : brain.take_actions(now)) ...   // after every event
//   ...at brain.next_wakeup(): brain.tick(now)
//
// One brain is one shard: a task lives in exactly one, chosen by its id, and everything about it happens
// there. Hosts are announced to every shard.
//
// How it decides (docs/scheduling.md has the formulas):
//  * A peer that registers is parked on its task and answered as soon as somebody can serve it; nothing
//  polls.
//  * A cold task is fetched once: by a seed if one works, else by one peer that holds the task's token for
//    the origin. Everyone else waits for that one, and is woken the moment it starts.
//  * Upload slots are reserved when a parent is chosen, and released when the child ends, fails or is lost.
//  * Whoever got few parents because few were there is offered more a little later, if it listens.
//  * Parents: same site first, then spare capacity, observed rate, progress and depth; those who register
//    together become each other's parents, since pieces only ever flow from has to has-not.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <variant>
#include <vector>

#include "base/result.h"
#include "scheduler/alarms.h"
#include "scheduler/id_table.h"
#include "scheduler/records.h"

namespace d7y::scheduler {

struct BrainOptions {
  std::uint32_t candidate_parents = 4;   // wanted for each child, at most kMaxParents
  std::uint32_t children_per_peer = 6;   // whole children one peer serves before others are asked
  std::uint32_t children_per_seed = 12;  // the same for seeds
  std::uint32_t host_limit = 200;        // children one host serves over all tasks (load_limit)
  std::uint32_t seed_host_limit = 2000;
  std::uint8_t max_depth = 8;                   // hops from a source; complete peers count as none
  std::uint32_t cross_site_budget = 4;          // parents in other sites that one site may use for one task
  std::uint32_t mesh_cross_site_budget = 12;    // the same for a mesh, each of whose links carries little
  std::uint32_t back_to_source_at_once = 1;     // tokens of a task
  std::uint32_t back_to_source_count = 200;     // how many peers of a task are sent to the origin at most
  std::uint32_t origin_tokens = 200;            // tokens of all tasks of one origin
  std::uint32_t hot_task = 48;                  // peers of a task for which a second seed is asked; 0: never
  std::uint8_t offers = 16;                     // of more parents to one that takes them
  Duration patience = std::chrono::seconds(8);  // of a child for its first parents
  Duration reschedule_patience = std::chrono::seconds(2);
  Duration last_resort = std::chrono::seconds(30);  // after which the origin limit is all that counts
  Duration block = std::chrono::minutes(2);         // how long a child is kept from a parent that failed it
  Duration seed_rest = std::chrono::seconds(30);    // after all seeds failed a task
  Duration seed_unreachable = std::chrono::seconds(30);
  Duration piece_timeout = std::chrono::minutes(30);  // without a piece a running peer is given up
  Duration peer_ttl = std::chrono::hours(24);
  Duration host_ttl = std::chrono::hours(1);         // of hosts that do not say how often they announce
  Duration task_ttl = std::chrono::minutes(30);      // of tasks without peers
  Duration lost_peer_ttl = std::chrono::minutes(1);  // failed ones are kept this long, for those who ask
  HealthLimits health;
  bool report_copies = false;  // CopyKept, CopyGone and HostGone actions are wanted
};

struct Registration {
  std::string_view host_id, task_id, peer_id;
  std::string_view origin;           // "https://host:port" of the source
  std::int64_t content_length = -1;  // bytes; -1: unknown
  std::uint64_t piece_length = 0;
  std::uint32_t piece_count = 0;
  std::uint64_t range_start = 0, range_length = 0;
  std::uint8_t priority = 0;  // 0 to 6, applications already resolved
  std::uint16_t concurrent_pieces = 8;
  bool need_back_to_source = false, disable_back_to_source = false, metadata_only = false;
  // Listens for better parents while it downloads, as ours do; Dragonfly's clients do not.
  bool takes_offers = false;
  std::string_view download;  // serialized, for the seed
};

struct PieceReport {
  std::uint32_t number = 0;
  std::uint64_t offset = 0, length = 0;  // bytes
  Duration cost{0};
  std::optional<std::uint32_t> crc32;
};

// Actions. A peer gets one of the first four for each of its requests; one that takes offers may get
// SendParents unasked, with all that it should use from then on.
struct SendParents {
  PeerHandle peer;
  ParentList parents;
  // One of them, a seed of ours, that has to be told before (lib/api/dealing.proto) that it deals its pieces
  // out to this child and another one; or, `later`, that it tells this child of nothing while it deals to
  // others.
  PeerHandle dealer{};
  bool later = false;
};
struct SendBackToSource {
  PeerHandle peer;
  std::string_view reason;  // lives for ever
};
struct SendEmpty {
  PeerHandle peer;
};
struct SendMetadataOnly {
  PeerHandle peer;
};
// The conversation is over: OK, or with an error.
struct EndStream {
  PeerHandle peer;
  std::optional<ErrorCode> code;
  std::string message;
};
// Ask this seed to download the task, and tell the outcome with seed_ended(task, attempt, ...).
struct TriggerSeed {
  TaskHandle task;
  HostHandle host;
  std::uint32_t attempt = 0;
  std::uint64_t range_start = 0, range_length = 0;  // bytes; length 0: all
  bool from_peers = false;                          // and not to ask the origin
};
// Ask whether this host is there, over and over until it is, and tell each time with host_answered(host,
// question, ...); until its record holds another question.
struct AskHost {
  HostHandle host;
  std::uint32_t question = 0;
};
// Only with BrainOptions::report_copies: a host has all of a task from now on; it has not any more; a host
// is gone. For whoever remembers them over a restart.
struct CopyKept {
  PeerHandle peer;
};
struct CopyGone {
  std::string host_id, task_id;
};
struct HostGone {
  std::string host_id;
};
using Action = std::variant<SendParents, SendBackToSource, SendEmpty, SendMetadataOnly, EndStream,
                            TriggerSeed, AskHost, CopyKept, CopyGone, HostGone>;

// How a triggered download ended.
enum class SeedOutcome : std::uint8_t {
  kDone,         // the seed has it, or says so
  kUnreachable,  // nobody answers there; ask another
  kFailed,       // it tried and failed; another may do better
  kRefused,      // the origin will not give it to anyone (4xx)
};

class Brain {
 public:
  Brain(BrainOptions options, std::uint64_t random_seed);
  ~Brain();
  Brain(const Brain&) = delete;
  Brain& operator=(const Brain&) = delete;

  // May be called at any time; looks at every peer if another number of children is allowed.
  void set_options(BrainOptions options);
  const BrainOptions& options() const { return options_; }

  // Hosts. An announcement of a known host refreshes everything but its id, ip and names.
  HostHandle announce_host(HostFacts facts, TimePoint now);
  // With all its peers. False if it was not known.
  bool delete_host(std::string_view host_id, TimePoint now);

  // The first message of a stream. kNotFound: the host never announced itself; kExists: such a peer is here
  // and alive; kPrecondition, kNotFound: the priority forbids it (LEVEL1, LEVEL2). Answered by an action.
  Result<PeerHandle> register_peer(const Registration& registration, TimePoint now);

  // A copy that is known from before a restart: as if that peer had finished. Means nothing if the host is
  // unknown, or has the task already.
  PeerHandle restore_copy(const Registration& registration, TimePoint now);

  // What a peer says. Handles of peers that are gone do nothing.
  void started(PeerHandle peer, TimePoint now);
  void back_to_source_started(PeerHandle peer, TimePoint now);
  // Its parents are used up, it needs others. `given` are ids of parents it had, its own list is used if
  // empty.
  void reschedule(PeerHandle peer, TimePoint now);
  void piece_finished(PeerHandle peer, std::string_view parent_id, const PieceReport& piece, TimePoint now);
  void back_to_source_piece_finished(PeerHandle peer, const PieceReport& piece, TimePoint now);
  void piece_failed(PeerHandle peer, std::string_view parent_id, bool temporary, TimePoint now);
  // These four end the stream with OK.
  void finished(PeerHandle peer, TimePoint now);
  void back_to_source_finished(PeerHandle peer, TimePoint now);
  void failed(PeerHandle peer, TimePoint now);
  // `refused`: the origin answered that it will not (4xx).
  void back_to_source_failed(PeerHandle peer, bool refused, TimePoint now);
  // The stream ended without one of those, or its connection broke.
  void stream_lost(PeerHandle peer, TimePoint now);

  void seed_ended(TaskHandle task, std::uint32_t attempt, SeedOutcome outcome, TimePoint now);

  // As a seed: it could not be told to whom to deal (SendParents::dealer).
  void does_not_deal(HostHandle host, TimePoint now);

  // One that does not answer is nobody's parent and reads for nobody, until it says something again.
  void host_answered(HostHandle host, std::uint32_t question, bool answers, TimePoint now);

  // Removals; false if there was nothing.
  bool delete_peer(std::string_view peer_id, TimePoint now);
  // The copies of one host.
  bool delete_task(std::string_view host_id, std::string_view task_id, TimePoint now);

  // Everything decided since the last call. Work is bounded; what remains is due at next_wakeup().
  std::vector<Action> take_actions(TimePoint now);
  // Waiting that ran out, clean-up. Call at next_wakeup().
  void tick(TimePoint now);
  TimePoint next_wakeup() const;
  // take_actions() has more to give at once.
  bool pending() const { return !dirty_.empty() || !actions_.empty(); }

  // Looking.
  const HostRecord* host(HostHandle handle) const { return hosts_.find(handle); }
  const TaskRecord* task(TaskHandle handle) const { return tasks_.find(handle); }
  const PeerRecord* peer(PeerHandle handle) const { return peers_.find(handle); }
  HostHandle find_host(std::string_view id) const { return find_host(id, host_ids_.key(id)); }
  TaskHandle find_task(std::string_view id) const { return find_task(id, task_ids_.key(id)); }
  PeerHandle find_peer(std::string_view id) const { return find_peer(id, peer_ids_.key(id)); }
  std::string peer_id(const PeerRecord& peer) const;
  const Slab<HostRecord>& hosts() const { return hosts_; }
  const Slab<TaskRecord>& tasks() const { return tasks_; }
  const Slab<PeerRecord>& peers() const { return peers_; }
  std::size_t waiting() const { return waiting_; }
  // Peers of a host, the newest first, whose streams are open; so many are looked at.
  std::vector<PeerHandle> speakers_of(HostHandle host, std::size_t look) const;
  // The host has all of the task.
  bool has_copy(HostHandle host, TaskHandle task) const;
  // Until when the task's own entry is remembered by whoever remembers.
  void set_kept_until(TaskHandle task, TimePoint when) { tasks_.find(task)->kept_until = when; }
  // Peers that may be parents of `task` now.
  std::vector<PeerHandle> usable_parents(TaskHandle task) const;

  // Empty if all counters and lists agree with each other; else what does not. Walks everything; for tests.
  std::string check(TimePoint now) const;
  // Bytes held by the tables of records, without texts.
  std::size_t table_memory() const;

 private:
  struct Candidate {
    std::uint32_t position;
    bool cross_site;
    double score;  // less is better
  };
  // Among whom parents are looked for.
  enum class Among : std::uint8_t {
    kOpenRoots,
    kOpenMesh,  // those that listen and are no roots
    kOpen,
    kAll,  // the child has waited enough, only what the hosts can really bear counts
  };
  struct Choice {
    const PeerRecord& child;
    TaskRecord& task;
    std::uint32_t site;  // of the child
    float uplink;        // of its host
    Among among;
    bool mesh;  // the child is one of a mesh
    TimePoint now;
    ShortList<std::uint32_t, kMaxParents> has;  // positions of its parents' hosts
  };
  // Of a registration.
  struct Keys {
    IdTable::Key host, task, peer;
  };
  struct Origin {
    std::string name;
    std::uint32_t tokens = 0;
    std::deque<TaskHandle> wanted_by;  // tasks that wait for one
  };

  // brain.cc: events
  PeerRecord* alive(PeerHandle handle, TimePoint now);
  void keep_download(TaskRecord& task, std::string_view download);
  bool finished_any(const HostRecord& host, TaskHandle task) const;
  void forget_lost_copy(const Registration& registration, HostHandle host, IdTable::Key task_key,
                        TimePoint now);
  std::uint32_t site_of(const HostFacts& facts);
  std::uint32_t origin_of(std::string_view name);
  Keys bring_near(const Registration& registration) const;
  HostHandle find_host(std::string_view id, IdTable::Key key) const;
  TaskHandle find_task(std::string_view id, IdTable::Key key) const;
  PeerHandle find_peer(std::string_view id, IdTable::Key key) const;
  TaskHandle task_for(const Registration& registration, IdTable::Key key, TimePoint now);
  void tell_back_to_source(PeerHandle handle, std::string_view reason, TimePoint now);
  void end(PeerHandle handle, PeerState state, TimePoint now);
  void end_with_error(PeerHandle handle, ErrorCode code, std::string message, TimePoint now);
  bool gave_nothing(const PeerRecord& child, const ParentEdge& edge) const;
  ParentEdge* edge_to(PeerRecord& child, std::string_view parent_id);

  // brain_links.cc: the lists and the books
  void link(PeerHandle handle);
  void unlink(PeerHandle handle);
  void remove_peer(PeerHandle handle, TimePoint now, bool with_host = false);
  void remove_host(HostHandle handle, TimePoint now);
  void reserve(PeerHandle child, PeerHandle parent, std::uint32_t units);
  void release_parents(PeerRecord& child);
  void release(PeerRecord& child, const ParentEdge& edge);
  void charge(PeerHandle parent, std::uint32_t before, std::uint32_t after);
  void set_state(PeerHandle handle, PeerState state, TimePoint now);
  void recount(PeerHandle handle);
  static void count_reader(TaskRecord& task, const PeerRecord& peer, bool comes);
  void take_token(PeerRecord& peer);
  void release_token(PeerRecord& peer);
  bool usable(const PeerRecord& peer) const;
  bool is_root(const PeerRecord& peer) const;
  std::uint32_t soft_limit(const HostRecord& host) const;  // units of one peer there
  std::uint32_t hard_limit(const HostRecord& host) const;  // units of the whole host
  void update_open(std::uint32_t position);
  void close(std::uint32_t position);
  void swap_open(CompactList<std::uint32_t>& list, std::uint32_t a, std::uint32_t b);
  SiteParents& bucket(TaskRecord& task, std::uint32_t site);

  // brain_schedule.cc: who gets whom
  void park(PeerHandle handle, Duration patience, TimePoint now);
  void unpark(PeerRecord& peer);
  void make_dirty(TaskHandle handle);
  bool serve(TaskHandle handle, TimePoint now);
  static void note_refusal(TaskRecord& task, TimePoint now);
  bool somebody_has_some(const TaskRecord& task) const;
  bool answer_those_the_origin_refuses(TaskHandle handle, TimePoint now);
  bool send_loners(TaskHandle handle, TimePoint now);
  void add_siblings(const std::vector<PeerHandle>& served, TimePoint now);
  void answer(PeerHandle child, TimePoint now);
  void send_parents(PeerHandle child);
  void settle_shares(PeerHandle child);
  void look_later(PeerHandle child, TimePoint now);
  void look_soon(PeerHandle child, TimePoint now);
  void offer_more(PeerHandle child, TimePoint now);

  // brain_mesh.cc: those who listen
  std::size_t mesh_degree() const;
  std::size_t wanted_parents(const PeerRecord& child) const;
  bool has_parent_on(const PeerRecord& child, HostHandle host) const;
  ParentList neighbours_of(const PeerRecord& child) const;
  void link_back(PeerHandle child, TimePoint now);
  void neighbours_lost(const PeerRecord& peer, TimePoint now);
  bool provider_expected(const TaskRecord& task) const;
  bool nobody_left_for(const PeerRecord& child, TimePoint now) const;
  bool provider_expected_for(const PeerRecord& child, TimePoint now) const;
  static bool same_range(const PeerRecord& peer, std::uint64_t start, std::uint64_t length);
  bool finished_copy_for(const PeerRecord& child, TimePoint now) const;
  void find_provider(TaskHandle handle, TimePoint now);
  bool give_token(TaskHandle handle, TimePoint now);
  void want_token(TaskHandle handle);
  bool token_free(const TaskRecord& task, std::uint32_t limit) const;
  bool may_hedge(const PeerRecord& peer, bool last, TimePoint now) const;
  void wait_ran_out(PeerHandle handle, TimePoint now);

  // brain_orphans.cc: tasks whose pieces come no more
  void watch(TaskHandle task, TimePoint now);
  void look_after_orphans(TimePoint now);
  bool look_after_orphans_of(TaskHandle task, TimePoint now);
  void look_after_children_of(TaskHandle task, std::vector<PeerHandle> orphans, TimePoint now);
  std::vector<PeerHandle> listeners_of(const TaskRecord& task) const;
  PeerHandle seed_that_waits(const TaskRecord& task, TimePoint now) const;

  // brain_silence.cc: whether those are there from whom pieces should come
  void ask_providers(TaskHandle task, TimePoint now);
  void ask(HostHandle host, TimePoint now);
  void heard(HostHandle host, TimePoint now);
  void set_silent(HostHandle host, bool silent, TimePoint now);
  void children_of_silent(PeerHandle parent, TimePoint now);

  // brain_seeds.cc: who is asked to fetch a task for others
  std::uint32_t next_attempt();
  bool seed_may_be_asked(const HostRecord& seed, bool even_quarantined, TimePoint now) const;
  bool trigger_seed(TaskHandle handle, bool even_quarantined, TimePoint now);
  PeerHandle waiting_on(HostHandle host, TaskHandle task) const;
  bool was_asked(const PeerRecord& peer) const;
  void send_seed_to_source(PeerHandle peer, TimePoint now);
  PeerHandle peer_on_seed(const TaskRecord& task, HostHandle seed) const;
  void want_seed(TaskHandle handle);
  void seed_came();
  void count_seed(PeerHandle handle);
  static bool is_more_seed(const TaskRecord& task, HostHandle host);
  void consider_more_seeds(TaskHandle handle, TimePoint now);
  void more_seed_ended(TaskRecord& task, SeedOutcome outcome, TimePoint now);

  // brain_tree.cc: those who do not listen
  static bool roots_are_rare(const TaskRecord& task);
  std::uint32_t edge_units(const PeerRecord& child, const PeerRecord& parent, std::size_t edges) const;
  PeerHandle free_place(SiteParents& site, const PeerRecord& child, std::uint32_t most, TimePoint now);
  PeerHandle free_place(Tree& tree, const PeerRecord& child, std::uint32_t most, TimePoint now);
  std::uint32_t share_of(std::uint32_t units, const PeerRecord& child, const PeerRecord& parent) const;
  bool slower(const PeerRecord& parent, const PeerRecord& child) const;
  bool is_slow(const HostRecord& host) const;
  bool place(PeerHandle child, TimePoint now);
  static bool has_tree(const TaskRecord& task);
  bool path_pays(const TaskRecord& task) const;
  std::uint32_t branch_of(const TaskRecord& task) const;
  void add_to_tree(PeerHandle peer);

  // brain_twins.cc: many of those at once
  PeerHandle dealer_of(const TaskRecord& task, TimePoint now) const;
  double seconds_to_send(const TaskRecord& task) const;
  bool twins_pay(const TaskRecord& task, TimePoint now) const;
  bool may_gather(PeerHandle handle) const;
  bool fits_in_twins(const PeerRecord& child, PeerHandle dealer) const;
  bool gathering(TaskRecord& task, TimePoint now);
  void gather_herd(TaskRecord& task, TimePoint now);
  bool passes_on(PeerHandle handle) const;
  PeerHandle node_above(const Twins& twins, std::uint32_t tree, std::uint32_t place) const;
  bool is_dealt_to(const Twins& twins, const PeerRecord& child) const;
  PeerHandle lifeline_of(const TaskRecord& task) const;
  void add_parent(PeerHandle handle, PeerHandle parent);
  bool place_herd(TaskRecord& task, TimePoint now);
  bool place_by_twins(PeerHandle handle);

  // brain_choice.cc: who is a good parent
  ParentList choose(PeerHandle child, std::size_t wanted, Among among, TimePoint now);
  static bool has_open_root(const TaskRecord& task);
  std::uint32_t look_around(const Choice& choice);
  void sample(const SiteParents& site, std::size_t count, const Choice& choice);
  void sample_range(const SiteParents& site, std::size_t most, const PeerRecord& child);
  void consider_sample(const Choice& choice);
  void consider(const Choice& choice, std::uint32_t position);
  bool fits(const PeerRecord& child, const PeerRecord& parent, bool hard, TimePoint now) const;
  bool host_may_serve(const HostRecord& host, TimePoint now) const;
  bool descends_from(const PeerRecord& peer, PeerHandle ancestor) const;
  bool left_a_reader(const PeerRecord& child, TimePoint now) const;
  bool is_blocked(const PeerRecord& child, PeerHandle parent, TimePoint now) const;
  void keep_level(bool hard, const PeerRecord& child);
  void keep_listeners();
  double score(const Choice& choice, const PeerRecord& parent, const HostRecord& host);
  std::uint64_t random();

  // brain_clean.cc
  void clean(TimePoint now);

  BrainOptions options_;
  std::uint64_t random_state_;
  Slab<HostRecord> hosts_;
  Slab<TaskRecord> tasks_;
  Slab<PeerRecord> peers_;
  IdTable host_ids_, task_ids_, peer_ids_;
  std::vector<Site> sites_;
  std::map<std::pair<std::string, std::string>, std::uint32_t> site_ids_;
  std::vector<Origin> origins_;
  std::unordered_map<std::string, std::uint32_t> origin_ids_;
  std::vector<HostHandle> seeds_;
  std::vector<TaskHandle> wants_seed_;
  std::deque<TaskHandle> dirty_;
  struct Watched {
    TaskHandle task;
    TimePoint look{};
  };
  std::deque<Watched> watched_;  // by time, nearly
  Alarms alarms_;
  std::vector<Action> actions_;
  std::vector<std::uint32_t> sample_;  // positions that are looked at for the choice that is being made
  std::vector<Candidate> candidates_;  // those of them that will do
  std::vector<PeerHandle> served_, together_;  // of the task that is being served
  std::size_t waiting_ = 0;
  std::uint32_t attempts_ = 0, questions_ = 0;
  std::size_t download_bytes_ = 0;  // of all tasks' downloads
  std::size_t source_pieces_ = 0;   // remembered of all tasks
  double usual_rate_ = 0;           // bytes per second per piece, smoothed over all hosts
  float usual_uplink_ = 0;          // as of hosts, smoothed over all but seeds
  TimePoint next_clean_{};
  std::uint32_t clean_peer_ = 0, clean_host_ = 0, clean_task_ = 0;
};

}  // namespace d7y::scheduler
