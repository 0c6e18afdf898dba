// Which file declares what, from serialized descriptors.
#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace d7y::grpc {

class DescriptorIndex {
 public:
  // A serialized FileDescriptorSet. Files already known by name are left alone.
  Result<void> add(std::string_view file_descriptor_set);

  // The file's name, or null.
  const std::string* file_of_symbol(const std::string& symbol) const;
  const std::string* file_of_extension(const std::string& extended_type, int number) const;
  // Numbers of all extensions of a type; null if the type is not known.
  const std::set<int>* extensions_of(const std::string& type) const;
  bool has_file(const std::string& name) const { return files_.contains(name); }

  // The file's bytes and those of all files it imports, itself first.
  std::vector<std::string> with_imports(const std::string& file) const;

 private:
  struct File {
    std::string bytes;
    std::vector<std::string> imports;
  };
  std::map<std::string, File> files_;
  std::map<std::string, std::string> symbols_;       // full name: file
  std::map<std::string, std::set<int>> extensions_;  // of every message type
  std::map<std::pair<std::string, int>, std::string> extension_files_;
};

}  // namespace d7y::grpc
