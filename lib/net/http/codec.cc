#include "net/http/codec.h"

#include <llhttp.h>

#include <algorithm>

namespace d7y::http {
namespace {

constexpr int kGoOn = 0;
constexpr int kPause = HPE_PAUSED;

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  return text;
}

// Servers that others can talk to: scripts that end lines with a line feed alone, and name a length though
// what carries their answer sends it in chunks. A response is read for the one who asked for it, so there is
// nobody to be led astray as by a request.
void be_lenient(llhttp_t& parser) {
  llhttp_set_lenient_optional_cr_before_lf(&parser, 1);
  llhttp_set_lenient_chunked_length(&parser, 1);
  llhttp_set_lenient_spaces_after_chunk_size(&parser, 1);
}

}  // namespace

struct MessageReader::State {
  State(Kind which, Limits bounds);

  static State& of(llhttp_t* parser) { return *static_cast<State*>(parser->data); }
  static llhttp_settings_t make_settings();
  static const llhttp_settings_t& settings() {
    static const llhttp_settings_t all = make_settings();
    return all;
  }

  bool is_request() const { return kind == Kind::kRequest; }
  const char* what() const { return is_request() ? "request" : "response"; }
  Headers& fields() { return in_trailers ? trailers : is_request() ? request.headers : response.headers; }
  Error refuse(ErrorCode code, int status, std::string message) const;
  Error refused_by_parser();
  Error unknown_method(std::string_view rest);
  Error bad_version() const;
  Result<void> finish_head();
  Result<void> decide_framing(bool chunked, bool has_length);

  Kind kind;
  Limits limits;
  llhttp_t parser{};
  RequestHead request;
  ResponseHead response;
  Headers trailers;
  std::string answers = "GET";

  std::size_t head_used = 0;   // bytes of the head so far
  std::size_t field_used = 0;  // bytes of the trailers so far
  bool started = false, head_done = false, in_trailers = false, body_done = false;
  bool value_open = false;  // the last field's value is being collected
  int limit_status = 0;     // which limit a callback ran into
  std::string_view given;   // what the parser is reading
  Framing framing = Framing::kNone;
  std::uint64_t length = 0;
  bool keep = false, switches = false;

  // Chunked bodies.
  std::byte* out = nullptr;
  std::uint64_t consumed = 0, produced = 0, chunks = 0;
};

llhttp_settings_t MessageReader::State::make_settings() {
  llhttp_settings_t s;
  llhttp_settings_init(&s);
  s.on_url = [](llhttp_t* p, const char* at, std::size_t n) {
    auto& self = of(p);
    self.request.target.append(at, n);
    if (self.request.target.size() <= self.limits.target_bytes) return kGoOn;
    self.limit_status = 414;
    return static_cast<int>(HPE_USER);
  };
  s.on_status = [](llhttp_t* p, const char* at, std::size_t n) {
    of(p).response.reason.append(at, n);
    return kGoOn;
  };
  s.on_header_field = [](llhttp_t* p, const char* at, std::size_t n) {
    auto& self = of(p);
    auto& list = self.fields().list();
    if (self.value_open || list.empty()) {
      if (list.size() >= self.limits.header_count) {
        self.limit_status = 431;
        return static_cast<int>(HPE_USER);
      }
      list.emplace_back();
      self.value_open = false;
    }
    self.field_used += n;
    if (self.field_used > self.limits.head_bytes) {
      self.limit_status = 431;
      return static_cast<int>(HPE_USER);
    }
    list.back().name.append(at, n);
    return kGoOn;
  };
  s.on_header_field_complete = [](llhttp_t* p) {
    of(p).value_open = true;
    return kGoOn;
  };
  s.on_header_value = [](llhttp_t* p, const char* at, std::size_t n) {
    auto& self = of(p);
    self.field_used += n;
    if (self.field_used > self.limits.head_bytes) {
      self.limit_status = 431;
      return static_cast<int>(HPE_USER);
    }
    if (!self.fields().empty()) self.fields().list().back().value.append(at, n);
    return kGoOn;
  };
  s.on_headers_complete = [](llhttp_t* p) {
    of(p).head_done = true;
    return kPause;
  };
  s.on_body = [](llhttp_t* p, const char* at, std::size_t n) {
    auto& self = of(p);
    std::memmove(self.out, at, n);
    self.out += n;
    self.produced += n;
    return kGoOn;
  };
  s.on_chunk_header = [](llhttp_t* p) {
    auto& self = of(p);
    ++self.chunks;
    if (p->content_length == 0) {
      self.in_trailers = true;
      self.field_used = 0;
      self.value_open = false;
    }
    return kGoOn;
  };
  s.on_message_complete = [](llhttp_t* p) {
    of(p).body_done = true;
    return kPause;
  };
  return s;
}

