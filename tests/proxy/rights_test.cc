#include "proxy/rights.h"

#include <doctest/doctest.h>

#include "rig.h"

using namespace proxy_test;

namespace {
TimePoint at(Duration time) { return TimePoint(time); }
}  // namespace

TEST_CASE("an acceptance counts for its caller, its repository and what is there, and not for ever") {
  proxy::Rights rights(5min);
  rights.accepted("anna", "reg/team", "blob", at(0s));
  CHECK(rights.may_have("anna", "reg/team", "blob", at(4min)));
  CHECK_FALSE(rights.may_have("anna", "reg/team", "blob", at(6min)));
  CHECK_FALSE(rights.may_have("bert", "reg/team", "blob", at(0s)));
  CHECK_FALSE(rights.may_have("anna", "reg/other", "blob", at(0s)));
  CHECK_FALSE(rights.may_have("anna", "reg/team", "another", at(0s)));
  rights.accepted("bert", "reg/team", "", at(1min));  // a manifest, say
  CHECK(rights.may_have("bert", "reg/team", "blob", at(2min)));
  rights.refused("bert", "reg/team");
  CHECK_FALSE(rights.may_have("bert", "reg/team", "blob", at(2min)));
}

TEST_CASE("only the latest facts are remembered") {
  proxy::Rights rights(5min, 100);
  for (int i = 0; i < 1000; ++i) rights.accepted(std::to_string(i), "s", "c" + std::to_string(i), at(0s));
  CHECK(rights.may_have("999", "s", "c999", at(0s)));
  CHECK(rights.may_have("950", "s", "c950", at(0s)));
  CHECK_FALSE(rights.may_have("0", "s", "c0", at(0s)));
}

TEST_CASE("callers are told apart by all that may be a credential") {
  using proxy::Rights;
  const auto url = *Url::parse("https://r.test/f?part=1");
  CHECK(Rights::caller({{"Authorization", "a"}}, url) == Rights::caller({{"authorization", "a"}}, url));
  CHECK(Rights::caller({{"Authorization", "a"}}, url) != Rights::caller({{"Authorization", "b"}}, url));
  CHECK(Rights::caller({{"Authorization", "a"}}, url) != Rights::caller({}, url));
  CHECK(Rights::caller({{"Authorization", "a"}}, url) != Rights::caller({{"Cookie", "a"}}, url));
  CHECK(Rights::caller({{"Authorization", "a"}}, url).find('a') != 0);
  const auto by = [](const char* text) { return Rights::caller({}, *Url::parse(text)); };
  CHECK(by("https://r.test/f?part=2") == Rights::caller({}, url));
  CHECK(by("https://r.test/f?X-Amz-Signature=1") != by("https://r.test/f"));
  CHECK(by("https://r.test/f?X-Amz-Signature=1") != by("https://r.test/f?X-Amz-Signature=2"));
  CHECK(by("https://anna:1@r.test/f") != by("https://anna:2@r.test/f"));
  CHECK(Rights::scope(*Url::parse("https://r.test/v2/a/b/blobs/sha256:1")) == "https://r.test/v2/a/b");
  CHECK(Rights::scope(*Url::parse("https://r.test/f?x=1")) == "https://r.test/f");
}

TEST_CASE("a cached private blob is given only to those whom its registry accepts") {
  Rig rig;
  auto content = random_bytes(1_MiB);
  auto path = rig.add_blob(content, "private/app");
  rig.origin.file(path).authorization = "Bearer right";
  const http::Headers right = {{"Authorization", "Bearer right"}},
                      wrong = {{"Authorization", "Bearer wrong"}};
  CHECK(rig.get(path, right).body == content);
  auto refused = rig.get(path, wrong);
  CHECK(refused.head.status == 401);
  CHECK(refused.body.find("UNAUTHORIZED") != std::string::npos);
  CHECK(rig.get(path).head.status == 401);
  CHECK(rig.send(rig.request(path, wrong, "HEAD")).head.status == 401);
  CHECK(rig.get(path, {{"Range", "bytes=0-9"}}).head.status == 401);
  const auto asked = rig.origin.requests();
  CHECK(rig.get(path, right).body == content);
  CHECK(rig.send(rig.request(path, right, "HEAD")).head.status == 200);
  CHECK(rig.origin.requests() == asked);  // known for a while
  rig.sim.run_for(6min);
  CHECK(rig.get(path, right).body == content);
  CHECK(rig.origin.requests() == asked + 1);  // then asked again
  CHECK(rig.origin.log().back().method == "HEAD");
}

