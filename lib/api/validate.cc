#include "api/validate.h"

#include <algorithm>
#include <cmath>

#include "base/address.h"

namespace d7y::api {
namespace {

// Collects the first broken rule of one message. Reads like the rules of grpc.md 2.
class Rules {
 public:
  explicit Rules(std::string_view message) : message_(message) {}

  Rules& check(bool holds, std::string_view field, std::string_view reason) {
    if (!holds && !failure_) {
      failure_ = d7y::error(ErrorCode::kInvalid, "invalid {}.{}: {}", message_, field, reason);
    }
    return *this;
  }
  Rules& text(std::string_view value, std::string_view field) {
    return check(!value.empty(), field, "value length must be at least 1 runes");
  }
  Rules& present(bool has, std::string_view field) { return check(has, field, "value is required"); }

  // What was found out about a nested message.
  Rules& nested(const Result<void>& inner, std::string_view field) {
    if (!failure_ && !inner) {
      failure_ =
          d7y::error(ErrorCode::kInvalid, "invalid {}.{}: embedded message failed validation | caused by: {}",
                     message_, field, inner.error().message());
    }
    return *this;
  }

  Result<void> verdict() {
    if (failure_) return std::move(*failure_);
    return {};
  }

 private:
  std::string_view message_;
  std::optional<Error> failure_;
};

constexpr std::uint64_t kMinPiece = 4194304;
constexpr std::uint64_t kMaxPiece = 67108864;

bool is_absolute_uri(std::string_view text) {
  const auto colon = text.find(':');
  if (colon == 0 || colon == std::string_view::npos) return false;
  const auto alpha = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); };
  if (!alpha(text[0])) return false;
  for (const char c : text.substr(1, colon - 1)) {
    if (!alpha(c) && !(c >= '0' && c <= '9') && c != '+' && c != '-' && c != '.') return false;
  }
  return std::none_of(text.begin(), text.end(),
                      [](char c) { return static_cast<unsigned char>(c) < 0x21 || c == 0x7f; });
}

bool is_ip(std::string_view text) { return Address::parse_ip(text, 0).ok(); }

// A DNS name: labels of letters, digits and inner hyphens.
bool is_host_name(std::string_view text) {
  if (!text.empty() && text.back() == '.') text.remove_suffix(1);
  if (text.empty() || text.size() > 253) return false;
  std::size_t label = 0;
  char before = '.';
  for (const char c : text) {
    if (c == '.') {
      if (label == 0 || before == '-') return false;
      label = 0;
    } else {
      const bool alnum = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
      if ((!alnum && c != '-') || (c == '-' && label == 0) || ++label > 63) return false;
    }
    before = c;
  }
  return label > 0 && before != '-';
}

bool is_port(std::int32_t port) { return port >= 1024 && port < 65535; }
bool is_piece_length(std::uint64_t length) {
  return length == 0 || (length >= kMinPiece && length <= kMaxPiece);
}

// Empty, or algorithm:hex.
bool is_digest(std::string_view text) {
  if (text.empty()) return true;
  const auto colon = text.find(':');
  if (colon == std::string_view::npos) return false;
  const auto algorithm = text.substr(0, colon);
  const auto hex = text.substr(colon + 1);
  const std::size_t length = algorithm == "md5"                               ? 32
                             : algorithm == "sha1"                            ? 40
                             : algorithm == "sha256" || algorithm == "blake3" ? 64
                             : algorithm == "sha512"                          ? 128
                                                                              : 0;
  if (algorithm == "crc32" ? hex.empty() : (length == 0 || hex.size() != length)) return false;
  return std::all_of(hex.begin(), hex.end(), [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
  });
}

constexpr std::string_view kShort = "value length must be at least 1 runes";
constexpr std::string_view kNotUri = "value must be absolute";
constexpr std::string_view kNotIp = "value must be a valid IP address";
constexpr std::string_view kNotHost = "value must be a valid hostname";
constexpr std::string_view kNotPort = "value must be inside range [1024, 65535)";
constexpr std::string_view kNotPiece = "value must be inside range [4194304, 67108864]";
constexpr std::string_view kNotDigest = "value does not match the form algorithm:hex";
constexpr std::string_view kNotEnum = "value must be one of the defined enum values";
constexpr std::string_view kNegative = "value must be greater than or equal to 0";
constexpr std::string_view kPercent = "value must be inside range [0, 100]";

