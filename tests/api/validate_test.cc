#include "api/validate.h"

#include <doctest/doctest.h>

#include <limits>

#include "api/api.h"

using namespace d7y;

namespace {

api::common::Host good_host() {
  api::common::Host host;
  host.set_id("10.0.0.1-a");
  host.set_hostname("a");
  host.set_ip("10.0.0.1");
  host.set_port(4000);
  host.set_download_port(4000);
  return host;
}

api::scheduler::AnnouncePeerRequest good_register() {
  api::scheduler::AnnouncePeerRequest request;
  request.set_host_id("h");
  request.set_task_id("t");
  request.set_peer_id("p");
  request.mutable_register_peer_request()->mutable_download()->set_url("https://example.com/a");
  return request;
}

api::common::Piece good_piece() {
  api::common::Piece piece;
  piece.mutable_cost();
  piece.mutable_created_at();
  piece.set_digest("crc32:907060870");
  return piece;
}

template <class Message>
std::string verdict(const Message& message) {
  auto result = api::validate(message);
  if (result) return "ok";
  CHECK(result.error().code() == ErrorCode::kInvalid);
  return result.error().message();
}

}  // namespace

TEST_CASE("a register that a Go scheduler accepts is accepted") {
  auto request = good_register();
  CHECK(verdict(request) == "ok");
  auto& download = *request.mutable_register_peer_request()->mutable_download();
  download.set_digest("sha256:" + std::string(64, 'a'));
  download.set_piece_length(4194304);
  download.set_remote_ip("::1");
  CHECK(verdict(request) == "ok");
  download.set_piece_length(67108864);
  download.set_url("s3://bucket/key");
  CHECK(verdict(request) == "ok");
}

TEST_CASE("each broken rule of a register is named") {
  auto request = good_register();
  request.clear_host_id();
  CHECK(verdict(request) == "invalid AnnouncePeerRequest.HostId: value length must be at least 1 runes");
  request = good_register();
  request.clear_register_peer_request();
  CHECK(verdict(request) == "invalid AnnouncePeerRequest.Request: value is required");

  const auto with = [](auto change) {
    auto changed = good_register();
    change(*changed.mutable_register_peer_request()->mutable_download());
    return verdict(changed);
  };
  using Download = api::common::Download;
  const auto names = [](const std::string& text, const char* field) {
    INFO(text);
    CHECK(text.find(std::string("invalid Download.") + field + ":") != std::string::npos);
  };
  names(with([](Download& d) { d.set_url("example.com/a"); }), "Url");
  names(with([](Download& d) { d.set_url("http://exa mple/"); }), "Url");
  names(with([](Download& d) { d.set_digest("sha256:12"); }), "Digest");
  names(with([](Download& d) { d.set_digest("crc32:xyz"); }), "Digest");
  names(with([](Download& d) { d.set_piece_length(4194303); }), "PieceLength");
  names(with([](Download& d) { d.set_piece_length(67108865); }), "PieceLength");
  names(with([](Download& d) { d.set_remote_ip("host"); }), "RemoteIp");
  names(with([](Download& d) { d.set_type(static_cast<api::common::TaskType>(9)); }), "Type");
  names(with([](Download& d) { d.mutable_object_storage()->set_access_key_id(""); }), "ObjectStorage");
  names(with([](Download& d) { d.mutable_hugging_face(); }), "HuggingFace");
}

TEST_CASE("piece messages need a cost, a time and, when they failed, a parent") {
  auto request = good_register();
  *request.mutable_download_piece_finished_request()->mutable_piece() = good_piece();
  CHECK(verdict(request) == "ok");
  request.mutable_download_piece_finished_request()->mutable_piece()->clear_cost();
  CHECK(verdict(request).find("invalid Piece.Cost: value is required") != std::string::npos);
  request.mutable_download_piece_finished_request()->clear_piece();
  CHECK(verdict(request).find("invalid DownloadPieceFinishedRequest.Piece: value is required") !=
        std::string::npos);

  request.mutable_download_piece_failed_request()->set_temporary(true);
  CHECK(verdict(request).find("DownloadPieceFailedRequest.ParentId") != std::string::npos);
  request.mutable_download_piece_back_to_source_failed_request();
  CHECK(verdict(request).find("DownloadPieceBackToSourceFailedRequest.Response") != std::string::npos);
  request.mutable_download_piece_back_to_source_failed_request()->mutable_unknown();
  CHECK(verdict(request) == "ok");
  request.mutable_download_piece_back_to_source_failed_request()->mutable_backend()->set_status_code(99);
  CHECK(verdict(request).find("Backend.StatusCode") != std::string::npos);
}

TEST_CASE("a host needs an address one can connect to") {
  api::scheduler::AnnounceHostRequest request;
  CHECK(verdict(request) == "invalid AnnounceHostRequest.Host: value is required");
  *request.mutable_host() = good_host();
  CHECK(verdict(request) == "ok");
  request.mutable_host()->set_port(1023);
  CHECK(verdict(request).find("Host.Port: value must be inside range [1024, 65535)") != std::string::npos);
  request.mutable_host()->set_port(65535);
  CHECK(verdict(request).find("Host.Port") != std::string::npos);
  *request.mutable_host() = good_host();
  request.mutable_host()->set_ip("a.example");
  CHECK(verdict(request).find("Host.Ip") != std::string::npos);
  *request.mutable_host() = good_host();
  request.mutable_host()->set_type(4);
  CHECK(verdict(request).find("Host.Type") != std::string::npos);
  *request.mutable_host() = good_host();
  request.mutable_host()->mutable_memory()->set_used_percent(std::numeric_limits<double>::quiet_NaN());
  CHECK(verdict(request).find("Memory.UsedPercent") != std::string::npos);
}

TEST_CASE("echoed parents are checked to the bottom") {
  auto request = good_register();
  auto& parent = *request.mutable_reschedule_peer_request()->add_candidate_parents();
  CHECK(verdict(request).find("invalid Peer.Id") != std::string::npos);
  parent.set_id("p");
  parent.mutable_cost();
  parent.set_state("Running");
  parent.mutable_created_at();
  parent.mutable_updated_at();
  *parent.mutable_host() = good_host();
  auto& task = *parent.mutable_task();
  task.set_id("t");
  task.set_url("http://a/");
  task.set_state("Running");
  task.mutable_created_at();
  CHECK(verdict(request).find("invalid Task.UpdatedAt: value is required") != std::string::npos);
  task.mutable_updated_at();
  CHECK(verdict(request) == "ok");
}

TEST_CASE("hosts of the manager's calls have DNS names") {
  api::manager::ListSchedulersRequest request;
  request.set_ip("10.0.0.1");
  for (const char* good : {"a", "node-1.example.com", "1a"}) {
    request.set_hostname(good);
    CHECK(verdict(request) == "ok");
  }
  for (const char* bad : {"", "a_b", "-a", "a-", "a..b", "."}) {
    request.set_hostname(bad);
    CHECK(verdict(request) == "invalid ListSchedulersRequest.Hostname: value must be a valid hostname");
  }
}
