#include "net/http2/request_stream.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "net/http2/served_connection.h"

namespace d7y::http2::detail {
namespace {

// A handler waits while more than this of its answer is queued in its stream.
constexpr std::size_t kWriteAhead = 128 << 10;
// Read from a file at once.
constexpr std::size_t kFileBlock = 64 << 10;

// Fields that HTTP/2 has no place for (RFC 9113 8.2.2), and one that is set here.
constexpr std::string_view kNotSent[] = {
    "connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade", "content-length",
};

std::string lower(std::string text) {
  for (auto& c : text) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + ('a' - 'A'));
  }
  return text;
}

std::optional<std::uint64_t> number_in(std::string_view text) {
  std::uint64_t number = 0;
  auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (failed != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return number;
}

Error gone() { return error(ErrorCode::kReset, "the client gave its request up"); }

}  // namespace

// ---------------------------------------------------------------------------------- Request

RequestStream::Request::Request(RequestStream& stream, const Address& remote) : stream_(stream) {
  remote_ = remote;
  tls_ = true;
}

std::optional<std::uint64_t> RequestStream::Request::length() const {
  if (stream_.length_) return stream_.length_;
  if (stream_.ended_ && stream_.body_bytes_ == 0 && stream_.inbox_.empty()) return 0;
  return std::nullopt;
}

Task<Result<std::size_t>> RequestStream::Request::read(MutableBytes buffer, Deadline deadline) {
  auto& stream = stream_;
  if (std::exchange(stream.continue_due_, false) && stream.attached()) {
    stream.session()->inform(stream, "100");
  }
  while (stream.inbox_.empty()) {
    if (stream.ended_) co_return std::size_t{0};
    if (stream.closed_) co_return gone();
    auto woken = co_await stream.readable_.wait(deadline.or_earlier(stream.stall()));
    if (woken.failed_with(ErrorCode::kTimeout) && stream.inbox_.empty() && !stream.ended_) {
      co_return error(ErrorCode::kTimeout, "the request's body took too long").with_status(408);
    }
  }
  auto here = std::string_view(stream.inbox_).substr(stream.inbox_at_, buffer.size());
  std::copy_n(as_bytes(here).begin(), here.size(), buffer.begin());
  const auto count = here.size();
  stream.inbox_at_ += count;
  if (stream.inbox_at_ == stream.inbox_.size()) {
    stream.inbox_.clear();
    stream.inbox_at_ = 0;
  }
  stream.consume(count);
  stream.body_bytes_ += count;
  if (stream.body_bytes_ > stream.options().max_body) {
    co_return error(ErrorCode::kTooLarge, "the body is longer than {} bytes", stream.options().max_body)
        .with_status(413);
  }
  co_return count;
}

// ----------------------------------------------------------------------------------- Answer

Result<void> RequestStream::Answer::put_head(http::ResponseHead head, std::optional<std::uint64_t> length) {
  if (begun_) return error(ErrorCode::kPrecondition, "a second answer to one request");
  begun_ = true;
  TRY_OK(http::check_headers(head.headers));
  if (stream_.closed_) {
    aborted_ = true;
    return gone();
  }
  const bool no_body = http::has_no_body(head.status);
  http::Headers own;
  own.add("date", http::to_http_date(stream_.connection_.world().wall_now()));
  const auto& name = stream_.options().name;
  if (!name.empty()) own.add("server", name);
  if (length && !no_body) own.add("content-length", fmt::format("{}", *length));
  for (auto& header : head.headers.list()) {
    header.name = lower(std::move(header.name));
    const bool unsent =
        std::find(std::begin(kNotSent), std::end(kNotSent), header.name) != std::end(kNotSent);
    if (unsent || header.name == "date" || (header.name == "server" && !name.empty())) continue;
    own.add(std::move(header.name), std::move(header.value));
  }
  const auto status = fmt::format("{}", head.status);
  std::vector<Field> fields;
  fields.push_back({":status", status});
  for (const auto& header : own) fields.push_back({header.name, header.value});
  bodyless_ = bodyless_ || no_body;
  left_ = length;
  stream_.session()->respond(stream_, fields, !bodyless_);
  return {};
}

