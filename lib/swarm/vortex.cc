#include "swarm/vortex.h"

#include <algorithm>
#include <cstring>

#include "swarm/wire.h"

namespace d7y::swarm::vortex {

namespace {

using wire::put;
using wire::Reader;

// "d7y" and the version of the marker, then the abilities as u32 (FORMAT.md 1).
constexpr std::string_view kMarker{"d7y\x01", 4};

// number, offset, length, digest length, parent length, traffic, cost, created.
constexpr std::size_t kFixedMetadata = 4 + 8 + 8 + 4 + 4 + 1 + 8 + 8;

// The range of times that a Rust peer accepts (chrono's, years -262143 to 262142).
constexpr std::int64_t kEarliest = -8'334'601'228'800;
constexpr std::int64_t kLatest = 8'210'266'876'799;

void put_header(std::string& out, std::uint8_t id, Tag tag, std::size_t length) {
  put<std::uint8_t>(out, id);
  put<std::uint8_t>(out, static_cast<std::uint8_t>(tag));
  put<std::uint32_t>(out, static_cast<std::uint32_t>(length));
}

std::string packet(Tag tag, std::string_view value, std::uint8_t id = 0) {
  std::string out;
  out.reserve(kHeaderSize + value.size());
  put_header(out, id, tag, value.size());
  out += value;
  return out;
}

Result<void> check_task_id(std::string_view task_id) {
  auto printable = [](char c) { return c > 0x20 && c < 0x7f; };
  if (task_id.size() == kTaskIdSize && std::all_of(task_id.begin(), task_id.end(), printable)) return {};
  return error(
      ErrorCode::kInvalid,
      "a task id of {} characters cannot be asked for from peers: the piece protocol carries exactly {} "
      "printable characters",
      task_id.size(), kTaskIdSize);
}

// Text of a stranger, made fit for a log line.
std::string printable(std::string_view text) {
  std::string out(text.substr(0, 512));
  for (char& c : out) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  }
  return out;
}

Error broken(std::string why) {
  return Error(ErrorCode::kProtocol, "the peer broke the piece protocol: " + std::move(why));
}

bool is_request(std::uint8_t tag) {
  switch (static_cast<Tag>(tag)) {
    case Tag::kDownloadPiece:
    case Tag::kDownloadPersistentPiece:
    case Tag::kDownloadPersistentCachePiece:
    case Tag::kDownloadCachePiece:
    case Tag::kSubscribe:
    case Tag::kUnsubscribe:
    case Tag::kFetch:
    case Tag::kCancel:
    case Tag::kClose: return true;
    default: return false;
  }
}

// The longest value a packet of this tag may have in an answer; 0: not an answer at all.
std::size_t answer_limit(std::uint8_t tag) {
  switch (static_cast<Tag>(tag)) {
    case Tag::kPieceContent:
    case Tag::kPersistentPieceContent:
    case Tag::kPersistentCachePieceContent:
    case Tag::kCachePieceContent: return kMaxMetadata;
    case Tag::kError: return kMaxErrorValue;
    case Tag::kHave: return kMaxHaveValue;
    case Tag::kPieceStart:
    case Tag::kPieceEnd: return kMaxMetadata;
    case Tag::kPieceChunk: return 4 + kMaxChunk;
    case Tag::kClose: return kMaxRequestValue;
    default: return 0;
  }
}

Header parse_header(std::string_view bytes) {
  Reader in(as_bytes(bytes));
  Header header;
  header.id = in.take<std::uint8_t>();
  header.tag = in.take<std::uint8_t>();
  header.length = in.take<std::uint32_t>();
  return header;
}

Result<Request> parse_request(std::uint8_t tag, std::string_view value) {
  Reader in(as_bytes(value));
  auto task_id = [&in]() { return std::string(in.take_text(kTaskIdSize)); };
  auto done = [&in, tag](Request request) -> Result<Request> {
    if (in.ok() && in.left() == 0) return request;
    return broken(fmt::format("{} has a value of the wrong length", name_of_tag(tag)));
  };
  switch (static_cast<Tag>(tag)) {
    case Tag::kDownloadPiece:
    case Tag::kDownloadPersistentPiece:
    case Tag::kDownloadPersistentCachePiece:
    case Tag::kDownloadCachePiece: {
      PieceRequest request;
      request.kind = static_cast<Kind>(tag / 2);
      request.task_id = task_id();
      request.number = in.take<std::uint32_t>();
      return done(std::move(request));
    }
    case Tag::kSubscribe: {
      Subscribe request;
      request.subscription = in.take<std::uint32_t>();
      request.task_id = task_id();
      return done(std::move(request));
    }
    case Tag::kUnsubscribe: return done(Unsubscribe{in.take<std::uint32_t>()});
    case Tag::kFetch: {
      Fetch request;
      request.request = in.take<std::uint32_t>();
      request.task_id = task_id();
      request.number = in.take<std::uint32_t>();
      request.start = in.take<std::uint64_t>();
      return done(std::move(request));
    }
    case Tag::kCancel: return done(Cancel{in.take<std::uint32_t>()});
    case Tag::kClose: return done(Close{});
    default: return broken(fmt::format("{} is not a request", name_of_tag(tag)));
  }
}

Result<Answer> parse_content(std::uint8_t tag, std::string_view value) {
  Reader outer(as_bytes(value));
  auto metadata_length = outer.take<std::uint32_t>();
  // What the header counts beyond the metadata has no meaning; Rust ignores it as well.
  auto metadata = outer.take_text(metadata_length);
  if (!outer.ok()) return broken("a piece's metadata is longer than its packet");

  Reader in(as_bytes(metadata));
  PieceContent content;
  content.kind = static_cast<Kind>(tag / 2);
  content.number = in.take<std::uint32_t>();
  content.offset = in.take<std::uint64_t>();
  content.length = in.take<std::uint64_t>();
  auto digest_length = in.take<std::uint32_t>();
  if (digest_length > kMaxDigest) return broken(fmt::format("a digest of {} bytes", digest_length));
  content.digest = printable(in.take_text(digest_length));
  auto parent_length = in.take<std::uint32_t>();
  if (parent_length > kMaxParentId) return broken(fmt::format("a parent id of {} bytes", parent_length));
  content.parent_id = printable(in.take_text(parent_length));
  content.traffic = in.take<std::uint8_t>();
  content.cost = in.take<std::uint64_t>();
  content.created = static_cast<std::int64_t>(in.take<std::uint64_t>());
  if (!in.ok()) return broken("a piece's metadata ends early");
  if (content.created < kEarliest || content.created > kLatest)
    return broken("a piece's time of creation is absurd");
  if (in.left() >= kMarker.size() + 4 && in.take_text(kMarker.size()) == kMarker) {
    content.abilities = in.take<std::uint32_t>();
  }
  return Answer(std::move(content));
}

Result<Answer> parse_have(std::string_view value) {
  Reader in(as_bytes(value));
  Have have;
  have.subscription = in.take<std::uint32_t>();
  auto what = in.take<std::uint8_t>();
  have.what = static_cast<Have::What>(what);
  switch (have.what) {
    case Have::What::kTask:
      have.content_length = in.take<std::uint64_t>();
      have.piece_length = in.take<std::uint64_t>();
      have.version = in.take<std::uint64_t>();
      break;
    case Have::What::kComplete:
    case Have::What::kArriving:
      have.first = in.take<std::uint32_t>();
      have.bitmap = in.take_rest();
      break;
    case Have::What::kGained:
    case Have::What::kStarted:
    case Have::What::kLost:
      have.numbers.reserve(in.left() / 4);
      while (in.ok() && in.left() > 0) have.numbers.push_back(in.take<std::uint32_t>());
      break;
    case Have::What::kAll:
    case Have::What::kClear: break;
    case Have::What::kShare:
      have.share = in.take<std::uint32_t>();
      have.shares = in.take<std::uint32_t>();
      if (in.ok() && have.share >= have.shares) return broken("a share of its pieces that cannot be");
      have.numbers.reserve(in.left() / 4);
      while (in.ok() && in.left() > 0) have.numbers.push_back(in.take<std::uint32_t>());
      break;
    case Have::What::kEnd:
      have.code = static_cast<Code>(in.take<std::uint8_t>());
      have.message = printable(in.take_rest());
      break;
    default: return broken(fmt::format("a statement of kind {} about its pieces", what));
  }
  if (!in.ok()) return broken("a statement about its pieces ends early");
  return Answer(std::move(have));
}

Result<Answer> parse_answer(std::uint8_t tag, std::string_view value) {
  Reader in(as_bytes(value));
  switch (static_cast<Tag>(tag)) {
    case Tag::kError: {
      Refusal refusal;
      refusal.code = static_cast<Code>(in.take<std::uint8_t>());
      refusal.message = printable(in.take_rest());
      if (!in.ok()) return broken("an empty error packet");
      return Answer(std::move(refusal));
    }
    case Tag::kHave: return parse_have(value);
    case Tag::kPieceStart: {
      PieceStart start;
      start.request = in.take<std::uint32_t>();
      start.number = in.take<std::uint32_t>();
      start.offset = in.take<std::uint64_t>();
      start.length = in.take<std::uint64_t>();
      start.version = in.take<std::uint64_t>();
      if (!in.ok()) return broken("the start of a piece ends early");
      return Answer(start);
    }
    case Tag::kPieceEnd: {
      PieceEnd end;
      end.request = in.take<std::uint32_t>();
      end.code = static_cast<Code>(in.take<std::uint8_t>());
      if (!in.ok()) return broken("the end of a piece ends early");
      if (in.left() > kMaxParentId) return broken("an overlong end of a piece");
      auto& text = end.code == Code::kOk ? end.digest : end.message;
      text = printable(in.take_rest());
      return Answer(std::move(end));
    }
    case Tag::kClose: return Answer(Close{});
    default: return parse_content(tag, value);
  }
}

}  // namespace

