// Metadata of a call: the header fields beside those that gRPC itself uses, in order of arrival.
//
// Keys are lower case. Values of keys that end in "-bin" are arbitrary bytes here and base64 on the
// wire; all others are printable ASCII.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace d7y::grpc {

class Metadata {
 public:
  // Views are valid until the metadata changes.
  struct Entry {
    std::string_view key;
    std::string_view value;
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

  bool empty() const { return places_.empty(); }
  std::size_t size() const { return places_.size(); }

  class Iterator {
   public:
    Iterator(const Metadata& metadata, std::size_t at) : metadata_(&metadata), at_(at) {}
    Entry operator*() const { return metadata_->entry(at_); }
    Iterator& operator++() {
      ++at_;
      return *this;
    }
    bool operator==(const Iterator&) const = default;

   private:
    const Metadata* metadata_;
    std::size_t at_;
  };
  Iterator begin() const { return {*this, 0}; }
  Iterator end() const { return {*this, places_.size()}; }

 private:
  // Keys and values one after the other in one string: a request has a handful of small ones.
  struct Place {
    std::uint32_t begin, key_size, value_size;
  };
  Entry entry(std::size_t at) const {
    const Place& place = places_[at];
    std::string_view text = text_;
    return {text.substr(place.begin, place.key_size),
            text.substr(place.begin + place.key_size, place.value_size)};
  }

  std::string text_;
  std::vector<Place> places_;
};

}  // namespace d7y::grpc