Task<Result<void>> RequestStream::Answer::make_room() {
  auto& stream = stream_;
  while (!stream.closed_ && stream.unsent() >= kWriteAhead) {
    const auto before = stream.unsent();
    auto woken = co_await stream.writable_.wait(stream.stall());
    if (woken.failed_with(ErrorCode::kTimeout) && stream.unsent() == before) {
      aborted_ = true;
      co_return error(ErrorCode::kTimeout, "the client does not read its answer");
    }
  }
  if (!stream.closed_) co_return Result<void>{};
  aborted_ = true;
  co_return gone();
}

Task<Result<void>> RequestStream::Answer::send(http::ResponseHead head, std::string body) {
  CO_OK(put_head(std::move(head), body.size()));
  left_ = 0;
  finished_ = true;
  if (bodyless_) co_return Result<void>{};
  stream_.send(std::move(body));
  stream_.finish();
  co_return Result<void>{};
}

Task<Result<void>> RequestStream::Answer::begin(http::ResponseHead head,
                                                std::optional<std::uint64_t> length) {
  co_return put_head(std::move(head), length);
}

Task<Result<void>> RequestStream::Answer::write(Bytes bytes) {
  CO_OK(admit(bytes.size()));
  while (!bodyless_ && !bytes.empty()) {
    CO_OK(co_await make_room());
    const auto part = bytes.first(std::min(bytes.size(), kFileBlock));
    stream_.send(part);
    bytes = bytes.subspan(part.size());
  }
  co_return Result<void>{};
}

Task<Result<void>> RequestStream::Answer::send_file(world::File& file, std::uint64_t offset,
                                                    std::uint64_t length) {
  CO_OK(admit(length));
  while (!bodyless_ && length > 0) {
    CO_OK(co_await make_room());
    auto block = std::make_shared<std::string>(std::min<std::uint64_t>(length, kFileBlock), '\0');
    CO_TRY(auto got, file.read_at(offset, as_mutable_bytes(*block)));
    if (got == 0) {
      aborted_ = true;
      co_return error(ErrorCode::kCorrupt, "file {} ends {} bytes early", file.path(), length);
    }
    block->resize(got);
    stream_.send(std::shared_ptr<const std::string>(std::move(block)));
    offset += got;
    length -= got;
  }
  co_return Result<void>{};
}

Task<Result<void>> RequestStream::Answer::finish() {
  CO_OK(admit_end());
  finished_ = true;
  if (!bodyless_) stream_.finish();
  co_return Result<void>{};
}

Task<void> RequestStream::Answer::hung_up() {
  while (!stream_.closed_) (void)co_await stream_.closed_signal_.wait(Deadline::never());
}

void RequestStream::Answer::close_after() { stream_.connection_.retire(); }

Task<Result<std::unique_ptr<world::Stream>>> RequestStream::Answer::take_stream(http::ResponseHead) {
  co_return error(ErrorCode::kUnsupported, "a connection of several requests cannot be handed to one of them")
      .with_status(501);
}

Task<void> RequestStream::Answer::settle() {
  if (!begun_) {
    auto sent = co_await Responder::send(500, "text/plain", "the server has no answer to this request\n");
    if (!sent) stream_.reset(H2Error::kInternal);
    co_return;
  }
  if (finished_ && !aborted_) co_return;
  // An end before the announced length shows that something is missing.
  const bool shows = cut_short_ && !aborted_ && !bodyless_ && left_.value_or(0) > 0;
  if (shows) {
    stream_.finish();
  } else {
    stream_.reset(H2Error::kInternal);
  }
}

// ----------------------------------------------------------------------------------- Stream

RequestStream::RequestStream(ServedConnection& connection, const Address& remote)
    : connection_(connection), request_(*this, remote), answer_(*this) {}

const ServerOptions& RequestStream::options() const { return connection_.options(); }

Deadline RequestStream::stall() const {
  return Deadline::in(options().stall_timeout, connection_.world().now());
}

