// Small answers of registries (manifests, lists of tags) that are kept for a short time, where that is
// wished. Pure.
//
// Who may have them is not its business (rights.h).
#pragma once

#include <list>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>

#include "base/deadline.h"
#include "net/http/message.h"

namespace d7y::proxy {

struct KeptAnswer {
  http::ResponseHead head;
  std::string body;
  std::uint64_t length = 0;  // of the body, which answers to HEAD do not have
};

class AnswerCache {
 public:
  static constexpr std::size_t kLongest = 4 << 20;  // bytes of one body

  // `lasts`: how long an answer counts; 0: nothing is kept. All bodies together have at most `most` bytes.
  explicit AnswerCache(Duration lasts, std::size_t most = 32 << 20) : lasts_(lasts), most_(most) {}

  bool on() const { return lasts_ > Duration::zero(); }
  // `key` tells the request apart from all others with another answer. Those used longest ago make room.
  void put(const std::string& key, KeptAnswer answer, TimePoint now);
  struct Found {
    std::shared_ptr<const KeptAnswer> answer;  // null: none
    Duration age{};                            // since the registry said so
  };
  // Young enough to be given.
  Found fresh(const std::string& key, TimePoint now);
  // Of any age: the registry may be asked whether it is still so.
  Found find(const std::string& key, TimePoint now);
  // It is.
  void renew(const std::string& key, TimePoint now);
  // Forgets all whose key begins so.
  void forget(std::string_view prefix);

  std::size_t size() const { return answers_.size(); }

 private:
  struct Entry {
    std::string key;
    std::shared_ptr<const KeptAnswer> answer;
    TimePoint at{};
    std::size_t bytes() const { return key.size() + answer->body.size() + kHead; }
  };
  static constexpr std::size_t kHead = 1 << 10;  // what a head is taken to cost
  using At = std::list<Entry>::iterator;
  void erase(At at);

  Duration lasts_;
  std::size_t most_, bytes_ = 0;
  std::list<Entry> answers_;  // longest unused first
  std::unordered_map<std::string_view, At> by_key_;
};

// Whether a registry's answer may be kept at all: whole, and not one that it forbids to keep or that depends
// on more than `Accept` and `Accept-Encoding`.
bool may_be_kept(const http::ResponseHead& head);

}  // namespace d7y::proxy
