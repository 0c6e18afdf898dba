#include <doctest/doctest.h>

#include "rig.h"

using namespace proxy_test;
using proxy::AnswerCache;

namespace {

TimePoint at(Duration time) { return TimePoint(time); }

proxy::ProxyOptions keeping() {
  auto options = Rig::standard();
  options.keep_manifests = 30s;
  return options;
}

const std::string kManifest = "/v2/team/app/manifests/latest";

}  // namespace

TEST_CASE("kept answers count for their time, and those used longest ago make room") {
  AnswerCache cache(30s, 10'000);
  for (int i = 0; i < 5; ++i) {
    cache.put("key" + std::to_string(i), {.body = std::string(1000, 'x'), .length = 1000}, at(0s));
    CHECK(cache.fresh("key0", at(1s)).answer);
  }
  CHECK(cache.size() == 4);
  CHECK_FALSE(cache.find("key1", at(1s)).answer);
  CHECK(cache.fresh("key0", at(29s)).age == 29s);
  CHECK_FALSE(cache.fresh("key0", at(30s)).answer);
  CHECK(cache.find("key0", at(30s)).answer);
  cache.renew("key0", at(30s));
  CHECK(cache.fresh("key0", at(59s)).answer);
  cache.forget("key");
  CHECK(cache.size() == 0);
  AnswerCache off(0s);
  off.put("key", {}, at(0s));
  CHECK(off.size() == 0);
}

TEST_CASE("what a registry forbids to keep, or makes depend on more, is not kept") {
  auto may = [](http::Headers headers, int status = 200) {
    http::ResponseHead head;
    head.status = status;
    head.headers = std::move(headers);
    return proxy::may_be_kept(head);
  };
  CHECK(may({}));
  CHECK(may({{"Vary", "Accept, accept-encoding"}, {"Cache-Control", "max-age=3"}}));
  CHECK_FALSE(may({}, 404));
  CHECK_FALSE(may({{"Vary", "Cookie"}}));
  CHECK_FALSE(may({{"Vary", "*"}}));
  CHECK_FALSE(may({{"Cache-Control", "max-age=3, no-store"}}));
  CHECK_FALSE(may({{"Set-Cookie", "a=b"}}));
}

TEST_CASE("by default the registry is asked for each manifest") {
  Rig rig;
  rig.origin.serve(kManifest, "{}");
  for (int i = 0; i < 3; ++i) CHECK(rig.get(kManifest).body == "{}");
  CHECK(rig.origin.requests() == 3);
}

TEST_CASE("a kept manifest is given without asking, with its conditions, for its time") {
  Rig rig(1, keeping());
  rig.origin.serve(kManifest, "{\"a\":1}");
  CHECK(rig.get(kManifest).body == "{\"a\":1}");
  auto again = rig.get(kManifest);
  CHECK(again.body == "{\"a\":1}");
  CHECK(again.header("ETag") == "\"v1\"");
  CHECK(again.header("Age") == "0");
  CHECK(rig.get(kManifest, {{"If-None-Match", "\"v1\""}}).head.status == 304);
  CHECK(rig.get(kManifest, {{"If-None-Match", "\"v0\""}}).head.status == 200);
  auto head = rig.send(rig.request(kManifest, {}, "HEAD"));
  CHECK(head.head.status == 200);
  CHECK(head.header("Content-Length") == "7");
  CHECK(rig.origin.requests() == 1);
  // Another representation is another answer, and a client may insist.
  (void)rig.get(kManifest, {{"Accept", "application/vnd.oci.image.index.v1+json"}});
  CHECK(rig.origin.requests() == 2);
  (void)rig.get(kManifest, {{"Cache-Control", "no-cache"}});
  CHECK(rig.origin.requests() == 3);
  // Its time is over: asked by the tag, answered without a body.
  rig.sim.run_for(31s);
  const auto bytes = rig.origin.body_bytes();
  CHECK(rig.get(kManifest).body == "{\"a\":1}");
  CHECK(rig.origin.requests() == 4);
  CHECK(rig.origin.log().back().status == 304);
  CHECK(rig.origin.body_bytes() == bytes);
  CHECK(rig.get(kManifest).body == "{\"a\":1}");
  CHECK(rig.origin.requests() == 4);
  // The tag has moved.
  rig.sim.run_for(31s);
  rig.origin.file(kManifest).change("{\"b\":2}", "\"v2\"");
  CHECK(rig.get(kManifest).body == "{\"b\":2}");
  CHECK(rig.get(kManifest).body == "{\"b\":2}");
  CHECK(rig.origin.requests() == 5);
  auto counted = [&](std::string_view from) {
    return rig.metrics.counter("d7y_proxy_manifests", "", {{"from", std::string(from)}}).value();
  };
  CHECK(counted("cache") == 6);
  CHECK(counted("renewed") == 2);  // once because its client insisted
  CHECK(counted("registry") == 3);
}

TEST_CASE("a kept manifest is only for those whom its registry accepts") {
  Rig rig(1, keeping());
  rig.origin.serve(kManifest, "{}").authorization = "Bearer right";
  CHECK(rig.get(kManifest, {{"Authorization", "Bearer right"}}).head.status == 200);
  CHECK(rig.get(kManifest, {{"Authorization", "Bearer wrong"}}).head.status == 401);
  CHECK(rig.get(kManifest).head.status == 401);
  CHECK(rig.origin.requests() == 3);
  CHECK(rig.get(kManifest, {{"Authorization", "Bearer right"}}).head.status == 200);
  CHECK(rig.origin.requests() == 3);
}

TEST_CASE("a manifest that is not what its digest says passes, and is not kept") {
  Rig rig(1, keeping());
  const std::string right = "/v2/team/app/manifests/sha256:" + sha256_of("{}"),
                    wrong = "/v2/team/app/manifests/sha256:" + sha256_of("other");
  for (const auto& path : {right, wrong}) {
    rig.origin.serve(path, "{}");
    const auto before = rig.origin.requests();
    for (int i = 0; i < 2; ++i) CHECK(rig.get(path).body == "{}");
    CHECK(rig.origin.requests() - before == (path == right ? 1 : 2));
  }
}

TEST_CASE("who pushes sees what he pushed") {
  Rig rig(1, keeping());
  rig.origin.serve(kManifest, "{}");
  rig.origin.serve("/v2/team/other/manifests/latest", "{}");
  (void)rig.get(kManifest);
  (void)rig.get("/v2/team/other/manifests/latest");
  auto push = rig.request(kManifest, {}, "PUT");
  push.body = "{\"c\":3}";
  (void)rig.send(std::move(push));
  const auto before = rig.origin.requests();
  (void)rig.get(kManifest);
  CHECK(rig.origin.requests() == before + 1);
  (void)rig.get("/v2/team/other/manifests/latest");
  CHECK(rig.origin.requests() == before + 1);
}
