// Edits JSON in place, as toml.h does TOML: order, indentation and everything else stay as they are.
#pragma once

#include <string>
#include <vector>

namespace tools::json {

// `text`, an object, with the member at `path` set to `value` (its JSON text); objects on the way are made.
// An empty text counts as {}. Throws Refusal (kNotEditable) if `text` is not JSON or something on the way is
// no object.
std::string set(const std::string& text, const std::string& name, const std::vector<std::string>& path,
                const std::string& value);

// The string array at `path` with `value` as its first element, and only there; made if missing.
std::string put_first(const std::string& text, const std::string& name, const std::vector<std::string>& path,
                      const std::string& value);

}  // namespace tools::json
