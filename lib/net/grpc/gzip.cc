#include "net/grpc/gzip.h"

#include <zlib.h>

#include <algorithm>

namespace d7y::grpc {

namespace {

constexpr int kGzipWindow = 15 + 16;  // zlib's way to say: gzip header and trailer
constexpr std::size_t kStep = 64u << 10;

Bytef* in(const char* bytes) { return reinterpret_cast<Bytef*>(const_cast<char*>(bytes)); }
Bytef* out(char* bytes) { return reinterpret_cast<Bytef*>(bytes); }

}  // namespace

std::string gzip_compress(std::string_view bytes) {
  z_stream stream{};
  // Level 1: messages are compressed to save a slow link, at the least cost in time.
  if (deflateInit2(&stream, 1, Z_DEFLATED, kGzipWindow, 8, Z_DEFAULT_STRATEGY) != Z_OK) return {};
  std::string packed;
  packed.resize(deflateBound(&stream, bytes.size()));
  stream.next_in = in(bytes.data());
  stream.avail_in = static_cast<uInt>(bytes.size());
  stream.next_out = out(packed.data());
  stream.avail_out = static_cast<uInt>(packed.size());
  deflate(&stream, Z_FINISH);
  packed.resize(stream.total_out);
  deflateEnd(&stream);
  return packed;
}

Result<std::string> gzip_decompress(std::string_view bytes, std::uint64_t limit) {
  z_stream stream{};
  if (inflateInit2(&stream, kGzipWindow) != Z_OK) {
    return Error(ErrorCode::kInternal, "cannot decompress a message: zlib does not start");
  }
  struct End {
    z_stream& stream;
    ~End() { inflateEnd(&stream); }
  } end{stream};
  stream.next_in = in(bytes.data());
  stream.avail_in = static_cast<uInt>(bytes.size());
  std::string unpacked;
  for (;;) {
    std::size_t have = unpacked.size();
    unpacked.resize(have + std::clamp<std::size_t>(have, kStep, 16 * kStep));
    stream.next_out = out(unpacked.data() + have);
    stream.avail_out = static_cast<uInt>(unpacked.size() - have);
    int state = inflate(&stream, Z_NO_FLUSH);
    unpacked.resize(unpacked.size() - stream.avail_out);
    if (unpacked.size() > limit) {
      return error(ErrorCode::kTooLarge,
                   "a gzip message of {} bytes has more than the {} bytes that are accepted", bytes.size(),
                   limit);
    }
    if (state == Z_STREAM_END) {
      if (stream.avail_in != 0) break;
      return unpacked;
    }
    if (state != Z_OK || (stream.avail_in == 0 && stream.avail_out != 0)) break;
  }
  return error(ErrorCode::kCorrupt, "a message of {} bytes is marked as gzip but is not", bytes.size());
}

}  // namespace d7y::grpc
