// The handlers of echo.proto.
#pragma once

#include <string>

#include "echo.pb.h"
#include "net/grpc/server.h"

namespace d7y::test {

using grpc::Reader;
using grpc::Server;
using grpc::ServerCall;
using grpc::Writer;

struct EchoService {
  int hanging = 0;   // handlers of Hang that run
  int chatting = 0;  // handlers of Chat that run
  int expanding = 0;

  struct Count {
    explicit Count(int& number) : number(number) { ++number; }
    ~Count() { --number; }
    int& number;
  };

  // Metadata "x-..." comes back, in the headers and as "t-..." in the trailers.
  static void mirror(ServerCall& call) {
    for (grpc::Metadata::Entry entry : call.metadata()) {
      if (!entry.key.starts_with("x-")) continue;
      call.initial_metadata().add(entry.key, entry.value);
      call.trailing_metadata().add(fmt::format("t-{}", entry.key.substr(2)), entry.value);
    }
  }

  static Result<void> verdict(const EchoRequest& request) {
    if (request.fail_with() == 0) return {};
    return grpc::status_error(static_cast<grpc::Code>(request.fail_with()), request.text(),
                              request.payload());
  }

  static Task<Result<EchoResponse>> unary(ServerCall& call, EchoRequest request) {
    mirror(call);
    if (request.gzip()) call.use_gzip();
    if (request.wait_ms() > 0) co_await sleep_for(std::chrono::milliseconds(request.wait_ms()));
    CO_OK(verdict(request));
    EchoResponse response;
    response.set_text(request.text());
    if (request.repeat() <= 1) {
      response.set_payload(request.payload());
    } else {
      for (std::uint32_t i = 0; i < request.repeat(); ++i)
        response.mutable_payload()->append(request.payload());
    }
    if (call.timeout()) response.set_timeout_ms(call.timeout()->count() / 1'000'000);
    co_return std::move(response);
  }

  Task<Result<void>> expand(ServerCall& call, EchoRequest request, Writer<EchoResponse>& out) {
    Count count(expanding);
    mirror(call);
    EchoResponse response;
    response.set_text(request.text());
    response.set_payload(request.payload());
    if (call.timeout()) response.set_timeout_ms(call.timeout()->count() / 1'000'000);
    for (std::uint32_t i = 0; i < request.repeat(); ++i) {
      if (request.wait_ms() > 0) co_await sleep_for(std::chrono::milliseconds(request.wait_ms()));
      response.set_count(i);
      Task<Result<void>> written = out.write(response);
      CO_OK(co_await written);
    }
    co_return verdict(request);
  }

  static Task<Result<EchoResponse>> collect(ServerCall& call, Reader<EchoRequest>& in) {
    mirror(call);
    EchoResponse response;
    std::size_t bytes = 0;
    for (;;) {
      CO_TRY(auto request, co_await in.read());
      if (!request) break;
      CO_OK(verdict(*request));
      response.mutable_text()->append(request->text());
      bytes += request->payload().size();
    }
    response.set_count(static_cast<std::uint32_t>(bytes));
    co_return std::move(response);
  }

  Task<Result<void>> chat(ServerCall& call, Reader<EchoRequest>& in, Writer<EchoResponse>& out) {
    Count count(chatting);
    mirror(call);
    for (std::uint32_t i = 0;; ++i) {
      CO_TRY(auto request, co_await in.read());
      if (!request) co_return Result<void>{};
      CO_OK(verdict(*request));
      if (request->text() == "bye") co_return Result<void>{};
      EchoResponse response;
      response.set_text(request->text());
      response.set_payload(request->payload());
      response.set_count(i);
      Task<Result<void>> written = out.write(response);
      CO_OK(co_await written);
    }
  }

  Task<Result<EchoResponse>> hang(ServerCall&, EchoRequest) {
    Count count(hanging);
    Signal never;
    CO_OK(co_await never.wait(Deadline::never()));
    co_return EchoResponse();
  }

  void attach(Server& server) {
    server.unary<EchoRequest, EchoResponse>("/d7y.test.Echo/Unary", unary);
    server.server_stream<EchoRequest, EchoResponse>(
        "/d7y.test.Echo/Expand", [this](ServerCall& call, EchoRequest request, Writer<EchoResponse>& out) {
          return expand(call, std::move(request), out);
        });
    server.client_stream<EchoRequest, EchoResponse>("/d7y.test.Echo/Collect", collect);
    server.bidi<EchoRequest, EchoResponse>(
        "/d7y.test.Echo/Chat", [this](ServerCall& call, Reader<EchoRequest>& in, Writer<EchoResponse>& out) {
          return chat(call, in, out);
        });
    server.unary<EchoRequest, EchoResponse>(
        "/d7y.test.Echo/Hang",
        [this](ServerCall& call, EchoRequest request) { return hang(call, std::move(request)); });
  }
};

}  // namespace d7y::test