bool is_percent(double value) { return value >= 0 && value <= 100; }

Result<void> verdict_of(const common::ObjectStorage& m) {
  return Rules("ObjectStorage")
      .check(!m.has_region() || !m.region().empty(), "Region", kShort)
      .check(!m.has_endpoint() || !m.endpoint().empty(), "Endpoint", kShort)
      .check(!m.has_access_key_id() || !m.access_key_id().empty(), "AccessKeyId", kShort)
      .check(!m.has_access_key_secret() || !m.access_key_secret().empty(), "AccessKeySecret", kShort)
      .check(!m.has_session_token() || !m.session_token().empty(), "SessionToken", kShort)
      .check(!m.has_credential_path() || !m.credential_path().empty(), "CredentialPath", kShort)
      .check(!m.has_predefined_acl() || !m.predefined_acl().empty(), "PredefinedAcl", kShort)
      .check(!m.has_security_token() || !m.security_token().empty(), "SecurityToken", kShort)
      .verdict();
}

template <class Hub>
Result<void> validate_hub(std::string_view name, const Hub& m) {
  return Rules(name)
      .text(m.revision(), "Revision")
      .check(!m.has_base_url() || m.base_url().empty() || is_absolute_uri(m.base_url()), "BaseUrl", kNotUri)
      .verdict();
}
Result<void> verdict_of(const common::HuggingFace& m) { return validate_hub("HuggingFace", m); }
Result<void> verdict_of(const common::ModelScope& m) { return validate_hub("ModelScope", m); }

Result<void> verdict_of(const common::CPU& m) {
  return Rules("CPU")
      .check(m.percent() >= 0, "Percent", kNegative)
      .check(m.process_percent() >= 0, "ProcessPercent", kNegative)
      .verdict();
}
Result<void> verdict_of(const common::Memory& m) {
  return Rules("Memory")
      .check(is_percent(m.used_percent()), "UsedPercent", kPercent)
      .check(is_percent(m.process_used_percent()), "ProcessUsedPercent", kPercent)
      .verdict();
}
Result<void> verdict_of(const common::Disk& m) {
  return Rules("Disk")
      .check(is_percent(m.used_percent()), "UsedPercent", kPercent)
      .check(is_percent(m.inodes_used_percent()), "InodesUsedPercent", kPercent)
      .verdict();
}

// The identity that every scheduler message repeats.
template <class Message>
Result<void> validate_task_and_host(std::string_view name, const Message& m) {
  return Rules(name).text(m.host_id(), "HostId").text(m.task_id(), "TaskId").verdict();
}
template <class Message>
Result<void> validate_peer_of_task(std::string_view name, const Message& m) {
  return Rules(name)
      .text(m.host_id(), "HostId")
      .text(m.task_id(), "TaskId")
      .text(m.peer_id(), "PeerId")
      .verdict();
}

