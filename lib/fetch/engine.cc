#include "fetch/engine.h"

#include "api/task_metrics.h"
#include "base/digest.h"
#include "base/ids.h"
#include "base/piece.h"
#include "store/task_facts.h"

namespace d7y::fetch {
namespace {

std::string revision_of(const api::common::Download& message) {
  if (message.has_hugging_face()) return message.hugging_face().revision();
  if (message.has_model_scope()) return message.model_scope().revision();
  return {};
}

// Tag and application are the callers' own words and stay empty, or every word would be a series of its own;
// numbers that no version knows count as the standard ones.
Labels download_labels(const Wish& wish) {
  const auto& message = wish.message;
  auto type = wish.replica ? static_cast<int>(api::common::PERSISTENT_CACHE)
              : api::common::TaskType_IsValid(message.type()) ? static_cast<int>(message.type())
                                                              : 0;
  auto priority =
      api::common::Priority_IsValid(message.priority()) ? static_cast<int>(message.priority()) : 0;
  return {{"type", std::to_string(type)}, {"tag", ""}, {"app", ""}, {"priority", std::to_string(priority)}};
}

Gauge& running_gauge(Metrics& metrics, const Wish& wish) {
  return metrics.gauge("dragonfly_client_concurrent_download_task_total", "Downloads that run now.",
                       download_labels(wish));
}

}  // namespace

Engine::Engine(EngineParts parts, EngineOptions options)
    : parts_(std::move(parts)),
      options_(std::move(options)),
      shared_stat_(parts_.world, parts_.sources, parts_.schedulers, parts_.log),
      scope_(parts_.world.loop()) {
  scope_.spawn(reap());
}

Engine::~Engine() {
  scope_.cancel();
  settling_.clear();
  entries_.clear();
}

Result<std::string> Engine::task_id(const api::common::Download& message) {
  StandardTaskId recipe;
  recipe.url = message.url();
  recipe.tag = message.tag();
  recipe.application = message.application();
  recipe.revision = revision_of(message);
  if (message.has_piece_length()) recipe.piece_length = message.piece_length();
  recipe.filtered_query_params.assign(message.filtered_query_params().begin(),
                                      message.filtered_query_params().end());
  if (message.has_content_for_calculating_task_id()) {
    recipe.content_for_calculating_task_id = message.content_for_calculating_task_id();
  }
  recipe.based_on_blob_digest = message.enable_task_id_based_blob_digest();
  return d7y::task_id(recipe);
}

bool Engine::is_running(const std::string& task_id) const {
  auto found = entries_.find(task_id);
  if (found == entries_.end() || !found->second.conductor) return false;
  return !is_over(found->second);
}

Result<std::unique_ptr<Download>> Engine::start(Wish wish, Deadline deadline) {
  if (closed_) return error(ErrorCode::kClosed, "the node is shutting down and takes no new downloads");
  auto& message = wish.message;
  if (parts_.permit && !wish.for_others) TRY_OK(parts_.permit(wish));
  if (wish.has_origin() || !wish.replica) TRY_OK(parts_.sources.backend_for(message.url()));
  std::string id;
  if (wish.replica) {
    id = wish.replica->task_id;
    TRY_OK(store::check_task_id(id));
  } else {
    TRY(id, task_id(message));
  }
  // Also where the task's id is not made of it: a seed must not keep, and give away, what is not what its
  // name says.
  if (wish.content_digest.empty()) {
    if (auto named = blob_digest_of(message.url())) wish.content_digest = named->to_string();
  }
  if (!message.digest().empty()) {
    TRY(auto digest, Digest::parse(message.digest()));
    message.set_digest(digest.to_string());
  }
  if ((message.has_range() || !wish.range_header.empty()) && !message.digest().empty()) {
    return error(ErrorCode::kInvalid, "a digest is of the whole content and does not go with a range");
  }
  if (message.has_piece_length() && message.piece_length() != 0) {
    if (message.piece_length() < kMinPieceLength || message.piece_length() > store::kMaxPieceLength) {
      return error(ErrorCode::kInvalid, "piece length {} is outside {} to {} bytes", message.piece_length(),
                   kMinPieceLength, store::kMaxPieceLength);
    }
  }
  if (!wish.output_path.empty()) {
    auto status = parts_.world.files().status(wish.output_path);
    if (status && status->kind == world::FileKind::kFolder) {
      return error(ErrorCode::kInvalid, "output {} is a folder; name a file", wish.output_path);
    }
    if (status && status->kind == world::FileKind::kOther) {
      return error(ErrorCode::kInvalid, "output {} is a device or a pipe; nothing takes its place",
                   wish.output_path);
    }
    if (status && !wish.overwrite) {
      return error(ErrorCode::kExists, "output {} exists; remove it or ask to overwrite it",
                   wish.output_path);
    }
    auto slash = wish.output_path.rfind('/');
    auto folder = slash == std::string::npos ? std::string(".")
                                             : wish.output_path.substr(0, std::max<std::size_t>(slash, 1));
    if (auto there = parts_.world.files().status(folder); !there) {
      return std::move(there).error().in("folder of output " + wish.output_path);
    }
  }

  note_start(wish);
  ++downloads_;
  auto conductor = join(id, wish);
  return std::make_unique<Download>(*this, std::move(conductor), std::move(wish), deadline);
}

bool Engine::is_over(const Entry& entry) {
  return entry.conductor && (entry.conductor->failure() != nullptr ||
                             (entry.conductor->task() && entry.conductor->task()->removed()));
}

std::shared_ptr<Conductor> Engine::join(const std::string& id, const Wish& wish) {
  auto& entry = entries_[id];
  if (is_over(entry)) entry = {};  // those who still hold it see it to its end; this wish gets a fresh start
  if (!entry.conductor) {
    entry.conductor = std::make_shared<Conductor>(parts_, options_, suspects_, shared_stat_, origin_readers_,
                                                  freshness_, id, wish);
  }
  if (!wish.message.disable_back_to_source()) entry.conductor->allow_source();
  entry.unlimited = entry.unlimited || wish.rate_limit == 0;
  entry.rate_limit = std::max(entry.rate_limit, wish.rate_limit);
  entry.conductor->limit_rate(entry.unlimited ? 0 : entry.rate_limit);
  ++entry.downloads;
  return entry.conductor;
}

std::shared_ptr<Conductor> Engine::start_over(const Conductor& misled, const Wish& wish) {
  auto found = entries_.find(misled.task_id());
  if (found != entries_.end() && found->second.conductor.get() == &misled) --found->second.downloads;
  return join(misled.task_id(), wish);
}

void Engine::left(const Download& download, Conductor& conductor) {
  if (parts_.metrics != nullptr) running_gauge(*parts_.metrics, download.wish()).add(-1);
  --downloads_;
  auto found = entries_.find(conductor.task_id());
  if (found != entries_.end() && found->second.conductor.get() == &conductor) --found->second.downloads;
  reap_.notify_all();
}

// Conductors that nobody needs go from here, never from inside one of their own tasks. One that has
// finished its work is given the time to tell its scheduler.
Task<void> Engine::reap() {
  for (;;) {
    for (auto at = entries_.begin(); at != entries_.end();) {
      auto& entry = at->second;
      if (entry.downloads > 0) {
        ++at;
        continue;
      }
      const auto& task = entry.conductor->task();
      // A reader has the last byte before the task is finished.
      bool complete = task && (task->finished() || task->has_everything());
      if (complete && !entry.conductor->settled())
        scope_.spawn(watch_settling(settling_.insert(settling_.end(), entry.conductor)));
      at = entries_.erase(at);
    }
    if (downloads_ == 0 && entries_.empty()) idle_.notify_all();
    auto asked = co_await reap_.wait(Deadline::never());
    if (!asked) co_return;  // lives as long as the engine
  }
}

Task<void> Engine::watch_settling(Settling::iterator one) {
  auto deadline = Deadline::in(std::chrono::seconds(10), parts_.world.now());
  while (!(*one)->settled()) {
    auto settled = co_await (*one)->settled_signal().wait(deadline);
    if (!settled) break;
  }
  settling_.erase(one);
}

Task<Result<void>> Engine::idle(Deadline deadline) {
  reap_.notify_all();
  while (downloads_ > 0 || scope_.size() > 1) {
    auto soon = deadline.or_earlier(Deadline::in(std::chrono::milliseconds(100), parts_.world.now()));
    auto waited = co_await idle_.wait(soon);
    if (!waited && deadline.passed(parts_.world.now())) co_return std::move(waited).error();
  }
  co_return Result<void>{};
}

void Engine::note_start(const Wish& wish) {
  if (parts_.metrics == nullptr) return;
  running_gauge(*parts_.metrics, wish).add(1);
  parts_.metrics
      ->counter("dragonfly_client_download_task_total", "Downloads that were begun.", download_labels(wish))
      .add();
}

void Engine::note_end(Download& download, const Result<void>& outcome) {
  parts_.log.debug("download of {} ended: {}", download.wish().name(),
                   outcome ? "right" : outcome.error().message());
  if (parts_.metrics == nullptr) return;
  auto& metrics = *parts_.metrics;
  auto labels = download_labels(download.wish());
  if (!outcome) {
    metrics.counter("dragonfly_client_download_task_failure_total", "Downloads that failed.", labels).add();
    return;
  }
  auto progress = download.progress();
  if (progress.from_local > 0) {
    metrics
        .counter("dragonfly_client_download_traffic", "Bytes of pieces received, by where they came from.",
                 {{"type", "LOCAL_PEER"}})
        .add(progress.from_local);
  }
  metrics
      .histogram("dragonfly_client_download_task_duration_milliseconds", "How long downloads took.",
                 api::client_milliseconds(),
                 {{"task_type", labels.front().second},
                  {"task_size_level",
                   std::to_string(api::task_size_level(static_cast<std::int64_t>(progress.done)))}})
      .observe(std::chrono::duration<double, std::milli>(progress.elapsed).count());
}

}  // namespace d7y::fetch
