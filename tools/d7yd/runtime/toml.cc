#include "toml.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>

#include "refusal.h"

namespace tools::toml {

namespace {

constexpr std::size_t kDepthLimit = 64;  // of arrays and inline tables; real files have three or four

bool is_bare(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
}

void append_utf8(std::string& out, std::uint32_t code) {
  if (code < 0x80) {
    out += static_cast<char>(code);
  } else if (code < 0x800) {
    out += static_cast<char>(0xc0 | code >> 6);
    out += static_cast<char>(0x80 | (code & 0x3f));
  } else if (code < 0x10000) {
    out += static_cast<char>(0xe0 | code >> 12);
    out += static_cast<char>(0x80 | (code >> 6 & 0x3f));
    out += static_cast<char>(0x80 | (code & 0x3f));
  } else {
    out += static_cast<char>(0xf0 | code >> 18);
    out += static_cast<char>(0x80 | (code >> 12 & 0x3f));
    out += static_cast<char>(0x80 | (code >> 6 & 0x3f));
    out += static_cast<char>(0x80 | (code & 0x3f));
  }
}

// Reads along the text; `at` is where it stands.
class Reader {
 public:
  Reader(std::string_view text, std::string_view name) : text_(text), name_(name) {}

  std::size_t at = 0;

  [[noreturn]] void fail(std::string_view what) const {
    auto line = 1 + std::count(text_.begin(), text_.begin() + static_cast<std::ptrdiff_t>(at), '\n');
    throw Refusal(kNotEditable, fmt::format("{}:{}: {}; is it TOML?", name_, line, what));
  }

  char peek(std::size_t ahead = 0) const { return at + ahead < text_.size() ? text_[at + ahead] : '\0'; }
  bool done() const { return at >= text_.size(); }

  void blanks() {
    while (peek() == ' ' || peek() == '\t') ++at;
  }

  void comment() {
    if (peek() != '#') return;
    while (!done() && peek() != '\n') ++at;
  }

  // Blanks, newlines and comments: what may stand between the values of an array.
  void between() {
    while (true) {
      blanks();
      comment();
      if (peek() == '\r' && peek(1) == '\n') ++at;
      if (peek() != '\n') return;
      ++at;
    }
  }

  void end_of_line() {
    blanks();
    comment();
    if (peek() == '\r' && peek(1) == '\n') ++at;
    if (!done() && peek() != '\n') fail("something unexpected at the end of the line");
    if (!done()) ++at;
  }

  Path key() {
    Path path;
    while (true) {
      blanks();
      if (peek() == '"' || peek() == '\'') {
        path.push_back(string());
      } else {
        auto begin = at;
        while (is_bare(peek())) ++at;
        if (at == begin) fail("a key is expected");
        path.emplace_back(text_.substr(begin, at - begin));
      }
      blanks();
      if (peek() != '.') return path;
      ++at;
    }
  }

  // A string of any of the four kinds; returns what it means.
  std::string string() {
    char quote = peek();
    bool literal = quote == '\'';
    bool lines = peek(1) == quote && peek(2) == quote;
    at += lines ? 3 : 1;
    if (lines && peek() == '\r') ++at;
    if (lines && peek() == '\n') ++at;
    std::string out;
    while (true) {
      if (done()) fail("a string does not end");
      char c = peek();
      if (c == quote && !lines) {
        ++at;
        return out;
      }
      if (c == quote && peek(1) == quote && peek(2) == quote) {
        at += 3;
        while (peek() == quote) out += quote, ++at;  // up to two more belong to the text
        return out;
      }
      if (c == '\n' && !lines) fail("a string does not end on its line");
      ++at;
      if (c == '\\' && !literal) {
        escape(out);
      } else {
        out += c;
      }
    }
  }

