#include "scheduler/redis_client.h"

#include <algorithm>
#include <utility>

#include "base/backoff.h"
#include "scheduler/connections.h"

namespace d7y::scheduler {
namespace {

constexpr std::size_t kBatch = 128;            // commands sent before answers are read
constexpr std::size_t kReadAtOnce = 64 << 10;  // bytes

}  // namespace

// One connection.

Task<Result<void>> RedisConnection::send(std::string bytes, Deadline deadline) {
  auto writing = world::write_all(*stream_, as_bytes(bytes), deadline);
  co_return co_await writing;
}

Task<Result<RespValue>> RedisConnection::receive(Deadline deadline) {
  std::string buffer;
  for (;;) {
    auto next = reader_.next();
    if (!next) co_return std::move(next).error();
    if (*next) co_return std::move(**next);
    buffer.resize(kReadAtOnce);
    auto reading = world::read_some(*stream_, as_mutable_bytes(buffer), deadline);
    CO_TRY(const std::size_t got, co_await reading);
    if (got == 0) co_return error(ErrorCode::kReset, "Redis closed the connection");
    reader_.feed(std::string_view(buffer).substr(0, got));
  }
}

Task<Result<RespValue>> RedisConnection::exchange(std::vector<std::string> words, Deadline deadline) {
  auto sending = send(resp_command(words), deadline);
  CO_OK(co_await sending);
  auto receiving = receive(deadline);
  CO_TRY(RespValue value, co_await receiving);
  if (value.kind == RespValue::Kind::kError) {
    co_return error(ErrorCode::kUnauthenticated, "Redis refuses {}: {}", words.front(), value.text);
  }
  co_return value;
}

Task<Result<RedisConnection>> RedisConnection::open_at(world::World& world, const RedisOptions& options,
                                                       std::string address, std::string username,
                                                       std::string password, Deadline deadline) {
  RedisConnection connection;
  if (options.connect) {
    auto connecting = options.connect(address, deadline);
    CO_TRY(connection.stream_, co_await connecting);
  } else {
    auto connecting = dial(world, address, deadline);
    CO_TRY(connection.stream_, co_await connecting);
  }
  if (!password.empty()) {
    std::vector<std::string> words = {"AUTH"};
    if (!username.empty()) words.push_back(std::move(username));
    words.push_back(std::move(password));
    auto greeting = connection.exchange(std::move(words), deadline);
    CO_TRY(const RespValue fine, co_await greeting);
    (void)fine;
  }
  co_return connection;
}

Task<Result<RedisConnection>> RedisConnection::open(world::World& world, RedisOptions options,
                                                    Deadline deadline) {
  const bool sentinel = !options.master_name.empty();
  std::optional<Error> last;
  for (const auto& address : options.addrs) {
    const auto& username = sentinel ? options.sentinel_username : options.username;
    const auto& password = sentinel ? options.sentinel_password : options.password;
    auto connecting = open_at(world, options, address, username, password, deadline);
    auto connected = co_await connecting;
    if (!connected) {
      last = std::move(connected).error().in(address);
      continue;
    }
    if (sentinel) {
      auto asking =
          connected->exchange({"SENTINEL", "get-master-addr-by-name", options.master_name}, deadline);
      auto where = co_await asking;
      if (!where || where->items.size() != 2) {
        last = error(ErrorCode::kNotFound, "Sentinel {} knows no master {}", address, options.master_name);
        continue;
      }
      const bool six = where->items[0].text.find(':') != std::string::npos;
      const auto master =
          (six ? "[" + where->items[0].text + "]" : where->items[0].text) + ":" + where->items[1].text;
      auto reaching = open_at(world, options, master, options.username, options.password, deadline);
      connected = co_await reaching;
      if (!connected) {
        last = std::move(connected).error().in(master);
        continue;
      }
    }
    if (options.database != 0) {
      auto choosing = connected->exchange({"SELECT", std::to_string(options.database)}, deadline);
      auto chosen = co_await choosing;
      if (!chosen) {
        last = std::move(chosen).error().in(address);
        continue;
      }
    }
    co_return std::move(*connected);
  }
  if (!last) co_return error(ErrorCode::kInvalid, "no address of Redis is configured");
  co_return std::move(*last);
}

// The client.

RedisClient::RedisClient(world::World& world, RedisOptions options, std::string use, Log log,
                         Metrics& metrics)
    : world_(world),
      options_(std::move(options)),
      use_(std::move(use)),
      log_(log.in("redis")),
      connected_(metrics.gauge("d7y_scheduler_redis_connected", "1 while Redis answers.", {{"use", use_}})),
      commands_(metrics.counter("d7y_scheduler_redis_commands_total", "Commands that Redis answered.",
                                {{"use", use_}})),
      failures_(metrics.counter("d7y_scheduler_redis_failures_total",
                                "Broken connections, refused commands and lost writes.", {{"use", use_}})) {}

void RedisClient::write(std::vector<std::string> words) {
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

Task<Result<RespValue>> RedisClient::ask(std::vector<std::string> words, Deadline deadline) {
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

void RedisClient::fail_readers(const Error& why) {
  std::erase_if(queue_, [&](Item& item) {
    if (!item.reply) return false;
    item.reply->value = why.clone();
    item.reply->here.notify_all();
    return true;
  });
}

Task<Result<void>> RedisClient::work_off(RedisConnection& connection) {
  const std::size_t count = std::min(kBatch, queue_.size());
  std::string bytes;
  for (std::size_t i = 0; i < count; ++i) bytes += queue_[i].bytes;
  sent_ = count;
  const auto deadline = Deadline::in(options_.timeout, world_.now());
  auto sending = connection.send(std::move(bytes), deadline);
  CO_OK(co_await sending);
  for (std::size_t i = 0; i < count; ++i) {
    auto receiving = connection.receive(deadline);
    CO_TRY(RespValue value, co_await receiving);
    commands_.add();
    if (value.kind == RespValue::Kind::kError) {
      failures_.add();
      // A master that became a replica, or is still loading: elsewhere, or later, it works.
      for (const char* passing : {"READONLY", "LOADING", "MASTERDOWN", "NOAUTH"}) {
        if (value.text.starts_with(passing))
          co_return error(ErrorCode::kUnavailable, "Redis: {}", value.text);
      }
      log_.warn("Redis refuses a command ({}): {}", use_, value.text);
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

Task<void> RedisClient::run() {
  Backoff pause(std::chrono::milliseconds(200), std::chrono::seconds(10));
  std::optional<RedisConnection> connection;
  bool kept = false;  // it has answered before, and may have ended since
  for (;;) {
    if (queue_.empty()) {
      auto woken = co_await wake_.wait(Deadline::never());
      (void)woken;
      continue;
    }
    Result<void> worked;
    if (!connection) {
      auto connecting = RedisConnection::open(world_, options_, Deadline::in(options_.timeout, world_.now()));
      auto connected = co_await connecting;
      if (connected) {
        connection = std::move(*connected);
        connected_.set(1);
        log_.info("Redis is reached ({})", use_);
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
      kept = true;
      continue;
    }
    connection.reset();
    sent_ = 0;
    connected_.set(0);
    failures_.add();
    if (std::exchange(kept, false)) continue;  // at once on a new one; what is asked twice does no harm
    if (pause.tries() == 0) log_.warn("Redis is away ({}): {}; tried again", use_, worked.error().message());
    fail_readers(worked.error());
    co_await sleep_for(pause.next(world_.random()));
  }
}

}  // namespace d7y::scheduler
