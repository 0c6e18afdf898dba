// Redis's wire format (RESP2) without I/O: commands out, replies in.
//
//   RespReader reader;
//   reader.feed(bytes);
//   TRY(auto reply, reader.next());                 // none: more bytes are needed
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace d7y::scheduler {

struct RespValue {
  enum class Kind : std::uint8_t { kNull, kText, kError, kInteger, kList } kind = Kind::kNull;
  std::string text;  // of a text or an error
  std::int64_t integer = 0;
  std::vector<RespValue> items;
};

std::string resp_command(const std::vector<std::string>& words);

class RespReader {
 public:
  void feed(std::string_view bytes) { buffer_.append(bytes); }
  // The next reply, or none if it is not here yet. kProtocol, kTooLarge: the connection is of no use any
  // more.
  Result<std::optional<RespValue>> next();

 private:
  enum class Step : std::uint8_t { kDone, kMore };
  Result<Step> parse(std::size_t& at, RespValue& out, int depth) const;
  Result<std::optional<std::string_view>> line(std::size_t& at) const;

  std::string buffer_;
  std::size_t used_ = 0;
  std::size_t needed_ = 0;  // bytes of buffer_ without which trying again is in vain
};

}  // namespace d7y::scheduler
