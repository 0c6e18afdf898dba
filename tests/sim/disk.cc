#include "sim/disk.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <bit>

#include "sim/host.h"
#include "sim/sim_files.h"
#include "sim/simulation.h"

namespace d7y::sim {

using world::FileKind;

void PageStore::intern(std::shared_ptr<Page>& page) {
  auto& slot = pages_[XXH3_64bits(page->data(), page->size())];
  if (auto known = slot.lock(); known && *known == *page) {
    page = std::move(known);
  } else {
    slot = page;
  }
  if (pages_.size() < sweep_at_) return;
  std::erase_if(pages_, [](auto& entry) { return entry.second.expired(); });
  sweep_at_ = 2 * pages_.size() + 4096;
}

Disk::Disk(Host& host, PageStore& pages, DiskOptions options, std::uint64_t seed)
    : host_(host),
      store_(pages),
      options_(options),
      random_(seed),
      files_(std::make_unique<SimFiles>(*this)) {
  root_ = make_inode(FileKind::kFolder, 0755);
  root_->links = 1;
}

Disk::~Disk() = default;

world::Files& Disk::files() { return *files_; }

InodePtr Disk::make_inode(FileKind kind, std::uint32_t mode) {
  auto inode = std::make_shared<Inode>();
  inode->id = next_inode_++;
  inode->kind = kind;
  inode->mode = mode;
  inode->modified = host_.wall_now();
  return inode;
}

// ---- Names. ----

Result<Disk::Place> Disk::find(const std::string& path, bool follow, int depth) {
  auto failure = [&](ErrorCode code, std::string_view why) { return error(code, "{}: {}", path, why); };
  if (depth > 40) return failure(ErrorCode::kInvalid, "too many levels of symbolic links");
  if (path.empty()) return failure(ErrorCode::kNotFound, "no such file or directory");
  std::vector<std::pair<InodePtr, std::string>> above;  // the folders walked through, for ".."
  InodePtr at = root_;
  std::string walked;
  std::size_t begin = 0;
  while (begin < path.size()) {
    auto end = std::min(path.find('/', begin), path.size());
    auto name = path.substr(begin, end - begin);
    begin = end + 1;
    if (name.empty() || name == ".") continue;
    if (name.size() > 255) return failure(ErrorCode::kInvalid, "file name too long");
    if (name == "..") {
      if (!above.empty()) {
        at = above.back().first;
        walked = above.back().second;
        above.pop_back();
      }
      continue;
    }
    if (at->kind != FileKind::kFolder) return failure(ErrorCode::kNotFound, "not a directory");
    bool last = path.find_first_not_of('/', end) == std::string::npos;
    auto found = at->entries.find(name);
    if (found == at->entries.end()) {
      if (last) return Place{at, name, nullptr};
      return failure(ErrorCode::kNotFound, "no such file or directory");
    }
    auto inode = found->second;
    if (inode->kind == FileKind::kSymlink && (!last || follow)) {
      auto target = inode->target.starts_with('/') ? inode->target : walked + "/" + inode->target;
      if (!last) target += path.substr(end);
      return find(target, follow, depth + 1);
    }
    if (last) return Place{at, name, inode};
    above.emplace_back(at, walked);
    walked += "/" + name;
    at = inode;
  }
  return Place{nullptr, "", at};  // a path that ends in ".." or is the root
}

Result<InodePtr> Disk::find_existing(const std::string& path, bool follow) {
  TRY(auto place, find(path, follow));
  if (!place.inode) return error(ErrorCode::kNotFound, "{}: no such file or directory", path);
  return place.inode;
}

void Disk::change_names(MetaOp op) {
  for (auto& change : op) {
    auto& entries = change.folder->entries;
    if (auto old = entries.find(change.name); old != entries.end()) {
      auto gone = old->second;
      --gone->links;
      entries.erase(old);
      free_if_gone(*gone);
    }
    if (change.inode) {
      ++change.inode->links;
      entries.emplace(change.name, change.inode);
    }
    change.folder->modified = host_.wall_now();
  }
  pending_names_.push_back(std::move(op));
}

void Disk::free_if_gone(Inode& inode) {
  if (inode.links > 0 || inode.opens > 0) return;
  // The pages stay: the removal itself may be lost in a crash.
  for (auto& [index, slot] : inode.pages) {
    slot.charge.reset();
    slot.blocks = 0;
  }
}

void Disk::sync_names(const InodePtr& folder) {
  // What happened before in a folder becomes durable with what happened later there.
  std::set<std::uint64_t> folders{folder->id};
  std::vector<bool> durable(pending_names_.size());
  for (std::size_t i = pending_names_.size(); i-- > 0;) {
    auto& op = pending_names_[i];
    durable[i] =
        std::any_of(op.begin(), op.end(), [&](auto& change) { return folders.contains(change.folder->id); });
    if (!durable[i]) continue;
    for (auto& change : op) folders.insert(change.folder->id);
  }
  std::vector<MetaOp> rest;
  for (std::size_t i = 0; i < pending_names_.size(); ++i) {
    if (!durable[i]) {
      rest.push_back(std::move(pending_names_[i]));
      continue;
    }
    for (auto& change : pending_names_[i]) {
      change.folder->durable_entries.erase(change.name);
      if (change.inode) change.folder->durable_entries.emplace(change.name, change.inode);
    }
  }
  pending_names_ = std::move(rest);
}

// ---- Faults. ----

Result<void> Disk::begin(FileOp op, const std::string& path, std::uint64_t a, std::uint64_t b, bool* partly) {
  auto off = [&] { return error(ErrorCode::kIo, "{}: the machine is off", path); };
  if (frozen_) return off();
  bool changes = op != FileOp::kOpen && op != FileOp::kRead && op != FileOp::kList && op != FileOp::kStatus &&
                 op != FileOp::kLock;
  if (op != FileOp::kStatus) {
    host_.fabric().timeline().note(
        "disk", host_.id(), static_cast<std::uint64_t>(op) << 56 | std::hash<std::string>{}(path) >> 8, a, b);
    if (host_.fabric().timeline().tracing()) host_.fabric().timeline().say(host_.id(), "  path " + path);
  }
  if (changes && ++changes_ == power_off_at_) {
    power_off_at_ = 0;
    host_.power_off();
    return off();
  }
  for (auto& fault : faults_) {
    if (fault.op != op || path.find(fault.path) == std::string::npos) continue;
    if (fault.after > 0) {
      --fault.after;
      continue;
    }
    if (fault.count == 0 || !random_.chance(fault.probability)) continue;
    if (fault.count != ~std::uint64_t{0}) --fault.count;
    if (partly != nullptr) *partly = fault.partly;
    return error(fault.code, "{}: {}", path,
                 fault.code == ErrorCode::kDiskFull ? "no space left on device; free some space"
                                                    : "input/output error");
  }
  return {};
}

// ---- Content. ----

Result<void> Disk::pay(Inode::Slot& slot, std::uint16_t blocks, const std::string& path) {
  bool shared = slot.charge && slot.charge.use_count() > 1;
  auto missing = static_cast<std::uint16_t>(blocks & ~slot.blocks);
  auto price = static_cast<std::uint64_t>(
                   std::popcount(shared ? static_cast<std::uint16_t>(slot.blocks | blocks) : missing)) *
               kBlock;
  if (price == 0) return {};
  if (usage_->bytes + price > options_.capacity) {
    return error(ErrorCode::kDiskFull, "{}: no space left on device; free some space", path);
  }
  if (shared || !slot.charge) slot.charge = std::make_shared<Charge>(usage_);
  slot.charge->bytes += price;
  usage_->bytes += price;
  slot.blocks |= blocks;
  return {};
}

namespace {

std::uint16_t blocks_of(std::size_t begin, std::size_t end) {
  std::uint32_t mask = 0;
  for (auto block = begin / kBlock; block * kBlock < end; ++block) mask |= 1U << block;
  return static_cast<std::uint16_t>(mask);
}

// A page of one's own, at least `size` bytes long.
Page& own(std::shared_ptr<Page>& page, std::size_t size, bool keep) {
  size = std::min(kPage, (size + kBlock - 1) / kBlock * kBlock);
  if (!page) {
    page = std::make_shared<Page>(size);
  } else if (page.use_count() > 1) {
    auto copy = keep ? std::make_shared<Page>(*page) : std::make_shared<Page>();
    page = std::move(copy);
  }
  if (page->size() < size) page->resize(size);
  return *page;
}

}  // namespace

Result<void> Disk::write(Inode& inode, std::uint64_t offset, Bytes bytes, const std::string& path) {
  std::size_t done = 0;
  while (done < bytes.size()) {
    auto at = offset + done;
    auto index = at / kPage;
    auto begin = static_cast<std::size_t>(at % kPage);
    auto count = std::min(bytes.size() - done, kPage - begin);
    auto& slot = inode.pages[index];
    TRY_OK(pay(slot, blocks_of(begin, begin + count), path));
    auto& page = own(slot.page, begin + count, count != kPage);
    std::memcpy(page.data() + begin, bytes.data() + done, count);
    if (inode.dirty.insert(index).second) dirty_bytes_ += kPage;
    done += count;
    inode.size = std::max(inode.size, at + count);
    if (begin + count == kPage && slot.blocks == 0xffff) store_.intern(slot.page);
  }
  inode.modified = host_.wall_now();
  slow_down(bytes.size());
  return {};
}

void Disk::slow_down(std::uint64_t written) {
  if (options_.write_rate == 0 || dirty_bytes_ <= options_.dirty_limit) return;
  host_.burn(Duration(static_cast<std::int64_t>(static_cast<double>(written) * 1e9 /
                                                static_cast<double>(options_.write_rate))));
}

std::size_t Disk::read(const Inode& inode, std::uint64_t offset, MutableBytes buffer) const {
  if (offset >= inode.size) return 0;
  auto total = static_cast<std::size_t>(std::min<std::uint64_t>(buffer.size(), inode.size - offset));
  std::size_t done = 0;
  while (done < total) {
    auto at = offset + done;
    auto begin = static_cast<std::size_t>(at % kPage);
    auto count = std::min(total - done, kPage - begin);
    auto found = inode.pages.find(at / kPage);
    std::size_t have = 0;
    if (found != inode.pages.end() && found->second.page && begin < found->second.page->size()) {
      have = std::min(count, found->second.page->size() - begin);
      std::memcpy(buffer.data() + done, found->second.page->data() + begin, have);
    }
    std::memset(buffer.data() + done + have, 0, count - have);
    done += count;
  }
  return total;
}

void Disk::spoil(const std::string& path, MutableBytes bytes) {
  if (!rot_ || bytes.empty() || path.find(rot_->path) == std::string::npos) return;
  auto at = random_.below(rot_->one_in);
  for (; at < bytes.size(); at += 1 + random_.below(2 * rot_->one_in)) bytes[at] ^= std::byte{1};
}

void Disk::resize(Inode& inode, std::uint64_t length) {
  if (length < inode.size) {
    auto last = (length + kPage - 1) / kPage;  // the first page that goes away
    for (auto it = inode.pages.lower_bound(last); it != inode.pages.end(); it = inode.pages.erase(it)) {
      if (inode.dirty.insert(it->first).second) dirty_bytes_ += kPage;
    }
    auto rest = static_cast<std::size_t>(length % kPage);
    if (auto found = inode.pages.find(length / kPage);
        rest != 0 && found != inode.pages.end() && found->second.page && found->second.page->size() > rest) {
      auto& page = own(found->second.page, rest, true);
      std::fill(page.begin() + static_cast<std::ptrdiff_t>(rest), page.end(), std::byte{0});
      if (inode.dirty.insert(length / kPage).second) dirty_bytes_ += kPage;
    }
  }
  inode.size = length;
  inode.modified = host_.wall_now();
}

void Disk::sync_now(Inode& inode) {
  for (auto index : inode.dirty) {
    auto found = inode.pages.find(index);
    if (found == inode.pages.end() || !found->second.page) {
      inode.durable_pages.erase(index);
    } else {
      inode.durable_pages[index] = found->second.page;
    }
  }
  dirty_bytes_ -= std::min(dirty_bytes_, inode.dirty.size() * kPage);
  inode.dirty.clear();
  inode.durable_size = inode.size;
}

Result<void> Disk::reflink(const Inode& from, Inode& to) {
  to.pages = from.pages;
  to.size = from.size;
  for (auto& [index, slot] : to.pages) {
    to.dirty.insert(index);
    dirty_bytes_ += kPage;
  }
  return {};
}

std::uint64_t Disk::allocated(const Inode& inode) const {
  std::uint64_t blocks = 0;
  for (auto& [index, slot] : inode.pages) blocks += static_cast<std::uint64_t>(std::popcount(slot.blocks));
  return blocks * kBlock;
}

world::FileStatus Disk::status_of(const Inode& inode) const {
  world::FileStatus status;
  status.kind = inode.kind;
  status.size = inode.size;
  status.allocated = allocated(inode);
  status.links = inode.links;
  status.inode = inode.id;
  status.device = host_.id();
  status.mode = inode.mode;
  status.modified = inode.modified;
  return status;
}

// ---- What survives. ----

// Replaces the cached content by what a power failure leaves of it.
void Disk::settle_content(Inode& inode) {
  auto size = inode.durable_size;
  if (inode.size != size) {
    switch (random_.below(3)) {
      case 0: break;
      case 1: size = inode.size; break;
      default: size = random_.between(std::min(size, inode.size), std::max(size, inode.size)); break;
    }
  }
  auto pages = inode.durable_pages;
  for (auto index : inode.dirty) {
    auto fate = random_.below(3);
    if (fate == 0) continue;  // as it was
    auto found = inode.pages.find(index);
    auto fresh = found == inode.pages.end() ? nullptr : found->second.page;
    if (fate == 1) {
      if (fresh) {
        pages[index] = fresh;
      } else {
        pages.erase(index);
      }
      continue;
    }
    Page torn(kPage);
    auto old = pages[index];
    for (std::size_t at = 0; at < kPage; at += kSector) {
      auto& source = random_.chance(0.5) ? fresh : old;
      if (source && at < source->size())
        std::copy_n(source->begin() + static_cast<std::ptrdiff_t>(at), std::min(kSector, source->size() - at),
                    torn.begin() + static_cast<std::ptrdiff_t>(at));
    }
    pages[index] = std::make_shared<Page>(std::move(torn));
  }
  inode.pages.clear();
  inode.dirty.clear();
  for (auto& [index, page] : pages) {
    if (!page || index * kPage >= size) continue;
    auto& slot = inode.pages[index];
    slot.page = page;
    auto length = std::min<std::uint64_t>(page->size(), size - index * kPage);
    if (page->size() > length) {
      slot.page = std::make_shared<Page>(page->begin(), page->begin() + static_cast<std::ptrdiff_t>(length));
    }
    slot.blocks = blocks_of(0, length);
    slot.charge = std::make_shared<Charge>(usage_);
    slot.charge->bytes = static_cast<std::uint64_t>(std::popcount(slot.blocks)) * kBlock;
    usage_->bytes += slot.charge->bytes;
  }
  inode.size = size;
  inode.durable_size = size;
  inode.durable_pages.clear();
  for (auto& [index, slot] : inode.pages) inode.durable_pages[index] = slot.page;
}

void Disk::settle(const InodePtr& inode, std::set<std::uint64_t>& seen) {
  ++inode->links;
  if (!seen.insert(inode->id).second) return;
  inode->links = 1;
  inode->locked_in_boot = 0;
  inode->opens = 0;
  if (inode->kind == FileKind::kRegular) settle_content(*inode);
  inode->entries = inode->durable_entries;
  for (auto& [name, child] : inode->entries) settle(child, seen);
}

void Disk::lose_power() {
  std::set<std::uint64_t> cut;  // folders of which the rest of the story is lost
  for (auto& op : pending_names_) {
    bool lost = random_.chance(0.2);
    for (auto& change : op) lost = lost || cut.contains(change.folder->id);
    for (auto& change : op) {
      if (lost) {
        cut.insert(change.folder->id);
        continue;
      }
      change.folder->durable_entries.erase(change.name);
      if (change.inode) change.folder->durable_entries.emplace(change.name, change.inode);
    }
  }
  pending_names_.clear();
  std::set<std::uint64_t> seen;
  settle(root_, seen);
  dirty_bytes_ = 0;
  power_off_at_ = 0;
}

// ---- Straight access for tests. ----

void Disk::make_durable(const InodePtr& inode) {
  if (inode->kind == FileKind::kRegular) sync_now(*inode);
}

std::string Disk::content(const std::string& path) {
  auto inode = find_existing(path);
  if (!inode || (*inode)->kind != FileKind::kRegular) return {};
  std::string bytes((*inode)->size, '\0');
  read(**inode, 0, as_mutable_bytes(bytes));
  return bytes;
}

bool Disk::exists(const std::string& path) { return find_existing(path, false).ok(); }

void Disk::put(const std::string& path, std::string_view content) {
  auto slash = path.rfind('/');
  std::string folder = slash == std::string::npos || slash == 0 ? "/" : path.substr(0, slash);
  InodePtr at = root_;
  std::size_t begin = 0;
  while (begin < folder.size()) {
    auto end = std::min(folder.find('/', begin), folder.size());
    auto name = folder.substr(begin, end - begin);
    begin = end + 1;
    if (name.empty()) continue;
    auto found = at->entries.find(name);
    if (found == at->entries.end()) {
      auto made = make_inode(FileKind::kFolder, 0755);
      change_names({{at, name, made}});
      sync_names(at);
      at = made;
    } else {
      at = found->second;
    }
  }
  auto place = find(path, true);
  if (!place) return;
  auto inode = place->inode;
  if (!inode) {
    inode = make_inode(FileKind::kRegular, 0644);
    change_names({{place->folder, place->name, inode}});
    sync_names(place->folder);
  }
  resize(*inode, 0);
  (void)write(*inode, 0, as_bytes(content), path).ok();
  sync_now(*inode);
}

void Disk::put_symlink(const std::string& path, const std::string& target) {
  auto place = find(path, false);
  if (!place || !place->folder) return;
  auto inode = make_inode(FileKind::kSymlink, 0777);
  inode->target = target;
  inode->size = target.size();
  change_names({{place->folder, place->name, inode}});
  sync_names(place->folder);
}

void Disk::corrupt(const std::string& path, std::uint64_t offset, std::size_t count) {
  auto inode = find_existing(path);
  if (!inode) return;
  std::vector<std::byte> bytes(count);
  bytes.resize(read(**inode, offset, bytes));
  for (auto& byte : bytes) byte ^= std::byte{0x40};
  (void)write(**inode, offset, bytes, path).ok();
  sync_now(**inode);
}

static void walk(const Inode& folder, const std::string& path, std::vector<std::string>& out) {
  for (auto& [name, child] : folder.entries) {
    if (child->kind == FileKind::kFolder) {
      walk(*child, path + "/" + name, out);
    } else {
      out.push_back(path + "/" + name);
    }
  }
}

std::vector<std::string> Disk::tree(const std::string& folder) {
  std::vector<std::string> all;
  auto inode = find_existing(folder);
  if (inode && (*inode)->kind == FileKind::kFolder) walk(**inode, folder == "/" ? "" : folder, all);
  return all;
}

std::size_t Disk::inodes(const Inode& folder) const {
  std::size_t count = folder.entries.size();
  for (auto& [name, child] : folder.entries) count += inodes(*child);
  return count;
}

// ---- Socket files. ----

Result<void> Disk::make_socket(const std::string& path, std::uint32_t mode) {
  if (path.starts_with('@')) return {};
  TRY(auto place, find(path, true));
  if (place.inode && place.inode->kind != FileKind::kOther) {
    return error(ErrorCode::kExists, "listening on {}: there is a file of that name that is no socket", path);
  }
  auto inode = make_inode(FileKind::kOther, mode);
  change_names({{place.folder, place.name, inode}});
  return {};
}

void Disk::remove_socket(const std::string& path) {
  auto place = find(path, false);
  if (frozen_ || !place || !place->inode || place->inode->kind != FileKind::kOther) return;
  change_names({{place->folder, place->name, nullptr}});
}

}  // namespace d7y::sim
