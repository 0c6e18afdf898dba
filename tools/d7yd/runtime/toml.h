// Edits TOML in place: where things stand in the text, and new text with a value put in. Nothing is ever
// re-serialised, so comments, order and indentation of people's files stay as they are.
//
//   auto config = toml::Document::parse(text, "/etc/containerd/config.toml");
//   text = toml::set(config, {"plugins", "io.containerd.grpc.v1.cri", "registry"}, "config_path",
//   "\"/etc/x\"");
//
// Values are kept as their text; decode_string() and decode_strings() read the two kinds that we need. The
// parser knows all of TOML 1.0's syntax and is content with slightly more than it allows.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace tools::toml {

using Path = std::vector<std::string>;

// Where an entry is written; offsets into the text.
struct Entry {
  Path path;  // from the root of the file
  std::size_t key = 0;
  std::size_t value = 0, value_end = 0;
  std::size_t depth = 0;  // in how many inline tables it stands
};

// What follows one [header]; the first section is what comes before any header.
struct Section {
  Path path;
  bool array = false;     // [[header]]
  std::size_t begin = 0;  // of the header's line
  std::size_t body = 0;   // behind the header's line
  std::size_t end = 0;    // behind the line of the last entry, or `body`
  std::vector<Entry> entries;
};

struct Document {
  // Throws Refusal (kNotEditable), which names `name` and the line, if it is not TOML.
  static Document parse(std::string text, const std::string& name);

  const Entry* find(const Path& path) const;       // not those of [[arrays]]
  const Section* section(const Path& path) const;  // the first with this header
  // Whether any header or key is at or below `path`.
  bool has(const Path& path) const;

  std::string text;
  std::string name;
  std::vector<Section> sections;
};

// The text of `document` with `key` of `table` set to `value` (its TOML text): replaced where it stands,
// added where the table is written (as section, inline or with dotted keys), else in a new section behind the
// nearest relative. Throws Refusal if `table` is written in a way that cannot be added to.
std::string set(const Document& document, const Path& table, const std::string& key,
                const std::string& value);

// The text with the lines [begin, end) made comments, `why` said above them.
std::string comment_out(const std::string& text, std::size_t begin, std::size_t end, const std::string& why);

bool starts_with(const Path& path, const Path& prefix);
std::string quoted(std::string_view text);                  // "text", escaped
std::string quoted(const std::vector<std::string>& texts);  // ["a", "b"]
std::string dotted(const Path& path);                       // plugins."io.containerd.grpc.v1.cri"
std::optional<std::string> decode_string(std::string_view raw);
std::optional<std::vector<std::string>> decode_strings(std::string_view raw);

std::size_t line_begin(std::string_view text, std::size_t at);
std::size_t line_end(std::string_view text, std::size_t at);  // behind the newline
std::string indent_at(std::string_view text, std::size_t at);

}  // namespace tools::toml
