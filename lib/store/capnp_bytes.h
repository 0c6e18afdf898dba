// Cap'n Proto messages to and from bytes, bounded, with the library's exceptions caught at this edge.
#pragma once

#include <kj/string.h>

#if __cpp_impl_three_way_comparison
// Debian 12's kj leaves these two out in C++20 and trusts in reversed comparison, which C++20 as
// amended (P2468) and clang since 16 do not grant.
namespace kj {
inline bool operator==(const char* a, const StringPtr& b) { return StringPtr(a) == b; }
inline bool operator!=(const char* a, const StringPtr& b) { return !(StringPtr(a) == b); }
}  // namespace kj
#endif

#include <capnp/message.h>
#include <capnp/serialize.h>

#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "store/framing.h"

namespace d7y::store {

// Whole, also where there are zero bytes in it, which kj's own conversion ends at.
inline capnp::Text::Reader to_text(const std::string& text) { return {text.c_str(), text.size()}; }
inline std::string text_of(capnp::Text::Reader text) { return std::string(text.begin(), text.size()); }

inline Result<void> append_message(capnp::MessageBuilder& message, std::uint64_t generation,
                                   std::uint64_t offset, std::string& out) {
  auto words = capnp::messageToFlatArray(message);
  auto bytes = words.asBytes();
  if (bytes.size() > kMaxRecord) {
    return error(ErrorCode::kTooLarge, "a record of {} bytes is longer than the {} that a journal takes",
                 bytes.size(), kMaxRecord);
  }
  append_record(out, generation, offset, {reinterpret_cast<const std::byte*>(bytes.begin()), bytes.size()});
  return {};
}

// Calls `visit` with the root of the message in `payload`; false if that is none.
template <class Root, class Visit>
bool read_message(Bytes payload, Visit visit) {
  if (payload.size() % sizeof(capnp::word) != 0 || payload.size() > kMaxRecord) return false;
  // Words must be aligned, and records lie where they lie. Most fit on the stack.
  std::uint64_t few[256];
  std::vector<std::uint64_t> many;
  std::size_t count = payload.size() / sizeof(capnp::word);
  if (count > 256) many.resize(count);
  std::uint64_t* words = count > 256 ? many.data() : few;
  if (count > 0) std::memcpy(words, payload.data(), payload.size());
  try {
    capnp::ReaderOptions limits;
    limits.traversalLimitInWords = 4 * (kMaxRecord / sizeof(capnp::word));
    limits.nestingLimit = 8;
    capnp::FlatArrayMessageReader message(kj::arrayPtr(reinterpret_cast<const capnp::word*>(words), count),
                                          limits);
    visit(message.getRoot<Root>());
    return true;
  } catch (const kj::Exception&) {
    return false;
  }
}

}  // namespace d7y::store
