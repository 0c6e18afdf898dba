#include "net/grpc/client_call.h"

#include <utility>

#include "net/grpc/client_exchange.h"

namespace d7y::grpc {

namespace {

Error no_call() { return {ErrorCode::kInvalid, "this call object holds no call"}; }
Task<Result<std::optional<std::string>>> no_message(Error error) { co_return std::move(error); }

const Metadata& no_metadata() {
  static const Metadata kEmpty;
  return kEmpty;
}

}  // namespace

RawCall::RawCall(std::shared_ptr<ClientExchange> exchange) : exchange_(std::move(exchange)) {}

RawCall& RawCall::operator=(RawCall&& other) noexcept {
  if (this != &other) {
    cancel();
    exchange_ = std::move(other.exchange_);
  }
  return *this;
}

RawCall::~RawCall() { cancel(); }

Task<Result<void>> RawCall::write(std::string message) {
  return exchange_ ? ClientExchange::write(exchange_, std::move(message)) : detail::fail(no_call());
}

void RawCall::finish_writing() {
  if (exchange_) exchange_->finish_writing();
}

Task<Result<std::optional<std::string>>> RawCall::read() {
  return exchange_ ? ClientExchange::read(exchange_) : no_message(no_call());
}

Task<Result<void>> RawCall::wait_headers() {
  return exchange_ ? ClientExchange::wait_headers(exchange_) : detail::fail(no_call());
}

Task<Result<void>> RawCall::finish() {
  return exchange_ ? ClientExchange::wait_end(exchange_) : detail::fail(no_call());
}

void RawCall::cancel() {
  if (exchange_) exchange_->cancel();
}

const Metadata& RawCall::headers() const { return exchange_ ? exchange_->headers() : no_metadata(); }
const Metadata& RawCall::trailers() const { return exchange_ ? exchange_->trailers() : no_metadata(); }

namespace detail {

Result<std::string> serialize(const google::protobuf::MessageLite& message) {
  auto size = message.ByteSizeLong();
  if (size > 0x7fffffff) {
    return error(ErrorCode::kTooLarge, "a {} of {} bytes is over protobuf's 2 GiB", message.GetTypeName(),
                 size);
  }
  std::string bytes(size, '\0');
  message.SerializeWithCachedSizesToArray(reinterpret_cast<std::uint8_t*>(bytes.data()));
  return bytes;
}

Error unparsable(std::string_view type) {
  return status_error(Code::kInternal, fmt::format("bytes that should be a {} do not parse", type));
}

Task<Result<void>> fail(Error error) { co_return std::move(error); }

Task<Result<std::string>> only_message(RawCall& call) {
  Task<Result<std::optional<std::string>>> reading = call.read();
  CO_TRY(auto message, co_await reading);
  if (!message) {
    co_return status_error(Code::kUnimplemented,
                           "the call ended with OK but without the one message it should have");
  }
  Task<Result<std::optional<std::string>>> ending = call.read();
  CO_TRY(auto second, co_await ending);
  if (second) {
    call.cancel();
    co_return status_error(Code::kUnimplemented, "the call brought more than the one message it should have");
  }
  co_return std::move(*message);
}

}  // namespace detail

}  // namespace d7y::grpc
