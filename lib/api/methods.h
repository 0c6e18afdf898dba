// Paths of the gRPC methods, as they stand in a request's :path.
//
//   co_await client.unary<api::scheduler::AnnounceHostRequest, api::google::Empty>(
//       api::method::scheduler::kAnnounceHost, request, deadline);
#pragma once

#include <string_view>

namespace d7y::api::method {

namespace scheduler {
inline constexpr std::string_view kService = "scheduler.v2.Scheduler";
inline constexpr std::string_view kAnnouncePeer = "/scheduler.v2.Scheduler/AnnouncePeer";
inline constexpr std::string_view kStatPeer = "/scheduler.v2.Scheduler/StatPeer";
inline constexpr std::string_view kDeletePeer = "/scheduler.v2.Scheduler/DeletePeer";
inline constexpr std::string_view kStatTask = "/scheduler.v2.Scheduler/StatTask";
inline constexpr std::string_view kDeleteTask = "/scheduler.v2.Scheduler/DeleteTask";
inline constexpr std::string_view kAnnounceHost = "/scheduler.v2.Scheduler/AnnounceHost";
inline constexpr std::string_view kListHosts = "/scheduler.v2.Scheduler/ListHosts";
inline constexpr std::string_view kDeleteHost = "/scheduler.v2.Scheduler/DeleteHost";
inline constexpr std::string_view kAnnouncePersistentPeer = "/scheduler.v2.Scheduler/AnnouncePersistentPeer";
inline constexpr std::string_view kStatPersistentPeer = "/scheduler.v2.Scheduler/StatPersistentPeer";
inline constexpr std::string_view kDeletePersistentPeer = "/scheduler.v2.Scheduler/DeletePersistentPeer";
inline constexpr std::string_view kUploadPersistentTaskStarted =
    "/scheduler.v2.Scheduler/UploadPersistentTaskStarted";
inline constexpr std::string_view kUploadPersistentTaskFinished =
    "/scheduler.v2.Scheduler/UploadPersistentTaskFinished";
inline constexpr std::string_view kUploadPersistentTaskFailed =
    "/scheduler.v2.Scheduler/UploadPersistentTaskFailed";
inline constexpr std::string_view kStatPersistentTask = "/scheduler.v2.Scheduler/StatPersistentTask";
inline constexpr std::string_view kDeletePersistentTask = "/scheduler.v2.Scheduler/DeletePersistentTask";
inline constexpr std::string_view kAnnouncePersistentCachePeer =
    "/scheduler.v2.Scheduler/AnnouncePersistentCachePeer";
inline constexpr std::string_view kStatPersistentCachePeer =
    "/scheduler.v2.Scheduler/StatPersistentCachePeer";
inline constexpr std::string_view kDeletePersistentCachePeer =
    "/scheduler.v2.Scheduler/DeletePersistentCachePeer";
inline constexpr std::string_view kUploadPersistentCacheTaskStarted =
    "/scheduler.v2.Scheduler/UploadPersistentCacheTaskStarted";
inline constexpr std::string_view kUploadPersistentCacheTaskFinished =
    "/scheduler.v2.Scheduler/UploadPersistentCacheTaskFinished";
inline constexpr std::string_view kUploadPersistentCacheTaskFailed =
    "/scheduler.v2.Scheduler/UploadPersistentCacheTaskFailed";
inline constexpr std::string_view kStatPersistentCacheTask =
    "/scheduler.v2.Scheduler/StatPersistentCacheTask";
inline constexpr std::string_view kDeletePersistentCacheTask =
    "/scheduler.v2.Scheduler/DeletePersistentCacheTask";
inline constexpr std::string_view kPreheatImage = "/scheduler.v2.Scheduler/PreheatImage";
inline constexpr std::string_view kStatImage = "/scheduler.v2.Scheduler/StatImage";
inline constexpr std::string_view kPreheatFile = "/scheduler.v2.Scheduler/PreheatFile";
inline constexpr std::string_view kStatFile = "/scheduler.v2.Scheduler/StatFile";
}  // namespace scheduler

namespace origins {
inline constexpr std::string_view kService = "d7y.v1.Origins";
inline constexpr std::string_view kStatOrigin = "/d7y.v1.Origins/StatOrigin";
}  // namespace origins

namespace dealing {
inline constexpr std::string_view kService = "d7y.v1.Dealing";
inline constexpr std::string_view kDeal = "/d7y.v1.Dealing/Deal";
}  // namespace dealing

namespace upload {
inline constexpr std::string_view kService = "dfdaemon.v2.DfdaemonUpload";
inline constexpr std::string_view kDownloadTask = "/dfdaemon.v2.DfdaemonUpload/DownloadTask";
inline constexpr std::string_view kStatTask = "/dfdaemon.v2.DfdaemonUpload/StatTask";
inline constexpr std::string_view kStatLocalTask = "/dfdaemon.v2.DfdaemonUpload/StatLocalTask";
inline constexpr std::string_view kListTaskEntries = "/dfdaemon.v2.DfdaemonUpload/ListTaskEntries";
inline constexpr std::string_view kDeleteTask = "/dfdaemon.v2.DfdaemonUpload/DeleteTask";
inline constexpr std::string_view kSyncPieces = "/dfdaemon.v2.DfdaemonUpload/SyncPieces";
inline constexpr std::string_view kSyncHost = "/dfdaemon.v2.DfdaemonUpload/SyncHost";
inline constexpr std::string_view kDownloadPersistentTask =
    "/dfdaemon.v2.DfdaemonUpload/DownloadPersistentTask";
inline constexpr std::string_view kUpdatePersistentTask = "/dfdaemon.v2.DfdaemonUpload/UpdatePersistentTask";
inline constexpr std::string_view kStatPersistentTask = "/dfdaemon.v2.DfdaemonUpload/StatPersistentTask";
inline constexpr std::string_view kDeletePersistentTask = "/dfdaemon.v2.DfdaemonUpload/DeletePersistentTask";
inline constexpr std::string_view kSyncPersistentPieces = "/dfdaemon.v2.DfdaemonUpload/SyncPersistentPieces";
inline constexpr std::string_view kDownloadPersistentCacheTask =
    "/dfdaemon.v2.DfdaemonUpload/DownloadPersistentCacheTask";
inline constexpr std::string_view kUpdatePersistentCacheTask =
    "/dfdaemon.v2.DfdaemonUpload/UpdatePersistentCacheTask";
inline constexpr std::string_view kStatPersistentCacheTask =
    "/dfdaemon.v2.DfdaemonUpload/StatPersistentCacheTask";
inline constexpr std::string_view kDeletePersistentCacheTask =
    "/dfdaemon.v2.DfdaemonUpload/DeletePersistentCacheTask";
inline constexpr std::string_view kSyncPersistentCachePieces =
    "/dfdaemon.v2.DfdaemonUpload/SyncPersistentCachePieces";
}  // namespace upload

namespace download {
inline constexpr std::string_view kService = "dfdaemon.v2.DfdaemonDownload";
inline constexpr std::string_view kDownloadTask = "/dfdaemon.v2.DfdaemonDownload/DownloadTask";
inline constexpr std::string_view kStatTask = "/dfdaemon.v2.DfdaemonDownload/StatTask";
inline constexpr std::string_view kStatLocalTask = "/dfdaemon.v2.DfdaemonDownload/StatLocalTask";
inline constexpr std::string_view kListLocalTasks = "/dfdaemon.v2.DfdaemonDownload/ListLocalTasks";
inline constexpr std::string_view kListTaskEntries = "/dfdaemon.v2.DfdaemonDownload/ListTaskEntries";
inline constexpr std::string_view kDeleteTask = "/dfdaemon.v2.DfdaemonDownload/DeleteTask";
inline constexpr std::string_view kDeleteLocalTask = "/dfdaemon.v2.DfdaemonDownload/DeleteLocalTask";
inline constexpr std::string_view kDeleteHost = "/dfdaemon.v2.DfdaemonDownload/DeleteHost";
inline constexpr std::string_view kDownloadPersistentTask =
    "/dfdaemon.v2.DfdaemonDownload/DownloadPersistentTask";
inline constexpr std::string_view kUploadPersistentTask =
    "/dfdaemon.v2.DfdaemonDownload/UploadPersistentTask";
inline constexpr std::string_view kStatPersistentTask = "/dfdaemon.v2.DfdaemonDownload/StatPersistentTask";
inline constexpr std::string_view kStatLocalPersistentTask =
    "/dfdaemon.v2.DfdaemonDownload/StatLocalPersistentTask";
inline constexpr std::string_view kListLocalPersistentTasks =
    "/dfdaemon.v2.DfdaemonDownload/ListLocalPersistentTasks";
inline constexpr std::string_view kDownloadPersistentCacheTask =
    "/dfdaemon.v2.DfdaemonDownload/DownloadPersistentCacheTask";
inline constexpr std::string_view kUploadPersistentCacheTask =
    "/dfdaemon.v2.DfdaemonDownload/UploadPersistentCacheTask";
inline constexpr std::string_view kStatPersistentCacheTask =
    "/dfdaemon.v2.DfdaemonDownload/StatPersistentCacheTask";
inline constexpr std::string_view kStatLocalPersistentCacheTask =
    "/dfdaemon.v2.DfdaemonDownload/StatLocalPersistentCacheTask";
inline constexpr std::string_view kListLocalPersistentCacheTasks =
    "/dfdaemon.v2.DfdaemonDownload/ListLocalPersistentCacheTasks";
}  // namespace download

namespace manager {
inline constexpr std::string_view kService = "manager.v2.Manager";
inline constexpr std::string_view kGetSeedPeer = "/manager.v2.Manager/GetSeedPeer";
inline constexpr std::string_view kListSeedPeers = "/manager.v2.Manager/ListSeedPeers";
inline constexpr std::string_view kUpdateSeedPeer = "/manager.v2.Manager/UpdateSeedPeer";
inline constexpr std::string_view kDeleteSeedPeer = "/manager.v2.Manager/DeleteSeedPeer";
inline constexpr std::string_view kGetScheduler = "/manager.v2.Manager/GetScheduler";
inline constexpr std::string_view kUpdateScheduler = "/manager.v2.Manager/UpdateScheduler";
inline constexpr std::string_view kListSchedulers = "/manager.v2.Manager/ListSchedulers";
inline constexpr std::string_view kListApplications = "/manager.v2.Manager/ListApplications";
inline constexpr std::string_view kKeepAlive = "/manager.v2.Manager/KeepAlive";
}  // namespace manager

}  // namespace d7y::api::method
