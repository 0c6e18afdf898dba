#include "proxy/answer_cache.h"

#include <algorithm>

namespace d7y::proxy {

void AnswerCache::erase(At at) {
  bytes_ -= at->bytes();
  by_key_.erase(at->key);
  answers_.erase(at);
}

void AnswerCache::put(const std::string& key, KeptAnswer answer, TimePoint now) {
  if (!on() || answer.body.size() > kLongest) return;
  if (auto known = by_key_.find(key); known != by_key_.end()) erase(known->second);
  answers_.push_back({key, std::make_shared<const KeptAnswer>(std::move(answer)), now});
  auto at = std::prev(answers_.end());
  by_key_.emplace(at->key, at);
  bytes_ += at->bytes();
  while (bytes_ > most_ && answers_.size() > 1) erase(answers_.begin());
}

AnswerCache::Found AnswerCache::find(const std::string& key, TimePoint now) {
  auto found = by_key_.find(key);
  if (found == by_key_.end()) return {};
  answers_.splice(answers_.end(), answers_, found->second);
  return {found->second->answer, now - found->second->at};
}

AnswerCache::Found AnswerCache::fresh(const std::string& key, TimePoint now) {
  auto found = find(key, now);
  return found.answer && found.age < lasts_ ? found : Found{};
}

void AnswerCache::renew(const std::string& key, TimePoint now) {
  if (auto found = by_key_.find(key); found != by_key_.end()) found->second->at = now;
}

void AnswerCache::forget(std::string_view prefix) {
  for (auto at = answers_.begin(); at != answers_.end();) {
    auto next = std::next(at);
    if (at->key.starts_with(prefix)) erase(at);
    at = next;
  }
}

bool may_be_kept(const http::ResponseHead& head) {
  if (head.status != 200 || head.headers.has("Set-Cookie")) return false;
  if (head.headers.has_token("Cache-Control", "no-store")) return false;
  std::string vary = head.headers.joined("Vary");
  for (std::string_view rest = vary; !rest.empty();) {
    auto part = rest.substr(0, rest.find(','));
    rest.remove_prefix(std::min(rest.size(), part.size() + 1));
    while (part.starts_with(' ')) part.remove_prefix(1);
    while (part.ends_with(' ')) part.remove_suffix(1);
    const bool harmless = part.empty() || http::same_name(part, "Accept") ||
                          http::same_name(part, "Accept-Encoding") || http::same_name(part, "Origin");
    if (!harmless) return false;
  }
  return true;
}

}  // namespace d7y::proxy
