// Plays events to a brain and collects what it decides.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "scheduler/brain.h"

namespace d7y::scheduler {

using namespace std::chrono_literals;

inline bool has(const std::vector<std::string>& list, const std::string& what) {
  return std::find(list.begin(), list.end(), what) != list.end();
}
// The peer that Script::add("h<i>") registers.
inline std::string peer_of(int i) { return "h" + std::to_string(i) + "-p"; }
// For Script::add(): as d7y's clients register.
inline void listens(Registration& r) { r.takes_offers = true; }

class Script {
 public:
  explicit Script(BrainOptions options = {}, std::uint64_t seed = 1) : brain(options, seed) {}

  struct Answer {
    std::string kind;  // "parents", "source", "empty", "metadata", "end", "error ..."
    std::vector<std::string> parents;
    std::string dealer = {};  // the parent that has to be told before, or ""
    bool later = false;
  };

  void host(const std::string& name, bool seed = false, const std::string& idc = "",
            const std::string& location = "") {
    HostFacts facts;
    facts.hostname = name;
    facts.ip = "10.0.0.1";
    facts.id = "10.0.0.1-" + name + (seed ? "-seed" : "");
    facts.port = 4000;
    facts.seed = seed;
    facts.idc = idc;
    facts.location = location;
    facts.interval = 300s;
    ids[name] = facts.id;
    brain.announce_host(facts, now);
    settle();
  }
  // One that says how fast its uplink is, in bits per second.
  void host_with_uplink(const std::string& name, std::uint64_t uplink, bool seed = false) {
    host(name, seed);
    auto facts = host_record(name).facts;
    facts.max_tx_bandwidth = uplink;
    brain.announce_host(facts, now);
    settle();
  }
  void hosts(const std::string& prefix, int count, const std::string& idc = "") {
    for (int i = 0; i < count; ++i) host(prefix + std::to_string(i), false, idc);
  }

  Registration registration(const std::string& host_name) {
    Registration made;
    made.host_id = ids[host_name];
    made.task_id = task;
    made.origin = "https://origin";
    made.content_length = 100 << 20;
    made.piece_length = 4 << 20;
    made.piece_count = pieces;
    made.download = "download";
    return made;
  }
  // How a registration ended.
  struct Outcome {
    std::optional<ErrorCode> code;
    bool ok() const { return !code; }
    explicit operator bool() const { return ok(); }
    bool failed_with(ErrorCode other) const { return code == other; }
  };
  // Registers a peer of `host_name` under the peer id `name` ("p" by default).
  Outcome add(const std::string& host_name, std::string name = {}, void (*change)(Registration&) = nullptr) {
    if (name.empty()) name = host_name + "-p";
    auto made = registration(host_name);
    made.peer_id = name;
    if (change != nullptr) change(made);
    auto handle = brain.register_peer(made, now);
    if (handle) names[*handle] = name;
    if (handle) handles[name] = *handle;
    settle();
    return {handle ? std::nullopt : std::optional(handle.error().code())};
  }
  PeerHandle operator[](const std::string& name) { return handles.at(name); }

  void started(const std::string& name) {
    brain.started(handles.at(name), now);
    settle();
  }
  void source_started(const std::string& name) {
    brain.back_to_source_started(handles.at(name), now);
    settle();
  }
  void finished(const std::string& name) {
    brain.finished(handles.at(name), now);
    settle();
  }
  void reschedule(const std::string& name) {
    brain.reschedule(handles.at(name), now);
    settle();
  }
  void lost(const std::string& name) {
    brain.stream_lost(handles.at(name), now);
    settle();
  }
  void piece(const std::string& name, std::uint32_t number, const std::string& parent, Duration cost = 10ms) {
    PieceReport report;
    report.number = number;
    report.length = 4 << 20;
    report.cost = cost;
    brain.piece_finished(handles.at(name), parent, report, now);
    settle();
  }
  // The latest of the questions, which must be about that host.
  void answered(const std::string& host_name, bool answers) {
    REQUIRE(!questions.empty());
    const auto last = questions.back();
    CHECK(brain.host(last.host)->facts.hostname == host_name);
    brain.host_answered(last.host, last.question, answers, now);
    settle();
  }
  // A seed or peer that has everything, out of nowhere.
  void replica(const std::string& host_name) {
    add(host_name, {}, [](Registration& r) { r.need_back_to_source = true; });
    source_started(host_name + "-p");
    brain.back_to_source_finished(handles.at(host_name + "-p"), now);
    settle();
    answers.clear();
  }

