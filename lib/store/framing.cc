#include "store/framing.h"

#include <xxhash.h>

namespace d7y::store {
namespace {

constexpr std::string_view kMagic = "d7ystor";  // and the kind: 8 bytes
constexpr std::uint32_t kVersion = 1;

template <class Number>
void put(std::string& out, Number value) {
  for (std::size_t i = 0; i < sizeof(Number); ++i) {
    out += static_cast<char>(static_cast<std::uint64_t>(value) >> (8 * i) & 0xff);
  }
}

template <class Number>
Number get(Bytes bytes, std::size_t at) {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < sizeof(Number); ++i)
    value |= std::to_integer<std::uint64_t>(bytes[at + i]) << (8 * i);
  return static_cast<Number>(value);
}

std::uint64_t checksum(std::uint64_t generation, std::uint64_t offset, Bytes payload) {
  // The odd constant spreads neighbouring offsets over the seed.
  return XXH3_64bits_withSeed(payload.data(), payload.size(), generation ^ (offset * 0x9e3779b97f4a7c15));
}

}  // namespace

std::string encode_header(const FileHeader& header) {
  std::string out(kMagic);
  out += header.kind;
  put<std::uint32_t>(out, kVersion);
  put<std::uint32_t>(out, header.incarnation);
  put<std::uint64_t>(out, header.generation);
  put<std::uint64_t>(out, XXH3_64bits(out.data(), out.size()));
  return out;
}

std::optional<FileHeader> decode_header(Bytes bytes, char kind) {
  if (bytes.size() < kHeaderSize || as_text(bytes.first(kMagic.size())) != kMagic) return std::nullopt;
  FileHeader header;
  header.kind = static_cast<char>(bytes[7]);
  if (header.kind != kind || get<std::uint32_t>(bytes, 8) != kVersion) return std::nullopt;
  if (get<std::uint64_t>(bytes, 24) != XXH3_64bits(bytes.data(), 24)) return std::nullopt;
  header.incarnation = get<std::uint32_t>(bytes, 12);
  header.generation = get<std::uint64_t>(bytes, 16);
  return header;
}

void append_record(std::string& out, std::uint64_t generation, std::uint64_t offset, Bytes payload) {
  put<std::uint32_t>(out, static_cast<std::uint32_t>(payload.size()));
  put<std::uint32_t>(out, ~static_cast<std::uint32_t>(payload.size()));
  put<std::uint64_t>(out, checksum(generation, offset, payload));
  out += as_text(payload);
}

std::optional<Bytes> RecordWalk::next() {
  if (file_.size() < end_ || file_.size() - end_ < kRecordHead) return std::nullopt;
  auto head = file_.subspan(end_);
  auto length = get<std::uint32_t>(head, 0);
  if (get<std::uint32_t>(head, 4) != ~length || length == 0 || length % 8 != 0 || length > kMaxRecord ||
      length > head.size() - kRecordHead) {
    return std::nullopt;
  }
  auto payload = head.subspan(kRecordHead, length);
  if (get<std::uint64_t>(head, 8) != checksum(generation_, end_, payload)) return std::nullopt;
  began_ = end_;
  end_ += kRecordHead + length;
  return payload;
}

}  // namespace d7y::store
