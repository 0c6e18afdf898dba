#include "world/posix_files.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <system_error>

#include "world/posix_file.h"
#include "world/system_error.h"
#include "world/world.h"

namespace d7y::world {
namespace {

class PosixLock final : public FileLock {
 public:
  explicit PosixLock(Descriptor file) : file_(std::move(file)) {}

 private:
  Descriptor file_;  // closing it releases the lock
};

Result<Descriptor> open_file(const std::string& path, int flags, std::uint32_t permissions,
                             const char* doing) {
  if (path.find('\0') != std::string::npos)
    return error(ErrorCode::kInvalid, "{} a path with a zero byte", doing);
  int number;
  do {
    number = ::open(path.c_str(), flags | O_CLOEXEC, static_cast<mode_t>(permissions));
  } while (number < 0 && errno == EINTR);
  if (number < 0) return system_error(errno, "{} \"{}\"", doing, path);
  return Descriptor(number);
}

// rename_new() where the file system has no RENAME_NOREPLACE: a second name or an empty folder takes
// the place atomically, or finds it taken.
Result<void> rename_by_claim(const std::string& from, const std::string& to) {
  struct stat status{};
  if (::lstat(from.c_str(), &status) != 0) return system_error(errno, "renaming \"{}\"", from);
  if (S_ISDIR(status.st_mode)) {
    if (::mkdir(to.c_str(), 0700) != 0) return system_error(errno, "renaming \"{}\" to \"{}\"", from, to);
    if (::rename(from.c_str(), to.c_str()) == 0) return {};
    int failure = errno;
    ::rmdir(to.c_str());
    return system_error(failure, "renaming \"{}\" to \"{}\"", from, to);
  }
  if (::link(from.c_str(), to.c_str()) != 0)
    return system_error(errno, "renaming \"{}\" to \"{}\"", from, to);
  if (::unlink(from.c_str()) != 0) {
    int failure = errno;
    ::unlink(to.c_str());
    return system_error(failure, "renaming \"{}\" to \"{}\"", from, to);
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<File>> PosixFiles::open(const std::string& path, OpenMode mode,
                                               std::uint32_t permissions) {
  int flags = O_RDONLY;
  switch (mode) {
    case OpenMode::kRead: break;
    case OpenMode::kReadWrite: flags = O_RDWR; break;
    case OpenMode::kCreate: flags = O_RDWR | O_CREAT; break;
    case OpenMode::kCreateNew: flags = O_RDWR | O_CREAT | O_EXCL; break;
  }
  TRY(auto descriptor,
      open_file(path, flags, permissions, mode == OpenMode::kRead ? "opening" : "opening for writing"));
  return std::unique_ptr<File>(std::make_unique<PosixFile>(world_, std::move(descriptor), path));
}

Result<FileStatus> PosixFiles::status(const std::string& path) {
  struct stat status{};
  if (::stat(path.c_str(), &status) != 0) return system_error(errno, "asking for the status of \"{}\"", path);
  return file_status(status);
}

Result<FileStatus> PosixFiles::link_status(const std::string& path) {
  struct stat status{};
  if (::lstat(path.c_str(), &status) != 0)
    return system_error(errno, "asking for the status of \"{}\"", path);
  return file_status(status);
}

Result<std::vector<std::string>> PosixFiles::list(const std::string& folder) {
  std::unique_ptr<DIR, int (*)(DIR*)> open(::opendir(folder.c_str()), ::closedir);
  if (open == nullptr) return system_error(errno, "listing \"{}\"", folder);
  std::vector<std::string> names;
  for (;;) {
    errno = 0;
    auto* entry = ::readdir(open.get());
    if (entry == nullptr) break;
    std::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
  }
  if (errno != 0) return system_error(errno, "listing \"{}\"", folder);
  std::sort(names.begin(), names.end());
  return names;
}

Result<void> PosixFiles::make_folders(const std::string& path, std::uint32_t permissions) {
  struct stat status{};
  // Mostly it is there, or only the last one is missing.
  if (::mkdir(path.c_str(), static_cast<mode_t>(permissions)) == 0) return {};
  if (errno == EEXIST && ::stat(path.c_str(), &status) == 0 && S_ISDIR(status.st_mode)) return {};
  for (std::size_t end = 0; end != std::string::npos;) {
    end = path.find('/', end + 1);
    auto part = path.substr(0, end);
    if (part.empty() || ::mkdir(part.c_str(), static_cast<mode_t>(permissions)) == 0) continue;
    int failure = errno;
    // A folder that is there may lie where we could not make one (read-only, no rights).
    if (::stat(part.c_str(), &status) == 0) {
      if (S_ISDIR(status.st_mode)) continue;
      return system_error(ENOTDIR, "making the folder \"{}\": \"{}\" is in the way", path, part);
    }
    return system_error(failure, "making the folder \"{}\"", part);
  }
  return {};
}

Result<void> PosixFiles::remove(const std::string& path) {
  if (::unlink(path.c_str()) == 0) return {};
  int failure = errno;
  if (failure == EISDIR || failure == EPERM) {
    if (::rmdir(path.c_str()) == 0) return {};
    if (errno != ENOTDIR) failure = errno;
  }
  return system_error(failure, "removing \"{}\"", path);
}

Task<Result<void>> PosixFiles::remove_tree(std::string path) {
  std::function<int()> work = [path] {
    std::error_code failure;
    std::filesystem::remove_all(path, failure);
    return failure.value();
  };
  int number = co_await number_from_pool(world_, std::move(work));
  if (number != 0 && number != ENOENT) co_return system_error(number, "removing the folder \"{}\"", path);
  co_return Result<void>{};
}

Result<void> PosixFiles::rename(const std::string& from, const std::string& to) {
  if (::rename(from.c_str(), to.c_str()) != 0)
    return system_error(errno, "renaming \"{}\" to \"{}\"", from, to);
  return {};
}

Result<void> PosixFiles::rename_new(const std::string& from, const std::string& to) {
  if (::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_NOREPLACE) == 0) return {};
  if (errno == EINVAL || errno == ENOSYS) return rename_by_claim(from, to);
  return system_error(errno, "renaming \"{}\" to \"{}\"", from, to);
}

Result<void> PosixFiles::hard_link(const std::string& existing, const std::string& name) {
  if (::link(existing.c_str(), name.c_str()) == 0) return {};
  int failure = errno;
  auto attempt = fmt::format("linking \"{}\" as \"{}\"", existing, name);
  // EPERM: the file system has no links, or protected_hardlinks forbids this one.
  bool impossible = failure == EXDEV || failure == EPERM || failure == EMLINK || failure == EOPNOTSUPP;
  return describe_system_error(failure, impossible ? ErrorCode::kUnsupported : code_of(failure), attempt);
}

Result<void> PosixFiles::reflink(const std::string& from, const std::string& to) {
  TRY(auto source, open_file(from, O_RDONLY, 0, "opening"));
  struct stat status{};
  if (::fstat(source.get(), &status) != 0)
    return system_error(errno, "asking for the status of \"{}\"", from);
  TRY(auto target, open_file(to, O_WRONLY | O_CREAT | O_EXCL, status.st_mode & 0777, "making"));
  if (::ioctl(target.get(), FICLONE, source.get()) == 0) return {};
  int failure = errno;
  ::unlink(to.c_str());
  auto attempt = fmt::format("sharing the blocks of \"{}\" with \"{}\"", from, to);
  bool impossible = failure == EXDEV || failure == EINVAL || failure == ENOTTY || failure == EOPNOTSUPP ||
                    failure == EPERM || failure == ENOSYS || failure == ETXTBSY || failure == EBADF;
  return describe_system_error(failure, impossible ? ErrorCode::kUnsupported : code_of(failure), attempt);
}

Task<Result<void>> PosixFiles::sync_folder(std::string folder) {
  auto opened = open_file(folder, O_RDONLY | O_DIRECTORY, 0, "opening the folder");
  if (!opened) co_return std::move(opened).error();
  auto shared = std::make_shared<Descriptor>(std::move(*opened));
  std::function<int()> work = [shared] { return ::fsync(shared->get()) == 0 ? 0 : errno; };
  int number = co_await number_from_pool(world_, std::move(work));
  // EINVAL: a file system whose folders need no sync.
  if (number != 0 && number != EINVAL)
    co_return system_error(number, "making changes in \"{}\" durable", folder);
  co_return Result<void>{};
}

Result<DiskSpace> PosixFiles::space(const std::string& path) {
  struct statvfs status{};
  int failed;
  do {
    failed = ::statvfs(path.c_str(), &status);
  } while (failed != 0 && errno == EINTR);
  if (failed != 0) return system_error(errno, "asking for the free space of \"{}\"", path);
  DiskSpace space;
  space.total = status.f_blocks * status.f_frsize;
  space.free = status.f_bfree * status.f_frsize;
  space.available = status.f_bavail * status.f_frsize;
  space.inodes_total = status.f_files;
  space.inodes_free = status.f_ffree;
  return space;
}

Result<std::unique_ptr<FileLock>> PosixFiles::lock(const std::string& path) {
  TRY(auto file, open_file(path, O_RDWR | O_CREAT, 0600, "opening the lock"));
  // An open file description lock belongs to this one open(), so that it also keeps out a second
  // owner in this process, and closing another descriptor of the file does not drop it.
  struct flock whole{};
  whole.l_type = F_WRLCK;
  whole.l_whence = SEEK_SET;
  int failed = ::fcntl(file.get(), F_OFD_SETLK, &whole);
  if (failed != 0 && (errno == EINVAL || errno == ENOSYS)) failed = ::flock(file.get(), LOCK_EX | LOCK_NB);
  if (failed != 0) {
    if (errno == EAGAIN || errno == EACCES || errno == EWOULDBLOCK) {
      return error(ErrorCode::kExists,
                   "locking \"{}\": somebody else holds it; stop the other one or use another folder", path);
    }
    return system_error(errno, "locking \"{}\"", path);
  }
  return std::unique_ptr<FileLock>(std::make_unique<PosixLock>(std::move(file)));
}

}  // namespace d7y::world
