// The host of a URL, normalised: names lower-cased and punycoded, addresses in their shortest form. Part of
// url.h; use Url.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace d7y {

// `special`: the scheme is one of those whose hosts are domains (http, https, ws, wss, ftp, file).
Result<std::string> parse_url_host(std::string_view text, bool special);

// Unicode label to its ASCII form without "xn--" (RFC 3492). `code_points` of at most 63 characters.
std::string punycode(std::u32string_view code_points);

}  // namespace d7y
