#include "sim/host_receiver.h"

#include <algorithm>
#include <utility>

#include "base/crc32.h"
#include "base/scope.h"
#include "sim/host.h"

namespace d7y::sim {
namespace {

constexpr std::size_t kHands = 2;
constexpr std::size_t kBuffer = 256 << 10;
constexpr auto kPatience = std::chrono::milliseconds(8);

}  // namespace

class HostReceiving final : public world::Receiving {
 public:
  HostReceiving(HostReceiver& receiver, SimStream& stream, std::shared_ptr<world::File> file,
                const world::Receiver::Order& order, Bytes ahead)
      : receiver_(receiver),
        stream_(&stream),
        file_(std::move(file)),
        order_(order),
        buffer_(ahead.begin(), ahead.end()),
        crc_(order.crc),
        seen_{.crc = order.crc},
        scope_(receiver.host_.loop()),
        news_(receiver.host_.loop()) {
    ++receiver_.running_;
    stream.lend(*this);
    scope_.spawn(run());
  }
  ~HostReceiving() override { stop(); }

  // A thread goes on between two looks. So each look sees what was there at the one before; the news of an
  // end come after it.
  State state() override {
    auto seen = std::exchange(seen_, now());
    if (seen.ended != seen_.ended) news_.spawn(tell());
    return seen;
  }
  Signal& changed() override { return changed_; }
  void hurry() override {
    if (std::exchange(hurry_, true) || stream_ == nullptr) return;
    stream_->readable().notify_all();
  }
  void stop() override {
    if (stream_ != nullptr) {
      scope_.cancel();
      end();
    }
    seen_ = now();
  }
  std::optional<Refused> refused() override { return std::exchange(refused_, std::nullopt); }

 private:
  State now() const {
    // What is in the buffer is nobody's yet.
    auto taken = stream_ == nullptr
                     ? taken_
                     : std::min(taken_ - std::min(taken_, std::uint64_t{buffer_.size()}), order_.length - 1);
    return {taken, written_, crc_, stream_ == nullptr};
  }
  Task<void> tell() {
    co_await sleep_for(std::chrono::microseconds(10));
    changed_.notify_all();
  }
  Task<void> run() {
    for (bool going = true; going && taken_ < order_.length;) {
      std::vector<std::byte> part(std::min<std::uint64_t>(kBuffer - buffer_.size(), order_.length - taken_));
      auto got = stream_->read_lent(part);
      if (got.state == world::Transfer::State::kMoved) {
        buffer_.insert(buffer_.end(), part.begin(), part.begin() + static_cast<std::ptrdiff_t>(got.bytes));
        taken_ += got.bytes;
        if (buffer_.size() == kBuffer) going = write();
        continue;
      }
      if (got.state != world::Transfer::State::kWouldBlock) break;
      if (hurry_ && !buffer_.empty()) going = write();
      if (!going) break;
      auto woken = co_await stream_->readable().wait(Deadline::in(kPatience, receiver_.host_.loop().now()));
      going = woken.ok();
    }
    end();
  }

  bool write() {
    auto bytes = std::exchange(buffer_, {});
    auto wrote = file_->write_at(order_.offset + written_, bytes);
    if (!wrote) {
      refused_ = Refused{std::move(bytes), std::move(wrote).error()};
      return false;
    }
    written_ += bytes.size();
    crc_ = crc32(bytes, crc_);
    if (hurry_) changed_.notify_all();
    return true;
  }

  void end() {
    if (!buffer_.empty() && !refused_) write();
    std::exchange(stream_, nullptr)->give_back();
    --receiver_.running_;
    changed_.notify_all();
  }

  HostReceiver& receiver_;
  SimStream* stream_;  // null: it has ended
  std::shared_ptr<world::File> file_;
  world::Receiver::Order order_;
  std::vector<std::byte> buffer_;
  std::uint64_t taken_ = 0, written_ = 0;
  std::uint32_t crc_;
  bool hurry_ = false;
  State seen_;  // at the last look
  std::optional<Refused> refused_;
  Signal changed_;
  Scope scope_, news_;
};

std::unique_ptr<world::Receiving> HostReceiver::start(world::Stream& stream,
                                                      std::shared_ptr<world::File> file, const Order& order,
                                                      Bytes ahead) {
  auto* lent = dynamic_cast<SimStream*>(&stream);
  if (lent == nullptr || lent->is_lent() || running_ >= kHands) return nullptr;
  ++started_;
  return std::make_unique<HostReceiving>(*this, *lent, std::move(file), order, ahead);
}

}  // namespace d7y::sim
