// scheduler-load PHASE ADDRESS [--option VALUE]...: a crowd of daemons in one process, for tests/bench/run's
// scheduler-load. Speaks to d7ysched, or with --echo 1 to grpcpp-echo, and prints "begun", and in the end
// what it found as JSON.
//
//   unary       announcements of 1,000 hosts, --calls of them in flight
//   hosts       announcements of --hosts hosts, each once
//   reports     piece reports on --streams kept streams, one of each in turn, a message in a frame; --echo 1
//   waits for the
//               echo of each, --echo take only for what was said before to be read
//   lifecycles  whole downloads, --at-once of them, or --rate of them begun each second whatever becomes of
//   them:
//               register, parents, started, 64 reports, finished. --batch reports are written together, 1 as
//               unmodified clients do, who read no offers; more as d7y's own.
//
// --seconds: how long; --connections; --run: a number that keeps this run's tasks from another's.
// Latencies are those of an answer (unary, hosts), or from the moment at which a registration was due to its
// parents. One thread. Stops at the first call that fails.
#include <sys/resource.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "api/methods.h"
#include "api/scheduler.h"
#include "messages.h"
#include "net/grpc/channel.h"
#include "world/uv_world.h"

namespace {

using namespace d7y;
using namespace d7y::bench;
namespace method = d7y::api::method::scheduler;

constexpr std::string_view kEchoUnary = "/d7y.bench.Echo/Unary";
constexpr std::string_view kEchoChat = "/d7y.bench.Echo/Chat";
constexpr std::string_view kEchoTake = "/d7y.bench.Echo/Take";
constexpr std::size_t kHosts = 1000, kTasks = 100;

using Clock = std::chrono::steady_clock;

[[noreturn]] void fail(std::string_view what) {
  std::fprintf(stderr, "scheduler-load: %.*s\n", static_cast<int>(what.size()), what.data());
  std::_Exit(1);
}

template <class T>
T need(Result<T> result) {
  if (!result) fail(result.error().message());
  if constexpr (!std::is_void_v<T>) return std::move(result).value();
}

class Options {
 public:
  Options(int argc, char** argv) {
    if (argc < 3 || argc % 2 == 0) fail("usage: scheduler-load PHASE ADDRESS [--option VALUE]...");
    phase = argv[1];
    address = argv[2];
    for (int i = 3; i < argc; i += 2) given_[argv[i]] = argv[i + 1];
  }
  std::string text(const std::string& name, std::string otherwise) const {
    const auto found = given_.find(name);
    return found == given_.end() ? otherwise : found->second;
  }
  double number(const std::string& name, double otherwise) const {
    const auto found = given_.find(name);
    return found == given_.end() ? otherwise : std::atof(found->second.c_str());
  }
  std::size_t count(const std::string& name, std::size_t otherwise) const {
    return static_cast<std::size_t>(number(name, static_cast<double>(otherwise)));
  }

  std::string phase, address;

 private:
  std::map<std::string, std::string> given_;
};

double seconds(Clock::duration duration) { return std::chrono::duration<double>(duration).count(); }

// What is done, and how long answers took.
struct Tally {
  std::size_t done = 0;
  std::vector<float> latencies;  // milliseconds