TEST_CASE("what is here is given again though its origin answers no HEAD") {
  Rig rig;
  auto content = random_bytes(1_MiB);
  auto path = rig.add_blob(content);
  rig.origin.file(path).head = false;
  CHECK(rig.get(path).body == content);
  const auto sent = rig.origin.body_bytes();
  rig.sim.run_for(6min);
  CHECK(rig.get(path).body == content);
  CHECK(rig.origin.body_bytes() == sent + 1);
  rig.origin.file(path).authorization = "Bearer right";
  CHECK(rig.get(path, {{"Authorization", "Bearer wrong"}}).head.status == 401);
}

TEST_CASE("a URL that is signed is the right of whoever has it, for GET alone if it must be") {
  Rig rig;
  auto content = random_bytes(1_MiB);
  const auto path = "/blobs/sha256:" + sha256_of(content), query = std::string("?X-Amz-Signature=");
  for (auto signature : {"1", "2"}) rig.origin.serve(path + query + signature, content).head = false;
  CHECK(rig.get(path + query + "1").body == content);
  const auto sent = rig.origin.body_bytes();
  CHECK(rig.get(path).head.status == 404);
  CHECK(rig.get(path + query + "0").head.status == 404);
  CHECK(rig.get(path + query + "2").body == content);
  CHECK(rig.origin.body_bytes() == sent + 1);
}

TEST_CASE("a blob of one repository is not given out of another, though the caller has rights there") {
  Rig rig;
  auto content = random_bytes(1_MiB);
  auto secret = rig.add_blob(content, "private/app");
  rig.origin.file(secret).authorization = "Bearer right";
  CHECK(rig.get(secret, {{"Authorization", "Bearer right"}}).head.status == 200);
  rig.origin.serve("/v2/public/app/manifests/1", "{}");
  CHECK(rig.get("/v2/public/app/manifests/1").head.status == 200);
  CHECK(rig.get("/v2/public/app/blobs/sha256:" + sha256_of(content)).head.status == 404);
}

TEST_CASE("a manifest that was given is as good as an answer about the layers known to be there") {
  Rig rig;
  auto content = random_bytes(1_MiB);
  auto path = rig.add_blob(content);
  rig.origin.serve("/v2/team/app/manifests/1", "{}");
  (void)rig.get(path, {{"Authorization", "one"}});
  CHECK(rig.get("/v2/team/app/manifests/1", {{"Authorization", "two"}}).head.status == 200);
  const auto asked = rig.origin.requests();
  CHECK(rig.get(path, {{"Authorization", "two"}}).body == content);
  CHECK(rig.origin.requests() == asked);
}

TEST_CASE("without the check whoever names a blob gets it") {
  auto options = Rig::standard();
  options.check_rights = false;
  Rig rig(1, options);
  auto path = rig.add_blob(random_bytes(1_MiB));
  rig.origin.file(path).authorization = "Bearer right";
  (void)rig.get(path, {{"Authorization", "Bearer right"}});
  CHECK(rig.get(path).head.status == 200);
}

