// The asking side of vortex against arbitrary bytes: bounded, never beyond a packet's end, and the same for
// any split.
#include <algorithm>
#include <cstdint>
#include <cstdlib>

#include "swarm/vortex.h"

using namespace d7y;
using namespace d7y::swarm::vortex;

namespace {

void must(bool holds) {
  if (!holds) std::abort();
}

bool read_all(Bytes input, std::size_t step, std::vector<Answer>& out) {
  AnswerReader reader;
  while (!input.empty()) {
    auto part = input.first(std::min(step, input.size()));
    if (reader.body_left() > 0) {
      auto skip = static_cast<std::size_t>(std::min<std::uint64_t>(reader.body_left(), part.size()));
      reader.took_body(skip);
      input = input.subspan(skip);
      continue;
    }
    auto got = reader.feed(part);
    if (!got) return false;
    must(got->taken <= part.size());
    must(got->taken > 0);
    input = input.subspan(got->taken);
    if (got->answer) out.push_back(std::move(*got->answer));
  }
  return true;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Bytes input(reinterpret_cast<const std::byte*>(data), size);
  std::vector<Answer> at_once, bytewise;
  bool ok = read_all(input, size == 0 ? 1 : size, at_once);
  must(ok == read_all(input, 1, bytewise));
  must(at_once == bytewise);
  return 0;
}
