#include <algorithm>

#include "base/bytes.h"
#include "rig.h"

using namespace proxy_test;

TEST_CASE("a blob comes through the mirror, whole, and the second time without its registry") {
  Rig rig;
  auto content = random_bytes(9_MiB);
  auto path = rig.add_blob(content);
  auto first = rig.get(path + "?ns=" + rig.origin.url(""));
  CHECK(first.head.status == 200);
  CHECK(first.body == content);
  CHECK_FALSE(first.broken);
  CHECK(first.header("X-Dragonfly-Task-ID") == sha256_of(content));
  CHECK(first.header("X-Dragonfly-Server-IP") == "10.0.0.2");
  CHECK(first.header("X-Dragonfly-Task-Download-Finished").empty());
  CHECK(first.header("Content-Length") == std::to_string(9_MiB));
  CHECK(first.header("Docker-Content-Digest") == "sha256:" + sha256_of(content));
  auto second = rig.get(path);
  CHECK(second.body == content);
  CHECK(second.header("X-Dragonfly-Task-Download-Finished") == "true");
  CHECK(rig.origin.body_bytes() == 9_MiB);
  auto metrics = rig.metrics.expose();
  CHECK(metrics.find("dragonfly_client_proxy_request_total 2") != std::string::npos);
  CHECK(metrics.find("dragonfly_client_proxy_request_via_dfdaemon_total 2") != std::string::npos);
  CHECK(metrics.find("dragonfly_client_proxy_request_failure_total 0") != std::string::npos);
}

TEST_CASE("whether there is a registry is answered here where the path of all else names it") {
  auto options = Rig::standard();
  options.answer_version_check = true;
  options.registries = {{.name = "reg.test", .address = "http://reg.test"}};
  Rig rig(1, options);
  rig.origin.serve("/v2/", "the default registry's answer");
  auto here = rig.get("/v2/");
  CHECK(here.head.status == 200);
  CHECK(here.body == "{}");
  CHECK(rig.origin.requests() == 0);
  // Who says which registry is meant is asking that one.
  CHECK(rig.get("/v2/?ns=" + rig.origin.url("")).body == "the default registry's answer");
  CHECK(rig.get("/v2/", {{"X-Dragonfly-Registry", rig.origin.url("")}}).body ==
        "the default registry's answer");
  Rig without;
  without.origin.serve("/v2/", "the default registry's answer");
  CHECK(without.get("/v2/").body == "the default registry's answer");
}

TEST_CASE("bytes are handed on while the rest is still arriving") {
  Rig rig;
  auto content = random_bytes(8_MiB);
  auto path = rig.add_blob(content);
  rig.origin.file(path).rate = 1_MiB;  // eight seconds
  auto answer = rig.get(path);
  CHECK(answer.body == content);
  CHECK(answer.to_end > 5s);
  CHECK(answer.to_first_byte < 200ms);
}

TEST_CASE("many readers of one blob cost its registry one transfer, and a slow one slows nobody") {
  Rig rig;
  auto content = random_bytes(8_MiB);
  auto path = rig.add_blob(content);
  std::vector<std::optional<Result<Answer>>> answers(20);
  Scope scope(rig.client_host.loop());
  auto run = [](Rig& rig, std::string path, Duration pause,
                std::optional<Result<Answer>>& out) -> Task<void> {
    auto got = co_await rig.fetch(rig.request(path), pause);
    out = std::move(got);
  };
  for (std::size_t i = 0; i < answers.size(); ++i)
    rig.client_host.spawn(run(rig, path, i == 0 ? Duration(500ms) : Duration(0), answers[i]));
  auto done = [&](std::size_t from) {
    return std::all_of(answers.begin() + static_cast<std::ptrdiff_t>(from), answers.end(),
                       [](auto& a) { return a.has_value(); });
  };
  REQUIRE(rig.sim.run_until([&] { return done(1); }, 30s));
  CHECK_FALSE(answers[0].has_value());
  REQUIRE(rig.sim.run_until([&] { return done(0); }, 300s));
  for (auto& answer : answers) {
    REQUIRE((*answer).ok());
    CHECK((*answer)->body == content);
  }
  CHECK(rig.origin.body_bytes() == 8_MiB);
}

