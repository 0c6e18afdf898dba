// What tests of the swarm share: peers in a simulation, and Dragonfly's own peers as they behave on the wire.
#pragma once

#include <doctest/doctest.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "../store/fixture.h"
#include "base/scope.h"
#include "sim/simulation.h"
#include "swarm/parent_pool.h"
#include "swarm/vortex.h"
#include "swarm/vortex_server.h"

namespace d7y::swarm {

using namespace d7y::literals;
using namespace std::chrono_literals;
using store::an_id;
using store::facts_of;
using store::made_up;
using store::must;

// A d7y peer: store, piece server, ways to parents.
struct TestPeer {
  explicit TestPeer(world::World& w) : world(w) {}
  world::World& world;
  std::unique_ptr<store::Store> store;
  std::unique_ptr<VortexServer> server;
  std::unique_ptr<ParentPool> pool;
  Address data = Address::ipv4({}, 0);
};

inline Task<std::unique_ptr<TestPeer>> make_peer(world::World& world, Address at,
                                                 VortexServerOptions serving = VortexServerOptions(),
                                                 ParentPoolOptions asking = ParentPoolOptions(),
                                                 std::string folder = "/store") {
  auto peer = std::make_unique<TestPeer>(world);
  auto opening = store::open_store(world, std::move(folder));
  peer->store = co_await opening;
  peer->server = std::make_unique<VortexServer>(world, *peer->store, std::move(serving), Log());
  peer->data = must(peer->server->listen(at));
  peer->pool = std::make_unique<ParentPool>(world, std::move(asking), Log());
  co_return peer;
}

// A task on `peer` with all pieces of `content`, or only those of `pieces`.
inline Task<store::TaskHandle> stock(TestPeer& peer, std::string id, std::string content,
                                     std::uint64_t piece_length,
                                     std::vector<std::uint32_t> pieces = std::vector<std::uint32_t>()) {
  auto making = store::make_task(*peer.store, facts_of(std::move(id), content.size(), piece_length));
  auto task = co_await making;
  if (pieces.empty()) must(store::put_all(*task, content));
  for (auto number : pieces) must(store::put_piece(*task, number, content));
  co_return task;
}

inline FetchOptions patient(world::World& world, std::string peer_id = "parent-1") {
  FetchOptions options;
  options.deadline = Deadline::in(120s, world.now());
  options.peer_id = std::move(peer_id);
  return options;
}

inline Task<Result<store::PieceInfo>> fetch_piece(TestPeer& child, DataAddress parent, store::TaskHandle task,
                                                  std::uint32_t number, bool apart = false) {
  auto claim = store::claim_of(*task, number);
  auto how = patient(child.world);
  how.apart = apart;
  auto fetching = child.pool->fetch(parent, std::move(claim), std::move(how));
  co_return co_await fetching;
}

inline Task<void> fetch_into(TestPeer& child, DataAddress parent, store::TaskHandle task,
                             std::uint32_t number, std::vector<Result<store::PieceInfo>>& out,
                             bool apart = false) {
  auto fetching = fetch_piece(child, parent, task, number, apart);
  auto fetched = co_await fetching;
  out.push_back(std::move(fetched));
}

// Ends by itself what a test started beside itself.
struct Background {
  explicit Background(Loop& loop) : scope(loop) {}
  Scope scope;
};

// ---- Dragonfly's peers

// A Rust child's request, byte for byte: header with a random id, 68 bytes of value.
inline std::string rust_request(const std::string& task_id, std::uint32_t number, std::uint8_t tag = 0) {
  std::string out{'\x7b', static_cast<char>(tag), 0, 0, 0, 68};
  out += task_id;
  for (int shift = 24; shift >= 0; shift -= 8) out.push_back(static_cast<char>(number >> shift));
  return out;
}

struct RustAnswer {
  std::uint8_t tag = 0;
  std::string value;  // as counted by the header
  std::string body;
  bool closed_early = false;
};

inline std::uint64_t big_endian(std::string_view bytes) {
  std::uint64_t value = 0;
  for (char c : bytes) value = value << 8 | static_cast<std::uint8_t>(c);
  return value;
}

// One piece as the Rust client fetches it: header and metadata, then the write half is dropped, then as many
// raw bytes as it has computed for itself, then the connection.
inline Task<Result<RustAnswer>> rust_fetch(world::World& world, Address parent, std::string request,
                                           std::uint64_t length, Deadline deadline) {
  auto connecting = world.network().connect(parent, world::ConnectOptions{}, deadline);
  CO_TRY(auto stream, co_await connecting);
  auto writing = world::write_all(*stream, as_bytes(request), deadline);
  CO_OK(co_await writing);
  RustAnswer answer;
  std::string header(6, '\0');
  auto reading = world::read_exactly(*stream, as_mutable_bytes(header), deadline);
  CO_OK(co_await reading);
  answer.tag = static_cast<std::uint8_t>(header[1]);
  answer.value.resize(big_endian(std::string_view(header).substr(2)));
  auto reading_value = world::read_exactly(*stream, as_mutable_bytes(answer.value), deadline);
  CO_OK(co_await reading_value);
  stream->finish_writing();
  if (answer.tag == 255) co_return answer;
  answer.body.resize(length);
  auto reading_body = world::read_exactly(*stream, as_mutable_bytes(answer.body), deadline);
  CO_OK(co_await reading_body);
  co_return answer;
}

// A Rust parent: one request per connection, then it closes. Bytes that came behind the request stay unread,
// so that closing resets the connection.
class RustParent {
 public:
  RustParent(world::World& world, Address at, std::string task_id, std::string content,
             std::uint64_t piece_length)
      : world_(world),
        task_id_(std::move(task_id)),
        content_(std::move(content)),
        piece_length_(piece_length),
        scope_(world.loop()) {
    listener_ = must(world.network().listen(at, {}));
    scope_.spawn(accept_forever());
  }

