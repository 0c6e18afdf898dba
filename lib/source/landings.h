// Where redirects led, for requests that go on with the same object.
//
// A host that sends its visitors to mirrors sends each request to another one, and hardly two mirrors agree
// on an ETag: the pieces of a download would be refused as those of another version. Pure.
//
//   Landings landings(10min);
//   landings.add(key, "http://mirror/x", now);   // key: what was asked, by whom, which version it was
//   if (const auto* url = landings.find(key, now)) ...
//   landings.forget(key);                        // it is no longer there: signed links end
#pragma once

#include <map>
#include <string>

#include "base/deadline.h"

namespace d7y::source {

class Landings {
 public:
  // `keep` 0: nothing is remembered.
  explicit Landings(Duration keep) : keep_(keep) {}
  // Valid until the next call; null: not known, or too long ago.
  const std::string* find(const std::string& key, TimePoint now) const;
  void add(std::string key, std::string url, TimePoint now);
  void forget(const std::string& key) { known_.erase(key); }
  std::size_t size() const { return known_.size(); }

 private:
  struct Landing {
    std::string url;
    TimePoint until{};
  };
  Duration keep_;
  std::map<std::string, Landing> known_;
};

}  // namespace d7y::source
