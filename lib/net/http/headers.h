// Header fields of an HTTP message: an ordered list with names compared without regard to case.
// Order and repetition are kept, because some fields (Set-Cookie, Via) live on them.
//
//   Headers headers;
//   headers.set("Range", "bytes=0-99");
//   if (auto etag = headers.get("etag")) ...
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace d7y::http {

struct Header {
  std::string name;
  std::string value;
  bool operator==(const Header&) const = default;
};

// ASCII comparison without case, as header names and most tokens want it.
bool same_name(std::string_view a, std::string_view b);

class Headers {
 public:
  Headers() = default;
  Headers(std::initializer_list<Header> list) : list_(list) {}

  // Appends, whatever is there already.
  void add(std::string name, std::string value);
  // Replaces all fields of that name by one.
  void set(std::string_view name, std::string value);
  void remove(std::string_view name);

  // The first field of that name. The view lives as long as the field.
  std::optional<std::string_view> get(std::string_view name) const;
  bool has(std::string_view name) const { return get(name).has_value(); }
  std::size_t count(std::string_view name) const;
  // All values of that name joined by ", " (RFC 9110 5.3).
  std::string joined(std::string_view name) const;
  // Whether a comma separated list field (Connection, Transfer-Encoding) holds `token`.
  bool has_token(std::string_view name, std::string_view token) const;

  bool empty() const { return list_.empty(); }
  std::size_t size() const { return list_.size(); }
  auto begin() const { return list_.begin(); }
  auto end() const { return list_.end(); }
  std::vector<Header>& list() { return list_; }
  void clear() { list_.clear(); }

  bool operator==(const Headers&) const = default;

 private:
  std::vector<Header> list_;
};

// Whether the bytes may stand in a header's name (RFC 9110 5.1) or value: no line break, no NUL.
bool is_header_name(std::string_view name);
bool is_header_value(std::string_view value);
// Whether a Host header may say that: nothing that ends a host in a URL. Empty is fine.
bool is_host(std::string_view value);

// kInvalid with the name (never the value) of the first field that could not be sent as it is.
Result<void> check_headers(const Headers& headers);

// Fields that belong to one connection and are never forwarded (RFC 9110 7.6.1), including those
// that Connection names.
void remove_hop_by_hop(Headers& headers);

}  // namespace d7y::http
