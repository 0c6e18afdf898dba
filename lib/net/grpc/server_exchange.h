// The server's side of one call: an HTTP/2 stream, the handler's task, the messages between them.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/scope.h"
#include "net/grpc/inbox.h"
#include "net/grpc/server.h"
#include "net/grpc/wire.h"
#include "net/http2/session.h"

namespace d7y::grpc {

class ServerConnection;

// A registered method. Lives as long as its server.
struct Method {
  std::string path;
  MethodKind kind = MethodKind::kUnary;
  Server::Handler handler;               // this one, or the next two
  Server::PromptHandler prompt_handler;  // may be none
  Server::UnaryHandler unary_handler;
  MethodOptions options;
  std::optional<MethodCounters> counters{};
};

// Made when the client opens the stream; destroyed by its connection once the stream is closed and the
// handler's frames are gone. Nothing of the handler runs inside HTTP/2 events: a call that must be
// cancelled is handed to the connection, which does it after the event.
class ServerExchange final : public http2::Stream {
 public:
  explicit ServerExchange(ServerConnection& connection);
  ~ServerExchange() override;

  // For ServerCall.
  std::string_view path() const { return asked_ != nullptr ? asked_->path : path_; }
  const Metadata& metadata() const { return metadata_; }
  ServerConnection& connection() const { return connection_; }
  Loop& loop() const;
  Scope& scope();
  std::optional<Duration> timeout() const { return timeout_; }
  Deadline deadline() const;
  Metadata& initial_metadata() { return initial_metadata_; }
  Metadata& trailing_metadata() { return trailing_metadata_; }
  void send_headers();
  void use_gzip() { compress_ = accepts_gzip_ && !headers_sent_; }
  Task<Result<std::optional<std::string>>> read();
  std::optional<std::string> take();
  Span* span() const { return span_.get(); }
  Task<Result<bool>> wait();
  Task<Result<void>> write(std::string message);

  // Destroys the handler's frames, wherever they wait. Not from inside them.
  void cancel() { scope_.reset(); }

 private:
  friend class ServerConnection;
  struct Alarm final : Timer {
    explicit Alarm(ServerExchange& exchange) : exchange(exchange) {}
    void fire() override { exchange.time_out(); }
    ServerExchange& exchange;
  };
  // The request of a unary handler is here; otherwise the headers are due.
  struct Turn final : Event {
    explicit Turn(ServerExchange& exchange) : exchange(exchange) {}
    void fire() override { exchange.take_turn(); }
    ServerExchange& exchange;
  };

  void on_field(std::string_view name, std::string_view value) override;
  void on_fields_end(http2::FieldsKind kind) override;
  void on_data(Bytes bytes) override;
  void on_end() override;
  void on_progress() override;
  void on_close(http2::H2Error code, bool processed) override;

  // Checks the request's fields and finds its method; the error is the answer.
  Result<void> accept();
  void start();
  Task<void> run();
  void take_turn();
  void answer();
  Task<void> run_unary(std::string request);
  void reply(Result<std::string> message);
  void queue(std::string message);
  void refuse_http(std::string_view status);
  // Ends the call with `result`, once.
  void finish(Result<void> result);
  void begin_span();
  // Counts the messages that were taken, when nothing else is to be done.
  void count_taken();
  // Once for each accepted call.
  void note_end(Code code, std::string_view failure = {});
  // finish() with an error and cancel the handler, from inside an HTTP/2 event.
  void fail(Error error);
  void time_out();

  ServerConnection& connection_;
  ServerCall call_;
  const Method* asked_ = nullptr;   // what the path names
  const Method* method_ = nullptr;  // the same, once the call is accepted
  std::string path_;                // one that names nothing
  Metadata metadata_, initial_metadata_, trailing_metadata_;
  std::optional<Duration> timeout_;
  TimePoint arrived_;
  Inbox inbox_;
  std::unique_ptr<Span> span_;  // while it runs, where spans are wanted
  std::optional<Scope> scope_;
  Signal readable_, writable_;
  Alarm alarm_;
  Turn turn_;
  std::uint32_t taken_ = 0;  // messages that are not counted yet
  bool is_post_ = false, is_grpc_ = false, bad_timeout_ = false, bad_encoding_ = false;
  bool accepts_gzip_ = false, compress_ = false;
  bool started_ = false;
  bool headers_sent_ = false;
  bool done_ = false;      // its status is on the way
  bool swept_ = false;     // in the connection's list of calls to cancel or destroy
  bool in_ended_ = false;  // the client has half-closed
};

}  // namespace d7y::grpc
