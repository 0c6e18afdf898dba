// What is behind the opaque handles.
#pragma once

#include <d7y/d7y.h>

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/metrics.h"
#include "log_sink.h"
#include "loop_thread.h"
#include "peer.h"

namespace d7y::capi {

// A node and the thread it lives on. Downloads know it weakly, so that either may be freed first.
struct NodeCore {
  explicit NodeCore(LogWish log) : sink(log) {}
  ~NodeCore() {
    if (thread) thread->call([this] { sink.close(); });
  }

  HostSink sink;
  Metrics metrics;
  // Runs `work` on the loop unless the node is gone. From any thread, also while another frees the node.
  void post(std::function<void()> work) {
    std::lock_guard guard(posting);
    if (thread) thread->world().post(std::move(work));
  }
  // Gives the download with this number up, in a while.
  static void give_up(const std::weak_ptr<NodeCore>& core, std::uint64_t id) {
    auto there = core.lock();
    if (!there) return;
    there->post([core, id] {
      if (auto node = core.lock()) node->running.erase(id);
    });
  }
  // Nothing is posted from then on.
  std::unique_ptr<LoopThread> take_thread() {
    std::lock_guard guard(posting);
    return std::move(thread);
  }

  std::mutex posting;
  std::unique_ptr<LoopThread> thread;
  std::unique_ptr<Peer> peer;  // used on the loop only
  struct Running {
    std::shared_ptr<Transfer> transfer;
    std::unique_ptr<Scope> scope;
  };
  std::map<std::uint64_t, Running> running;  // on the loop only
  std::uint64_t next_id = 0;                 // on the loop only
  bool closed = false;                       // on the loop only
};

// Builds the wire message of a download. kInvalid names the option.
Result<Order> make_order(const char* url, const d7y_download_options* options);

}  // namespace d7y::capi

struct d7y_node {
  std::shared_ptr<d7y::capi::NodeCore> core;
  std::vector<std::string> warnings;
  std::uint16_t ports[5] = {};
  std::string private_folder;  // removed when the node is freed
};

struct d7y_download {
  std::shared_ptr<d7y::capi::Transfer> transfer;
  std::weak_ptr<d7y::capi::NodeCore> core;
  std::uint64_t id = 0;
  std::thread delivery;
  bool readable = false;
};
