#include "private_folder.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>

namespace d7y::capi {
namespace {

constexpr std::string_view kPlace = "/tmp";
constexpr std::string_view kPrefix = "d7y-";
constexpr std::size_t kDigits = 16;
// A store takes its lock within milliseconds of its folder being made.
constexpr auto kSettled = std::chrono::minutes(1);

bool is_name(std::string_view name) {
  if (!name.starts_with(kPrefix) || name.size() != kPrefix.size() + kDigits) return false;
  name.remove_prefix(kPrefix.size());
  return std::all_of(name.begin(), name.end(),
                     [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

// Nobody else may have a hand in it, or could have other things removed than are there.
bool is_ours(const world::FileStatus& status) {
  return status.kind == world::FileKind::kFolder && status.owner == geteuid() && status.mode == 0700;
}

}  // namespace

std::string private_folder(world::World& world) {
  return fmt::format("{}/{}{:016x}", kPlace, kPrefix, world.random());
}

Task<void> sweep_private_folders(world::World& world) {
  auto& files = world.files();
  auto names = files.list(std::string(kPlace));
  if (!names) co_return;
  for (const auto& name : *names) {
    if (!is_name(name)) continue;
    const auto folder = fmt::format("{}/{}", kPlace, name);
    const auto status = files.link_status(folder);
    if (!status || !is_ours(*status) || status->modified > world.wall_now() - kSettled) continue;
    const auto place = folder + "/lock";
    if (!files.link_status(place)) continue;
    const auto lock = files.lock(place);
    if (!lock) continue;  // its node lives
    Task<Result<void>> removing = files.remove_tree(folder);
    (void)co_await removing;
  }
}

}  // namespace d7y::capi
