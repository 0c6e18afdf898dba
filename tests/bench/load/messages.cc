#include "messages.h"

#include <fmt/format.h>

#include <array>

#include "api/scheduler.h"
#include "base/ids.h"

namespace d7y::bench {
namespace {

constexpr std::uint64_t kPieceLength = 4 << 20;

// Protobuf's fields of the length-delimited kind; concatenated messages are one message.
void append_varint(std::string& to, std::uint64_t value) {
  for (; value >= 0x80; value >>= 7) to.push_back(static_cast<char>(value | 0x80));
  to.push_back(static_cast<char>(value));
}
void append_field(std::string& to, std::uint32_t number, std::string_view bytes) {
  append_varint(to, number << 3 | 2);
  append_varint(to, bytes.size());
  to.append(bytes);
}
std::string field(std::uint32_t number, std::string_view bytes) {
  std::string made;
  append_field(made, number, bytes);
  return made;
}

// A piece up to its parent, and behind that.
struct PieceBytes {
  std::string number, rest;
};
PieceBytes piece_bytes(std::uint32_t number) {
  api::common::Piece numbered, piece;
  numbered.set_number(number);
  piece.set_offset(number * kPieceLength);
  piece.set_length(kPieceLength);
  piece.set_digest(fmt::format("crc32:{}", 2654435761U * (number + 1)));
  piece.set_traffic_type(api::common::REMOTE_PEER);
  api::set_duration(*piece.mutable_cost(), std::chrono::milliseconds(20 + number % 7));
  api::set_time(*piece.mutable_created_at(), WallTime(std::chrono::hours(500'000)));
  return {numbered.SerializeAsString(), piece.SerializeAsString()};
}

const PieceBytes& piece_of(std::uint32_t number) {
  static const auto pieces = [] {
    std::array<PieceBytes, kPieces> made;
    for (std::uint32_t i = 0; i < kPieces; ++i) made[i] = piece_bytes(i);
    return made;
  }();
  return pieces[number % kPieces];
}

std::string url_of(std::string_view task_id) {
  return fmt::format("https://registry.example/v2/library/image/blobs/sha256:{}", task_id);
}

}  // namespace

LoadHost load_host(std::size_t i) {
  api::scheduler::AnnounceHostRequest request;
  auto& host = *request.mutable_host();
  host.set_hostname(fmt::format("node-{:06}.cluster.example", i));
  host.set_ip(fmt::format("10.{}.{}.{}", i >> 16, i >> 8 & 255, i & 255));
  host.set_id(host_id(host.ip(), host.hostname(), false));
  host.set_port(4000);
  host.set_download_port(4000);
  host.set_os("linux");
  host.set_platform("debian");
  host.set_platform_family("debian");
  host.set_platform_version("12");
  host.set_kernel_version("6.1.0-18-amd64");
  auto& cpu = *host.mutable_cpu();
  cpu.set_logical_count(8);
  cpu.set_physical_count(4);
  cpu.set_percent(12.5);
  cpu.set_process_percent(1.25);
  auto& memory = *host.mutable_memory();
  memory.set_total(std::uint64_t{32} << 30);
  memory.set_available(std::uint64_t{20} << 30);
  memory.set_used(std::uint64_t{12} << 30);
  memory.set_used_percent(37.5);
  memory.set_process_used_percent(0.5);
  memory.set_free(std::uint64_t{16} << 30);
  auto& network = *host.mutable_network();
  network.set_tcp_connection_count(120);
  network.set_upload_tcp_connection_count(8);
  network.set_idc(fmt::format("idc-{}", i % 8));
  network.set_location("europe|north|one");
  network.set_max_rx_bandwidth(10'000'000'000);
  network.set_rx_bandwidth(1'000'000);
  network.set_max_tx_bandwidth(10'000'000'000);
  network.set_tx_bandwidth(1'000'000);
  auto& disk = *host.mutable_disk();
  disk.set_total(std::uint64_t{1} << 40);
  disk.set_free(std::uint64_t{1} << 39);
  disk.set_used(std::uint64_t{1} << 39);
  disk.set_used_percent(50);
  host.mutable_build()->set_git_version("2.4.0");
  api::set_duration(*request.mutable_interval(), std::chrono::minutes(5));
  return {host.id(), request.SerializeAsString()};
}

std::string load_task(std::uint64_t run, std::size_t number) {
  return fmt::format("{:016x}{:048x}", run, number * 2654435761U);
}

Talk::Talk(const LoadHost& host, std::string_view task_id, std::uint64_t number) : task_id_(task_id) {
  append_field(envelope_, 1, host.id);
  append_field(envelope_, 2, task_id);
  // Like a random one to whoever looks at it.
  const auto high = number * 0x9e3779b97f4a7c15U, low = ~number * 0xbf58476d1ce4e5b9U;
  append_field(envelope_, 3, fmt::format("{}-{}", host.id, uuid_v4(high, low)));
}

std::string Talk::registration(bool from_origin) const {
  api::scheduler::AnnouncePeerRequest request;
  auto& download = *request.mutable_register_peer_request()->mutable_download();
  download.set_url(url_of(task_id_));
  download.set_need_back_to_source(from_origin);
  download.set_concurrent_piece_count(8);
  download.set_actual_piece_length(kPieceLength);
  download.set_actual_piece_count(kPieces);
  download.set_actual_content_length(kPieces * kPieceLength);
  return envelope_ + request.SerializeAsString();
}

std::string Talk::started() const { return envelope_ + field(5, ""); }
std::string Talk::finished() const { return envelope_ + field(8, ""); }
std::string Talk::source_started() const { return envelope_ + field(6, ""); }
std::string Talk::source_finished() const { return envelope_ + field(9, ""); }

bool Talk::take_parents(std::string_view response) {
  api::scheduler::AnnouncePeerResponse parsed;
  if (!parsed.ParseFromArray(response.data(), static_cast<int>(response.size()))) return false;
  parents_.clear();
  for (const auto& parent : parsed.normal_task_response().candidate_parents())
    parents_.push_back(field(2, parent.id()));
  return !parents_.empty();
}

std::string Talk::report(std::uint32_t number) const {
  const auto& parent = parents_[number % parents_.size()];
  const auto& piece = piece_of(number);
  const auto piece_size = piece.number.size() + parent.size() + piece.rest.size();
  std::string message;
  message.reserve(envelope_.size() + piece_size + 12);
  message = envelope_;
  append_varint(message, 12 << 3 | 2);  // DownloadPieceFinishedRequest
  append_varint(message, piece_size + (piece_size < 128 ? 2 : 3));
  append_varint(message, 1 << 3 | 2);  // its piece
  append_varint(message, piece_size);
  message.append(piece.number).append(parent).append(piece.rest);
  return message;
}

std::string stat_task(const LoadHost& host, std::string_view task_id) {
  return field(1, host.id) + field(2, task_id);
}

std::string as_echo(std::string_view bytes) { return field(1, bytes); }

}  // namespace d7y::bench
