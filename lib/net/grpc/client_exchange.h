// The client's side of one call: an HTTP/2 stream once there is a connection, its messages and its status.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "base/notify.h"
#include "net/grpc/client_call.h"
#include "net/grpc/inbox.h"
#include "net/grpc/wire.h"
#include "net/http2/session.h"

namespace d7y::grpc {

class ChannelCore;
class ClientConnection;

// Owned by the call object and the tasks that wait in it; its channel knows it for as long as it has
// not ended.
class ClientExchange final : public http2::Stream {
 public:
  // `only_message`: the whole request, if it is one message; it can then be sent again.
  ClientExchange(ChannelCore& core, std::string path, CallOptions options,
                 std::shared_ptr<const std::string> only_message);
  ~ClientExchange() override;

  static Task<Result<std::optional<std::string>>> read(std::shared_ptr<ClientExchange> self);
  static Task<Result<void>> write(std::shared_ptr<ClientExchange> self, std::string message);
  static Task<Result<void>> wait_headers(std::shared_ptr<ClientExchange> self);
  static Task<Result<void>> wait_end(std::shared_ptr<ClientExchange> self);
  void finish_writing();
  void cancel();
  const Metadata& headers() const { return headers_; }
  const Metadata& trailers() const { return trailers_; }

  // For the channel.
  const CallOptions& options() const { return options_; }
  const std::string& path() const { return path_; }
  bool ended() const { return ended_; }
  bool waiting() const { return waiting_; }
  void set_waiting(bool waiting) { waiting_ = waiting; }
  // Sends the request on `connection`.
  void begin(ClientConnection& connection);
  // Ends the call with `error`; the code is what other gRPC clients would show.
  void fail(Error error, Code code);

 private:
  friend class ChannelCore;
  struct Alarm final : Timer {
    Alarm(ClientExchange& exchange, const char* what) : exchange(exchange), what(what) {}
    void fire() override;
    ClientExchange& exchange;
    const char* what;
  };

  void on_field(std::string_view name, std::string_view value) override;
  void on_fields_end(http2::FieldsKind kind) override;
  void on_data(Bytes bytes) override;
  void on_end() override;
  void on_progress() override;
  void on_close(http2::H2Error code, bool processed) override;

  void queue(std::shared_ptr<const std::string> message);
  void settle(std::optional<Error> error);
  bool may_send_again(bool processed) const;
  Error local_error(ErrorCode code, Code grpc_code, std::string_view why) const;

  ChannelCore* core_;
  ClientConnection* connection_ = nullptr;
  ClientExchange* before_ = nullptr;  // in the channel's list
  ClientExchange* after_ = nullptr;
  std::string path_;
  CallOptions options_;
  std::shared_ptr<const std::string> only_message_;
  Inbox inbox_;
  Metadata headers_, trailers_;
  Signal changed_, writable_;
  Alarm deadline_, headers_deadline_;
  std::optional<Error> error_;
  // From the response.
  std::optional<int> grpc_status_;
  std::string grpc_message_, details_;
  int http_status_ = 0;
  bool is_grpc_ = false, gzip_ = false, other_encoding_ = false;
  bool headers_seen_ = false;
  bool ended_ = false;
  bool waiting_ = false;  // for a connection
  bool writing_finished_ = false;
  int tries_ = 0;
};

}  // namespace d7y::grpc
