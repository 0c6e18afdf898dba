// Content to an output path: complete and verified, or not there at all.
//
// The bytes go under a temporary name in the output's own folder and get the final name by rename.
// How they get there: a hard link to the stored file, a reflink, or a copy, whichever comes first
// and is allowed and possible. A hard link shares the file with its user: the store notices when
// they change it (StoredTask::intact) and never serves the change.
#pragma once

#include "store/stored_task.h"

namespace d7y::store {

enum class ExportMethod : std::uint8_t { kHardLink, kReflink, kCopy };
std::string_view name_of(ExportMethod method);

struct ExportOptions {
  std::string path;
  // Only these bytes; always a copy. None: the whole content, which must be finish()ed.
  std::optional<std::pair<std::uint64_t, std::uint64_t>> range;  // offset, length
  bool overwrite = false;  // false: kExists if the path is there, decided atomically
  bool allow_hard_link = true, allow_reflink = true;
  bool require_hard_link = false;    // kUnsupported rather than a copy (dfget --force-hard-link)
  bool durable = false;              // on stable storage, name and bytes, when export ends
  std::uint32_t permissions = 0644;  // of a copy; a hard link has the stored file's
};

// Puts the content of `task` at `options.path`. Errors: kPrecondition (not finished, or a piece of
// the range is missing), kExists, kNotFound (the output's folder), kPermission, kDiskFull,
// kCorrupt (stored bytes no longer match their digests; they were dropped), kInvalid (the path is a
// folder). Whatever fails or is cancelled, nothing partial has the final name.
Task<Result<ExportMethod>> export_content(TaskHandle task, ExportOptions options);

}  // namespace d7y::store
