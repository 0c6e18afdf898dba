// What a d7y_node is behind its handle: a node in this process, or a daemon's, both used alike. All
// members run on the loop's thread.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "api/common.h"
#include "node/task_calls.h"
#include "source/source.h"
#include "store/task_facts.h"
#include "transfer.h"

namespace d7y::capi {

// A download as the C interface asks for it.
struct Order {
  api::common::Download message;  // with url, digest, headers, tag ...
  std::string output_path;        // as given; relative to the process
  bool overwrite = false, require_hard_link = false;
  bool in_order = false;    // bytes go to the transfer as well
  bool write_here = false;  // a daemon's bytes are written to the output by this process
  std::uint64_t rate_limit = 0;
  Duration timeout{0};
};

class Peer {
 public:
  virtual ~Peer() = default;

  // Begins `order`; errors that show at once come back, all else through `transfer`. The download runs in
  // the returned scope's tasks: destroying it gives the download up.
  virtual Result<std::unique_ptr<Scope>> begin(Order order, std::shared_ptr<Transfer> transfer) = 0;

  virtual Task<Result<std::vector<source::Entry>>> list(Order order, Deadline deadline) = 0;
  virtual Task<Result<std::vector<store::TaskSummary>>> tasks() = 0;
  virtual Task<Result<store::TaskSummary>> stat(std::string task_id) = 0;
  // URL of a stored task; empty where it is not known.
  virtual Task<std::string> url_of(std::string task_id) = 0;
  virtual Task<Result<void>> remove(std::string task_id) = 0;
  virtual Result<std::string> metrics() = 0;
  virtual Task<Result<void>> drain(Deadline deadline) = 0;
  virtual Task<void> close() = 0;
};

}  // namespace d7y::capi
