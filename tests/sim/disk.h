// A simulated disk: what the machine's cache shows, and what the platters would show after a crash.
//
// Content lives in 64 KiB pages, shared between copies (and between hosts, where equal), so that
// holes, reserved space and two hundred replicas of one file cost little memory. A power failure
// keeps of each file what sync() made durable, and of the rest whatever the seed decides: whole
// pages, single 512-byte sectors, nothing; the length may be old, new or between. Renames, links,
// creations and removals survive in the order in which they happened per folder, up to a point that
// the seed decides, at least up to the last sync_folder(). A failed sync leaves the pages clean but
// lost, as Linux does.
//
//   host.disk().inject({.op = FileOp::kWrite, .path = "content", .code = ErrorCode::kDiskFull});
//   host.disk().power_off_at(17);            // the 17th change from now on never happens
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/deadline.h"
#include "base/result.h"
#include "sim/rng.h"
#include "world/files.h"

namespace d7y::sim {

class Host;
class SimFile;
class SimFiles;

struct DiskOptions {
  std::uint64_t capacity = 1ULL << 40;  // bytes
  bool reflink = false;                 // XFS, btrfs: yes; ext4: no
  bool hard_links = true;
  Duration sync_latency = std::chrono::milliseconds(2);  // of each sync
  std::uint64_t write_rate = 0;                          // bytes per second; 0: infinitely fast
  std::uint64_t dirty_limit = 256_MiB;  // more unsynced bytes than this make writers wait for the disk
};

enum class FileOp : std::uint8_t {
  kOpen,
  kRead,
  kWrite,
  kResize,
  kReserve,
  kSync,
  kSyncFolder,
  kRename,
  kLink,
  kRemove,
  kMakeFolder,
  kList,
  kStatus,
  kLock,
};

// Makes operations fail.
struct DiskFault {
  FileOp op = FileOp::kWrite;
  std::string path;  // part of the path; empty: any
  ErrorCode code = ErrorCode::kIo;
  std::uint64_t after = 0;  // lets so many matching operations pass first
  std::uint64_t count = 1;  // then fails so many; ~0 for ever
  double probability = 1;   // of each of these
  bool partly = true;       // a failing write writes some of its bytes
};

constexpr std::size_t kPage = 64 << 10;
constexpr std::size_t kBlock = 4 << 10;  // space is counted in these
constexpr std::size_t kSector = 512;     // written entirely or not at all

using Page = std::vector<std::byte>;  // at most kPage bytes; the rest are zeros

// Full pages with equal content are one page.
class PageStore {
 public:
  void intern(std::shared_ptr<Page>& page);

 private:
  std::unordered_map<std::uint64_t, std::weak_ptr<Page>> pages_;
  std::size_t sweep_at_ = 4096;
};

struct DiskUsage {
  std::uint64_t bytes = 0;
};

// Blocks that somebody pays for; shared by reflinks.
struct Charge {
  explicit Charge(std::shared_ptr<DiskUsage> whose) : usage(std::move(whose)) {}
  Charge(const Charge&) = delete;
  Charge& operator=(const Charge&) = delete;
  std::shared_ptr<DiskUsage> usage;
  std::uint64_t bytes = 0;
  ~Charge() { usage->bytes -= bytes; }
};

struct Inode {
  std::uint64_t id = 0;
  world::FileKind kind = world::FileKind::kRegular;
  std::uint32_t mode = 0644;
  std::uint64_t links = 0;
  WallTime modified{};
  std::string target;  // of a symbolic link

  struct Slot {
    std::shared_ptr<Page> page;  // null: reserved, reads as zeros
    std::shared_ptr<Charge> charge;
    std::uint16_t blocks = 0;  // paid for
  };
  std::map<std::uint64_t, Slot> pages;
  std::uint64_t size = 0;
  std::map<std::uint64_t, std::shared_ptr<Page>> durable_pages;
  std::uint64_t durable_size = 0;
  std::set<std::uint64_t> dirty;  // pages that differ from the durable ones

  using Entries = std::map<std::string, std::shared_ptr<Inode>>;
  Entries entries, durable_entries;  // of a folder
  std::uint64_t locked_in_boot = 0;
  std::size_t opens = 0;
};
using InodePtr = std::shared_ptr<Inode>;

class Disk {
 public:
  Disk(Host& host, PageStore& pages, DiskOptions options, std::uint64_t seed);
  ~Disk();

