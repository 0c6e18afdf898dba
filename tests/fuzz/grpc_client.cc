// A gRPC client against a server's arbitrary bytes. Calls of all kinds are open when they come; each of them
// must come to an end.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "base/scope.h"
#include "echo.pb.h"
#include "memory_world.h"
#include "net/grpc/channel.h"

using namespace d7y;
using test::EchoRequest;
using test::EchoResponse;

namespace {

EchoRequest request() {
  EchoRequest made;
  made.set_text("hello");
  return made;
}

Task<void> unary(grpc::Channel& channel, grpc::CallOptions options, int& open) {
  auto call = channel.unary<EchoResponse>("/d7y.test.Echo/Unary", request(), options);
  auto response = co_await call;
  --open;
}

Task<void> stream(grpc::Channel& channel, grpc::CallOptions options, int& open) {
  auto call = channel.server_stream<EchoResponse>("/d7y.test.Echo/Expand", request(), options);
  for (;;) {
    auto response = co_await call.read();
    if (!response || !response->has_value()) break;
  }
  --open;
}

Task<void> chat(grpc::Channel& channel, grpc::CallOptions options, int& open) {
  auto call = channel.bidi<EchoRequest, EchoResponse>("/d7y.test.Echo/Chat", options);
  for (;;) {
    auto written = co_await call.write(request());
    auto response = co_await call.read();
    if (!response || !response->has_value()) break;
  }
  auto ended = co_await call.finish();
  --open;
}

}  // namespace

static Task<Result<std::unique_ptr<world::Stream>>> make_stream(const std::string& input, std::size_t step,
                                                                bool ends) {
  co_return std::make_unique<fuzz::MemoryStream>(input, step, ends);
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  std::string input("\0\0\0\4\0\0\0\0\0", 9);
  input.append(reinterpret_cast<const char*>(data) + 1, size - 1);
  std::size_t step = (data[0] & 0x7f) < 100 ? 1u + (data[0] & 0x7fu) : 100'000u;
  bool ends = (data[0] & 0x80) != 0;

  fuzz::MemoryWorld world;
  // An ordinary lambda: g++ 12 names a coroutine lambda in an extern "C" function twice.
  auto connect = [&](Deadline) { return make_stream(input, step, ends); };
  grpc::ChannelOptions channel_options;
  channel_options.max_receive_message = 100'000;
  channel_options.stream_window = 65'535;
  channel_options.connection_window = 200'000;
  grpc::Channel channel(world, "test", connect, channel_options);
  grpc::CallOptions options;
  options.deadline = Deadline::in(std::chrono::seconds(60), world.now());
  options.gzip = (data[0] & 1) != 0;
  int open = 3;
  Scope scope(world.loop());
  scope.spawn(unary(channel, options, open));
  scope.spawn(stream(channel, options, open));
  scope.spawn(chat(channel, options, open));
  for (int i = 0; i < 200 && open > 0; ++i) world.run(1);
  if (open != 0 || channel.open_calls() != 0) std::abort();
  return 0;
}