  // Skips a value and notes what it finds inside inline tables.
  void value(const Path& path, std::vector<Entry>& entries, std::size_t tables, std::size_t depth = 0) {
    if (depth > kDepthLimit) fail("values are nested too deep");
    if (peek() == '"' || peek() == '\'') {
      string();
    } else if (peek() == '[') {
      array(path, entries, tables, depth);
    } else if (peek() == '{') {
      inline_table(path, entries, tables, depth);
    } else {
      auto begin = at;
      while (!done() && peek() != '\n' && peek() != '#' && peek() != ',' && peek() != ']' && peek() != '}')
        ++at;
      while (at > begin && (text_[at - 1] == ' ' || text_[at - 1] == '\t' || text_[at - 1] == '\r')) --at;
      if (at == begin) fail("a value is expected");
    }
  }

  Entry entry(const Path& table, std::vector<Entry>& inner, std::size_t tables, std::size_t depth) {
    Entry found;
    found.key = at;
    found.depth = tables;
    found.path = table;
    auto name = key();
    found.path.insert(found.path.end(), name.begin(), name.end());
    if (peek() != '=') fail("'=' is expected behind a key");
    ++at;
    blanks();
    found.value = at;
    value(found.path, inner, tables, depth);
    found.value_end = at;
    return found;
  }

 private:
  void escape(std::string& out) {
    char c = peek();
    if (done()) fail("a string does not end");
    ++at;
    switch (c) {
      case 'b': out += '\b'; return;
      case 't': out += '\t'; return;
      case 'n': out += '\n'; return;
      case 'f': out += '\f'; return;
      case 'r': out += '\r'; return;
      case 'e': out += '\x1b'; return;
      case '"':
      case '\\': out += c; return;
      case 'u':
      case 'U': {
        std::uint32_t code = 0;
        for (int i = 0; i < (c == 'u' ? 4 : 8); ++i, ++at) {
          char digit = peek();
          if (digit >= '0' && digit <= '9')
            code = code * 16 + static_cast<std::uint32_t>(digit - '0');
          else if ((digit | 32) >= 'a' && (digit | 32) <= 'f')
            code = code * 16 + static_cast<std::uint32_t>((digit | 32) - 'a' + 10);
          else
            fail("a wrong \\u in a string");
        }
        append_utf8(out, code & 0x1fffff);
        return;
      }
      case ' ':
      case '\t':
      case '\r':
      case '\n':  // a line that goes on
        while (!done() && (peek() == ' ' || peek() == '\t' || peek() == '\r' || peek() == '\n')) ++at;
        return;
      default: fail("an unknown escape in a string");
    }
  }

  void array(const Path& path, std::vector<Entry>& entries, std::size_t tables, std::size_t depth) {
    ++at;
    std::vector<Entry> ignored;  // what stands in tables of arrays has no path of its own
    (void)entries;
    while (true) {
      between();
      if (peek() == ']') {
        ++at;
        return;
      }
      if (done()) fail("an array does not end");
      value(path, ignored, tables, depth + 1);
      between();
      if (peek() == ',')
        ++at;
      else if (peek() != ']')
        fail("',' or ']' is expected in an array");
    }
  }

  void inline_table(const Path& path, std::vector<Entry>& entries, std::size_t tables, std::size_t depth) {
    ++at;
    while (true) {
      between();
      if (peek() == '}') {
        ++at;
        return;
      }
      if (done()) fail("an inline table does not end");
      std::vector<Entry> inner;
      auto found = entry(path, inner, tables + 1, depth + 1);
      entries.push_back(std::move(found));
      entries.insert(entries.end(), inner.begin(), inner.end());
      between();
      if (peek() == ',')
        ++at;
      else if (peek() != '}')
        fail("',' or '}' is expected in an inline table");
    }
  }

