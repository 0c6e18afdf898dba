// The two files of a task: how they are made, read, appended to, replaced and synced.
#include <algorithm>

#include "store/flight.h"
#include "store/store.h"
#include "store/task_slot.h"

namespace d7y::store {
namespace {

// A journal is read in one go; what is longer was not written by us (16 M pieces make 2 GiB).
constexpr std::uint64_t kMaxJournal = std::uint64_t{4} << 30;
// Most journals are shorter than this, so opening, one read and closing is all a restart costs.
constexpr std::size_t kFirstRead = 16 << 10;
// URLs and headers may hold secrets. Contents are hard-linked to outputs, and as open as those.
constexpr std::uint32_t kJournalPermissions = 0600;
// Uses are recorded at most this often.
constexpr Duration kAccessStep = std::chrono::minutes(30);
// A journal with this many records more than needed is written anew at the next sync point.
constexpr std::uint64_t kSpareRecords = 256;

}  // namespace

Result<std::string> read_whole_journal(world::Files& files, const std::string& path) {
  TRY(auto file, files.open(path, world::OpenMode::kRead));
  std::string bytes(kFirstRead, '\0');
  TRY(auto got, file->read_at(0, as_mutable_bytes(bytes)));
  if (got < bytes.size()) {
    bytes.resize(got);
    return bytes;
  }
  TRY(auto status, file->status());
  if (status.size > kMaxJournal) {
    return error(ErrorCode::kCorrupt, "the journal {} with {} bytes is longer than any can be", path,
                 status.size);
  }
  bytes.resize(std::max<std::uint64_t>(status.size, got));
  TRY(auto rest, file->read_at(got, as_mutable_bytes(bytes).subspan(got)));
  bytes.resize(got + rest);
  return bytes;
}

std::string StoredTask::content_path(std::uint32_t incarnation) const {
  return fmt::format("{}/content.{}", folder_, incarnation);
}

Result<void> StoredTask::start_files() {
  auto& files = store_.world_.files();
  generation_ = store_.world_.random();
  created_at_ = accessed_at_ = recorded_access_ = store_.world_.wall_now();
  std::string image = encode_header({.kind = 'J', .incarnation = incarnation_, .generation = generation_});
  TRY_OK(encode_record(FactsRecord{facts_, created_at_, accessed_at_}, generation_, image.size(), image));

  TRY_OK(files.make_folders(folder_));
  TRY(auto content, files.open(content_path(incarnation_), world::OpenMode::kCreateNew));
  TRY(auto journal, files.open(journal_path(), world::OpenMode::kCreateNew, kJournalPermissions));
  TRY_OK(journal->write_at(0, as_bytes(image)));
  content_ = std::move(content);
  journal_ = std::move(journal);
  journal_end_ = image.size();
  dirty_ = true;
  return {};
}

Result<void> StoredTask::load(bool doubtful) {
  auto& files = store_.world_.files();
  TRY(auto bytes, read_whole_journal(files, journal_path()));
  TRY(auto history, read_journal(as_bytes(bytes)));
  incarnation_ = history.header.incarnation;
  generation_ = history.header.generation;
  journal_end_ = history.end;
  journal_torn_ = history.torn;
  spare_records_ = history.records > history.pieces.size() ? history.records - history.pieces.size() : 0;
  facts_ = std::move(history.facts.facts);
  created_at_ = history.facts.created_at;
  accessed_at_ = recorded_access_ = history.facts.accessed_at;
  shared_ = history.shared;
  if (history.failure) failure_ = Error(ErrorCode::kUnavailable, *history.failure);

  TRY(content_, files.open(content_path(incarnation_), world::OpenMode::kReadWrite));
  TRY(auto status, content_->status());
  for (auto& [number, piece] : history.pieces) {
    dirty_ = dirty_ || !piece.synced;
    bool there = piece.info.offset + piece.info.length <= status.size;
    bool trusted = there && (piece.synced || !doubtful);
    set_have(std::move(piece.info));
    if (!trusted) doubts_.insert(number);
  }
  finished_ = history.finished && has_everything();
  digest_verified_ = finished_;
  if (finished_ && status.size != *facts_.content_length) doubt_all();
  if (shared_ && !intact()) doubt_all();
  for (auto number : doubts_) {
    if (have_.clear(number)) stored_ -= slots_.at(number).length;
  }
  restart_news();
  return {};
}

Result<void> StoredTask::record(const JournalRecord& record) {
  std::string bytes;
  TRY_OK(encode_record(record, generation_, journal_end_, bytes));
  TRY_OK(append(bytes));
  if (!std::holds_alternative<PieceInfo>(record)) ++spare_records_;
  if (!std::holds_alternative<SyncedRecord>(record) && !std::holds_alternative<AccessedRecord>(record))
    dirty_ = true;
  return {};
}

Result<void> StoredTask::record_facts() { return record(FactsRecord{facts_, created_at_, accessed_at_}); }

Result<void> StoredTask::append(const std::string& bytes) {
  if (!journal_) {
    TRY(journal_, store_.world_.files().open(journal_path(), world::OpenMode::kReadWrite));
  }
  if (journal_torn_) {
    TRY_OK(journal_->resize(journal_end_));
    journal_torn_ = false;
  }
  auto written = journal_->write_at(journal_end_, as_bytes(bytes));
  if (written.failed_with(ErrorCode::kDiskFull) && store_.make_room(bytes.size()) > 0) {
    written = journal_->write_at(journal_end_, as_bytes(bytes));
  }
  if (!written) {
    journal_torn_ = true;  // whatever lies behind the end now is cut off before the next record
    return store_.explain(std::move(written).error(), "record", bytes.size(), facts_.id);
  }
  journal_end_ += bytes.size();
  return {};
}

Result<StoredTask::FreshJournal> StoredTask::write_journal(std::uint32_t incarnation, bool with_pieces) {
  auto& files = store_.world_.files();
  auto generation = store_.world_.random();
  std::string image = encode_header({.kind = 'J', .incarnation = incarnation, .generation = generation});
  TRY_OK(encode_record(FactsRecord{facts_, created_at_, accessed_at_}, generation, image.size(), image));
  if (with_pieces) {
    auto end = static_cast<std::uint32_t>(have_.words().size() * 64);
    for (auto bit = have_.first_set(0, end); bit; bit = have_.first_set(*bit + 1, end)) {
      TRY_OK(encode_record(*piece(*bit), generation, image.size(), image));
    }
    if (finished_) TRY_OK(encode_record(FinishedRecord{}, generation, image.size(), image));
    if (shared_) TRY_OK(encode_record(SharedRecord{*shared_}, generation, image.size(), image));
  }
  auto fresh = journal_path() + ".new";
  TRY(std::shared_ptr<world::File> journal, files.open(fresh, world::OpenMode::kCreate, kJournalPermissions));
  TRY_OK(journal->resize(0));
  auto written = journal->write_at(0, as_bytes(image));
  if (written.failed_with(ErrorCode::kDiskFull) && store_.make_room(image.size()) > 0) {
    written = journal->write_at(0, as_bytes(image));
  }
  if (!written) return store_.explain(std::move(written).error(), "record", image.size(), facts_.id);
  return FreshJournal{std::move(journal), image.size(), generation, incarnation};
}

Result<void> StoredTask::take_journal(FreshJournal fresh) {
  TRY_OK(store_.world_.files().rename(journal_path() + ".new", journal_path()));
  journal_ = std::move(fresh.file);
  journal_end_ = fresh.end;
  journal_torn_ = false;
  generation_ = fresh.generation;
  incarnation_ = fresh.incarnation;
  spare_records_ = 0;
  dirty_ = true;
  return {};
}

Result<void> StoredTask::replace_journal(std::uint32_t incarnation, bool with_pieces) {
  TRY(auto fresh, write_journal(incarnation, with_pieces));
  return take_journal(std::move(fresh));
}

Result<void> StoredTask::reset(TaskFacts facts) {
  facts.id = facts_.id;
  facts.kind = facts_.kind;
  TRY_OK(check_facts(facts));
  settle_all_writes();
  auto& files = store_.world_.files();
  auto next = incarnation_ + 1;
  auto old_path = content_path(incarnation_);
  // A left-over of an earlier attempt that failed half way.
  if (auto gone = files.remove(content_path(next)); !gone && !gone.failed_with(ErrorCode::kNotFound))
    return gone;
  TRY(std::shared_ptr<world::File> content, files.open(content_path(next), world::OpenMode::kCreateNew));

  // The old journal names the old content, the new one the new: whichever is there after a crash,
  // they fit together.
  auto old_facts = std::exchange(facts_, std::move(facts));
  if (auto replaced = replace_journal(next, false); !replaced) {
    facts_ = std::move(old_facts);
    if (auto gone = files.remove(content_path(next)); !gone) {
      store_.log_.debug("task {}: {} is left over: {}", facts_.id, content_path(next),
                        gone.error().message());
    }
    return replaced;
  }
  content_ = std::move(content);
  store_.discard(old_path);
  have_.clear_all();
  slots_.clear();
  doubts_.clear();
  stored_ = 0;
  restart_news();
  finished_ = digest_verified_ = false;
  failure_.reset();
  shared_.reset();
  hashing_.reset();
  reserved_from_ = reserved_to_ = 0;
  ++resets_;
  end_flights(Flight::kReset);
  changed_.notify_all();
  return {};
}

Task<Result<void>> StoredTask::sync_files() {
  TaskHandle self(*this);
  auto& files = store_.world_.files();
  auto generation_of_sync = generation_;
  if (spare_records_ > have_.count() + kSpareRecords && doubts_.empty() && !settling_) {
    auto before = journal_end_;
    CO_TRY(auto fresh, write_journal(incarnation_, true));
    auto file = fresh.file;
    CO_OK(co_await file->sync());
    // What was recorded meanwhile is not in it; then the next sync point tries again.
    if (generation_of_sync == generation_ && before == journal_end_) CO_OK(take_journal(std::move(fresh)));
  }
  auto generation = generation_;
  auto upto = journal_end_;
  auto content = content_;
  CO_OK(co_await content->sync());
  // Replaced meanwhile: what was synced is gone, the new one has its turn next time.
  if (generation != generation_) co_return Result<void>{};
  CO_OK(record(SyncedRecord{upto}));
  auto end = journal_end_;
  auto journal = journal_;
  CO_OK(co_await journal->sync());
  CO_OK(co_await files.sync_folder(folder_));
  if (generation == generation_ && end == journal_end_) dirty_ = false;
  co_return Result<void>{};
}

void StoredTask::rest() {
  if (!removed_ && accessed_at_ - recorded_access_ >= kAccessStep) {
    // Best effort: at worst the task looks a little older after a crash.
    if (record(AccessedRecord{accessed_at_})) recorded_access_ = accessed_at_;
  }
  if (!dirty_) journal_.reset();
}

}  // namespace d7y::store
