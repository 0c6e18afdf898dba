#include "local_peer.h"

namespace d7y::capi {
namespace {

// Feeds a transfer from a download until its end.
class Feed {
 public:
  Feed(world::World& world, std::unique_ptr<fetch::Download> download, std::shared_ptr<Transfer> transfer)
      : world_(world),
        download_(std::move(download)),
        transfer_(std::move(transfer)),
        room_(std::make_shared<Signal>()) {}

  Task<void> run(bool in_order) {
    transfer_->set_task(download_->task_id());
    transfer_->on_room([&world = world_, room = std::weak_ptr<Signal>(room_)] {
      world.post([room] {
        if (auto there = room.lock()) there->notify_all();
      });
    });
    Loop& loop = co_await this_loop();
    Scope beside(loop);
    beside.spawn(report());
    Result<void> copied;
    if (in_order) copied = co_await copy();
    auto ended = co_await download_->ended();
    transfer_->set_progress(download_->progress());
    if (ended && !copied) ended = std::move(copied);
    transfer_->end(ended);
  }

 private:
  Task<Result<void>> copy() {
    static constexpr std::size_t kChunk = 256 << 10;
    std::string chunk;
    for (;;) {
      chunk.resize(kChunk);
      auto got = co_await download_->read(as_mutable_bytes(chunk),
                                          Deadline::never());  // the download has a deadline
      if (!got) co_return std::move(got).error();
      if (*got == 0) co_return Result<void>{};
      chunk.resize(*got);
      bool room = transfer_->put(std::move(chunk));
      chunk = {};
      while (!room) {
        CO_OK(co_await room_->wait(Deadline::never()));  // as long as the reader likes; others go on
        room = transfer_->has_room();
      }
    }
  }

  Task<void> report() {
    // Pieces are long where the network is slow: what has come of them shows in between.
    static constexpr auto kShow = std::chrono::milliseconds(200);
    bool headers = false;
    for (;;) {
      transfer_->set_progress(download_->progress());
      if (!headers && download_->task()) {
        transfer_->set_headers(download_->task()->facts().response_headers);
        headers = true;
      }
      auto changed = co_await download_->changed().wait(Deadline::in(kShow, world_.now()));
      if (!changed && !changed.failed_with(ErrorCode::kTimeout)) co_return;
    }
  }

  world::World& world_;
  std::unique_ptr<fetch::Download> download_;
  std::shared_ptr<Transfer> transfer_;
  std::shared_ptr<Signal> room_;
};

// Keeps the feed alive as long as its task.
Task<void> run_feed(std::unique_ptr<Feed> feed, bool in_order) { co_await feed->run(in_order); }

}  // namespace

Result<std::unique_ptr<Scope>> LocalPeer::begin(Order order, std::shared_ptr<Transfer> transfer) {
  auto& world = node_->world();
  fetch::Wish wish;
  wish.message = std::move(order.message);
  wish.output_path = std::move(order.output_path);
  wish.overwrite = order.overwrite;
  wish.require_hard_link = order.require_hard_link;
  wish.in_order = order.in_order;
  wish.rate_limit = order.rate_limit;
  TRY(auto download, node_->engine().start(std::move(wish), Deadline::in(order.timeout, world.now())));
  auto scope = std::make_unique<Scope>(world.loop());
  auto feed = std::make_unique<Feed>(world, std::move(download), std::move(transfer));
  scope->spawn(run_feed(std::move(feed), order.in_order));
  return scope;
}

Task<Result<std::vector<source::Entry>>> LocalPeer::list(Order order, Deadline deadline) {
  source::Request request;
  request.url = order.message.url();
  for (const auto& [name, value] : order.message.request_header()) request.headers.add(name, value);
  co_return co_await node::list_below(node_->sources(), std::move(request), 1'000'000, deadline);
}

Task<Result<std::vector<store::TaskSummary>>> LocalPeer::tasks() { co_return node_->store().list(); }

Task<Result<store::TaskSummary>> LocalPeer::stat(std::string task_id) {
  auto found = node_->store().summary(task_id);
  if (!found) co_return error(ErrorCode::kNotFound, "no task {} is stored here", task_id);
  co_return std::move(*found);
}

Task<std::string> LocalPeer::url_of(std::string task_id) {
  auto found = co_await node_->store().find(std::move(task_id));
  co_return found ? (*found)->facts().url : std::string();
}

Task<Result<void>> LocalPeer::remove(std::string task_id) {
  CO_OK(co_await node_->calls().remove(std::move(task_id), true));
  co_return Result<void>{};
}

Result<std::string> LocalPeer::metrics() {
  node_->refresh_metrics();
  return metrics_.expose();
}

Task<Result<void>> LocalPeer::drain(Deadline deadline) { co_return co_await node_->drain(deadline); }

Task<void> LocalPeer::close() {
  co_await node_->close();
  node_.reset();
}

}  // namespace d7y::capi
