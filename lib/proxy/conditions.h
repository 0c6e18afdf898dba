// Conditional requests.
#pragma once

#include "net/http/headers.h"

namespace d7y::proxy {

// Whether the client has this content already (RFC 9110 13.1): If-None-Match wins over the date.
bool client_has_it(const http::Headers& request, const http::Headers& content);

// Whether the client wants another version than this, by If-Match or else If-Unmodified-Since: 412.
bool client_wants_another(const http::Headers& request, const http::Headers& content);

}  // namespace d7y::proxy
