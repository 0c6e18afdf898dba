// A task's journal and the store's index against arbitrary bytes. Checksums would keep a fuzzer outside,
// so the input is also taken as a list of payloads and framed as it should be. Whatever is told must be
// sound, and tell the same when it is written and read again.
#include "store/journal.h"

#include <cstdint>
#include <cstdlib>

#include "store/index.h"

using namespace d7y;
using namespace d7y::store;

namespace {

constexpr std::uint64_t kGeneration = 7;

void must(bool holds) {
  if (!holds) std::abort();
}

void check(const JournalHistory& history, std::size_t size) {
  const TaskFacts& facts = history.facts.facts;
  must(check_facts(facts).ok());
  must(history.end >= kHeaderSize && history.end <= size);
  for (const auto& [number, piece] : history.pieces) {
    must(piece.info.number == number && piece.info.length > 0 && piece.info.length <= facts.piece_length);
    must(!facts.content_length || piece.info.offset + piece.info.length <= *facts.content_length);
  }
  must(!history.finished || facts.content_length.has_value());

  std::string again = encode_header(history.header);
  auto write = [&](const JournalRecord& record) {
    return encode_record(record, history.header.generation, again.size(), again).ok();
  };
  if (!write(history.facts)) return;  // longer than a record may be
  for (const auto& [number, piece] : history.pieces) must(write(piece.info));
  auto read = read_journal(as_bytes(again));
  must(read.ok() && !read->torn);
  must(read->facts.facts.id == facts.id && read->facts.facts.response_headers == facts.response_headers);
  must(read->pieces.size() == history.pieces.size());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Bytes input(reinterpret_cast<const std::byte*>(data), size);
  if (auto history = read_journal(input)) check(*history, size);
  if (auto lines = decode_index(input)) must(!lines->empty() || size > 0);

  std::string journal = encode_header({.kind = 'J', .generation = kGeneration});
  std::string index = encode_header({.kind = 'I', .generation = kGeneration});
  while (input.size() > 2) {
    std::size_t length = (static_cast<std::size_t>(data[0]) | static_cast<std::size_t>(data[1]) << 8) * 8;
    input = input.subspan(2);
    length = std::min(length, input.size() / 8 * 8);
    append_record(journal, kGeneration, journal.size(), input.first(length));
    append_record(index, kGeneration, index.size(), input.first(length));
    input = input.subspan(length);
    data = reinterpret_cast<const std::uint8_t*>(input.data());
  }
  if (auto history = read_journal(as_bytes(journal))) check(*history, journal.size());
  if (auto lines = decode_index(as_bytes(index))) {
    for (const auto& line : *lines) must(check_task_id(line.task.id).ok());
  }
  return 0;
}
