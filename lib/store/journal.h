// The journal of one task: what happened to it, in order. Pure: bytes in, records out, and back.
//
//   std::string file = encode_header({.kind = 'J', .generation = world.random()});
//   encode_record(PieceRecord{...}, generation, file.size(), file);
//   auto history = read_journal(as_bytes(file));      // what a restart knows
#pragma once

#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/result.h"
#include "store/framing.h"
#include "store/task_facts.h"

namespace d7y::store {

struct FactsRecord {
  TaskFacts facts;
  WallTime created_at{}, accessed_at{};
};
struct LostRecord {
  std::uint32_t number = 0;
};
// Everything before `upto`, an offset in the journal, is on stable storage.
struct SyncedRecord {
  std::uint64_t upto = 0;
};
struct FinishedRecord {};
struct FailedRecord {
  std::string why;
};
struct AccessedRecord {
  WallTime at{};
};
// Size and modification time of the content file when it was last known to be right.
struct ContentStamp {
  std::uint64_t size = 0;
  WallTime modified{};
  bool operator==(const ContentStamp&) const = default;
};
struct SharedRecord {
  ContentStamp stamp;
};

// A piece's offset follows from its number; it is not stored and 0 after decoding.
using JournalRecord = std::variant<FactsRecord, PieceInfo, LostRecord, SyncedRecord, FinishedRecord,
                                   FailedRecord, AccessedRecord, SharedRecord>;

// Appends `record`, which will lie at `offset` of the journal, to `out`. kTooLarge if it is longer
// than a record may be (headers of an origin without measure).
Result<void> encode_record(const JournalRecord& record, std::uint64_t generation, std::uint64_t offset,
                           std::string& out);
// kCorrupt if `payload` is none of ours.
Result<JournalRecord> decode_record(Bytes payload);

// What a journal tells about a task.
struct JournalHistory {
  struct Piece {
    PieceInfo info;
    bool synced = false;  // its bytes are on stable storage
  };
  FileHeader header;
  FactsRecord facts;
  std::map<std::uint32_t, Piece> pieces;
  bool finished = false;
  std::optional<std::string> failure;
  std::optional<ContentStamp> shared;
  std::uint64_t end = 0;      // good bytes; the rest is torn
  std::uint64_t records = 0;  // good records
  bool torn = false;          // bytes follow the good part
};

// kCorrupt if there is no usable header or no facts. Anything that contradicts the facts (a piece
// beyond the content, a wrong length) ends the good part like a bad checksum.
Result<JournalHistory> read_journal(Bytes file);

}  // namespace d7y::store
