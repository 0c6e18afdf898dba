#include "sim/origin.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>

namespace d7y::sim {

using namespace std::chrono_literals;

namespace {

constexpr std::size_t kPart = 64 << 10;

std::string_view reason(int status) {
  switch (status) {
    case 200: return "OK";
    case 206: return "Partial Content";
    case 304: return "Not Modified";
    case 401: return "Unauthorized";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 412: return "Precondition Failed";
    case 416: return "Range Not Satisfiable";
    case 429: return "Too Many Requests";
    case 503: return "Service Unavailable";
    default: return "Status";
  }
}

struct Range {
  std::uint64_t begin = 0, end = 0;  // [begin, end)
};

// "bytes=a-b", "bytes=a-", "bytes=-n". Nothing for anything else; begin == end: not satisfiable.
std::optional<Range> parse_range(std::string_view text, std::uint64_t size) {
  if (!text.starts_with("bytes=")) return std::nullopt;
  text.remove_prefix(6);
  auto dash = text.find('-');
  if (dash == std::string_view::npos || text.find(',') != std::string_view::npos) return std::nullopt;
  auto number = [](std::string_view digits) -> std::optional<std::uint64_t> {
    std::uint64_t value = 0;
    auto [end, failure] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    if (failure != std::errc() || end != digits.data() + digits.size()) return std::nullopt;
    return value;
  };
  auto first = number(text.substr(0, dash)), last = number(text.substr(dash + 1));
  if (!first) {
    if (!last) return std::nullopt;
    return Range{size - std::min(size, *last), size};
  }
  if (*first >= size) return Range{};
  return Range{*first, last ? std::min(size, *last + 1) : size};
}

std::optional<OriginRequest> parse_head(std::string_view head) {
  OriginRequest request;
  auto line_end = head.find("\r\n");
  auto line = head.substr(0, line_end);
  auto space = line.find(' ');
  auto last = line.rfind(' ');
  if (space == std::string_view::npos || last == space) return std::nullopt;
  request.method = line.substr(0, space);
  request.target = line.substr(space + 1, last - space - 1);
  head.remove_prefix(line_end + 2);
  while (!head.empty()) {
    auto end = std::min(head.find("\r\n"), head.size());
    auto field = head.substr(0, end);
    head.remove_prefix(std::min(head.size(), end + 2));
    auto colon = field.find(':');
    if (colon == std::string_view::npos) continue;
    std::string name(field.substr(0, colon));
    std::transform(name.begin(), name.end(), name.begin(),
                   [](char c) { return static_cast<char>(std::tolower(c)); });
    auto value = field.substr(colon + 1);
    while (value.starts_with(' ')) value.remove_prefix(1);
    request.headers[name] = value;
  }
  if (auto range = request.headers.find("range"); range != request.headers.end())
    request.range = range->second;
  return request;
}

}  // namespace

void OriginFile::change(std::string bytes, std::string new_etag) {
  content = std::make_shared<const std::string>(std::move(bytes));
  versions.push_back(content);
  etag = std::move(new_etag);
  last_modified = "Tue, 03 Jan 2023 10:00:00 GMT";
}

Origin::Origin(Host& host, std::uint16_t port) : host_(host), port_(port), random_(host.random()) { start(); }

Origin::~Origin() = default;

void Origin::start() {
  open_ = 0;
  host_.spawn(listen());
}

OriginFile& Origin::serve(const std::string& path, std::string content) {
  auto& file = files_[path];
  file.content = std::make_shared<const std::string>(std::move(content));
  file.versions.push_back(file.content);
  return file;
}

std::string Origin::url(const std::string& path) const {
  return fmt::format("http://{}{}", host_.address(port_).to_string(), path);
}

std::string Origin::named_url(const std::string& path) const {
  return fmt::format("http://{}:{}{}", host_.name(), port_, path);
}

std::uint64_t Origin::requests(const std::string& method) const {
  return static_cast<std::uint64_t>(
      std::count_if(log_.begin(), log_.end(), [&](auto& request) { return request.method == method; }));
}

Task<void> Origin::listen() {
  auto listener = host_.network().listen(Address::ipv6({}, port_), {});
  if (!listener) {
    host_.log().error("origin: {}", listener.error().message());
    co_return;
  }
  Scope scope(host_.loop());
  for (;;) {
    auto stream = co_await (*listener)->accept(Deadline::never());
    if (!stream) co_return;
    ++connections_;
    scope.spawn(converse(std::move(*stream)));
  }
}

Task<void> Origin::converse(std::unique_ptr<world::Stream> stream) {
  struct Count {
    std::size_t& open;
    ~Count() { --open; }
  } count{++open_};
  most_ = std::max(most_, open_);
  std::string pending;
  std::vector<std::byte> buffer(16384);
  for (;;) {
    auto end = pending.find("\r\n\r\n");
    while (end == std::string::npos && pending.size() < 65536) {
      auto got = co_await world::read_some(*stream, buffer, Deadline::never());
      if (!got || *got == 0) co_return;
      pending += as_text(Bytes(buffer).first(*got));
      end = pending.find("\r\n\r\n");
    }
    if (end == std::string::npos) co_return;
    auto request = parse_head(std::string_view(pending).substr(0, end));
    pending.erase(0, end + 4);
    if (!request) co_return;
    auto go_on = co_await answer(*stream, std::move(*request));
    if (!go_on || !*go_on) co_return;
  }
}

Task<Result<bool>> Origin::answer(world::Stream& stream, OriginRequest request) {
  auto never = Deadline::never();
  auto path = request.target;
  if (path.starts_with("http://")) path = path.substr(std::min(path.size(), path.find('/', 7)));
  bool wants_close = request.headers.contains("connection") && request.headers["connection"] == "close";
  bool head_only = request.method == "HEAD";
  request.client = stream.remote().ip();
  auto index = log_.size();
  log_.push_back(request);
  auto refuse = [&](int status, const std::string& extra, const std::string& body) {
    log_[index].status = status;
    return fmt::format("HTTP/1.1 {} {}\r\n{}Content-Length: {}\r\n\r\n{}", status, reason(status), extra,
                       body.size(), head_only ? "" : body);
  };

  auto known = files_.find(path);
  if (known == files_.end()) {
    auto text = refuse(404, "", "not here\n");
    CO_OK(co_await world::write_all(stream, as_bytes(text), never));
    co_return !wants_close;
  }
  auto& file = known->second;
  ++file.requests;

  OriginFault fault;
  fault.count = 0;
  for (auto& candidate : file.faults) {
    if (!candidate.method.empty() && candidate.method != request.method) continue;
    if (candidate.after > 0) {
      --candidate.after;
      continue;
    }
    if (candidate.count == 0 || !random_.chance(candidate.probability)) continue;
    if (candidate.count != kAlways) --candidate.count;
    fault = candidate;
    break;
  }
  if (fault.delay > Duration::zero()) co_await sleep_for(fault.delay);
  if (fault.garbage) {
    std::string text = "\x16\x03\x01 this is no HTTP\r\n\r\n";
    CO_OK(co_await world::write_all(stream, as_bytes(text), never));
    co_return false;
  }
  if (fault.status != 0) {
    auto extra = fault.retry_after ? fmt::format("Retry-After: {}\r\n", *fault.retry_after) : std::string();
    auto text = refuse(fault.status, extra, fault.body);
    CO_OK(co_await world::write_all(stream, as_bytes(text), never));
    co_return !wants_close;
  }
  // Shared, because what runs on a simulated machine may outlive the origin that served there.
  struct Under {
    std::shared_ptr<std::size_t> way;
    ~Under() { --*way; }
  } under{file.answers};
  ++*file.answers;
  std::string refusal;
  auto& headers = request.headers;
  const auto etag = !file.other_etag.empty() && file.requests % 2 == 0 ? file.other_etag : file.etag;
  auto stale_match =
      headers.contains("if-match") && headers["if-match"] != etag && headers["if-match"] != "*";
  if (!file.authorization.empty() && headers["authorization"] != file.authorization) {
    refusal = refuse(401, "WWW-Authenticate: Basic realm=\"sim\"\r\n", "who are you?\n");
  } else if (file.most_answers != 0 && *file.answers > file.most_answers) {
    refusal = refuse(503, "", "one at a time\n");
  } else if (!file.location.empty()) {
    refusal = refuse(file.status, fmt::format("Location: {}\r\n", file.location), "");
  } else if (request.method != "GET" && (request.method != "HEAD" || !file.head)) {
    refusal = refuse(405, "Allow: GET\r\n", "");
  } else if (stale_match) {
    refusal = refuse(412, "", "changed\n");
  } else if (!etag.empty() && headers.contains("if-none-match") && headers["if-none-match"] == etag) {
    refusal = refuse(304, fmt::format("ETag: {}\r\n", etag), "");
  }
  if (!refusal.empty()) {
    CO_OK(co_await world::write_all(stream, as_bytes(refusal), never));
    co_return !wants_close;
  }

  auto content = file.content;
  auto size = content->size();
  Range range{0, size};
  bool partial = false;
  if (!request.range.empty() && file.ranges && !fault.ignore_range) {
    auto condition = headers.find("if-range");
    bool current = condition == headers.end() || (!etag.empty() && condition->second == etag) ||
                   (!file.last_modified.empty() && condition->second == file.last_modified);
    auto wanted = parse_range(request.range, size);
    if (fault.refuse_range && request.range != fmt::format("bytes={}-{}", wanted->begin, wanted->end - 1)) {
      auto text = refuse(400, "", "bad range\n");
      CO_OK(co_await world::write_all(stream, as_bytes(text), never));
      co_return !wants_close;
    }
    if (current && wanted) {
      if (wanted->begin >= wanted->end) {
        auto text = refuse(416, fmt::format("Content-Range: bytes */{}\r\n", size), "");
        CO_OK(co_await world::write_all(stream, as_bytes(text), never));
        co_return !wants_close;
      }
      partial = true;
      range = *wanted;
    }
  }
  if (fault.wrong_range != 0) {
    auto moved = static_cast<std::int64_t>(range.begin) + fault.wrong_range;
    range.begin =
        std::min<std::uint64_t>(static_cast<std::uint64_t>(std::max<std::int64_t>(0, moved)), range.end);
  }
  auto length = range.end - range.begin;
  bool chunked = file.framing == OriginFile::Framing::kChunked;
  bool until_close = file.framing == OriginFile::Framing::kUntilClose;
  int status = partial ? 206 : 200;
  log_[index].status = status;
  auto head =
      fmt::format("HTTP/1.1 {} {}\r\nContent-Type: {}\r\n", status, reason(status), file.content_type);
  if (partial) head += fmt::format("Content-Range: bytes {}-{}/{}\r\n", range.begin, range.end - 1, size);
  if (file.ranges) head += "Accept-Ranges: bytes\r\n";
  if (!etag.empty()) head += fmt::format("ETag: {}\r\n", etag);
  if (!file.last_modified.empty()) head += fmt::format("Last-Modified: {}\r\n", file.last_modified);
  if (chunked) {
    head += "Transfer-Encoding: chunked\r\n";
  } else if (until_close) {
    head += "Connection: close\r\n";
  } else {
    head += fmt::format("Content-Length: {}\r\n", static_cast<std::int64_t>(length) + fault.wrong_length);
  }
  head += "\r\n";
  CO_OK(co_await world::write_all(stream, as_bytes(head), never, !head_only && length > 0));
  if (head_only) co_return !wants_close && !until_close;

  auto began = host_.now();
  std::uint64_t sent = 0;
  for (;;) {
    if (fault.reset_after && sent >= *fault.reset_after) {
      stream.abort();
      co_return false;
    }
    if (fault.close_after && sent >= *fault.close_after) co_return false;
    if (fault.stall_after && sent >= *fault.stall_after) {
      std::byte nothing[1];
      auto ended = co_await world::read_some(stream, nothing, never);  // until the client gives up
      co_return ended.ok() && false;
    }
    if (sent == length) break;
    auto count = std::min<std::uint64_t>(kPart, length - sent);
    for (auto& limit : {fault.reset_after, fault.close_after, fault.stall_after}) {
      if (limit) count = std::min(count, *limit - sent);
    }
    auto at = range.begin + sent;
    std::string flipped;
    Bytes part = as_bytes(*content).subspan(at, count);
    if (fault.flip_at && *fault.flip_at >= at && *fault.flip_at < at + count) {
      flipped = as_text(part);
      flipped[*fault.flip_at - at] ^= 0x10;
      part = as_bytes(flipped);
    }
    if (chunked) {
      auto line = fmt::format("{:x}\r\n", count);
      CO_OK(co_await world::write_all(stream, as_bytes(line), never, true));
    }
    CO_OK(co_await world::write_all(stream, part, never));
    if (chunked) CO_OK(co_await world::write_all(stream, as_bytes("\r\n"), never));
    sent += count;
    body_bytes_ += count;
    file.body_bytes += count;
    if (file.rate != 0) {
      auto due = began + Duration(static_cast<std::int64_t>(static_cast<double>(sent) * 1e9 /
                                                            static_cast<double>(file.rate)));
      if (due > host_.now()) co_await sleep_until(due);
    }
  }
  if (chunked) CO_OK(co_await world::write_all(stream, as_bytes("0\r\n\r\n"), never));
  co_return !wants_close && !until_close && fault.wrong_length == 0;
}

}  // namespace d7y::sim
