// Whether a host is there: its end of a conversation answers a PING, or, without one, its upload server a
// call.
#include "scheduler/peer_stream.h"
#include "scheduler/service.h"

namespace d7y::scheduler {
namespace {

constexpr auto kPatience = std::chrono::seconds(2);
constexpr auto kAgain = std::chrono::seconds(1);
constexpr std::size_t kPeersLookedAt = 256;
// Counted in steps: one that stood still itself, or was busy, reads what came meanwhile before it judges.
constexpr int kSteps = 20;

}  // namespace

Task<void> Service::ask(HostHandle host, std::uint32_t question) {
  const auto is_open = [&] {
    const auto* record = brain_.host(host);
    return record != nullptr && record->question == question;
  };
  while (is_open()) {
    Task<bool> asking = answers(host);
    const bool there = co_await asking;
    if (!is_open()) co_return;
    const auto& record = *brain_.host(host);
    if (there == record.silent)
      log_.info("host {} {}", record.facts.id, there ? "answers again" : "does not answer");
    brain_.host_answered(host, question, there, world_.now());
    pump();
    co_await sleep_for(kAgain);
  }
}

Task<bool> Service::answers(HostHandle host) {
  for (const auto peer : brain_.speakers_of(host, kPeersLookedAt)) {
    if (stream_of(peer) == nullptr) continue;
    Task<bool> asking = answers_on(peer);
    co_return co_await asking;
  }
  const auto facts = brain_.host(host)->facts;
  const auto at = Address::parse_ip(facts.ip, facts.port);
  if (!at) co_return true;  // announcements are checked
  auto& calls = facts.seed ? hosts_ : peer_calls_;
  Task<bool> calling = calls.answers(*at, kPatience);
  co_return co_await calling;
}

Task<bool> Service::answers_on(PeerHandle peer) {
  const auto asked = world_.now();
  stream_of(peer)->call().ask_client();
  for (int step = 0; step < kSteps; ++step) {
    co_await sleep_for(Duration(kPatience) / kSteps);
    auto* stream = stream_of(peer);
    // One that ended has said so.
    if (stream == nullptr || stream->call().last_heard() > asked) co_return true;
  }
  co_return false;
}

}  // namespace d7y::scheduler
