// One caller's download: what was wished for, how far it is, and its end.
//
//   CO_TRY(auto download, engine.start(std::move(wish), deadline));
//   CO_OK(co_await download->started());                  // content and range are known
//   while (true) { CO_TRY(auto n, co_await download->read(buffer, deadline)); if (n == 0) break; ... }
//   CO_OK(co_await download->ended());                    // verified, and at its output path
//
// Destroying it gives the wish up; others who want the same task go on.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/scope.h"
#include "fetch/conductor.h"
#include "store/reader.h"

namespace d7y::fetch {

class Engine;

// Where the bytes of a download came from, and how far it is. Bytes of whole pieces.
struct Progress {
  std::optional<std::uint64_t> wanted;  // bytes of the content or range; none: not known yet
  std::uint64_t done = 0;               // of it, here; also those of pieces that still arrive
  std::uint64_t from_source = 0, from_seeds = 0, from_peers = 0, from_local = 0;
  std::uint32_t pieces_total = 0, pieces_done = 0;
  Duration elapsed{0};
  std::optional<Duration> first_byte;
};

class Download {
 public:
  Download(Engine& engine, std::shared_ptr<Conductor> conductor, Wish wish, Deadline deadline);
  ~Download();
  Download(const Download&) = delete;
  Download& operator=(const Download&) = delete;

  const std::string& task_id() const { return conductor_->task_id(); }
  const std::string& peer_id() const { return conductor_->peer_id(); }
  const Wish& wish() const { return wish_; }

  // Waits until task() and range are known; how the download failed, if it did before.
  Task<Result<void>> started();
  // Waits for the end: ok when everything is verified and at the output path.
  Task<Result<void>> ended();
  bool has_ended() const { return outcome_.has_value(); }
  // Notified at each change of progress, start and end.
  Signal& changed() { return conductor_->changed(); }

  // After started(): the task, and the part of it that was wished for.
  const store::TaskHandle& task() const { return task_; }
  std::uint64_t offset() const { return offset_; }
  std::optional<std::uint64_t> length() const;  // none: not known before the end
  PiecePlan::Run pieces() const { return run_; }
  // A range was asked for and counts (Wish::if_range).
  bool ranged() const { return ranged_; }

  // The next bytes in order, as they arrive; 0 at the end. Only with Wish::in_order.
  Task<Result<std::size_t>> read(MutableBytes buffer, Deadline deadline);
  // The same without a copy: where the next bytes lie in task()->file(), at most `limit` of them. Those that
  // were used are consume()d.
  Task<Result<store::Extent>> next(std::uint64_t limit, Deadline deadline);
  void consume(std::uint64_t bytes);

  // With Wish::ascending: pieces below this one are done with.
  void passed(std::uint32_t piece);

  Progress progress();

 private:
  Task<void> run();
  // Once, and again with other sources if what came was wrong through no fault of the origin.
  Task<Result<void>> work();
  Task<Result<void>> attempt();
  void start_over();
  bool range_counts() const;
  Result<void> resolve_range();
  Task<Result<void>> wait_for_pieces();
  // Why this download ends early (Wish::first_byte_within); null: it does not.
  const Error* put_off() const;
  Task<Result<void>> put_output();
  // Waits until the content has its expected digest; how the download failed otherwise.
  Task<Result<void>> verdict(Deadline deadline);
  void count_news();

  Engine& engine_;
  std::shared_ptr<Conductor> conductor_;
  Accesses::Id access_ = 0;
  std::vector<std::shared_ptr<Conductor>> misled_;  // former ones, whose signals somebody may wait for
  store::TaskHandle task_;
  Wish wish_;
  Deadline deadline_;
  TimePoint began_, ended_at_{};
  bool started_ = false, verified_ = false, ranged_ = false;
  std::uint64_t offset_ = 0;
  std::optional<std::uint64_t> length_;
  PiecePlan::Run run_;
  std::optional<PiecePlan::WantId> want_;
  std::unique_ptr<store::Reader> reader_;
  std::uint32_t reported_piece_ = 0;
  store::PieceCursor cursor_;
  store::Bitmap counted_;
  Progress counts_;
  std::optional<Duration> first_byte_;
  std::optional<Result<void>> outcome_;
  Signal state_;
  Scope scope_;
};

}  // namespace d7y::fetch
