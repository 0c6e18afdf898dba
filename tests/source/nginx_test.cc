// The HTTP backend against a real nginx.
#include <doctest/doctest.h>

#include "source/http_backend.h"
#include "support/nginx.h"
#include "world/real_world.h"

using namespace d7y;
using namespace d7y::source;
using namespace std::chrono_literals;

namespace {

Task<Result<std::string>> read_all(Backend& backend, std::string url, Span span, Version pinned,
                                   Deadline deadline) {
  Request request;
  request.url = std::move(url);
  CO_TRY(auto body, co_await backend.read(request, span, pinned, deadline));
  std::string all;
  std::vector<std::byte> buffer(64 << 10);
  while (true) {
    auto got = co_await body->read(buffer, deadline);
    if (!got) co_return std::move(got).error();
    if (*got == 0) co_return all;
    all += as_text(Bytes(buffer).first(*got));
  }
}

Task<Result<Info>> stat(Backend& backend, std::string url, Deadline deadline) {
  Request request;
  request.url = std::move(url);
  auto info = co_await backend.stat(request, deadline);
  co_return info;
}

Task<Result<std::vector<Entry>>> list(Backend& backend, std::string url, Deadline deadline) {
  Request request;
  request.url = std::move(url);
  auto entries = co_await backend.list(request, deadline);
  co_return entries;
}

}  // namespace

TEST_CASE("nginx: stat, spans, pinning, folders, and origins with limited manners") {
  world::RealWorld real;
  test::Nginx nginx(real.folder);
  std::string content(3'000'000, '\0');
  for (std::size_t i = 0; i < content.size(); ++i) content[i] = static_cast<char>(i * 7 + i / 251);
  nginx.put("file", content);
  nginx.put("folder/with space", "1");
  nginx.put("folder/sub/deep", "2");
  nginx.put("empty", "");
  http::Client client(*real, {});
  HttpBackend backend(client, {});
  const auto get = [&](const std::string& path, Span span = {}, Version pinned = {}) {
    return real.wait(read_all(backend, nginx.url(path), span, std::move(pinned), real.soon()));
  };

  auto info = real.wait(stat(backend, nginx.url("/file"), real.soon()));
  REQUIRE(info.ok());
  CHECK(info->length == content.size());
  CHECK(info->accepts_ranges);
  CHECK(!info->version.etag.empty());
  CHECK(!info->version.last_modified.empty());
  CHECK((get("/file").value() == content));
  CHECK((get("/file", Span{1000, 5000}, info->version).value() == content.substr(1000, 5000)));
  CHECK((get("/file", Span{2'999'990, 5000}).value() == content.substr(2'999'990)));
  CHECK(get("/file", Span{3'000'000, 1}).error().status() == 416);
  CHECK(get("/none").failed_with(ErrorCode::kNotFound));
  CHECK((get("/moved", Span{5, 5}).value() == content.substr(5, 5)));
  CHECK(get("/empty").value().empty());
  CHECK(get("/empty", Span{0, 10}).value().empty());
  CHECK(real.wait(stat(backend, nginx.url("/empty"), real.soon()))->length == 0);

  auto plain = real.wait(stat(backend, nginx.url("/plain/file"), real.soon()));
  REQUIRE(plain.ok());
  CHECK(plain->length == content.size());
  CHECK(!plain->accepts_ranges);
  CHECK(get("/plain/file", Span{10, 10}).failed_with(ErrorCode::kUnsupported));
  auto nohead = real.wait(stat(backend, nginx.url("/nohead/file"), real.soon()));
  REQUIRE(nohead.ok());
  CHECK(nohead->length == content.size());
  CHECK(nohead->accepts_ranges);

  for (auto path : {"/folder/", "/json/folder/"}) {
    auto entries = real.wait(list(backend, nginx.url(path), real.soon()));
    REQUIRE(entries.ok());
    REQUIRE(entries->size() == 2);
    CHECK((*entries)[0].name == "sub");
    CHECK((*entries)[0].is_folder);
    CHECK((*entries)[1].name == "with space");
    CHECK((*entries)[1].url == nginx.url(path) + "with%20space");
  }
  CHECK(real.wait(list(backend, nginx.url("/file"), real.soon())).failed_with(ErrorCode::kUnsupported));

  nginx.put("file", content + "more");
  CHECK(get("/file", Span{1000, 5000}, info->version).failed_with(ErrorCode::kChanged));
  CHECK(get("/file", Span{}, info->version).failed_with(ErrorCode::kChanged));
  CHECK(client.open_connections() <= 2);
}
