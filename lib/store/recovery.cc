// How a store starts and stops: the lock, the format, the index of a clean stop, the journals after
// any other.
#include <algorithm>

#include "store/flight.h"
#include "store/index.h"
#include "store/store.h"
#include "store/task_slot.h"

namespace d7y::store {
namespace {

constexpr std::string_view kFormat = "d7y store, format 1\n";
// Tasks read before others may run.
constexpr std::size_t kTurn = 256;
// An index that is longer was not written by us (a line has about 250 bytes).
constexpr std::uint64_t kMaxIndex = std::uint64_t{1} << 32;

}  // namespace

Task<Result<void>> Store::start() {
  auto& files = world_.files();
  const auto& root = options_.folder;
  auto place = [&](Error failure) { return std::move(failure).in(fmt::format("store {}", root)); };
  if (auto made = files.make_folders(root); !made) co_return place(std::move(made).error());
  auto lock = files.lock(root + "/lock");
  if (lock.failed_with(ErrorCode::kExists)) {
    co_return error(
        ErrorCode::kExists,
        "store {} is in use by another process or node; stop it, or choose another storage folder", root);
  }
  if (!lock) co_return place(std::move(lock).error());
  lock_ = std::move(*lock);
  CO_OK(co_await check_format());
  auto places = co_await make_places();
  if (!places) co_return place(std::move(places).error());
  if (!options_.keep) CO_OK(co_await wipe());

  CO_TRY(bool clean, read_index());
  if (clean) {
    // From now on it is out of date. Should it come back after a crash, it would be believed.
    CO_OK(files.remove(root + "/index"));
    CO_OK(co_await files.sync_folder(root));
  } else {
    CO_OK(co_await read_journals());
  }
  if (auto old = files.list(root + "/trash")) {
    for (const auto& name : *old) sweep(root + "/trash/" + name);
  }
  co_return Result<void>{};
}

Task<Result<void>> Store::check_format() {
  auto& files = world_.files();
  const auto& root = options_.folder;
  auto path = root + "/FORMAT";
  auto file = files.open(path, world::OpenMode::kRead);
  if (file) {
    std::string there(kFormat.size() + 1, '\0');
    CO_TRY(auto got, (*file)->read_at(0, as_mutable_bytes(there)));
    there.resize(got);
    if (there == kFormat) co_return Result<void>{};
    // A crash before the first sync point may have left its beginning only, or room without bytes.
    bool unfinished = kFormat.starts_with(there) || there.find_first_not_of('\0') == std::string::npos;
    if (!unfinished)
      co_return error(
          ErrorCode::kUnsupported,
          "store {}: {} does not say {:?}; it was made by another version, choose another folder or empty it",
          root, path, kFormat);
  }
  if (!file && !file.failed_with(ErrorCode::kNotFound)) co_return std::move(file).error();

  // The first start. The first sync point makes all this durable: before it, nothing is promised.
  if (!options_.temporary) {
    CO_OK(only_ours());
    CO_OK(write_format());
  }
  co_return Result<void>{};
}

// Without FORMAT a folder may be anybody's, and what lies in ours of his is deleted sooner or later.
Result<void> Store::only_ours() const {
  auto& files = world_.files();
  auto foreign = [&](const std::string& path) {
    return error(ErrorCode::kExists,
                 "store {}: {} is not of a store, and would be deleted; choose a folder of its own for it",
                 options_.folder, path);
  };
  auto is_hex = [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); };
  auto trash = options_.folder + "/trash", tasks = options_.folder + "/tasks";
  auto names_in = [&](const std::string& path) -> Result<std::vector<std::string>> {
    auto names = files.list(path);
    if (names.failed_with(ErrorCode::kNotFound)) return std::vector<std::string>{};
    return names;
  };
  TRY(auto leaving, names_in(trash));
  for (const auto& name : leaving) {
    if (name.size() != 16 || !std::all_of(name.begin(), name.end(), is_hex))
      return foreign(trash + "/" + name);
  }
  TRY(auto shards, names_in(tasks));
  for (const auto& shard : shards) {
    auto path = fmt::format("{}/{}", tasks, shard);
    auto ids = files.list(path);
    if (shard.size() != 2 || !ids) return foreign(path);
    for (const auto& id : *ids) {
      if (!check_task_id(id) || fmt::format("{:_<2}", id.substr(0, 2)) != shard)
        return foreign(path + "/" + id);
    }
  }
  return {};
}

