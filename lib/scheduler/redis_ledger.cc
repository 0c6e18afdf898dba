#include "scheduler/redis_ledger.h"

#include <algorithm>
#include <charconv>

#include "base/backoff.h"
#include "base/scope.h"
#include "scheduler/connections.h"

namespace d7y::scheduler {
namespace {

constexpr std::size_t kBatch = 128;            // commands sent before answers are read
constexpr std::size_t kReadAtOnce = 64 << 10;  // bytes

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
    : world_(world),
      options_(std::move(options)),
      log_(log.in("redis")),
      connected_(metrics.gauge("d7y_scheduler_redis_connected", "1 while Redis answers.")),
      commands_(metrics.counter("d7y_scheduler_redis_commands_total", "Commands that Redis answered.")),
      failures_(metrics.counter("d7y_scheduler_redis_failures_total",
                                "Broken connections, refused commands and lost writes.")) {}

RedisLedger::~RedisLedger() = default;

std::string RedisLedger::key(std::string_view group) const { return options_.prefix + std::string(group); }

// Writes and reads.

void RedisLedger::write(std::vector<std::string> words) {
  if (writes_ >= options_.most_waiting) {
    // Those on their way stay.
    const auto oldest = std::find_if(queue_.begin() + static_cast<std::ptrdiff_t>(sent_), queue_.end(),
                                     [](const Item& item) { return item.reply == nullptr; });
    if (oldest == queue_.end()) return failures_.add();
    queue_.erase(oldest);
    --writes_;
    failures_.add();
  }
  queue_.push_back({resp_command(words), nullptr});
  ++writes_;
  wake_.notify_all();
}

void RedisLedger::put(LedgerEntry entry) {
  const auto value = pack(entry);
  write({"HSET", key(entry.group), entry.name, value});
  // The entry about the group lives longest.
  if (entry.name.empty() && entry.expires != WallTime::max()) {
    const auto at =
        std::chrono::duration_cast<std::chrono::milliseconds>(entry.expires.time_since_epoch()).count();
    write({"PEXPIREAT", key(entry.group), std::to_string(at)});
  }
}
void RedisLedger::erase(std::string group, std::string name) { write({"HDEL", key(group), std::move(name)}); }
void RedisLedger::erase_group(std::string group) { write({"DEL", key(group)}); }

Task<Result<RespValue>> RedisLedger::ask(std::vector<std::string> words, Deadline deadline) {
  const auto reply = std::make_shared<Reply>();
  queue_.push_back({resp_command(words), reply});
  wake_.notify_all();
  while (!reply->value) {
    auto waited = co_await reply->here.wait(deadline);
    if (!waited && !reply->value) co_return std::move(waited).error();
  }
  auto value = std::move(*reply->value);
  if (value && value->kind == RespValue::Kind::kError) {
    co_return error(ErrorCode::kUnavailable, "Redis: {}", value->text);
  }
  co_return value;
}

Task<Result<void>> RedisLedger::settle(Deadline deadline) {
  auto asking = ask({"PING"}, deadline);
  auto pong = co_await asking;
  if (!pong) co_return std::move(pong).error();
  co_return Result<void>{};
}

Task<Result<std::vector<LedgerEntry>>> RedisLedger::read(std::string group) {
  auto asking = ask({"HGETALL", key(group)}, Deadline::in(options_.timeout, world_.now()));
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

// The connection.

Task<Result<RespValue>> RedisLedger::receive(Connection& connection, Deadline deadline) {
  std::string buffer;
  for (;;) {
    auto next = connection.reader.next();
    if (!next) co_return std::move(next).error();
    if (*next) co_return std::move(**next);
    buffer.resize(kReadAtOnce);
    auto reading = world::read_some(*connection.stream, as_mutable_bytes(buffer), deadline);
    CO_TRY(const std::size_t got, co_await reading);
    if (got == 0) co_return error(ErrorCode::kReset, "Redis closed the connection");
    connection.reader.feed(std::string_view(buffer).substr(0, got));
  }
}

Task<Result<RespValue>> RedisLedger::exchange(Connection& connection, std::vector<std::string> words,
                                              Deadline deadline) {
  const auto bytes = resp_command(words);
  auto writing = world::write_all(*connection.stream, as_bytes(bytes), deadline);
  CO_OK(co_await writing);
  auto receiving = receive(connection, deadline);
  CO_TRY(RespValue value, co_await receiving);
  if (value.kind == RespValue::Kind::kError) {
    co_return error(ErrorCode::kUnauthenticated, "Redis refuses {}: {}", words.front(), value.text);
  }
  co_return value;
}

Task<Result<RedisLedger::Connection>> RedisLedger::connect_to(std::string address, std::string username,
                                                              std::string password, Deadline deadline) {
  Connection connection;
  if (options_.connect) {
    auto connecting = options_.connect(address, deadline);
    CO_TRY(connection.stream, co_await connecting);
  } else {
    auto connecting = dial(world_, address, deadline);
    CO_TRY(connection.stream, co_await connecting);
  }
  if (!password.empty()) {
    std::vector<std::string> words = {"AUTH"};
    if (!username.empty()) words.push_back(std::move(username));
    words.push_back(std::move(password));
    auto greeting = exchange(connection, std::move(words), deadline);
    CO_TRY(const RespValue fine, co_await greeting);
    (void)fine;
  }
  co_return connection;
}

Task<Result<RedisLedger::Connection>> RedisLedger::connect(Deadline deadline) {
  std::optional<Error> last;
  for (const auto& address : options_.addrs) {
    const bool sentinel = !options_.master_name.empty();
    const auto& username = sentinel ? options_.sentinel_username : options_.username;
    const auto& password = sentinel ? options_.sentinel_password : options_.password;
    auto connecting = connect_to(address, username, password, deadline);
    auto connected = co_await connecting;
    if (!connected) {
      last = std::move(connected).error().in(address);
      continue;
    }
    if (!sentinel) co_return std::move(*connected);
    auto asking =
        exchange(*connected, {"SENTINEL", "get-master-addr-by-name", options_.master_name}, deadline);
    auto where = co_await asking;
    if (!where || where->items.size() != 2) {
      last = error(ErrorCode::kNotFound, "Sentinel {} knows no master {}", address, options_.master_name);
      continue;
    }
    const bool six = where->items[0].text.find(':') != std::string::npos;
    const auto master =
        (six ? "[" + where->items[0].text + "]" : where->items[0].text) + ":" + where->items[1].text;
    auto reaching = connect_to(master, options_.username, options_.password, deadline);
    auto reached = co_await reaching;
    if (reached) co_return std::move(*reached);
    last = std::move(reached).error().in(master);
  }
  if (!last) co_return error(ErrorCode::kInvalid, "no address of Redis is configured");
  co_return std::move(*last);
}

void RedisLedger::fail_readers(const Error& why) {
  std::erase_if(queue_, [&](Item& item) {
    if (!item.reply) return false;
    item.reply->value = why.clone();
    item.reply->here.notify_all();
    return true;
  });
}

Task<Result<void>> RedisLedger::work_off(Connection& connection) {
  const std::size_t count = std::min(kBatch, queue_.size());
  std::string bytes;
  for (std::size_t i = 0; i < count; ++i) bytes += queue_[i].bytes;
  sent_ = count;
  const auto deadline = Deadline::in(options_.timeout, world_.now());
  auto writing = world::write_all(*connection.stream, as_bytes(bytes), deadline);
  CO_OK(co_await writing);
  for (std::size_t i = 0; i < count; ++i) {
    auto receiving = receive(connection, deadline);
    CO_TRY(RespValue value, co_await receiving);
    commands_.add();
    if (value.kind == RespValue::Kind::kError) {
      failures_.add();
      // A master that became a replica, or is still loading: elsewhere, or later, it works.
      for (const char* passing : {"READONLY", "LOADING", "MASTERDOWN", "NOAUTH"}) {
        if (value.text.starts_with(passing))
          co_return error(ErrorCode::kUnavailable, "Redis: {}", value.text);
      }
      log_.warn("Redis refuses a command: {}", value.text);
    }
    Item item = std::move(queue_.front());
    queue_.pop_front();
    --sent_;
    if (item.reply) {
      item.reply->value = std::move(value);
      item.reply->here.notify_all();
    } else {
      --writes_;
    }
  }
  co_return Result<void>{};
}

Task<void> RedisLedger::run() {
  Backoff pause(std::chrono::milliseconds(200), std::chrono::seconds(10));
  std::optional<Connection> connection;
  for (;;) {
    if (queue_.empty()) {
      auto woken = co_await wake_.wait(Deadline::never());
      (void)woken;
      continue;
    }
    Result<void> worked;
    if (!connection) {
      auto connecting = connect(Deadline::in(options_.timeout, world_.now()));
      auto connected = co_await connecting;
      if (connected) {
        connection = std::move(*connected);
        connected_.set(1);
        log_.info("Redis is reached");
      } else {
        worked = std::move(connected).error();
      }
    }
    if (worked && connection) {
      auto working = work_off(*connection);
      worked = co_await working;
    }
    if (worked) {
      pause.reset();
      continue;
    }
    connection.reset();
    sent_ = 0;
    connected_.set(0);
    failures_.add();
    if (pause.tries() == 0) log_.warn("Redis is away: {}; tried again", worked.error().message());
    fail_readers(worked.error());
    co_await sleep_for(pause.next(world_.random()));
  }
}

}  // namespace d7y::scheduler
