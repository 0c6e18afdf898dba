// Between the API's messages and the brain's records.
#pragma once

#include "api/dfdaemon.h"
#include "api/scheduler.h"
#include "scheduler/brain.h"

namespace d7y::scheduler {

// What a clock on the wall shows for a moment of the monotonic one.
struct Clocks {
  TimePoint now;
  WallTime wall;
  WallTime at(TimePoint moment) const { return wall - (now - moment); }
};

HostFacts host_facts(const api::scheduler::AnnounceHostRequest& request);

// `download` must outlive the result, which points into it and into `bytes`, its serialized form.
struct RegistrationParts {
  Registration registration;
  std::string origin, bytes;
};
void fill_registration(const api::scheduler::AnnouncePeerRequest& request, std::uint8_t priority,
                       bool takes_offers, RegistrationParts& out);

// With the digest, which only pieces of the origin are asked for.
PieceReport source_piece_report(const api::common::Piece& piece);
PieceReport piece_report(const api::common::Piece& piece);

// A host as others see it. `brief`: without what only the scheduler can use (cpu, memory, disk).
api::common::Host host_message(const HostRecord& host, bool brief);
// Without pieces and without request headers, which may hold credentials.
api::common::Task task_message(const TaskRecord& task, const Clocks& clocks);
void add_source_pieces(const TaskRecord& task, const Clocks& clocks, api::common::Task& to);
api::common::Peer peer_message(const Brain& brain, const PeerRecord& peer, const Clocks& clocks);
// The candidates that still exist, with everything an unmodified client reads or echoes.
api::scheduler::AnnouncePeerResponse parents_message(const Brain& brain, const SendParents& action,
                                                     const Clocks& clocks);

// What a seed is asked to do: the child's own download, read from the origin.
api::dfdaemon::DownloadTaskRequest seed_request(const TaskRecord& task, const TriggerSeed& trigger);

// "https://host:port" of a URL; the URL's scheme where it has no such thing.
std::string origin_of_url(std::string_view url);

}  // namespace d7y::scheduler
