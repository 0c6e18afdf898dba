// A gRPC server against a client's arbitrary bytes. The first byte chooses how they are cut and how the
// connection ends; preface and SETTINGS are given, frames follow.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "echo_service.h"
#include "memory_world.h"
#include "net/grpc/health.h"
#include "net/grpc/reflection.h"

using namespace d7y;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  std::string input("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0", 24 + 9);
  input.append(reinterpret_cast<const char*>(data) + 1, size - 1);
  std::size_t step = (data[0] & 0x7f) < 100 ? 1u + (data[0] & 0x7fu) : 100'000u;

  fuzz::MemoryWorld world;
  test::EchoService service;
  grpc::Health health;
  grpc::Reflection reflection;
  {
    grpc::ServerOptions options;
    options.max_receive_message = 100'000;
    options.stream_window = 65'535;
    options.max_header_list = 8192;
    grpc::Server server(world, options);
    service.attach(server);
    health.attach(server);
    reflection.attach(server);
    server.serve(std::make_unique<fuzz::MemoryStream>(std::move(input), step, (data[0] & 0x80) != 0));
    world.run(20);
    if (server.connections() > 1) std::abort();
  }
  world.run(5);
  // Whatever came, every handler is gone.
  if (service.hanging != 0 || service.chatting != 0 || service.expanding != 0) std::abort();
  return 0;
}
