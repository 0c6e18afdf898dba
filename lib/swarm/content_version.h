// Which version of the origin's content somebody holds, in 64 bits: peers whose tags differ do not mix
// their pieces. The task id does not tell versions apart, because it is made of the URL alone.
#pragma once

#include "base/siphash.h"
#include "store/task_facts.h"

namespace d7y::swarm {

// 0 if the origin did not say what its version is.
inline std::uint64_t version_tag(const store::SourceVersion& version) {
  if (!version.known()) return 0;
  auto text = version.etag + '\n' + version.last_modified;
  auto tag = siphash24(as_bytes(text));
  return tag == 0 ? 1 : tag;
}

// Whether pieces of the two may be put together: a tag that is not known (0) agrees with all.
inline bool versions_agree(std::uint64_t a, std::uint64_t b) { return a == 0 || b == 0 || a == b; }

}  // namespace d7y::swarm
