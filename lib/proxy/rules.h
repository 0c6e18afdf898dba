// Which requests are served through the swarm: the rules of proxy.rules (Dragonfly client 7.1).
//
//   TRY(auto rules, Rules::make({{.regex = "blobs/sha256.*"}}));
//   if (const auto* rule = rules.match(url)) url = rule->redirected(url) ...
//
// Expressions are RE2's, which reads nearly all that the Rust client's engine does and takes time linear
// in the URL's length, whatever the expression.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/url.h"

namespace re2 {
class RE2;
}

namespace d7y::proxy {

struct RuleOptions {
  std::string regex = ".*";
  bool use_tls = false;  // ask the origin over https, whatever the request says
  std::string redirect;  // "host[:port]" asked instead; empty: the one of the request
  // Query parameters that are no part of the task's id; none: the usual ones.
  std::optional<std::vector<std::string>> filtered_query_params;
};

class Rule {
 public:
  // kInvalid: not an expression, or no host.
  static Result<Rule> make(RuleOptions options);
  ~Rule();
  Rule(Rule&&) noexcept;
  Rule& operator=(Rule&&) noexcept;

  // Whether the expression is found in the URL, query and fragment left out.
  bool matches(const Url& url) const;
  // Where the request really goes.
  Url applied_to(const Url& url) const;
  const RuleOptions& options() const { return options_; }

 private:
  Rule(RuleOptions options, std::unique_ptr<re2::RE2> regex);
  RuleOptions options_;
  std::unique_ptr<re2::RE2> regex_;
};

class Rules {
 public:
  static Result<Rules> make(std::vector<RuleOptions> options);
  // The first that matches; null: none.
  const Rule* match(const Url& url) const;
  bool empty() const { return rules_.empty(); }

 private:
  std::vector<Rule> rules_;
};

}  // namespace d7y::proxy
