#include "net/grpc/descriptor_index.h"

#include <utility>

#include "descriptor_outline.pb.h"

namespace d7y::grpc {

namespace {

std::string join(const std::string& scope, const std::string& name) {
  return scope.empty() ? name : scope + "." + name;
}

// Walks one file's declarations.
struct Walk {
  const std::string& file;
  std::map<std::string, std::string>& symbols;
  std::map<std::string, std::set<int>>& extensions;
  std::map<std::pair<std::string, int>, std::string>& extension_files;

  void declare(const std::string& name) { symbols.emplace(name, file); }

  void enumeration(const std::string& scope, const outline::Enum& declared) {
    declare(join(scope, declared.name()));
    // Values are siblings of their enum.
    for (const auto& value : declared.value()) declare(join(scope, value.name()));
  }

  void extension(const std::string& scope, const outline::Field& field) {
    declare(join(scope, field.name()));
    std::string extended = field.extendee();
    if (extended.starts_with('.')) extended.erase(0, 1);
    extensions[extended].insert(field.number());
    extension_files.emplace(std::pair(extended, field.number()), file);
  }

  void message(const std::string& scope, const outline::Message& declared) {
    std::string name = join(scope, declared.name());
    declare(name);
    extensions[name];
    for (const auto& field : declared.field()) declare(join(name, field.name()));
    for (const auto& oneof : declared.oneof_decl()) declare(join(name, oneof.name()));
    for (const auto& nested : declared.nested_type()) message(name, nested);
    for (const auto& nested : declared.enum_type()) enumeration(name, nested);
    for (const auto& nested : declared.extension()) extension(name, nested);
  }

  void service(const std::string& scope, const outline::Service& declared) {
    std::string name = join(scope, declared.name());
    declare(name);
    for (const auto& method : declared.method()) declare(join(name, method.name()));
  }
};

template <class Map, class Key>
auto* find_in(const Map& map, const Key& key) {
  auto found = map.find(key);
  return found == map.end() ? nullptr : &found->second;
}

}  // namespace

Result<void> DescriptorIndex::add(std::string_view file_descriptor_set) {
  outline::FileSet set;
  if (!set.ParseFromArray(file_descriptor_set.data(), static_cast<int>(file_descriptor_set.size()))) {
    return error(ErrorCode::kInvalid, "{} bytes that should be a FileDescriptorSet do not parse",
                 file_descriptor_set.size());
  }
  for (const std::string& bytes : set.file()) {
    outline::File file;
    if (!file.ParseFromString(bytes) || file.name().empty()) {
      return error(ErrorCode::kInvalid, "a file of a FileDescriptorSet does not parse");
    }
    auto [place, added] = files_.try_emplace(file.name());
    if (!added) continue;
    place->second.bytes = bytes;
    place->second.imports.assign(file.dependency().begin(), file.dependency().end());
    Walk walk{place->first, symbols_, extensions_, extension_files_};
    for (const auto& declared : file.message_type()) walk.message(file.package(), declared);
    for (const auto& declared : file.enum_type()) walk.enumeration(file.package(), declared);
    for (const auto& declared : file.service()) walk.service(file.package(), declared);
    for (const auto& declared : file.extension()) walk.extension(file.package(), declared);
  }
  return {};
}

const std::string* DescriptorIndex::file_of_symbol(const std::string& symbol) const {
  return find_in(symbols_, symbol);
}

const std::string* DescriptorIndex::file_of_extension(const std::string& extended_type, int number) const {
  return find_in(extension_files_, std::pair(extended_type, number));
}

const std::set<int>* DescriptorIndex::extensions_of(const std::string& type) const {
  return find_in(extensions_, type);
}

std::vector<std::string> DescriptorIndex::with_imports(const std::string& file) const {
  std::vector<std::string> bytes;
  std::vector<std::string> wanted{file};
  std::set<std::string> seen{file};
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    auto found = files_.find(wanted[i]);
    if (found == files_.end()) continue;
    bytes.push_back(found->second.bytes);
    for (const auto& import : found->second.imports) {
      if (seen.insert(import).second) wanted.push_back(import);
    }
  }
  return bytes;
}

}  // namespace d7y::grpc
