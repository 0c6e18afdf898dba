// How records lie in a file, for the journal and the index alike (FORMAT.md): a header with a random
// generation, then records, each with length and checksum. Pure.
//
// A checksum covers the record's place and the file's generation too, so that neither a stale record
// of an earlier life of the disk block nor one that slipped to another place passes for a good one.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/bytes.h"

namespace d7y::store {

struct FileHeader {
  char kind = 'J';                // 'J' journal, 'I' index
  std::uint32_t incarnation = 0;  // journal: which content file belongs to it
  std::uint64_t generation = 0;
};

inline constexpr std::size_t kHeaderSize = 32;
inline constexpr std::size_t kRecordHead = 16;
// The longest payload of a record. What is longer is not ours.
inline constexpr std::size_t kMaxRecord = std::size_t{1} << 20;

std::string encode_header(const FileHeader& header);
// None if `bytes` do not start with a header of this kind and version.
std::optional<FileHeader> decode_header(Bytes bytes, char kind);

// Appends a record that will lie at `offset` of its file. The payload's length must be a multiple
// of 8 and at most kMaxRecord.
void append_record(std::string& out, std::uint64_t generation, std::uint64_t offset, Bytes payload);

// Walks over the records of a file's bytes (with its header).
class RecordWalk {
 public:
  RecordWalk(Bytes file, const FileHeader& header) : file_(file), generation_(header.generation) {}

  // The next payload; none at the end or at the first bad record.
  std::optional<Bytes> next();
  // Where the record that next() gave began.
  std::uint64_t began() const { return began_; }
  // Where the good part ends; after it, append here.
  std::uint64_t end() const { return end_; }
  // All bytes were good records.
  bool clean() const { return end_ == file_.size(); }

 private:
  Bytes file_;
  std::uint64_t generation_;
  std::uint64_t began_ = kHeaderSize, end_ = kHeaderSize;
};

}  // namespace d7y::store
