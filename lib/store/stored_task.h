// One task's content and what is known about it.
//
// A TaskHandle is a pin: as long as one exists the task's content is neither evicted nor removed
// from the disk. Handles are cheap to copy and belong to the store's loop.
//
//   TaskHandle task = CO_TRY(co_await store.find(id));
//   if (task->complete(first, last)) send_file(stream, task->file(), offset, length);
//
// While a task is downloaded, writers take claims on pieces (claim.h) and readers follow them
// (reader.h for bytes in order, piece_view.h for one piece).
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <unordered_map>

#include "base/digest.h"
#include "base/log.h"
#include "base/notify.h"
#include "store/bitmap.h"
#include "store/journal.h"
#include "store/task_facts.h"
#include "world/world.h"

namespace d7y::store {

class Flight;
class PieceClaim;
class PieceView;
class Reader;
class Store;
class StoredTask;
class WriteBehind;

// All bytes of a journal, bounded.
Result<std::string> read_whole_journal(world::Files& files, const std::string& path);

class TaskHandle {
 public:
  TaskHandle() = default;
  TaskHandle(const TaskHandle& other);
  TaskHandle(TaskHandle&& other) noexcept : task_(std::exchange(other.task_, nullptr)) {}
  TaskHandle& operator=(TaskHandle other) noexcept {
    std::swap(task_, other.task_);
    return *this;
  }
  ~TaskHandle();

  explicit operator bool() const { return task_ != nullptr; }
  StoredTask* operator->() const { return task_; }
  StoredTask& operator*() const { return *task_; }
  bool operator==(const TaskHandle&) const = default;

 private:
  friend class Store;
  friend class StoredTask;
  friend class WriteBehind;
  explicit TaskHandle(StoredTask& task);
  StoredTask* task_ = nullptr;
};

// What claim() found.
enum class ClaimState : std::uint8_t {
  kClaimed,  // the claim is yours
  kBusy,     // somebody fetches it; wait on changed() or follow it
  kHave,     // it is complete
};

// May a claim join a piece that somebody fetches already? (Hedged requests at a download's end.)
enum class Rivals : std::uint8_t { kNo, kAllowed };

// Where a follower of completions stands; start with a default one.
struct PieceCursor {
  std::uint64_t epoch = 0;  // pieces were lost or the task was reset since: begin again
  std::size_t position = 0;
};

class StoredTask {
 public:
  StoredTask(const StoredTask&) = delete;
  StoredTask& operator=(const StoredTask&) = delete;

  // ---- What it is
  const TaskFacts& facts() const { return facts_; }
  const std::string& id() const { return facts_.id; }
  TaskSummary summary() const;
  std::uint64_t piece_length() const { return facts_.piece_length; }
  std::optional<std::uint64_t> content_length() const { return facts_.content_length; }
  // Number of pieces; none while the length is not known. 0 for empty content.
  std::optional<std::uint32_t> piece_count() const;
  // Where a piece lies. kInvalid if there is no such piece. While the length is unknown every piece
  // counts as full.
  Result<PieceExtent> extent(std::uint32_t number) const;
  // The pieces [first, end) that overlap `length` bytes from `offset`. kInvalid beyond the content.
  Result<std::pair<std::uint32_t, std::uint32_t>> pieces_of(std::uint64_t offset, std::uint64_t length) const;

  // ---- What is here
  const Bitmap& pieces() const { return have_; }
  bool has(std::uint32_t number) const { return have_.test(number); }
  // All pieces of [first, end) are complete.
  bool has_all(std::uint32_t first, std::uint32_t end) const { return have_.all(first, end); }
  // Every piece is complete (and the length known). finish() may still have to verify the digest.
  bool has_everything() const;
  std::optional<PieceInfo> piece(std::uint32_t number) const;
  std::uint64_t stored() const { return stored_; }  // bytes of complete pieces
  // Bytes of pieces of [first, end) that are not complete yet.
  std::uint64_t arriving(std::uint32_t first, std::uint32_t end) const;
  // Everything is here and verified.
  bool finished() const { return finished_ && doubts_.empty(); }
  // Why the download failed; null if it did not. Cleared by the next claim or reset().
  const Error* failure() const { return failure_ ? &*failure_ : nullptr; }
  // remove() was called: nobody finds this task any more, its bytes stay until the last handle goes.
  bool removed() const { return removed_; }

