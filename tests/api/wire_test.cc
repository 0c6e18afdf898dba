// The messages' bytes are Dragonfly's, whatever our files say about them.
#include <doctest/doctest.h>

#include <algorithm>
#include <string>

#include "api/api.h"
#include "api/descriptors.h"

using namespace d7y;

namespace {
std::string hex(const std::string& bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (const unsigned char byte : bytes) {
    text += kDigits[byte >> 4];
    text += kDigits[byte & 15];
  }
  return text;
}
}  // namespace

TEST_CASE("fields have the numbers that Dragonfly gave them") {
  api::scheduler::AnnouncePeerRequest request;
  request.set_host_id("h");
  request.set_task_id("t");
  request.set_peer_id("p");
  request.mutable_download_piece_failed_request()->set_piece_number(0);
  request.mutable_download_piece_failed_request()->set_parent_id("q");
  request.mutable_download_piece_failed_request()->set_temporary(true);
  CHECK(hex(request.SerializeAsString()) ==
        "0a01681201741a0170"
        "7207"
        "0800"
        "120171"
        "1801");

  api::common::Download download;
  download.set_url("u");
  download.set_actual_content_length(0);
  download.set_metadata_only(true);
  CHECK(hex(download.SerializeAsString()) ==
        "0a0175"
        "e00100"
        "880201");

  api::common::Host host;
  host.set_port(4000);
  host.mutable_network()->set_tx_bandwidth(1);
  CHECK(hex(host.SerializeAsString()) ==
        "28a01f"
        "72026001");

  api::dfdaemon::SyncPiecesResponse piece;
  piece.set_number(1);
  piece.set_ip("i");
  piece.set_tcp_port(4005);
  piece.set_quic_port(4006);
  CHECK(hex(piece.SerializeAsString()) ==
        "0801"
        "220169"
        "28a51f"
        "30a61f");
}

TEST_CASE("a field of a newer version survives being stored and sent on") {
  // Download{url = "u"} with an unknown message in field 34.
  const std::string newer("\x0a\x01u\x92\x02\x03\x0a\x01t", 9);
  api::common::Download download;
  REQUIRE(download.ParseFromString(newer));
  auto copy = download;
  copy.set_need_back_to_source(true);
  CHECK(copy.SerializeAsString().find(std::string("\x92\x02\x03\x0a\x01t", 6)) != std::string::npos);

  api::scheduler::AnnouncePeerRequest request;
  *request.mutable_register_peer_request()->mutable_download() = download;
  CHECK(request.SerializeAsString().find(std::string("\x92\x02\x03\x0a\x01t", 6)) != std::string::npos);
}

TEST_CASE("an unset length can be told from an empty task") {
  api::common::Download download;
  CHECK_FALSE(download.has_actual_content_length());
  REQUIRE(download.ParseFromString(std::string("\xe0\x01\x00", 3)));
  CHECK(download.has_actual_content_length());
  CHECK(download.actual_content_length() == 0);
}

TEST_CASE("durations and times convert both ways, also before 1970 and out of range") {
  api::PbDuration duration;
  api::set_duration(duration, std::chrono::milliseconds(-1500));
  CHECK(duration.seconds() == -1);
  CHECK(duration.nanos() == -500'000'000);
  CHECK(api::duration_of(duration) == std::chrono::milliseconds(-1500));
  duration.set_seconds(std::numeric_limits<std::int64_t>::max());
  CHECK(api::duration_of(duration) > std::chrono::hours(24 * 365 * 200));

  api::PbTimestamp time;
  api::set_time(time, WallTime(std::chrono::milliseconds(-1)));
  CHECK(time.seconds() == -1);
  CHECK(time.nanos() == 999'000'000);
  CHECK(api::time_of(time) == WallTime(std::chrono::milliseconds(-1)));
}

TEST_CASE("reflection knows every service and method with its imports first") {
  const auto& files = api::file_descriptors();
  std::vector<std::string> symbols, names;
  for (const auto& file : files) {
    for (const auto& dependency : file.dependencies) {
      CHECK(std::find(names.begin(), names.end(), dependency) != names.end());
    }
    names.push_back(file.name);
    symbols.insert(symbols.end(), file.symbols.begin(), file.symbols.end());
    CHECK(file.bytes.size() > 10);
  }
  const auto known = [&](const char* symbol) {
    return std::find(symbols.begin(), symbols.end(), symbol) != symbols.end();
  };
  CHECK(known("scheduler.v2.Scheduler"));
  CHECK(known("scheduler.v2.Scheduler.AnnouncePeer"));
  CHECK(known("dfdaemon.v2.DfdaemonUpload.SyncPieces"));
  CHECK(known("manager.v2.Manager.KeepAlive"));
  CHECK(known("d7y.v1.Dealing.Deal"));
  CHECK(known("common.v2.Download"));
  CHECK(known("google.protobuf.Duration"));
  CHECK(known("common.v2.SizeScope"));
}
