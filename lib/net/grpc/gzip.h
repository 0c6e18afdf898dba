// gzip as a message encoding.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace d7y::grpc {

std::string gzip_compress(std::string_view bytes);

// kTooLarge if the result would have more than `limit` bytes (found out without making more of it);
// kCorrupt if `bytes` are not one whole gzip stream.
Result<std::string> gzip_decompress(std::string_view bytes, std::uint64_t limit);

}  // namespace d7y::grpc
