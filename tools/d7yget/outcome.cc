#include "outcome.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

namespace d7yget {

int exit_status(const Outcome& outcome) { return outcome.interrupted ? 130 : exit_status_of(outcome.code); }

int exit_status_of(d7y_code code) {
  switch (code) {
    case D7Y_OK: return 0;
    case D7Y_EINVAL:
    case D7Y_EUNSUPPORTED: return 2;
    case D7Y_ENOTFOUND: return 3;
    case D7Y_EPERM:
    case D7Y_EAUTH: return 4;
    case D7Y_EREFUSED:
    case D7Y_ERESET:
    case D7Y_EPROTOCOL:
    case D7Y_EUNAVAILABLE: return 5;
    case D7Y_ETIMEOUT: return 6;
    case D7Y_ECORRUPT: return 7;
    case D7Y_EEXIST: return 8;
    case D7Y_EDISKFULL:
    case D7Y_EIO: return 9;
    case D7Y_ECHANGED: return 10;
    case D7Y_EEXHAUSTED: return 11;
    default: return 1;
  }
}

std::string as_json(const Outcome& outcome) {
  const auto& progress = outcome.progress;
  auto seconds = static_cast<double>(progress.elapsed_ms) / 1000.0;
  nlohmann::ordered_json json{
      {"url", outcome.url},
      {"output", outcome.output},
      {"ok", outcome.code == D7Y_OK},
      {"task_id", outcome.task_id},
      {"bytes", progress.completed},
      {"seconds", seconds},
      {"mib_per_second", seconds > 0 ? static_cast<double>(progress.completed) / seconds / 1048576.0 : 0.0},
      {"from",
       {{"source", progress.from_source},
        {"seeds", progress.from_seeds},
        {"peers", progress.from_peers},
        {"local", progress.from_local}}},
      {"pieces", {{"done", progress.pieces_done}, {"total", progress.pieces_total}}},
  };
  if (progress.first_byte_ms != D7Y_UNKNOWN_SIZE)
    json["first_byte_seconds"] = static_cast<double>(progress.first_byte_ms) / 1000.0;
  if (outcome.code != D7Y_OK) {
    json["error"] = {{"code", static_cast<int>(outcome.code)},
                     {"name", d7y_code_name(outcome.code)},
                     {"message", outcome.message},
                     {"status", outcome.status}};
  }
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::string human_bytes(double bytes) {
  static constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
  std::size_t unit = 0;
  while (bytes >= 1024 && unit + 1 < std::size(kUnits)) {
    bytes /= 1024;
    ++unit;
  }
  return fmt::format("{:.{}f} {}", bytes, unit == 0 ? 0 : 1, kUnits[unit]);
}

std::string human_time(double seconds) {
  auto whole = static_cast<long long>(seconds);
  if (whole < 60) return fmt::format("{:.1f}s", seconds);
  if (whole < 3600) return fmt::format("{}:{:02}", whole / 60, whole % 60);
  return fmt::format("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60);
}

}  // namespace d7yget
