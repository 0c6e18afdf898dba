// The same hop as floor.cc through what a node really runs: store, vortex server, parent pool. One
// loop on each side, however many connections.
#include <array>
#include <thread>
#include <vector>

#include "base/scope.h"
#include "hop.h"
#include "store/claim.h"
#include "store/store.h"
#include "swarm/parent_pool.h"
#include "swarm/vortex_server.h"
#include "world/uv_world.h"

namespace {

using namespace d7y;
using namespace d7y::bench;
using namespace std::chrono_literals;

constexpr std::uint64_t kPieceLength = 4 << 20;
constexpr std::uint32_t kWindow = 4;  // pieces asked for at once, per connection
const std::string kTask(64, '7');

template <class T>
T need(Result<T> result) {
  if (!result) {
    fmt::print(stderr, "{}\n", result.error().message());
    std::_Exit(1);
  }
  return std::move(result).value();
}
void need(Result<void> result) {
  if (!result) {
    fmt::print(stderr, "{}\n", result.error().message());
    std::_Exit(1);
  }
}

store::TaskFacts facts(std::uint64_t size) {
  store::TaskFacts facts;
  facts.id = kTask;
  facts.url = "http://bench.invalid/file";
  facts.piece_length = kPieceLength;
  facts.content_length = size;
  return facts;
}

Task<Result<store::TaskHandle>> fill(world::World& world, store::Store& store, const HopOptions& options) {
  store::TaskFacts about = facts(options.size);
  CO_TRY(auto task, co_await store.create(std::move(about)));
  if (task->has_everything()) co_return task;
  CO_TRY(auto source, world.files().open(options.source, world::OpenMode::kRead));
  CO_OK(task->reserve(0, options.size));
  for (std::uint32_t number = 0; number < *task->piece_count(); ++number) {
    CO_TRY(auto claimed, task->claim(number));
    while (claimed.claim->remaining() > 0) {
      auto at = claimed.claim->offset() + claimed.claim->position();
      CO_TRY(auto got, source->read_at(at, claimed.claim->buffer()));
      CO_OK(claimed.claim->commit(got));
    }
    CO_OK(claimed.claim->complete({}));
  }
  CO_OK(co_await task->finish());
  co_return task;
}

Task<Result<std::unique_ptr<store::Store>>> open_store(world::World& world, std::string folder,
                                                       store::SyncPolicy sync) {
  store::StoreOptions options;
  options.folder = std::move(folder);
  options.sync = sync;
  co_return co_await store::Store::open(world, std::move(options), Log());
}

struct Ready {
  std::uint16_t port = 0;
  double cpu = 0;  // spent before serving
};

[[noreturn]] void serve(const HopOptions& options, int ready, int until) {
  auto world = need(world::make_uv_world());
  auto store =
      need(*world->wait_for(open_store(*world, options.source + ".store", store::SyncPolicy::kClose)));
  {
    auto task = need(*world->wait_for(fill(*world, *store, options)));
    swarm::VortexServer server(*world, *store, {}, Log());
    rusage usage{};
    ::getrusage(RUSAGE_SELF, &usage);
    Ready message{need(server.listen(Address::ipv4({127, 0, 0, 1}, 0))).port(), cpu_seconds(usage)};
    if (::write(ready, &message, sizeof message) != sizeof message) std::_Exit(1);
    std::thread waiter([&] {
      char byte;
      if (::read(until, &byte, 1) >= 0) world->stop();
    });
    world->run();
    waiter.join();
  }
  need(*world->wait_for(store->close()));
  std::_Exit(0);
}

Task<void> fetch_some(swarm::ParentPool& pool, store::TaskHandle task, std::uint32_t& next, Address parent) {
  while (next < *task->piece_count()) {
    auto claimed = need(task->claim(next++));
    swarm::FetchOptions how;
    how.peer_id = "bench-parent";
    swarm::DataAddress from{parent, swarm::vortex::kOurAbilities};
    auto piece = co_await pool.fetch(from, std::move(*claimed.claim), how);
    need(std::move(piece));
  }
}

Task<Result<void>> fetch_all(world::World& world, store::Store& store, const HopOptions& options,
                             Address parent) {
  Loop& loop = co_await this_loop();
  store::TaskFacts about = facts(options.size);
  CO_TRY(auto task, co_await store.create(std::move(about)));
  CO_OK(task->reserve(0, options.size));
  swarm::ParentPoolOptions pool_options;
  pool_options.connections_per_parent = options.connections;
  swarm::ParentPool pool(world, pool_options, Log());
  std::uint32_t next = 0;
  Scope scope(loop);
  for (unsigned i = 0; i < kWindow * options.connections; ++i)
    scope.spawn(fetch_some(pool, task, next, parent));
  CO_OK(co_await scope.idle(Deadline::never()));
  CO_OK(co_await task->finish());
  co_return world.files().hard_link(task->file()->path(), options.target);
}

}  // namespace

int main(int count, char** arguments) {
  auto options = parse(count, arguments);
  std::array<int, 2> ready{}, until{};
  if (::pipe(ready.data()) != 0 || ::pipe(until.data()) != 0) return 1;
  pid_t sender = ::fork();
  if (sender == 0) {
    ::close(until[1]);
    serve(options, ready[1], until[0]);
  }
  Ready message;
  if (::read(ready[0], &message, sizeof message) != sizeof message) return 1;
  ::unlink(options.target.c_str());
  rusage before{};
  ::getrusage(RUSAGE_SELF, &before);
  auto began = Clock::now();
  {
    auto world = need(world::make_uv_world());
    auto store =
        need(*world->wait_for(open_store(*world, options.target + ".store", store::SyncPolicy::kNever)));
    need(*world->wait_for(fetch_all(*world, *store, options, Address::ipv4({127, 0, 0, 1}, message.port))));
    need(*world->wait_for(store->close()));
  }
  auto seconds = Clock::now() - began;
  ::close(until[1]);
  return report(options, Clock::now() - seconds, before, sender, message.cpu);
}
