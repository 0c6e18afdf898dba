#include "store/journal.h"

#include <algorithm>

#include "store/capnp_bytes.h"
#include "store/journal.capnp.h"

namespace d7y::store {
namespace {

std::int64_t stamp(WallTime time) { return time.time_since_epoch().count(); }
WallTime wall(std::int64_t nanoseconds) { return WallTime(Duration(nanoseconds)); }

void put(format::Record::Builder out, const FactsRecord& record) {
  const TaskFacts& facts = record.facts;
  auto to = out.initFacts();
  to.setId(to_text(facts.id));
  to.setKind(static_cast<std::uint8_t>(facts.kind));
  to.setUrl(to_text(facts.url));
  to.setTag(to_text(facts.tag));
  to.setApplication(to_text(facts.application));
  to.setPieceLength(facts.piece_length);
  to.setHasContentLength(facts.content_length.has_value());
  to.setContentLength(facts.content_length.value_or(0));
  auto headers = to.initResponseHeaders(static_cast<unsigned>(facts.response_headers.size()));
  for (unsigned i = 0; i < headers.size(); ++i) {
    headers[i].setName(to_text(facts.response_headers[i].first));
    headers[i].setValue(to_text(facts.response_headers[i].second));
  }
  to.setEtag(to_text(facts.version.etag));
  to.setLastModified(to_text(facts.version.last_modified));
  to.setDigest(to_text(facts.digest));
  to.setTtl(facts.ttl.count());
  to.setPersistent(facts.persistent);
  to.setPrefetched(facts.prefetched);
  to.setCreatedAt(stamp(record.created_at));
  to.setAccessedAt(stamp(record.accessed_at));
}

void put(format::Record::Builder out, const PieceInfo& piece) {
  auto to = out.initPiece();
  to.setNumber(piece.number);
  to.setCrc(piece.crc);
  to.setLength(piece.length);
  to.setTraffic(static_cast<std::uint8_t>(piece.traffic));
  auto micros = std::chrono::duration_cast<std::chrono::microseconds>(piece.cost).count();
  to.setCostMicroseconds(static_cast<std::uint64_t>(std::max<std::int64_t>(micros, 0)));
  to.setCreatedAt(stamp(piece.created_at));
  to.setParent(to_text(piece.parent));
}

void put(format::Record::Builder out, const LostRecord& lost) { out.setLost(lost.number); }
void put(format::Record::Builder out, const SyncedRecord& synced) { out.setSynced(synced.upto); }
void put(format::Record::Builder out, const FinishedRecord&) { out.setFinished(); }
void put(format::Record::Builder out, const FailedRecord& failed) { out.setFailed(to_text(failed.why)); }
void put(format::Record::Builder out, const AccessedRecord& accessed) { out.setAccessed(stamp(accessed.at)); }
void put(format::Record::Builder out, const SharedRecord& shared) {
  auto to = out.initShared();
  to.setSize(shared.stamp.size);
  to.setModified(stamp(shared.stamp.modified));
}

FactsRecord facts_of(format::Facts::Reader from) {
  FactsRecord record;
  TaskFacts& facts = record.facts;
  facts.id = text_of(from.getId());
  facts.kind = static_cast<TaskKind>(from.getKind());
  facts.url = text_of(from.getUrl());
  facts.tag = text_of(from.getTag());
  facts.application = text_of(from.getApplication());
  facts.piece_length = from.getPieceLength();
  if (from.getHasContentLength()) facts.content_length = from.getContentLength();
  for (auto header : from.getResponseHeaders()) {
    facts.response_headers.emplace_back(text_of(header.getName()), text_of(header.getValue()));
  }
  facts.version = {text_of(from.getEtag()), text_of(from.getLastModified())};
  facts.digest = text_of(from.getDigest());
  facts.ttl = Duration(std::max<std::int64_t>(from.getTtl(), 0));
  facts.persistent = from.getPersistent();
  facts.prefetched = from.getPrefetched();
  record.created_at = wall(from.getCreatedAt());
  record.accessed_at = wall(from.getAccessedAt());
  return record;
}

PieceInfo piece_of(format::Piece::Reader from) {
  PieceInfo piece;
  piece.number = from.getNumber();
  piece.crc = from.getCrc();
  piece.length = from.getLength();
  piece.traffic = static_cast<Traffic>(from.getTraffic());
  // A year is more than any piece takes; what is above is noise.
  auto micros = std::min<std::uint64_t>(from.getCostMicroseconds(), std::uint64_t{366} * 86400 * 1000000);
  piece.cost = std::chrono::microseconds(micros);
  piece.created_at = wall(from.getCreatedAt());
  piece.parent = text_of(from.getParent());
  return piece;
}

std::optional<JournalRecord> record_of(format::Record::Reader from) {
  switch (from.which()) {
    case format::Record::FACTS: return facts_of(from.getFacts());
    case format::Record::PIECE: return piece_of(from.getPiece());
    case format::Record::LOST: return LostRecord{from.getLost()};
    case format::Record::SYNCED: return SyncedRecord{from.getSynced()};
    case format::Record::FINISHED: return FinishedRecord{};
    case format::Record::FAILED: return FailedRecord{text_of(from.getFailed())};
    case format::Record::ACCESSED: return AccessedRecord{wall(from.getAccessed())};
    case format::Record::SHARED: {
      auto shared = from.getShared();
      return SharedRecord{{shared.getSize(), wall(shared.getModified())}};
    }
  }
  return std::nullopt;
}

// Does the piece lie where the facts say pieces lie?
bool fits(const PieceInfo& piece, const TaskFacts& facts) {
  if (piece.number >= kMaxPieces || piece.length == 0 || piece.length > facts.piece_length ||
      piece.traffic > Traffic::kLocalPeer) {
    return false;
  }
  if (!facts.content_length) return true;
  auto offset = piece.number * facts.piece_length;
  return offset < *facts.content_length &&
         piece.length == std::min(facts.piece_length, *facts.content_length - offset);
}

// Takes one record in; false if it contradicts what came before.
class Telling {
 public:
  explicit Telling(JournalHistory& history) : history_(history) {}

