#include "host_path.h"

#include <fmt/format.h>

#include <deque>
#include <filesystem>

#include "refusal.h"

namespace tools::runtime {

namespace fs = std::filesystem;

namespace {

constexpr int kMostLinks = 40;  // as Linux has it

void put_first(std::deque<std::string>& names, const fs::path& path) {
  std::deque<std::string> all;
  for (const auto& name : path.relative_path()) all.push_back(name.string());
  names.insert(names.begin(), all.begin(), all.end());
}

}  // namespace

std::string host_path(const std::string& root, const std::string& path) {
  std::deque<std::string> names;
  put_first(names, path);
  fs::path at = "/";
  // The last link that was followed, and how many names are left when the end of where it leads is reached.
  std::string link;
  std::size_t behind = 0;
  auto within_link = [&] { return !link.empty() && names.size() >= behind; };
  for (int links = 0; !names.empty();) {
    auto name = names.front();
    names.pop_front();
    if (name.empty() || name == ".") continue;
    if (name == "..") {
      at = at.parent_path();
      continue;
    }
    auto next = at / name;
    std::error_code failed;
    auto status = fs::symlink_status(root + next.string(), failed);
    if (status.type() == fs::file_type::symlink) {
      auto target = fs::read_symlink(root + next.string(), failed);
      if (failed || ++links > kMostLinks)
        throw Refusal(kNotEditable, fmt::format("{}: the link {} leads nowhere", path, next.string()));
      if (!within_link()) behind = names.size();
      link = fmt::format("{} -> {}", next.string(), target.string());
      if (target.is_absolute()) at = "/";
      put_first(names, target);
      continue;
    }
    if (status.type() == fs::file_type::not_found && within_link())
      throw Refusal(kNotEditable,
                    fmt::format("{} is reached over a link ({}) to what is not there{}", path, link,
                                root.empty() ? "" : "; mount that too, or the host's whole / at --root"));
    at = next;
  }
  return root + at.string();
}

}  // namespace tools::runtime
