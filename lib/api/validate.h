// What our servers refuse, message by message: the rules Dragonfly's Go servers enforce, so that a client
// gets the same verdict from either.
//
//   if (auto valid = api::validate(request); !valid) return invalid_argument(valid.error());
//
// An error is kInvalid and reads "invalid AnnouncePeerRequest.HostId: value length must be at least 1
// runes". Values are named, never quoted. Nested messages are checked as far as they are set; work and
// memory are linear in the message's size.
#pragma once

#include "api/manager.h"
#include "api/scheduler.h"
#include "base/result.h"

namespace d7y::api {

Result<void> validate(const common::Download& message);
Result<void> validate(const common::Piece& message);
Result<void> validate(const common::Host& message);
Result<void> validate(const common::Task& message);
Result<void> validate(const common::Peer& message);

Result<void> validate(const scheduler::AnnouncePeerRequest& message);
Result<void> validate(const scheduler::AnnounceHostRequest& message);
Result<void> validate(const scheduler::StatPeerRequest& message);
Result<void> validate(const scheduler::DeletePeerRequest& message);
Result<void> validate(const scheduler::StatTaskRequest& message);
Result<void> validate(const scheduler::DeleteTaskRequest& message);
Result<void> validate(const scheduler::DeleteHostRequest& message);
Result<void> validate(const scheduler::ListHostsRequest& message);
Result<void> validate(const scheduler::StatPersistentPeerRequest& message);
Result<void> validate(const scheduler::DeletePersistentPeerRequest& message);
Result<void> validate(const scheduler::UploadPersistentTaskStartedRequest& message);
Result<void> validate(const scheduler::UploadPersistentTaskFinishedRequest& message);
Result<void> validate(const scheduler::UploadPersistentTaskFailedRequest& message);
Result<void> validate(const scheduler::StatPersistentTaskRequest& message);
Result<void> validate(const scheduler::DeletePersistentTaskRequest& message);
Result<void> validate(const scheduler::AnnouncePersistentPeerRequest& message);
Result<void> validate(const scheduler::StatPersistentCachePeerRequest& message);
Result<void> validate(const scheduler::DeletePersistentCachePeerRequest& message);
Result<void> validate(const scheduler::UploadPersistentCacheTaskStartedRequest& message);
Result<void> validate(const scheduler::UploadPersistentCacheTaskFinishedRequest& message);
Result<void> validate(const scheduler::UploadPersistentCacheTaskFailedRequest& message);
Result<void> validate(const scheduler::StatPersistentCacheTaskRequest& message);
Result<void> validate(const scheduler::DeletePersistentCacheTaskRequest& message);
Result<void> validate(const scheduler::AnnouncePersistentCachePeerRequest& message);
Result<void> validate(const scheduler::PreheatImageRequest& message);
Result<void> validate(const scheduler::PreheatFileRequest& message);
Result<void> validate(const scheduler::StatImageRequest& message);
Result<void> validate(const scheduler::StatFileRequest& message);

Result<void> validate(const manager::ListSchedulersRequest& message);
Result<void> validate(const manager::UpdateSchedulerRequest& message);
Result<void> validate(const manager::GetSchedulerRequest& message);
Result<void> validate(const manager::KeepAliveRequest& message);
Result<void> validate(const manager::ListApplicationsRequest& message);

}  // namespace d7y::api