std::string name_of_tag(std::uint8_t tag) {
  switch (static_cast<Tag>(tag)) {
    case Tag::kDownloadPiece: return "DownloadPiece";
    case Tag::kPieceContent: return "PieceContent";
    case Tag::kDownloadPersistentPiece: return "DownloadPersistentPiece";
    case Tag::kPersistentPieceContent: return "PersistentPieceContent";
    case Tag::kDownloadPersistentCachePiece: return "DownloadPersistentCachePiece";
    case Tag::kPersistentCachePieceContent: return "PersistentCachePieceContent";
    case Tag::kDownloadCachePiece: return "DownloadCachePiece";
    case Tag::kCachePieceContent: return "CachePieceContent";
    case Tag::kSubscribe: return "Subscribe";
    case Tag::kUnsubscribe: return "Unsubscribe";
    case Tag::kHave: return "Have";
    case Tag::kFetch: return "Fetch";
    case Tag::kCancel: return "Cancel";
    case Tag::kPieceStart: return "PieceStart";
    case Tag::kPieceChunk: return "PieceChunk";
    case Tag::kPieceEnd: return "PieceEnd";
    case Tag::kClose: return "Close";
    case Tag::kError: return "Error";
  }
  return fmt::format("tag {}", tag);
}

Result<std::string> encode(const PieceRequest& request, std::uint8_t packet_id) {
  TRY_OK(check_task_id(request.task_id));
  std::string out;
  put_header(out, packet_id, static_cast<Tag>(static_cast<std::uint8_t>(request.kind) * 2), kTaskIdSize + 4);
  out += request.task_id;
  put<std::uint32_t>(out, request.number);
  return out;
}

