#include "scheduler/journal_ledger.h"

#include <xxhash.h>

#include <algorithm>
#include <cstring>

#include "base/scope.h"
#include "base/siphash.h"

namespace d7y::scheduler {
namespace {

constexpr std::string_view kMagic = "d7y scheduler journal 1\n";  // 24 bytes
constexpr std::size_t kHead = 12;                                 // of a record: length, then checksum
constexpr std::size_t kBiggestRecord = 1 << 20;                   // bytes
constexpr std::size_t kSlice = 1 << 20;                           // bytes read in one go
constexpr std::size_t kTurn = 32 << 10;         // bytes looked at before others have their turn
constexpr std::size_t kMostPending = 16 << 20;  // bytes that wait for a disk that is full
constexpr std::size_t kFlushAt = 256 << 10;
constexpr std::uint64_t kSmall = 16 << 20;  // bytes; not worth writing anew
constexpr Duration kCollect = std::chrono::milliseconds(100);
constexpr Duration kSyncEvery = std::chrono::seconds(1);

constexpr std::uint8_t kPut = 1, kErase = 2, kEraseGroup = 3;

template <class Integer>
void put_integer(std::string& out, Integer value) {
  for (std::size_t i = 0; i < sizeof value; ++i) out += static_cast<char>(value >> (8 * i) & 0xff);
}
template <class Integer>
Integer get_integer(const char* at) {
  Integer value = 0;
  for (std::size_t i = 0; i < sizeof value; ++i)
    value |= static_cast<Integer>(static_cast<unsigned char>(at[i])) << (8 * i);
  return value;
}

}  // namespace

// Views into the bytes that are being read.
struct JournalLedger::Record {
  std::uint8_t kind = 0;
  WallTime expires{};
  std::string_view group, name, value;

