#include "store/journal.h"

#include "fixture.h"
#include "store/index.h"

using namespace d7y;
using namespace d7y::store;

namespace {

constexpr std::uint64_t kGeneration = 0x1234567890abcdef;

struct Writer {
  std::string file;
  std::vector<std::size_t> ends;

  Writer() {
    FileHeader header;
    header.kind = 'J';
    header.incarnation = 3;
    header.generation = kGeneration;
    file = encode_header(header);
    ends.push_back(file.size());
  }

  Writer& add(const JournalRecord& record) {
    must(encode_record(record, kGeneration, file.size(), file));
    ends.push_back(file.size());
    return *this;
  }
};

FactsRecord some_facts() {
  FactsRecord record;
  record.facts = facts_of(an_id(1), 10'000, 4096);
  record.facts.kind = TaskKind::kPersistentCache;
  record.facts.tag = "tag";
  record.facts.application = "app";
  record.facts.response_headers = {
      {"Content-Type", "text/plain"}, {"X", ""}, {"Zero", std::string("a\0b", 3)}};
  record.facts.version = {"etag", "last"};
  record.facts.digest = "sha256:" + std::string(64, 'a');
  record.facts.ttl = 3h;
  record.facts.persistent = record.facts.prefetched = true;
  record.created_at = WallTime(1000s);
  record.accessed_at = WallTime(2000s);
  return record;
}

PieceInfo some_piece(std::uint32_t number, std::uint64_t length = 4096) {
  return {.number = number,
          .length = length,
          .crc = 7 + number,
          .traffic = Traffic::kRemotePeer,
          .cost = 5ms,
          .created_at = WallTime(1500s),
          .parent = "p"};
}

Writer full_journal() {
  Writer writer;
  writer.add(some_facts()).add(some_piece(0)).add(some_piece(1));
  writer.add(SyncedRecord{writer.file.size()});
  writer.add(some_piece(2, 1808)).add(FinishedRecord{}).add(AccessedRecord{WallTime(3000s)});
  writer.add(SharedRecord{{10'000, WallTime(2500s)}});
  return writer;
}

}  // namespace

TEST_CASE("a journal tells what was written to it") {
  auto history = must(read_journal(as_bytes(full_journal().file)));
  CHECK(history.header.incarnation == 3);
  CHECK(history.header.generation == kGeneration);
  const auto& facts = history.facts.facts;
  auto wanted = some_facts();
  CHECK(facts.id == wanted.facts.id);
  CHECK(facts.kind == wanted.facts.kind);
  CHECK(facts.url == wanted.facts.url);
  CHECK(facts.response_headers == wanted.facts.response_headers);
  CHECK(facts.version == wanted.facts.version);
  CHECK(facts.digest == wanted.facts.digest);
  CHECK(facts.ttl == wanted.facts.ttl);
  CHECK(facts.content_length == 10'000);
  CHECK(facts.persistent);
  CHECK(facts.prefetched);
  CHECK(history.facts.created_at == WallTime(1000s));
  CHECK(history.facts.accessed_at == WallTime(3000s));
  CHECK(history.pieces.size() == 3);
  CHECK(history.pieces.at(0).synced);
  CHECK(history.pieces.at(1).synced);
  CHECK_FALSE(history.pieces.at(2).synced);
  CHECK(history.pieces.at(2).info.offset == 8192);
  CHECK(history.pieces.at(2).info.crc == 9);
  CHECK(history.pieces.at(2).info.cost == 5ms);
  CHECK(history.pieces.at(2).info.parent == "p");
  CHECK(history.finished);
  CHECK(history.shared->size == 10'000);
  CHECK_FALSE(history.torn);
}

TEST_CASE("cut anywhere, a journal tells exactly the records that are whole") {
  auto writer = full_journal();
  for (std::size_t cut = 0; cut <= writer.file.size(); ++cut) {
    auto history = read_journal(as_bytes(writer.file).first(cut));
    if (cut < writer.ends[1]) {
      CHECK_FALSE(history.ok());
      continue;
    }
    auto whole = std::upper_bound(writer.ends.begin(), writer.ends.end(), cut) - writer.ends.begin() - 1;
    CHECK(history->records == static_cast<std::uint64_t>(whole));
    CHECK(history->end == writer.ends[static_cast<std::size_t>(whole)]);
    CHECK(history->torn == (history->end != cut));
  }
}

TEST_CASE("a flipped bit anywhere ends the good part in front of it, never changes what is told") {
  auto writer = full_journal();
  auto good = must(read_journal(as_bytes(writer.file)));
  for (std::size_t at = 0; at < writer.file.size(); ++at) {
    auto bad = writer.file;
    bad[at] = static_cast<char>(bad[at] ^ (1 << (at % 8)));
    auto history = read_journal(as_bytes(bad));
    if (!history) continue;
    CHECK(history->end <= at);
    for (const auto& [number, piece] : history->pieces)
      CHECK(piece.info.crc == good.pieces.at(number).info.crc);
  }
}

TEST_CASE("a good record at the wrong place, or of another life, is not believed") {
  Writer writer;
  writer.add(some_facts()).add(some_piece(0));
  auto record = writer.file.substr(writer.ends[1]);
  CHECK(must(read_journal(as_bytes(writer.file + record))).records == 2);
  std::string other = encode_header({.kind = 'J', .generation = kGeneration + 1});
  must(encode_record(some_facts(), kGeneration + 1, other.size(), other));
  other += record;
  CHECK(must(read_journal(as_bytes(other))).records == 1);
}

TEST_CASE("records that contradict the facts end the good part") {
  auto records_with = [](const JournalRecord& record) {
    Writer writer;
    writer.add(some_facts()).add(record);
    return must(read_journal(as_bytes(writer.file))).records;
  };
  CHECK(records_with(some_piece(0)) == 2);
  CHECK(records_with(some_piece(3)) == 1);
  CHECK(records_with(some_piece(2)) == 1);
  CHECK(records_with(some_piece(0, 1)) == 1);
  CHECK(records_with(some_piece(0xffffffff)) == 1);
  CHECK(records_with(FinishedRecord{}) == 1);
  CHECK(records_with(SyncedRecord{1'000'000}) == 1);
  auto other = some_facts();
  other.facts.id = an_id(2);
  CHECK(records_with(other) == 1);
  auto longer = some_facts();
  longer.facts.piece_length = 8192;
  CHECK(records_with(longer) == 1);
  Writer endless;
  endless.add(some_facts())
      .add(some_piece(0))
      .add(some_piece(1))
      .add(some_piece(2, 1808))
      .add(FinishedRecord{});
  auto unknown = some_facts();
  unknown.facts.content_length.reset();
  CHECK(must(read_journal(as_bytes(endless.file))).finished);
  endless.add(unknown);
  CHECK_FALSE(must(read_journal(as_bytes(endless.file))).finished);
  Writer no_facts;
  no_facts.add(some_piece(0)).add(some_facts());
  CHECK_FALSE(read_journal(as_bytes(no_facts.file)).ok());
}

TEST_CASE("hostile bytes are no journal and no record") {
  CHECK_FALSE(read_journal({}).ok());
  for (std::uint64_t seed = 1; seed < 300; ++seed) {
    auto noise = made_up(seed * 7, seed);
    CHECK_FALSE(read_journal(as_bytes(noise)).ok());
    CHECK_FALSE(decode_index(as_bytes(noise)).ok());
    static_cast<void>(decode_record(as_bytes(noise)).ok());
    // Framed as it should be, with nonsense inside.
    auto payload = noise.substr(0, noise.size() / 8 * 8);
    std::string file = encode_header({.kind = 'J', .generation = seed});
    append_record(file, seed, file.size(), as_bytes(payload));
    CHECK_FALSE(read_journal(as_bytes(file)).ok());
    std::string index = encode_header({.kind = 'I', .generation = seed});
    append_record(index, seed, index.size(), as_bytes(payload));
    CHECK_FALSE(decode_index(as_bytes(index)).ok());
  }
}

TEST_CASE("headers of an origin without measure are refused, not written") {
  auto record = some_facts();
  record.facts.response_headers = {{"X", std::string(2_MiB, 'x')}};
  std::string out;
  CHECK(encode_record(record, 1, 0, out).failed_with(ErrorCode::kTooLarge));
  CHECK(out.empty());
}

TEST_CASE("an index tells what was written to it, or nothing") {
  std::vector<IndexEntry> entries;
  for (int i = 0; i < 2500; ++i) {
    IndexEntry entry;
    entry.task.id = an_id(i);
    entry.task.stored = static_cast<std::uint64_t>(i);
    if (i % 2 == 0) entry.task.content_length = 5;
    entry.task.finished = i % 3 == 0;
    entry.synced = i % 5 == 0;
    entries.push_back(entry);
  }
  auto image = encode_index(entries, 42);
  auto read = must(decode_index(as_bytes(image)));
  CHECK(read.size() == entries.size());
  for (std::size_t i = 0; i < read.size(); ++i) {
    CHECK(read[i].task.id == entries[i].task.id);
    CHECK(read[i].task.stored == entries[i].task.stored);
    CHECK(read[i].task.content_length == entries[i].task.content_length);
    CHECK(read[i].synced == entries[i].synced);
  }
  CHECK_FALSE(decode_index(as_bytes(image).first(image.size() - 1)).ok());
  CHECK_FALSE(decode_index(as_bytes(image + "x")).ok());
  image[image.size() / 2] ^= 4;
  CHECK_FALSE(decode_index(as_bytes(image)).ok());
  CHECK(must(decode_index(as_bytes(encode_index({}, 1)))).empty());
}
