#include "net/grpc/metadata.h"

namespace d7y::grpc {

Metadata::Metadata(std::initializer_list<Entry> entries) {
  for (const Entry& entry : entries) add(entry.key, entry.value);
}

void Metadata::add(std::string_view key, std::string_view value) {
  if (places_.empty()) {
    places_.reserve(4);
    text_.reserve(120);
  }
  places_.push_back({static_cast<std::uint32_t>(text_.size()), static_cast<std::uint32_t>(key.size()),
                     static_cast<std::uint32_t>(value.size())});
  text_.append(key);
  for (auto c = text_.end() - static_cast<std::ptrdiff_t>(key.size()); c != text_.end(); ++c) {
    if (*c >= 'A' && *c <= 'Z') *c = static_cast<char>(*c - 'A' + 'a');
  }
  text_.append(value);
}

std::optional<std::string_view> Metadata::get(std::string_view key) const {
  for (Entry entry : *this) {
    if (entry.key == key) return entry.value;
  }
  return std::nullopt;
}

std::vector<std::string_view> Metadata::get_all(std::string_view key) const {
  std::vector<std::string_view> values;
  for (Entry entry : *this) {
    if (entry.key == key) values.push_back(entry.value);
  }
  return values;
}

}  // namespace d7y::grpc