TEST_CASE("wrong bytes never end well: the last one is withheld, and the next request fetches anew") {
  Rig rig;
  auto content = random_bytes(6_MiB);
  auto path = rig.add_blob(content);
  rig.origin.file(path).faults.push_back({.flip_at = 5_MiB, .method = "GET", .count = 1});
  auto wrong = rig.get(path);
  CHECK(wrong.head.status == 200);
  CHECK(wrong.broken.has_value());
  CHECK(wrong.body.size() < content.size());
  CHECK(rig.metrics.expose().find("dragonfly_client_proxy_request_failure_total 1") != std::string::npos);
  auto right = rig.get(path);
  CHECK_FALSE(right.broken);
  CHECK(right.body == content);
}

TEST_CASE("a client that leaves stops the work, unless others want it") {
  Rig rig;
  auto content = random_bytes(32_MiB);
  auto path = rig.add_blob(content);
  rig.origin.file(path).rate = 256_KiB;
  for (bool others : {false, true}) {
    const auto before = rig.origin.body_bytes();
    std::optional<Result<Answer>> leaver, stayer;
    auto run = [](Rig& rig, std::string path, std::optional<Result<Answer>>& out) -> Task<void> {
      auto got = co_await rig.fetch(rig.request(path));
      out = std::move(got);
    };
    {
      Scope leaving(rig.client_host.loop());
      leaving.spawn(run(rig, path, leaver));
      if (others) rig.client_host.spawn(run(rig, path, stayer));
      rig.sim.run_for(3s);
      CHECK(rig.engine->running() == (others ? 2U : 1U));
    }
    rig.sim.run_for(3s);
    CHECK(rig.engine->running() == (others ? 1U : 0U));
    if (!others) CHECK(rig.origin.body_bytes() - before < 24_MiB);
    if (others) {
      REQUIRE(rig.sim.run_until([&] { return stayer.has_value(); }, 100s));
      CHECK((*stayer)->body == content);
    }
  }
}

TEST_CASE("a registry that dies in the middle of a layer is taken up again where it broke") {
  Rig rig;
  auto content = random_bytes(12_MiB);
  auto path = rig.add_blob(content);
  rig.origin.file(path).faults.push_back({.reset_after = 3_MiB, .method = "GET", .count = 1});
  auto answer = rig.get(path);
  CHECK_FALSE(answer.broken);
  CHECK(answer.body == content);
}

TEST_CASE("a registry that stays dead breaks the answer off") {
  Rig rig;
  auto path = rig.add_blob(random_bytes(12_MiB));
  rig.origin.file(path).faults.push_back({.reset_after = 3_MiB, .method = "GET", .count = 1});
  rig.origin.file(path).faults.push_back({.status = 503, .method = "GET", .count = sim::kAlways});
  auto answer = rig.get(path, {}, 300s);
  CHECK(answer.head.status == 200);
  CHECK(answer.broken.has_value());
  auto again = rig.get(path, {}, 300s);
  CHECK((again.broken.has_value() || again.head.status >= 500));
}

TEST_CASE("ranges of a blob") {
  Rig rig;
  auto content = random_bytes(9_MiB);
  auto path = rig.add_blob(content);
  struct Case {
    const char* range;
    std::size_t from, length;
  };
  const Case cases[] = {{"bytes=0-0", 0, 1},
                        {"bytes=5000000-", 5'000'000, 9_MiB - 5'000'000},
                        {"bytes=-7", 9_MiB - 7, 7},
                        {"bytes=4194300-4194310", 4'194'300, 11},
                        {"bytes=100-99999999999", 100, 9_MiB - 100}};
  for (int round : {0, 1}) {  // while it is not here, and from the store
    CAPTURE(round);
    for (const auto& each : cases) {
      CAPTURE(each.range);
      auto answer = rig.get(path, {{"Range", each.range}});
      CHECK(answer.head.status == 206);
      CHECK(answer.body == content.substr(each.from, each.length));
      CHECK(answer.header("Content-Range") == "bytes " + std::to_string(each.from) + "-" +
                                                  std::to_string(each.from + each.length - 1) + "/" +
                                                  std::to_string(9_MiB));
    }
    auto outside = rig.get(path, {{"Range", "bytes=9437184-"}});
    CHECK(outside.head.status == 416);
    CHECK(outside.header("Content-Range") == "bytes */9437184");
    // What is no range of ours may be ignored, and is.
    for (auto ignored : {"bytes=0-1,5-6", "lines=1-2", "bytes=5-1", "bytes=x"}) {
      auto whole = rig.get(path, {{"Range", ignored}});
      CHECK(whole.head.status == 200);
      CHECK(whole.body.size() == content.size());
    }
  }
}

