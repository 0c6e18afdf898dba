// Our client against nginx and our server against curl, on the production world.
#include <doctest/doctest.h>

#include <fstream>

#include "net/http/client.h"
#include "net/http/server.h"
#include "support/nginx.h"
#include "support/process.h"
#include "world/real_world.h"

using namespace d7y;
using namespace d7y::http;
using namespace std::chrono_literals;

namespace {

std::string pattern(std::size_t size) {
  std::string out(size, '\0');
  std::uint32_t x = 12345;
  for (auto& c : out) {
    x = x * 1664525 + 1013904223;
    c = static_cast<char>(x >> 24);
  }
  return out;
}

Task<Result<std::string>> get(Client& client, std::string url, Headers headers, Deadline deadline) {
  Request request;
  request.url = std::move(url);
  request.headers = std::move(headers);
  CO_TRY(auto response, co_await client.fetch(std::move(request), deadline));
  CO_TRY(auto body, co_await response.read_all(100 << 20, deadline));
  co_return fmt::format("{} ", response.status()) + body;
}

// Turns the loop now and then, so that a test notices the end of a program it started.
Task<void> tick() {
  while (true) co_await sleep_for(2ms);
}

class Files : public Handler {
 public:
  explicit Files(world::World& world, std::string folder) : world_(world), folder_(std::move(folder)) {}
  Task<void> handle(ServerRequest& request, Responder& responder) override {
    if (request.method() == "PUT") {
      auto body = co_await request.read_all(10 << 20, Deadline::never());
      if (!body) {
        (void)co_await responder.send(body.error().status(), "text/plain", "no\n");
        co_return;
      }
      (void)co_await responder.send(201, "text/plain", fmt::format("{} bytes\n", body->size()));
      co_return;
    }
    auto file = world_.files().open(folder_ + std::string(request.path()), world::OpenMode::kRead);
    if (!file) {
      (void)co_await responder.send(404, "text/plain", "not found\n");
      co_return;
    }
    const auto size = (*file)->status()->size;
    std::optional<std::uint64_t> announced;
    if (request.query() != "chunked") announced = size;
    ResponseHead head;
    (void)co_await responder.begin(head, announced);
    (void)co_await responder.send_file(**file, 0, size);
    (void)co_await responder.finish();
  }

 private:
  world::World& world_;
  std::string folder_;
};

}  // namespace

TEST_CASE("nginx serves our client whole files, ranges, chunks and errors on kept connections") {
  world::RealWorld real;
  test::Nginx nginx(real.folder);
  const auto content = pattern(5'000'000);
  nginx.put("file", content);
  Client client(*real, {});
  auto whole = real.wait(get(client, nginx.url("/file"), {}, real.soon()));
  REQUIRE(whole.ok());
  CHECK((*whole == "200 " + content));
  auto part = real.wait(get(client, nginx.url("/file"), {{"Range", "bytes=1000-1999"}}, real.soon()));
  CHECK((*part == "206 " + content.substr(1000, 1000)));
  auto gzipped = real.wait(get(client, nginx.url("/chunked"), {}, real.soon()));
  REQUIRE(gzipped.ok());
  CHECK(gzipped->starts_with("200 "));
  CHECK(real.wait(get(client, nginx.url("/none"), {}, real.soon()))->starts_with("404 "));
  CHECK(real.wait(get(client, nginx.url("/file"), {{"Range", "bytes=9000000-"}}, real.soon()))
            ->starts_with("416 "));
  CHECK(real.wait(get(client, nginx.url("/moved"), {}, real.soon())).value() == "200 " + content);
  CHECK(client.open_connections() == 1);
}

TEST_CASE("curl reads files and chunks from our server, sends bodies and waits for 100 Continue") {
  world::RealWorld real;
  const auto content = pattern(3'000'000);
  std::ofstream(real.path("file"), std::ios::binary) << content;
  Files files(*real, real.folder);
  Server server(*real, files, {});
  auto listener = real->network().listen(Address::ipv4({127, 0, 0, 1}, 0), {}).value();
  Scope scope(real->loop());
  scope.spawn(server.serve(*listener));
  scope.spawn(tick());
  const auto url = "http://" + listener->local().to_string();
  const auto curl = [&](const std::string& arguments) {
    auto child = test::spawn("curl -sS --max-time 20 " + arguments + " > " + real.path("out") + " 2>&1");
    CHECK(real->run_until([&] { return child.ended(); }, real.soon()));
    std::ifstream in(real.path("out"), std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(in), {});
  };
  CHECK((curl(url + "/file") == content));
  CHECK((curl(url + "/file?chunked") == content));
  CHECK(curl("-o /dev/null -w '%{http_code}' " + url + "/none") == "404");
  CHECK(curl("-T " + real.path("file") + " -H 'Expect: 100-continue' " + url + "/x") == "3000000 bytes\n");
  CHECK(curl("-T - -H 'Transfer-Encoding: chunked' " + url + "/x < " + real.path("file")) ==
        "3000000 bytes\n");
  CHECK(curl("-I -o /dev/null -w '%{http_code} %header{content-length}' " + url + "/file") == "200 3000000");
  CHECK(curl("-w '%{num_connects}' -o /dev/null " + url + "/none -o /dev/null " + url + "/none") == "10");
  CHECK(curl("-0 " + url + "/file?chunked | cmp - " + real.path("file")) == "");
  const auto drained = real.wait(server.drain(real.soon()));
  CHECK(drained.ok());
}
