// What an origin said of an object, as a message to other peers (api/origins.h).
#pragma once

#include <optional>

#include "api/origins.h"
#include "source/source.h"

namespace d7y::source {

// None if the origin does not want it passed on (Cache-Control: no-store, no-cache or private; Vary: *), or
// if it is longer than others take. Headers that hold secrets are left out.
std::optional<api::origins::OriginStat> shareable(const Info& info);

// kInvalid: longer than 16 KiB, more than 64 headers, or what could not stand in an HTTP message.
Result<void> check(const api::origins::OriginStat& stat);

// What check() has found good, of the object at `url`.
Info info_of(const api::origins::OriginStat& stat, std::string_view url);

}  // namespace d7y::source
