#include "sim/faults/liar.h"

#include <algorithm>
#include <map>
#include <memory>
#include <utility>

#include "base/crc32.h"
#include "sim/rng.h"
#include "swarm/vortex.h"

namespace d7y::sim {

using namespace swarm;

namespace {

std::string write(const vortex::Answer& answer) {
  return std::visit(
      [](const auto& what) -> std::string {
        if constexpr (requires { vortex::encode(what, std::uint8_t{0}); }) {
          return vortex::encode(what, std::uint8_t{7});
        } else {
          return vortex::encode(what);
        }
      },
      answer);
}

class Liar {
 public:
  Liar(std::uint64_t seed, double share) : random_(seed), share_(share) {}

  std::string rewrite(Bytes bytes) {
    std::string out;
    if (silent_) return out;
    while (!bytes.empty()) {
      if (reader_.body_left() > 0) {
        auto count = static_cast<std::size_t>(std::min<std::uint64_t>(reader_.body_left(), bytes.size()));
        body(bytes.first(count), out);
        reader_.took_body(count);
        bytes = bytes.subspan(count);
        continue;
      }
      auto step = reader_.feed(bytes);
      if (!step) return out;  // not even we understand it
      bytes = bytes.subspan(step->taken);
      if (step->answer) packet(std::move(*step->answer), out);
      if (silent_) return out;
    }
    return out;
  }

 private:
  void body(Bytes bytes, std::string& out) {
    auto at = out.size();
    out += as_text(bytes);
    double flips = share_ * static_cast<double>(bytes.size()) / (256 << 10);
    if (!random_.chance(flips)) return;
    auto& letter = out[at + random_.below(bytes.size())];
    letter = static_cast<char>(letter ^ (1 << random_.below(8)));
  }

  void packet(vortex::Answer answer, std::string& out) {
    bool lie = random_.chance(share_);
    if (lie) {
      switch (random_.below(20)) {
        case 0: return;  // left out
        case 1: silent_ = true; return;
        case 2: out += write(answer); break;  // twice
        case 3:
          for (int i = 0; i < 40; ++i) out += static_cast<char>(random_.next());
          break;
        default: std::visit([this](auto& what) { distort(what); }, answer);
      }
    }
    out += write(answer);
  }

  template <class T>
  void nudge(T& number) {
    switch (random_.below(5)) {
      case 0: number = static_cast<T>(number + 1); break;
      case 1: number = static_cast<T>(number - 1); break;
      case 2: number = static_cast<T>(number / 2); break;
      case 3: number = static_cast<T>(random_.next()); break;
      default: number = 0;
    }
  }
  std::string digest() {
    return random_.chance(0.2) ? "" : fmt::format("crc32:{}", random_.below(1ULL << 32));
  }

  void distort(vortex::PieceContent& what) {
    switch (random_.below(5)) {
      case 0: nudge(what.number); break;
      case 1: nudge(what.offset); break;
      case 2: nudge(what.length); break;
      case 3: what.abilities ^= static_cast<std::uint32_t>(random_.below(8)); break;
      default: what.digest = digest();
    }
  }
  void distort(vortex::Refusal& what) { nudge(what.code); }
  void nudge(vortex::Code& code) { code = static_cast<vortex::Code>(random_.below(8)); }
  void distort(vortex::Have& what) {
    switch (random_.below(7)) {
      case 0: what.what = static_cast<vortex::Have::What>(random_.below(9)); break;
      case 1: nudge(what.content_length); break;
      case 2: nudge(what.piece_length); break;
      case 3: nudge(what.version); break;
      case 4: what.numbers.push_back(static_cast<std::uint32_t>(random_.below(16))); break;
      case 5: nudge(what.first); break;
      default:
        for (auto& byte : what.bitmap) byte = static_cast<char>(byte | static_cast<char>(random_.next()));
    }
  }
  void distort(vortex::PieceStart& what) {
    switch (random_.below(4)) {
      case 0: nudge(what.number); break;
      case 1: nudge(what.offset); break;
      case 2: nudge(what.version); break;
      default: nudge(what.length);
    }
  }
  void distort(vortex::PieceChunk& what) { nudge(what.length); }
  void distort(vortex::PieceEnd& what) {
    if (random_.chance(0.3)) return nudge(what.code);
    what.digest = digest();
  }
  void distort(vortex::Close&) {}

  Random random_;
  double share_;
  vortex::AnswerReader reader_;
  bool silent_ = false;
};

class ConsistentLiar {
 public:
  // `says_sums`: those of the bytes that it sends; else none.
  explicit ConsistentLiar(bool says_sums) : says_sums_(says_sums) {}

  std::string rewrite(Bytes bytes) {
    std::string out;
    while (!bytes.empty()) {
      if (reader_.body_left() > 0) {
        auto count = static_cast<std::size_t>(std::min<std::uint64_t>(reader_.body_left(), bytes.size()));
        body(bytes.first(count), out);
        reader_.took_body(count);
        bytes = bytes.subspan(count);
        continue;
      }
      auto step = reader_.feed(bytes);
      if (!step) return out;
      bytes = bytes.subspan(step->taken);
      if (step->answer) packet(std::move(*step->answer), out);
    }
    return out;
  }

 private:
  struct Piece {
    bool begun = false;
    std::uint32_t crc = 0;
  };

  void body(Bytes bytes, std::string& out) {
    auto at = out.size();
    out += as_text(bytes);
    if (!std::exchange(now_->begun, true)) out[at] = static_cast<char>(out[at] ^ 1);
    now_->crc = crc32(as_bytes(out).subspan(at), now_->crc);
  }

  void packet(vortex::Answer answer, std::string& out) {
    if (auto* content = std::get_if<vortex::PieceContent>(&answer)) {
      content->digest.clear();  // the bytes are still to come
      whole_ = {};
      now_ = &whole_;
    }
    if (auto* start = std::get_if<vortex::PieceStart>(&answer)) pieces_[start->request] = {};
    if (auto* chunk = std::get_if<vortex::PieceChunk>(&answer)) now_ = &pieces_[chunk->request];
    if (auto* end = std::get_if<vortex::PieceEnd>(&answer); end != nullptr && end->code == vortex::Code::kOk)
      end->digest = says_sums_ ? fmt::format("crc32:{}", pieces_[end->request].crc) : std::string();
    out += write(answer);
  }

  bool says_sums_;
  vortex::AnswerReader reader_;
  std::map<std::uint32_t, Piece> pieces_;  // by request
  Piece whole_;
  Piece* now_ = &whole_;
};

}  // namespace

Fabric::Rewrite consistent_liar() {
  auto who = std::make_shared<ConsistentLiar>(true);
  return [who](Bytes bytes) { return who->rewrite(bytes); };
}

Fabric::Rewrite silent_liar() {
  auto who = std::make_shared<ConsistentLiar>(false);
  return [who](Bytes bytes) { return who->rewrite(bytes); };
}

Fabric::Rewrite liar(std::uint64_t seed, double share) {
  auto who = std::make_shared<Liar>(seed, share);
  return [who](Bytes bytes) { return who->rewrite(bytes); };
}

Fabric::Rewrite bit_flipper(std::uint64_t seed, std::uint64_t one_in) {
  auto random = std::make_shared<Random>(seed);
  return [random, one_in](Bytes bytes) {
    std::string out(as_text(bytes));
    for (auto at = random->below(one_in); at < out.size(); at += 1 + random->below(2 * one_in)) {
      out[at] = static_cast<char>(out[at] ^ (1 << random->below(8)));
    }
    return out;
  };
}

}  // namespace d7y::sim