MessageReader::State::State(Kind which, Limits bounds) : kind(which), limits(bounds) {}

Error MessageReader::State::refuse(ErrorCode code, int status, std::string message) const {
  Error why(code, fmt::format("HTTP {}: {}", what(), message));
  return is_request() ? std::move(why).with_status(status) : std::move(why);
}

Error MessageReader::State::refused_by_parser() {
  if (limit_status == 414) {
    return refuse(ErrorCode::kTooLarge, 414, fmt::format("target over {} bytes", limits.target_bytes));
  }
  if (limit_status == 431) {
    return refuse(ErrorCode::kTooLarge, 431,
                  fmt::format("{} over {} bytes or {} fields", in_trailers ? "trailers" : "head",
                              limits.head_bytes, limits.header_count));
  }
  const char* reason = llhttp_get_error_reason(&parser);
  const auto text = fmt::format("malformed: {}", reason != nullptr && *reason != 0 ? reason : "syntax");
  switch (llhttp_get_errno(&parser)) {
    case HPE_INVALID_METHOD: {
      const char* at = llhttp_get_error_pos(&parser);
      return unknown_method(at == nullptr ? std::string_view()
                                          : given.substr(static_cast<std::size_t>(at - given.data())));
    }
    case HPE_INVALID_VERSION: return bad_version();
    case HPE_PAUSED_H2_UPGRADE: return refuse(ErrorCode::kProtocol, 505, "not HTTP/1.0 or HTTP/1.1");
    default: return refuse(ErrorCode::kProtocol, 400, text);
  }
}

// `rest` begins at the first letter that is in no method we know.
Error MessageReader::State::unknown_method(std::string_view rest) {
  if (is_request() && rest.starts_with('\x16')) {
    return refuse(ErrorCode::kProtocol, 400,
                  "a TLS handshake came to a port that speaks plain HTTP; use http:// here");
  }
  // A word that could be a method is one we do not know; anything else is not HTTP at all.
  if (rest.empty() || rest.front() < 'A' || rest.front() > 'Z') {
    return refuse(ErrorCode::kProtocol, 400, "not HTTP/1");
  }
  // The parser never came to the target, which decides in what form the refusal is told.
  if (const auto blank = rest.find(' '); blank != rest.npos) {
    const auto target = rest.substr(blank + 1);
    request.target = target.substr(0, std::min(target.find_first_of(" \r\n"), limits.target_bytes));
  }
  return refuse(ErrorCode::kProtocol, 501, "unknown method");
}

// 505 is for a version that was read and is another one; a line that goes on or ends wrongly is malformed.
Error MessageReader::State::bad_version() const {
  const bool other = parser.http_major > 1 || parser.http_minor > 1;
  return other ? refuse(ErrorCode::kProtocol, 505, "not HTTP/1.0 or HTTP/1.1")
               : refuse(ErrorCode::kProtocol, 400, "malformed: the version does not end the first line");
}