  world::Files& files();
  DiskOptions& options() { return options_; }
  std::uint64_t used() const { return usage_->bytes; }
  std::size_t open_files() const { return open_files_; }

  void inject(DiskFault fault) { faults_.push_back(std::move(fault)); }
  void clear_faults() {
    faults_.clear();
    rot_.reset();
  }
  // From now on what is read from files whose path contains `path` has a flipped bit in about one of
  // `one_in` bytes. What is on the disk stays right.
  void rot(std::string path, std::uint64_t one_in) { rot_ = Rot{std::move(path), one_in}; }

  // Changes (writes, resizes, reservations, syncs, renames, links, removals, creations) so far.
  std::uint64_t changes() const { return changes_; }
  // The `change`-th change from now (1: the next) does not happen; the power fails instead.
  void power_off_at(std::uint64_t change) { power_off_at_ = changes_ + change; }
  bool power_off_pending() const { return power_off_at_ != 0; }
  void keep_power() { power_off_at_ = 0; }

  // Straight access for tests, without faults, and durable at once.
  std::string content(const std::string& path);  // empty if missing
  bool exists(const std::string& path);
  void put(const std::string& path, std::string_view content);  // makes folders as needed
  void put_symlink(const std::string& path, const std::string& target);
  void corrupt(const std::string& path, std::uint64_t offset, std::size_t count = 1);  // flips bits
  std::vector<std::string> tree(const std::string& folder = "/");  // paths of all but folders

  // ---- Used by the simulator. ----
  void freeze() { frozen_ = true; }
  void lose_power();  // the cached image becomes what survived
  void thaw() {
    frozen_ = false;
    ++boot_;
    open_files_ = 0;
  }
  // Socket files.
  Result<void> make_socket(const std::string& path, std::uint32_t mode);
  void remove_socket(const std::string& path);

 private:
  friend class SimFile;
  friend class SimFiles;
  friend class SimLock;

  // One atomic change of names; a null inode removes the name.
  struct NameChange {
    InodePtr folder;
    std::string name;
    InodePtr inode;
  };
  using MetaOp = std::vector<NameChange>;

  struct Place {
    InodePtr folder;  // the parent
    std::string name;
    InodePtr inode;  // null if missing
  };
  Result<Place> find(const std::string& path, bool follow, int depth = 0);
  Result<InodePtr> find_existing(const std::string& path, bool follow = true);
  InodePtr make_inode(world::FileKind kind, std::uint32_t mode);
  void change_names(MetaOp op);
  static void free_if_gone(Inode& inode);  // its space, once it has no name and nobody has it open

  // ok, or the injected failure of `op` on `path`; counts changes and watches for the power failure.
  Result<void> begin(FileOp op, const std::string& path, std::uint64_t a = 0, std::uint64_t b = 0,
                     bool* partly = nullptr);
  Result<void> write(Inode& inode, std::uint64_t offset, Bytes bytes, const std::string& path);
  std::size_t read(const Inode& inode, std::uint64_t offset, MutableBytes buffer) const;
  void spoil(const std::string& path, MutableBytes bytes);
  void resize(Inode& inode, std::uint64_t length);
  Result<void> pay(Inode::Slot& slot, std::uint16_t blocks, const std::string& path);
  void sync_now(Inode& inode);
  Result<void> reflink(const Inode& from, Inode& to);
  void slow_down(std::uint64_t written);
  std::uint64_t allocated(const Inode& inode) const;
  world::FileStatus status_of(const Inode& inode) const;
  void settle_content(Inode& inode);
  void settle(const InodePtr& inode, std::set<std::uint64_t>& seen);
  void sync_names(const InodePtr& folder);
  void make_durable(const InodePtr& inode);
  std::size_t inodes(const Inode& folder) const;

  Host& host_;
  PageStore& store_;
  DiskOptions options_;
  Random random_;
  std::shared_ptr<DiskUsage> usage_ = std::make_shared<DiskUsage>();
  InodePtr root_;
  std::uint64_t next_inode_ = 1;
  std::vector<MetaOp> pending_names_;
  std::vector<DiskFault> faults_;
  struct Rot {
    std::string path;
    std::uint64_t one_in = 0;
  };
  std::optional<Rot> rot_;
  std::uint64_t changes_ = 0, power_off_at_ = 0;
  std::uint64_t boot_ = 1;
  std::size_t open_files_ = 0;
  std::uint64_t dirty_bytes_ = 0;
  bool frozen_ = false;
  std::unique_ptr<SimFiles> files_;
};

}  // namespace d7y::sim