std::string encode(const PieceContent& content, std::uint8_t packet_id) {
  auto digest = std::string_view(content.digest).substr(0, kMaxDigest);
  auto parent = std::string_view(content.parent_id).substr(0, kMaxParentId);
  std::size_t tail = content.abilities != 0 ? kMarker.size() + 4 : 0;
  std::size_t metadata = kFixedMetadata + digest.size() + parent.size() + tail;
  std::string out;
  out.reserve(kHeaderSize + 4 + metadata);
  auto tag = static_cast<Tag>(static_cast<std::uint8_t>(content.kind) * 2 + 1);
  put_header(out, packet_id, tag, 4 + metadata);
  put<std::uint32_t>(out, static_cast<std::uint32_t>(metadata));
  put<std::uint32_t>(out, content.number);
  put<std::uint64_t>(out, content.offset);
  put<std::uint64_t>(out, content.length);
  put<std::uint32_t>(out, static_cast<std::uint32_t>(digest.size()));
  out += digest;
  put<std::uint32_t>(out, static_cast<std::uint32_t>(parent.size()));
  out += parent;
  put<std::uint8_t>(out, content.traffic);
  put<std::uint64_t>(out, content.cost);
  put<std::uint64_t>(out, static_cast<std::uint64_t>(std::clamp(content.created, kEarliest, kLatest)));
  if (tail != 0) {
    out += kMarker;
    put<std::uint32_t>(out, content.abilities);
  }
  return out;
}