Result<void> MessageReader::State::decide_framing(bool chunked, bool has_length) {
  if (is_request()) {
    framing = chunked ? Framing::kChunked : has_length && length > 0 ? Framing::kLength : Framing::kNone;
    return {};
  }
  const int status = response.status;
  if (answers == "HEAD" || has_no_body(status) || switches) {
    framing = Framing::kNone;
  } else if (chunked) {
    framing = Framing::kChunked;
  } else if (has_length) {
    framing = length > 0 ? Framing::kLength : Framing::kNone;
  } else {
    framing = Framing::kUntilClose;
  }
  return {};
}

Result<void> MessageReader::State::finish_head() {
  auto& headers = is_request() ? request.headers : response.headers;
  for (auto& header : headers.list()) {
    if (auto value = trimmed(header.value); value.size() != header.value.size())
      header.value = std::string(value);
  }
  const int minor = parser.http_minor;
  if (parser.http_major != 1 || minor > 1) {
    return refuse(ErrorCode::kProtocol, 505, "not HTTP/1.0 or HTTP/1.1");
  }
  const bool chunked = (parser.flags & F_CHUNKED) != 0;
  const bool has_length = (parser.flags & F_CONTENT_LENGTH) != 0;
  length = has_length ? parser.content_length : 0;

  if ((parser.flags & F_TRANSFER_ENCODING) != 0 || chunked || headers.has("Transfer-Encoding")) {
    if (!same_name(headers.joined("Transfer-Encoding"), "chunked")) {
      return refuse(ErrorCode::kUnsupported, 501, "a transfer coding other than chunked");
    }
    if (minor == 0) return refuse(ErrorCode::kProtocol, 400, "Transfer-Encoding in HTTP/1.0");
    if (has_length && is_request())
      return refuse(ErrorCode::kProtocol, 400, "both Content-Length and Transfer-Encoding");
    if (has_length) headers.remove("Content-Length");  // RFC 9112 6.3: the other one counts
  }
  const bool two_lengths = chunked && has_length;
  if (two_lengths) length = 0;

  keep = !two_lengths && (parser.flags & F_CONNECTION_CLOSE) == 0 &&
         (minor == 1 || (parser.flags & F_CONNECTION_KEEP_ALIVE) != 0);
  if (is_request()) {
    const auto method = llhttp_get_method(&parser);
    if (method >= HTTP_PRI) return refuse(ErrorCode::kProtocol, 501, "unknown method");
    request.method = llhttp_method_name(static_cast<llhttp_method_t>(method));
    request.minor_version = minor;
    switches = method == HTTP_CONNECT;
    const auto hosts = headers.count("Host");
    if (hosts > 1 || (hosts == 0 && minor == 1)) {
      return refuse(ErrorCode::kProtocol, 400, fmt::format("{} Host headers instead of one", hosts));
    }
    if (hosts == 1 && !is_host(*headers.get("Host"))) {
      return refuse(ErrorCode::kProtocol, 400, "malformed Host header");
    }
    if (switches && (chunked || length > 0)) return refuse(ErrorCode::kProtocol, 400, "CONNECT with a body");
  } else {
    response.status = parser.status_code;
    response.minor_version = minor;
    if (response.status < 100 || response.status > 999) {
      return refuse(ErrorCode::kProtocol, 0, fmt::format("status {}", response.status));
    }
    switches = response.status == 101 || (answers == "CONNECT" && response.status / 100 == 2);
  }
  TRY_OK(decide_framing(chunked, has_length && !two_lengths));
  if (framing == Framing::kUntilClose || switches) keep = false;
  parser.upgrade = 0;  // the body, if any, is read as one; switching is the owner's business
  return {};
}

MessageReader::MessageReader(Kind kind, Limits limits) : state_(std::make_unique<State>(kind, limits)) {
  begin();
}
MessageReader::~MessageReader() = default;
MessageReader::MessageReader(MessageReader&&) noexcept = default;
MessageReader& MessageReader::operator=(MessageReader&&) noexcept = default;