TEST_CASE("a range of what has no length yet is answered with the whole") {
  Rig rig;
  auto content = random_bytes(2_MiB);
  auto path = rig.add_blob(content);
  rig.origin.file(path).framing = sim::OriginFile::Framing::kChunked;
  rig.origin.file(path).ranges = false;
  auto first = rig.get(path, {{"Range", "bytes=100-199"}});
  CHECK(first.head.status == 200);
  CHECK(first.body == content);
  auto then = rig.get(path, {{"Range", "bytes=100-199"}});
  CHECK(then.head.status == 206);
  CHECK(then.body == content.substr(100, 100));
}

TEST_CASE("an answer that is neither content nor an error passes") {
  Rig rig;
  auto path = rig.add_blob(random_bytes(1_MiB));
  rig.origin.file(path).faults.push_back({.status = 204, .count = 5});
  auto answer = rig.get(path);
  CHECK(answer.head.status == 204);
  CHECK(answer.body.empty());
  rig.origin.file(path).faults.clear();
  CHECK(rig.get(path).head.status == 200);
}

TEST_CASE("a range that is only wanted of one version") {
  Rig rig;
  auto content = random_bytes(2_MiB);
  auto path = rig.add_blob(content);
  auto same = rig.get(path, {{"Range", "bytes=0-9"}, {"If-Range", "\"v1\""}});
  CHECK(same.head.status == 206);
  auto other = rig.get(path, {{"Range", "bytes=0-9"}, {"If-Range", "\"v0\""}});
  CHECK(other.head.status == 200);
  CHECK(other.body.size() == 2_MiB);
  auto date = rig.get(path, {{"Range", "bytes=0-9"}, {"If-Range", "Mon, 02 Jan 2023 10:00:00 GMT"}});
  CHECK(date.head.status == 206);
}

TEST_CASE("conditions") {
  Rig rig;
  auto path = rig.add_blob(random_bytes(1_MiB));
  CHECK(rig.get(path, {{"If-None-Match", "\"v0\", W/\"v1\""}}).head.status == 304);
  CHECK(rig.get(path, {{"If-None-Match", "\"v0\""}}).head.status == 200);
  CHECK(rig.get(path, {{"If-Modified-Since", "Mon, 02 Jan 2023 10:00:00 GMT"}}).head.status == 304);
  CHECK(rig.get(path, {{"If-Modified-Since", "Sun, 01 Jan 2023 10:00:00 GMT"}}).head.status == 200);
  CHECK(rig.get(path, {{"If-Match", "\"v0\", \"v1\""}, {"Range", "bytes=0-9"}}).head.status == 206);
  CHECK(rig.get(path, {{"If-Match", "*"}}).head.status == 200);
  for (auto other : {"\"v0\"", "W/\"v1\""})
    CHECK(rig.get(path, {{"If-Match", other}, {"Range", "bytes=0-9"}}).head.status == 412);
  CHECK(rig.get(path, {{"If-Unmodified-Since", "Mon, 02 Jan 2023 10:00:00 GMT"}}).head.status == 200);
  CHECK(rig.get(path, {{"If-Unmodified-Since", "Sun, 01 Jan 2023 10:00:00 GMT"}}).head.status == 412);
}

