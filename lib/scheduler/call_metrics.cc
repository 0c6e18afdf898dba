#include "scheduler/call_metrics.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "api/methods.h"

namespace d7y::scheduler {
namespace {

namespace method = api::method::scheduler;

struct CallName {
  std::string_view path, name;
  std::string_view failure{};  // where Dragonfly's is not made of the name
};

constexpr CallName kNames[] = {
    {method::kAnnouncePeer, "announce_peer"},
    {method::kStatPeer, "stat_peer"},
    {method::kDeletePeer, "leave_peer"},
    {method::kStatTask, "stat_task"},
    {method::kDeleteTask, "leave_task"},
    {method::kListHosts, "list_hosts"},
    {method::kDeleteHost, "leave_host"},
    {method::kAnnouncePersistentPeer, "announce_persistent_peer"},
    {method::kStatPersistentPeer, "stat_persistent_peer"},
    {method::kDeletePersistentPeer, "delete_persistent_peer"},
    {method::kUploadPersistentTaskStarted, "upload_persistent_task_started"},
    {method::kUploadPersistentTaskFinished, "upload_persistent_task_finished"},
    {method::kUploadPersistentTaskFailed, "upload_persistent_task_failed", "upload_peer_failed"},
    {method::kStatPersistentTask, "stat_persistent_task"},
    {method::kDeletePersistentTask, "delete_persistent_task"},
    {method::kAnnouncePersistentCachePeer, "announce_persistent_cache_peer"},
    {method::kStatPersistentCachePeer, "stat_persistent_cache_peer"},
    {method::kDeletePersistentCachePeer, "delete_persistent_cache_peer"},
    {method::kUploadPersistentCacheTaskStarted, "upload_persistent_cache_task_started"},
    {method::kUploadPersistentCacheTaskFinished, "upload_persistent_cache_task_finished"},
    {method::kUploadPersistentCacheTaskFailed, "upload_persistent_cache_task_failed",
     "upload_cache_peer_failed"},
    {method::kStatPersistentCacheTask, "stat_persistent_cache_task"},
    {method::kDeletePersistentCacheTask, "delete_persistent_cache_task"},
    {method::kPreheatImage, "preheat_image"},
    {method::kStatImage, "stat_image"},
    {method::kPreheatFile, "preheat_file"},
    {method::kStatFile, "stat_file"},
};

}  // namespace

grpc::MethodCounters count_call(Metrics& metrics, std::string_view path, grpc::MethodKind kind) {
  auto made = grpc::count_method(metrics, path, kind);
  const auto* found = std::find_if(std::begin(kNames), std::end(kNames),
                                   [&](const CallName& each) { return each.path == path; });
  if (found == std::end(kNames)) return made;
  const auto failure = found->failure.empty() ? found->name : found->failure;
  made.calls = &metrics.counter(fmt::format("dragonfly_scheduler_{}_total", found->name), "Calls.");
  made.failures =
      &metrics.counter(fmt::format("dragonfly_scheduler_{}_failure_total", failure), "Calls that failed.");
  return made;
}

}  // namespace d7y::scheduler
