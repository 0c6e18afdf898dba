// Origins behind one interface. A Backend knows one kind of origin (http, file); Sources picks the
// backend by the URL's scheme.
//
//   CO_TRY(auto info, co_await sources.stat(request, deadline));
//   Span span{.offset = 0, .length = 4 << 20};
//   CO_TRY(auto body, co_await sources.read(request, span, info.version, deadline));
//   CO_TRY(auto got, co_await body->read(buffer, deadline));
//
// Pinning: stat and read tell the Version of what they saw. Whoever reads an object in several
// pieces gives the first one's version to the others; a source that now holds something else
// answers kChanged, and pieces of two versions are never mixed.
//
// Errors that come from the origin carry its HTTP status in Error::status() and, in
// Error::details(), the JSON that Dragonfly's peers expect (Dragonfly grpc 3g): {"message":...,
// "header":{...},"status_code":...}. Credentials in URLs appear in neither.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/deadline.h"
#include "base/result.h"
#include "base/task.h"
#include "net/http/headers.h"
#include "world/network.h"

namespace d7y::source {

// What to ask for, and how.
struct Request {
  std::string url;
  http::Headers headers;  // sent to the origin (http), Host in place of the URL's; a Range in here is ignored
  // PEM of authorities to trust instead of the system's, for this request (https).
  std::string trust_pem;
  bool insecure_skip_verify = false;  // take any certificate
};

// What identifies one state of an object.
struct Version {
  std::string etag;           // strong ones only, with quotes
  std::string last_modified;  // as the origin wrote it
  std::optional<std::uint64_t> length;

  // The origin gives it a name, of some kind.
  bool is_told() const { return !etag.empty() || !last_modified.empty(); }
  bool known() const { return !etag.empty() || !last_modified.empty() || length.has_value(); }
  // Whether both may be the same state: what both know is equal.
  bool agrees_with(const Version& other) const;
  bool operator==(const Version&) const = default;
};

struct Info {
  std::optional<std::uint64_t> length;  // bytes of the whole object; none: known only at its end
  bool accepts_ranges = false;          // promised by Accept-Ranges, or seen
  Version version;
  std::string content_type;
  // As the origin sent them. After a ranged answer Content-Length is the whole object's and
  // Content-Range is left out, which is what Dragonfly stores and shows.
  http::Headers headers;
  int status = 0;          // HTTP; 0 for backends without one
  std::string url;         // where it was found in the end, without credentials
  bool is_folder = false;  // file: a directory. http cannot tell.
};

// Part of an object. No length: to its end.
struct Span {
  std::uint64_t offset = 0;
  std::optional<std::uint64_t> length;
  bool operator==(const Span&) const = default;
  bool is_whole() const { return offset == 0 && !length; }
};

// Bytes of a span, pulled. Destroying it early gives up.
class Body {
 public:
  virtual ~Body() = default;
  // At least one byte, or 0 at the end of the span. kReset when the origin broke off before it,
  // kChanged, kTimeout.
  virtual Task<Result<std::size_t>> read(MutableBytes buffer, Deadline deadline) = 0;
  // The stream that the next `left` bytes lie on as they are; null if they do not. Whoever reads them there
  // tells took() how many.
  struct Bare {
    world::Stream* stream = nullptr;
    std::uint64_t left = 0;
  };
  virtual Bare bare() { return {}; }
  virtual void took(std::uint64_t) {}
  // What the answer said about the whole object.
  virtual const Info& info() const = 0;
  // Bytes this body will yield; none: known only at its end.
  virtual std::optional<std::uint64_t> length() const = 0;
};

struct Entry {
  std::string name;  // last part of the path, decoded, without a trailing slash
  std::string url;
  std::optional<std::uint64_t> length;
  bool is_folder = false;  // file: a directory. http cannot tell.
};

class Backend {
 public:
  virtual ~Backend() = default;

  // kNotFound, kPermission, kUnauthenticated, kRefused, kTimeout, kUnavailable, kExhausted, ...
  virtual Task<Result<Info>> stat(const Request& request, Deadline deadline) = 0;

  // The bytes of `span`. With a known `pinned` version only bytes of that version: kChanged if the
  // object is another one by now. kUnsupported: a span was asked for, but this origin only sends the
  // whole; ask again for the whole. kPrecondition (416): the object ends before the span. An object
  // that ends inside the span gives what there is. An origin that answers a span from 0 with the whole
  // gives the whole (Body::length() tells), so that nothing is asked for twice.
  virtual Task<Result<std::unique_ptr<Body>>> read(const Request& request, Span span, const Version& pinned,
                                                   Deadline deadline) = 0;

  // What lies directly below a folder URL (one ending in "/"). kUnsupported: no listing there.
  virtual Task<Result<std::vector<Entry>>> list(const Request& request, Deadline deadline) = 0;
};

// Backends by scheme.
class Sources {
 public:
  // `scheme` in lower case. Replaces an earlier one.
  void add(std::string scheme, std::shared_ptr<Backend> backend);
  // kUnsupported names the scheme and those known; kInvalid: not a URL.
  Result<Backend*> backend_for(std::string_view url) const;
  std::vector<std::string> schemes() const;

  Task<Result<Info>> stat(const Request& request, Deadline deadline);
  Task<Result<std::unique_ptr<Body>>> read(const Request& request, Span span, const Version& pinned,
                                           Deadline deadline);
  Task<Result<std::vector<Entry>>> list(const Request& request, Deadline deadline);

 private:
  std::map<std::string, std::shared_ptr<Backend>, std::less<>> backends_;
};

// The URL as it may be shown: without user, password, and the values of query parameters that look
// like secrets (signatures, tokens, keys).
std::string redacted(std::string_view url);

// A header whose value is nobody else's business.
bool is_secret_header(std::string_view name);

// {"message":...,"header":{...},"status_code":n|null}. Headers that hold secrets are left out, and
// the header map is cut to `limit` bytes, because Rust peers refuse trailers above 16 KiB.
std::string backend_error_json(std::string_view message, const http::Headers& headers, int status,
                               std::size_t limit = 8 << 10);

}  // namespace d7y::source