TEST_CASE("an empty blob is empty") {
  Rig rig;
  auto path = rig.add_blob("");
  auto answer = rig.get(path);
  CHECK(answer.head.status == 200);
  CHECK(answer.header("Content-Length") == "0");
  CHECK_FALSE(answer.broken);
}

TEST_CASE("HEAD is answered from the store when the blob is here, else by the registry") {
  Rig rig;
  auto content = random_bytes(1_MiB);
  auto path = rig.add_blob(content);
  auto before = rig.send(rig.request(path, {}, "HEAD"));
  CHECK(before.head.status == 200);
  CHECK(before.header("Content-Length") == std::to_string(1_MiB));
  CHECK(before.header("X-Dragonfly-Task-ID").empty());
  (void)rig.get(path);
  const auto asked = rig.origin.requests();
  auto after = rig.send(rig.request(path, {}, "HEAD"));
  CHECK(after.header("Content-Length") == std::to_string(1_MiB));
  CHECK(after.header("X-Dragonfly-Task-ID") == sha256_of(content));
  CHECK(rig.origin.requests() == asked);
}

TEST_CASE("what may be another by now is asked for, a blob is not") {
  auto options = Rig::standard();
  options.rules = {{.regex = "blobs/sha256.*"}, {.regex = "model"}};
  fetch::EngineOptions engine;
  engine.revalidate_after = 60s;
  Rig rig(1, options, {}, engine);
  const auto blob = rig.add_blob(random_bytes(5_MiB));
  const auto content = random_bytes(5_MiB, 2), fresh = random_bytes(5_MiB, 3);
  auto& file = rig.origin.serve("/model.bin", content);
  CHECK(rig.get("/model.bin").body == content);
  CHECK(rig.get(blob).head.status == 200);
  rig.sim.run_for(61s);
  file.change(fresh, "\"v2\"");
  const auto requests = rig.origin.requests();
  CHECK(rig.send(rig.request(blob, {}, "HEAD")).head.status == 200);
  CHECK(rig.get(blob).head.status == 200);
  CHECK(rig.origin.requests() == requests);
  CHECK(rig.send(rig.request("/model.bin", {}, "HEAD")).header("ETag") == "\"v2\"");
  CHECK(rig.get("/model.bin").body == fresh);
}

TEST_CASE("manifests pass through with their headers") {
  Rig rig;
  rig.origin.serve("/v2/team/app/manifests/latest", "{\"manifest\":1}").content_type =
      "application/vnd.oci.image.manifest.v1+json";
  auto answer = rig.get("/v2/team/app/manifests/latest");
  CHECK(answer.head.status == 200);
  CHECK(answer.body == "{\"manifest\":1}");
  CHECK(answer.header("Content-Type") == "application/vnd.oci.image.manifest.v1+json");
  CHECK(answer.header("X-Dragonfly-Task-ID").empty());
  auto missing = rig.get("/v2/team/app/manifests/other");
  CHECK(missing.head.status == 404);
}

TEST_CASE("what the registry refuses is refused with its status, and what the client needs to go on") {
  Rig rig;
  auto path = rig.add_blob(random_bytes(1_MiB));
  rig.origin.file(path).authorization = "Bearer right";
  auto refused = rig.get(path);
  CHECK(refused.head.status == 401);
  CHECK(refused.header("X-Dragonfly-Error-Type") == "backend");
  CHECK(refused.header("Content-Type") == "application/json");
  CHECK(refused.body.find("UNAUTHORIZED") != std::string::npos);
  CHECK(rig.get(path, {{"Authorization", "Bearer right"}}).head.status == 200);
}

