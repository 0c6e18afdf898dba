// What directory pages of web servers list. Pure: text in, entries out.
#pragma once

#include <string_view>
#include <vector>

#include "net/http/http_url.h"
#include "source/source.h"

namespace d7y::source {

// Entries of the page at `page` (its URL ends in "/"): links whose target lies directly below it.
// Understands nginx, Apache, lighttpd and Python's http.server as HTML, nginx and Caddy as JSON.
// Names are decoded; names that could lead outside a folder are left out. kUnsupported: the text is
// no directory listing.
Result<std::vector<Entry>> parse_listing(const http::HttpUrl& page, std::string_view content_type,
                                         std::string_view text);

}  // namespace d7y::source