std::string encode(const Refusal& refusal, std::uint8_t packet_id) {
  std::string value;
  put<std::uint8_t>(value, static_cast<std::uint8_t>(refusal.code));
  value += std::string_view(refusal.message).substr(0, 512);
  return packet(Tag::kError, value, packet_id);
}

Result<std::string> encode(const Subscribe& subscribe) {
  TRY_OK(check_task_id(subscribe.task_id));
  std::string value;
  put<std::uint32_t>(value, subscribe.subscription);
  value += subscribe.task_id;
  return packet(Tag::kSubscribe, value);
}

std::string encode(const Unsubscribe& unsubscribe) {
  std::string value;
  put<std::uint32_t>(value, unsubscribe.subscription);
  return packet(Tag::kUnsubscribe, value);
}

Result<std::string> encode(const Fetch& fetch) {
  TRY_OK(check_task_id(fetch.task_id));
  std::string value;
  put<std::uint32_t>(value, fetch.request);
  value += fetch.task_id;
  put<std::uint32_t>(value, fetch.number);
  put<std::uint64_t>(value, fetch.start);
  return packet(Tag::kFetch, value);
}

std::string encode(const Cancel& cancel) {
  std::string value;
  put<std::uint32_t>(value, cancel.request);
  return packet(Tag::kCancel, value);
}

std::string encode(const Have& have) {
  std::string value;
  put<std::uint32_t>(value, have.subscription);
  put<std::uint8_t>(value, static_cast<std::uint8_t>(have.what));
  switch (have.what) {
    case Have::What::kTask:
      put<std::uint64_t>(value, have.content_length);
      put<std::uint64_t>(value, have.piece_length);
      put<std::uint64_t>(value, have.version);
      break;
    case Have::What::kComplete:
    case Have::What::kArriving:
      put<std::uint32_t>(value, have.first);
      value += have.bitmap;
      break;
    case Have::What::kGained:
    case Have::What::kStarted:
    case Have::What::kLost:
      for (auto number : have.numbers) put<std::uint32_t>(value, number);
      break;
    case Have::What::kAll:
    case Have::What::kClear: break;
    case Have::What::kShare:
      put<std::uint32_t>(value, have.share);
      put<std::uint32_t>(value, have.shares);
      for (auto number : have.numbers) put<std::uint32_t>(value, number);
      break;
    case Have::What::kEnd:
      put<std::uint8_t>(value, static_cast<std::uint8_t>(have.code));
      value += std::string_view(have.message).substr(0, 512);
      break;
  }
  return packet(Tag::kHave, value);
}

std::string encode(const PieceStart& start) {
  std::string value;
  put<std::uint32_t>(value, start.request);
  put<std::uint32_t>(value, start.number);
  put<std::uint64_t>(value, start.offset);
  put<std::uint64_t>(value, start.length);
  put<std::uint64_t>(value, start.version);
  return packet(Tag::kPieceStart, value);
}

