// One open file of the system.
#pragma once

#include <sys/stat.h>

#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "world/descriptor.h"
#include "world/files.h"

namespace d7y::world {

class World;

class PosixFile final : public File {
 public:
  PosixFile(World& world, Descriptor descriptor, std::string path)
      : world_(world),
        descriptor_(std::make_shared<Descriptor>(std::move(descriptor))),
        number_(descriptor_->get()),
        path_(std::move(path)) {}

  Result<std::size_t> read_at(std::uint64_t offset, MutableBytes buffer) override;
  Result<void> write_at(std::uint64_t offset, Bytes bytes) override;
  Result<void> write_at(std::uint64_t offset, std::span<const Bytes> parts) override;
  Result<void> resize(std::uint64_t length) override;
  Result<void> reserve(std::uint64_t offset, std::uint64_t length) override;
  void will_need(std::uint64_t offset, std::uint64_t length) override;
  void start_writeback(std::uint64_t offset, std::uint64_t length) override;
  Task<Result<void>> sync() override;
  Result<FileStatus> status() override;
  const std::string& path() const override { return path_; }
  int descriptor() const override { return number_; }

 private:
  Result<void> check_range(std::uint64_t offset, std::uint64_t length, const char* doing) const;

  World& world_;
  std::shared_ptr<Descriptor> descriptor_;  // shared with syncs that outlive their waiter
  int number_;
  std::string path_;
  // Held while writing. File systems write one file from one thread at a time, and the kernel's lock spins:
  // whoever waits for his turn would burn the processor that the sender needs (a third of a child's time).
  std::mutex writing_;
};

FileStatus file_status(const struct stat& from);

// Runs `work` on the pool and gives the error number it returns. `work` owns what it touches.
Task<int> number_from_pool(World& world, std::function<int()> work);

}  // namespace d7y::world
