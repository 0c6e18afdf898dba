// Which version of the origin's content somebody holds, in 64 bits: peers whose tags differ do not mix
// their pieces. The task id does not tell versions apart, because it is made of the URL alone.
#pragma once

#include <fmt/format.h>

#include <charconv>
#include <string>
#include <string_view>

#include "base/siphash.h"
#include "store/task_facts.h"

namespace d7y::swarm {

inline constexpr std::string_view kTagPrefix = "d7y-version:";

// What a task holds whose origin was not asked: all that is known of its version is what a parent said of it.
inline store::SourceVersion version_of_tag(std::uint64_t tag) {
  return {.etag = fmt::format("{}{:016x}", kTagPrefix, tag), .last_modified = {}};
}

// 0 if the origin did not say what its version is.
inline std::uint64_t version_tag(const store::SourceVersion& version) {
  if (!version.known()) return 0;
  if (std::string_view etag = version.etag; etag.starts_with(kTagPrefix)) {
    std::uint64_t tag = 0;
    etag.remove_prefix(kTagPrefix.size());
    auto [end, failure] = std::from_chars(etag.data(), etag.data() + etag.size(), tag, 16);
    if (failure == std::errc() && end == etag.data() + etag.size() && tag != 0) return tag;
  }
  auto text = version.etag + '\n' + version.last_modified;
  auto tag = siphash24(as_bytes(text));
  return tag == 0 ? 1 : tag;
}

// Whether pieces of the two may be put together: a tag that is not known (0) agrees with all.
inline bool versions_agree(std::uint64_t a, std::uint64_t b) { return a == 0 || b == 0 || a == b; }

}  // namespace d7y::swarm