Result<void> Store::write_format() {
  auto& files = world_.files();
  auto path = options_.folder + "/FORMAT";
  {
    TRY(auto fresh, files.open(path + ".new", world::OpenMode::kCreate));
    TRY_OK(fresh->resize(0));
    TRY_OK(fresh->write_at(0, as_bytes(kFormat)));
  }
  return files.rename(path + ".new", path);
}

// What a sync point promises needs FORMAT and every folder above the tasks to be durable.
Task<Result<void>> Store::found() {
  if (founded_) co_return Result<void>{};
  auto& files = world_.files();
  const auto& root = options_.folder;
  {
    auto format = files.open(root + "/FORMAT", world::OpenMode::kReadWrite);
    if (format.failed_with(ErrorCode::kNotFound)) {  // somebody has cleared the whole store
      CO_OK(write_format());
      format = files.open(root + "/FORMAT", world::OpenMode::kReadWrite);
    }
    if (!format) co_return std::move(format).error();
    CO_OK(co_await (*format)->sync());
  }
  CO_OK(co_await files.sync_folder(root));
  for (auto slash = root.rfind('/'); slash != std::string::npos && slash > 0;
       slash = root.rfind('/', slash - 1)) {
    // Folders that were there before may be closed to us, and need it least.
    auto synced = co_await files.sync_folder(root.substr(0, slash));
    if (!synced) log_.debug("store {}: {}", root, synced.error().message());
  }
  std::string parent = root.front() == '/' ? "/" : ".";  // named: g++ 12 and ?: in co_await
  auto above = co_await files.sync_folder(std::move(parent));
  if (!above) log_.debug("store {}: {}", root, above.error().message());
  founded_ = true;
  co_return Result<void>{};
}

Task<Result<void>> Store::make_places() {
  auto& files = world_.files();
  const auto& root = options_.folder;
  auto made = files.make_folders(root + "/tasks");
  if (made.failed_with(ErrorCode::kDiskFull)) {
    // What was on its way out at the last stop may be all that fills the disk.
    if (auto old = files.list(root + "/trash")) {
      for (const auto& name : *old) CO_OK(co_await files.remove_tree(root + "/trash/" + name));
    }
    made = files.make_folders(root + "/tasks");
  }
  if (!made || options_.temporary) co_return made;
  made = files.make_folders(root + "/trash");
  has_trash_ = made.ok();
  if (made.failed_with(ErrorCode::kDiskFull)) co_return Result<void>{};  // made when it is needed
  co_return made;
}

Task<Result<void>> Store::wipe() {
  auto& files = world_.files();
  const auto& root = options_.folder;
  auto gone = files.remove(root + "/index");
  if (!gone && !gone.failed_with(ErrorCode::kNotFound)) co_return std::move(gone);
  auto moved = to_trash(root + "/tasks");
  if (moved.failed_with(ErrorCode::kDiskFull)) {  // of what is to go itself
    CO_OK(co_await files.remove_tree(root + "/tasks"));
  } else if (!moved) {
    co_return std::move(moved).error();
  }
  CO_OK(co_await make_places());
  if (!gone) co_return Result<void>{};
  // Should the index come back after a crash, it would name tasks that are gone.
  co_return co_await files.sync_folder(root);
}