  // Notified when anything of the above changes, and when a fetch of a piece begins or ends.
  Signal& changed() { return changed_; }

  // Pieces completed since `cursor`, which is moved on: O(new). Valid until the next change.
  std::span<const std::uint32_t> news(PieceCursor& cursor) const;
  // Pieces being fetched right now, ascending.
  std::vector<std::uint32_t> in_flight() const;
  // Calls `visit` with the place and end (bytes in the content) of each Reader: what is wanted next.
  void each_reader(const std::function<void(std::uint64_t position, std::uint64_t end)>& visit) const;

  // ---- Learning about it
  // Fixes the length. ok if it is that already; kChanged if it was another or complete pieces
  // contradict it; kPrecondition if a piece in flight reaches beyond it with bytes already received.
  // A claim on the last piece is shortened (see PieceClaim::length).
  Result<void> set_content_length(std::uint64_t length);
  // Replaces headers and version as the origin told them. kChanged if another version is known.
  Result<void> set_source(Headers headers, SourceVersion version);
  // Sets what the whole content must hash to ("sha256:<hex>"). kChanged if it was another.
  Result<void> set_digest(std::string digest);
  Result<void> set_prefetched();
  // Whether it stays until its time is over, however full the disk is (TaskFacts::persistent).
  Result<void> set_persistent(bool persistent);
  // Takes disk space for a range, so that a full disk shows at once and writes are cheap. Claims on
  // pieces outside of reserved ranges reserve for themselves. kDiskFull.
  Result<void> reserve(std::uint64_t offset, std::uint64_t length);
  // Throws all content away and starts with new facts (same id and kind): the origin has another
  // version, or the digest is wrong. Claims, readers and views of the old content end with kChanged.
  Result<void> reset(TaskFacts facts);

  // ---- Fetching
  struct Claimed;
  // Takes piece `number` to be fetched by the caller. kInvalid: no such piece. kDiskFull: no room
  // for it although everything evictable was evicted. kIo.
  Result<Claimed> claim(std::uint32_t number, Rivals rivals = Rivals::kNo);
  // Whole content verified against the expected digest (once; remembered), length checked, marked
  // finished, and synced if the store is so configured. Call it when has_everything().
  // kPrecondition: pieces are missing. kCorrupt: the digest is wrong; all content was thrown away.
  Task<Result<void>> finish();
  // The download is given up: readers that wait for missing bytes end with a clone of `why`.
  void fail(Error why);
  // A new download begins: how the last one failed is over for readers, too.
  void take_up() { failure_.reset(); }

  // ---- Serving
  // The content at natural offsets. Only complete pieces, and what a PieceView or Reader says is
  // available, may be read. Shared ownership: safe to keep while sending.
  const std::shared_ptr<world::File>& file() const { return content_; }
  // Follows one piece, complete or in flight. kNotFound: neither (it may start later).
  Result<PieceView> view(std::uint32_t number);
  // False if somebody else changed the content file since (a user edited a hard-linked output);
  // pieces() is then no longer to be trusted and revalidate() must run. Costs one fstat, and nothing
  // unless the content was hard-linked out.
  bool intact() const;
  // Reads all complete pieces again and drops those whose CRC is wrong; the bytes of the others move
  // to a private copy if the file is shared with a user.
  Task<Result<void>> revalidate();

  // Notes a use for least-recently-used eviction. find() and create() do it as well.
  void touch();
  // Upload accounting, for DfdaemonUpload's stat and for metrics. In memory only.
  void count_upload(std::uint64_t bytes) { uploaded_ += bytes; }
  std::uint64_t uploaded() const { return uploaded_; }

 private:
  friend class TaskHandle;
  friend class Store;
  friend class Flight;
  friend class PieceClaim;
  friend class PieceView;
  friend class Reader;
  friend class Exporter;
  friend class WriteBehind;
  struct Slot;     // what is kept of a complete piece
  struct Hashing;  // the content digest, as far as it is computed

  StoredTask(Store& store, std::string folder);
  ~StoredTask();
  friend struct std::default_delete<StoredTask>;

