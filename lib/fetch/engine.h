// The download engine of a node: takes wishes, keeps one conductor per task.
//
//   Engine engine(parts, options);
//   CO_TRY(auto download, engine.start(std::move(wish), deadline));
//
// Lives on one loop. All downloads must be gone before it is destroyed.
#pragma once

#include <list>
#include <map>
#include <memory>
#include <string>

#include "fetch/conductor.h"
#include "fetch/download.h"
#include "fetch/origin_lanes.h"
#include "fetch/shared_stat.h"
#include "fetch/suspects.h"
#include "fetch/wish.h"

namespace d7y::fetch {

class Engine {
 public:
  Engine(EngineParts parts, EngineOptions options);
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // Starts to fulfil a wish. At once: kInvalid (URL, digest, piece length), kUnsupported (scheme),
  // kExists (output is there and may not be replaced), kNotFound (its folder is not), kPermission (`permit`
  // of the parts), kClosed.
  Result<std::unique_ptr<Download>> start(Wish wish, Deadline deadline);

  // Whether somebody's download of this task runs and has not failed: another wish would join it.
  bool is_running(const std::string& task_id) const;

  // The id of the task that a Download message means.
  static Result<std::string> task_id(const api::common::Download& message);

  // No more wishes are taken; says when the last download has left and every scheduler heard of it.
  void close() { closed_ = true; }
  Task<Result<void>> idle(Deadline deadline);
  std::size_t running() const { return downloads_; }

  world::World& world() { return parts_.world; }
  const EngineOptions& options() const { return options_; }
  const EngineParts& parts() const { return parts_; }

 private:
  friend class Download;
  struct Entry {
    std::shared_ptr<Conductor> conductor;
    std::size_t downloads = 0;
    std::uint64_t rate_limit = 0;
    bool unlimited = false;
  };
  static bool is_over(const Entry& entry);
  // Has one more download of the task; a new conductor if there is none that goes on.
  std::shared_ptr<Conductor> join(const std::string& id, const Wish& wish);
  // The same for a download whose conductor was misled.
  std::shared_ptr<Conductor> start_over(const Conductor& misled, const Wish& wish);
  void left(const Download& download, Conductor& conductor);
  void note_start(const Wish& wish);
  void note_end(Download& download, const Result<void>& outcome);
  Task<void> reap();
  using Settling = std::list<std::shared_ptr<Conductor>>;
  Task<void> watch_settling(Settling::iterator one);

  EngineParts parts_;
  EngineOptions options_;
  Suspects suspects_;
  SharedStat shared_stat_;
  OriginReaders origin_readers_;
  Freshness freshness_;
  std::map<std::string, Entry> entries_;
  // Not in the frames of the tasks that wait, which may outlive the engine, and the store, for a moment.
  Settling settling_;
  std::size_t downloads_ = 0;
  bool closed_ = false;
  Signal reap_, idle_;
  Scope scope_;
};

}  // namespace d7y::fetch
