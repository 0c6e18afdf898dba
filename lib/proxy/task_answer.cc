// Answers out of tasks: a wish of the engine, sent in order as its bytes arrive.
#include "base/ids.h"
#include "net/http/range.h"
#include "proxy/conditions.h"
#include "proxy/proxy.h"

namespace d7y::proxy {
namespace {

// Bytes sent before the task is looked at again: whether it still is what it was.
constexpr std::uint64_t kStride = 4 << 20;
// How long an origin may take to say whether a client has rights.
constexpr auto kAskTimeout = std::chrono::seconds(30);
// How long a client waits without a byte for an origin that asks for patience. Longer than a moment's
// overload; shorter than what clients take for a dead connection (they often give up after 30 s).
constexpr auto kFirstByteWithin = std::chrono::seconds(10);

// Headers of the origin's answer that are not part of what is cached.
constexpr std::string_view kNotReplayed[] = {
    "Content-Length",
    "Content-Range",
    "Accept-Ranges",
    "Set-Cookie",
    "Set-Cookie2",
    "Date",
    "Server",
    "Age",
    "WWW-Authenticate",
    "Alt-Svc",
    "Via",
    "Expires",
    "X-Dragonfly-Task-Id",
    "X-Dragonfly-Task-Download-Finished",
    "X-Dragonfly-Server-Ip",
    "X-Dragonfly-Error-Type",
    "Strict-Transport-Security",
};

bool is_replayed(std::string_view name) {
  for (auto other : kNotReplayed) {
    if (http::same_name(name, other)) return false;
  }
  return true;
}

// Not everybody answers HEAD, and URLs that are signed for GET are good for nothing else.
bool may_mean_no_head(int status) {
  return status == 400 || status == 403 || status == 404 || status == 405 || status == 501;
}

// The Range header if it is one that is served: a single part. Others are allowed to be ignored, and are.
std::string range_of(const http::Headers& headers) {
  auto value = headers.get("Range");
  if (!value || headers.count("Range") != 1) return {};
  auto parts = http::parse_range(*value);
  return parts && parts->size() == 1 ? std::string(*value) : std::string();
}

http::ResponseHead head_of(const store::TaskFacts& facts) {
  http::ResponseHead head;
  for (const auto& [name, value] : facts.response_headers) {
    if (is_replayed(name)) head.headers.add(name, value);
  }
  http::remove_hop_by_hop(head.headers);
  head.headers.set("Accept-Ranges", "bytes");
  if (!facts.digest.empty() && !head.headers.has("Docker-Content-Digest"))
    head.headers.add("Docker-Content-Digest", facts.digest);
  return head;
}

}  // namespace

Result<fetch::Wish> Proxy::wish_for(const Exchange& exchange, const Route& route) const {
  const auto& said = route.said;
  if (!said.output_path.empty()) {
    return error(ErrorCode::kPermission,
                 "X-Dragonfly-Output-Path is not served: a daemon that writes files for whoever reaches its "
                 "proxy port would lend them its rights. Read the body, or use d7yget");
  }
  fetch::Wish wish;
  auto& message = wish.message;
  message.set_url(route.url.to_string());
  message.set_type(api::common::STANDARD);
  if (!said.tag.empty()) message.set_tag(said.tag);
  if (!said.application.empty()) message.set_application(said.application);
  if (said.priority) message.set_priority(static_cast<api::common::Priority>(*said.priority));
  if (said.piece_length) message.set_piece_length(*said.piece_length);
  if (said.content_for_task_id) message.set_content_for_calculating_task_id(*said.content_for_task_id);
  const auto* filtered = said.filtered_query_params ? &*said.filtered_query_params : nullptr;
  if (filtered == nullptr && route.rule != nullptr && route.rule->options().filtered_query_params)
    filtered = &*route.rule->options().filtered_query_params;
  for (const auto& name : filtered != nullptr ? *filtered : default_filtered_query_params())
    message.add_filtered_query_params(name);

  auto digest = blob_digest_of(message.url());
  // Ids of other lengths do not fit what peers exchange.
  const bool id_fits = digest && digest->kind() == HashKind::kSha256;
  message.set_enable_task_id_based_blob_digest(id_fits &&
                                               said.blob_digest_ids.value_or(options_.blob_digest_ids));
  if (digest) wish.content_digest = digest->to_string();
  message.set_disable_back_to_source(options_.disable_back_to_source);

  const auto& headers = exchange.request.headers();
  auto shared = divide(forwarded(headers, options_.credentials));
  for (auto& [name, value] : shared.open) (*message.mutable_request_header())[name] = value;
  auto& via = (*message.mutable_request_header())["Via"];
  via += via.empty() ? via_ : ", " + via_;
  wish.private_headers = std::move(shared.secret);
  wish.range_header = range_of(headers);
  if (auto condition = headers.get("If-Range"); condition && !wish.range_header.empty())
    wish.if_range = *condition;
  wish.in_order = true;
  wish.first_byte_within = kFirstByteWithin;
  return wish;
}

bool Proxy::may_have(const Exchange& exchange) {
  return !options_.check_rights ||
         rights_.may_have(exchange.caller, exchange.scope, exchange.task, parts_.world.now());
}

void Proxy::note_accepted(const Exchange& exchange) {
  if (options_.check_rights && !exchange.scope.empty())
    rights_.accepted(exchange.caller, exchange.scope, exchange.task, parts_.world.now());
}

Task<Result<http::Response>> Proxy::ask_by(std::string method, const Exchange& exchange, const Route& route,
                                           Deadline deadline) {
  auto request = request_for(exchange, route);
  request.method = std::move(method);
  for (auto name :
       {"Range", "If-Range", "If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since"})
    request.headers.remove(name);
  if (request.method == "GET") request.headers.add("Range", "bytes=0-0");
  auto asking = parts_.client.fetch(std::move(request), deadline);
  co_return co_await asking;
}

Task<Result<void>> Proxy::ask_origin(Exchange& exchange, Route route) {
  const auto deadline = Deadline::in(kAskTimeout, parts_.world.now());
  auto asking = ask_by("HEAD", exchange, route, deadline);
  auto answer = co_await asking;
  if (answer && may_mean_no_head(answer->status())) {
    auto asking_again = ask_by("GET", exchange, route, deadline);
    answer = co_await asking_again;
  }
  if (!answer) {
    co_return std::move(answer).error().in(
        "it is here, but its origin could not be asked whether you may have it");
  }
  const int status = answer->status();
  if (status < 400 || status == 416) {  // empty content has no first byte
    note_accepted(exchange);
    co_return Result<void>{};
  }
  if (status == 401 || status == 403) rights_.refused(exchange.caller, exchange.scope);
  auto why =
      error(ErrorCode::kPermission, "its origin refuses it to you: {} {}", status, http::reason_of(status));
  auto details = source::backend_error_json(why.message(), answer->headers(), status);
  co_return std::move(why).with_status(status).with_details(std::move(details));
}

Task<void> Proxy::answer_from_task(Exchange& exchange, Route route) {
  auto wish = wish_for(exchange, route);
  if (!wish) {
    auto refused = refuse(exchange, wish.error());
    co_return co_await refused;
  }
  auto id = fetch::Engine::task_id(wish->message);
  if (!id) {
    auto refused = refuse(exchange, 400, Fault::kProxy, id.error());
    co_return co_await refused;
  }
  exchange.task = *id;
  exchange.caller = Rights::caller(wish->private_headers, route.url);
  exchange.scope = Rights::scope(route.url);
  if (exchange.request.method() == "HEAD") {
    auto answered = answer_head(exchange, std::move(route));
    co_return co_await answered;
  }
  exchange.via = "task";
  if (numbers_) numbers_->via_tasks.add();
  const auto is_here = [&] { return parts_.store.contains(*id) || parts_.engine.is_running(*id); };
  if (is_here() && !may_have(exchange)) {
    auto asked = co_await ask_origin(exchange, route);
    if (!asked) {
      auto refused = refuse(exchange, asked.error());
      co_return co_await refused;
    }
  }
  // A download that others began may fail for lack of rights that this client has: then once more.
  for (bool first = true;; first = false) {
    const bool cold = !is_here();  // the download itself asks the origin, with this client's credentials
    const bool joined = parts_.engine.is_running(*id);
    auto summary = parts_.store.summary(*id);
    const bool was_finished = summary && summary->finished;
    auto started = parts_.engine.start(*wish, Deadline::never());
    if (!started) {
      auto refused = refuse(exchange, started.error());
      co_return co_await refused;
    }
    auto begun = co_await (*started)->started();
    if (begun && cold) note_accepted(exchange);
    if (begun) prefetch_behind(exchange, route, *wish, (*started)->task());
    auto sent = co_await send_content(exchange, **started, was_finished);
    if (sent) co_return;
    const int status = sent.error().status();
    const bool others_rights = joined && (status == 401 || status == 403);
    // Wrong bytes of peers were found before the first of them went out: there are others.
    const bool others_bytes = sent.failed_with(ErrorCode::kCorrupt) || sent.failed_with(ErrorCode::kChanged);
    if (!exchange.responder.begun() && first && (others_rights || others_bytes)) continue;
    if (exchange.responder.begun()) {
      exchange.failure = sent.error().message();
      // What was sent is right, as far as it goes, unless the content was found out.
      if (others_bytes) {
        exchange.responder.abort();
      } else {
        exchange.responder.cut_short();
      }
      co_return;
    }
    // Neither content nor an error, 204 for instance: nothing to keep, but the client's to have.
    if (status >= 200 && status < 400) {
      exchange.task.clear();
      auto passed = pass_through(exchange, std::move(route));
      co_return co_await passed;
    }
    auto refused = refuse(exchange, sent.error());
    co_return co_await refused;
  }
}

void Proxy::prefetch_behind(const Exchange& exchange, const Route& route, fetch::Wish wish,
                            const store::TaskHandle& task) {
  if (wish.range_header.empty() || !route.said.prefetch.value_or(options_.prefetch)) return;
  if (task->facts().prefetched || task->finished()) return;
  if (auto noted = task->set_prefetched(); !noted) {
    parts_.log.warn("task {}: {}", exchange.task, noted.error().message());
    return;
  }
  if (numbers_) numbers_->prefetches.add();
  wish.range_header.clear();
  wish.if_range.clear();
  wish.in_order = false;
  wish.first_byte_within = {};
  wish.rate_limit = options_.prefetch_rate;
  prefetching_.spawn(prefetch(std::move(wish)));
}

Task<void> Proxy::prefetch(fetch::Wish wish) {
  auto started = parts_.engine.start(std::move(wish), Deadline::never());
  Result<void> ended;
  if (started) {
    ended = co_await (*started)->ended();
  } else {
    ended = std::move(started).error();
  }
  if (ended) co_return;
  if (numbers_) numbers_->prefetch_failures.add();
  parts_.log.info("prefetch failed: {}", ended.error().message());
}

Task<Result<void>> Proxy::send_content(Exchange& exchange, fetch::Download& download, bool was_finished) {
  auto& responder = exchange.responder;
  auto started = co_await download.started();
  if (!started) {
    const bool unsatisfiable = started.error().status() == 416 && download.task();
    if (!unsatisfiable) co_return started;
    http::ResponseHead head;
    head.status = exchange.status = 416;
    http::ContentRange all;
    all.total = download.task()->content_length();
    head.headers.add("Content-Range", http::to_string(all));
    auto explanation = explain(exchange.request.path(), 416, started.error().message());
    head.headers.add("Content-Type", explanation.content_type);
    exchange.sent = explanation.body.size();
    co_return co_await responder.send(std::move(head), std::move(explanation.body));
  }
  const auto task = download.task();
  auto head = head_of(task->facts());
  head.headers.set("X-Dragonfly-Task-ID", download.task_id());
  head.headers.set("X-Dragonfly-Server-IP", options_.ip);
  if (was_finished) head.headers.set("X-Dragonfly-Task-Download-Finished", "true");
  if (client_wants_another(exchange.request.headers(), head.headers)) {
    co_return error(ErrorCode::kPrecondition, "this is another version than the client wants")
        .with_status(412);
  }
  if (client_has_it(exchange.request.headers(), head.headers)) {
    head.status = exchange.status = 304;
    co_return co_await responder.send(std::move(head), "");
  }
  // Nothing is promised before there is something: what fails until then has a status of its own.
  CO_TRY(auto run, co_await download.next(kStride, Deadline::never()));
  const auto length = download.length();
  head.status = exchange.status = download.ranged() ? 206 : 200;
  if (download.ranged()) {
    http::ContentRange part;
    part.span = http::ByteSpan{download.offset(), *length};
    part.total = task->content_length();
    head.headers.add("Content-Range", http::to_string(part));
  }
  CO_OK(co_await responder.begin(std::move(head), length));
  while (run.length > 0) {
    auto file = task->file();
    CO_OK(co_await responder.send_file(*file, run.offset, run.length));
    download.consume(run.length);
    exchange.sent += run.length;
    CO_TRY(run, co_await download.next(kStride, Deadline::never()));
  }
  co_return co_await responder.finish();
}

Task<void> Proxy::answer_head(Exchange& exchange, Route route) {
  auto summary = parts_.store.summary(exchange.task);
  // What may be another by now is the origin's to tell.
  const bool lasting =
      parts_.engine.options().revalidate_after == Duration::zero() || blob_digest_of(route.url.to_string());
  if (summary && summary->finished && lasting && may_have(exchange)) {
    auto found = co_await parts_.store.find(exchange.task);
    if (found && (*found)->finished()) {
      exchange.via = "task";
      auto head = head_of((*found)->facts());
      head.headers.set("X-Dragonfly-Task-ID", exchange.task);
      head.headers.set("X-Dragonfly-Server-IP", options_.ip);
      head.headers.set("X-Dragonfly-Task-Download-Finished", "true");
      exchange.status = head.status = 200;
      if (client_has_it(exchange.request.headers(), head.headers)) exchange.status = head.status = 304;
      auto begun = co_await exchange.responder.begin(std::move(head), (*found)->content_length());
      if (begun) begun = co_await exchange.responder.finish();
      if (!begun) exchange.failure = begun.error().message();
      co_return;
    }
  }
  auto passed = pass_through(exchange, std::move(route));
  co_await passed;
}

}  // namespace d7y::proxy
