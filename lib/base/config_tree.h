// A configuration file as a tree that remembers where everything stood, so that every complaint can
// name the line and the key. Read with YAML's rules (JSON is a subset).
//
//   TRY(auto tree, ConfigTree::parse(text, "dfdaemon.yaml"));
//   ConfigReader reader(tree);
//   reader.read("upload.server.port", options.upload_port, 1, 65535);
//   reader.read_duration("download.pieceTimeout", options.piece_timeout);
//   TRY_OK(reader.finish());                       // the first wrong values, all in one error
//   for (auto& w : reader.unknown_keys()) log.warn("{}", w);
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/deadline.h"
#include "base/result.h"

namespace d7y {

class ConfigTree {
 public:
  enum class Kind : std::uint8_t { kNull, kScalar, kList, kMap };

  // kInvalid with "name:line:column: why" for text that is not YAML, holds a key twice, nests deeper
  // than 64 levels, or uses anchors to grow beyond 100,000 nodes.
  static Result<ConfigTree> parse(std::string_view text, std::string_view name);

  Kind kind() const { return kind_; }
  bool is_null() const { return kind_ == Kind::kNull; }
  int line() const { return line_; }  // from 1
  const std::string& scalar() const { return scalar_; }
  bool quoted() const { return quoted_; }
  const std::vector<ConfigTree>& items() const { return items_; }                              // of a list
  const std::vector<std::pair<std::string, ConfigTree>>& entries() const { return entries_; }  // of a map
  // The value under a dotted path ("upload.server.port"); null where nothing is.
  const ConfigTree* find(std::string_view path) const;
  const std::string& name() const { return *name_; }

 private:
  friend class ConfigBuilder;
  Kind kind_ = Kind::kNull;
  bool quoted_ = false;
  int line_ = 0;
  std::string scalar_;
  std::vector<ConfigTree> items_;
  std::vector<std::pair<std::string, ConfigTree>> entries_;
  std::shared_ptr<const std::string> name_;
};

// Reads typed values out of a tree. A missing or null key leaves the target as it is; a wrong value
// is noted and reading goes on, so that a person sees all mistakes at once.
class ConfigReader {
 public:
  // `at` is the dotted path of `tree` in its file, for messages; empty for the whole file.
  explicit ConfigReader(const ConfigTree& tree, std::string at = {});

  bool has(std::string_view path);
  void read(std::string_view path, bool& out);
  void read(std::string_view path, std::string& out);
  void read(std::string_view path, std::optional<std::string>& out);
  void read(std::string_view path, std::vector<std::string>& out);
  void read(std::string_view path, std::map<std::string, std::string>& out);
  void read(std::string_view path, double& out, double least, double most);
  template <class Integer>
    requires(std::is_integral_v<Integer> && !std::is_same_v<Integer, bool>)
  void read(std::string_view path, Integer& out, Integer least = std::numeric_limits<Integer>::min(),
            Integer most = std::numeric_limits<Integer>::max()) {
    long long value = 0;
    if (integer(path, value, static_cast<long long>(least),
                static_cast<unsigned long long>(most) > 9223372036854775807ULL
                    ? 9223372036854775807LL
                    : static_cast<long long>(most))) {
      out = static_cast<Integer>(value);
    }
  }
  // "30s", "1m30s", "250ms", "1h", "7d", "168h" (units ns us ms s m h d w), or a number of nanoseconds, from
  // a millisecond on.
  void read_duration(std::string_view path, Duration& out);
  // How often something is done: at least a second.
  void read_interval(std::string_view path, Duration& out);
  // "10GB", "512KB", "4MiB", "1024": decimal and binary units, bytes.
  void read_size(std::string_view path, std::uint64_t& out);
  // Marks a key as known without reading it (it has no effect here); true if it is set.
  bool accept(std::string_view path);
  // The sub-tree under a path, marked as known with all below it; null if missing.
  const ConfigTree* take(std::string_view path);

  // Notes that the value at `path` is wrong, for checks of the caller's own.
  void complain(std::string_view path, std::string_view why);

  // kInvalid with up to ten complaints, each "file:line: key: why".
  Result<void> finish() const;
  // "file:line: key ... is not known and has no effect", one per key that nobody asked for.
  std::vector<std::string> unknown_keys() const;

 private:
  const ConfigTree* look(std::string_view path);
  bool integer(std::string_view path, long long& out, long long least, long long most);
  // Keys that nobody asked for, and places where a text or a list stands instead of a map of known keys.
  void walk(const ConfigTree& tree, const std::string& path, std::vector<std::string>& unknown,
            std::vector<std::string>& misplaced) const;
  std::string where(std::string_view path) const;

  const ConfigTree& tree_;
  std::string at_;
  std::map<std::string, bool, std::less<>> known_;  // path -> everything below is known too
  std::vector<std::string> complaints_;
};

// The parsers behind read_duration and read_size, for flags.
Result<Duration> parse_duration(std::string_view text);
Result<std::uint64_t> parse_size(std::string_view text);

}  // namespace d7y