Result<void> verdict_of(const scheduler::RegisterPeerRequest& m) {
  return Rules("RegisterPeerRequest")
      .present(m.has_download(), "Download")
      .nested(m.has_download() ? validate(m.download()) : Result<void>{}, "Download")
      .verdict();
}
Result<void> verdict_of(const scheduler::ReschedulePeerRequest& m) {
  Rules rules("ReschedulePeerRequest");
  for (const auto& parent : m.candidate_parents()) rules.nested(validate(parent), "CandidateParents");
  return rules.verdict();
}
template <class Message>
Result<void> validate_piece_report(std::string_view name, const Message& m) {
  return Rules(name)
      .present(m.has_piece(), "Piece")
      .nested(m.has_piece() ? validate(m.piece()) : Result<void>{}, "Piece")
      .verdict();
}
Result<void> verdict_of(const scheduler::DownloadPieceFinishedRequest& m) {
  return validate_piece_report("DownloadPieceFinishedRequest", m);
}
Result<void> verdict_of(const scheduler::DownloadPieceBackToSourceFinishedRequest& m) {
  return validate_piece_report("DownloadPieceBackToSourceFinishedRequest", m);
}
Result<void> verdict_of(const scheduler::DownloadPieceFailedRequest& m) {
  return Rules("DownloadPieceFailedRequest").text(m.parent_id(), "ParentId").verdict();
}
Result<void> verdict_of(const scheduler::DownloadPieceBackToSourceFailedRequest& m) {
  using Failed = scheduler::DownloadPieceBackToSourceFailedRequest;
  const auto& backend = m.backend();
  return Rules("DownloadPieceBackToSourceFailedRequest")
      .present(m.response_case() != Failed::RESPONSE_NOT_SET, "Response")
      .check(!m.has_backend() || !backend.has_status_code() ||
                 (backend.status_code() >= 100 && backend.status_code() < 599),
             "Backend",
             "embedded message failed validation | caused by: invalid Backend.StatusCode: value must be "
             "inside range [100, 599)")
      .verdict();
}

}  // namespace

Result<void> validate(const common::Download& m) {
  return Rules("Download")
      .check(is_absolute_uri(m.url()), "Url", kNotUri)
      .check(is_digest(m.digest()), "Digest", kNotDigest)
      .check(common::TaskType_IsValid(m.type()), "Type", kNotEnum)
      .check(common::Priority_IsValid(m.priority()), "Priority", kNotEnum)
      .check(is_piece_length(m.piece_length()), "PieceLength", kNotPiece)
      .nested(m.has_object_storage() ? verdict_of(m.object_storage()) : Result<void>{}, "ObjectStorage")
      .check(m.remote_ip().empty() || is_ip(m.remote_ip()), "RemoteIp", kNotIp)
      .nested(m.has_hugging_face() ? verdict_of(m.hugging_face()) : Result<void>{}, "HuggingFace")
      .nested(m.has_model_scope() ? verdict_of(m.model_scope()) : Result<void>{}, "ModelScope")
      .verdict();
}

Result<void> validate(const common::Piece& m) {
  return Rules("Piece")
      .check(is_digest(m.digest()), "Digest", kNotDigest)
      .check(!m.has_content() || !m.content().empty(), "Content", "value length must be at least 1 bytes")
      .check(!m.has_traffic_type() || common::TrafficType_IsValid(m.traffic_type()), "TrafficType", kNotEnum)
      .present(m.has_cost(), "Cost")
      .present(m.has_created_at(), "CreatedAt")
      .verdict();
}

Result<void> validate(const common::Host& m) {
  return Rules("Host")
      .text(m.id(), "Id")
      .check(m.type() <= 3, "Type", "value must be less than or equal to 3")
      .text(m.hostname(), "Hostname")
      .check(is_ip(m.ip()), "Ip", kNotIp)
      .check(is_port(m.port()), "Port", kNotPort)
      .check(is_port(m.download_port()), "DownloadPort", kNotPort)
      .nested(m.has_cpu() ? verdict_of(m.cpu()) : Result<void>{}, "Cpu")
      .nested(m.has_memory() ? verdict_of(m.memory()) : Result<void>{}, "Memory")
      .nested(m.has_disk() ? verdict_of(m.disk()) : Result<void>{}, "Disk")
      .verdict();
}

Result<void> validate(const common::Task& m) {
  Rules rules("Task");
  rules.text(m.id(), "Id")
      .check(common::TaskType_IsValid(m.type()), "Type", kNotEnum)
      .check(is_absolute_uri(m.url()), "Url", kNotUri)
      .check(is_digest(m.digest()), "Digest", kNotDigest);
  for (const auto& piece : m.pieces()) rules.nested(validate(piece), "Pieces");
  return rules.text(m.state(), "State")
      .present(m.has_created_at(), "CreatedAt")
      .present(m.has_updated_at(), "UpdatedAt")
      .verdict();
}

