#include "api/descriptors.h"

#include <optional>

namespace d7y::api {
namespace {

// Walks the fields of one serialised message. The input is our own build's output; damage just ends it.
class Fields {
 public:
  explicit Fields(std::string_view bytes) : rest_(bytes) {}

  // Moves to the next field; false at the end.
  bool next() {
    const auto key = varint();
    if (!key) return false;
    number_ = static_cast<std::uint32_t>(*key >> 3);
    content_ = {};
    switch (*key & 7) {
      case 0: return varint().has_value();
      case 1: return skip(8);
      case 2: {
        const auto length = varint();
        if (!length || *length > rest_.size()) return false;
        content_ = rest_.substr(0, *length);
        return skip(*length);
      }
      case 5: return skip(4);
      default: return false;
    }
  }
  std::uint32_t number() const { return number_; }
  std::string_view content() const { return content_; }  // of length-delimited fields

 private:
  std::optional<std::uint64_t> varint() {
    std::uint64_t value = 0;
    for (unsigned shift = 0; shift < 64 && !rest_.empty(); shift += 7) {
      const auto byte = static_cast<unsigned char>(rest_.front());
      rest_.remove_prefix(1);
      value |= static_cast<std::uint64_t>(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
    return std::nullopt;
  }
  bool skip(std::size_t count) {
    if (count > rest_.size()) return false;
    rest_.remove_prefix(count);
    return true;
  }

  std::string_view rest_;
  std::uint32_t number_ = 0;
  std::string_view content_;
};

// Field 1 of messages, enums, services and methods alike.
std::string_view name_in(std::string_view bytes) {
  for (Fields field(bytes); field.next();) {
    if (field.number() == 1) return field.content();
  }
  return {};
}

// Numbers of google.protobuf.FileDescriptorProto.
FileDescriptor parse_file(std::string_view bytes) {
  FileDescriptor file;
  file.bytes = bytes;
  std::string package;
  std::vector<std::string> relative;
  for (Fields field(bytes); field.next();) {
    switch (field.number()) {
      case 1: file.name = field.content(); break;
      case 2: package = std::string(field.content()) + "."; break;
      case 3: file.dependencies.emplace_back(field.content()); break;
      case 4:  // message
      case 5:  // enum
        relative.emplace_back(name_in(field.content()));
        break;
      case 6: {  // service
        const std::string service(name_in(field.content()));
        relative.push_back(service);
        for (Fields inner(field.content()); inner.next();) {
          if (inner.number() == 2) relative.push_back(service + "." + std::string(name_in(inner.content())));
        }
        break;
      }
      default: break;
    }
  }
  for (const auto& name : relative) file.symbols.push_back(package + name);
  return file;
}

}  // namespace

const std::vector<FileDescriptor>& file_descriptors() {
  static const std::vector<FileDescriptor> files = [] {
    std::vector<FileDescriptor> parsed;
    const std::string_view set(reinterpret_cast<const char*>(kDescriptorSet), kDescriptorSetSize);
    for (Fields field(set); field.next();) {
      if (field.number() == 1) parsed.push_back(parse_file(field.content()));
    }
    return parsed;
  }();
  return files;
}

}  // namespace d7y::api
