#include <doctest/doctest.h>

#include "base/address.h"
#include "base/backoff.h"
#include "base/bytes.h"
#include "base/config_tree.h"
#include "base/metrics.h"
#include "base/token_bucket.h"

using namespace d7y;
using namespace std::chrono_literals;

TEST_CASE("a configuration names file, line and key of everything wrong, and of unknown keys") {
  auto tree = ConfigTree::parse(
      "upload:\n  server:\n    port: 99999\n    colour: red\nverbose: maybe\nrate: 10GB\n", "d.yaml");
  REQUIRE(tree);
  ConfigReader reader(*tree);
  int port = 4000;
  bool verbose = false;
  std::uint64_t rate = 0;
  reader.read("upload.server.port", port, 1, 65535);
  reader.read("verbose", verbose);
  reader.read_size("rate", rate);
  auto finished = reader.finish();
  REQUIRE(!finished);
  CHECK(finished.error().message() ==
        "d.yaml:3: upload.server.port: 99999 is outside 1 to 65535\n"
        "d.yaml:5: verbose: \"maybe\" is neither true nor false");
  CHECK(port == 4000);
  CHECK(rate == 10'000'000'000);
  auto unknown = reader.unknown_keys();
  REQUIRE(unknown.size() == 1);
  CHECK(unknown[0] == "d.yaml:4: key \"upload.server.colour\" is not known and has no effect");
}

TEST_CASE("a text where a map of known keys belongs is wrong, not merely unknown") {
  auto tree = ConfigTree::parse("storage: /data\nhost:\n  - a\nlog:\ncolour: red\n", "d.yaml");
  REQUIRE(tree);
  ConfigReader reader(*tree);
  std::string dir, ip, level;
  reader.read("storage.dir", dir);
  reader.read("host.ip", ip);
  reader.read("log.level", level);
  auto finished = reader.finish();
  REQUIRE(!finished);
  CHECK(finished.error().message() ==
        "d.yaml:1: storage: a map of keys is expected here\nd.yaml:2: host: a map of keys is expected here");
  CHECK(reader.unknown_keys() ==
        std::vector<std::string>{"d.yaml:5: key \"colour\" is not known and has no effect"});
  auto list = ConfigTree::parse("[]", "d.yaml");
  REQUIRE(list);
  CHECK(ConfigReader(*list).finish().error().message() == "d.yaml:1: a map of keys is expected here");
}

TEST_CASE("a number that somebody forgot the unit of is no duration, and nothing is done all the time") {
  auto tree = ConfigTree::parse("wait: 60\nlong: 60000000000\nnone: 0\noften: 0s\nrarely: 1m\n", "d.yaml");
  REQUIRE(tree);
  ConfigReader reader(*tree);
  Duration wait = 5s, longer{}, none = 5s, often = 5s, rarely{};
  reader.read_duration("wait", wait);
  reader.read_duration("long", longer);
  reader.read_duration("none", none);
  reader.read_interval("often", often);
  reader.read_interval("rarely", rarely);
  CHECK(longer == 60s);
  CHECK(none == 0s);
  CHECK(rarely == 60s);
  CHECK(reader.finish().error().message() ==
        "d.yaml:1: wait: 60 has no unit and would be nanoseconds; write for example 60s\n"
        "d.yaml:4: often: at least one second is needed");
}

TEST_CASE("host:port is taken apart") {
  CHECK(HostPort::parse("scheduler.svc:8002")->host == "scheduler.svc");
  CHECK(HostPort::parse("[::1]:8002")->host == "::1");
  CHECK(HostPort::parse("10.0.0.1:8002")->port == 8002);
  for (const char* wrong :
       {"", "a", ":8002", "a:", "a:0", "a:65536", "a:80x", "http://a:1", "u@a:1", "a b:1", "[]:1"})
    CHECK_MESSAGE(!HostPort::parse(wrong), wrong);
}

TEST_CASE("text that is no YAML, and a key given twice, are refused with their place") {
  auto broken = ConfigTree::parse("a: [1, 2\nb: 3\n", "x.yaml");
  REQUIRE(!broken);
  CHECK(broken.error().message().starts_with("x.yaml:2:"));
  auto twice = ConfigTree::parse("a: 1\na: 2\n", "x.yaml");
  REQUIRE(!twice);
  CHECK(twice.error().message() == "x.yaml:2: key \"a\" stands twice; keep one");
}

TEST_CASE("durations and sizes are read with their units") {
  CHECK(*parse_duration("1m30s") == 90s);
  CHECK(*parse_duration("250ms") == 250ms);
  CHECK(*parse_duration("168h") == 168h);
  CHECK(*parse_duration("0") == 0s);
  CHECK(!parse_duration("soon"));
  CHECK(!parse_duration("5 parsecs"));
  CHECK(*parse_duration("1500") == 1500ns);
  // More than a duration holds, and what is no number.
  CHECK(!parse_duration("1e96"));
  CHECK(!parse_duration("1e300w"));
  CHECK(!parse_duration("nan"));
  CHECK(!parse_duration("infs"));
  CHECK(!parse_size("inf"));
  CHECK(!parse_size("nanKiB"));
  CHECK(*parse_size("4MiB") == 4_MiB);
  CHECK(*parse_size("50GB") == 50'000'000'000);
  CHECK(*parse_size("1024") == 1024);
  CHECK(!parse_size("many"));
}

TEST_CASE("a token bucket paces evenly and never exceeds rate and burst") {
  TimePoint now{};
  TokenBucket bucket(1'000'000, 100'000, now);
  CHECK(bucket.take(500'000, now) == 100'000);
  CHECK(bucket.take(1, now) == 0);
  std::uint64_t moved = 0;
  auto end = now + 10s;
  while (now < end) {
    auto granted = bucket.take(64_KiB, now);
    moved += granted;
    if (granted == 0) now = bucket.next(now);
  }
  CHECK(moved >= 9'900'000);
  CHECK(moved <= 10'100'000);
}

TEST_CASE("back-off doubles, jitters within half, and stops at its longest") {
  Backoff backoff(100ms, 1s);
  CHECK(backoff.next(~0ULL) <= 100ms);
  CHECK(backoff.next(0) == 100ms);
  CHECK(backoff.next(0) == 200ms);
  for (int i = 0; i < 50; ++i) CHECK(backoff.next(~0ULL) <= 1s);
}

TEST_CASE("metrics are exposed as Prometheus reads them, and reset keeps gauges") {
  Metrics metrics;
  metrics.counter("a_total", "Counts \"a\".", {{"type", "x\"y"}}).add(3);
  metrics.gauge("b", "Shows b.").set(-2);
  auto& h = metrics.histogram("c", "Spreads c.", {1, 5});
  h.observe(1);
  h.observe(4);
  h.observe(9);
  CHECK(metrics.expose() ==
        "# HELP a_total Counts \"a\".\n# TYPE a_total counter\na_total{type=\"x\\\"y\"} 3\n"
        "# HELP b Shows b.\n# TYPE b gauge\nb -2\n"
        "# HELP c Spreads c.\n# TYPE c histogram\nc_bucket{le=\"1\"} 1\nc_bucket{le=\"5\"} 2\n"
        "c_bucket{le=\"+Inf\"} 3\nc_sum 14\nc_count 3\n");
  metrics.reset();
  CHECK(metrics.counter("a_total", "", {{"type", "x\"y"}}).value() == 0);
  CHECK(metrics.gauge("b", "").value() == -2);
}
