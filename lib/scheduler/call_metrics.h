// The scheduler's calls, counted as Dragonfly's operators know them (Dragonfly scheduler 6.1): by
// grpc_server_*, and by a pair "dragonfly_scheduler_<name>_total" and "..._failure_total" for each method.
//
//   server_options.counters = [&](std::string_view path, grpc::MethodKind kind) {
//     return count_call(metrics, path, kind);
//   };
#pragma once

#include "net/grpc/method_counters.h"

namespace d7y::scheduler {

// AnnounceHost has only the first: its pair has labels, which are a matter of the message (ServiceMetrics).
grpc::MethodCounters count_call(Metrics& metrics, std::string_view path, grpc::MethodKind kind);

}  // namespace d7y::scheduler
