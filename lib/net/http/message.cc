#include "net/http/message.h"

#include <array>
#include <charconv>

#include "base/base64.h"

namespace d7y::http {
namespace {

constexpr std::array<std::string_view, 7> kDays = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
constexpr std::array<std::string_view, 12> kMonths = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                                      "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};

void append_headers(std::string& wire, const Headers& headers) {
  for (const auto& header : headers) {
    wire.append(header.name).append(": ").append(header.value).append("\r\n");
  }
  wire.append("\r\n");
}

// Takes tokens off a date from the left; false once anything was missing.
class DateReader {
 public:
  explicit DateReader(std::string_view text) : rest_(text) {}

  bool literal(std::string_view expected) {
    if (!rest_.starts_with(expected)) return false;
    rest_.remove_prefix(expected.size());
    return true;
  }
  bool number(std::size_t digits, int& value) {
    if (rest_.size() < digits) return false;
    const auto [end, failed] = std::from_chars(rest_.data(), rest_.data() + digits, value);
    if (failed != std::errc{} || end != rest_.data() + digits) return false;
    rest_.remove_prefix(digits);
    return true;
  }
  bool month(int& value) {
    for (std::size_t i = 0; i < kMonths.size(); ++i) {
      if (literal(kMonths[i])) {
        value = static_cast<int>(i) + 1;
        return true;
      }
    }
    return false;
  }
  bool time(int& hour, int& minute, int& second) {
    return number(2, hour) && literal(":") && number(2, minute) && literal(":") && number(2, second);
  }
  bool at_end() const { return rest_.empty(); }
  void skip_past(char mark) {
    const auto found = rest_.find(mark);
    rest_ = found == std::string_view::npos ? std::string_view{} : rest_.substr(found + 1);
  }
  bool blank_padded_day(int& value) {
    if (literal(" ")) return number(1, value);
    return number(2, value);
  }

