#include "source/http_answer.h"

#include <algorithm>
#include <charconv>

#include "net/http/http_url.h"
#include "net/http/range.h"

namespace d7y::source {
namespace {

std::optional<std::uint64_t> number(std::optional<std::string_view> text) {
  if (!text || text->empty()) return std::nullopt;
  std::uint64_t value = 0;
  const auto [end, failed] = std::from_chars(text->data(), text->data() + text->size(), value);
  if (failed != std::errc{} || end != text->data() + text->size()) return std::nullopt;
  return value;
}

Version version_of(const http::Headers& headers, std::optional<std::uint64_t> length) {
  Version version;
  // Weak tags promise only that the meaning is the same, not the bytes.
  if (const auto tag = headers.get("ETag");
      tag && tag->size() >= 2 && tag->front() == '"' && tag->back() == '"') {
    version.etag = *tag;
  }
  version.last_modified = headers.get("Last-Modified").value_or("");
  version.length = length;
  return version;
}

Info basics_of(const http::Response& response) {
  Info info;
  info.status = response.status();
  info.url = response.url();
  info.headers = response.headers();
  info.content_type = response.headers().get("Content-Type").value_or("");
  return info;
}

ErrorCode code_of(int status) {
  switch (status) {
    case 401:
    case 407: return ErrorCode::kUnauthenticated;
    case 403:
    case 451: return ErrorCode::kPermission;
    case 404:
    case 410: return ErrorCode::kNotFound;
    case 408: return ErrorCode::kTimeout;
    case 412:
    case 416: return ErrorCode::kPrecondition;
    case 429: return ErrorCode::kExhausted;
    case 501:
    case 505: return ErrorCode::kUnsupported;
    default: break;
  }
  if (status >= 500) return ErrorCode::kUnavailable;
  return status >= 400 ? ErrorCode::kInvalid : ErrorCode::kProtocol;
}

// By the ways of authentication that the origin names.
std::string_view advice_for_401(const http::Headers& headers) {
  const auto names = [&](std::string_view way) {
    return std::any_of(headers.begin(), headers.end(), [&](const auto& header) {
      return http::same_name(header.name, "WWW-Authenticate") &&
             http::same_name(std::string_view(header.value).substr(0, header.value.find(' ')), way);
    });
  };
  if (names("Basic"))
    return "; it wants a user and a password (https://user:password@host/...), which are missing or wrong";
  for (auto way : {"Digest", "Negotiate", "NTLM"}) {
    if (names(way) && !names("Bearer"))
      return "; it wants a kind of authentication that is not supported (Digest, Negotiate or NTLM)";
  }
  return "; it wants credentials (Authorization header)";
}

std::string_view advice_for(const http::Response& response) {
  switch (response.status()) {
    case 401: return advice_for_401(response.headers());
    case 403: return "; are the credentials right and is the URL still valid?";
    case 404: return "; is the URL right?";
    case 429: return "; it limits requests, try later";
    case 503: return "; try later";
    default: return "";
  }
}

}  // namespace

Result<std::string> origin_of(std::string_view url) {
  TRY(const auto parsed, http::parse_http_url(url));
  return fmt::format("{}://{}:{}", parsed.scheme, parsed.host, parsed.port);
}

Info info_of(const http::Response& response, std::string_view method) {
  Info info = basics_of(response);
  // The answer to HEAD has no body, but says how long it would be; a coded body has another length.
  info.length = method == "HEAD" ? number(response.headers().get("Content-Length")) : response.length();
  info.accepts_ranges = response.headers().has_token("Accept-Ranges", "bytes");
  info.version = version_of(response.headers(), info.length);
  return info;
}

Result<Part> believe_part(const http::Response& response, Span span) {
  const auto protocol = [&](std::string_view why) {
    return with_details_of(response, error(ErrorCode::kProtocol, "{}: {}", redacted(response.url()), why));
  };
  if (response.headers().count("Content-Range") != 1) {
    return protocol("the origin sends part of the object without saying which (Content-Range)");
  }
  auto range = http::parse_content_range(*response.headers().get("Content-Range"));
  if (!range) return protocol(range.error().message());
  if (!range->span) return protocol("Content-Range names no bytes");
  const auto& got = *range->span;
  if (got.offset != span.offset) {
    return protocol(fmt::format("the origin sends bytes from {} where those from {} were asked for",
                                got.offset, span.offset));
  }
  const auto end = got.offset + got.length;
  const bool to_the_end = range->total && end == *range->total;
  const bool as_asked = span.length ? got.length == *span.length : to_the_end || !range->total;
  const bool cut_at_the_end = span.length && got.length < *span.length && to_the_end;
  if (!as_asked && !cut_at_the_end) {
    return protocol(fmt::format("the origin sends {} bytes from {} where {} were asked for", got.length,
                                got.offset, span.length.value_or(0)));
  }
  if (response.length() && *response.length() != got.length) {
    return protocol(
        fmt::format("Content-Range promises {} bytes, Content-Length {}", got.length, *response.length()));
  }
  Part part;
  part.length = got.length;
  part.info = basics_of(response);
  part.info.length = range->total;
  part.info.accepts_ranges = true;
  part.info.version = version_of(response.headers(), range->total);
  part.info.headers.remove("Content-Range");
  part.info.headers.remove("Content-Length");
  if (range->total) part.info.headers.add("Content-Length", fmt::format("{}", *range->total));
  return part;
}

std::optional<Info> empty_object(const http::Response& response) {
  if (response.status() != 416) return std::nullopt;
  const auto header = response.headers().get("Content-Range");
  if (!header) return std::nullopt;
  const auto range = http::parse_content_range(*header);
  if (!range || range->span || range->total != 0) return std::nullopt;
  Info info = basics_of(response);
  info.status = 200;
  info.length = 0;
  info.accepts_ranges = true;
  info.version = version_of(response.headers(), 0);
  // What is said about the error page is not said about the object.
  info.content_type.clear();
  for (auto name : {"Content-Range", "Content-Type", "Content-Length"}) info.headers.remove(name);
  info.headers.add("Content-Length", "0");
  return info;
}

Error with_details_of(const http::Response& response, Error error) {
  auto details = backend_error_json(error.message(), response.headers(), response.status());
  return std::move(error).with_status(response.status()).with_details(std::move(details));
}

Error error_of(const http::Response& response, std::string_view method) {
  const int status = response.status();
  return with_details_of(
      response, error(code_of(status), "{} {}: the origin answers {} {}{}", method, redacted(response.url()),
                      status, http::reason_of(status), advice_for(response)));
}

Error changed(const http::Response& response, const Version& was, const Version& is) {
  std::string how;
  if (was.length && is.length && *was.length != *is.length) {
    how = fmt::format(" (it has {} bytes instead of {})", *is.length, *was.length);
  } else if (was.etag != is.etag) {
    how = " (another ETag)";
  } else {
    how = " (another modification time)";
  }
  return with_details_of(
      response, error(ErrorCode::kChanged, "{}: the object at the origin changed meanwhile{}; start again",
                      redacted(response.url()), is.known() ? how : ""));
}

Error refusal_of(const http::Response& response, Span span, const Version& pinned) {
  const int status = response.status();
  const bool was_there = pinned.length && *pinned.length > span.offset;
  if (pinned.known() && (status == 412 || (status == 416 && was_there)))
    return changed(response, pinned, Version());
  return error_of(response, "GET");
}

}  // namespace d7y::source