void MessageReader::begin(std::string_view answers) {
  auto& s = *state_;
  llhttp_init(&s.parser, s.is_request() ? HTTP_REQUEST : HTTP_RESPONSE, &State::settings());
  s.parser.data = &s;
  if (!s.is_request()) be_lenient(s.parser);
  s.request = RequestHead{};
  s.request.target.clear();
  s.response = ResponseHead{};
  s.trailers.clear();
  s.answers = answers;
  s.head_used = s.field_used = 0;
  s.started = s.head_done = s.in_trailers = s.body_done = s.value_open = false;
  s.limit_status = 0;
  s.framing = Framing::kNone;
  s.length = 0;
  s.keep = s.switches = false;
  s.consumed = s.produced = s.chunks = 0;
}

Result<std::size_t> MessageReader::feed_head(Bytes bytes) {
  auto& s = *state_;
  if (s.head_done || bytes.empty()) return std::size_t{0};
  s.started = s.started || std::any_of(bytes.begin(), bytes.end(), [](std::byte b) {
                return b != std::byte{'\r'} && b != std::byte{'\n'};
              });
  const auto room = s.limits.head_bytes - s.head_used;
  const auto given = bytes.first(std::min(bytes.size(), room));
  s.given = as_text(given);
  const auto* text = s.given.data();
  const auto outcome = llhttp_execute(&s.parser, text, given.size());
  if (outcome == HPE_OK) {
    s.head_used += given.size();
    if (given.size() < bytes.size()) {
      s.limit_status = 431;
      return s.refused_by_parser();
    }
    return given.size();
  }
  if (outcome != HPE_PAUSED || !s.head_done) return s.refused_by_parser();
  const auto used = static_cast<std::size_t>(llhttp_get_error_pos(&s.parser) - text);
  TRY_OK(s.finish_head());
  return used;
}

bool MessageReader::head_complete() const { return state_->head_done; }
bool MessageReader::started() const { return state_->started; }
RequestHead& MessageReader::request() { return state_->request; }
ResponseHead& MessageReader::response() { return state_->response; }
Framing MessageReader::framing() const { return state_->framing; }
std::uint64_t MessageReader::content_length() const { return state_->length; }
bool MessageReader::keep_alive() const { return state_->keep; }
bool MessageReader::switches_protocol() const { return state_->switches; }
bool MessageReader::body_complete() const { return state_->body_done; }
const Headers& MessageReader::trailers() const { return state_->trailers; }

Result<MessageReader::Decoded> MessageReader::decode(Bytes in, MutableBytes out) {
  auto& s = *state_;
  Decoded decoded;
  const auto given = in.first(std::min(in.size(), out.size()));
  if (given.empty() || s.body_done) return decoded;
  llhttp_resume(&s.parser);
  s.out = out.data();
  const auto before = s.produced;
  s.given = as_text(given);
  const auto* text = s.given.data();
  const auto outcome = llhttp_execute(&s.parser, text, given.size());
  if (outcome == HPE_OK) {
    decoded.consumed = given.size();
  } else if (outcome == HPE_PAUSED && s.body_done) {
    decoded.consumed = static_cast<std::size_t>(llhttp_get_error_pos(&s.parser) - text);
    for (auto& header : s.trailers.list()) header.value = std::string(trimmed(header.value));
  } else {
    return s.refused_by_parser();
  }
  decoded.produced = static_cast<std::size_t>(s.produced - before);
  s.consumed += decoded.consumed;
  // Honest chunking costs a size line and two line ends a chunk; the rest is padding meant to hurt.
  if (s.consumed > s.produced * 3 + s.chunks * 16 + s.limits.overhead_bytes) {
    return s.refuse(ErrorCode::kTooLarge, 400, "chunk framing out of proportion to its data");
  }
  return decoded;
}

std::string chunk_header(std::size_t size) { return fmt::format("{:x}\r\n", size); }

}  // namespace d7y::http
