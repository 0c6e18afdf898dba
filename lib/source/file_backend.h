// file:// URLs: files and folders of this machine.
#pragma once

#include "source/source.h"
#include "world/files.h"

namespace d7y::source {

// The path of "file:///a/b" (also "file://localhost/a/b"), percent-decoded. kInvalid for another
// host, NUL bytes, or no path.
Result<std::string> path_of_file_url(std::string_view url);
// The URL of an absolute path.
std::string file_url(const std::string& path);

class FileBackend final : public Backend {
 public:
  explicit FileBackend(world::Files& files) : files_(files) {}

  // The version is inode, size and modification time, so a file that changes while it is read in
  // pieces is kChanged.
  Task<Result<Info>> stat(const Request& request, Deadline deadline) override;
  Task<Result<std::unique_ptr<Body>>> read(const Request& request, Span span, const Version& pinned,
                                           Deadline deadline) override;
  Task<Result<std::vector<Entry>>> list(const Request& request, Deadline deadline) override;

 private:
  world::Files& files_;
};

}  // namespace d7y::source
