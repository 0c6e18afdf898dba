#include "node/blocks.h"

#include <doctest/doctest.h>

using namespace d7y;
using node::Blocks;

namespace {

struct House {
  Metrics metrics;
  Blocks blocks{metrics, Log()};

  // What is refused of a download: the property, "" if nothing.
  std::string why(const char* url, const char* tag = "", const char* application = "", int priority = 6) {
    fetch::Wish wish;
    wish.message.set_url(url);
    wish.message.set_tag(tag);
    wish.message.set_application(application);
    wish.message.set_priority(static_cast<api::common::Priority>(priority));
    auto permitted = blocks.permit(wish);
    if (permitted) return "";
    CHECK(permitted.failed_with(ErrorCode::kPermission));
    for (const char* property : {"url", "tag", "application", "priority"}) {
      if (permitted.error().message().find(fmt::format("its {} is", property)) != std::string::npos)
        return property;
    }
    return permitted.error().message();
  }
};

}  // namespace

TEST_CASE("a manager's block list refuses what matches any of it, until there is another") {
  House house;
  CHECK(house.why("http://h/secret/f") == "");
  house.blocks.take_json(R"({"load_limit": 200, "block_list": {"task": {"download": {
      "urls": ["/secret/"], "tags": ["evil"], "applications": ["bad"], "priorities": [5]}}}})");
  CHECK(house.why("http://h/secret/f") == "url");
  CHECK(house.why("http://h/f") == "");
  CHECK(house.why("http://h/f", "evil") == "tag");
  CHECK(house.why("http://h/f", "", "bad") == "application");
  CHECK(house.why("http://h/f", "", "", 5) == "priority");
  CHECK(house.metrics.expose().find(R"(download_task_blocked_total{type="0"} 4)") != std::string::npos);
  house.blocks.take_json("no json");
  CHECK(house.why("http://h/secret/f") == "url");
  house.blocks.take_json(R"({"load_limit": 200})");
  CHECK(house.why("http://h/secret/f") == "");
}

TEST_CASE("files that are kept in several copies have block lists of their own") {
  House house;
  house.blocks.take_json(R"({"blockList": {"persistentCacheTask": {"download": {"tags": ["old"]},
      "upload": {"tags": ["huge"]}}, "task": {"download": {"tags": ["new"], "priorities": [0]}}}})");
  auto permits = [&](const char* tag, bool import) {
    fetch::Wish wish;
    wish.replica = fetch::Replica{.task_id = std::string(64, 'a')};
    wish.message.set_tag(tag);
    if (import) wish.message.set_url("file:///f");
    return house.blocks.permit(wish).ok();
  };
  CHECK_FALSE(permits("old", false));
  CHECK_FALSE(permits("huge", true));
  CHECK(permits("old", true));
  CHECK(permits("huge", false));
  CHECK(permits("new", false));
}

TEST_CASE("no URL is too long for a block list, and no pattern takes long to look for") {
  House house;
  const auto refuse = [&](const std::string& pattern) {
    house.blocks.take_json(R"({"block_list": {"task": {"download": {"urls": [")" + pattern + R"("]}}}})");
  };
  const std::string padding(60'000, 'a');
  refuse(R"(^http://h/.*\\.iso$)");
  CHECK(house.why(("http://h/" + padding + "/f.iso").c_str()) == "url");
  CHECK(house.why(("http://h/" + padding + "/f.txt").c_str()) == "");
  refuse("(a+)+$");  // tried one way after the other it would take for ever
  CHECK(house.why(("http://h/" + padding + "!").c_str()) == "");
  refuse("(?i)/SECRET/");
  CHECK(house.why("http://h/Secret/f") == "url");
  refuse("a)(b");
  CHECK(house.why("http://h/ab") == "");
}
