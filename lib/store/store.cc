#include "store/store.h"

#include <algorithm>

#include "store/claim.h"
#include "store/flight.h"
#include "store/piece_view.h"
#include "store/task_slot.h"

namespace d7y::store {

namespace {

constexpr std::size_t kMaxBuffer = 512 << 10;  // what stays in a core's L2 cache

}  // namespace

Task<Result<std::unique_ptr<Store>>> Store::open(world::World& world, StoreOptions options, Log log) {
  if (options.folder.empty()) co_return error(ErrorCode::kInvalid, "the store needs a folder; none is set");
  if (options.buffer_size == 0 || options.buffer_size > kMaxBuffer) {
    co_return error(ErrorCode::kInvalid, "a buffer of {} bytes does not fit the store; expected 1 to {}",
                    options.buffer_size, kMaxBuffer);
  }
  CO_OK(options.gc.check());
  if (options.temporary) options.sync = SyncPolicy::kNever;
  while (options.folder.size() > 1 && options.folder.back() == '/') options.folder.pop_back();
  std::unique_ptr<Store> store(new Store(world, std::move(options), log));
  CO_OK(co_await store->start());
  co_return std::move(store);
}

Store::Store(world::World& world, StoreOptions options, Log log)
    : world_(world),
      options_(std::move(options)),
      log_(log),
      buffers_(options_.buffer_size, options_.idle_buffers),
      hashes_(world),
      scope_(world.loop()) {}

Store::~Store() {
  scope_.reset();
  auto pinned = std::count_if(entries_.begin(), entries_.end(),
                              [](auto& entry) { return entry.second.task && entry.second.task->pins_ > 0; });
  if (pinned > 0) log_.error("the store was destroyed while {} of its tasks were in use", pinned);
}

std::string Store::task_folder(const std::string& id) const {
  return fmt::format("{}/tasks/{:_<2}/{}", options_.folder, id.substr(0, 2), id);
}

Task<Result<TaskHandle>> Store::create(TaskFacts facts) {
  if (closed_) co_return error(ErrorCode::kClosed, "the store is closed");
  CO_OK(check_facts(facts));
  auto id = facts.id;
  if (entries_.contains(id)) {
    auto found = open_task(id);
    if (found) co_return co_await settled(TaskHandle(**found));
    if (!found.failed_with(ErrorCode::kNotFound)) co_return std::move(found).error();
  }
  auto folder = task_folder(id);
  for (bool retried = false;; retried = true) {
    std::unique_ptr<StoredTask> task(new StoredTask(*this, folder));
    task->facts_ = facts;
    auto made = task->start_files();
    if (made) {
      auto& entry = entries_[id];
      entry.task = std::move(task);
      TaskHandle handle(*entry.task);
      co_return handle;
    }
    // What is left of it, or was in the way without being a task, goes.
    remove_now(folder);
    bool again = made.failed_with(ErrorCode::kExists) ||
                 (made.failed_with(ErrorCode::kDiskFull) && make_room(options_.buffer_size) > 0);
    if (retried || !again) co_return explain(std::move(made).error(), "begin with", 0, id);
  }
}

Task<Result<TaskHandle>> Store::find(std::string id) {
  if (closed_) co_return error(ErrorCode::kClosed, "the store is closed");
  CO_OK(check_task_id(id));
  CO_TRY(auto* task, open_task(id));
  TaskHandle handle(*task);
  co_return co_await settled(std::move(handle));
}

Result<StoredTask*> Store::open_task(const std::string& id) {
  auto found = entries_.find(id);
  if (found == entries_.end()) return error(ErrorCode::kNotFound, "task {} is not stored here", id);
  Entry& entry = found->second;
  if (entry.task) {
    if (entry.is_idle) idle_.erase(entry.idle);
    entry.is_idle = false;
    return entry.task.get();
  }
  std::unique_ptr<StoredTask> task(new StoredTask(*this, task_folder(id)));
  auto loaded = task->load(entry.doubtful);
  if (loaded && task->id() == id) {
    // The index may know of later uses than the journal.
    task->accessed_at_ = std::max(task->accessed_at_, entry.line.accessed_at);
    entry.task = std::move(task);
    return entry.task.get();
  }
  if (loaded) loaded = error(ErrorCode::kCorrupt, "its journal is that of task {}", task->id());
  if (!loaded.failed_with(ErrorCode::kNotFound) && !loaded.failed_with(ErrorCode::kCorrupt)) {
    return std::move(loaded).error().in(fmt::format("opening task {}", id));
  }
  log_.warn("task {} is given up: {}", id, loaded.error().message());
  task.reset();
  entries_.erase(found);
  discard(task_folder(id));
  return error(ErrorCode::kNotFound, "task {} was damaged on disk and given up", id);
}

Task<Result<TaskHandle>> Store::settled(TaskHandle task) {
  if (!task->intact()) task->doubt_all();
  CO_OK(co_await task->settle());
  if (auto entry = entries_.find(task->id()); entry != entries_.end() && entry->second.task.get() == &*task) {
    entry->second.doubtful = false;
  }
  task->touch();
  co_return task;
}

bool Store::contains(const std::string& id) const { return entries_.contains(id); }

std::optional<TaskSummary> Store::summary(const std::string& id) const {
  auto found = entries_.find(id);
  if (found == entries_.end()) return std::nullopt;
  return found->second.task ? found->second.task->summary() : found->second.line;
}

std::vector<TaskSummary> Store::list() const {
  std::vector<TaskSummary> lines;
  lines.reserve(entries_.size());
  for (const auto& [id, entry] : entries_) lines.push_back(entry.task ? entry.task->summary() : entry.line);
  return lines;
}

Result<void> Store::remove(const std::string& id) {
  auto found = entries_.find(id);
  if (found == entries_.end()) return error(ErrorCode::kNotFound, "task {} is not stored here", id);
  Entry& entry = found->second;
  bool pinned = entry.task && entry.task->pins_ > 0;
  auto trash = to_trash(task_folder(id));
  if (!trash && pinned) return std::move(trash).error().in(fmt::format("deleting task {}", id));
  if (entry.is_idle) idle_.erase(entry.idle);
  if (pinned) {
    entry.task->removed_ = true;
    entry.task->folder_ = *trash;
    entry.task->changed_.notify_all();
    removed_.push_back(std::move(entry.task));
  }
  entries_.erase(found);
  if (pinned) return {};
  if (trash) {
    sweep(*trash);
  } else {
    remove_now(task_folder(id));
  }
  return {};
}

void Store::unpinned(StoredTask& task) {
  if (task.removed_) {
    auto self =
        std::find_if(removed_.begin(), removed_.end(), [&](auto& other) { return other.get() == &task; });
    if (self == removed_.end()) return;
    auto folder = task.folder_;
    auto dead = std::move(*self);
    removed_.erase(self);
    dead.reset();
    sweep(std::move(folder));
    return;
  }
  auto found = entries_.find(task.id());
  if (found == entries_.end() || found->second.task.get() != &task) return;
  task.rest();
  found->second.idle = idle_.insert(idle_.end(), task.id());
  found->second.is_idle = true;
  while (idle_.size() > options_.idle_tasks) unload(entries_.at(idle_.front()));
}

void Store::unload(Entry& entry) {
  if (entry.is_idle) idle_.erase(entry.idle);
  entry.is_idle = false;
  entry.line = entry.task->summary();
  entry.synced = !entry.task->dirty_;
  entry.shared = entry.task->shared_.has_value();
  // Pieces that were to be read again still are.
  entry.doubtful = entry.doubtful || !entry.task->doubts_.empty();
  entry.task.reset();
}

Task<Result<void>> Store::sync_task(TaskHandle task) {
  CO_OK(co_await found());
  CO_OK(co_await task->sync_files());
  auto folder = task_folder(task->id());
  CO_OK(co_await world_.files().sync_folder(folder.substr(0, folder.rfind('/'))));
  co_return co_await world_.files().sync_folder(options_.folder + "/tasks");
}

Task<Result<void>> Store::sync() {
  std::vector<std::string> ids;
  for (const auto& [id, entry] : entries_) {
    bool dirty = entry.task ? entry.task->dirty_ : !entry.synced;
    // Doubtful ones must be read first; that happens when somebody wants them.
    if (dirty && !entry.doubtful) ids.push_back(id);
  }
  std::sort(ids.begin(), ids.end());  // one order everywhere: simulations replay
  std::optional<Error> failure;
  for (const auto& id : ids) {
    if (!entries_.contains(id)) continue;
    auto opened = open_task(id);
    if (opened.failed_with(ErrorCode::kNotFound)) continue;  // given up meanwhile, with a message
    if (!opened) {
      if (!failure) failure = std::move(opened).error();
      continue;
    }
    TaskHandle task(**opened);
    auto synced = co_await sync_task(std::move(task));
    if (!synced && !failure) failure = std::move(synced).error().in(fmt::format("sync point of task {}", id));
  }
  if (failure) co_return std::move(*failure);
  co_return Result<void>{};
}

Task<Result<void>> Store::close() {
  if (closed_) co_return Result<void>{};
  // Not cancel(): what hangs on to tasks must be gone now, not soon.
  scope_.emplace(world_.loop());
  std::size_t pinned = removed_.size();
  for (const auto& [id, entry] : entries_) pinned += entry.task && entry.task->pins_ > 0 ? 1 : 0;
  if (pinned > 0) {
    co_return error(ErrorCode::kPrecondition, "the store {} cannot close: {} of its tasks are in use",
                    options_.folder, pinned);
  }
  if (options_.sync != SyncPolicy::kNever) CO_OK(co_await sync());
  closed_ = true;
  for (auto& [id, entry] : entries_) {
    if (entry.task) unload(entry);
  }
  if (!options_.temporary) co_return co_await write_index();
  auto unfinished = [](auto& entry) { return !entry.second.line.finished; };
  if (std::any_of(entries_.begin(), entries_.end(), unfinished)) CO_OK(write_format());
  co_return Result<void>{};
}

StoreStats Store::stats() const {
  StoreStats stats;
  stats.tasks = entries_.size();
  for (const auto& [id, entry] : entries_) {
    stats.pieces += entry.task ? entry.task->have_.count() : entry.line.pieces;
    stats.bytes += entry.task ? entry.task->stored_ : entry.line.stored;
    if (!entry.task) continue;
    stats.pinned += entry.task->pins_ > 0 ? 1 : 0;
    for (const auto& [number, flight] : entry.task->flights_) stats.in_flight += flight->writers > 0 ? 1 : 0;
  }
  stats.written = written_;
  stats.completed_pieces = completed_pieces_;
  stats.corrupt_pieces = corrupt_pieces_;
  stats.evictions = evictions_;
  stats.evicted_bytes = evicted_bytes_;
  stats.emergencies = emergencies_;
  stats.buffers = buffers_.lent();
  return stats;
}

Result<world::DiskSpace> Store::space() { return world_.files().space(options_.folder); }

}  // namespace d7y::store
