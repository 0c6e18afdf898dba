#include "node/upload_door.h"

#include <string>

#include "net/tls/prefixed_stream.h"

namespace d7y::node {

namespace {

using Stream = std::unique_ptr<world::Stream>;

// Second bytes of a connection's first two.
constexpr unsigned char kTlsMajorVersion = 3;
bool is_piece_request(unsigned char tag) { return tag == 0 || tag == 2 || tag == 4; }

}  // namespace

Task<Result<Stream>> enter(UploadDoor door, Stream stream, Deadline deadline) {
  bool tls = door.secure != nullptr;
  if (!tls || door.plaintext_too) {
    std::string begin;
    while (begin.size() < 2) {
      std::byte next{};
      CO_TRY(auto got, co_await world::read_some(*stream, MutableBytes(&next, 1), deadline));
      if (got == 0) co_return error(ErrorCode::kReset, "the connection ended before it said anything");
      begin.push_back(static_cast<char>(next));
    }
    const auto second = static_cast<unsigned char>(begin[1]);
    stream = std::make_unique<net::PrefixedStream>(std::move(begin), std::move(stream));
    if (door.pieces != nullptr && is_piece_request(second)) {
      door.pieces->serve(std::move(stream));
      co_return Stream();
    }
    tls = tls && second == kTlsMajorVersion;
  }
  if (!tls) co_return std::move(stream);
  auto secured =
      co_await net::tls_accept(std::move(stream), std::move(door.secure), door.world.wall_now(), deadline);
  if (!secured) co_return std::move(secured).error();
  co_return Stream(std::move(*secured));
}

}  // namespace d7y::node