void RequestStream::on_field(std::string_view name, std::string_view value) {
  if (fields_complete_) return;  // trailers of a request go nowhere
  auto& head = request_.inner();
  if (name.starts_with(':')) {
    if (name == ":method") head.method = value;
    if (name == ":path") head.target = value;
    if (name == ":authority") authority_ = value;
    return;
  }
  if (++fields_ > options().limits.header_count) {
    too_many_fields_ = true;
    return;
  }
  if (name == "content-length") {
    length_ = number_in(value);
    return;
  }
  if (name == "cookie") {
    // May come in crumbs (RFC 9113 8.2.3).
    if (auto before = head.headers.get("cookie"))
      return head.headers.set("cookie", std::string(*before) + "; " + std::string(value));
  }
  head.headers.add(std::string(name), std::string(value));
}

void RequestStream::on_fields_end(FieldsKind kind) {
  if (kind != FieldsKind::kRequest) return;
  fields_complete_ = true;
  auto& head = request_.inner();
  if (head.method == "CONNECT") head.target = authority_;
  if (!authority_.empty()) head.headers.set("host", authority_);
  if (auto expect = head.headers.get("expect"); expect && http::same_name(*expect, "100-continue"))
    continue_due_ = true;
  connection_.start(*this);
}

void RequestStream::on_data(Bytes bytes) {
  continue_due_ = false;
  inbox_.append(as_text(bytes));
  readable_.notify_all();
}

void RequestStream::on_end() {
  ended_ = true;
  readable_.notify_all();
}

void RequestStream::on_progress() { writable_.notify_all(); }

void RequestStream::on_close(H2Error, bool) {
  closed_ = true;
  readable_.notify_all();
  writable_.notify_all();
  closed_signal_.notify_all();
  connection_.sweep_later();
}

std::optional<Error> RequestStream::objection() const {
  const auto& head = request_.head();
  const auto& limits = options().limits;
  if (fields_too_large() || too_many_fields_) {
    return error(ErrorCode::kTooLarge, "the request has more than {} bytes or {} fields of headers",
                 limits.head_bytes, limits.header_count)
        .with_status(431);
  }
  if (head.target.size() > limits.target_bytes) {
    return error(ErrorCode::kTooLarge, "the request's target is longer than {} bytes", limits.target_bytes)
        .with_status(414);
  }
  const bool plain = std::all_of(head.target.begin(), head.target.end(),
                                 [](unsigned char c) { return c > ' ' && c != 0x7f; });
  if (!plain || head.target.empty() || !http::is_header_name(head.method))
    return error(ErrorCode::kProtocol, "the request's method or target is malformed").with_status(400);
  if (length_.value_or(0) > options().max_body) {
    return error(ErrorCode::kTooLarge, "the body is longer than {} bytes", options().max_body)
        .with_status(413);
  }
  return std::nullopt;
}

Task<void> RequestStream::refuse(Error why) {
  connection_.count_refused();
  http::ResponseHead head;
  head.status = why.status();
  auto body = connection_.handler().refusal(request_.head().target, why, request_.remote(), head.headers);
  auto sent = co_await answer_.send(std::move(head), std::move(body));
  if (!sent) reset(H2Error::kInternal);
}

Task<void> RequestStream::flush() {
  while (!closed_ && unsent() > 0) {
    const auto before = unsent();
    auto woken = co_await writable_.wait(stall());
    if (woken.failed_with(ErrorCode::kTimeout) && unsent() == before) reset(H2Error::kCancel);
  }
}

Task<void> RequestStream::run() {
  if (request_.head().method == "HEAD") answer_.answers_head();
  connection_.count_request();
  if (auto why = objection()) {
    auto refused = refuse(std::move(*why));
    co_await refused;
  } else {
    auto handling = connection_.handler().handle(request_, answer_);
    co_await handling;
    auto settling = answer_.settle();
    co_await settling;
  }
  auto flushing = flush();
  co_await flushing;
  handled_ = true;
  connection_.sweep_later();
}

}  // namespace d7y::http2::detail
