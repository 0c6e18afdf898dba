#include "net/grpc/server_exchange.h"

#include <algorithm>
#include <utility>

#include "base/base64.h"
#include "net/grpc/gzip.h"
#include "net/grpc/server_core.h"

namespace d7y::grpc {

namespace {

// A writer waits while more than this is queued and unsent in its stream.
constexpr std::size_t kWriteAhead = 256u << 10;
// The header list size that Rust clients take (Dragonfly grpc 4.3).
constexpr std::size_t kMostHeaders = 16u << 10;

constexpr http2::Field kStatus200{":status", "200", true};
constexpr http2::Field kContentType{"content-type", "application/grpc", true};
constexpr http2::Field kGzip{"grpc-encoding", "gzip", true};
constexpr http2::Field kAcceptEncoding{"grpc-accept-encoding", "identity,gzip", true};
constexpr http2::Field kStatusOk{"grpc-status", "0", true};

// The status part of the trailers, within what is left of `room`.
class StatusFields {
 public:
  StatusFields(const Result<void>& result, std::size_t room, std::vector<http2::Field>& fields) {
    if (result.ok()) {
      fields.push_back(kStatusOk);
      return;
    }
    const Error& error = result.error();
    code_ = std::to_string(static_cast<int>(code_of(error)));
    message_ = percent_encode(error.message());
    if (!error.details().empty()) details_ = base64_encode(error.details(), Base64Padding::kNone);
    std::size_t used = 64 + 64;  // grpc-status and the overhead of grpc-message
    if (used + message_.size() + details_.size() + 64 > room) details_.clear();
    if (used + message_.size() > room) {
      message_.resize(room > used ? room - used : 0);
      // Not in the middle of an escape.
      if (auto escape = message_.rfind('%'); escape != std::string::npos && escape + 3 > message_.size()) {
        message_.resize(escape);
      }
    }
    fields.push_back({"grpc-status", code_});
    if (!message_.empty()) fields.push_back({"grpc-message", message_});
    if (!details_.empty()) fields.push_back({"grpc-status-details-bin", details_});
  }

