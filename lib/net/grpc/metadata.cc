#include "net/grpc/metadata.h"

#include <algorithm>

namespace d7y::grpc {

Metadata::Metadata(std::initializer_list<Entry> entries) {
  for (const Entry& entry : entries) add(entry.key, entry.value);
}

void Metadata::add(std::string_view key, std::string_view value) {
  Entry& entry = entries_.emplace_back();
  entry.key.assign(key);
  for (char& c : entry.key) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  entry.value.assign(value);
}

std::optional<std::string_view> Metadata::get(std::string_view key) const {
  auto found =
      std::find_if(entries_.begin(), entries_.end(), [&](const Entry& entry) { return entry.key == key; });
  if (found == entries_.end()) return std::nullopt;
  return found->value;
}

std::vector<std::string_view> Metadata::get_all(std::string_view key) const {
  std::vector<std::string_view> values;
  for (const Entry& entry : entries_) {
    if (entry.key == key) values.emplace_back(entry.value);
  }
  return values;
}

}  // namespace d7y::grpc