  bool operator()(FactsRecord& record) {
    if (!check_facts(record.facts)) return false;
    if (has_facts_ && (record.facts.id != history_.facts.facts.id ||
                       record.facts.piece_length != history_.facts.facts.piece_length)) {
      return false;  // a reset begins a new journal
    }
    if (record.facts.content_length != history_.facts.facts.content_length) history_.finished = false;
    for (auto& [number, piece] : history_.pieces) {
      if (!fits(piece.info, record.facts)) return false;
    }
    auto accessed = std::max(record.accessed_at, history_.facts.accessed_at);
    history_.facts = std::move(record);
    history_.facts.accessed_at = accessed;
    has_facts_ = true;
    return true;
  }
  bool operator()(PieceInfo& piece) {
    if (!has_facts_ || !fits(piece, history_.facts.facts)) return false;
    piece.offset = piece.number * history_.facts.facts.piece_length;
    auto number = piece.number;
    history_.pieces[number] = {std::move(piece), false};
    began_[number] = at_;
    history_.failure.reset();
    return true;
  }
  bool operator()(LostRecord& lost) {
    history_.pieces.erase(lost.number);
    began_.erase(lost.number);
    history_.finished = false;
    return has_facts_;
  }
  bool operator()(SyncedRecord& synced) {
    if (!has_facts_ || synced.upto > at_) return false;
    for (auto& [number, began] : began_) {
      if (began < synced.upto) history_.pieces[number].synced = true;
    }
    std::erase_if(began_, [&](auto& entry) { return entry.second < synced.upto; });
    return true;
  }
  bool operator()(FinishedRecord&) {
    const auto& facts = history_.facts.facts;
    if (!has_facts_ || !facts.content_length) return false;
    auto count = (*facts.content_length + facts.piece_length - 1) / facts.piece_length;
    if (history_.pieces.size() != count) return false;
    history_.finished = true;
    return true;
  }
  bool operator()(FailedRecord& failed) {
    history_.failure = std::move(failed.why);
    return has_facts_;
  }
  bool operator()(AccessedRecord& accessed) {
    history_.facts.accessed_at = std::max(history_.facts.accessed_at, accessed.at);
    return has_facts_;
  }
  bool operator()(SharedRecord& shared) {
    history_.shared = shared.stamp;
    return has_facts_;
  }

  bool has_facts() const { return has_facts_; }
  void at(std::uint64_t offset) { at_ = offset; }

 private:
  JournalHistory& history_;
  bool has_facts_ = false;
  std::uint64_t at_ = 0;
  std::map<std::uint32_t, std::uint64_t> began_;  // of pieces that are not synced
};

}  // namespace

Result<void> encode_record(const JournalRecord& record, std::uint64_t generation, std::uint64_t offset,
                           std::string& out) {
  capnp::word scratch[256] = {};
  capnp::MallocMessageBuilder message(kj::arrayPtr(scratch, 256));
  std::visit([&](const auto& value) { put(message.initRoot<format::Record>(), value); }, record);
  return append_message(message, generation, offset, out);
}

Result<JournalRecord> decode_record(Bytes payload) {
  std::optional<JournalRecord> record;
  bool read = read_message<format::Record>(payload, [&](auto root) { record = record_of(root); });
  if (!read || !record)
    return error(ErrorCode::kCorrupt, "a journal record of {} bytes is not readable", payload.size());
  return *std::move(record);
}

Result<JournalHistory> read_journal(Bytes file) {
  auto header = decode_header(file, 'J');
  if (!header) return error(ErrorCode::kCorrupt, "a journal of {} bytes has no valid header", file.size());

  JournalHistory history;
  history.header = *header;
  history.end = kHeaderSize;
  RecordWalk walk(file, *header);
  Telling telling(history);
  while (auto payload = walk.next()) {
    auto record = decode_record(*payload);
    if (!record) break;
    telling.at(walk.began());
    if (!std::visit(telling, *record)) break;
    history.end = walk.end();
    ++history.records;
  }
  history.torn = history.end != file.size();
  if (!telling.has_facts())
    return error(ErrorCode::kCorrupt, "a journal of {} bytes tells of no task", file.size());
  return history;
}

}  // namespace d7y::store
