// Files and folders, as the world offers them.
//
// Calls run at once on the loop's thread: they meet the page cache, where a hand-off to a thread
// would cost more than the work (performance.md 6, 5). What really waits for a device (sync) is a
// coroutine. Paths are absolute or relative to the process's folder, in the system's bytes.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/deadline.h"
#include "base/result.h"
#include "base/task.h"

namespace d7y::world {

enum class FileKind : std::uint8_t { kRegular, kFolder, kSymlink, kOther };

struct FileStatus {
  FileKind kind = FileKind::kRegular;
  std::uint64_t size = 0;       // bytes
  std::uint64_t allocated = 0;  // bytes on disk
  std::uint64_t links = 0;
  std::uint64_t inode = 0, device = 0;
  std::uint32_t mode = 0;   // permission bits
  std::uint32_t owner = 0;  // user id
  WallTime modified{};
};

struct DiskSpace {
  std::uint64_t total = 0, free = 0, available = 0;  // bytes; `available` to this user
  std::uint64_t inodes_total = 0, inodes_free = 0;
};

// An open file. Closed by its destructor. Reading and writing at offsets only.
class File {
 public:
  virtual ~File() = default;

  // Fills as much of `buffer` as the file has; fewer bytes only at its end.
  virtual Result<std::size_t> read_at(std::uint64_t offset, MutableBytes buffer) = 0;
  // Writes everything, or fails: kDiskFull, kIo. After a failure the range's content is undefined.
  virtual Result<void> write_at(std::uint64_t offset, Bytes bytes) = 0;
  virtual Result<void> write_at(std::uint64_t offset, std::span<const Bytes> parts) = 0;
  // Sets the length; new bytes read as zero.
  virtual Result<void> resize(std::uint64_t length) = 0;
  // Reserves disk space for [offset, offset+length) without changing the length (fallocate with
  // KEEP_SIZE). ok where the file system cannot; kDiskFull when there is no room.
  virtual Result<void> reserve(std::uint64_t offset, std::uint64_t length) = 0;
  // Asks the kernel to have a range in memory soon.
  virtual void will_need(std::uint64_t offset, std::uint64_t length) = 0;
  // Asks the kernel to begin writing back a range; not durable.
  virtual void start_writeback(std::uint64_t offset, std::uint64_t length) = 0;
  // Everything written so far is on stable storage when this ends.
  virtual Task<Result<void>> sync() = 0;
  virtual Result<FileStatus> status() = 0;
  virtual const std::string& path() const = 0;
  // The operating system's descriptor, for sendfile; -1 where there is none (simulation).
  virtual int descriptor() const { return -1; }
};

enum class OpenMode : std::uint8_t {
  kRead,       // kNotFound if missing
  kReadWrite,  // kNotFound if missing
  kCreate,     // read and write, made if missing
  kCreateNew,  // read and write, kExists if there
};

// An exclusive claim on a file, held until destroyed; ends with the process.
class FileLock {
 public:
  virtual ~FileLock() = default;
};

class Files {
 public:
  virtual ~Files() = default;

  virtual Result<std::unique_ptr<File>> open(const std::string& path, OpenMode mode,
                                             std::uint32_t permissions = 0644) = 0;
  virtual Result<FileStatus> status(const std::string& path) = 0;                // follows links
  virtual Result<FileStatus> link_status(const std::string& path) = 0;           // does not
  virtual Result<std::vector<std::string>> list(const std::string& folder) = 0;  // names, sorted
  // Makes a folder and its missing parents. ok if it is there.
  virtual Result<void> make_folders(const std::string& path, std::uint32_t permissions = 0755) = 0;
  virtual Result<void> remove(const std::string& path) = 0;      // file, link or empty folder
  virtual Task<Result<void>> remove_tree(std::string path) = 0;  // ok if absent
  // Replaces `to` atomically.
  virtual Result<void> rename(const std::string& from, const std::string& to) = 0;
  // Like rename, but kExists if `to` is there, decided atomically.
  virtual Result<void> rename_new(const std::string& from, const std::string& to) = 0;
  // Another name for the same file. kExists; kUnsupported across file systems or where not allowed.
  virtual Result<void> hard_link(const std::string& existing, const std::string& name) = 0;
  // A new file `to` (kExists if there) that shares `from`'s blocks. kUnsupported where the file
  // system cannot.
  virtual Result<void> reflink(const std::string& from, const std::string& to) = 0;
  // Makes renames and links inside `folder` durable.
  virtual Task<Result<void>> sync_folder(std::string folder) = 0;
  virtual Result<DiskSpace> space(const std::string& path) = 0;
  // kExists if somebody holds it, here or in another process.
  virtual Result<std::unique_ptr<FileLock>> lock(const std::string& path) = 0;
};

}  // namespace d7y::world