Result<void> validate(const common::Peer& m) {
  Rules rules("Peer");
  rules.text(m.id(), "Id").check(common::Priority_IsValid(m.priority()), "Priority", kNotEnum);
  for (const auto& piece : m.pieces()) rules.nested(validate(piece), "Pieces");
  return rules.present(m.has_cost(), "Cost")
      .text(m.state(), "State")
      .present(m.has_task(), "Task")
      .nested(m.has_task() ? validate(m.task()) : Result<void>{}, "Task")
      .present(m.has_host(), "Host")
      .nested(m.has_host() ? validate(m.host()) : Result<void>{}, "Host")
      .present(m.has_created_at(), "CreatedAt")
      .present(m.has_updated_at(), "UpdatedAt")
      .verdict();
}

Result<void> validate(const scheduler::AnnouncePeerRequest& m) {
  using Request = scheduler::AnnouncePeerRequest;
  Rules rules("AnnouncePeerRequest");
  rules.text(m.host_id(), "HostId").text(m.task_id(), "TaskId").text(m.peer_id(), "PeerId");
  switch (m.request_case()) {
    case Request::REQUEST_NOT_SET: rules.present(false, "Request"); break;
    case Request::kRegisterPeerRequest:
      rules.nested(verdict_of(m.register_peer_request()), "RegisterPeerRequest");
      break;
    case Request::kReschedulePeerRequest:
      rules.nested(verdict_of(m.reschedule_peer_request()), "ReschedulePeerRequest");
      break;
    case Request::kDownloadPieceFinishedRequest:
      rules.nested(verdict_of(m.download_piece_finished_request()), "DownloadPieceFinishedRequest");
      break;
    case Request::kDownloadPieceBackToSourceFinishedRequest:
      rules.nested(verdict_of(m.download_piece_back_to_source_finished_request()),
                   "DownloadPieceBackToSourceFinishedRequest");
      break;
    case Request::kDownloadPieceFailedRequest:
      rules.nested(verdict_of(m.download_piece_failed_request()), "DownloadPieceFailedRequest");
      break;
    case Request::kDownloadPieceBackToSourceFailedRequest:
      rules.nested(verdict_of(m.download_piece_back_to_source_failed_request()),
                   "DownloadPieceBackToSourceFailedRequest");
      break;
    default: break;
  }
  return rules.verdict();
}

Result<void> validate(const scheduler::AnnounceHostRequest& m) {
  return Rules("AnnounceHostRequest")
      .present(m.has_host(), "Host")
      .nested(m.has_host() ? validate(m.host()) : Result<void>{}, "Host")
      .verdict();
}
Result<void> validate(const scheduler::StatPeerRequest& m) {
  return validate_peer_of_task("StatPeerRequest", m);
}
Result<void> validate(const scheduler::DeletePeerRequest& m) {
  return validate_peer_of_task("DeletePeerRequest", m);
}
Result<void> validate(const scheduler::StatTaskRequest& m) {
  return validate_task_and_host("StatTaskRequest", m);
}
Result<void> validate(const scheduler::DeleteTaskRequest& m) {
  return validate_task_and_host("DeleteTaskRequest", m);
}
Result<void> validate(const scheduler::DeleteHostRequest& m) {
  return Rules("DeleteHostRequest").text(m.host_id(), "HostId").verdict();
}
Result<void> validate(const scheduler::ListHostsRequest&) { return {}; }