TEST_CASE("one who is refused does not spoil the download of one who is not") {
  Rig rig;
  auto content = random_bytes(4_MiB);
  auto path = rig.add_blob(content);
  rig.origin.file(path).authorization = "Bearer right";
  rig.origin.file(path).faults.push_back({.delay = 200ms, .count = 4});
  std::optional<Result<Answer>> wrong, right;
  auto run = [](Rig& rig, http::Request request, std::optional<Result<Answer>>& out) -> Task<void> {
    auto got = co_await rig.fetch(std::move(request));
    out = std::move(got);
  };
  rig.client_host.spawn(run(rig, rig.request(path, {{"Authorization", "Bearer wrong"}}), wrong));
  rig.sim.run_for(20ms);
  rig.client_host.spawn(run(rig, rig.request(path, {{"Authorization", "Bearer right"}}), right));
  REQUIRE(rig.sim.run_until([&] { return wrong && right; }, 60s));
  CHECK((*wrong)->head.status == 401);
  CHECK((*right)->head.status == 200);
  CHECK((*right)->body == content);
}

namespace {

// A layer whose token ends while it is fetched: the registry wants another one from then on, and breaks off
// what it sends.
struct Renewal {
  Renewal() : content(random_bytes(48_MiB)), path(rig.add_blob(content)) {
    auto& file = rig.origin.file(path);
    file.authorization = "Bearer old";
    file.rate = 2_MiB;
    file.faults.push_back({.reset_after = 3_MiB, .method = "GET", .count = 1});
  }
  void ask(std::string token, std::optional<Result<Answer>>& out) {
    auto run = [](Rig& rig, http::Request request, std::optional<Result<Answer>>& out) -> Task<void> {
      auto got = co_await rig.fetch(std::move(request));
      out = std::move(got);
    };
    rig.client_host.spawn(run(rig, rig.request(path, {{"Authorization", "Bearer " + token}}), out));
  }
  Rig rig;
  std::string content, path;
};

}  // namespace

TEST_CASE("a layer whose token ends goes on with the newer one of another who waits for it") {
  Renewal renewal;
  auto& rig = renewal.rig;
  std::optional<Result<Answer>> old, renewed;
  renewal.ask("old", old);
  rig.sim.run_for(1s);
  rig.origin.file(renewal.path).authorization = "Bearer new";
  renewal.ask("new", renewed);
  REQUIRE(rig.sim.run_until([&] { return old && renewed; }, 300s));
  for (auto* answer : {&old, &renewed}) {
    REQUIRE((*answer)->ok());
    CHECK((**answer)->head.status == 200);
    CHECK_FALSE((**answer)->broken);
    CHECK((**answer)->body == renewal.content);
  }
  int refusals = 0;
  for (const auto& request : rig.origin.log()) refusals += request.status == 401;
  CHECK(refusals > 0);  // or the token never mattered
}

TEST_CASE(
    "a layer whose token ends with nobody to stand in breaks off, and is taken up with the next token") {
  Renewal renewal;
  auto& rig = renewal.rig;
  std::optional<Result<Answer>> old, wrong;
  renewal.ask("old", old);
  rig.sim.run_for(1s);
  rig.origin.file(renewal.path).authorization = "Bearer new";
  renewal.ask("wrong", wrong);
  REQUIRE(rig.sim.run_until([&] { return old && wrong; }, 300s));
  CHECK((*wrong)->head.status == 401);
  CHECK((*old)->head.status == 200);
  CHECK((*old)->broken.has_value());
  CHECK((*old)->body.size() < renewal.content.size());
  CHECK((*old)->body == renewal.content.substr(0, (*old)->body.size()));
  rig.origin.file(renewal.path).rate = 0;
  const auto before = rig.origin.body_bytes();
  const auto have = (*old)->body.size();
  auto rest = rig.get(renewal.path,
                      {{"Authorization", "Bearer new"}, {"Range", "bytes=" + std::to_string(have) + "-"}});
  CHECK(rest.head.status == 206);
  CHECK((*old)->body + rest.body == renewal.content);
  CHECK(rig.origin.body_bytes() - before < renewal.content.size());
}
