// The two gRPC services of a daemon: DfdaemonUpload for other machines, DfdaemonDownload for its own.
#pragma once

#include "net/grpc/server.h"
#include "node/task_calls.h"

namespace d7y::node {

// DownloadTask (seed trigger and preheat), StatTask, StatLocalTask, ListTaskEntries, DeleteTask. SyncPieces
// and SyncHost are swarm::SyncService's. Files are never written for callers of this side: a Download
// with an output_path is PERMISSION_DENIED.
void attach_upload_service(grpc::Server& server, TaskCalls& calls);

// DownloadTask, StatTask, StatLocalTask, ListLocalTasks, ListTaskEntries, DeleteTask, DeleteLocalTask,
// DeleteHost.
void attach_download_service(grpc::Server& server, TaskCalls& calls);

}  // namespace d7y::node
