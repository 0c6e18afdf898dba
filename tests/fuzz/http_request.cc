#include "http_message.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace d7y;
  http::compare(http::MessageReader::Kind::kRequest, Bytes(reinterpret_cast<const std::byte*>(data), size),
                "");
  return 0;
}