  std::string_view text_, name_;
};

std::string with_newline(std::string text) {
  if (!text.empty() && text.back() != '\n') text += '\n';
  return text;
}

}  // namespace

Document Document::parse(std::string text, const std::string& name) {
  Document document;
  document.text = std::move(text);
  document.name = name;
  document.sections.emplace_back();
  Reader reader(document.text, document.name);
  if (document.text.starts_with("\xef\xbb\xbf")) reader.at = 3;
  document.sections[0].body = document.sections[0].end = document.sections[0].begin = reader.at;
  while (true) {
    reader.between();
    if (reader.done()) break;
    if (reader.peek() == '[') {
      Section section;
      section.begin = line_begin(document.text, reader.at);
      section.array = reader.peek(1) == '[';
      reader.at += section.array ? 2 : 1;
      section.path = reader.key();
      for (int i = 0; i < (section.array ? 2 : 1); ++i, ++reader.at)
        if (reader.peek() != ']') reader.fail("']' is expected behind a table's name");
      reader.end_of_line();
      section.body = section.end = reader.at;
      document.sections.push_back(std::move(section));
    } else {
      auto& section = document.sections.back();
      std::vector<Entry> inner;
      auto found = reader.entry(section.path, inner, 0, 0);
      section.entries.push_back(std::move(found));
      section.entries.insert(section.entries.end(), inner.begin(), inner.end());
      reader.end_of_line();
      section.end = reader.at;
    }
  }
  return document;
}

const Entry* Document::find(const Path& path) const {
  for (const auto& section : sections) {
    if (section.array) continue;
    for (const auto& entry : section.entries)
      if (entry.path == path) return &entry;
  }
  return nullptr;
}

const Section* Document::section(const Path& path) const {
  for (const auto& section : sections)
    if (&section != &sections[0] && section.path == path) return &section;
  return nullptr;
}

bool Document::has(const Path& path) const {
  for (const auto& section : sections) {
    if (&section != &sections[0] && starts_with(section.path, path)) return true;
    for (const auto& entry : section.entries)
      if (starts_with(entry.path, path)) return true;
  }
  return false;
}

std::string set(const Document& document, const Path& table, const std::string& key,
                const std::string& value) {
  const auto& text = document.text;
  Path path = table;
  path.push_back(key);
  if (const auto* entry = document.find(path))
    return text.substr(0, entry->value) + value + text.substr(entry->value_end);
  auto assignment = dotted({key}) + " = " + value;

  // The table is written inline: inside its braces.
  if (const auto* entry = document.find(table)) {
    if (text[entry->value] != '{')
      throw Refusal(kNotEditable, fmt::format("{}: {} is not a table", document.name, dotted(table)));
    bool empty = text.find_first_not_of(" \t\r\n", entry->value + 1) == entry->value_end - 1;
    return text.substr(0, entry->value + 1) + " " + assignment + (empty ? " " : ", ") +
           text.substr(text.find_first_not_of(" \t", entry->value + 1));
  }
  // It has a section, or is the root.
  const auto* section = table.empty() ? &document.sections[0] : document.section(table);
  if (section != nullptr && section->array)
    throw Refusal(kNotEditable, fmt::format("{}: {} is an array of tables", document.name, dotted(table)));
  if (section != nullptr) {
    std::string indent;
    if (!section->entries.empty())
      indent = indent_at(text, section->entries.back().key);
    else if (!table.empty())
      indent = indent_at(text, section->begin) + "  ";
    auto before = with_newline(text.substr(0, section->end)), behind = text.substr(section->end);
    // What would stand on top of the file's first table or comment gets an empty line below it.
    if (section->entries.empty() && table.empty() && !behind.empty() && behind[0] != '\n')
      behind = "\n" + behind;
    return before + indent + assignment + "\n" + behind;
  }
  // It is written by dotted keys of another table, whose keys then say where; a section would be an error.
  for (const auto& other : document.sections) {
    if (other.array || other.path.size() >= table.size()) continue;
    for (const auto& entry : other.entries) {
      if (entry.depth > 0 || !starts_with(entry.path, table)) continue;
      Path rest(table.begin() + static_cast<std::ptrdiff_t>(other.path.size()), table.end());
      rest.push_back(key);
      auto at = line_begin(text, entry.key);
      return text.substr(0, at) + indent_at(text, entry.key) + dotted(rest) + " = " + value + "\n" +
             text.substr(at);
    }
  }
  for (std::size_t size = 1; size < table.size(); ++size)
    if (const auto* entry =
            document.find({table.begin(), table.begin() + static_cast<std::ptrdiff_t>(size)})) {
      Path rest(table.begin() + static_cast<std::ptrdiff_t>(size), table.end());
      rest.push_back(key);
      if (text[entry->value] != '{')
        throw Refusal(kNotEditable, fmt::format("{}: {} is not a table", document.name, dotted(entry->path)));
      bool empty = text.find_first_not_of(" \t\r\n", entry->value + 1) == entry->value_end - 1;
      return text.substr(0, entry->value + 1) + " " + dotted(rest) + " = " + value + (empty ? " " : ", ") +
             text.substr(text.find_first_not_of(" \t", entry->value + 1));
    }

  // A section of its own, behind the last one that shares the longest beginning of its name.
  const Section* relative = nullptr;
  std::size_t shared = 0;
  for (const auto& other : document.sections) {
    std::size_t same = 0;
    while (same < table.size() && same < other.path.size() && table[same] == other.path[same]) ++same;
    if (same > 0 && same >= shared) relative = &other, shared = same;
  }
  auto at = relative == nullptr ? text.size() : relative->end;
  std::string indent;
  if (relative != nullptr) {
    indent = indent_at(text, relative->begin);
    if (relative->path.size() < table.size() && !indent.empty()) indent += "  ";
  }
  auto before = with_newline(text.substr(0, at));
  if (!before.empty()) before += "\n";
  return before + indent + "[" + dotted(table) + "]\n" + indent + "  " + assignment + "\n" + text.substr(at);
}

std::string comment_out(const std::string& text, std::size_t begin, std::size_t end, const std::string& why) {
  auto indent = indent_at(text, begin);
  auto out = text.substr(0, begin) + indent + "# " + why + "\n";
  for (auto at = begin; at < end;) {
    auto next = std::min(line_end(text, at), end);
    auto line = text.substr(at, next - at);
    auto first = line.find_first_not_of(" \t\r\n");
    out += first == std::string::npos ? line : line.substr(0, first) + "# " + line.substr(first);
    at = next;
  }
  return out + text.substr(end);
}

bool starts_with(const Path& path, const Path& prefix) {
  return path.size() >= prefix.size() && std::equal(prefix.begin(), prefix.end(), path.begin());
}

std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\')
      out += '\\', out += c;
    else if (c == '\n')
      out += "\\n";
    else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f)
      out += fmt::format("\\u{:04x}", static_cast<unsigned char>(c));
    else
      out += c;
  }
  return out + '"';
}

