// What one caller wants, and how an engine is set up.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "api/common.h"
#include "base/ids.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/token_bucket.h"
#include "net/http/headers.h"
#include "source/retry.h"
#include "source/source.h"
#include "store/store.h"
#include "swarm/announce_session.h"
#include "swarm/parent_pool.h"
#include "world/world.h"

namespace d7y::fetch {

// A task that a file of some host was made into (Dragonfly's persistent-cache tasks): it has no origin
// besides that file, its id is not made of a URL, and its scheduler keeps so many copies of it.
struct Replica {
  std::string task_id;
  // This host's copy stays until the task's time is over, however full the disk is.
  bool persistent = false;
  // How long the task lives; of one that was not made here its scheduler says it.
  Duration ttl{0};
};

// One caller's wish. `message` is kept as it was received, fields we do not know included, because
// the scheduler passes it on to seeds.
struct Wish {
  api::common::Download message;
  std::string output_path;  // empty: the content only lands in the store
  bool overwrite = false;
  bool require_hard_link = false;
  // Bytes will be read in order while they arrive (Download::read).
  bool in_order = false;
  // Pieces are wanted in rising order, though nobody reads here (Download::passed).
  bool ascending = false;
  // The reader has waits and retries of its own. Where the origin, not able now, is not to be asked again
  // before so much of the download's time is over, and nothing has come, the download ends with what it said
  // (429 or 503, with its Retry-After). 0: as patient as the retry policy.
  Duration first_byte_within{0};
  std::uint64_t rate_limit = 0;  // bytes per second of this download; 0: none
  // Trust these authorities for the origin, besides the message's certificate chain.
  std::string trust_pem;
  bool insecure_skip_verify = false;
  // Sent to the origin by this host alone, never to schedulers and other peers: credentials. A seed would
  // have to do without them, so the scheduler is asked to let this host go to the origin itself.
  http::Headers private_headers;
  // A Range header, beside the message so that a seed is asked for the whole; and its If-Range: the range
  // counts only while the content is that version.
  std::string range_header, if_range;
  // What the URL itself says the whole content is, like an OCI blob's digest: verified when all of it is
  // here, whoever brought it, and before a reader from the start gets the last byte. Every wish for the task
  // says the same. Found by the engine itself.
  std::string content_digest;
  // The origin's answers are of several versions, as behind a load balancer: all is taken from one answer.
  bool one_answer = false;
  // A scheduler or another host asked: what users of this host may have does not count.
  bool for_others = false;
  // Tell the scheduler of a copy that is complete already (seed triggers do, Dragonfly client 3.5).
  bool announce_complete = false;
  // Such a task is meant. With a URL of the file in the message it is made; without one, and without
  // back-to-source, it is fetched from its scheduler's peers.
  std::optional<Replica> replica;

  store::TaskKind kind() const {
    return replica ? store::TaskKind::kPersistentCache : store::TaskKind::kStandard;
  }
  bool has_origin() const { return !message.url().empty(); }
  // For messages, without secrets.
  std::string name() const {
    return has_origin() || !replica ? source::redacted(message.url()) : "task " + replica->task_id;
  }
};

struct EngineOptions {
  // Content or ranges up to this length come from the origin directly (Dragonfly client 5.2).
  std::uint64_t small_content = 4 << 20;
  // The same for content whose URL says what it is: a fleet's image has many small layers, and each peer
  // would get each of them from the registry. Shorter than this, asking others costs more than it saves.
  std::uint64_t small_named_content = 64 << 10;
  // Bytes; 0: by the content's length, which every peer of a real cluster must leave it at, because nothing
  // on the wire corrects a difference. Simulations cut small content into small pieces.
  std::uint64_t piece_length = 0;
  // Connections to the origin per task, and the most bytes one request asks for.
  std::uint32_t source_lanes = 4;
  std::uint64_t source_run = 64 << 20;
  // The first request to the origin where no scheduler is asked; answers length and bytes at once.
  std::uint64_t first_request = 8 << 20;
  // No byte from the origin, or from a parent, for this long breaks that request off.
  Duration idle_timeout = std::chrono::seconds(30);
  Duration stat_timeout = std::chrono::seconds(30);
  // One piece from a parent (Dragonfly's download.pieceTimeout).
  Duration piece_timeout = std::chrono::seconds(360);
  // No piece byte from any parent for this long: ask the scheduler for others.
  Duration stall_timeout = std::chrono::seconds(15);
  // No message for this long from a parent that tells its pieces one by one: it is followed no more
  // (Dragonfly's download.collectedPieceTimeout).
  Duration silence_timeout = std::chrono::seconds(360);
  // How long a scheduler may think before its first answer, and before later ones. Longer than ours lets
  // anybody wait (8 s and 30 s), because who gives up goes to the origin without being counted.
  Duration schedule_timeout = std::chrono::seconds(45);
  std::uint32_t max_verdicts = 5;
  std::uint32_t concurrent_pieces = 8;  // announced to the scheduler
  source::RetryPolicy retry;
  // Complete content whose URL does not say its digest is compared with what its origin has (ETag,
  // Last-Modified, length) if that was done so long ago, before it is given again. 0: never, as with
  // Dragonfly.
  Duration revalidate_after{0};
  // Who we are.
  swarm::Self self;
  std::string ip, hostname;
  bool seed = false;
  // Added to requests to the origin where the caller did not set them.
  std::vector<std::pair<std::string, std::string>> source_headers;

  // Ours in one more conversation with a scheduler.
  std::string new_peer_id(world::World& world) const {
    auto high = world.random();
    auto low = world.random();
    return d7y::peer_id(ip, hostname, uuid_v4(high, low), seed);
  }
};

// What an engine works with. All of it must outlive the engine.
struct EngineParts {
  world::World& world;
  store::Store& store;
  source::Sources& sources;
  swarm::ParentPool* parents = nullptr;       // null: no peers, everything from the origin
  swarm::SchedulerSet* schedulers = nullptr;  // null: likewise
  TokenBucket* download_limit = nullptr;      // all bytes received; null: none
  TokenBucket* source_limit = nullptr;        // bytes from origins; null: none
  Metrics* metrics = nullptr;
  Log log;
  // Whether users of this host may have that; none: they may.
  std::function<Result<void>(const Wish&)> permit;
};

}  // namespace d7y::fetch
