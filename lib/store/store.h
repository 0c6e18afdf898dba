// Piece storage: one folder per task with its content at natural offsets and a journal beside it.
// What lies on disk is described in FORMAT.md.
//
//   auto store = CO_TRY(co_await Store::open(world, {.folder = "/var/lib/d7y"}, log));
//   TaskHandle task = CO_TRY(co_await store->create({.id = id, .url = url, .piece_length = 4_MiB}));
//   ... claims (claim.h), readers (reader.h), views (piece_view.h), export (exporter.h) ...
//   CO_OK(co_await store->close(deadline));
//
// A piece is complete only when its bytes were verified. What the store promises over a stop: after
// close() everything complete is there again. After an unclean stop (crash, power loss) as well,
// except pieces that were completed after the last sync point and did not reach the disk: pieces
// since the last sync point are read again and verified before they are used. Belongs to one loop.
#pragma once

#include <list>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>

#include "base/scope.h"
#include "store/buffers.h"
#include "store/gc.h"
#include "store/hash_queue.h"
#include "store/stored_task.h"
#include "world/world.h"

namespace d7y::store {

// When bytes are made to reach stable storage, each time as a sync point.
enum class SyncPolicy : std::uint8_t {
  kNever,   // the system writes back when it likes; a restart verifies what it uses
  kClose,   // at close() and sync(); the default
  kFinish,  // also when a task is finished; tasks of the persistent kinds always are (KindPolicy)
};

struct StoreOptions {
  std::string folder;  // made if missing
  bool keep = true;    // false: start empty, whatever is there (Dragonfly's storage.keep)
  SyncPolicy sync = SyncPolicy::kClose;
  // It lives as long as its owner, who then deletes the folder or, if something unfinished is worth keeping,
  // leaves it to a later one. Nothing is made durable, and a later one finds out itself what is there.
  bool temporary = false;
  std::size_t buffer_size = 256 << 10;  // bytes a piece is received into; at most 512 KiB
  std::size_t idle_buffers = 64;        // kept for reuse
  bool write_behind = true;             // long pieces are written by another thread (write_behind.h)
  std::size_t idle_tasks = 64;          // tasks kept open that nobody uses now; two descriptors each
  GcOptions gc;
};

struct StoreStats {
  std::uint64_t tasks = 0, pieces = 0, bytes = 0;  // stored now
  std::uint64_t written = 0;                       // bytes received since the store was opened
  std::uint64_t completed_pieces = 0, corrupt_pieces = 0;
  std::uint64_t evictions = 0, evicted_bytes = 0, emergencies = 0;
  std::uint64_t pinned = 0, in_flight = 0, buffers = 0;
};

struct Collected {
  struct Item {
    std::string id;
    TaskKind kind = TaskKind::kStandard;
    GcReason reason = GcReason::kExpired;
    std::uint64_t bytes = 0;
  };
  std::vector<Item> evicted;  // for DeleteTask at the scheduler
};

class Store {
 public:
  // Opens or makes the store in `options.folder`. kExists: another process uses it. kPermission,
  // kIo; kUnsupported: made by a newer version; kInvalid: bad options. `world` must outlive it.
  static Task<Result<std::unique_ptr<Store>>> open(world::World& world, StoreOptions options, Log log);
  // Without close() this is an unclean stop. All handles must be gone.
  ~Store();
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;

  // The task `facts.id`, made if it is not there. If it is there it comes as it is stored: compare
  // its facts with yours, and reset() it if the origin's version differs. kInvalid, kTooLarge,
  // kDiskFull, kIo. Pieces of doubt after an unclean stop are verified before it comes back.
  Task<Result<TaskHandle>> create(TaskFacts facts);
  // kNotFound if it is not there.
  Task<Result<TaskHandle>> find(std::string id);
  bool contains(const std::string& id) const;
  std::optional<TaskSummary> summary(const std::string& id) const;
  // All tasks, in no order.
  std::vector<TaskSummary> list() const;