namespace {

constexpr std::string_view kNotTtl = "value must be inside range [5m0s, 168h0m0s]";

bool is_ttl(const PbDuration& ttl) {
  const auto value = duration_of(ttl);
  return value >= std::chrono::minutes(5) && value <= std::chrono::hours(168);
}

// A persistent task's object store: where it is has to be said.
Result<void> place_of(const common::ObjectStorage& m) {
  return Rules("ObjectStorage")
      .check(m.has_region() && !m.region().empty(), "Region", kShort)
      .check(m.has_endpoint() && !m.endpoint().empty(), "Endpoint", kShort)
      .verdict();
}

Result<void> verdict_of(const scheduler::RegisterPersistentPeerRequest& m) {
  return Rules("RegisterPersistentPeerRequest")
      .check(is_absolute_uri(m.url()), "Url", kNotUri)
      .present(m.has_object_storage(), "ObjectStorage")
      .nested(verdict_of(m.object_storage()), "ObjectStorage")
      .verdict();
}
Result<void> verdict_of(const scheduler::RegisterPersistentCachePeerRequest& m) {
  return Rules("RegisterPersistentCachePeerRequest")
      .check(m.piece_length() >= kMinPiece, "PieceLength", "value must be greater than or equal to 4194304")
      .verdict();
}

// What preheats and lists of who has what share.
template <class Message>
Rules& source_rules(Rules& rules, const Message& m) {
  return rules.check(is_absolute_uri(m.url()), "Url", kNotUri)
      .check(!m.has_piece_length() || is_piece_length(m.piece_length()), "PieceLength", kNotPiece)
      .check(!m.has_concurrent_peer_count() ||
                 (m.concurrent_peer_count() >= 1 && m.concurrent_peer_count() <= 1000),
             "ConcurrentPeerCount", "value must be inside range [1, 1000]");
}
template <class Message>
Rules& preheat_rules(Rules& rules, const Message& m) {
  source_rules(rules, m)
      .check(m.scope() == "single_seed_peer" || m.scope() == "all_seed_peers" || m.scope() == "all_peers",
             "Scope", "value must be in list [single_seed_peer all_seed_peers all_peers]")
      .check(!m.has_percentage() || (m.percentage() >= 1 && m.percentage() <= 100), "Percentage",
             "value must be inside range [1, 100]")
      .check(!m.has_count() || (m.count() >= 1 && m.count() <= 200), "Count",
             "value must be inside range [1, 200]")
      .check(!m.has_concurrent_task_count() ||
                 (m.concurrent_task_count() >= 1 && m.concurrent_task_count() <= 100),
             "ConcurrentTaskCount", "value must be inside range [1, 100]")
      .check(common::Priority_IsValid(m.priority()), "Priority", kNotEnum);
  for (const auto& ip : m.ips()) rules.check(is_ip(ip), "Ips", kNotIp);
  return rules;
}

}  // namespace