  void pass(Duration time) {
    const auto until = now + time;
    while (brain.next_wakeup() <= until) {
      now = std::max(now, brain.next_wakeup());
      brain.tick(now);
      settle();
    }
    now = until;
    brain.tick(now);
    settle();
  }

  // Takes all actions and checks the books.
  void settle() {
    do {
      for (auto& action : brain.take_actions(now)) note(action);
    } while (brain.pending());
    const auto wrong = brain.check(now);
    CHECK_MESSAGE(wrong.empty(), wrong);
  }

  // The last answer to `name`; kind is "" if it had none since the last clear.
  Answer last(const std::string& name) {
    const auto found = answers.find(name);
    return found == answers.end() || found->second.empty() ? Answer{} : found->second.back();
  }
  std::string kind(const std::string& name) { return last(name).kind; }
  int count(const std::string& what) {
    int total = 0;
    for (const auto& [name, list] : answers) {
      for (const auto& answer : list) total += answer.kind == what;
    }
    return total;
  }
  const PeerRecord& record(const std::string& name) { return *brain.peer(handles.at(name)); }
  const HostRecord& host_record(const std::string& name) { return *brain.host(brain.find_host(ids[name])); }
  const TaskRecord& task_record() { return *brain.task(brain.find_task(task)); }

  Brain brain;
  TimePoint now{1h};
  std::string task = "task";
  std::uint32_t pieces = 25;               // of the content
  std::map<std::string, std::string> ids;  // host name -> id
  std::map<std::string, PeerHandle> handles;
  std::map<PeerHandle, std::string> names;
  std::map<std::string, std::vector<Answer>> answers;           // by peer name
  std::vector<std::pair<std::string, std::uint32_t>> triggers;  // host name and attempt
  TaskHandle triggered_task;
  std::pair<std::uint64_t, std::uint64_t> triggered_range;  // start and length in bytes
  std::vector<AskHost> questions;
  bool from_peers = false;  // as the last one that was asked was told

 private:
  void note(const Action& action) {
    if (const auto* a = std::get_if<SendParents>(&action)) {
      Answer answer{"parents", {}};
      for (const auto parent : a->parents) answer.parents.push_back(names.at(parent));
      if (a->dealer) answer.dealer = names.at(a->dealer);
      answer.later = a->later;
      answers[names.at(a->peer)].push_back(answer);
    } else if (const auto* b = std::get_if<SendBackToSource>(&action)) {
      answers[names.at(b->peer)].push_back({"source", {}});
    } else if (const auto* c = std::get_if<SendEmpty>(&action)) {
      answers[names.at(c->peer)].push_back({"empty", {}});
    } else if (const auto* d = std::get_if<SendMetadataOnly>(&action)) {
      answers[names.at(d->peer)].push_back({"metadata", {}});
    } else if (const auto* e = std::get_if<EndStream>(&action)) {
      answers[names.at(e->peer)].push_back({e->code ? "error " + std::string(name_of(*e->code)) : "end", {}});
    } else if (const auto* f = std::get_if<TriggerSeed>(&action)) {
      triggers.emplace_back(brain.host(f->host)->facts.hostname, f->attempt);
      triggered_task = f->task;
      triggered_range = {f->range_start, f->range_length};
      from_peers = f->from_peers;
    } else if (const auto* g = std::get_if<AskHost>(&action)) {
      questions.push_back(*g);
    }
  }
};

}  // namespace d7y::scheduler