Result<bool> Store::read_index() {
  auto path = options_.folder + "/index";
  auto file = world_.files().open(path, world::OpenMode::kRead);
  if (file.failed_with(ErrorCode::kNotFound)) return false;
  if (!file) return std::move(file).error();
  TRY(auto status, (*file)->status());
  if (status.size > kMaxIndex) return false;
  std::string bytes(status.size, '\0');
  TRY(auto got, (*file)->read_at(0, as_mutable_bytes(bytes)));
  bytes.resize(got);
  auto lines = decode_index(as_bytes(bytes));
  if (!lines) {
    log_.warn("store {}: {}; the journals are read instead", options_.folder, lines.error().message());
    return false;
  }
  entries_.reserve(lines->size());
  for (auto& line : *lines) {
    auto& entry = entries_[line.task.id];
    entry.synced = line.synced;
    entry.doubtful = !line.synced;
    entry.shared = line.shared;
    entry.line = std::move(line.task);
  }
  return true;
}

Task<Result<void>> Store::read_journals() {
  auto& files = world_.files();
  auto tasks = options_.folder + "/tasks";
  std::size_t seen = 0;
  CO_TRY(auto shards, files.list(tasks));
  for (const auto& shard : shards) {
    auto ids = files.list(tasks + "/" + shard);
    if (!ids) {
      log_.warn("store: {}", ids.error().message());
      continue;
    }
    for (const auto& id : *ids) {
      if (check_task_id(id)) {
        auto read = read_one_journal(fmt::format("{}/{}/{}", tasks, shard, id), id);
        if (!read) log_.warn("task {} is left aside: {}", id, read.error().message());
      }
      if (++seen % kTurn == 0) co_await next_turn();
    }
  }
  co_return Result<void>{};
}

Result<void> Store::read_one_journal(const std::string& folder, const std::string& id) {
  auto give_up = [&](const Error& why) {
    log_.warn("task {} is given up: {}", id, why.message());
    discard(folder);
  };
  auto bytes = read_whole_journal(world_.files(), folder + "/journal");
  if (!bytes) {
    if (!bytes.failed_with(ErrorCode::kNotFound)) return std::move(bytes).error();
    give_up(bytes.error());
    return {};
  }
  auto history = read_journal(as_bytes(*bytes));
  if (!history || history->facts.facts.id != id) {
    give_up(history ? Error(ErrorCode::kCorrupt, "its journal is that of another task")
                    : history.error().clone());
    return {};
  }
  auto& entry = entries_[id];
  TaskSummary& line = entry.line;
  const TaskFacts& facts = history->facts.facts;
  line.id = id;
  line.kind = facts.kind;
  line.piece_length = facts.piece_length;
  line.content_length = facts.content_length;
  line.ttl = facts.ttl;
  line.created_at = history->facts.created_at;
  line.accessed_at = history->facts.accessed_at;
  line.finished = history->finished;
  line.failed = history->failure.has_value();
  line.persistent = facts.persistent;
  line.pieces = static_cast<std::uint32_t>(history->pieces.size());
  entry.synced = true;
  for (const auto& [number, piece] : history->pieces) {
    line.stored += piece.info.length;
    entry.synced = entry.synced && piece.synced;
  }
  entry.doubtful = !entry.synced;
  entry.shared = history->shared.has_value();
  return {};
}

Task<Result<void>> Store::write_index() {
  auto& files = world_.files();
  // Without an index the journals are read, and where there is no task there is none to read.
  if (entries_.empty()) co_return Result<void>{};
  std::vector<IndexEntry> lines;
  lines.reserve(entries_.size());
  for (const auto& [id, entry] : entries_) {
    lines.push_back({entry.line, entry.synced && !entry.doubtful, entry.shared});
  }
  std::sort(lines.begin(), lines.end(), [](auto& a, auto& b) { return a.task.id < b.task.id; });
  auto image = encode_index(lines, world_.random());
  auto path = options_.folder + "/index";
  bool durable = options_.sync != SyncPolicy::kNever;
  {
    CO_TRY(auto file, files.open(path + ".new", world::OpenMode::kCreate));
    CO_OK(file->resize(0));
    CO_OK(file->write_at(0, as_bytes(image)));
    if (durable) CO_OK(co_await file->sync());
  }
  CO_OK(files.rename(path + ".new", path));
  if (durable) CO_OK(co_await files.sync_folder(options_.folder));
  co_return Result<void>{};
}

}  // namespace d7y::store