Result<void> validate(const scheduler::AnnouncePersistentPeerRequest& m) {
  Rules rules("AnnouncePersistentPeerRequest");
  rules.text(m.host_id(), "HostId").text(m.task_id(), "TaskId").text(m.peer_id(), "PeerId");
  using Request = scheduler::AnnouncePersistentPeerRequest;
  switch (m.request_case()) {
    case Request::REQUEST_NOT_SET: rules.present(false, "Request"); break;
    case Request::kRegisterPersistentPeerRequest:
      rules.nested(verdict_of(m.register_persistent_peer_request()), "RegisterPersistentPeerRequest");
      break;
    case Request::kDownloadPieceFinishedRequest:
      rules.nested(verdict_of(m.download_piece_finished_request()), "DownloadPieceFinishedRequest");
      break;
    case Request::kDownloadPieceBackToSourceFinishedRequest:
      rules.nested(verdict_of(m.download_piece_back_to_source_finished_request()),
                   "DownloadPieceBackToSourceFinishedRequest");
      break;
    case Request::kDownloadPieceFailedRequest:
      rules.nested(verdict_of(m.download_piece_failed_request()), "DownloadPieceFailedRequest");
      break;
    case Request::kDownloadPieceBackToSourceFailedRequest:
      rules.nested(verdict_of(m.download_piece_back_to_source_failed_request()),
                   "DownloadPieceBackToSourceFailedRequest");
      break;
    default: break;
  }
  return rules.verdict();
}
Result<void> validate(const scheduler::AnnouncePersistentCachePeerRequest& m) {
  Rules rules("AnnouncePersistentCachePeerRequest");
  rules.text(m.host_id(), "HostId").text(m.task_id(), "TaskId").text(m.peer_id(), "PeerId");
  using Request = scheduler::AnnouncePersistentCachePeerRequest;
  switch (m.request_case()) {
    case Request::REQUEST_NOT_SET: rules.present(false, "Request"); break;
    case Request::kRegisterPersistentCachePeerRequest:
      rules.nested(verdict_of(m.register_persistent_cache_peer_request()),
                   "RegisterPersistentCachePeerRequest");
      break;
    case Request::kDownloadPieceFinishedRequest:
      rules.nested(verdict_of(m.download_piece_finished_request()), "DownloadPieceFinishedRequest");
      break;
    case Request::kDownloadPieceFailedRequest:
      rules.nested(verdict_of(m.download_piece_failed_request()), "DownloadPieceFailedRequest");
      break;
    default: break;
  }
  return rules.verdict();
}
Result<void> validate(const scheduler::UploadPersistentTaskStartedRequest& m) {
  return Rules("UploadPersistentTaskStartedRequest")
      .text(m.host_id(), "HostId")
      .text(m.task_id(), "TaskId")
      .text(m.peer_id(), "PeerId")
      .check(is_absolute_uri(m.url()), "Url", kNotUri)
      .present(m.has_object_storage(), "ObjectStorage")
      .nested(m.has_object_storage() ? place_of(m.object_storage()) : Result<void>{}, "ObjectStorage")
      .check(m.persistent_replica_count() >= 1, "PersistentReplicaCount",
             "value must be greater than or equal to 1")
      .check(m.has_ttl() && is_ttl(m.ttl()), "Ttl", kNotTtl)
      .verdict();
}
Result<void> validate(const scheduler::UploadPersistentCacheTaskStartedRequest& m) {
  return Rules("UploadPersistentCacheTaskStartedRequest")
      .text(m.host_id(), "HostId")
      .text(m.task_id(), "TaskId")
      .text(m.peer_id(), "PeerId")
      .check(m.persistent_replica_count() >= 1, "PersistentReplicaCount",
             "value must be greater than or equal to 1")
      .check(m.piece_length() >= kMinPiece, "PieceLength", "value must be greater than or equal to 4194304")
      .check(m.has_ttl() && is_ttl(m.ttl()), "Ttl", kNotTtl)
      .verdict();
}
Result<void> validate(const scheduler::StatPersistentPeerRequest& m) {
  return validate_peer_of_task("StatPersistentPeerRequest", m);
}
Result<void> validate(const scheduler::DeletePersistentPeerRequest& m) {
  return validate_peer_of_task("DeletePersistentPeerRequest", m);
}
Result<void> validate(const scheduler::UploadPersistentTaskFinishedRequest& m) {
  return validate_peer_of_task("UploadPersistentTaskFinishedRequest", m);
}
Result<void> validate(const scheduler::UploadPersistentTaskFailedRequest& m) {
  return validate_peer_of_task("UploadPersistentTaskFailedRequest", m);
}
Result<void> validate(const scheduler::StatPersistentCachePeerRequest& m) {
  return validate_peer_of_task("StatPersistentCachePeerRequest", m);
}
Result<void> validate(const scheduler::DeletePersistentCachePeerRequest& m) {
  return validate_peer_of_task("DeletePersistentCachePeerRequest", m);
}
Result<void> validate(const scheduler::UploadPersistentCacheTaskFinishedRequest& m) {
  return validate_peer_of_task("UploadPersistentCacheTaskFinishedRequest", m);
}
Result<void> validate(const scheduler::UploadPersistentCacheTaskFailedRequest& m) {
  return validate_peer_of_task("UploadPersistentCacheTaskFailedRequest", m);
}
Result<void> validate(const scheduler::StatPersistentTaskRequest& m) {
  return validate_task_and_host("StatPersistentTaskRequest", m);
}
Result<void> validate(const scheduler::DeletePersistentTaskRequest& m) {
  return validate_task_and_host("DeletePersistentTaskRequest", m);
}
Result<void> validate(const scheduler::StatPersistentCacheTaskRequest& m) {
  return validate_task_and_host("StatPersistentCacheTaskRequest", m);
}
Result<void> validate(const scheduler::DeletePersistentCacheTaskRequest& m) {
  return validate_task_and_host("DeletePersistentCacheTaskRequest", m);
}
Result<void> validate(const scheduler::PreheatImageRequest& m) {
  Rules rules("PreheatImageRequest");
  return preheat_rules(rules, m).verdict();
}
Result<void> validate(const scheduler::PreheatFileRequest& m) {
  Rules rules("PreheatFileRequest");
  return preheat_rules(rules, m).verdict();
}
Result<void> validate(const scheduler::StatImageRequest& m) {
  Rules rules("StatImageRequest");
  return source_rules(rules, m)
      .check(!m.has_concurrent_layer_count() ||
                 (m.concurrent_layer_count() >= 1 && m.concurrent_layer_count() <= 100),
             "ConcurrentLayerCount", "value must be inside range [1, 100]")
      .verdict();
}
Result<void> validate(const scheduler::StatFileRequest& m) {
  Rules rules("StatFileRequest");
  return source_rules(rules, m).verdict();
}