std::string encode(const PieceChunk& chunk) {
  std::string out;
  put_header(out, 0, Tag::kPieceChunk, 4 + std::size_t{chunk.length});
  put<std::uint32_t>(out, chunk.request);
  return out;
}

std::string encode(const PieceEnd& end) {
  std::string value;
  put<std::uint32_t>(value, end.request);
  put<std::uint8_t>(value, static_cast<std::uint8_t>(end.code));
  value += std::string_view(end.code == Code::kOk ? end.digest : end.message).substr(0, 512);
  return packet(Tag::kPieceEnd, value);
}

std::string encode(const Close&) { return packet(Tag::kClose, {}); }

Result<void> RequestReader::feed(Bytes bytes, std::vector<Request>& out) {
  if (failed_) return broken("bytes after a violation");
  auto fail = [this](Error why) -> Result<void> {
    failed_ = true;
    pending_.clear();
    return why;
  };
  while (!bytes.empty()) {
    auto want = kHeaderSize;
    if (pending_.size() >= kHeaderSize) want += parse_header(pending_).length;
    auto take = std::min(bytes.size(), want - pending_.size());
    pending_ += as_text(bytes.first(take));
    bytes = bytes.subspan(take);
    if (pending_.size() < kHeaderSize) break;

    auto header = parse_header(pending_);
    if (!is_request(header.tag))
      return fail(broken(fmt::format("{} is not a request", name_of_tag(header.tag))));
    if (header.length > kMaxRequestValue) {
      return fail(broken(fmt::format("{} announces {} bytes", name_of_tag(header.tag), header.length)));
    }
    if (pending_.size() < kHeaderSize + header.length) continue;
    auto request = parse_request(header.tag, std::string_view(pending_).substr(kHeaderSize));
    if (!request) return fail(std::move(request).error());
    pending_.clear();
    out.push_back(std::move(*request));
  }
  return {};
}

Result<AnswerReader::Step> AnswerReader::feed(Bytes bytes) {
  Step step;
  auto fail = [this](Error why) -> Result<Step> {
    failed_ = true;
    pending_.clear();
    return why;
  };
  if (failed_) return fail(broken("bytes after a violation"));
  if (body_left_ > 0)
    return fail(Error(ErrorCode::kInternal, "a piece's bytes were fed to the packet reader"));
  auto take_until = [&](std::size_t size) {
    if (pending_.size() >= size) return;
    auto take = std::min(bytes.size() - step.taken, size - pending_.size());
    pending_ += as_text(bytes.subspan(step.taken, take));
    step.taken += take;
  };

  take_until(kHeaderSize);
  if (pending_.size() < kHeaderSize) return step;
  auto header = parse_header(pending_);
  auto limit = answer_limit(header.tag);
  if (limit == 0) return fail(broken(fmt::format("{} is not an answer", name_of_tag(header.tag))));
  if (header.length > limit) {
    return fail(broken(fmt::format("{} announces {} bytes", name_of_tag(header.tag), header.length)));
  }

  if (static_cast<Tag>(header.tag) == Tag::kPieceChunk) {
    if (header.length < 4) return fail(broken("a chunk without its request's number"));
    take_until(kHeaderSize + 4);
    if (pending_.size() < kHeaderSize + 4) return step;
    Reader in(as_bytes(std::string_view(pending_).substr(kHeaderSize)));
    PieceChunk chunk{in.take<std::uint32_t>(), header.length - 4};
    body_left_ = chunk.length;
    pending_.clear();
    step.answer = chunk;
    return step;
  }

  take_until(kHeaderSize + header.length);
  if (pending_.size() < kHeaderSize + header.length) return step;
  auto answer = parse_answer(header.tag, std::string_view(pending_).substr(kHeaderSize));
  if (!answer) return fail(std::move(answer).error());
  pending_.clear();
  if (auto* content = std::get_if<PieceContent>(&*answer)) body_left_ = content->length;
  step.answer = std::move(*answer);
  return step;
}

}  // namespace d7y::swarm::vortex