  // Journal (task_journal.cc).
  std::string journal_path() const { return folder_ + "/journal"; }
  std::string content_path(std::uint32_t incarnation) const;
  Result<void> start_files();                        // makes both files of a new task
  Result<void> load(bool doubtful);                  // reads both files of an old one
  Result<void> record(const JournalRecord& record);  // appends
  Result<void> record_facts();
  Result<void> append(const std::string& bytes);
  // Writes a whole journal for `content` and puts it in place of the old one.
  Result<void> replace_journal(std::uint32_t incarnation, bool with_pieces);
  // The two halves of it. Where pieces are at stake the file is synced in between: a new name may
  // reach the disk before what it names.
  struct FreshJournal {
    std::shared_ptr<world::File> file;
    std::uint64_t end = 0, generation = 0;
    std::uint32_t incarnation = 0;
  };
  Result<FreshJournal> write_journal(std::uint32_t incarnation, bool with_pieces);
  Result<void> take_journal(FreshJournal fresh);
  Task<Result<void>> sync_files();
  void rest();  // nobody holds it: gives up what costs descriptors, notes the last access

  // Pieces (stored_task.cc).
  Result<void> check_piece(std::uint32_t number) const;
  void set_have(PieceInfo piece);
  void drop_piece(std::uint32_t number);
  void restart_news();
  Result<void> write(std::uint64_t offset, Bytes bytes);
  Result<void> take_space(std::uint64_t offset, std::uint64_t length);
  Result<void> reserve_for(const PieceExtent& extent);
  WriteBehind& behind();  // made when it is needed
  // What the flight counts as written is on disk after this, or taken back; and what others receive for it
  // counts as far as it is.
  void settle_writes(Flight& flight);
  void settle_all_writes();  // and nobody receives for anybody
  // The same without wishing for more.
  void note_received(Flight& flight);
  void end_receiving(Flight& flight);
  void flight_failed(Flight& flight);
  void end_flights(int state);

  // Verification (task_verify.cc).
  void doubt_all();
  Task<Result<void>> settle();
  Task<Result<void>> keep_good_privately();
  // The pins are parameters: the task must not go before these begin, which is in the loop's next turn.
  Task<void> settle_in_background(TaskHandle pin);
  Task<Result<bool>> piece_is_good(std::shared_ptr<world::File> file, PieceExtent extent, std::uint32_t crc);
  Task<Result<void>> verify_digest();
  Result<void> compare(const Digest& computed, const Digest& wanted) const;
  Task<void> hash_in_background(TaskHandle pin);
  void hash_what_is_here();
  Result<ContentStamp> stamp() const;
  // Whether somebody has deleted or moved our files: content_ is then a file that no name leads to.
  bool vanished() const;
  Result<void> note_shared();

  Store& store_;
  std::string folder_;
  TaskFacts facts_;
  WallTime created_at_{}, accessed_at_{}, recorded_access_{};

  Bitmap have_;
  std::unordered_map<std::uint32_t, Slot> slots_;  // of complete and of doubtful pieces
  std::vector<std::string> parents_;               // interned
  std::vector<std::uint32_t> log_;                 // completions in order
  std::uint64_t epoch_ = 1;                        // of log_
  std::uint64_t stored_ = 0;
  std::map<std::uint32_t, std::shared_ptr<Flight>> flights_;
  std::unique_ptr<WriteBehind> behind_;
  std::vector<Reader*> readers_;
  std::set<std::uint32_t> doubts_;  // complete once, to be read again before use
  bool settling_ = false;
  std::uint64_t resets_ = 0;

  bool finished_ = false, finishing_ = false, removed_ = false;
  std::unique_ptr<Hashing> hashing_;
  bool digest_verified_ = false;
  std::optional<Error> failure_;
  Signal changed_;

  std::shared_ptr<world::File> content_, journal_;
  std::uint32_t incarnation_ = 1;  // of the content file: its name ends in it
  std::uint64_t generation_ = 0, journal_end_ = 0;
  bool journal_torn_ = false;
  std::uint64_t spare_records_ = 0;  // in the journal, besides the pieces
  bool dirty_ = false;               // complete pieces that no sync point covers
  std::uint64_t reserved_from_ = 0, reserved_to_ = 0;
  std::optional<ContentStamp> shared_;  // hard-linked out; the file as we know it

  std::uint64_t uploaded_ = 0;
  unsigned pins_ = 0;
};

}  // namespace d7y::store
