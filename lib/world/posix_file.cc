#include "world/posix_file.h"

#include <fcntl.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <functional>
#include <limits>

#include "world/system_error.h"
#include "world/world.h"

namespace d7y::world {
namespace {

constexpr std::uint64_t kMostOffset = std::numeric_limits<off_t>::max();

off_t offset_of(std::uint64_t offset) { return static_cast<off_t>(offset); }

}  // namespace

FileStatus file_status(const struct stat& from) {
  FileStatus status;
  status.kind = S_ISREG(from.st_mode)   ? FileKind::kRegular
                : S_ISDIR(from.st_mode) ? FileKind::kFolder
                : S_ISLNK(from.st_mode) ? FileKind::kSymlink
                                        : FileKind::kOther;
  status.size = static_cast<std::uint64_t>(from.st_size);
  status.allocated = static_cast<std::uint64_t>(from.st_blocks) * 512;  // POSIX: whatever the block size
  status.links = from.st_nlink;
  status.inode = from.st_ino;
  status.device = from.st_dev;
  status.mode = from.st_mode & 07777;
  status.owner = from.st_uid;
  status.modified =
      WallTime(std::chrono::seconds(from.st_mtim.tv_sec) + std::chrono::nanoseconds(from.st_mtim.tv_nsec));
  return status;
}

Task<int> number_from_pool(World& world, std::function<int()> work) {
  auto number = std::make_shared<int>(0);
  std::function<void()> job = [number, work = std::move(work)] { *number = work(); };
  co_await world.offload(std::move(job));
  co_return *number;
}

Result<void> PosixFile::check_range(std::uint64_t offset, std::uint64_t length, const char* doing) const {
  if (offset <= kMostOffset && length <= kMostOffset - offset) return {};
  return error(ErrorCode::kTooLarge, "{} \"{}\" at {}: beyond the largest offset of a file", doing, path_,
               offset);
}

Result<std::size_t> PosixFile::read_at(std::uint64_t offset, MutableBytes buffer) {
  TRY_OK(check_range(offset, buffer.size(), "reading"));
  std::size_t done = 0;
  while (done < buffer.size()) {
    auto count = ::pread(number_, buffer.data() + done, buffer.size() - done, offset_of(offset + done));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return system_error(errno, "reading \"{}\" at {}", path_, offset + done);
    if (count == 0) break;
    done += static_cast<std::size_t>(count);
  }
  return done;
}

Result<void> PosixFile::write_at(std::uint64_t offset, Bytes bytes) {
  TRY_OK(check_range(offset, bytes.size(), "writing"));
  while (!bytes.empty()) {
    std::unique_lock turn(writing_);
    auto count = ::pwrite(number_, bytes.data(), bytes.size(), offset_of(offset));
    turn.unlock();
    if (count < 0 && errno == EINTR) continue;
    if (count < 0)
      return system_error(errno, "writing {} bytes to \"{}\" at {}", bytes.size(), path_, offset);
    if (count == 0)
      return system_error(ENOSPC, "writing {} bytes to \"{}\" at {}", bytes.size(), path_, offset);
    bytes = bytes.subspan(static_cast<std::size_t>(count));
    offset += static_cast<std::uint64_t>(count);
  }
  return {};
}

Result<void> PosixFile::write_at(std::uint64_t offset, std::span<const Bytes> parts) {
  std::array<iovec, 64> vectors;
  while (!parts.empty()) {
    auto used = std::min(parts.size(), vectors.size());
    std::size_t wanted = 0;
    for (std::size_t i = 0; i < used; ++i) {
      vectors[i] = {const_cast<std::byte*>(parts[i].data()), parts[i].size()};
      wanted += parts[i].size();
    }
    TRY_OK(check_range(offset, wanted, "writing"));
    ssize_t count;
    std::unique_lock turn(writing_);
    do {
      count = ::pwritev(number_, vectors.data(), static_cast<int>(used), offset_of(offset));
    } while (count < 0 && errno == EINTR);
    turn.unlock();
    if (count < 0) return system_error(errno, "writing {} bytes to \"{}\" at {}", wanted, path_, offset);
    // A short write is rare (a disk getting full, a signal): its rest goes part by part.
    auto written = static_cast<std::size_t>(count);
    for (std::size_t i = 0; i < used; ++i) {
      auto here = std::min(written, parts[i].size());
      written -= here;
      offset += here;
      auto rest = parts[i].subspan(here);
      TRY_OK(write_at(offset, rest));
      offset += rest.size();
    }
    parts = parts.subspan(used);
  }
  return {};
}

Result<void> PosixFile::resize(std::uint64_t length) {
  TRY_OK(check_range(length, 0, "resizing"));
  int failed;
  do {
    failed = ::ftruncate(number_, offset_of(length));
  } while (failed != 0 && errno == EINTR);
  if (failed != 0) return system_error(errno, "setting the length of \"{}\" to {}", path_, length);
  return {};
}

Result<void> PosixFile::reserve(std::uint64_t offset, std::uint64_t length) {
  if (length == 0) return {};
  TRY_OK(check_range(offset, length, "reserving space for"));
  int failed;
  do {
    failed = ::fallocate(number_, FALLOC_FL_KEEP_SIZE, offset_of(offset), offset_of(length));
  } while (failed != 0 && errno == EINTR);
  if (failed == 0 || errno == EOPNOTSUPP || errno == ENOSYS) return {};
  return system_error(errno, "reserving {} bytes for \"{}\"", length, path_);
}

void PosixFile::will_need(std::uint64_t offset, std::uint64_t length) {
  ::posix_fadvise(number_, offset_of(offset), offset_of(length), POSIX_FADV_WILLNEED);
}

void PosixFile::start_writeback(std::uint64_t offset, std::uint64_t length) {
  ::sync_file_range(number_, offset_of(offset), offset_of(length), SYNC_FILE_RANGE_WRITE);
}

Task<Result<void>> PosixFile::sync() {
  std::function<int()> work = [file = descriptor_] { return ::fdatasync(file->get()) == 0 ? 0 : errno; };
  int number = co_await number_from_pool(world_, std::move(work));
  if (number != 0) co_return system_error(number, "making \"{}\" durable", path_);
  co_return Result<void>{};
}

Result<FileStatus> PosixFile::status() {
  struct stat status{};
  if (::fstat(number_, &status) != 0) return system_error(errno, "asking for the status of \"{}\"", path_);
  return file_status(status);
}

}  // namespace d7y::world
