#include "http_message.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace d7y;
  const Bytes input(reinterpret_cast<const std::byte*>(data), size);
  for (auto method : {"GET", "HEAD", "CONNECT"}) {
    http::compare(http::MessageReader::Kind::kResponse, input, method);
  }
  return 0;
}
