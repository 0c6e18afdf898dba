// A request on a stream of an HTTP/2 connection, and its answer.
#pragma once

#include <optional>
#include <string>

#include "net/http/server.h"
#include "net/http2/session.h"

namespace d7y::http2 {
struct ServerOptions;
}

namespace d7y::http2::detail {

class ServedConnection;

// Made when the client opens the stream; destroyed by its connection once the stream is closed and the
// handler has returned.
class RequestStream final : public Stream {
 public:
  RequestStream(ServedConnection& connection, const Address& remote);

  // Has the request handled, or refused, and waits until the answer has gone. Runs once.
  Task<void> run();
  bool fields_complete() const { return fields_complete_; }
  bool handled() const { return handled_; }

  RequestStream* before = nullptr;  // in the connection's list
  RequestStream* after = nullptr;

 private:
  class Request final : public http::ServerRequest {
   public:
    Request(RequestStream& stream, const Address& remote);
    std::optional<std::uint64_t> length() const override;
    Task<Result<std::size_t>> read(MutableBytes buffer, Deadline deadline) override;

    http::RequestHead& inner() { return head_; }

   private:
    RequestStream& stream_;
  };
  class Answer final : public http::Responder {
   public:
    explicit Answer(RequestStream& stream) : stream_(stream) {}
    using Responder::send;
    Task<Result<void>> send(http::ResponseHead head, std::string body) override;
    Task<Result<void>> begin(http::ResponseHead head, std::optional<std::uint64_t> length) override;
    Task<Result<void>> write(Bytes bytes) override;
    Task<Result<void>> send_file(world::File& file, std::uint64_t offset, std::uint64_t length) override;
    Task<Result<void>> finish() override;
    Task<void> hung_up() override;
    void close_after() override;
    Task<Result<std::unique_ptr<world::Stream>>> take_stream(http::ResponseHead head) override;

    void answers_head() { bodyless_ = true; }
    // What the handler left undone.
    Task<void> settle();

   private:
    Result<void> put_head(http::ResponseHead head, std::optional<std::uint64_t> length);
    // Waits until more may be queued. kReset: nobody takes it any more.
    Task<Result<void>> make_room();

    RequestStream& stream_;
  };

  void on_field(std::string_view name, std::string_view value) override;
  void on_fields_end(FieldsKind kind) override;
  void on_data(Bytes bytes) override;
  void on_end() override;
  void on_progress() override;
  void on_close(H2Error code, bool processed) override;

  // What of the request is refused before a handler sees it.
  std::optional<Error> objection() const;
  Task<void> refuse(Error why);
  // Waits until all that was queued has gone, as long as it moves.
  Task<void> flush();
  const ServerOptions& options() const;
  Deadline stall() const;

  ServedConnection& connection_;
  Request request_;
  Answer answer_;
  std::string authority_;
  std::size_t fields_ = 0;
  bool fields_complete_ = false, too_many_fields_ = false;
  std::optional<std::uint64_t> length_;  // announced
  std::string inbox_;                    // of the body, read up to inbox_at_
  std::size_t inbox_at_ = 0;
  std::uint64_t body_bytes_ = 0;  // read by the handler
  bool ended_ = false;            // the client has sent everything
  bool closed_ = false;           // the stream is no more
  bool continue_due_ = false;     // the client waits for 100
  bool handled_ = false;
  Signal readable_, writable_, closed_signal_;
};

}  // namespace d7y::http2::detail
