// What daemons say to a scheduler, made up: hosts that announce themselves, and downloads from registration
// to end. In serialized form, and as much of it beforehand as possible, because whoever says it shares the
// processors with whoever is measured.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace d7y::bench {

constexpr std::uint32_t kPieces = 64;  // of each download

struct LoadHost {
  std::string id;
  std::string announcement;  // a serialized AnnounceHostRequest
};
// The host of that number, as a daemon with 8 processors and an IDC describes itself.
LoadHost load_host(std::size_t number);

// A task of `kPieces` pieces of 4 MiB. `run` keeps the tasks of one run from those of the next.
std::string load_task(std::uint64_t run, std::size_t number);

// One download's side of an AnnouncePeer stream: serialized AnnouncePeerRequests.
class Talk {
 public:
  Talk(const LoadHost& host, std::string_view task_id, std::uint64_t number);

  // `from_origin`: the peer is going to read the origin itself.
  std::string registration(bool from_origin) const;
  std::string started() const;
  std::string finished() const;
  std::string source_started() const;
  std::string source_finished() const;

  // Takes the parents out of a serialized AnnouncePeerResponse; false if it has none.
  bool take_parents(std::string_view response);
  // That a piece came from one of the parents. After take_parents().
  std::string report(std::uint32_t piece) const;

 private:
  std::string task_id_;
  std::string envelope_;  // host, task and peer
  std::vector<std::string> parents_;
};

// The question what a scheduler knows about a task.
std::string stat_task(const LoadHost& host, std::string_view task_id);

// `bytes` as the only field of a message, which is what the echo servers take.
std::string as_echo(std::string_view bytes);

}  // namespace d7y::bench
