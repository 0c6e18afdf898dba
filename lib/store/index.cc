#include "store/index.h"

#include <algorithm>

#include "store/capnp_bytes.h"
#include "store/journal.capnp.h"

namespace d7y::store {
namespace {

// Per record; a line is about 250 bytes with the longest id, so a record stays far below kMaxRecord.
constexpr std::size_t kLinesPerRecord = 1000;

void put(format::IndexEntry::Builder to, const IndexEntry& entry) {
  const TaskSummary& task = entry.task;
  to.setId(to_text(task.id));
  to.setKind(static_cast<std::uint8_t>(task.kind));
  to.setPieceLength(task.piece_length);
  to.setHasContentLength(task.content_length.has_value());
  to.setContentLength(task.content_length.value_or(0));
  to.setStored(task.stored);
  to.setPieces(task.pieces);
  to.setTtl(task.ttl.count());
  to.setCreatedAt(task.created_at.time_since_epoch().count());
  to.setAccessedAt(task.accessed_at.time_since_epoch().count());
  to.setFinished(task.finished);
  to.setFailed(task.failed);
  to.setPersistent(task.persistent);
  to.setSynced(entry.synced);
  to.setShared(entry.shared);
}

IndexEntry entry_of(format::IndexEntry::Reader from) {
  IndexEntry entry;
  TaskSummary& task = entry.task;
  task.id = text_of(from.getId());
  task.kind = static_cast<TaskKind>(from.getKind());
  task.piece_length = from.getPieceLength();
  if (from.getHasContentLength()) task.content_length = from.getContentLength();
  task.stored = from.getStored();
  task.pieces = from.getPieces();
  task.ttl = Duration(from.getTtl());
  task.created_at = WallTime(Duration(from.getCreatedAt()));
  task.accessed_at = WallTime(Duration(from.getAccessedAt()));
  task.finished = from.getFinished();
  task.failed = from.getFailed();
  task.persistent = from.getPersistent();
  entry.synced = from.getSynced();
  entry.shared = from.getShared();
  return entry;
}

bool usable(const IndexEntry& entry) {
  return check_task_id(entry.task.id).ok() && entry.task.kind <= TaskKind::kPersistentCache;
}

}  // namespace

std::string encode_index(const std::vector<IndexEntry>& entries, std::uint64_t generation) {
  std::string out = encode_header({.kind = 'I', .generation = generation});
  // Lines are short by construction, so a record is never too large.
  for (std::size_t first = 0; first < entries.size(); first += kLinesPerRecord) {
    auto count = std::min(kLinesPerRecord, entries.size() - first);
    capnp::MallocMessageBuilder message;
    auto lines = message.initRoot<format::IndexRecord>().initEntries(static_cast<unsigned>(count));
    for (unsigned i = 0; i < count; ++i) put(lines[i], entries[first + i]);
    if (!append_message(message, generation, out.size(), out)) return {};
  }
  capnp::MallocMessageBuilder message;
  message.initRoot<format::IndexRecord>().setEnd(entries.size());
  if (!append_message(message, generation, out.size(), out)) return {};
  return out;
}

Result<std::vector<IndexEntry>> decode_index(Bytes file) {
  auto broken = [&] { return error(ErrorCode::kCorrupt, "the index of {} bytes is damaged", file.size()); };
  auto header = decode_header(file, 'I');
  if (!header) return broken();

  std::vector<IndexEntry> entries;
  bool ended = false, good = true;
  RecordWalk walk(file, *header);
  while (auto payload = walk.next()) {
    if (ended) return broken();
    bool read = read_message<format::IndexRecord>(*payload, [&](auto record) {
      if (record.isEnd()) {
        ended = record.getEnd() == entries.size();
        good = good && ended;
        return;
      }
      if (!record.isEntries()) {
        good = false;
        return;
      }
      for (auto line : record.getEntries()) {
        entries.push_back(entry_of(line));
        good = good && usable(entries.back());
      }
    });
    if (!read || !good) return broken();
  }
  if (!ended || !walk.clean()) return broken();
  return entries;
}

}  // namespace d7y::store