  // kind, expires (nanoseconds since 1970), lengths of group and name, then the three texts.
  static bool parse(std::string_view body, Record& out) {
    constexpr std::size_t kFixed = 1 + 8 + 2 + 2;
    if (body.size() < kFixed) return false;
    out.kind = static_cast<std::uint8_t>(body[0]);
    out.expires = WallTime(Duration(get_integer<std::int64_t>(body.data() + 1)));
    const std::size_t group = get_integer<std::uint16_t>(body.data() + 9);
    const std::size_t name = get_integer<std::uint16_t>(body.data() + 11);
    if (out.kind < kPut || out.kind > kEraseGroup || body.size() < kFixed + group + name) return false;
    out.group = body.substr(kFixed, group);
    out.name = body.substr(kFixed + group, name);
    out.value = body.substr(kFixed + group + name);
    return true;
  }
};

JournalLedger::JournalLedger(world::World& world, std::string path, Log log, Metrics& metrics)
    : world_(world),
      path_(std::move(path)),
      log_(log.in("ledger")),
      hash_key_(world.random()),
      records_(metrics.counter("d7y_scheduler_journal_records_total", "Entries written to the journal.")),
      failures_(metrics.counter("d7y_scheduler_journal_failures_total",
                                "Writes to the journal that failed, and entries that were lost.")),
      bytes_(metrics.gauge("d7y_scheduler_journal_bytes", "Size of the journal.")) {}

Result<std::unique_ptr<JournalLedger>> JournalLedger::open(world::World& world, const std::string& folder,
                                                           Log log, Metrics& metrics) {
  auto& files = world.files();
  TRY_OK(files.make_folders(folder, 0700));
  const auto path = folder + "/scheduler.journal";
  auto ledger = std::unique_ptr<JournalLedger>(new JournalLedger(world, path, log, metrics));
  auto lock = files.lock(folder + "/scheduler.lock");
  if (lock.failed_with(ErrorCode::kExists)) {
    return error(ErrorCode::kExists, "{} belongs to a scheduler that runs; give each its own server.dataDir",
                 folder);
  }
  if (!lock) return std::move(lock).error();
  ledger->lock_ = std::move(*lock);
  // URLs and names in it are not for everyone.
  TRY(ledger->file_, files.open(path, world::OpenMode::kCreate, 0600));
  TRY(const auto status, ledger->file_->status());
  ledger->end_ = status.size;
  if (status.size < kMagic.size()) {
    TRY_OK(ledger->file_->resize(0));
    TRY_OK(ledger->file_->write_at(0, as_bytes(kMagic)));
    ledger->end_ = kMagic.size();
  } else {
    std::string magic(kMagic.size(), '\0');
    TRY(const auto got, ledger->file_->read_at(0, as_mutable_bytes(magic)));
    if (got != magic.size() || magic != kMagic) {
      return error(ErrorCode::kCorrupt, "{} is not a journal of this version; move it away", path);
    }
  }
  return ledger;
}

std::uint64_t JournalLedger::key_of(std::string_view group, std::string_view name) const {
  std::string both;
  both.reserve(group.size() + 1 + name.size());
  both.append(group).append(1, '\0').append(name);
  return siphash24(as_bytes(both), hash_key_, ~hash_key_);
}

Task<Result<std::uint64_t>> JournalLedger::walk(std::uint64_t from, std::uint64_t to, Each each) {
  std::string buffer;
  std::uint64_t at = from;  // of buffer's first byte
  while (at < to) {
    buffer.resize(std::min<std::uint64_t>(kSlice + kBiggestRecord, to - at));
    CO_TRY(const std::size_t got, file_->read_at(at, as_mutable_bytes(buffer)));
    std::size_t used = 0, pause_at = kTurn;
    while (used + kHead <= got && used < kSlice) {
      if (used >= pause_at) {
        pause_at = used + kTurn;
        co_await sleep_until(world_.now());
      }
      const std::size_t length = get_integer<std::uint32_t>(buffer.data() + used);
      if (length > kBiggestRecord || used + kHead + length > got) break;
      const std::string_view body(buffer.data() + used + kHead, length);
      Record record;
      if (XXH3_64bits(body.data(), body.size()) != get_integer<std::uint64_t>(buffer.data() + used + 4) ||
          !Record::parse(body, record)) {
        break;
      }
      each(record, at + used, std::string_view(buffer.data() + used, kHead + length));
      used += kHead + length;
    }
    if (used == 0) break;
    at += used;
    co_await sleep_until(world_.now());
  }
  co_return at;
}

Task<Result<JournalLedger::Survey>> JournalLedger::survey(std::uint64_t to) {
  Survey out;
  auto walking = walk(kMagic.size(), to, [&](const Record& record, std::uint64_t offset, std::string_view) {
    if (record.kind == kEraseGroup) {
      out.groups[key_of(record.group, {})] = offset;
    } else {
      out.names[key_of(record.group, record.name)] = offset;
    }
  });
  CO_TRY(out.end, co_await walking);
  co_return out;
}

bool JournalLedger::lives(const Survey& survey, const Record& record, std::uint64_t offset) const {
  if (record.kind != kPut || record.expires < world_.wall_now()) return false;
  const auto last = survey.names.find(key_of(record.group, record.name));
  if (last == survey.names.end() || last->second != offset) return false;
  const auto erased = survey.groups.find(key_of(record.group, {}));
  return erased == survey.groups.end() || erased->second < offset;
}

Task<Result<void>> JournalLedger::load(std::function<void(LedgerEntry)> each) {
  const auto end = end_;
  auto surveying = survey(end);
  CO_TRY(const Survey found, co_await surveying);
  if (found.end < end) {
    log_.warn("{}: the last {} bytes are torn or damaged; cut off", path_, end - found.end);
    CO_OK(file_->resize(found.end));
    end_ = found.end;
  }
  // Hosts, then what groups are about, then what is in them: as those who listen need it.
  for (int rank = 0; rank < 3; ++rank) {
    auto walking =
        walk(kMagic.size(), found.end, [&](const Record& record, std::uint64_t offset, std::string_view) {
          const int its = record.group == kHostsGroup ? 0 : record.name.empty() ? 1 : 2;
          if (its != rank || !lives(found, record, offset)) return;
          each({std::string(record.group), std::string(record.name), std::string(record.value),
                record.expires});
        });
    CO_TRY(const std::uint64_t walked, co_await walking);
    (void)walked;
  }
  co_return Result<void>{};
}

Task<Result<std::vector<LedgerEntry>>> JournalLedger::read(std::string) {
  co_return std::vector<LedgerEntry>();  // memory is right
}

void JournalLedger::append(std::uint8_t kind, const LedgerEntry& entry) {
  if (entry.group.size() > 0xffff || entry.name.size() > 0xffff ||
      entry.group.size() + entry.name.size() + entry.value.size() > kBiggestRecord / 2 ||
      pending_.size() > kMostPending) {
    failures_.add();
    return;
  }
  std::string body;
  body.reserve(13 + entry.group.size() + entry.name.size() + entry.value.size());
  body += static_cast<char>(kind);
  put_integer(body, entry.expires.time_since_epoch().count());
  put_integer(body, static_cast<std::uint16_t>(entry.group.size()));
  put_integer(body, static_cast<std::uint16_t>(entry.name.size()));
  body += entry.group;
  body += entry.name;
  body += entry.value;
  put_integer(pending_, static_cast<std::uint32_t>(body.size()));
  put_integer(pending_, static_cast<std::uint64_t>(XXH3_64bits(body.data(), body.size())));
  pending_ += body;
  records_.add();
  if (pending_.size() >= kFlushAt || pending_.size() == kHead + body.size()) wake_.notify_all();
}

void JournalLedger::put(LedgerEntry entry) { append(kPut, entry); }
void JournalLedger::erase(std::string group, std::string name) {
  append(kErase, {std::move(group), std::move(name), {}});
}
void JournalLedger::erase_group(std::string group) { append(kEraseGroup, {std::move(group), {}, {}}); }

Result<void> JournalLedger::flush() {
  if (pending_.empty()) return {};
  auto written = file_->write_at(end_, as_bytes(pending_));
  if (!written) {
    failures_.add();
    if (!std::exchange(complained_, true)) {
      log_.error("{}: {}; what happens now is forgotten with a restart", path_, written.error().message());
    }
    (void)file_->resize(end_);  // no half record; what follows overwrites it in any case
    return written;
  }
  if (std::exchange(complained_, false)) log_.info("{} is written again", path_);
  end_ += pending_.size();
  pending_.clear();
  ++written_;
  bytes_.set(static_cast<std::int64_t>(end_));
  return {};
}

Task<Result<void>> JournalLedger::settle(Deadline deadline) {
  CO_OK(flush());
  if (synced_ == written_) co_return Result<void>{};
  const auto now = written_;
  const auto file = file_;  // it may be replaced while the disk works
  auto syncing = file->sync();
  auto bounded = within(deadline, std::move(syncing));
  CO_OK(co_await bounded);
  synced_ = std::max(synced_, now);
  co_return Result<void>{};
}

Task<void> JournalLedger::run() {
  compacted_at_ = end_;
  TimePoint sync_at = world_.now();
  for (;;) {
    if (pending_.empty()) {
      const auto until = synced_ == written_ ? Deadline::never() : Deadline::at(sync_at);
      auto woken = co_await wake_.wait(until);
      (void)woken;
    }
    if (!pending_.empty()) {
      auto full = co_await wake_.wait(Deadline::in(kCollect, world_.now()));
      (void)full;
      const auto flushed = flush();
      if (!flushed) {
        co_await sleep_for(kSyncEvery);  // the disk may have room later
        continue;
      }
    }
    if (synced_ != written_ && world_.now() >= sync_at) {
      auto syncing = settle(Deadline::never());
      auto synced = co_await syncing;
      if (!synced) {
        failures_.add();
        synced_ = written_;  // said once; the next write asks again
      }
      sync_at = world_.now() + kSyncEvery;
    }
    if (end_ > kSmall && end_ > compacted_at_ * 3) {
      auto tidying = compact();
      auto tidied = co_await tidying;
      if (!tidied) {
        failures_.add();
        log_.warn("{} could not be written anew: {}", path_, tidied.error().message());
        compacted_at_ = end_;
      }
    }
  }
}

Task<Result<void>> JournalLedger::compact() {
  CO_OK(flush());
  const auto before = end_;
  const auto fresh_path = path_ + ".new";
  CO_TRY(auto fresh, world_.files().open(fresh_path, world::OpenMode::kCreate, 0600));
  CO_OK(fresh->resize(0));
  std::string out(kMagic);
  std::uint64_t end = 0;
  Result<void> wrote;
  const auto drain = [&] {
    if (wrote) wrote = fresh->write_at(end, as_bytes(out));
    end += out.size();
    out.clear();
  };
  const auto until = end_;
  auto surveying = survey(until);
  CO_TRY(Survey found, co_await surveying);
  auto walking =
      walk(kMagic.size(), until, [&](const Record& record, std::uint64_t offset, std::string_view raw) {
        if (!lives(found, record, offset)) return;
        out += raw;
        if (out.size() >= kSlice) drain();
      });
  CO_TRY(const std::uint64_t walked, co_await walking);
  (void)walked;
  // What was written meanwhile; from here on without a pause, so that nothing comes between.
  CO_OK(flush());
  std::string tail(end_ - until, '\0');
  CO_TRY(const std::size_t got, file_->read_at(until, as_mutable_bytes(tail)));
  tail.resize(got);
  out += tail;
  drain();
  CO_OK(wrote);
  auto syncing = fresh->sync();
  CO_OK(co_await syncing);
  // More may have come while the disk worked.
  const auto copied = until + got;
  CO_OK(flush());
  if (end_ > copied) {
    tail.resize(end_ - copied);
    CO_TRY(const std::size_t more, file_->read_at(copied, as_mutable_bytes(tail)));
    CO_OK(fresh->write_at(end, as_bytes(std::string_view(tail).substr(0, more))));
    end += more;
  }
  CO_OK(world_.files().rename(fresh_path, path_));
  struct Remains {
    std::shared_ptr<world::File> file;
    Survey survey;
  };
  auto remains = std::make_shared<Remains>();
  remains->file = std::exchange(file_, std::move(fresh));
  remains->survey = std::move(found);
  end_ = end;
  compacted_at_ = end;
  ++written_;
  log_.info("{} was written anew: {} bytes instead of {}", path_, end, before);
  bytes_.set(static_cast<std::int64_t>(end_));
  // The last one to close it waits until the system has given up its pages; and the survey has a node for
  // each name.
  auto letting_go = world_.offload([remains = std::move(remains)]() mutable { remains.reset(); });
  co_await letting_go;
  co_return Result<void>{};
}

}  // namespace d7y::scheduler
