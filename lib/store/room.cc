// The hand of garbage collection: what gc.h decides is done here.
#include <algorithm>

#include "store/flight.h"
#include "store/store.h"
#include "store/task_slot.h"

namespace d7y::store {

void Store::give_up_vanished(const std::string& id) {
  auto found = entries_.find(id);
  if (found == entries_.end() || !found->second.task) return;
  Entry& entry = found->second;
  log_.warn("task {} is forgotten: somebody has deleted or moved its files in {}", id, options_.folder);
  // Whatever is left of its folder must not be in the way of the next one of this name.
  auto left = to_trash(task_folder(id));
  if (!left) remove_now(task_folder(id));
  if (entry.is_idle) idle_.erase(entry.idle);
  if (entry.task->pins_ > 0) {
    entry.task->removed_ = true;
    entry.task->folder_ = left ? *left : fmt::format("{}/trash/{:016x}", options_.folder, world_.random());
    entry.task->changed_.notify_all();
    removed_.push_back(std::move(entry.task));
  } else if (left) {
    sweep(*left);
  }
  entries_.erase(found);
}

std::vector<GcCandidate> Store::candidates(std::vector<const std::string*>& ids) {
  std::vector<GcCandidate> tasks;
  tasks.reserve(entries_.size());
  // One order everywhere, so that the same events evict the same tasks.
  for (const auto& [id, entry] : entries_) ids.push_back(&id);
  std::sort(ids.begin(), ids.end(), [](auto* a, auto* b) { return *a < *b; });
  for (std::size_t index = 0; index < ids.size(); ++index) {
    const Entry& entry = entries_.at(*ids[index]);
    auto line = entry.task ? entry.task->summary() : entry.line;
    bool shared = entry.task ? entry.task->shared_.has_value() : entry.shared;
    GcCandidate task{.index = index,
                     .kind = line.kind,
                     .ttl = line.ttl,
                     .created_at = line.created_at,
                     .accessed_at = line.accessed_at,
                     .frees = line.stored,
                     .finished = line.finished,
                     .failed = line.failed,
                     .persistent = line.persistent,
                     .pinned = line.pinned};
    if (!line.finished) {
      // Room that was reserved and not yet filled comes back too.
      auto opened = entry.task ? entry.task->content_->status()
                               : world_.files().status(task_folder(line.id) + "/content.1");
      if (opened) task.frees = std::max(task.frees, opened->allocated);
    }
    if (shared) {
      // While a user's name for the file is left, deleting ours gives nothing back.
      auto opened = entry.task ? entry.task->content_->status()
                               : world_.files().status(task_folder(line.id) + "/content.1");
      if (opened && opened->links > 1) task.frees = 0;
    }
    tasks.push_back(task);
  }
  return tasks;
}

Task<Result<Collected>> Store::collect() {
  Collected collected;
  // Open files that were deleted take room until they are closed.
  auto idle = idle_;
  for (const auto& id : idle) {
    const auto& entry = entries_.at(id);
    if (!entry.task->vanished()) continue;
    collected.evicted.push_back({id, entry.task->facts().kind, GcReason::kVanished, entry.task->stored()});
    give_up_vanished(id);
  }
  CO_TRY(auto disk, space());
  DiskUse use{.capacity = disk.total - disk.free + disk.available, .used = disk.total - disk.free};
  if (options_.gc.disk_threshold > 0) use = {.capacity = options_.gc.disk_threshold, .used = stats().bytes};

  std::vector<const std::string*> pointers;
  auto tasks = candidates(pointers);
  std::vector<std::string> ids;
  ids.reserve(pointers.size());
  for (const auto* id : pointers) ids.push_back(*id);
  for (const auto& eviction : choose_evictions(options_.gc, std::move(tasks), use, world_.wall_now())) {
    const auto& id = ids[eviction.index];
    auto line = summary(id);
    if (!line || line->pinned) continue;
    auto bytes = evict(id, false);
    log_.info("task {} evicted ({}): {} bytes", id, name_of(eviction.reason), bytes);
    collected.evicted.push_back({id, line->kind, eviction.reason, bytes});
  }
  if (options_.sync != SyncPolicy::kNever) CO_OK(co_await sync());
  co_return collected;
}

std::uint64_t Store::make_room(std::uint64_t bytes) {
  if (making_room_) return 0;
  making_room_ = true;
  ++emergencies_;
  std::uint64_t freed = 0;
  // What is on its way out first.
  auto leaving = sweeping_;
  for (const auto& folder : leaving) {
    remove_now(folder);
    freed += 1;  // unknown, but worth another try
  }
  // A little more than asked for: the file system has its own needs.
  auto needed = bytes + (std::uint64_t{1} << 20);
  std::vector<const std::string*> pointers;
  auto tasks = candidates(pointers);
  std::vector<std::string> ids;
  for (const auto* id : pointers) ids.push_back(*id);
  std::vector<std::uint64_t> frees;
  for (const auto& task : tasks) frees.push_back(task.frees);
  for (const auto& eviction : choose_for_room(options_.gc, std::move(tasks), needed, world_.wall_now())) {
    auto gained = std::max(evict(ids[eviction.index], true), frees[eviction.index]);
    log_.warn("the disk is full: task {} with {} bytes was evicted", ids[eviction.index], gained);
    freed += gained;
  }
  making_room_ = false;
  return freed;
}

// Deletes a task that nobody holds; says how many bytes it had.
std::uint64_t Store::evict(const std::string& id, bool at_once) {
  auto found = entries_.find(id);
  if (found == entries_.end()) return 0;
  Entry& entry = found->second;
  auto bytes = entry.task ? entry.task->stored_ : entry.line.stored;
  if (entry.is_idle) idle_.erase(entry.idle);
  entries_.erase(found);  // closes its files
  ++evictions_;
  evicted_bytes_ += bytes;
  auto folder = task_folder(id);
  if (at_once) {
    remove_now(folder);  // on a full disk even a rename may find no room
  } else {
    discard(folder);
  }
  return bytes;
}

Result<std::string> Store::to_trash(const std::string& path) {
  if (!has_trash_) {
    TRY_OK(world_.files().make_folders(options_.folder + "/trash"));
    has_trash_ = true;
  }
  auto& files = world_.files();
  auto trash = fmt::format("{}/trash/{:016x}", options_.folder, world_.random());
  auto moved = files.rename(path, trash);
  if (moved.failed_with(ErrorCode::kNotFound) && !files.link_status(options_.folder + "/trash")) {
    TRY_OK(files.make_folders(options_.folder + "/trash"));  // somebody has cleared the whole store
    moved = files.rename(path, trash);
  }
  if (!moved) return std::move(moved).error();
  return trash;
}

void Store::discard(const std::string& path) {
  auto trash = to_trash(path);
  if (trash) {
    sweep(*trash);
  } else if (!trash.failed_with(ErrorCode::kNotFound)) {
    remove_now(path);
  }
}

void Store::sweep(std::string path) {
  if (!scope_) return;  // ending: it waits in the trash for the next start
  sweeping_.insert(path);
  scope_->spawn(sweep_in_background(std::move(path)));
}

Task<void> Store::sweep_in_background(std::string path) {
  auto gone = co_await world_.files().remove_tree(path);
  sweeping_.erase(path);
  // Tried again at the next start.
  if (!gone) log_.warn("deleting {}: {}", path, gone.error().message());
}

// Deletes at once and on this thread, the journal of a task first: without it the rest is nothing.
void Store::remove_now(const std::string& folder) {
  auto& files = world_.files();
  auto status = files.link_status(folder);
  if (!status) return;
  if (status->kind == world::FileKind::kFolder) {
    if (auto names = files.list(folder)) {
      std::sort(names->begin(), names->end(), std::greater<>());  // "journal" before "content"
      for (const auto& name : *names) remove_now(folder + "/" + name);
    }
  }
  if (auto gone = files.remove(folder); !gone && !gone.failed_with(ErrorCode::kNotFound)) {
    log_.warn("deleting {}: {}", folder, gone.error().message());
  }
}

Error Store::explain(Error failure, std::string_view doing, std::uint64_t bytes, const std::string& id) {
  if (failure.code() != ErrorCode::kDiskFull) return std::move(failure).in(fmt::format("task {}", id));
  auto disk = space();
  return error(
      ErrorCode::kDiskFull,
      "task {}: no room to {} {} bytes in {}: {} bytes are free and nothing more can be evicted; free disk "
      "space or give the store a bigger disk",
      id, doing, bytes, options_.folder, disk ? disk->available : 0);
}

}  // namespace d7y::store