  void answered(Clock::time_point due) {
    latencies.push_back(static_cast<float>(1000 * seconds(Clock::now() - due)));
  }
  float at(double part) const {
    if (latencies.empty()) return 0;
    return latencies[std::min(latencies.size() - 1,
                              static_cast<std::size_t>(part * static_cast<double>(latencies.size())))];
  }
  void print(double took) {
    std::sort(latencies.begin(), latencies.end());
    rusage used{};
    ::getrusage(RUSAGE_SELF, &used);
    const auto cpu = static_cast<double>(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
                     static_cast<double>(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
    fmt::print("{{\"done\": {}, \"seconds\": {}, \"rate\": {}, \"cpu\": {}, ", done, took,
               static_cast<double>(done) / took, cpu);
    fmt::print("\"p50\": {}, \"p99\": {}, \"p999\": {}, \"most\": {}}}\n", at(0.5), at(0.99), at(0.999),
               at(1));
  }
};

class Load {
 public:
  Load(world::World& world, const Options& options)
      : world_(world),
        options_(options),
        echo_(options.text("--echo", "")),
        run_(options.count("--run", 1)),
        batch_(static_cast<std::uint32_t>(options.count("--batch", 1))) {
    auto address = need(Address::parse(options.address));
    grpc::ChannelOptions channel;
    channel.user_agent = batch_ > 1 ? "d7y" : "tonic/0.12.1";
    for (std::size_t i = 0; i < options.count("--connections", 8); ++i)
      channels_.push_back(std::make_unique<grpc::Channel>(world, address, channel));
  }

  Task<bool> perform() {
    for (auto& channel : channels_) {
      auto connecting = channel->connect(soon());
      need(co_await connecting);
    }
    Task<void> phase;
    if (options_.phase == "unary") {
      phase = unary();
    } else if (options_.phase == "hosts") {
      phase = hosts();
    } else if (options_.phase == "reports") {
      phase = reports();
    } else if (options_.phase == "lifecycles") {
      phase = lifecycles();
    } else {
      fail("there is no such phase");
    }
    co_await phase;
    tally_.print(seconds(Clock::now() - began_));
    co_return true;
  }

 private:
  Deadline soon() { return Deadline::in(std::chrono::seconds(30), world_.now()); }
  grpc::Channel& channel(std::size_t i) { return *channels_[i % channels_.size()]; }
  const LoadHost& host(std::size_t i) const { return hosts_[i % hosts_.size()]; }
  const std::string& task(std::size_t i) const { return tasks_[i % tasks_.size()]; }
  // One that is not the root of task(i): whoever registers for what it has, has lost it.
  const LoadHost& child_host(std::size_t at, std::size_t i) const {
    return host(at % hosts_.size() == i % tasks_.size() ? at + 1 : at);
  }
  bool over() const { return Clock::now() >= until_; }
  // The phase itself begins; who reads along looks at clocks now.
  void begin() {
    std::puts("begun");
    std::fflush(stdout);
    began_ = Clock::now();
    until_ = began_ + std::chrono::duration_cast<Clock::duration>(
                          std::chrono::duration<double>(options_.number("--seconds", 3)));
  }

  // ---- unary calls

  Task<void> call(std::size_t i, std::string_view path, std::string request) {
    const auto due = Clock::now();
    auto calling = channel(i).unary_bytes(path, std::move(request));
    auto answer = co_await calling;
    if (!answer) fail(answer.error().message());
    tally_.answered(due);
    ++tally_.done;
  }

  Task<void> repeat_announcements(std::size_t worker, std::size_t workers) {
    const auto path = echo_.empty() ? method::kAnnounceHost : kEchoUnary;
    for (auto i = worker; !over(); i += workers) {
      const auto& bytes = host(i).announcement;
      auto calling = call(worker, path, echo_.empty() ? bytes : as_echo(bytes));
      co_await calling;
    }
  }

  Task<void> unary() {
    make_hosts(kHosts);
    begin();
    Scope workers(world_.loop());
    const auto count = options_.count("--calls", 100);
    for (std::size_t i = 0; i < count; ++i) workers.spawn(repeat_announcements(i, count));
    need(co_await workers.idle(Deadline::never()));
  }

  Task<void> announce(std::size_t worker, std::size_t workers) {
    for (auto i = worker; i < hosts_.size(); i += workers) {
      auto calling = call(i, method::kAnnounceHost, hosts_[i].announcement);
      co_await calling;
    }
  }

  Task<void> hosts() {
    make_hosts(options_.count("--hosts", 100'000));
    begin();
    auto announcing = announce_all();
    co_await announcing;
  }

  Task<void> announce_all() {
    Scope workers(world_.loop());
    const auto count = options_.count("--calls", 100);
    for (std::size_t i = 0; i < count; ++i) workers.spawn(announce(i, count));
    need(co_await workers.idle(Deadline::never()));
  }

  // ---- streams

  void make_hosts(std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) hosts_.push_back(load_host(i));
  }

  static Task<void> say(grpc::RawCall& call, std::string message) {
    auto writing = call.write(std::move(message));
    need(co_await writing);
  }
  static Task<std::string> hear(grpc::RawCall& call) {
    auto reading = call.read();
    auto message = co_await reading;
    if (!message) fail(message.error().message());
    if (!*message) fail("a stream ended early");
    co_return std::move(**message);
  }
  static Task<void> part(grpc::RawCall& call) {
    auto ending = call.finish();
    need(co_await ending);
  }

  // A peer that has read the origin: everybody's first parent.
  Task<void> make_root(std::size_t i) {
    const Talk talk(host(i), task(i), next_peer());
    auto call = channel(i).start(method::kAnnouncePeer);
    auto registering = say(call, talk.registration(true));
    co_await registering;
    auto answering = hear(call);
    const auto answer = co_await answering;
    auto starting = say(call, talk.source_started());
    co_await starting;
    auto finishing = say(call, talk.source_finished());
    co_await finishing;
    auto parting = part(call);
    co_await parting;
  }

  Task<void> set_up() {
    make_hosts(kHosts);
    auto announcing = announce_all();
    co_await announcing;
    for (std::size_t i = 0; i < kTasks; ++i) tasks_.push_back(load_task(run_, i));
    Scope roots(world_.loop());
    for (std::size_t i = 0; i < kTasks; ++i) roots.spawn(make_root(i));
    need(co_await roots.idle(Deadline::never()));
    tally_ = {};
  }
  std::uint64_t next_peer() { return run_ << 32 | ++peers_; }

  // ---- reports

  struct Kept {
    explicit Kept(Talk talk) : talk(std::move(talk)) {}
    Talk talk;
    grpc::RawCall call;
  };

  Task<void> open(std::size_t i, std::vector<Kept>& kept) {
    auto& [talk, call] = kept[i];
    call = channel(i).start(method::kAnnouncePeer);
    auto registering = say(call, talk.registration(false));
    co_await registering;
    auto answering = hear(call);
    const auto answer = co_await answering;
    if (!talk.take_parents(answer)) fail("a peer got no parents");
    auto starting = say(call, talk.started());
    co_await starting;
  }

  // One report on each stream of a connection, and again once the connection's other side has taken them.
  Task<void> report_in_turn(std::size_t lane, std::vector<Kept>& kept) {
    const auto question = echo_.empty() ? stat_task(host(0), task(0)) : as_echo(stat_task(host(0), task(0)));
    for (std::uint32_t piece = 0; !over(); ++piece) {
      for (auto i = lane; i < kept.size(); i += channels_.size()) {
        auto report = kept[i].talk.report(piece);
        auto saying = say(kept[i].call, echo_.empty() ? std::move(report) : as_echo(report));
        co_await saying;
        ++tally_.done;
      }
      auto asking = channel(lane).unary_bytes(echo_.empty() ? method::kStatTask : kEchoUnary, question);
      auto answer = co_await asking;
      if (!answer) fail(answer.error().message());
    }
  }

  Task<void> report_and_hear(Kept& kept) {
    for (std::uint32_t piece = 0; !over(); ++piece) {
      auto saying = say(kept.call, as_echo(kept.talk.report(piece)));
      co_await saying;
      auto hearing = hear(kept.call);
      const auto echo = co_await hearing;
      ++tally_.done;
    }
  }

  Task<void> reports() {
    std::vector<Kept> kept;
    const auto count = options_.count("--streams", 1000);
    if (echo_.empty()) {
      auto setting_up = set_up();
      co_await setting_up;
    } else {
      make_hosts(kHosts);
      tasks_.push_back(load_task(run_, 0));
    }
    for (std::size_t i = 0; i < count; ++i) kept.emplace_back(Talk(child_host(i, i), task(i), next_peer()));
    if (echo_.empty()) {
      Scope opening(world_.loop());
      for (std::size_t i = 0; i < count; ++i) opening.spawn(open(i, kept));
      need(co_await opening.idle(Deadline::never()));
    } else {
      open_echoes(kept);
    }
    begin();
    Scope workers(world_.loop());
    if (echo_ == "1") {
      for (auto& each : kept) workers.spawn(report_and_hear(each));
    } else {
      for (std::size_t i = 0; i < channels_.size(); ++i) {
        workers.spawn(report_in_turn(i, kept));
        workers.spawn(report_in_turn(i, kept));
      }
    }
    need(co_await workers.idle(Deadline::never()));
    for (auto& each : kept) {
      auto parting = part(each.call);
      co_await parting;
    }
  }

  // With a parent whose name is as long as a usual one.
  void open_echoes(std::vector<Kept>& kept) {
    api::scheduler::AnnouncePeerResponse answer;
    auto& parent = *answer.mutable_normal_task_response()->add_candidate_parents();
    parent.set_id(host(0).id + std::string(37, 'p'));
    const auto bytes = answer.SerializeAsString();
    for (std::size_t i = 0; i < kept.size(); ++i) {
      kept[i].talk.take_parents(bytes);
      kept[i].call = channel(i).start(echo_ == "1" ? kEchoChat : kEchoTake);
    }
  }

  // ---- lifecycles

  Task<void> download(std::size_t i, Clock::time_point due) {
    // The root of a task is the host of its number; 999 others download it, one after the other, each once.
    Talk talk(child_host(i % kTasks + 1 + i / kTasks, i), task(i), next_peer());
    auto call = channel(i).start(method::kAnnouncePeer);
    auto registering = say(call, talk.registration(false));
    co_await registering;
    auto answering = hear(call);
    const auto answer = co_await answering;
    tally_.answered(due);
    if (!talk.take_parents(answer)) fail("a peer got no parents");
    auto starting = say(call, talk.started());
    co_await starting;
    for (std::uint32_t piece = 0; piece < kPieces; ++piece) {
      auto saying = say(call, talk.report(piece));
      co_await saying;
      if ((piece + 1) % batch_ == 0) co_await yield();
    }
    auto finishing = say(call, talk.finished());
    co_await finishing;
    auto parting = part(call);
    co_await parting;
    ++tally_.done;
  }

  Task<void> repeat_downloads(std::size_t worker, std::size_t workers) {
    for (auto i = worker; !over(); i += workers) {
      auto downloading = download(i, Clock::now());
      co_await downloading;
    }
  }

  // Like many that know nothing of each other: intervals of a Poisson process.
  Task<void> begin_downloads(Scope& running, double rate) {
    auto due = began_;
    for (std::size_t i = 0; due < until_; ++i) {
      const auto dice = (static_cast<double>(world_.random() >> 11) + 1) / 9007199254740993.0;
      due +=
          std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(-std::log(dice) / rate));
      if (const auto left = due - Clock::now(); left > Clock::duration::zero()) co_await sleep_for(left);
      running.spawn(download(i, due));
    }
  }

  Task<void> lifecycles() {
    auto setting_up = set_up();
    co_await setting_up;
    begin();
    Scope running(world_.loop());
    if (const auto rate = options_.number("--rate", 0); rate > 0) {
      running.spawn(begin_downloads(running, rate));
    } else {
      const auto count = options_.count("--at-once", 64);
      for (std::size_t i = 0; i < count; ++i) running.spawn(repeat_downloads(i, count));
    }
    need(co_await running.idle(Deadline::never()));
  }

  world::World& world_;
  const Options& options_;
  std::string echo_;
  std::uint64_t run_;
  std::uint32_t batch_;
  std::uint64_t peers_ = 0;
  std::vector<std::unique_ptr<grpc::Channel>> channels_;
  std::vector<LoadHost> hosts_;
  std::vector<std::string> tasks_;
  Tally tally_;
  Clock::time_point began_, until_;
};

}  // namespace

int main(int argc, char** argv) {
  const Options options(argc, argv);
  auto world = need(world::make_uv_world());
  Load load(*world, options);
  return world->wait_for(load.perform()).value_or(false) ? 0 : 1;
}
