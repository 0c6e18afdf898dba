// Configuration files, whatever is in them: they are read or refused with a reason, and what was read is
// within its limits.
#include "node/config.h"

#include <cstdint>
#include <cstdlib>

#include "scheduler/config.h"

using namespace d7y;

namespace {

void must(bool holds) {
  if (!holds) std::abort();
}

template <class Config>
void read(std::string_view text) {
  auto config = Config::parse(text, "file.yaml");
  if (!config) must(config.failed_with(ErrorCode::kInvalid) && !config.error().message().empty());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  read<node::DaemonConfig>(text);
  read<node::DynamicConfig>(text);
  read<scheduler::SchedulerConfig>(text);
  read<scheduler::DynamicConfig>(text);
  if (auto config = node::DaemonConfig::parse(text, "file.yaml")) {
    must(config->gc.disk_low_percent <= config->gc.disk_high_percent);
    must(config->download.concurrent_piece_count > 0);
  }
  return 0;
}
