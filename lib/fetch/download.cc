#include "fetch/download.h"

#include <algorithm>

#include "fetch/engine.h"
#include "net/http/range.h"
#include "store/exporter.h"

namespace d7y::fetch {
namespace {

// So often a download begins again because peers gave it wrong bytes, or a wrong word of what the origin has,
// or because that has several versions.
constexpr int kMostMisled = 2;
// A reader waits for content, not for the download's end, and looks at that so often.
constexpr auto kLook = std::chrono::seconds(1);

Result<void> clone(const Result<void>& result) {
  if (result) return {};
  return result.error().clone();
}

}  // namespace

Download::Download(Engine& engine, std::shared_ptr<Conductor> conductor, Wish wish, Deadline deadline)
    : engine_(engine),
      conductor_(std::move(conductor)),
      wish_(std::move(wish)),
      deadline_(deadline),
      began_(engine.world().now()),
      scope_(engine.world().loop()) {
  access_ = conductor_->come(wish_);
  scope_.spawn(run());
}

Download::~Download() {
  reader_.reset();
  if (want_) conductor_->forget(*want_);
  conductor_->go(access_);
  engine_.left(*this, *conductor_);
}

Task<void> Download::run() {
  auto worked = co_await within(deadline_, work());
  if (worked.failed_with(ErrorCode::kTimeout) && deadline_.passed(engine_.world().now())) {
    worked =
        error(ErrorCode::kTimeout, "download of {}: its time was over with {} of {} bytes here", wish_.name(),
              progress().done, length() ? std::to_string(*length()) : std::string("an unknown number of"));
  }
  ended_at_ = engine_.world().now();
  engine_.note_end(*this, worked);
  outcome_ = std::move(worked);
  state_.notify_all();
  changed().notify_all();
}

Task<Result<void>> Download::work() {
  for (int misled = 0;; ++misled) {
    auto done = co_await attempt();
    // Whoever has taken bytes from here already cannot take them back.
    const bool wrong = done.failed_with(ErrorCode::kCorrupt) || done.failed_with(ErrorCode::kChanged);
    const bool avoidable = conductor_->misled() || conductor_->unsteady();
    const bool again = wrong && avoidable && misled < kMostMisled && !wish_.in_order && !wish_.ascending;
    if (!again) co_return done;
    wish_.one_answer = wish_.one_answer || conductor_->unsteady();
    start_over();
  }
}

void Download::start_over() {
  if (want_) conductor_->forget(*want_);
  want_.reset();
  conductor_->go(access_);
  length_.reset();
  counted_ = {};
  counts_ = {};
  cursor_ = {};
  misled_.push_back(conductor_);
  conductor_ = engine_.start_over(*misled_.back(), wish_);
  access_ = conductor_->come(wish_);
  misled_.back()->changed().notify_all();
}

Task<Result<void>> Download::attempt() {
  while (!conductor_->learned()) {
    if (const auto* failure = conductor_->failure()) co_return failure->clone();
    if (const auto* why = put_off()) co_return why->clone();
    CO_OK(co_await changed().wait(Deadline::never()));  // work() runs under deadline_
  }
  task_ = conductor_->task();
  if (wish_.replica && wish_.replica->persistent) CO_OK(task()->set_persistent(true));
  CO_OK(resolve_range());
  started_ = true;
  if (wish_.in_order) {
    store::ReaderOptions options;
    options.offset = offset_;
    options.length = length_;
    reader_ = std::make_unique<store::Reader>(task(), options);
  }
  bool complete = length_ && task()->has_all(run_.first, run_.end);
  counted_ = task()->pieces();
  for (auto piece = run_.first; piece < run_.end; ++piece) {
    if (!counted_.test(piece)) continue;
    auto info = task()->piece(piece);
    if (!info) continue;
    counts_.from_local += info->length;
    ++counts_.pieces_done;
  }
  want_ = conductor_->want(run_);
  if (wish_.in_order || wish_.ascending) conductor_->reading(*want_, run_.first);
  state_.notify_all();
  changed().notify_all();
  if (!complete) CO_OK(co_await wait_for_pieces());
  bool whole = offset_ == 0 && length() == task()->content_length();
  if (whole) CO_OK(co_await conductor_->finish());
  if (whole && !wish_.message.digest().empty())
    CO_OK(co_await conductor_->verify(wish_.message.digest(), complete));
  verified_ = true;
  state_.notify_all();
  if (complete && wish_.announce_complete) co_await conductor_->announce_complete();
  co_return co_await put_output();
}

bool Download::range_counts() const {
  if (wish_.if_range.empty()) return true;
  const auto& version = task()->facts().version;
  return wish_.if_range.front() == '"' ? wish_.if_range == version.etag
                                       : wish_.if_range == version.last_modified;
}

Result<void> Download::resolve_range() {
  const auto& message = wish_.message;
  auto content = task()->content_length();
  std::string header;
  for (const auto& [name, value] : message.request_header()) {
    if (http::same_name(name, "range")) header = value;
  }
  // A Range header may be left out of account (RFC 9110 14.2), as whoever does not know the length must.
  if (!wish_.range_header.empty() && content && range_counts()) header = wish_.range_header;
  if (message.has_range() || !header.empty()) {
    if (!content) {
      return error(ErrorCode::kUnsupported, "a range of {} is asked for, but its length is not known",
                   wish_.name());
    }
    http::ByteSpan span;
    if (message.has_range()) {
      const auto& range = message.range();
      if (range.length() == 0 || range.start() >= *content) {
        return error(ErrorCode::kPrecondition,
                     "range of {} bytes from {} lies outside of {}, which has {} bytes", range.length(),
                     range.start(), wish_.name(), *content)
            .with_status(416);
      }
      span = {range.start(), std::min<std::uint64_t>(range.length(), *content - range.start())};
    } else {
      TRY(span, http::resolve_range(header, *content));
    }
    offset_ = span.offset;
    length_ = span.length;
    ranged_ = true;
  } else {
    length_ = content;
  }
  if (!length_) {
    run_ = {0, 1};
    return {};
  }
  if (*length_ == 0) {
    run_ = {0, 0};
    return {};
  }
  TRY(auto pieces, task()->pieces_of(offset_, *length_));
  run_ = {pieces.first, pieces.second};
  return {};
}

std::optional<std::uint64_t> Download::length() const {
  if (length_) return length_;
  return task() ? task()->content_length() : std::nullopt;
}

Task<Result<void>> Download::wait_for_pieces() {
  for (;;) {
    auto known = length();
    if (!length_ && known) {  // the content's end was found
      length_ = known;
      run_ = {0, task()->piece_count().value_or(0)};
    }
    if (length_ && task()->has_all(run_.first, run_.end)) co_return Result<void>{};
    if (const auto* failure = conductor_->failure()) co_return failure->clone();
    if (const auto* why = put_off()) co_return why->clone();
    CO_OK(co_await changed().wait(Deadline::never()));
  }
}

const Error* Download::put_off() const {
  if (wish_.first_byte_within == Duration::zero()) return nullptr;
  if (started_ && task_->has(run_.first)) return nullptr;  // that much it gets
  return conductor_->puts_off_beyond(began_ + wish_.first_byte_within);
}

Task<Result<void>> Download::put_output() {
  if (wish_.output_path.empty()) co_return Result<void>{};
  store::ExportOptions options;
  options.path = wish_.output_path;
  options.overwrite = wish_.overwrite;
  options.require_hard_link = wish_.require_hard_link;
  if (offset_ != 0 || length() != task()->content_length()) options.range = std::pair(offset_, *length_);
  auto handle = task();
  auto exported = co_await store::export_content(std::move(handle), std::move(options));
  if (!exported) co_return std::move(exported).error();
  co_return Result<void>{};
}

Task<Result<void>> Download::started() {
  while (!started_ && !outcome_) CO_OK(co_await state_.wait(Deadline::never()));  // bounded by deadline_
  if (!started_) co_return clone(*outcome_);
  co_return Result<void>{};
}

Task<Result<void>> Download::ended() {
  while (!outcome_) CO_OK(co_await state_.wait(Deadline::never()));  // bounded by deadline_
  co_return clone(*outcome_);
}

Task<Result<store::Extent>> Download::next(std::uint64_t limit, Deadline deadline) {
  if (!started_) {
    if (auto ready = co_await within(deadline, started()); !ready) co_return std::move(ready).error();
  }
  if (!reader_)
    co_return error(ErrorCode::kPrecondition, "this download was not started for reading in order");
  bool held = !wish_.message.digest().empty() && !verified_;
  if (held && length_ && *length_ > 0 && reader_->position() + limit >= offset_ + *length_) {
    // The last bytes wait for the verdict on all of them.
    auto last = offset_ + *length_ - 1;
    if (reader_->position() < last) {
      limit = std::min(limit, last - reader_->position());
    } else {
      CO_OK(co_await verdict(deadline));
    }
  }
  const auto until = deadline.or_earlier(deadline_);
  const bool looks = wish_.first_byte_within > Duration::zero() && reader_->position() == offset_;
  Result<store::Extent> run = store::Extent{};
  do {
    const auto look = Deadline::in(kLook, engine_.world().now());
    auto reading = reader_->next(looks ? until.or_earlier(look) : until);
    run = co_await reading;
    if (run.failed_with(ErrorCode::kTimeout) && outcome_ && !*outcome_) co_return outcome_->error().clone();
  } while (looks && run.failed_with(ErrorCode::kTimeout) && !until.passed(engine_.world().now()));
  if (run) run->length = std::min(run->length, limit);
  // Content that was empty, or whose length was not known, told no last byte to hold back: its end waits
  // instead.
  if (held && limit > 0 && run && run->length == 0) CO_OK(co_await verdict(deadline));
  co_return run;
}

void Download::consume(std::uint64_t bytes) {
  reader_->consume(bytes);
  if (bytes == 0 || !want_ || task()->piece_length() == 0) return;
  auto piece = static_cast<std::uint32_t>(reader_->position() / task()->piece_length());
  if (piece != reported_piece_) conductor_->reading(*want_, reported_piece_ = piece);
}

Task<Result<std::size_t>> Download::read(MutableBytes buffer, Deadline deadline) {
  CO_TRY(auto run, co_await next(buffer.size(), deadline));
  if (run.length == 0) co_return std::size_t{0};
  auto part = buffer.first(run.length);
  CO_TRY(auto got, task()->file()->read_at(run.offset, part));
  if (got < part.size()) {
    co_return error(ErrorCode::kCorrupt, "task {}: the stored content ends at {}, before its end", task_id(),
                    run.offset + got);
  }
  consume(got);
  co_return got;
}

Task<Result<void>> Download::verdict(Deadline deadline) {
  while (!verified_ && !outcome_) CO_OK(co_await state_.wait(deadline.or_earlier(deadline_)));
  if (!verified_) co_return clone(*outcome_);
  co_return Result<void>{};
}

void Download::passed(std::uint32_t piece) {
  if (want_) conductor_->reading(*want_, piece);
}

void Download::count_news() {
  if (!started_) return;
  for (auto number : task()->news(cursor_)) {
    if (number < run_.first || (length_ && number >= run_.end) || !counted_.set(number)) continue;
    auto info = task()->piece(number);
    if (!info) continue;
    ++counts_.pieces_done;
    if (info->traffic == store::Traffic::kBackToSource) {
      counts_.from_source += info->length;
    } else if (info->parent.ends_with("-seed")) {
      counts_.from_seeds += info->length;
    } else {
      counts_.from_peers += info->length;
    }
  }
}

Progress Download::progress() {
  count_news();
  auto out = counts_;
  out.wanted = started_ ? length() : std::nullopt;
  out.pieces_total = length_ ? run_.end - run_.first : 0;
  out.done = out.from_local + out.from_source + out.from_seeds + out.from_peers;
  if (started_) out.done += task()->arriving(run_.first, length_ ? run_.end : ~std::uint32_t{0});
  if (out.wanted) out.done = std::min(out.done, *out.wanted);
  if (outcome_ && outcome_->ok() && out.wanted) out.done = *out.wanted;
  out.elapsed = (outcome_ ? ended_at_ : engine_.world().now()) - began_;
  if (auto at = conductor_->first_byte_at()) out.first_byte = std::max(Duration::zero(), *at - began_);
  return out;
}

}  // namespace d7y::fetch
