// What an origin's HTTP answer says about an object, as far as it can be believed.
#pragma once

#include <optional>

#include "net/http/client.h"
#include "source/source.h"

namespace d7y::source {

// Key of the origin of an http URL for connection limits: "http://host:port".
Result<std::string> origin_of(std::string_view url);

// The whole object as a 200 describes it.
Info info_of(const http::Response& response, std::string_view method);

// A 206 to a request for `span`, checked: one part, Content-Range exact, lengths consistent.
struct Part {
  Info info;
  std::uint64_t length = 0;  // bytes in this answer
};
Result<Part> believe_part(const http::Response& response, Span span);

// The object behind a 416 that says "bytes */0".
std::optional<Info> empty_object(const http::Response& response);

// The failure an answer stands for, with status and details.
Error error_of(const http::Response& response, std::string_view method);
Error with_details_of(const http::Response& response, Error error);
// The same for a read of `span` of the `pinned` version, where 412 and 416 can mean a change.
Error refusal_of(const http::Response& response, Span span, const Version& pinned);
Error changed(const http::Response& response, const Version& was, const Version& is);

}  // namespace d7y::source
