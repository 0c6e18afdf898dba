#include "scheduler/redis_ledger.h"

#include <charconv>

namespace d7y::scheduler {
namespace {

// A value with its expiry in front, in nanoseconds since 1970.
std::string pack(const LedgerEntry& entry) {
  return fmt::format("{}\n", entry.expires.time_since_epoch().count()) + entry.value;
}
bool unpack(std::string_view text, LedgerEntry& out) {
  const auto newline = text.find('\n');
  std::int64_t expires = 0;
  if (newline == std::string_view::npos) return false;
  const auto parsed = std::from_chars(text.data(), text.data() + newline, expires);
  if (parsed.ec != std::errc() || parsed.ptr != text.data() + newline) return false;
  out.expires = WallTime(Duration(expires));
  out.value = text.substr(newline + 1);
  return true;
}

}  // namespace

RedisLedger::RedisLedger(world::World& world, RedisOptions options, Log log, Metrics& metrics)
    : world_(world), client_(world, std::move(options), "ledger", log, metrics) {}

std::string RedisLedger::key(std::string_view group) const {
  return client_.options().prefix + std::string(group);
}

void RedisLedger::put(LedgerEntry entry) {
  const auto value = pack(entry);
  client_.write({"HSET", key(entry.group), entry.name, value});
  // The entry about the group lives longest.
  if (entry.name.empty() && entry.expires != WallTime::max()) {
    const auto at =
        std::chrono::duration_cast<std::chrono::milliseconds>(entry.expires.time_since_epoch()).count();
    client_.write({"PEXPIREAT", key(entry.group), std::to_string(at)});
  }
}
void RedisLedger::erase(std::string group, std::string name) {
  client_.write({"HDEL", key(group), std::move(name)});
}
void RedisLedger::erase_group(std::string group) { client_.write({"DEL", key(group)}); }

Task<Result<void>> RedisLedger::settle(Deadline deadline) {
  auto asking = client_.ask({"PING"}, deadline);
  auto pong = co_await asking;
  if (!pong) co_return std::move(pong).error();
  co_return Result<void>{};
}

Task<Result<std::vector<LedgerEntry>>> RedisLedger::read(std::string group) {
  auto asking = client_.ask({"HGETALL", key(group)}, Deadline::in(client_.options().timeout, world_.now()));
  CO_TRY(const RespValue list, co_await asking);
  std::vector<LedgerEntry> out;
  for (std::size_t i = 0; i + 1 < list.items.size(); i += 2) {
    LedgerEntry entry;
    entry.group = group;
    entry.name = list.items[i].text;
    if (unpack(list.items[i + 1].text, entry) && entry.expires > world_.wall_now())
      out.push_back(std::move(entry));
  }
  co_return out;
}

Task<Result<void>> RedisLedger::load(std::function<void(LedgerEntry)> each) {
  auto reading = read(std::string(kHostsGroup));
  CO_TRY(auto hosts, co_await reading);
  for (auto& host : hosts) each(std::move(host));
  co_return Result<void>{};
}

}  // namespace d7y::scheduler
