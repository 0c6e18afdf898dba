// AnnouncePeer messages from strangers, through the checks and into the brain. Each byte string is a list of
// messages, each behind one byte of length; whatever they say, all books stay right.
#include <cstdint>
#include <cstdlib>
#include <map>

#include "api/validate.h"
#include "scheduler/brain.h"
#include "scheduler/messages.h"

using namespace d7y;
using namespace d7y::scheduler;

namespace {

void must(bool holds) {
  if (!holds) std::abort();
}

void settle(Brain& brain, TimePoint now) {
  do {
    for (const auto& action : brain.take_actions(now)) {
      const auto* parents = std::get_if<SendParents>(&action);
      if (parents == nullptr || brain.peer(parents->peer) == nullptr) continue;
      const Clocks clocks{now, WallTime{} + std::chrono::hours(24 * 365 * 50)};
      const auto message = parents_message(brain, *parents, clocks);
      for (const auto& parent : message.normal_task_response().candidate_parents())
        must(api::validate(parent).ok());
    }
  } while (brain.pending());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Brain brain(BrainOptions{}, 1);
  TimePoint now{std::chrono::hours(1)};
  for (const char* name : {"a", "b", "c"}) {
    api::scheduler::AnnounceHostRequest request;
    auto& host = *request.mutable_host();
    host.set_id(name);
    host.set_hostname(name);
    host.set_ip("10.0.0.1");
    host.set_port(4000);
    host.set_download_port(4000);
    host.set_type(*name == 'c' ? 1 : 0);
    brain.announce_host(host_facts(request), now);
  }
  for (std::size_t at = 0; at < size;) {
    const std::size_t length = std::min<std::size_t>(data[at], size - at - 1);
    const auto* bytes = data + at + 1;
    at += 1 + length;
    now += std::chrono::milliseconds(100);
    api::scheduler::AnnouncePeerRequest request;
    if (!request.ParseFromArray(bytes, static_cast<int>(length)) || !api::validate(request)) {
      brain.tick(now);
      continue;
    }
    const auto peer = brain.find_peer(request.peer_id());
    if (request.has_register_peer_request()) {
      RegistrationParts parts;
      const auto priority = static_cast<std::uint8_t>(request.register_peer_request().download().priority());
      fill_registration(request, priority, length % 2 == 0, parts);
      (void)brain.register_peer(parts.registration, now);
    } else if (request.has_download_peer_started_request()) {
      brain.started(peer, now);
    } else if (request.has_download_peer_back_to_source_started_request()) {
      brain.back_to_source_started(peer, now);
    } else if (request.has_reschedule_peer_request()) {
      brain.reschedule(peer, now);
    } else if (request.has_download_piece_finished_request()) {
      const auto& piece = request.download_piece_finished_request().piece();
      brain.piece_finished(peer, piece.parent_id(), piece_report(piece), now);
    } else if (request.has_download_piece_back_to_source_finished_request()) {
      const auto& piece = request.download_piece_back_to_source_finished_request().piece();
      brain.back_to_source_piece_finished(peer, piece_report(piece), now);
    } else if (request.has_download_piece_failed_request()) {
      const auto& failed = request.download_piece_failed_request();
      brain.piece_failed(peer, failed.parent_id(), failed.temporary(), now);
    } else if (request.has_download_peer_finished_request()) {
      brain.finished(peer, now);
    } else if (request.has_download_peer_back_to_source_finished_request()) {
      brain.back_to_source_finished(peer, now);
    } else if (request.has_download_peer_failed_request()) {
      brain.failed(peer, now);
    } else {
      brain.stream_lost(peer, now);
    }
    settle(brain, now);
    must(brain.check(now).empty());
  }
  now += std::chrono::hours(1);
  brain.tick(now);
  settle(brain, now);
  must(brain.waiting() == 0);
  return 0;
}
