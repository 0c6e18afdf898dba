// Base64 (RFC 4648 section 4).
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace d7y {

enum class Base64Padding : bool { kNone, kFull };

std::string base64_encode(std::string_view bytes, Base64Padding padding = Base64Padding::kFull);

// Accepts both padded and unpadded text; none for anything else that is not base64.
std::optional<std::string> base64_decode(std::string_view text);

}  // namespace d7y
