// What the brain keeps its records, ids and alarms in.
#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "scheduler/alarms.h"
#include "scheduler/compact_list.h"
#include "scheduler/id_table.h"
#include "scheduler/short_list.h"
#include "scheduler/slab.h"

using namespace d7y;
using namespace d7y::scheduler;
using namespace std::chrono_literals;

TEST_CASE("alarms come in the order of their times, whatever they wait") {
  Alarms alarms;
  const TimePoint start{1h};
  CHECK(alarms.next() == TimePoint::max());
  alarms.set(start, 10s, {1, 1});
  alarms.set(start, 30ms, {2, 1});
  alarms.set(start + 1s, 10s, {3, 1});
  alarms.set(start + 10s, 30ms, {4, 1});
  CHECK(alarms.next() == start + 30ms);
  CHECK_FALSE(alarms.take(start));
  std::vector<std::uint32_t> taken;
  while (const auto peer = alarms.take(start + 20s)) taken.push_back(peer->index);
  CHECK(taken == std::vector<std::uint32_t>{2, 1, 4, 3});
  CHECK(alarms.next() == TimePoint::max());
}

TEST_CASE("alarms that mean nothing any more are forgotten") {
  Alarms alarms;
  for (std::uint32_t i = 0; i < 4; ++i) alarms.set(TimePoint{1h} + i * 1s, 10s, {i, 1});
  alarms.drop([](PeerHandle peer) { return peer.index < 2; });
  CHECK(alarms.next() == TimePoint{1h} + 12s);
}

TEST_CASE("a table of ids finds what was put in and not what was taken out, however it grows") {
  IdTable table(7);
  std::vector<std::string> ids;
  const auto find = [&](const std::string& id) {
    return table.find(table.key(id), [&](std::uint32_t position) { return ids[position] == id; });
  };
  for (std::uint32_t i = 0; i < 20'000; ++i) {
    ids.push_back("id-" + std::to_string(i));
    table.insert(table.key(ids.back()), i);
    if (i % 3 == 0) table.erase(table.key(ids[i / 2]), i / 2);
  }
  std::vector<bool> gone(ids.size());
  for (std::uint32_t i = 0; i < ids.size(); i += 3) gone[i / 2] = true;
  std::size_t left = 0;
  for (std::uint32_t i = 0; i < ids.size(); ++i) {
    left += gone[i] ? 0 : 1;
    REQUIRE(find(ids[i]) == (gone[i] ? std::nullopt : std::optional(i)));
  }
  CHECK(table.size() == left);
  CHECK_FALSE(find("nobody"));
}

TEST_CASE("a compact list is a vector") {
  CompactList<int> list;
  for (int i = 0; i < 100; ++i) list.push_back(i);
  list.erase_first(10);
  list.erase_if([](int i) { return i % 2 == 0; });
  list.pop_back();
  CHECK(std::vector<int>(list.begin(), list.begin() + 3) == std::vector<int>{11, 13, 15});
  CHECK(list.size() == 44);
  const auto moved = std::move(list);
  CHECK(moved.size() == 44);
  CHECK(sizeof(list) == 16);
}

TEST_CASE("a short list holds what it is made for") {
  ShortList<int, 4> list;
  for (int i = 0; i < 4; ++i) list.push_back(i);
  CHECK(list.full());
  list.erase_if([](int i) { return i < 2; });
  CHECK(list.front() == 2);
  CHECK(list.size() == 2);
}

TEST_CASE("what is asked of candidates shares a line of memory") {
  Slab<PeerRecord> peers;
  const auto handle = peers.insert();
  const auto line = [](const void* at) { return reinterpret_cast<std::uintptr_t>(at) / 64; };
  const auto& peer = *peers.find(handle);
  CHECK(line(&peer) == line(&peer.concurrent_pieces));
  Slab<HostRecord> hosts;
  const auto& host = *hosts.find(hosts.insert());
  CHECK(line(&host) == line(&host.facts.disable_shared));
}