Result<void> validate(const manager::ListSchedulersRequest& m) {
  const auto short_text = [](std::string_view text) { return text.size() <= 1024; };
  return Rules("ListSchedulersRequest")
      .check(manager::SourceType_IsValid(m.source_type()), "SourceType", kNotEnum)
      .check(is_host_name(m.hostname()), "Hostname", kNotHost)
      .check(is_ip(m.ip()), "Ip", kNotIp)
      .check(short_text(m.idc()), "Idc", "value length must be between 1 and 1024 runes, inclusive")
      .check(short_text(m.location()), "Location", "value length must be between 1 and 1024 runes, inclusive")
      .check(short_text(m.version()), "Version", "value length must be at most 1024 runes")
      .check(short_text(m.commit()), "Commit", "value length must be at most 1024 runes")
      .verdict();
}
Result<void> validate(const manager::UpdateSchedulerRequest& m) {
  return Rules("UpdateSchedulerRequest")
      .check(manager::SourceType_IsValid(m.source_type()), "SourceType", kNotEnum)
      .check(is_host_name(m.hostname()), "Hostname", kNotHost)
      .check(m.scheduler_cluster_id() >= 1, "SchedulerClusterId", "value must be greater than or equal to 1")
      .check(m.idc().size() <= 1024, "Idc", "value length must be between 1 and 1024 runes, inclusive")
      .check(m.location().size() <= 1024, "Location",
             "value length must be between 1 and 1024 runes, inclusive")
      .check(is_ip(m.ip()), "Ip", kNotIp)
      .check(is_port(m.port()), "Port", kNotPort)
      .verdict();
}
Result<void> validate(const manager::GetSchedulerRequest& m) {
  return Rules("GetSchedulerRequest")
      .check(manager::SourceType_IsValid(m.source_type()), "SourceType", kNotEnum)
      .check(is_host_name(m.hostname()), "Hostname", kNotHost)
      .check(m.scheduler_cluster_id() >= 1, "SchedulerClusterId", "value must be greater than or equal to 1")
      .check(m.ip().empty() || is_ip(m.ip()), "Ip", kNotIp)
      .verdict();
}
Result<void> validate(const manager::KeepAliveRequest& m) {
  return Rules("KeepAliveRequest")
      .check(manager::SourceType_IsValid(m.source_type()), "SourceType", kNotEnum)
      .check(is_host_name(m.hostname()), "Hostname", kNotHost)
      .check(m.cluster_id() >= 1, "ClusterId", "value must be greater than or equal to 1")
      .check(m.ip().empty() || is_ip(m.ip()), "Ip", kNotIp)
      .verdict();
}
Result<void> validate(const manager::ListApplicationsRequest& m) {
  return Rules("ListApplicationsRequest")
      .check(manager::SourceType_IsValid(m.source_type()), "SourceType", kNotEnum)
      .check(is_host_name(m.hostname()), "Hostname", kNotHost)
      .check(is_ip(m.ip()), "Ip", kNotIp)
      .verdict();
}

}  // namespace d7y::api
