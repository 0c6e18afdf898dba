// A simulated host's files: what world::Files promises, on a simulated disk.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "sim/disk.h"
#include "world/files.h"

namespace d7y::sim {

class SimFile final : public world::File {
 public:
  SimFile(Disk& disk, InodePtr inode, std::string path, bool writable);
  ~SimFile() override;

  Result<std::size_t> read_at(std::uint64_t offset, MutableBytes buffer) override;
  Result<void> write_at(std::uint64_t offset, Bytes bytes) override;
  Result<void> write_at(std::uint64_t offset, std::span<const Bytes> parts) override;
  Result<void> resize(std::uint64_t length) override;
  Result<void> reserve(std::uint64_t offset, std::uint64_t length) override;
  void will_need(std::uint64_t, std::uint64_t) override {}
  void start_writeback(std::uint64_t, std::uint64_t) override {}
  Task<Result<void>> sync() override;
  Result<world::FileStatus> status() override;
  const std::string& path() const override { return path_; }

 private:
  Result<void> check(bool writing) const;

  Disk& disk_;
  std::uint64_t boot_;
  InodePtr inode_;
  std::string path_;
  bool writable_;
};

class SimFiles final : public world::Files {
 public:
  explicit SimFiles(Disk& disk) : disk_(disk) {}

  Result<std::unique_ptr<world::File>> open(const std::string& path, world::OpenMode mode,
                                            std::uint32_t permissions) override;
  Result<world::FileStatus> status(const std::string& path) override;
  Result<world::FileStatus> link_status(const std::string& path) override;
  Result<std::vector<std::string>> list(const std::string& folder) override;
  Result<void> make_folders(const std::string& path, std::uint32_t permissions) override;
  Result<void> remove(const std::string& path) override;
  Task<Result<void>> remove_tree(std::string path) override;
  Result<void> rename(const std::string& from, const std::string& to) override;
  Result<void> rename_new(const std::string& from, const std::string& to) override;
  Result<void> hard_link(const std::string& existing, const std::string& name) override;
  Result<void> reflink(const std::string& from, const std::string& to) override;
  Task<Result<void>> sync_folder(std::string folder) override;
  Result<world::DiskSpace> space(const std::string& path) override;
  Result<std::unique_ptr<world::FileLock>> lock(const std::string& path) override;

 private:
  Result<void> move(const std::string& from, const std::string& to, bool replace);

  Disk& disk_;
};

}  // namespace d7y::sim
