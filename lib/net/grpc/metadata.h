// Metadata of a call: the header fields beside those that gRPC itself uses, in order of arrival.
//
// Keys are lower case. Values of keys that end in "-bin" are arbitrary bytes here and base64 on the
// wire; all others are printable ASCII.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace d7y::grpc {

class Metadata {
 public:
  struct Entry {
    std::string key;
    std::string value;
  };

  Metadata() = default;
  Metadata(std::initializer_list<Entry> entries);

  // Adds a value; a key may have several. Keys are lower-cased. Entries that cannot be sent (a key
  // with other characters than [a-z0-9_.-], a reserved key such as "grpc-status", ":path", "te"; a
  // value with control characters) are dropped when the call is sent.
  void add(std::string_view key, std::string_view value);

  // The first value of `key` (lower case); none if absent. Valid until the metadata changes.
  std::optional<std::string_view> get(std::string_view key) const;
  std::vector<std::string_view> get_all(std::string_view key) const;

  bool empty() const { return entries_.empty(); }
  std::size_t size() const { return entries_.size(); }
  auto begin() const { return entries_.begin(); }
  auto end() const { return entries_.end(); }

 private:
  std::vector<Entry> entries_;
};

}  // namespace d7y::grpc
