// One child's connection, as the serving side sees it. See vortex_server.h.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/scope.h"
#include "store/piece_view.h"
#include "store/store.h"
#include "swarm/vortex.h"
#include "swarm/vortex_server.h"
#include "swarm/write_turn.h"

namespace d7y::swarm {

class VortexConnection {
 public:
  VortexConnection(VortexServer& server, std::unique_ptr<world::Stream> stream);
  ~VortexConnection();
  VortexConnection(const VortexConnection&) = delete;
  VortexConnection& operator=(const VortexConnection&) = delete;

  // Serves until the child is done, or misbehaves, or the server drains.
  Task<void> run();
  // Ends as soon as running answers have ended.
  void drain();

 private:
  // A Fetch or a Subscription that runs on its own.
  struct Job {
    explicit Job(Loop& loop) : scope(loop) {}
    bool in_packet = false;  // must not be cancelled now: half a packet would be on the wire
    bool revoked = false;    // ends after the packet
    bool over = false;
    Scope scope;
  };
  // What a subscription has not looked at yet.
  struct Stirring {
    void stir() {
      stirred = true;
      wake.notify_all();
    }
    bool stirred = false;
    Signal wake;
    std::set<std::uint32_t> awaited;                     // pieces in flight whose first byte is waited for
    std::vector<std::uint32_t> begun;                    // those that have it now
    std::map<std::uint32_t, std::uint64_t> left_behind;  // bytes of pieces whose fetch was given up
  };
  using Jobs = std::map<std::uint32_t, std::unique_ptr<Job>>;

  Task<Result<void>> serve();
  Task<Result<void>> handle(vortex::Request request);
  Task<Result<void>> answer_whole(vortex::PieceRequest request);
  Task<Result<void>> send_whole(const vortex::PieceRequest& request, vortex::Refusal& refusal);
  Task<void> run_fetch(vortex::Fetch fetch, Job& job);
  Task<Result<void>> stream_piece(vortex::Fetch fetch, Job& job);
  Task<void> run_subscription(vortex::Subscribe subscribe, Job& job);
  Task<Result<void>> follow_task(vortex::Subscribe subscribe, Job& job);
  static Task<void> watch_task(store::TaskHandle task, Stirring& stirring);
  static Task<void> await_first_byte(store::PieceView view, Stirring& stirring);

  Task<Result<store::TaskHandle>> find_intact(std::string task_id);
  Task<Result<void>> write(std::string packet, bool more);
  Task<Result<void>> send_body(std::shared_ptr<world::File> file, std::uint64_t offset, std::uint64_t length,
                               UploadTurns::Turn* turn = nullptr, Handouts::Upload* handed = nullptr);
  Task<Result<void>> send_have(const vortex::Have& have, Job& job);
  Task<Result<void>> send_news(std::string packet, Job& job);
  Task<Result<void>> send_bitmap(std::uint32_t subscription, const store::Bitmap& pieces, Job& job);
  Task<Result<void>> send_end(vortex::PieceEnd end, Job& job);

  void job_over();
  static void sweep(Jobs& jobs);
  static void revoke(Jobs& jobs, std::uint32_t number);
  std::size_t busy() const { return fetching_; }
  bool idle() const { return fetching_ == 0 && subscribed_ == 0; }

  VortexServer& server_;
  world::World& world_;
  std::unique_ptr<world::Stream> stream_;
  vortex::RequestReader reader_;
  WriteTurns turns_;
  std::size_t chunk_ = vortex::kChunkSize;  // how long chunks are that are sent now
  std::uint64_t next_rank_ = 1;             // 0 is for what must not wait behind pieces
  bool broken_ = false;
  bool draining_ = false;
  std::size_t fetching_ = 0, subscribed_ = 0;
  TimePoint quiet_since_{};
  Signal job_ended_;
  Jobs fetches_, subscriptions_;
};

}  // namespace d7y::swarm
