// Who takes part in a storm, and what is known about each.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "sim/cluster/cluster.h"
#include "sim/faults/storm.h"

namespace d7y::sim {

// Complete pieces by task id.
using Kept = std::map<std::string, std::uint32_t>;

struct Member {
  Peer* peer = nullptr;
  bool seed = false;
  bool liar = false;
  bool asks_origin = false;    // some download of it may
  bool sick_disk = false;      // its files fail: what it had may be gone
  bool rots = false;           // what it reads from its own disk is not what it wrote
  bool loses_tasks = false;    // evicted, removed or replaced something
  Duration halted{0};          // stood still so long, all in all
  std::optional<Kept> synced;  // at its last sync point
  std::optional<Kept> killed;  // when its process was killed
  std::string mount;           // what an observer noted: broken promises
};

// One thing at the origin.
struct Content {
  std::string path;
  bool changes = false;     // another version came
  bool undetected = false;  // the origin itself sends wrong bytes at times
};

// A file of somebody that the cluster is to keep. What it holds lies at the origin as well, under a name that
// nobody asks it for.
struct Keeping {
  ImportPtr import;
  Content* content = nullptr;
  Member* member = nullptr;
  std::uint32_t copies = 1;
  Duration timeout{0}, halted_before{0};
};

struct Wanted {
  FetchPtr fetch;
  FetchOptions options;
  Content* content = nullptr;
  Member* member = nullptr;
  Keeping* keeping = nullptr;  // wanted is what it keeps
  bool cancelled = false, wrong_digest = false, after_the_storm = false;
  bool certain = false;  // somebody has it whom its scheduler knows, and nothing is in the way
  Duration halted_before{0};
};

// The storm itself: storm.cc tells the story, weather.cc has the faults, judge.cc the promises.
class Storm {
 public:
  explicit Storm(const StormOptions& options);
  StormReport run();

 private:
  struct Fault {
    const char* name;
    void (Storm::*strike)();
  };
  static const std::vector<Fault>& faults();

  // storm.cc
  void cast();
  void write_contents();
  void plan_downloads(std::size_t count, Duration within, bool after_the_storm);
  void plan_keepings();
  void plan_export(Keeping& keeping, Duration when, bool after_the_storm);
  void begin_import(Keeping& keeping);
  void begin(Wanted& wanted);
  void clear_up();
  void come_back(Member& member);
  bool all_over() const;
  template <class... Args>
  void say(fmt::format_string<Args...> format, Args&&... args) {
    if (options_.timeline) cluster_.sim().timeline().say(0, fmt::format(format, std::forward<Args>(args)...));
  }
  template <class... Args>
  void promise_broken(fmt::format_string<Args...> format, Args&&... args) {
    report_.broken.push_back(fmt::format(format, std::forward<Args>(args)...));
    say("BROKEN: {}", report_.broken.back());
  }

  // weather.cc
  void choose_weather();
  Member& anybody();  // a peer that runs, or else any
  OriginFile& some_file();
  void kill(Member& member);
  void power_off(Member& member);
  void crash_peer();
  void pull_plug();
  void pull_plug_soon();
  void restart_peer();
  void stop_peer();
  void sync_store();
  void crash_scheduler();
  void crash_origin();
  void pause_peer();
  void burn_peer();
  void isolate_one();
  void cut_in_two();
  void heal_network();
  void slow_line();
  void lossy_line();
  void fail_writes();
  void fail_reads();
  void fail_syncs();
  void fail_names();
  void fill_disk();
  void rot_disk();
  void few_descriptors();
  void make_liar();
  Fabric::Rewrite until_calm(Fabric::Rewrite lies);
  void evict();
  void cancel_download();
  void origin_breaks_off();
  void origin_stalls();
  void origin_refuses();
  void origin_ignores_ranges();
  void origin_lies_about_length();
  void origin_flips_bits();
  void origin_talks_nonsense();
  void origin_changes();
  void shift_clock();

  // judge.cc
  static Kept kept_of(Peer& peer);
  Task<void> look_into_store(Member& member, bool after_crash);
  void look_into_stores();
  const Content* content_of(const store::TaskFacts& task) const;
  bool is_certain(const Keeping& keeping);
  void judge(Wanted& wanted);
  void judge(Keeping& keeping);
  void judge_outputs();
  void judge_origin();
  void judge_schedulers();
  void judge_leaks();

  StormOptions options_;
  StormReport report_;
  Cluster cluster_;
  Random random_, keeping_random_;
  bool small_pieces_ = true;
  std::vector<Member> members_;
  std::vector<std::unique_ptr<Content>> contents_;
  std::vector<std::unique_ptr<Content>> kept_contents_;
  std::vector<std::unique_ptr<Keeping>> keepings_;
  std::vector<std::unique_ptr<Wanted>> wanted_;
  std::vector<const Fault*> weather_;
  bool calm_ = false;         // the storm is over
  std::size_t triggers_ = 0;  // reasons for somebody to read from the origin once more
};

}  // namespace d7y::sim
