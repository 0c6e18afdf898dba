#include "sim/sim_files.h"

#include <algorithm>

#include "sim/host.h"

namespace d7y::sim {

using world::FileKind;
using world::OpenMode;

// ---- One open file. ----

SimFile::SimFile(Disk& disk, InodePtr inode, std::string path, bool writable)
    : disk_(disk), boot_(disk.boot_), inode_(std::move(inode)), path_(std::move(path)), writable_(writable) {
  ++disk_.open_files_;
  ++inode_->opens;
}

SimFile::~SimFile() {
  if (boot_ != disk_.boot_) return;
  --disk_.open_files_;
  if (inode_->opens > 0) --inode_->opens;
  if (!disk_.frozen_) Disk::free_if_gone(*inode_);
}

Result<void> SimFile::check(bool writing) const {
  if (boot_ != disk_.boot_)
    return error(ErrorCode::kIo, "{}: was opened before the machine restarted", path_);
  if (writing && !writable_) return error(ErrorCode::kIo, "writing {}: it is open for reading only", path_);
  return {};
}

Result<std::size_t> SimFile::read_at(std::uint64_t offset, MutableBytes buffer) {
  TRY_OK(check(false));
  TRY_OK(disk_.begin(FileOp::kRead, path_, offset, buffer.size()));
  auto got = disk_.read(*inode_, offset, buffer);
  disk_.spoil(path_, buffer.first(got));
  return got;
}

Result<void> SimFile::write_at(std::uint64_t offset, Bytes bytes) {
  return write_at(offset, std::span(&bytes, 1));
}

Result<void> SimFile::write_at(std::uint64_t offset, std::span<const Bytes> parts) {
  TRY_OK(check(true));
  std::size_t total = 0;
  for (auto part : parts) total += part.size();
  bool partly = false;
  auto begun = disk_.begin(FileOp::kWrite, path_, offset, total, &partly);
  auto allowed = begun ? total : partly ? disk_.random_.below(total + 1) : 0;
  for (auto part : parts) {
    auto count = std::min(part.size(), allowed);
    if (count > 0) TRY_OK(disk_.write(*inode_, offset, part.first(count), path_));
    offset += count;
    allowed -= count;
  }
  return begun;
}

Result<void> SimFile::resize(std::uint64_t length) {
  TRY_OK(check(true));
  TRY_OK(disk_.begin(FileOp::kResize, path_, length));
  disk_.resize(*inode_, length);
  return {};
}

Result<void> SimFile::reserve(std::uint64_t offset, std::uint64_t length) {
  TRY_OK(check(true));
  TRY_OK(disk_.begin(FileOp::kReserve, path_, offset, length));
  if (length > disk_.options_.capacity) {
    return error(ErrorCode::kDiskFull, "reserving {} bytes for {}: no space left on device", length, path_);
  }
  auto end = offset + length;
  for (auto at = offset; at < end;) {
    auto begin = static_cast<std::size_t>(at % kPage);
    auto count = static_cast<std::size_t>(std::min<std::uint64_t>(kPage - begin, end - at));
    std::uint32_t blocks = 0;
    for (auto block = begin / kBlock; block * kBlock < begin + count; ++block) blocks |= 1U << block;
    TRY_OK(disk_.pay(inode_->pages[at / kPage], static_cast<std::uint16_t>(blocks), path_));
    at += count;
  }
  return {};
}

Task<Result<void>> SimFile::sync() {
  CO_OK(check(false));
  auto begun = disk_.begin(FileOp::kSync, path_);
  if (!begun) {
    // Linux marks the pages clean although they never reached the disk: the next sync says ok.
    disk_.dirty_bytes_ -= std::min(disk_.dirty_bytes_, inode_->dirty.size() * kPage);
    inode_->dirty.clear();
    co_return std::move(begun);
  }
  // What is written from here on is not part of this sync.
  struct Written {
    std::uint64_t index;
    std::shared_ptr<Page> page;
  };
  std::vector<Written> written;
  for (auto index : inode_->dirty) {
    auto found = inode_->pages.find(index);
    written.push_back({index, found == inode_->pages.end() ? nullptr : found->second.page});
  }
  auto size = inode_->size;
  Duration takes = disk_.options_.sync_latency;
  if (disk_.options_.write_rate != 0) {
    takes += Duration(static_cast<std::int64_t>(static_cast<double>(written.size() * kPage) * 1e9 /
                                                static_cast<double>(disk_.options_.write_rate)));
  }
  co_await sleep_for(takes + disk_.random_.up_to(takes / 4));
  CO_OK(check(false));
  if (disk_.frozen_) co_return error(ErrorCode::kIo, "{}: the machine is off", path_);
  for (auto& [index, page] : written) {
    if (page) {
      inode_->durable_pages[index] = page;
    } else {
      inode_->durable_pages.erase(index);
    }
    auto found = inode_->pages.find(index);
    auto now = found == inode_->pages.end() ? nullptr : found->second.page;
    if (now == page && inode_->dirty.erase(index) > 0)
      disk_.dirty_bytes_ -= std::min<std::uint64_t>(disk_.dirty_bytes_, kPage);
  }
  inode_->durable_size = size;
  co_return Result<void>{};
}

Result<world::FileStatus> SimFile::status() {
  TRY_OK(check(false));
  return disk_.status_of(*inode_);
}

// ---- The tree. ----

namespace {

Error is_folder(const std::string& path) {
  return error(ErrorCode::kPrecondition, "{}: is a directory", path);
}
Error exists(const std::string& path) { return error(ErrorCode::kExists, "{}: file exists", path); }

}  // namespace

Result<std::unique_ptr<world::File>> SimFiles::open(const std::string& path, OpenMode mode,
                                                    std::uint32_t permissions) {
  TRY_OK(disk_.begin(FileOp::kOpen, path, static_cast<std::uint64_t>(mode)));
  if (!disk_.host_.has_descriptors()) {
    return error(ErrorCode::kExhausted, "opening {}: too many open files; raise the limit (ulimit -n)", path);
  }
  TRY(auto place, disk_.find(path, mode != OpenMode::kCreateNew));
  auto inode = place.inode;
  if (inode && mode == OpenMode::kCreateNew) return exists(path);
  if (inode && inode->kind == FileKind::kFolder && mode != OpenMode::kRead) return is_folder(path);
  if (inode && inode->kind == FileKind::kOther)
    return error(ErrorCode::kIo, "{}: no such device or address", path);
  if (!inode) {
    if (mode == OpenMode::kRead || mode == OpenMode::kReadWrite) {
      return error(ErrorCode::kNotFound, "opening {}: no such file or directory", path);
    }
    if (disk_.usage_->bytes >= disk_.options_.capacity) {
      return error(ErrorCode::kDiskFull, "creating {}: no space left on device; free some space", path);
    }
    inode = disk_.make_inode(FileKind::kRegular, permissions & 0777);
    disk_.change_names({{place.folder, place.name, inode}});
  }
  return std::unique_ptr<world::File>(std::make_unique<SimFile>(disk_, inode, path, mode != OpenMode::kRead));
}

Result<world::FileStatus> SimFiles::status(const std::string& path) {
  TRY_OK(disk_.begin(FileOp::kStatus, path));
  TRY(auto inode, disk_.find_existing(path));
  return disk_.status_of(*inode);
}

Result<world::FileStatus> SimFiles::link_status(const std::string& path) {
  TRY_OK(disk_.begin(FileOp::kStatus, path));
  TRY(auto inode, disk_.find_existing(path, false));
  return disk_.status_of(*inode);
}

Result<std::vector<std::string>> SimFiles::list(const std::string& folder) {
  TRY_OK(disk_.begin(FileOp::kList, folder));
  TRY(auto inode, disk_.find_existing(folder));
  if (inode->kind != FileKind::kFolder) return error(ErrorCode::kNotFound, "{}: not a directory", folder);
  std::vector<std::string> names;
  for (auto& [name, child] : inode->entries) names.push_back(name);
  return names;
}

Result<void> SimFiles::make_folders(const std::string& path, std::uint32_t permissions) {
  std::size_t end = 0;
  while (end < path.size()) {
    end = std::min(path.find('/', end + 1), path.size());
    auto part = path.substr(0, end);
    TRY(auto place, disk_.find(part, true));
    if (place.inode) {
      if (place.inode->kind == FileKind::kFolder) continue;
      return end == path.size() ? exists(part) : error(ErrorCode::kNotFound, "{}: not a directory", part);
    }
    TRY_OK(disk_.begin(FileOp::kMakeFolder, part));
    disk_.change_names({{place.folder, place.name, disk_.make_inode(FileKind::kFolder, permissions & 0777)}});
  }
  return {};
}

Result<void> SimFiles::remove(const std::string& path) {
  TRY_OK(disk_.begin(FileOp::kRemove, path));
  TRY(auto place, disk_.find(path, false));
  if (!place.inode) return error(ErrorCode::kNotFound, "removing {}: no such file or directory", path);
  if (!place.folder || !place.inode->entries.empty()) {
    return error(ErrorCode::kPrecondition, "removing {}: directory not empty", path);
  }
  disk_.change_names({{place.folder, place.name, nullptr}});
  return {};
}

Task<Result<void>> SimFiles::remove_tree(std::string path) {
  co_await sleep_for(std::chrono::microseconds(100));
  auto top = disk_.find(path, false);
  if (!top || !top->inode) co_return Result<void>{};
  std::vector<std::string> open{path}, order;
  while (!open.empty()) {
    auto at = std::move(open.back());
    open.pop_back();
    order.push_back(at);
    auto inode = disk_.find_existing(at, false);
    if (!inode) continue;
    for (auto& [name, child] : (*inode)->entries) open.push_back(at + "/" + name);
  }
  for (auto it = order.rbegin(); it != order.rend(); ++it) {
    auto removed = remove(*it);
    if (!removed && !removed.failed_with(ErrorCode::kNotFound)) co_return std::move(removed);
  }
  co_return Result<void>{};
}

Result<void> SimFiles::move(const std::string& from, const std::string& to, bool replace) {
  TRY_OK(disk_.begin(FileOp::kRename, to));
  TRY(auto source, disk_.find(from, false));
  if (!source.inode || !source.folder)
    return error(ErrorCode::kNotFound, "renaming {} to {}: no such file or directory", from, to);
  TRY(auto target, disk_.find(to, false));
  if (!target.folder) return error(ErrorCode::kPrecondition, "renaming {} to {}: it is in use", from, to);
  if (target.inode) {
    if (!replace) return exists(to);
    if (target.inode == source.inode) return {};
    bool folder = source.inode->kind == FileKind::kFolder;
    if (folder != (target.inode->kind == FileKind::kFolder)) {
      return folder ? error(ErrorCode::kNotFound, "renaming {} to {}: not a directory", from, to)
                    : is_folder(to);
    }
    if (!target.inode->entries.empty()) {
      return error(ErrorCode::kPrecondition, "renaming {} to {}: directory not empty", from, to);
    }
  }
  auto inode = source.inode;
  disk_.change_names({{target.folder, target.name, inode}, {source.folder, source.name, nullptr}});
  return {};
}

Result<void> SimFiles::rename(const std::string& from, const std::string& to) { return move(from, to, true); }
Result<void> SimFiles::rename_new(const std::string& from, const std::string& to) {
  return move(from, to, false);
}

Result<void> SimFiles::hard_link(const std::string& existing, const std::string& name) {
  TRY_OK(disk_.begin(FileOp::kLink, name));
  if (!disk_.options_.hard_links) {
    return error(ErrorCode::kUnsupported, "linking {} to {}: operation not supported", existing, name);
  }
  TRY(auto inode, disk_.find_existing(existing, false));
  if (inode->kind == FileKind::kFolder)
    return error(ErrorCode::kPermission, "linking {}: is a directory", existing);
  TRY(auto place, disk_.find(name, false));
  if (place.inode) return exists(name);
  disk_.change_names({{place.folder, place.name, inode}});
  return {};
}

Result<void> SimFiles::reflink(const std::string& from, const std::string& to) {
  TRY_OK(disk_.begin(FileOp::kLink, to));
  if (!disk_.options_.reflink) {
    return error(ErrorCode::kUnsupported, "cloning {} to {}: operation not supported", from, to);
  }
  TRY(auto source, disk_.find_existing(from));
  TRY(auto place, disk_.find(to, false));
  if (place.inode) return exists(to);
  auto inode = disk_.make_inode(FileKind::kRegular, 0644);
  TRY_OK(disk_.reflink(*source, *inode));
  disk_.change_names({{place.folder, place.name, inode}});
  return {};
}

Task<Result<void>> SimFiles::sync_folder(std::string folder) {
  CO_OK(disk_.begin(FileOp::kSyncFolder, folder));
  CO_TRY(auto inode, disk_.find_existing(folder));
  auto boot = disk_.boot_;
  auto takes = disk_.options_.sync_latency;
  co_await sleep_for(takes + disk_.random_.up_to(takes / 4));
  if (disk_.frozen_ || disk_.boot_ != boot) co_return error(ErrorCode::kIo, "{}: the machine is off", folder);
  disk_.sync_names(inode);
  co_return Result<void>{};
}

Result<world::DiskSpace> SimFiles::space(const std::string& path) {
  TRY_OK(disk_.begin(FileOp::kStatus, path));
  TRY_OK(disk_.find_existing(path));
  world::DiskSpace space;
  space.total = disk_.options_.capacity;
  space.free = space.available = space.total - std::min(space.total, disk_.used());
  space.inodes_total = 1 << 20;
  space.inodes_free =
      space.inodes_total - std::min<std::uint64_t>(space.inodes_total, disk_.inodes(*disk_.root_));
  return space;
}

// ---- Locks. ----

class SimLock final : public world::FileLock {
 public:
  SimLock(Disk& disk, InodePtr inode) : disk_(disk), inode_(std::move(inode)), boot_(disk.boot_) {
    inode_->locked_in_boot = boot_;
  }
  ~SimLock() override {
    if (disk_.boot_ == boot_ && inode_->locked_in_boot == boot_) inode_->locked_in_boot = 0;
  }

 private:
  Disk& disk_;
  InodePtr inode_;
  std::uint64_t boot_;
};

Result<std::unique_ptr<world::FileLock>> SimFiles::lock(const std::string& path) {
  TRY_OK(disk_.begin(FileOp::kLock, path));
  TRY(auto place, disk_.find(path, true));
  auto inode = place.inode;
  if (!inode) {
    inode = disk_.make_inode(FileKind::kRegular, 0644);
    disk_.change_names({{place.folder, place.name, inode}});
  }
  if (inode->locked_in_boot == disk_.boot_) {
    return error(ErrorCode::kExists, "locking {}: somebody else holds it", path);
  }
  return std::unique_ptr<world::FileLock>(std::make_unique<SimLock>(disk_, inode));
}

}  // namespace d7y::sim
