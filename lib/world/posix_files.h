// The system's files, by direct calls on the loop's thread (they meet the page cache); what waits for
// a device goes to the thread pool.
#pragma once

#include "world/files.h"

namespace d7y::world {

class World;

class PosixFiles final : public Files {
 public:
  // `world` lends its thread pool; it outlives this.
  explicit PosixFiles(World& world) : world_(world) {}

  Result<std::unique_ptr<File>> open(const std::string& path, OpenMode mode,
                                     std::uint32_t permissions) override;
  Result<FileStatus> status(const std::string& path) override;
  Result<FileStatus> link_status(const std::string& path) override;
  Result<std::vector<std::string>> list(const std::string& folder) override;
  Result<void> make_folders(const std::string& path, std::uint32_t permissions) override;
  Result<void> remove(const std::string& path) override;
  Task<Result<void>> remove_tree(std::string path) override;
  Result<void> rename(const std::string& from, const std::string& to) override;
  Result<void> rename_new(const std::string& from, const std::string& to) override;
  Result<void> hard_link(const std::string& existing, const std::string& name) override;
  Result<void> reflink(const std::string& from, const std::string& to) override;
  Task<Result<void>> sync_folder(std::string folder) override;
  Result<DiskSpace> space(const std::string& path) override;
  Result<std::unique_ptr<FileLock>> lock(const std::string& path) override;

 private:
  World& world_;
};

}  // namespace d7y::world
