#include "proxy/rules.h"

#include <re2/re2.h>

#include "net/http/http_url.h"

namespace d7y::proxy {
namespace {

constexpr std::int64_t kRegexMemory = 4 << 20;  // bytes one compiled expression may take

}  // namespace

Rule::Rule(RuleOptions options, std::unique_ptr<re2::RE2> regex)
    : options_(std::move(options)), regex_(std::move(regex)) {}
Rule::~Rule() = default;
Rule::Rule(Rule&&) noexcept = default;
Rule& Rule::operator=(Rule&&) noexcept = default;

Result<Rule> Rule::make(RuleOptions options) {
  RE2::Options how(RE2::Quiet);
  how.set_max_mem(kRegexMemory);
  auto regex = std::make_unique<RE2>(options.regex, how);
  if (!regex->ok()) {
    return error(ErrorCode::kInvalid, "rule \"{}\" is not a regular expression: {}", options.regex,
                 regex->error());
  }
  if (!options.redirect.empty()) {
    auto target = http::parse_http_url("https://" + options.redirect + "/");
    bool plain = target && target->target() == "/" && target->user.empty();
    if (!plain) {
      return error(ErrorCode::kInvalid, "rule \"{}\": redirect \"{}\" is not a host or host:port",
                   options.regex, options.redirect);
    }
  }
  return Rule(std::move(options), std::move(regex));
}

bool Rule::matches(const Url& url) const { return RE2::PartialMatch(url.origin() + url.path(), *regex_); }

Url Rule::applied_to(const Url& url) const {
  if (!options_.use_tls && options_.redirect.empty()) return url;
  const std::string scheme = options_.use_tls ? "https" : url.scheme();
  // Another scheme's default port is not this one's.
  const std::string authority = options_.redirect.empty() ? url.authority() : options_.redirect;
  auto made = Url::parse(scheme + "://" + authority + url.request_target());
  return made ? std::move(*made) : url;
}

Result<Rules> Rules::make(std::vector<RuleOptions> options) {
  Rules rules;
  for (auto& each : options) {
    TRY(auto rule, Rule::make(std::move(each)));
    rules.rules_.push_back(std::move(rule));
  }
  return rules;
}

const Rule* Rules::match(const Url& url) const {
  for (const auto& rule : rules_) {
    if (rule.matches(url)) return &rule;
  }
  return nullptr;
}

}  // namespace d7y::proxy