 private:
  std::string code_, message_, details_;
};

}  // namespace

ServerExchange::ServerExchange(ServerConnection& connection)
    : connection_(connection),
      call_(*this),
      arrived_(connection.core().world.now()),
      inbox_(connection.core().options.max_receive_message),
      alarm_(*this),
      turn_(*this) {
  ++connection.core().open_calls;
}

ServerExchange::~ServerExchange() { --connection_.core().open_calls; }

Loop& ServerExchange::loop() const { return connection_.core().world.loop(); }

Scope& ServerExchange::scope() {
  if (!scope_) scope_.emplace(loop());
  return *scope_;
}

Deadline ServerExchange::deadline() const {
  return timeout_ ? Deadline::in(*timeout_, arrived_) : Deadline::never();
}

void ServerExchange::on_field(std::string_view name, std::string_view value) {
  if (started_ || method_ != nullptr) return;  // trailers of the request mean nothing here
  if (name.front() == ':') {
    if (name == ":path") {
      asked_ = connection_.core().find(value);
      if (asked_ == nullptr) path_.assign(value);
    } else if (name == ":method") {
      is_post_ = value == "POST";
    }
    return;  // :authority is not looked at: Unix clients send a dummy (Dragonfly grpc 4.1)
  }
  if (name == "content-type") {
    is_grpc_ = is_grpc_content_type(value);
  } else if (name == "grpc-timeout") {
    timeout_ = parse_timeout(value);
    bad_timeout_ = !timeout_;
  } else if (name == "grpc-encoding") {
    inbox_.set_gzip(value == "gzip");
    bad_encoding_ = value != "gzip" && value != "identity";
  } else if (name == "grpc-accept-encoding") {
    accepts_gzip_ = lists_gzip(value);
  } else if (name != "te") {
    receive_metadata(name, value, metadata_);
  }
}

void ServerExchange::on_fields_end(http2::FieldsKind kind) {
  if (kind != http2::FieldsKind::kRequest) return;
  if (!is_post_) return refuse_http("405");
  if (!is_grpc_ && !fields_too_large()) return refuse_http("415");
  if (auto accepted = accept(); !accepted) return finish(std::move(accepted));
  if (method_->kind == MethodKind::kClientStream || method_->kind == MethodKind::kBidi) start();
}

Result<void> ServerExchange::accept() {
  ServerCore& core = connection_.core();
  if (fields_too_large()) {
    return status_error(Code::kResourceExhausted, fmt::format("the request's header list is over {} bytes",
                                                              core.options.max_header_list));
  }
  if (asked_ == nullptr) return status_error(Code::kUnimplemented, fmt::format("no method {} here", path_));
  if (bad_timeout_) return status_error(Code::kInvalidArgument, "grpc-timeout is not a number and a unit");
  if (bad_encoding_) {
    return status_error(Code::kUnimplemented, "grpc-encoding is neither identity nor gzip");
  }
  if (core.options.admit && !asked_->options.always_admit) TRY_OK(core.options.admit(call_));
  method_ = asked_;
  if (method_->counters) method_->counters->begin();
  if (core.options.spans != nullptr && !method_->options.always_admit) begin_span();
  bool streams = method_->kind == MethodKind::kServerStream || method_->kind == MethodKind::kBidi;
  if (timeout_ && !streams) alarm_.set(loop(), deadline().when());
  return {};
}

void ServerExchange::start() {
  if (std::exchange(started_, true)) return;
  if (method_->unary_handler) return loop().make_ready(turn_);
  scope().spawn(run());
  if (method_->kind != MethodKind::kUnary && method_->options.headers_at_once) loop().make_ready(turn_);
}

void ServerExchange::take_turn() {
  if (method_->unary_handler) return answer();
  send_headers();
}

Task<void> ServerExchange::run() {
  Task<Result<void>> work = method_->handler(call_);
  auto result = co_await work;
  if (scope_->size() > 1) scope_->cancel();  // what the handler left running beside itself
  finish(std::move(result));
}

void ServerExchange::answer() {
  auto request = take();
  if (!request) {
    return finish(
        status_error(Code::kUnimplemented, fmt::format("{} takes one request message; none came", path())));
  }
  if (method_->prompt_handler) {
    if (auto message = method_->prompt_handler(call_, *request)) return reply(std::move(*message));
  }
  scope().spawn(run_unary(std::move(*request)));
}

Task<void> ServerExchange::run_unary(std::string request) {
  Task<Result<std::string>> work = method_->unary_handler(call_, std::move(request));
  auto message = co_await work;
  if (scope_->size() > 1) scope_->cancel();
  reply(std::move(message));
}

void ServerExchange::reply(Result<std::string> message) {
  if (!message) return finish(std::move(message).error());
  if (done_) return;
  queue(std::move(*message));
  finish(Result<void>{});
}

void ServerExchange::on_data(Bytes bytes) {
  if (done_ || method_ == nullptr) return consume(bytes.size());
  if (auto received = inbox_.receive(*this, bytes); !received) return fail(std::move(received).error());
  if (!started_) {
    if (!inbox_.empty()) start();
  } else if (!inbox_.empty()) {
    readable_.notify_all();
  }
}

void ServerExchange::on_end() {
  in_ended_ = true;
  if (done_ || method_ == nullptr) return;
  if (inbox_.in_message()) {
    return fail(status_error(Code::kInternal, "the request ended in the middle of a message"));
  }
  if (!started_) return start();
  readable_.notify_all();
}

void ServerExchange::on_progress() {
  if (unsent() <= kWriteAhead) writable_.notify_all();
}

void ServerExchange::on_close(http2::H2Error, bool) {
  if (!std::exchange(done_, true)) note_end(Code::kCancelled, "the client is gone");
  alarm_.cancel();
  turn_.unqueue();
  connection_.sweep_later(*this);
}

Task<Result<std::optional<std::string>>> ServerExchange::read() {
  if (inbox_.empty()) {
    Task<Result<bool>> waiting = wait();
    CO_TRY(const bool more, co_await waiting);
    if (!more) co_return std::optional<std::string>();
  }
  co_return take();
}

std::optional<std::string> ServerExchange::take() {
  auto message = inbox_.take(*this);
  if (message) ++taken_;
  return message;
}

void ServerExchange::count_taken() {
  const auto taken = std::exchange(taken_, 0);
  if (taken > 0 && method_->counters) method_->counters->received->add(taken);
}

Task<Result<bool>> ServerExchange::wait() {
  count_taken();
  while (inbox_.empty()) {
    if (done_) co_return Error(ErrorCode::kClosed, "the call has ended");
    if (in_ended_) co_return false;
    CO_OK(co_await readable_.wait(Deadline::never()));
  }
  co_return true;
}

Task<Result<void>> ServerExchange::write(std::string message) {
  if (done_) co_return Error(ErrorCode::kClosed, "the call has ended");
  queue(std::move(message));
  while (!done_ && unsent() > kWriteAhead) CO_OK(co_await writable_.wait(Deadline::never()));
  co_return Result<void>{};
}

void ServerExchange::queue(std::string message) {
  send_headers();
  if (method_->counters) method_->counters->sent->add();
  bool compressed = compress_ && !message.empty();
  if (compressed) message = gzip_compress(message);
  auto prefix = message_prefix(message.size(), compressed);
  send(Bytes(prefix));
  send(std::move(message));
}

void ServerExchange::send_headers() {
  if (headers_sent_ || done_ || !attached()) return;
  headers_sent_ = true;
  if (!compress_ && initial_metadata_.empty()) {
    static constexpr http2::Field kUsual[] = {kStatus200, kContentType};
    return session()->respond(*this, kUsual, true);
  }
  std::vector<http2::Field> fields;
  std::vector<std::string> storage;
  fields.reserve(4 + initial_metadata_.size());
  fields.push_back(kStatus200);
  fields.push_back(kContentType);
  if (compress_) fields.push_back(kGzip);
  if (!initial_metadata_.empty()) add_metadata(initial_metadata_, fields, storage);
  session()->respond(*this, fields, true);
}

void ServerExchange::refuse_http(std::string_view status) {
  done_ = true;
  if (!attached()) return;
  constexpr std::string_view kText = "This is a gRPC server: POST with content-type application/grpc.\n";
  const http2::Field fields[] = {{":status", status}, {"content-type", "text/plain", true}};
  session()->respond(*this, fields, true);
  send(as_bytes(kText));
  http2::Stream::finish();
}

void ServerExchange::finish(Result<void> result) {
  if (std::exchange(done_, true)) return;
  if (result.ok()) {
    note_end(Code::kOk);
  } else {
    note_end(code_of(result.error()), result.error().message());
  }
  alarm_.cancel();
  turn_.unqueue();
  inbox_.clear(*this);
  if (!attached()) return;
  if (headers_sent_ && result.ok() && trailing_metadata_.empty()) {
    static constexpr http2::Field kUsual[] = {kStatusOk};
    return http2::Stream::finish_lasting(kUsual);
  }
  std::size_t most = std::min<std::size_t>(kMostHeaders, session()->remote_max_header_list());
  std::vector<http2::Field> fields;
  std::vector<std::string> storage;
  if (!headers_sent_) {
    fields.push_back(kStatus200);
    fields.push_back(kContentType);
    if (bad_encoding_) fields.push_back(kAcceptEncoding);
    if (!initial_metadata_.empty()) add_metadata(initial_metadata_, fields, storage);
  }
  auto used = list_size(fields);
  StatusFields status(result, most > used ? most - used : 0, fields);
  used = list_size(fields);
  std::vector<std::string> extra_storage;
  if (!trailing_metadata_.empty()) {
    std::vector<http2::Field> extra;
    add_metadata(trailing_metadata_, extra, extra_storage);
    if (used + list_size(extra) <= most) fields.insert(fields.end(), extra.begin(), extra.end());
  }
  if (headers_sent_) {
    http2::Stream::finish(fields);
  } else {
    headers_sent_ = true;
    session()->respond(*this, fields, false);
  }
}

// As OpenTelemetry's conventions for RPC have it.
void ServerExchange::begin_span() {
  const auto caller = TraceContext::parse(metadata_.get("traceparent").value_or(""));
  if (caller && !caller->sampled) return;
  auto& world = connection_.core().world;
  const auto name = path().substr(1);
  const auto slash = name.rfind('/');
  span_ = std::make_unique<Span>();
  span_->name = name;
  span_->kind = Span::Kind::kServer;
  span_->context = TraceContext::inside(caller, [&world] { return world.random(); });
  span_->began = world.wall_now();
  span_->attributes = {{"rpc.system", std::string("grpc")},
                       {"rpc.service", std::string(name.substr(0, slash))},
                       {"rpc.method", std::string(name.substr(slash + 1))},
                       {"net.peer.ip", call_.remote().ip()}};
}

void ServerExchange::note_end(Code code, std::string_view failure) {
  count_taken();
  if (method_ != nullptr && method_->counters) method_->counters->end(code);
  if (!span_) return;
  span_->ended = connection_.core().world.wall_now();
  span_->attributes.emplace_back("rpc.grpc.status_code", static_cast<std::int64_t>(code));
  span_->failure = failure;
  connection_.core().options.spans->take(std::move(*span_));
  span_.reset();
}

void ServerExchange::fail(Error error) {
  finish(std::move(error));
  connection_.sweep_later(*this);
}

void ServerExchange::time_out() {
  finish(status_error(Code::kDeadlineExceeded, fmt::format("the deadline of {} has passed", path())));
  cancel();
}

}  // namespace d7y::grpc
