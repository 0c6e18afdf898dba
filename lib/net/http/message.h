// The heads of HTTP/1.1 messages as values, and how they look on the wire.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/deadline.h"
#include "base/result.h"
#include "net/http/headers.h"

namespace d7y::http {

struct RequestHead {
  std::string method = "GET";
  // As on the request line: "/path?query", "http://host/path" to a proxy, "host:port" for CONNECT.
  std::string target = "/";
  int minor_version = 1;  // HTTP/1.x
  Headers headers;
};

struct ResponseHead {
  int status = 200;
  std::string reason;
  int minor_version = 1;
  Headers headers;
};

// The head's bytes with the empty line at the end. kInvalid when a part could not be sent without
// changing its meaning (line breaks, blanks in the target).
Result<std::string> to_wire(const RequestHead& head);
Result<std::string> to_wire(const ResponseHead& head);

// The standard reason phrase, "Not Found" for 404; "Unknown" where there is none.
std::string_view reason_of(int status);

// Whether a message with this status has no body by definition: 1xx, 204, 304.
bool has_no_body(int status);

// "Sun, 06 Nov 1994 08:49:37 GMT", and its reverse, which also reads the two obsolete forms
// (RFC 9110 5.6.7).
std::string to_http_date(WallTime time);
Result<WallTime> parse_http_date(std::string_view text);

// "Basic ..." for a user and password. A secret.
std::string basic_credentials(std::string_view user, std::string_view password);

}  // namespace d7y::http
