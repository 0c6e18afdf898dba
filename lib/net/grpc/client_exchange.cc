#include "net/grpc/client_exchange.h"

#include <charconv>
#include <utility>

#include "net/grpc/channel_core.h"
#include "net/grpc/gzip.h"

namespace d7y::grpc {

namespace {

// A writer waits while more than this is queued and unsent in its stream.
constexpr std::size_t kWriteAhead = 256u << 10;
// How often a request that was certainly not looked at is sent.
constexpr int kMostTries = 3;

// gRPC's table for streams that end without a status.
Code code_of_reset(http2::H2Error code) {
  switch (code) {
    case http2::H2Error::kRefusedStream: return Code::kUnavailable;
    case http2::H2Error::kCancel: return Code::kCancelled;
    case http2::H2Error::kEnhanceYourCalm: return Code::kResourceExhausted;
    case http2::H2Error::kInadequateSecurity: return Code::kPermissionDenied;
    default: return Code::kInternal;
  }
}

}  // namespace

ClientExchange::ClientExchange(ChannelCore& core, std::string path, CallOptions options,
                               std::shared_ptr<const std::string> only_message)
    : core_(&core),
      path_(std::move(path)),
      options_(std::move(options)),
      only_message_(std::move(only_message)),
      inbox_(options_.max_receive_message != 0 ? options_.max_receive_message
                                               : core.options.max_receive_message),
      deadline_(*this, "the deadline passed"),
      headers_deadline_(*this, "no response headers came in time") {
  if (only_message_) {
    queue(only_message_);
    finish_writing();
  }
  Loop& loop = core.world.loop();
  if (!options_.deadline.is_never()) deadline_.set(loop, options_.deadline.when());
  if (!options_.headers_deadline.is_never()) headers_deadline_.set(loop, options_.headers_deadline.when());
}

ClientExchange::~ClientExchange() {
  if (core_ != nullptr) core_->forget(*this);
}

void ClientExchange::Alarm::fire() {
  exchange.fail(exchange.local_error(ErrorCode::kTimeout, Code::kDeadlineExceeded, what),
                Code::kDeadlineExceeded);
}

Error ClientExchange::local_error(ErrorCode code, Code grpc_code, std::string_view why) const {
  return error(code, "calling {} at {}: {}", path_, core_ != nullptr ? core_->name : "a closed channel", why)
      .with_status(static_cast<int>(grpc_code));
}

void ClientExchange::queue(std::shared_ptr<const std::string> message) {
  bool compressed = options_.gzip && !message->empty();
  if (compressed) message = std::make_shared<const std::string>(gzip_compress(*message));
  auto prefix = message_prefix(message->size(), compressed);
  send(Bytes(prefix));
  send(std::move(message));
}

void ClientExchange::begin(ClientConnection& connection) {
  connection_ = &connection;
  ++tries_;
  std::vector<http2::Field> fields;
  std::vector<std::string> storage;
  fields.reserve(10 + options_.metadata.size());
  fields.push_back({":method", "POST", true});
  fields.push_back({":scheme", core_->options.scheme});
  fields.push_back({":path", path_});
  fields.push_back({":authority", core_->authority});
  fields.push_back({"te", "trailers", true});
  fields.push_back({"content-type", "application/grpc", true});
  fields.push_back({"user-agent", core_->options.user_agent});
  fields.push_back({"grpc-accept-encoding", "identity,gzip", true});
  if (options_.gzip) fields.push_back({"grpc-encoding", "gzip", true});
  std::string timeout;
  if (!options_.deadline.is_never()) {
    timeout = format_timeout(options_.deadline.left(core_->world.now()));
    fields.push_back({"grpc-timeout", timeout});
  }
  if (!options_.metadata.empty()) add_metadata(options_.metadata, fields, storage);
  connection.session().request(*this, fields, true);
}

void ClientExchange::on_field(std::string_view name, std::string_view value) {
  if (name == ":status") {
    std::from_chars(value.data(), value.data() + value.size(), http_status_);
  } else if (name == "content-type") {
    is_grpc_ = is_grpc_content_type(value);
  } else if (name == "grpc-status") {
    int code = -1;
    auto [end, bad] = std::from_chars(value.data(), value.data() + value.size(), code);
    bool number = bad == std::errc() && end == value.data() + value.size();
    grpc_status_ = number && code >= 0 && code <= 16 ? code : static_cast<int>(Code::kUnknown);
  } else if (name == "grpc-message") {
    grpc_message_ = percent_decode(value);
  } else if (name == "grpc-status-details-bin") {
    Metadata decoded;
    receive_metadata(name, value, decoded);
    if (auto bytes = decoded.get(name)) details_ = *bytes;
  } else if (name == "grpc-encoding") {
    gzip_ = value == "gzip";
    other_encoding_ = !gzip_ && value != "identity";
  } else if (name != "grpc-accept-encoding") {
    receive_metadata(name, value, headers_seen_ ? trailers_ : headers_);
  }
}

void ClientExchange::on_fields_end(http2::FieldsKind kind) {
  if (ended_) return;
  if (fields_too_large()) {
    return fail(local_error(ErrorCode::kTooLarge, Code::kResourceExhausted,
                            "the response's header list is larger than what is accepted"),
                Code::kResourceExhausted);
  }
  if (kind == http2::FieldsKind::kInformational) {
    headers_ = {};
    return;
  }
  if (kind == http2::FieldsKind::kTrailers) return;  // on_end() follows
  if (http_status_ != 200) {
    if (grpc_status_ && *grpc_status_ != 0) return;
    auto code = code_from_http_status(http_status_);
    return fail(status_error(code, fmt::format("calling {} at {}: the server answered HTTP status {}", path_,
                                               core_->name, http_status_)),
                code);
  }
  if (!is_grpc_) {
    return fail(local_error(ErrorCode::kProtocol, Code::kUnknown, "the answer is not gRPC"), Code::kUnknown);
  }
  if (other_encoding_) {
    return fail(
        local_error(ErrorCode::kUnsupported, Code::kInternal, "the answer has an unknown grpc-encoding"),
        Code::kInternal);
  }
  inbox_.set_gzip(gzip_);
  headers_seen_ = true;
  headers_deadline_.cancel();
  changed_.notify_all();
}

void ClientExchange::on_data(Bytes bytes) {
  if (ended_) return consume(bytes.size());
  if (auto received = inbox_.receive(*this, bytes); !received) {
    auto code = received.failed_with(ErrorCode::kTooLarge) ? Code::kResourceExhausted : Code::kInternal;
    return fail(local_error(received.error().code(), code, received.error().message()), code);
  }
  if (!inbox_.empty()) changed_.notify_all();
}

void ClientExchange::on_end() {
  if (ended_) return;
  if (!grpc_status_) {
    return fail(local_error(ErrorCode::kProtocol, Code::kInternal, "the answer ended without a grpc-status"),
                Code::kInternal);
  }
  // An answer of one header list: what it has beside the status are trailers.
  if (trailers_.empty() && inbox_.empty() && *grpc_status_ != 0) trailers_ = headers_;
  if (*grpc_status_ == 0 && inbox_.in_message()) {
    return fail(
        local_error(ErrorCode::kProtocol, Code::kInternal, "the answer ended in the middle of a message"),
        Code::kInternal);
  }
  if (*grpc_status_ == 0) {
    settle(std::nullopt);
  } else {
    settle(status_error(static_cast<Code>(*grpc_status_), std::move(grpc_message_), std::move(details_)));
  }
  // The server is done with the call; what we still had to say interests nobody.
  if (!finished() || unsent() > 0) reset(http2::H2Error::kNone);
}

void ClientExchange::on_progress() {
  if (unsent() <= kWriteAhead) writable_.notify_all();
}

bool ClientExchange::may_send_again(bool processed) const {
  if (processed || core_ == nullptr || tries_ >= kMostTries || headers_seen_) return false;
  // A stream of messages can be repeated only if nothing of it went out.
  return only_message_ != nullptr || !sent_body();
}

void ClientExchange::on_close(http2::H2Error code, bool processed) {
  auto* connection = std::exchange(connection_, nullptr);
  if (ended_) return;
  bool lost = connection != nullptr && connection->why() != nullptr;
  if (lost) processed = begun();
  if (may_send_again(processed)) {
    if (only_message_) {
      rewind();
      queue(only_message_);
      http2::Stream::finish();
    } else {
      rewind_unsent();
    }
    core_->submit(*this);
    return;
  }
  if (lost) {
    const Error& why = *connection->why();
    auto kind = why.code() == ErrorCode::kClosed ? ErrorCode::kReset : why.code();
    return fail(local_error(kind, Code::kUnavailable, why.message()), Code::kUnavailable);
  }
  auto grpc_code = code_of_reset(code);
  auto kind = code == http2::H2Error::kRefusedStream ? ErrorCode::kUnavailable
              : grpc_code == Code::kInternal         ? ErrorCode::kReset
                                                     : to_error_code(grpc_code);
  fail(local_error(kind, grpc_code, fmt::format("the server reset the stream: {}", http2::name_of(code))),
       grpc_code);
}

void ClientExchange::settle(std::optional<Error> error) {
  if (std::exchange(ended_, true)) return;
  error_ = std::move(error);
  deadline_.cancel();
  headers_deadline_.cancel();
  if (core_ != nullptr) core_->forget(*this);
  core_ = nullptr;
  changed_.notify_all();
  writable_.notify_all();
}

void ClientExchange::fail(Error error, Code code) {
  if (ended_) return;
  if (error.status() == 0) error = std::move(error).with_status(static_cast<int>(code));
  settle(std::move(error));
  reset(http2::H2Error::kCancel);
}

void ClientExchange::cancel() {
  if (ended_) return;
  fail(local_error(ErrorCode::kCancelled, Code::kCancelled, "cancelled by this side"), Code::kCancelled);
}

void ClientExchange::finish_writing() {
  if (std::exchange(writing_finished_, true)) return;
  http2::Stream::finish();
}

Task<Result<std::optional<std::string>>> ClientExchange::read(std::shared_ptr<ClientExchange> self) {
  for (;;) {
    if (auto message = self->inbox_.take(*self)) co_return std::move(message);
    if (self->ended_) {
      if (self->error_) co_return self->error_->clone();
      co_return std::optional<std::string>();
    }
    CO_OK(co_await self->changed_.wait(Deadline::never()));
  }
}

Task<Result<void>> ClientExchange::write(std::shared_ptr<ClientExchange> self, std::string message) {
  if (self->writing_finished_) {
    co_return error(ErrorCode::kInvalid, "{}: a message was written after the last one", self->path_);
  }
  if (!self->ended_) self->queue(std::make_shared<const std::string>(std::move(message)));
  while (!self->ended_ && self->unsent() > kWriteAhead)
    CO_OK(co_await self->writable_.wait(Deadline::never()));
  if (!self->ended_) co_return Result<void>{};
  if (self->error_) co_return self->error_->clone();
  co_return error(ErrorCode::kClosed, "{}: the server has ended the call", self->path_);
}

Task<Result<void>> ClientExchange::wait_headers(std::shared_ptr<ClientExchange> self) {
  while (!self->headers_seen_ && !self->ended_) CO_OK(co_await self->changed_.wait(Deadline::never()));
  if (!self->headers_seen_ && self->error_) co_return self->error_->clone();
  co_return Result<void>{};
}

Task<Result<void>> ClientExchange::wait_end(std::shared_ptr<ClientExchange> self) {
  self->finish_writing();
  for (;;) {
    while (self->inbox_.take(*self)) {
    }
    if (self->ended_) break;
    CO_OK(co_await self->changed_.wait(Deadline::never()));
  }
  if (self->error_) co_return self->error_->clone();
  co_return Result<void>{};
}

}  // namespace d7y::grpc
