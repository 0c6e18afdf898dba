#include "net/http/pool.h"

#include <algorithm>

namespace d7y::http::detail {
namespace {

constexpr auto kLong = std::chrono::seconds(1);

}  // namespace

Connection::Connection(Pool& pool, std::string key, Limits limits, Duration stall)
    : pool_(pool), key_(std::move(key)), limits_(limits), stall_(stall), expiry_(*this) {
  pool_.opened(key_);
}

Connection::~Connection() {
  wire_.reset();
  pool_.closed(key_);
}

void Connection::attach(std::unique_ptr<world::Stream> stream) {
  wire_.emplace(std::move(stream), MessageReader::Kind::kResponse, limits_);
}

void Connection::Expiry::fire() { connection_.pool_.expire(connection_); }

Pool::~Pool() { close_idle(); }

Pool::Origin& Pool::origin(const std::string& key) {
  auto& origin = origins_[key];
  if (!origin) origin = std::make_unique<Origin>();
  return *origin;
}

void Pool::opened(const std::string& key) {
  ++origin(key).open;
  ++open_;
}

void Pool::closed(const std::string& key) {
  auto& ended = origin(key);
  --ended.open;
  --open_;
  ended.changed.notify_one();
  tidy(key);
}

void Pool::tidy(const std::string& key) {
  auto found = origins_.find(key);
  if (found == origins_.end()) return;
  const auto& origin = *found->second;
  if (origin.open == 0 && origin.waiting == 0) origins_.erase(found);
}

bool Pool::has_room(const std::string& key) const {
  const auto found = origins_.find(key);
  return found == origins_.end() || limits_.per_origin == 0 || found->second->open < limits_.per_origin;
}

std::unique_ptr<Connection> Pool::take_idle(const std::string& key) {
  while (true) {
    const auto found = origins_.find(key);
    if (found == origins_.end() || found->second->idle.empty()) return nullptr;
    // The one used last: it is the most likely to be alive, and the others can expire.
    auto connection = std::move(found->second->idle.back());
    found->second->idle.pop_back();
    --idle_;
    connection->expiry_.cancel();
    if (connection->wire().still_idle()) {
      connection->reused = true;
      return connection;
    }
  }
}

Task<Result<void>> Pool::wait(std::string key, Deadline deadline) {
  auto& where = origin(key);
  struct Waiting {
    Pool& pool;
    Origin& origin;
    const std::string& key;
    ~Waiting() {
      --origin.waiting;
      pool.tidy(key);
    }
  };
  ++where.waiting;
  Waiting waiting{*this, where, key};
  auto woken = co_await where.changed.wait(deadline);
  co_return woken;
}

void Pool::give_back(std::unique_ptr<Connection> connection) {
  auto& home = origin(connection->key());
  const bool useful = connection->keep && limits_.idle_timeout > Duration::zero() &&
                      connection->wire().body_complete() && connection->wire().still_idle() &&
                      home.idle.size() < std::max<std::size_t>(limits_.idle_per_origin, home.waiting) &&
                      !unheard_.contains(connection->key());
  if (!useful) return;
  if (idle_ >= limits_.idle_total) evict_oldest();
  connection->idle_since_ = ++rests_;
  connection->expiry_.set(loop_, Deadline::in(limits_.idle_timeout, loop_.now()).when());
  home.idle.push_back(std::move(connection));
  ++idle_;
  home.changed.notify_one();
}

Pool::Unheard::Unheard(Pool& pool, const std::string& key) : pool_(pool), key_(key) {
  set(pool.loop_, pool.loop_.now() + kLong);
}

Pool::Unheard::~Unheard() {
  if (!for_long_) return;
  auto found = pool_.unheard_.find(key_);
  if (--found->second == 0) pool_.unheard_.erase(found);
}

void Pool::Unheard::fire() {
  for_long_ = true;
  ++pool_.unheard_[key_];
  pool_.close_idle(key_);
}

void Pool::evict_oldest() {
  Connection* oldest = nullptr;
  for (const auto& [key, origin] : origins_) {
    if (origin->idle.empty()) continue;
    auto* first = origin->idle.front().get();
    if (oldest == nullptr || first->idle_since_ < oldest->idle_since_) oldest = first;
  }
  if (oldest != nullptr) expire(*oldest);
}

void Pool::expire(Connection& connection) {
  auto& idle = origin(connection.key()).idle;
  const auto found = std::find_if(idle.begin(), idle.end(), [&](auto& c) { return c.get() == &connection; });
  if (found == idle.end()) return;
  auto gone = std::move(*found);
  idle.erase(found);
  --idle_;
}

void Pool::close_idle(const std::string& key) {
  const auto found = origins_.find(key);
  if (found == origins_.end()) return;
  auto gone = std::move(found->second->idle);
  found->second->idle.clear();
  idle_ -= gone.size();
}

void Pool::close_idle() {
  std::vector<std::string> keys;
  for (const auto& [key, origin] : origins_) keys.push_back(key);
  for (const auto& key : keys) close_idle(key);
}

}  // namespace d7y::http::detail
