// The hand around a Session: moves bytes between it and a world::Stream.
//
// All frames that become ready during one loop turn, of however many streams, leave in one vectored
// write at the turn's end. Nothing is pulled from the session while the socket is full, so that slow
// readers push back through the streams' queues.
#pragma once

#include <memory>
#include <optional>

#include "base/notify.h"
#include "base/scope.h"
#include "base/task.h"
#include "net/http2/session.h"
#include "world/network.h"

namespace d7y::http2 {

// Read space that connections of one loop may share, because nothing stays in it between two calls.
struct ReadBuffer {
  static constexpr std::size_t kSize = 256u << 10;
  MutableBytes bytes() {
    if (!space) space = std::make_unique_for_overwrite<std::byte[]>(kSize);
    return {space.get(), kSize};
  }
  std::unique_ptr<std::byte[]> space;
};

struct ConnectionOptions {
  SessionOptions session;
  // PING after so long without a byte from the other side while streams are open; the connection is
  // broken if then nothing comes for `keepalive_timeout`. 0: never.
  Duration keepalive{0};
  Duration keepalive_timeout = std::chrono::seconds(20);
  // Broken if the socket takes nothing for so long. 0: never.
  Duration stall_timeout = std::chrono::minutes(2);
};

class Connection {
 public:
  class Owner {
   public:
    virtual Stream* on_new_stream() { return nullptr; }
    virtual void on_goaway(std::int32_t last_stream, H2Error code, std::string_view debug) = 0;
    virtual void on_settings() {}
    virtual void on_ping() {}
    virtual void on_ping_ack() {}
    virtual void on_remote_reset() {}
    // After each batch of received or sent frames; a good moment to destroy what closed in it.
    virtual void on_turn() {}

   protected:
    ~Owner() = default;
  };

  // `owner` and `buffer` must outlive it.
  Connection(Loop& loop, std::unique_ptr<world::Stream> stream, const ConnectionOptions& options,
             Owner& owner, ReadBuffer& buffer);
  // Closes the socket; streams end with kCancel.
  ~Connection();

  // Works until the connection has ended, and says why: kClosed for an orderly end.
  Task<Error> run();
  // Ends it now: run() returns `why`.
  void end(Error why);

  Session& session() { return session_; }
  world::Stream& stream() { return *stream_; }
  bool ended() const { return why_.has_value(); }
  TimePoint last_read() const { return last_read_; }

 private:
  struct Flush final : Event {
    explicit Flush(Connection& connection) : connection(connection) {}
    void fire() override { connection.flush(); }
    Connection& connection;
  };
  struct Alarm final : Timer {
    explicit Alarm(Connection& connection) : connection(connection) {}
    void fire() override { connection.check_alive(); }
    Connection& connection;
  };
  class Ears final : public Events {
   public:
    explicit Ears(Connection& connection) : connection_(connection) {}
    Stream* on_new_stream() override;
    void on_goaway(std::int32_t last_stream, H2Error code, std::string_view debug) override;
    void on_settings() override;
    void on_ping() override;
    void on_ping_ack() override;
    void on_remote_reset() override;
    void on_output() override;

   private:
    Connection& connection_;
  };

  Task<void> read();
  Task<void> write();
  // Writes what there is; false if the socket is full or the connection ended.
  bool flush();
  void check_alive();
  void arm_keepalive();

  Loop& loop_;
  std::unique_ptr<world::Stream> stream_;
  ConnectionOptions options_;
  Owner& owner_;
  ReadBuffer& buffer_;
  Ears ears_;
  Flush flush_;
  Alarm alarm_;
  Output output_;
  bool blocked_ = false;  // the socket is full; write() waits for it
  Signal blocked_signal_;
  std::optional<Error> why_;
  Signal ended_signal_;
  TimePoint last_read_;
  TimePoint pinged_at_{};
  bool pinged_ = false;
  Session session_;  // last: its end still speaks to the members above
};

}  // namespace d7y::http2
