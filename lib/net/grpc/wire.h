// How gRPC writes its own header fields: grpc-timeout, grpc-message, metadata.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/deadline.h"
#include "net/grpc/metadata.h"
#include "net/http2/session.h"

namespace d7y::grpc {

// "10000000u" is 10 s. At most 8 digits and a unit of H M S m u n; none for anything else.
std::optional<Duration> parse_timeout(std::string_view text);
// The shortest exact form, or the next longer time that fits into 8 digits. At least 1n.
std::string format_timeout(Duration timeout);

// grpc-message: UTF-8 with everything but printable ASCII, and '%', as %XX.
std::string percent_encode(std::string_view text);
// Broken escapes stay as they are, as the protocol asks.
std::string percent_decode(std::string_view text);

// Fields that metadata may not use because HTTP/2 or gRPC do.
bool is_reserved(std::string_view key);

// Adds what can be sent of `metadata` to `fields`. Encoded values are kept in `storage`.
void add_metadata(const Metadata& metadata, std::vector<http2::Field>& fields,
                  std::vector<std::string>& storage);
// Adds one received field to `metadata`, decoding "-bin" values (which may be several, with commas).
void receive_metadata(std::string_view key, std::string_view value, Metadata& metadata);

// What a list of fields weighs against SETTINGS_MAX_HEADER_LIST_SIZE.
std::size_t list_size(const std::vector<http2::Field>& fields);

// A gRPC content type: "application/grpc" or one with +proto or a parameter.
bool is_grpc_content_type(std::string_view value);
// Whether a list such as "identity, gzip" has gzip.
bool lists_gzip(std::string_view value);

}  // namespace d7y::grpc