  Address address() const { return listener_->local(); }
  int connections = 0, served = 0;
  int surplus = 0;  // connections on which more than one request came: closing them is a reset
  // Faults.
  bool flip_a_bit = false, no_digest = false, wrong_length = false, wrong_offset = false, hang_up = false;
  std::optional<std::size_t> stall_after;  // bytes of the body
  std::optional<std::size_t> break_after;
  std::vector<std::uint32_t> missing;

 private:
  Task<void> accept_forever() {
    for (;;) {
      auto stream = co_await listener_->accept(Deadline::never());
      if (!stream) co_return;
      ++connections;
      scope_.spawn(serve(std::move(*stream)));
    }
  }
  Task<void> serve(std::unique_ptr<world::Stream> stream) {
    auto deadline = Deadline::in(600s, world_.now());
    std::string request(74, '\0');
    auto reading = world::read_exactly(*stream, as_mutable_bytes(request), deadline);
    auto got = co_await reading;
    if (!got || hang_up) co_return;
    // Anything but a request for a piece of this very form is hung up on.
    if (request[1] != 0 || big_endian(request.substr(2, 4)) != 68) co_return;
    auto number = static_cast<std::uint32_t>(big_endian(request.substr(70, 4)));
    std::string answer;
    auto offset = number * piece_length_;
    bool absent = request.substr(6, 64) != task_id_ || offset >= content_.size() ||
                  std::find(missing.begin(), missing.end(), number) != missing.end();
    if (absent) {
      answer = vortex::encode(vortex::Refusal{vortex::Code::kNotFound, "piece not found"}, 0x11);
      auto writing = world::write_all(*stream, as_bytes(answer), deadline);
      (void)co_await writing;
      co_return;
    }
    auto body = content_.substr(offset, piece_length_);
    vortex::PieceContent content;
    content.number = number;
    content.offset = wrong_offset ? offset + 1 : offset;
    content.length = wrong_length ? body.size() + 1 : body.size();
    content.digest = no_digest ? "" : fmt::format("crc32:{}", crc32(as_bytes(body)));
    content.created = 1'700'000'000;
    if (flip_a_bit) body[body.size() / 2] = static_cast<char>(body[body.size() / 2] ^ 1);
    answer = vortex::encode(content, 0x11);
    auto writing = world::write_all(*stream, as_bytes(answer), deadline);
    if (auto wrote = co_await writing; !wrote) co_return;
    if (stall_after || break_after) {
      body.resize(std::min(body.size(), stall_after ? *stall_after : *break_after));
    }
    auto sending = world::write_all(*stream, as_bytes(body), deadline);
    if (auto wrote = co_await sending; !wrote) co_return;
    if (stall_after) co_await sleep_for(3600s);
    std::byte more[1];
    if (stream->try_read(more).bytes > 0) ++surplus;
    ++served;
  }

  world::World& world_;
  std::string task_id_, content_;
  std::uint64_t piece_length_;
  std::unique_ptr<world::Listener> listener_;
  Scope scope_;
};

// Runs a test in a simulation; it must end by itself, on several seeds.
inline void simulate(Task<void> (*test)(sim::Simulation&), int seeds = 3) {
  for (int seed = 1; seed <= seeds; ++seed) {
    CAPTURE(seed);
    sim::Simulation simulation(static_cast<std::uint64_t>(seed));
    CHECK_MESSAGE(simulation.run(test(simulation), 7200s), "the test did not come to its end");
  }
}

}  // namespace d7y::swarm

// SWARM_TEST(name) { ... `sim` ... co_return; }
#define SWARM_TEST_(function, name)                           \
  static d7y::Task<void> function(d7y::sim::Simulation& sim); \
  TEST_CASE(name) { d7y::swarm::simulate(function); }         \
  static d7y::Task<void> function([[maybe_unused]] d7y::sim::Simulation& sim)
#define SWARM_TEST(name) SWARM_TEST_(D7Y_CONCAT(swarm_test_, __LINE__), name)
