// Fetches what is wanted and missing from the origin.
//
// Several lanes (origin_lanes.h), each a kept connection with ranged requests over runs of pieces; or one
// stream from the start where the origin knows no ranges or no length. A request that breaks is taken up
// again at the byte it broke at, with back-off; all of them are pinned to one version.
#pragma once

#include <set>

#include "base/scope.h"
#include "fetch/conductor.h"
#include "fetch/origin_lanes.h"

namespace d7y::fetch {

class SourcePhase {
 public:
  explicit SourcePhase(Conductor& conductor);

  // Until nothing wanted is missing, or the origin's failure.
  Task<Result<void>> run();

 private:
  using Run = PiecePlan::Run;
  Task<void> lane();
  // Until there are as many as there should be.
  void add_lanes(Scope& lanes);
  Task<void> watch(Scope& lanes);
  Task<Result<void>> fetch_run(Run run, source::Retry& retry);
  // An answer that is being read: content offsets of its next byte and its end.
  struct Stream {
    std::unique_ptr<source::Body> body;
    std::uint64_t at = 0, end = 0;
    bool fast = false;  // it brought much without a pause
  };
  std::optional<Run> first_run() const;
  Task<Result<void>> fill(store::PieceClaim& claim, Stream& stream, std::uint64_t run_end,
                          source::Retry& retry);
  Task<Result<void>> fill_once(store::PieceClaim& claim, Stream& stream, std::uint64_t run_end);
  Task<void> follow(store::PieceClaim& claim, Stream& stream, std::shared_ptr<world::Receiving> receiving,
                    std::uint64_t ordered);
  Task<Result<void>> stream_all();
  Task<Result<void>> stream_once();
  Task<Result<void>> drop(source::Body& body, std::uint64_t length);
  Task<Result<void>> end_of_unknown(store::PieceClaim claim, TimePoint began);
  Task<Result<std::size_t>> read_paced(source::Body& body, MutableBytes buffer);
  Task<Result<void>> complete(store::PieceClaim claim, TimePoint began);
  // The origin may have refused a lane because of the others. Where there are some, they will get what this
  // one could not.
  static bool may_be_for_others(const Error& why);
  bool leaves_it_to_others(const Error& why);
  // True if `why` was waited out and the attempt, made at `turn` of the accesses, should be made again.
  Task<bool> try_again(source::Retry& retry, const Error& why, std::uint64_t turn);

  Conductor& conductor_;
  OriginLanes lanes_;
  std::uint32_t running_ = 0, ended_ = 0;  // of them
  std::set<std::uint32_t> contradicted_;   // pieces whose stored bytes were not the origin's
  std::optional<Error> failure_;
};

}  // namespace d7y::fetch