  // Deletes a task. Nobody finds it from now on; those who hold it go on to their end, then its
  // folder goes. kNotFound.
  Result<void> remove(const std::string& id);

  // Deletes what must go (gc.h). Call it now and then; it also writes a sync point per policy.
  Task<Result<Collected>> collect();
  // Deletes unpinned tasks until about `bytes` are free again; says how many were freed.
  std::uint64_t make_room(std::uint64_t bytes);

  // A sync point: everything complete now is on stable storage when this ends.
  Task<Result<void>> sync();
  // Writes the last sync point and ends. kPrecondition while handles are out.
  Task<Result<void>> close();

  StoreStats stats() const;
  Result<world::DiskSpace> space();
  const StoreOptions& options() const { return options_; }
  world::World& world() { return world_; }

 private:
  friend class StoredTask;
  friend class TaskHandle;
  friend class PieceClaim;
  friend class Reader;
  friend class Exporter;
  friend class WriteBehind;

  // A task on disk; loaded while somebody uses it and for some time after.
  struct Entry {
    TaskSummary line;       // while it is not loaded
    bool synced = false;    // a sync point covers all its pieces
    bool doubtful = false;  // pieces that none covers are older than our start: read them first
    bool shared = false;    // hard-linked out
    std::unique_ptr<StoredTask> task;
    std::list<std::string>::iterator idle;  // place in idle_, while loaded and not pinned
    bool is_idle = false;
  };

  Store(world::World& world, StoreOptions options, Log log);

  // recovery.cc
  Task<Result<void>> start();
  Task<Result<void>> check_format();
  Result<void> only_ours() const;
  Result<void> write_format();
  Task<Result<void>> found();
  Task<Result<void>> make_places();
  Task<Result<void>> wipe();
  Result<bool> read_index();
  Task<Result<void>> read_journals();
  Result<void> read_one_journal(const std::string& folder, const std::string& id);
  Task<Result<void>> write_index();

  std::string task_folder(const std::string& id) const;
  Result<StoredTask*> open_task(const std::string& id);  // loads if need be
  Task<Result<TaskHandle>> settled(TaskHandle task);
  void unpinned(StoredTask& task);
  void unload(Entry& entry);
  Task<Result<void>> sync_task(TaskHandle task);

  // room.cc
  // Forgets a task whose files somebody has taken away; those who hold it go on with what is open.
  void give_up_vanished(const std::string& id);
  std::vector<GcCandidate> candidates(std::vector<const std::string*>& ids);
  std::uint64_t evict(const std::string& id, bool at_once);
  Result<std::string> to_trash(const std::string& path);
  void sweep(std::string path);
  Task<void> sweep_in_background(std::string path);
  void remove_now(const std::string& folder);
  void discard(const std::string& path);
  Error explain(Error failure, std::string_view doing, std::uint64_t bytes, const std::string& id);

  world::World& world_;
  StoreOptions options_;
  Log log_;
  BufferPool buffers_;
  HashQueue hashes_;
  std::unique_ptr<world::FileLock> lock_;
  std::unordered_map<std::string, Entry> entries_;
  std::list<std::string> idle_;                       // ids, least recently used first
  std::vector<std::unique_ptr<StoredTask>> removed_;  // still pinned
  std::set<std::string> sweeping_;                    // trash that is being deleted
  bool founded_ = false;                              // FORMAT and the folders above are durable
  bool has_trash_ = false;                            // the folder is there
  bool closed_ = false;
  bool making_room_ = false;

  std::uint64_t claims_ = 0, written_ = 0, completed_pieces_ = 0, corrupt_pieces_ = 0;
  std::uint64_t evictions_ = 0, evicted_bytes_ = 0, emergencies_ = 0;
  std::optional<Scope> scope_;  // work in the background; ends before anything it uses
};

}  // namespace d7y::store
