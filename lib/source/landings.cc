#include "source/landings.h"

namespace d7y::source {
namespace {

constexpr std::size_t kMost = 1000;

}  // namespace

const std::string* Landings::find(const std::string& key, TimePoint now) const {
  const auto found = known_.find(key);
  return found != known_.end() && now < found->second.until ? &found->second.url : nullptr;
}

void Landings::add(std::string key, std::string url, TimePoint now) {
  if (keep_ == Duration::zero()) return;
  if (known_.size() >= kMost) std::erase_if(known_, [&](const auto& one) { return one.second.until <= now; });
  if (known_.size() >= kMost) known_.clear();
  known_[std::move(key)] = {std::move(url), now + keep_};
}

}  // namespace d7y::source