std::string quoted(const std::vector<std::string>& texts) {
  std::string out = "[";
  for (const auto& text : texts) out += (out.size() > 1 ? ", " : "") + quoted(text);
  return out + "]";
}

std::string dotted(const Path& path) {
  std::string out;
  for (const auto& part : path) {
    if (!out.empty()) out += '.';
    out += !part.empty() && std::all_of(part.begin(), part.end(), is_bare) ? part : quoted(part);
  }
  return out;
}

std::optional<std::string> decode_string(std::string_view raw) {
  if (raw.empty() || (raw[0] != '"' && raw[0] != '\'')) return std::nullopt;
  Reader reader(raw, "");
  return reader.string();
}

std::optional<std::vector<std::string>> decode_strings(std::string_view raw) {
  if (raw.empty() || raw[0] != '[') return std::nullopt;
  Reader reader(raw, "");
  std::vector<std::string> out;
  reader.at = 1;
  while (true) {
    reader.between();
    if (reader.peek() == ']') return out;
    if (reader.peek() != '"' && reader.peek() != '\'') return std::nullopt;
    out.push_back(reader.string());
    reader.between();
    if (reader.peek() == ',') ++reader.at;
  }
}

std::size_t line_begin(std::string_view text, std::size_t at) {
  auto before = at == 0 ? std::string_view::npos : text.rfind('\n', at - 1);
  return before == std::string_view::npos ? 0 : before + 1;
}

std::size_t line_end(std::string_view text, std::size_t at) {
  auto newline = text.find('\n', at);
  return newline == std::string_view::npos ? text.size() : newline + 1;
}

std::string indent_at(std::string_view text, std::size_t at) {
  auto begin = line_begin(text, at);
  auto end = begin;
  while (end < text.size() && (text[end] == ' ' || text[end] == '\t')) ++end;
  return std::string(text.substr(begin, end - begin));
}

}  // namespace tools::toml
