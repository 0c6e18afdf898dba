// Strangers who do what no daemon does: each gets the right status, costs bounded memory, and harms no other.
#include "cluster.h"
#include "net/grpc/status.h"
#include "scheduler/call_limits.h"

using namespace d7y;
using namespace d7y::scheduler;

namespace {

const std::string kTask = task_id_for('z');

// A well-behaved download beside the abuse: it has to be answered as ever.
Task<void> others_are_served(TestCluster& cluster, std::string name) {
  auto making = cluster.daemon(std::move(name));
  auto daemon = co_await making;
  auto opening = daemon->open(task_id_for('o'));
  MUST(auto stream, std::move(opening));
  const auto before = cluster.machine().now();
  MUST(auto answer, stream->read(5s));
  CHECK(answer.has_value());
  CHECK(cluster.machine().now() - before < 1s);
}

grpc::Code code_of(const Result<std::optional<Answer>>& result) {
  return result ? grpc::Code::kOk : grpc::code_of(result.error());
}

}  // namespace

TEST_CASE("one client gets a quarter of what there is, one kind of call leaves the others theirs") {
  const TimePoint start{1h};
  CallLimits limits(400, start);
  const auto admitted = [&](std::string_view path, const char* ip, int tries, TimePoint now) {
    int count = 0;
    for (int i = 0; i < tries; ++i) count += limits.admit(path, *Address::parse_ip(ip, 1), now).ok();
    return count;
  };
  // Streams are not refused but have their turns later.
  struct Streams {
    int at_once = 0, later = 0, refused = 0;
    Duration last{0};
  };
  const auto streams = [&](std::string_view path, const char* ip, int tries, TimePoint now) {
    Streams seen;
    for (int i = 0; i < tries; ++i) {
      CHECK(limits.admit(path, *Address::parse_ip(ip, 1), now).ok());
      auto turn = limits.turn_of(path, *Address::parse_ip(ip, 1), now);
      if (turn && *turn == now) turn = limits.turn_of_all(path, now);
      if (!turn) {
        CHECK(turn.failed_with(ErrorCode::kExhausted));
        ++seen.refused;
      } else {
        ++(*turn == now ? seen.at_once : seen.later);
        seen.last = *turn - now;
      }
    }
    return seen;
  };
  namespace method = api::method::scheduler;
  const auto first = streams(method::kAnnouncePeer, "10.0.0.1", 3000, start);
  CHECK(first.at_once == 100);
  CHECK(first.later == 2000);  // 100 a second for 20 s
  CHECK(first.last == 20s);
  CHECK(first.refused == 900);
  CHECK(streams(method::kAnnouncePeer, "10.0.0.2", 50, start).at_once == 50);
  CHECK(admitted(method::kStatTask, "10.0.0.1", 1000, start) == 100);
  CHECK(streams(api::method::origins::kStatOrigin, "10.0.0.1", 1000, start).at_once == 100);
  CHECK(admitted(method::kAnnounceHost, "10.0.0.1", 5000, start) == 1000);
  // What is left of 400.
  CHECK(streams(method::kAnnouncePersistentPeer, "127.0.0.1", 260, start).at_once == 250);
  const auto third = streams(method::kAnnouncePeer, "10.0.0.3", 10, start);
  CHECK(third.at_once == 0);
  CHECK(third.last == 50ms);  // behind 10 others
  CHECK(streams(method::kAnnouncePeer, "10.0.0.3", 10, start + 1s).at_once == 10);
  const auto refused = limits.admit(method::kStatTask, *Address::parse_ip("10.0.0.1", 1), start);
  CHECK(refused.failed_with(ErrorCode::kExhausted));
  // However many clients there are, what is remembered of them is bounded.
  for (int i = 0; i < 100'000; ++i) {
    const auto ip = fmt::format("10.{}.{}.{}", i >> 16 & 255, i >> 8 & 255, i & 255);
    (void)limits.admit(method::kStatTask, *Address::parse_ip(ip, 1), start + 2s);
  }
  CHECK(limits.clients() <= 20'000);
}

TEST_CASE("an address may have so many streams open, and again as many when they end") {
  StreamLimit limit(3);
  const auto from = *Address::parse_ip("10.0.0.1", 1);
  std::vector<StreamLimit::Place> places;
  for (int i = 0; i < 3; ++i) {
    auto place = limit.open(from);
    REQUIRE(place.ok());
    places.push_back(std::move(*place));
  }
  CHECK(limit.open(from).failed_with(ErrorCode::kExhausted));
  CHECK(limit.open(*Address::parse_ip("10.0.0.2", 1)).ok());
  CHECK(limit.open(*Address::parse_ip("127.0.0.1", 1)).ok());
  places.pop_back();
  CHECK(limit.open(from).ok());
}

SCHEDULER_TEST("a client that opens streams without end") {
  SchedulerConfig config;
  config.request_rate_limit = 100;
  TestCluster cluster(sim, config);
  auto making = cluster.daemon("greedy");
  auto greedy = co_await making;
  std::vector<std::unique_ptr<DownloadStream>> streams;
  int refused = 0;
  for (int i = 0; i < 1500; ++i) {
    auto opening = greedy->open(kTask);
    MUST(auto stream, std::move(opening));
    streams.push_back(std::move(stream));
  }
  co_await sleep_for(100ms);
  auto serving = others_are_served(cluster, "other");
  co_await serving;
  for (auto& stream : streams) {
    auto reading = stream->read(1ms);
    auto answer = co_await reading;
    if (!answer && !answer.failed_with(ErrorCode::kTimeout)) {
      CHECK(code_of(answer) == grpc::Code::kResourceExhausted);
      ++refused;
    }
  }
  CHECK(refused >= 900);  // a quarter of 100 a second, for 20 s
  CHECK(cluster.brain().peers().size() < 200);
  streams.clear();
  co_await sleep_for(1s);
  CHECK(cluster.brain().waiting() == 0);
  co_await sleep_for(5min);
  CHECK(cluster.brain().peers().size() < 5);
  CHECK(cluster.brain().check(cluster.machine().now()) == "");
}

SCHEDULER_TEST(
    "a crowd beyond the limit waits for its turn instead of being sent to the origin by refusals") {
  SchedulerConfig config;
  config.request_rate_limit = 20;
  TestCluster cluster(sim, config);
  std::vector<std::unique_ptr<Daemon>> daemons;
  std::vector<std::unique_ptr<DownloadStream>> streams;
  for (int i = 0; i < 100; ++i) {
    auto making = cluster.daemon("peer" + std::to_string(i));
    daemons.push_back(co_await making);
  }
  auto making = cluster.daemon("first");
  auto first = co_await making;
  MUST(auto reader, first->open(kTask));
  MUST(auto told, reader->read(1s));
  REQUIRE(told);
  CHECK(told->has_need_back_to_source_response());
  DONE(reader->source_started());
  co_await sleep_for(1s);

  const auto before = sim.now();
  for (auto& daemon : daemons) {
    auto opening = daemon->open(kTask);
    MUST(auto stream, std::move(opening));
    streams.push_back(std::move(stream));
  }
  for (auto& stream : streams) {
    MUST(auto answer, stream->read(10s));
    REQUIRE(answer);
    CHECK(answer->has_normal_task_response());
  }
  CHECK(sim.now() - before < 5s);  // 80 of them at 20 a second
  CHECK(sim.now() - before > 3s);
}

SCHEDULER_TEST("a client that never reads") {
  TestCluster cluster(sim);
  auto making_seed = cluster.daemon("source");
  auto source = co_await making_seed;
  MUST(auto first, source->open(kTask));
  MUST(auto told, first->read());
  CHECK(told->has_need_back_to_source_response());
  DONE(first->source_started());
  auto making = cluster.daemon("deaf");
  auto deaf = co_await making;
  std::vector<std::unique_ptr<DownloadStream>> streams;
  for (int i = 0; i < 200; ++i) {
    MUST(auto stream, deaf->open(kTask));
    // Everything it could ever ask for, without listening once.
    for (int again = 0; again < 20; ++again) {
      auto request = stream->envelope();
      request.mutable_reschedule_peer_request();
      auto writing = stream->write(request);
      auto written = co_await writing;
      if (!written) break;
    }
    streams.push_back(std::move(stream));
  }
  co_await sleep_for(5s);
  auto serving = others_are_served(cluster, "other");
  co_await serving;
  // However often it asked, no more waits for it than one that listens gets.
  for (auto& stream : streams) {
    int answers = 0;
    for (;;) {
      auto reading = stream->read(100ms);
      auto answer = co_await reading;
      if (!answer || !*answer) break;
      ++answers;
    }
    CHECK(answers <= 7);
  }
  CHECK(cluster.brain().check(cluster.machine().now()) == "");
}

SCHEDULER_TEST("ids that belong to others, pieces that cannot be, and messages out of order") {
  TestCluster cluster(sim);
  auto making_a = cluster.daemon("a");
  auto a = co_await making_a;
  auto making_b = cluster.daemon("b");
  auto b = co_await making_b;
  MUST(auto owner, a->open(kTask));
  MUST(auto told, owner->read());
  CHECK(told->has_need_back_to_source_response());
  DONE(owner->source_started());
  const auto forged = [&](const std::string& peer_id) {
    auto call = b->channel().bidi<Announce, Answer>(api::method::scheduler::kAnnouncePeer);
    return std::make_unique<DownloadStream>(b->machine(), std::move(call), b->host_id(), kTask, peer_id);
  };
  const auto take_over = [&](std::unique_ptr<DownloadStream>& stream) {
    auto request = stream->envelope();
    *request.mutable_register_peer_request()->mutable_download() = b->download();
    return stream->write(request);
  };
  {
    auto thief = forged(owner->peer_id());
    DONE(take_over(thief));
    auto reading = thief->read();
    CHECK(code_of(co_await reading) == grpc::Code::kAlreadyExists);
  }
  // Impossible pieces: no such number, longer than a piece, from a parent it does not have, over and over.
  for (std::uint32_t number : {25U, 1'000'000U, ~0U}) DONE(owner->piece(number, ""));
  for (int i = 0; i < 100; ++i) DONE(owner->piece(3, ""));
  for (int i = 0; i < 10; ++i) DONE(owner->piece(4, "nobody"));
  {
    auto huge = owner->envelope();
    auto& piece = *huge.mutable_download_piece_back_to_source_finished_request()->mutable_piece();
    piece.set_number(5);
    piece.set_length(~std::uint64_t{0});
    piece.mutable_cost()->set_seconds(std::numeric_limits<std::int64_t>::min());
    piece.mutable_cost()->set_nanos(std::numeric_limits<std::int32_t>::min());
    piece.mutable_created_at();
    DONE(owner->write(huge));
    huge.mutable_download_piece_back_to_source_finished_request()->mutable_piece()->set_digest("crc32:xyz");
    auto bad = std::move(huge);
    auto making_c = cluster.daemon("c");
    auto c = co_await making_c;
    MUST(auto other, c->open(task_id_for('y')));
    bad.set_host_id(c->host_id());
    bad.set_task_id(task_id_for('y'));
    bad.set_peer_id(other->peer_id());
    DONE(other->write(bad));
    for (;;) {
      auto reading = other->read();
      auto answer = co_await reading;
      if (answer && *answer) continue;
      CHECK(code_of(answer) == grpc::Code::kInvalidArgument);
      break;
    }
  }
  DONE(owner->source_finished());
  MUST(auto end, owner->read());
  CHECK_FALSE(end);
  api::scheduler::StatTaskRequest stat;
  stat.set_host_id(a->host_id());
  stat.set_task_id(kTask);
  MUST(auto task, b->channel().unary<api::common::Task>(api::method::scheduler::kStatTask, stat));
  CHECK(task.pieces_size() == 1);
  CHECK(task.content_length() == 100 << 20);

  // A finished copy cannot be replaced by another host that says its id.
  {
    auto thief = forged(owner->peer_id());
    DONE(take_over(thief));
    auto reading = thief->read();
    CHECK(code_of(co_await reading) == grpc::Code::kAlreadyExists);
  }
  // One that says the content is something else changes nothing for the others.
  {
    auto liar = b->download();
    liar.set_actual_content_length(1);
    liar.set_actual_piece_count(1);
    MUST(auto stream, b->open(kTask, liar));
    MUST(auto answer, stream->read());
    REQUIRE(answer->has_normal_task_response());
    CHECK(answer->normal_task_response().candidate_parents(0).task().content_length() == 100 << 20);
    // Finished before it started, then started: the first ends the conversation.
    DONE(stream->finished());
    auto late = stream->started();
    (void)co_await late;
    MUST(auto over, stream->read());
    CHECK_FALSE(over);
  }
  // A registration as large as a book.
  {
    auto fat = b->download();
    (*fat.mutable_request_header())["x"] = std::string(300 << 10, 'x');
    MUST(auto stream, b->open(task_id_for('f'), fat));
    auto reading = stream->read();
    CHECK(code_of(co_await reading) == grpc::Code::kInvalidArgument);
    CHECK_FALSE(cluster.brain().find_task(task_id_for('f')));
  }
  // Ids without end.
  {
    MUST(auto stream, b->open(std::string(5000, 'a')));
    auto reading = stream->read();
    CHECK(code_of(co_await reading) == grpc::Code::kInvalidArgument);
  }
  auto serving = others_are_served(cluster, "other");
  co_await serving;
  CHECK(cluster.brain().check(cluster.machine().now()) == "");
}

TEST_CASE("sites, origins, downloads and pieces that strangers invent take bounded room") {
  Brain brain(BrainOptions{}, 1);
  TimePoint now{1h};
  for (int i = 0; i < 70'000; ++i) {
    api::scheduler::AnnounceHostRequest request;
    auto& host = *request.mutable_host();
    host.set_id("stranger");
    host.set_hostname("s");
    host.set_ip("10.0.0.1");
    host.set_port(4000);
    host.mutable_network()->set_idc("idc" + std::to_string(i));
    brain.announce_host(host_facts(request), now);
  }
  const std::string download(100 << 10, 'd');
  for (int i = 0; i < 3'000; ++i) {
    const auto task = "t" + std::to_string(i), peer = "p" + std::to_string(i),
               origin = "o" + std::to_string(i);
    Registration r;
    r.host_id = "stranger";
    r.task_id = task;
    r.peer_id = peer;
    r.origin = origin;
    r.download = download;
    REQUIRE(brain.register_peer(r, now).ok());
    brain.take_actions(now);
  }
  std::size_t kept = 0;
  for (std::uint32_t at = 0; at < brain.tasks().end(); ++at) kept += brain.tasks().at(at).download.size();
  CHECK(kept <= 256u << 20);
  CHECK(brain.check(now) == "");
}
