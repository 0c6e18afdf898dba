#include "swarm/handouts.h"

namespace d7y::swarm {

struct Handouts::Table {
  explicit Table(world::World& at) : world(at) {}

  // Says what is to be said after something happened.
  void deal() {
    for (const auto& told : handout.deal(world.now())) seats.at(told.child)->telling_.push_back(told.piece);
    for (auto& [child, seat] : seats) seat->changed_.notify_all();
  }

  world::World& world;
  PieceHandout handout;
  std::map<PieceHandout::Child, Seat*> seats;
  std::size_t queued = 0;  // of them, those that stand in line
};

Result<void> Handouts::promise(const std::string& task_id, const std::string& host_id, bool later) {
  forget_old();
  const Promised who(task_id, host_id);
  // Renewed promises stand in line more than once, so both are bounded.
  if (promised_.size() >= kMostPromises) {
    return error(ErrorCode::kExhausted, "{} children were promised within {} s; no more can be remembered",
                 kMostPromises, std::chrono::duration_cast<std::chrono::seconds>(kPromise).count());
  }
  const auto until = world_.now() + kPromise;
  promises_[who] = {until, later};
  promised_.emplace_back(until, who);
  return {};
}

void Handouts::forget_old() {
  while (!promised_.empty() && promised_.front().first <= world_.now()) {
    const auto& [until, who] = promised_.front();
    const auto found = promises_.find(who);
    if (found != promises_.end() && found->second.until <= until) promises_.erase(found);
    promised_.pop_front();
  }
}

std::unique_ptr<Handouts::Seat> Handouts::join(const std::string& task_id, const std::string& host_id,
                                               store::Bitmap wanted) {
  forget_old();
  const auto promise = promises_.extract({task_id, host_id});
  if (promise.empty()) return nullptr;
  const bool later = promise.mapped().later;
  const auto found = tables_.find(task_id);
  if (found != tables_.end()) {
    const auto& table = *found->second;
    if (later ? table.queued >= kLongestLine : table.seats.size() - table.queued >= kMostChildren)
      return nullptr;
  }
  return std::make_unique<Seat>(*this, task_id, std::move(wanted), later);
}

// ---- Children

Handouts::Seat::Seat(Handouts& handouts, const std::string& task_id, store::Bitmap wanted, bool later)
    : handouts_(handouts), task_id_(task_id), later_(later) {
  auto& table = handouts_.tables_[task_id_];
  if (!table) table = std::make_shared<Table>(handouts_.world_);
  table_ = table;
  const auto now = handouts_.world_.now();
  child_ =
      later_ ? table_->handout.queue(std::move(wanted), now) : table_->handout.join(std::move(wanted), now);
  table_->queued += later_ ? 1 : 0;
  table_->seats[child_] = this;
  table_->deal();
}

Handouts::Seat::~Seat() {
  table_->seats.erase(child_);
  table_->queued -= later_ ? 1 : 0;
  table_->handout.leave(child_, handouts_.world_.now());
  if (table_->seats.empty()) {
    handouts_.tables_.erase(task_id_);
  } else {
    table_->deal();
  }
}

void Handouts::Seat::here(std::span<const std::uint32_t> pieces, bool complete) {
  for (const auto piece : pieces) table_->handout.here(piece);
  table_->handout.complete(complete);
}

std::vector<std::uint32_t> Handouts::Seat::told() {
  for (const auto& told : table_->handout.deal(handouts_.world_.now())) {
    auto* seat = table_->seats.at(told.child);
    seat->telling_.push_back(told.piece);
    if (seat != this) seat->changed_.notify_all();
  }
  return std::exchange(telling_, {});
}

void Handouts::Seat::gone(std::uint32_t piece) { table_->handout.gone(child_, piece); }

bool Handouts::Seat::done() const { return telling_.empty() && table_->handout.done(child_); }

Deadline Handouts::Seat::next() const { return table_->handout.next(); }

// ---- Uploads

Handouts::Upload::Upload(Handouts* handouts, const std::string& task_id, std::uint32_t piece)
    : piece_(piece) {
  if (handouts == nullptr) return;
  const auto found = handouts->tables_.find(task_id);
  if (found == handouts->tables_.end()) return;
  table_ = found->second;
  table_->handout.asked(piece_, handouts->world_.now());
}

void Handouts::Upload::moved() {
  if (table_) table_->handout.moved(piece_, table_->world.now());
}

Handouts::Upload::~Upload() {
  if (!table_) return;
  table_->handout.ended(piece_, done_, table_->world.now());
  table_->deal();
}

}  // namespace d7y::swarm
