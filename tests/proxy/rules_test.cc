#include <doctest/doctest.h>

#include "proxy/rules.h"

using namespace d7y;

namespace {
Url url(const char* text) { return *Url::parse(text); }
}  // namespace

TEST_CASE("a rule is looked for in the URL without its query") {
  auto rules = proxy::Rules::make({{.regex = "blobs/sha256.*"}, {.regex = "\\.whl$"}});
  REQUIRE(rules.ok());
  CHECK(rules->match(url("https://reg.test/v2/a/blobs/sha256:12")) != nullptr);
  CHECK(rules->match(url("https://reg.test/v2/a/manifests/latest")) == nullptr);
  CHECK(rules->match(url("https://reg.test/v2/a/manifests/latest?x=blobs/sha256:12")) == nullptr);
  CHECK(rules->match(url("https://files.test/p/a-1.0.whl?x=1")) != nullptr);
}

TEST_CASE("the first rule that matches is the one") {
  auto rules = proxy::Rules::make({{.regex = "a.test", .redirect = "first.test"}, {.regex = ".*"}});
  REQUIRE(rules.ok());
  CHECK(rules->match(url("http://a.test/x"))->options().redirect == "first.test");
  CHECK(rules->match(url("http://b.test/x"))->options().redirect.empty());
}

TEST_CASE("a rule changes where the request goes") {
  auto both = proxy::Rule::make({.use_tls = true, .redirect = "other.test:8443"});
  REQUIRE(both.ok());
  CHECK(both->applied_to(url("http://a.test/x?y=1")).to_string() == "https://other.test:8443/x?y=1");
  auto tls = proxy::Rule::make({.use_tls = true});
  CHECK(tls->applied_to(url("http://a.test:5000/x")).to_string() == "https://a.test:5000/x");
  auto none = proxy::Rule::make({});
  CHECK(none->applied_to(url("http://a.test/x")).to_string() == "http://a.test/x");
}

TEST_CASE("what is no expression or no host is refused with its text") {
  auto rules = proxy::Rules::make({{.regex = "(open"}});
  REQUIRE(rules.failed_with(ErrorCode::kInvalid));
  CHECK(rules.error().message().find("(open") != std::string::npos);
  for (auto redirect : {"http://x.test", "x.test/path", "user@x.test", "x.test:port", "x.test?q"})
    CHECK_MESSAGE(proxy::Rules::make({{.redirect = redirect}}).failed_with(ErrorCode::kInvalid), redirect);
}

TEST_CASE("an expression that would take exponential time elsewhere takes little here") {
  auto rules = proxy::Rules::make({{.regex = "(a+)+$"}});
  REQUIRE(rules.ok());
  auto long_url = url(("http://a.test/" + std::string(60'000, 'a') + "b").c_str());
  CHECK(rules->match(long_url) == nullptr);
}