 private:
  std::string_view rest_;
};

}  // namespace

Result<std::string> to_wire(const RequestHead& head) {
  if (!is_header_name(head.method)) {
    return error(ErrorCode::kInvalid, "HTTP method has characters that no method has");
  }
  for (const char c : head.target) {
    if (static_cast<unsigned char>(c) <= ' ' || c == 0x7f) {
      return error(ErrorCode::kInvalid,
                   "request target holds a blank or control character; percent-encode it");
    }
  }
  if (head.target.empty()) return error(ErrorCode::kInvalid, "request target is empty");
  TRY_OK(check_headers(head.headers));
  auto wire = fmt::format("{} {} HTTP/1.{}\r\n", head.method, head.target, head.minor_version);
  append_headers(wire, head.headers);
  return wire;
}

Result<std::string> to_wire(const ResponseHead& head) {
  if (head.status < 100 || head.status > 999) {
    return error(ErrorCode::kInvalid, "HTTP status {} is not between 100 and 999", head.status);
  }
  const std::string_view reason = head.reason.empty() ? reason_of(head.status) : head.reason;
  if (!is_header_value(reason)) return error(ErrorCode::kInvalid, "HTTP reason phrase holds a line break");
  TRY_OK(check_headers(head.headers));
  auto wire = fmt::format("HTTP/1.{} {} {}\r\n", head.minor_version, head.status, reason);
  append_headers(wire, head.headers);
  return wire;
}

std::string_view reason_of(int status) {
  switch (status) {
    case 100: return "Continue";
    case 101: return "Switching Protocols";
    case 200: return "OK";
    case 201: return "Created";
    case 202: return "Accepted";
    case 204: return "No Content";
    case 206: return "Partial Content";
    case 301: return "Moved Permanently";
    case 302: return "Found";
    case 303: return "See Other";
    case 304: return "Not Modified";
    case 307: return "Temporary Redirect";
    case 308: return "Permanent Redirect";
    case 400: return "Bad Request";
    case 401: return "Unauthorized";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 407: return "Proxy Authentication Required";
    case 408: return "Request Timeout";
    case 409: return "Conflict";
    case 410: return "Gone";
    case 411: return "Length Required";
    case 412: return "Precondition Failed";
    case 413: return "Content Too Large";
    case 414: return "URI Too Long";
    case 415: return "Unsupported Media Type";
    case 416: return "Range Not Satisfiable";
    case 417: return "Expectation Failed";
    case 421: return "Misdirected Request";
    case 425: return "Too Early";
    case 426: return "Upgrade Required";
    case 428: return "Precondition Required";
    case 429: return "Too Many Requests";
    case 431: return "Request Header Fields Too Large";
    case 500: return "Internal Server Error";
    case 501: return "Not Implemented";
    case 502: return "Bad Gateway";
    case 503: return "Service Unavailable";
    case 504: return "Gateway Timeout";
    case 505: return "HTTP Version Not Supported";
    case 507: return "Insufficient Storage";
    case 508: return "Loop Detected";
    default: return "Unknown";
  }
}

bool has_no_body(int status) { return status / 100 == 1 || status == 204 || status == 304; }

std::string to_http_date(WallTime time) {
  using namespace std::chrono;
  const auto day = floor<days>(time);
  const year_month_day date(day);
  const hh_mm_ss clock(floor<seconds>(time - day));
  return fmt::format("{}, {:02} {} {:04} {:02}:{:02}:{:02} GMT", kDays[weekday(day).c_encoding()],
                     static_cast<unsigned>(date.day()), kMonths[static_cast<unsigned>(date.month()) - 1],
                     static_cast<int>(date.year()), clock.hours().count(), clock.minutes().count(),
                     clock.seconds().count());
}

Result<WallTime> parse_http_date(std::string_view text) {
  using namespace std::chrono;
  int y = 0, m = 0, d = 0, hour = 0, minute = 0, second = 0;
  const auto imf = [&] {  // Sun, 06 Nov 1994 08:49:37 GMT
    DateReader reader(text);
    reader.skip_past(',');
    return reader.literal(" ") && reader.number(2, d) && reader.literal(" ") && reader.month(m) &&
           reader.literal(" ") && reader.number(4, y) && reader.literal(" ") &&
           reader.time(hour, minute, second) && reader.literal(" GMT") && reader.at_end();
  };
  const auto rfc850 = [&] {  // Sunday, 06-Nov-94 08:49:37 GMT
    DateReader reader(text);
    reader.skip_past(',');
    const bool read = reader.literal(" ") && reader.number(2, d) && reader.literal("-") && reader.month(m) &&
                      reader.literal("-") && reader.number(2, y) && reader.literal(" ") &&
                      reader.time(hour, minute, second) && reader.literal(" GMT") && reader.at_end();
    if (read) y += y < 70 ? 2000 : 1900;
    return read;
  };
  const auto asctime = [&] {  // Sun Nov  6 08:49:37 1994
    DateReader reader(text);
    reader.skip_past(' ');
    return reader.month(m) && reader.literal(" ") && reader.blank_padded_day(d) && reader.literal(" ") &&
           reader.time(hour, minute, second) && reader.literal(" ") && reader.number(4, y) && reader.at_end();
  };
  if (imf() || rfc850() || asctime()) {
    const year_month_day date{year(y), month(static_cast<unsigned>(m)), day(static_cast<unsigned>(d))};
    if (date.ok() && y >= 1678 && y <= 2261 && hour >= 0 && hour < 24 && minute >= 0 && minute < 60 &&
        second >= 0 && second <= 60) {
      return WallTime(sys_days(date) + hours(hour) + minutes(minute) + seconds(second));
    }
  }
  return error(ErrorCode::kInvalid, "not an HTTP date");
}

std::string basic_credentials(std::string_view user, std::string_view password) {
  return "Basic " + base64_encode(fmt::format("{}:{}", user, password));
}

}  // namespace d7y::http
