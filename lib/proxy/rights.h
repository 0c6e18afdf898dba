// Who may have what is cached. Pure.
//
// Content that is here already would be served without asking its registry, to anybody who knows its name.
// So it is given only to callers whose credentials the registry has accepted lately for that repository, and
// only out of repositories that are known to hold it: the registry's own two questions. What is not known is
// asked there (proxy.cc), and what it answered is remembered here for a short time.
#pragma once

#include <string>
#include <string_view>
#include <unordered_map>

#include "base/deadline.h"
#include "base/url.h"
#include "net/http/headers.h"

namespace d7y::proxy {

class Rights {
 public:
  // `lasts`: how long an acceptance counts. At most about 2 * `most` facts are remembered, the latest.
  explicit Rights(Duration lasts, std::size_t most = 32 << 10) : lasts_(lasts), most_(most) {}

  // Stands for a caller's credentials without being them. `secret`: the headers that may hold some; those in
  // the URL (a name and password, signatures in its query) count as well.
  static std::string caller(const http::Headers& secret, const Url& url);
  // What credentials are good for: a repository, or where there is none the URL without its query.
  static std::string scope(const Url& url);

  // The origin gave `content` in `scope` to `caller`; or anything else there, where content is empty.
  void accepted(const std::string& caller, const std::string& scope, std::string_view content, TimePoint now);
  // It did not.
  void refused(const std::string& caller, const std::string& scope);
  // Whether the origin has accepted `caller` in `scope` lately.
  bool is_accepted(const std::string& caller, const std::string& scope, TimePoint now) const;
  bool may_have(const std::string& caller, const std::string& scope, std::string_view content,
                TimePoint now) const;

 private:
  // Remembers the latest facts: when the young ones are many, they become the old ones.
  class Memory {
   public:
    void put(std::string key, TimePoint when, std::size_t most);
    void forget(const std::string& key);
    const TimePoint* find(const std::string& key) const;

   private:
    std::unordered_map<std::string, TimePoint> young_, old_;
  };

  Duration lasts_;
  std::size_t most_;
  Memory callers_;   // scope and caller
  Memory contents_;  // scope and content; without end, because names of content are digests of it
};

}  // namespace d7y::proxy