TEST_CASE("a registry that asks for more patience than a client has is quoted to it at once") {
  auto options = Rig::standard();
  options.prefetch = true;
  Rig rig(1, options);
  const auto content = random_bytes(9_MiB);
  const auto path = rig.add_blob(content);
  auto& faults = rig.origin.file(path).faults;
  SUBCASE("a moment is waited for") {
    faults.push_back({.status = 503, .retry_after = 5, .method = "GET"});
    const auto answer = rig.get(path);
    CHECK(answer.head.status == 200);
    CHECK(answer.body == content);
    CHECK(answer.to_head > 5s);
    CHECK(answer.to_head < 8s);
  }
  SUBCASE("longer is not") {
    faults.push_back({.status = 429, .retry_after = 20, .method = "GET"});
    const auto refused = rig.get(path);
    CHECK(refused.head.status == 429);
    CHECK(refused.header("Retry-After") == "20");
    CHECK(refused.header("X-Dragonfly-Error-Type") == "backend");
    CHECK(refused.to_head < 2s);
    CHECK(rig.get(path).body == content);
  }
  SUBCASE("what nobody waits for goes on waiting") {
    faults.push_back({.status = 503, .retry_after = 25, .method = "GET"});
    const auto refused = rig.get(path, {{"Range", "bytes=0-99"}});
    CHECK(refused.head.status == 503);
    CHECK(refused.header("Retry-After") == "25");
    CHECK(refused.to_head < 2s);
    CHECK(rig.engine->running() == 1);
    REQUIRE(rig.sim.run_until([&] { return rig.engine->running() == 0; }, 60s));
    const auto requests = rig.origin.requests();
    CHECK(rig.get(path).body == content);
    CHECK(rig.origin.requests() == requests);
  }
}

TEST_CASE("requests that make no sense are refused with a reason") {
  Rig rig;
  auto wrong = rig.get("/v2/a/blobs/sha256:1?ns=ftp://x");
  CHECK(wrong.head.status == 400);
  CHECK(wrong.body.find("parameter ns") != std::string::npos);
  CHECK(wrong.header("X-Dragonfly-Error-Type") == "proxy");
  CHECK(rig.get("/v2/", {{"X-Dragonfly-Piece-Length", "much"}}).head.status == 400);
  auto path = rig.add_blob("x");
  auto output = rig.get(path, {{"X-Dragonfly-Output-Path", "/etc/passwd"}});
  CHECK(output.head.status == 403);
  CHECK(output.body.find("Output-Path") != std::string::npos);
}

TEST_CASE("a registry that is not there is a bad gateway") {
  Rig rig;
  auto dead = "?ns=http://" + rig.client_host.address(9).to_string();
  auto manifest = rig.get("/v2/a/manifests/1" + dead);
  CHECK(manifest.head.status == 502);
  CHECK(manifest.body.find("\"errors\"") != std::string::npos);
  auto blob = rig.get("/v2/a/blobs/sha256:" + sha256_of("x") + dead, {}, 300s);
  CHECK(blob.head.status == 502);
}

TEST_CASE("a proxy that is its own registry says so instead of going round in circles") {
  Rig rig;
  auto self = "?ns=http://" + rig.host.address(4001).to_string();
  CHECK(rig.get("/v2/a/manifests/1" + self).head.status == 508);
  CHECK(rig.get("/v2/a/blobs/sha256:" + sha256_of("x") + self, {}, 300s).head.status == 508);
}

TEST_CASE("any GET may ask for the swarm by header, others never go there") {
  Rig rig;
  rig.origin.serve("/files/a.bin", random_bytes(100_KiB));
  CHECK(rig.get("/files/a.bin").header("X-Dragonfly-Task-ID").empty());
  auto through = rig.get("/files/a.bin", {{"X-Dragonfly-Use-P2P", "true"}, {"X-Dragonfly-Tag", "t"}});
  CHECK(through.head.status == 200);
  CHECK(through.header("X-Dragonfly-Task-ID").size() == 64);
  CHECK(rig.send(rig.request("/files/a.bin", {{"X-Dragonfly-Use-P2P", "true"}}, "DELETE"))
            .header("X-Dragonfly-Task-ID")
            .empty());
}

TEST_CASE("all of this leaves nothing behind") {
  Rig rig;
  auto path = rig.add_blob(random_bytes(3_MiB));
  (void)rig.get(path);
  (void)rig.get("/v2/none");
  CHECK(rig.sim.run(rig.server->drain(Deadline::in(5s, rig.host.now())), 10s).ok());
  CHECK(rig.engine->running() == 0);
}
