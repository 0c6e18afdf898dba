// One download that a daemon runs for us: its messages turned into progress, bytes and an end.
#pragma once

#include "api/dfdaemon.h"
#include "net/grpc/channel.h"
#include "peer.h"
#include "store/bitmap.h"
#include "world/world.h"

namespace d7y::capi {

class RemoteDownload {
 public:
  RemoteDownload(world::World& world, grpc::Channel& channel, Order order,
                 std::shared_ptr<Transfer> transfer);
  // Removes what is half written.
  ~RemoteDownload();

  Task<void> run();

 private:
  Task<Result<void>> work();
  Result<void> take_started(const api::dfdaemon::DownloadTaskStartedResponse& started);
  Task<Result<void>> take_piece(api::common::Piece piece);
  void count(const api::common::Piece& piece);
  Result<void> check_place(const api::common::Piece& piece) const;
  Task<Result<void>> pass_on(std::uint32_t number, std::string content);
  Task<Result<void>> take_bytes(api::common::Piece bytes);
  Task<Result<void>> put(std::string content);
  Result<void> keep_for_later(const api::common::Piece& piece);
  Result<void> check_output() const;
  Result<void> open_output();
  Result<void> verify_output();
  Result<void> name_output();
  bool wants_bytes() const { return order_.in_order || order_.write_here; }
  bool wants_stream() const { return order_.in_order && !order_.write_here; }

  struct Place {
    std::uint64_t offset = 0, length = 0;
  };

  world::World& world_;
  grpc::Channel& channel_;
  Order order_;
  std::shared_ptr<Transfer> transfer_;
  std::shared_ptr<Signal> room_;
  bool started_ = false;
  std::uint64_t range_start_ = 0;
  std::map<std::uint32_t, Place> places_;  // as "started" told them
  store::Bitmap seen_, kept_;
  std::uint32_t next_ = 0;  // whose bytes go to the transfer next
  std::uint64_t put_ = 0;   // bytes that went there
  fetch::Progress progress_;
  TimePoint began_;
  std::unique_ptr<world::File> spool_;   // pieces that came before their turn; has no name
  std::unique_ptr<world::File> output_;  // with write_here
  std::string temporary_;                // its name until it is complete
};

}  // namespace d7y::capi
