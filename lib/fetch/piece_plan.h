// Which piece is fetched next. Pure.
//
// Several downloads of one task each want a range of pieces; some are read in order while they
// arrive. A piece is open while somebody wants it, it is not here, and nobody fetches it.
//
//  - From parents: what a reader needs next comes first, in order; otherwise the rarest piece among
//    those the parent has, ties broken at random, so that peers that start together hold different
//    pieces soon and feed each other (rarest first: Legout et al., IMC 2006).
//  - From the origin: runs of consecutive pieces, long at first and shorter towards the end, so that
//    few requests do and the connections finish together.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <vector>

#include "store/bitmap.h"
#include "swarm/piece_share.h"

namespace d7y::fetch {

class PiecePlan {
 public:
  // Pieces [first, end).
  struct Run {
    std::uint32_t first = 0, end = 0;
  };
  using WantId = std::uint32_t;

  // `have`: pieces complete now. Must be called before anything else.
  void begin(std::uint32_t pieces, const store::Bitmap& have);
  // The content turned out to end here; later pieces are forgotten.
  void shorten(std::uint32_t pieces);
  std::uint32_t pieces() const { return pieces_; }
  std::uint32_t here() const { return here_.count(); }

  WantId want(Run run);
  void forget(WantId id);
  // Somebody reads want `id` in order and is in piece `at`.
  void reading(WantId id, std::uint32_t at);

  void taken(std::uint32_t piece);     // a fetch begins
  void released(std::uint32_t piece);  // it ended without the piece
  void release_all();                  // nobody fetches anything any more
  void completed(std::uint32_t piece);
  void lost(std::uint32_t piece);  // it was here and is not any more

  bool wanted(std::uint32_t piece) const { return wanted_.test(piece); }
  // Wanted pieces that are not here; and those of them that nobody fetches.
  std::uint32_t missing() const { return missing_; }
  std::uint32_t open() const { return open_.count(); }
  // The very piece that a reader stands at is open.
  bool reader_waits() const;
  bool is_open(std::uint32_t piece) const { return open_.test(piece); }

  // An open piece of `there`; none if there is none. `copies[piece]` is how many parents have it
  // (shorter spans count as 0). `random` is any uniformly random number. Only pieces of `share`, and none of
  // `without` (may be null).
  std::optional<std::uint32_t> pick(const store::Bitmap& there, std::span<const std::uint16_t> copies,
                                    std::uint64_t random, swarm::PieceShare share = {},
                                    const store::Bitmap* without = nullptr) const;

  // The next open pieces for one of `lanes` connections to the origin, at most `longest`, and as many as are
  // `worthwhile` if that leaves the others as much.
  std::optional<Run> next_run(std::uint32_t lanes, std::uint32_t longest, std::uint32_t worthwhile = 1) const;

 private:
  void recount(std::uint32_t piece);
  // The first open piece within a few pieces ahead of a reader; `there` null: anywhere.
  std::optional<std::uint32_t> urgent(const store::Bitmap* there, swarm::PieceShare share,
                                      const store::Bitmap* without) const;

  struct Want {
    Run run;
    std::optional<std::uint32_t> reader;
  };

  std::uint32_t pieces_ = 0, missing_ = 0;
  store::Bitmap here_, taken_, wanted_, open_;
  std::map<WantId, Want> wants_;
  WantId next_want_ = 0;
};

}  // namespace d7y::fetch
