// The serving side of vortex against arbitrary bytes: any split of them gives the same requests, and what
// is understood can be written and read again.
#include <cstdint>
#include <cstdlib>

#include "swarm/vortex.h"

using namespace d7y;
using namespace d7y::swarm::vortex;

namespace {

void must(bool holds) {
  if (!holds) std::abort();
}

std::string rewrite(const Request& request) {
  if (auto* piece = std::get_if<PieceRequest>(&request)) {
    auto bytes = encode(*piece, 0);
    return bytes ? *bytes : std::string();
  }
  if (auto* subscribe = std::get_if<Subscribe>(&request)) {
    auto bytes = encode(*subscribe);
    return bytes ? *bytes : std::string();
  }
  if (auto* fetch = std::get_if<Fetch>(&request)) {
    auto bytes = encode(*fetch);
    return bytes ? *bytes : std::string();
  }
  if (auto* unsubscribe = std::get_if<Unsubscribe>(&request)) return encode(*unsubscribe);
  if (auto* cancel = std::get_if<Cancel>(&request)) return encode(*cancel);
  return encode(Close{});
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Bytes input(reinterpret_cast<const std::byte*>(data), size);
  RequestReader whole;
  std::vector<Request> at_once;
  bool ok = whole.feed(input, at_once).ok();

  RequestReader split;
  std::vector<Request> bytewise;
  bool split_ok = true;
  for (std::size_t i = 0; i < size && split_ok; ++i)
    split_ok = split.feed(input.subspan(i, 1), bytewise).ok();
  must(ok == split_ok);
  must(at_once == bytewise);
  must(!ok || whole.partial() == split.partial());

  for (const auto& request : at_once) {
    auto bytes = rewrite(request);
    if (bytes.empty()) continue;  // a task id that we would never write
    RequestReader again;
    std::vector<Request> read;
    must(again.feed(as_bytes(bytes), read).ok());
    must(read.size() == 1 && read[0] == request);
  }
  return 0;
}
