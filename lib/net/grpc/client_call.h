// One call as the client sees it.
//
//   auto call = channel.bidi<AnnouncePeerRequest,
//   AnnouncePeerResponse>("/scheduler.v2.Scheduler/AnnouncePeer"); CO_OK(co_await
//   call.write(register_request)); for (;;) {
//     CO_TRY(auto response, co_await call.read());
//     if (!response) break;                 // ended with OK
//     ...
//   }
//
// The object is the call: destroying it cancels what has not ended (RST_STREAM CANCEL). One task may
// read while another writes. A task that waits in read or write may itself be cancelled without
// harm to the call (so `within(deadline, call.read())` is fine, and no message is lost).
#pragma once

#include <google/protobuf/message_lite.h>

#include <memory>
#include <optional>
#include <string>

#include "base/deadline.h"
#include "base/task.h"
#include "net/grpc/metadata.h"
#include "net/grpc/status.h"

namespace d7y::grpc {

struct CallOptions {
  // For the whole call, connecting included; sent as grpc-timeout. A server in Go ends the call then;
  // one in Rust uses it only up to its response headers. Streams without a natural end need never().
  Deadline deadline = Deadline::never();
  // Only for the wait until the response headers are here; not sent. For streams that must start soon
  // and may last for ever.
  Deadline headers_deadline = Deadline::never();
  Metadata metadata;
  // Keep trying to connect until the deadline instead of failing with the first attempt's error.
  bool wait_for_ready = false;
  // Compress what is sent. Off: Rust servers refuse it (Dragonfly grpc 4.1).
  bool gzip = false;
  // Largest message to accept, in bytes; 0: the channel's.
  std::uint64_t max_receive_message = 0;
};

class ClientExchange;  // client_exchange.h: the call's state, shared with its connection

// A call in serialized messages. The typed forms below are what one normally uses.
class RawCall {
 public:
  RawCall() = default;
  explicit RawCall(std::shared_ptr<ClientExchange> exchange);
  RawCall(RawCall&&) noexcept = default;
  RawCall& operator=(RawCall&& other) noexcept;
  ~RawCall();

  // Queues one message, then waits while more is queued than the other side takes (back-pressure).
  // Fails with the call's status if the call has ended; a failed write may also mean that the server
  // ended it with OK before reading everything (kClosed): read() or finish() tells.
  Task<Result<void>> write(std::string message);
  // No more messages will be written. Does nothing if that was said before.
  void finish_writing();

  // The next message; none when the call ended with OK; its status as an error otherwise.
  Task<Result<std::optional<std::string>>> read();

  // Waits for the response headers. A call that fails before having any ends with its status.
  Task<Result<void>> wait_headers();

  // Waits for the end; messages that still come are dropped. Also says finish_writing().
  Task<Result<void>> finish();

  // Gives up; reads and writes fail with kCancelled.
  void cancel();

  // What the server sent so far; empty before that.
  const Metadata& headers() const;
  const Metadata& trailers() const;

 private:
  std::shared_ptr<ClientExchange> exchange_;
};

namespace detail {

// Serialized form; kInvalid for a message over protobuf's 2 GiB.
Result<std::string> serialize(const google::protobuf::MessageLite& message);
Error unparsable(std::string_view path_or_what);

// Replaces what `message` held.
inline Result<void> parse_into(std::string_view bytes, google::protobuf::MessageLite& message) {
  if (bytes.size() > 0x7fffffff || !message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return unparsable(message.GetTypeName());
  }
  return {};
}

template <class Message>
Result<Message> parse(std::string_view bytes) {
  Message message;
  TRY_OK(parse_into(bytes, message));
  return message;
}

template <class Message>
Task<Result<Message>> parse_later(Task<Result<std::string>> bytes) {
  CO_TRY(std::string raw, co_await bytes);
  co_return parse<Message>(raw);
}

template <class Message>
Task<Result<std::optional<Message>>> read_message(Task<Result<std::optional<std::string>>> bytes) {
  CO_TRY(std::optional<std::string> raw, co_await bytes);
  if (!raw) co_return std::optional<Message>();
  CO_TRY(Message message, parse<Message>(*raw));
  co_return std::optional<Message>(std::move(message));
}

Task<Result<void>> fail(Error error);
Task<Result<std::string>> only_message(RawCall& call);

}  // namespace detail

// Server streaming: one request was sent, messages come.
template <class Response>
class ReadCall {
 public:
  ReadCall() = default;
  explicit ReadCall(RawCall raw) : raw_(std::move(raw)) {}
  Task<Result<std::optional<Response>>> read() { return detail::read_message<Response>(raw_.read()); }
  Task<Result<void>> wait_headers() { return raw_.wait_headers(); }
  Task<Result<void>> finish() { return raw_.finish(); }
  void cancel() { raw_.cancel(); }
  const Metadata& headers() const { return raw_.headers(); }
  const Metadata& trailers() const { return raw_.trailers(); }

 protected:
  RawCall raw_;
};

// Client streaming: messages go, one response comes at the end.
template <class Request, class Response>
class WriteCall {
 public:
  WriteCall() = default;
  explicit WriteCall(RawCall raw) : raw_(std::move(raw)) {}
  Task<Result<void>> write(const Request& request) {
    auto bytes = detail::serialize(request);
    return bytes ? raw_.write(std::move(*bytes)) : detail::fail(std::move(bytes).error());
  }
  // Says that all is written and waits for the response.
  Task<Result<Response>> finish() {
    raw_.finish_writing();
    return detail::parse_later<Response>(detail::only_message(raw_));
  }
  Task<Result<void>> wait_headers() { return raw_.wait_headers(); }
  void cancel() { raw_.cancel(); }
  const Metadata& headers() const { return raw_.headers(); }
  const Metadata& trailers() const { return raw_.trailers(); }

 private:
  RawCall raw_;
};

// Messages both ways.
template <class Request, class Response>
class BidiCall : public ReadCall<Response> {
 public:
  BidiCall() = default;
  explicit BidiCall(RawCall raw) : ReadCall<Response>(std::move(raw)) {}
  Task<Result<void>> write(const Request& request) {
    auto bytes = detail::serialize(request);
    return bytes ? this->raw_.write(std::move(*bytes)) : detail::fail(std::move(bytes).error());
  }
  void finish_writing() { this->raw_.finish_writing(); }
};

}  // namespace d7y::grpc
