#include "source/file_backend.h"

#include <doctest/doctest.h>

#include "sim/simulation.h"

using namespace d7y;
using namespace d7y::source;
using namespace std::chrono_literals;

namespace {

Task<Result<std::string>> read_all(Backend& backend, std::string url, Span span, Version pinned) {
  Request request;
  request.url = std::move(url);
  CO_TRY(auto body, co_await backend.read(request, span, pinned, Deadline::never()));
  std::string all;
  std::vector<std::byte> buffer(7);
  while (true) {
    auto got = co_await body->read(buffer, Deadline::never());
    if (!got) co_return std::move(got).error();
    if (*got == 0) break;
    all += as_text(Bytes(buffer).first(*got));
  }
  if (body->length() != all.size()) co_return error(ErrorCode::kInternal, "length() lies");
  co_return all;
}

struct Disk {
  Disk() : host(sim.add_host()), backend(host.files()) {
    REQUIRE(host.files().make_folders("/data/sub").ok());
    write("/data/a b", "0123456789");
  }
  void write(const std::string& path, std::string_view content) {
    auto file = host.files().open(path, world::OpenMode::kCreate);
    REQUIRE(file.ok());
    REQUIRE((*file)->resize(0).ok());
    REQUIRE((*file)->write_at(0, as_bytes(content)).ok());
  }
  Result<std::string> read(std::string url, Span span = {}, Version pinned = {}) {
    return sim.run(read_all(backend, std::move(url), span, std::move(pinned)), 10s);
  }
  Result<Info> stat(std::string url) {
    Request request;
    request.url = std::move(url);
    return sim.run(backend.stat(request, Deadline::never()), 10s);
  }

  sim::Simulation sim{1};
  sim::Host& host;
  FileBackend backend;
};

}  // namespace

TEST_CASE("file URLs are paths of this machine") {
  CHECK(path_of_file_url("file:///a/b%20c").value() == "/a/b c");
  CHECK(path_of_file_url("file://localhost/a").value() == "/a");
  CHECK(path_of_file_url("file://elsewhere/a").failed_with(ErrorCode::kInvalid));
  CHECK(path_of_file_url("http://x/").failed_with(ErrorCode::kInvalid));
  CHECK(path_of_file_url("file:///a%00b").failed_with(ErrorCode::kInvalid));
}

TEST_CASE("files are read whole and in parts") {
  Disk disk;
  auto info = disk.stat("file:///data/a%20b");
  REQUIRE(info.ok());
  CHECK(info->length == 10);
  CHECK(info->accepts_ranges);
  CHECK(info->url == "file:///data/a%20b");
  CHECK(disk.read("file:///data/a%20b").value() == "0123456789");
  CHECK(disk.read("file:///data/a%20b", Span{3, 4}, info->version).value() == "3456");
  CHECK(disk.read("file:///data/a%20b", Span{8, 100}).value() == "89");
  CHECK(disk.read("file:///data/a%20b", Span{8, std::nullopt}).value() == "89");
  auto beyond = disk.read("file:///data/a%20b", Span{10, 1});
  CHECK(beyond.failed_with(ErrorCode::kPrecondition));
  CHECK(beyond.error().status() == 416);
  CHECK(beyond.error().details().find("\"status_code\":") != std::string::npos);
  disk.write("/data/empty", "");
  CHECK(disk.read("file:///data/empty").value() == "");
  CHECK(disk.read("file:///none").failed_with(ErrorCode::kNotFound));
  CHECK(disk.read("file:///data/sub").failed_with(ErrorCode::kInvalid));
}

TEST_CASE("a file that changed is noticed, before and while it is read") {
  Disk disk;
  auto info = disk.stat("file:///data/a%20b");
  disk.sim.run_for(1s);
  disk.write("/data/a b", "9876543210");
  CHECK(disk.read("file:///data/a%20b", Span{3, 4}, info->version).failed_with(ErrorCode::kChanged));

  auto during = [](Disk& d) -> Task<Result<void>> {
    Request request;
    request.url = "file:///data/a%20b";
    Span whole;
    Version any;
    CO_TRY(auto body, co_await d.backend.read(request, whole, any, Deadline::never()));
    std::vector<std::byte> buffer(5);
    CO_TRY(auto first, co_await body->read(buffer, Deadline::never()));
    if (first != 5) co_return error(ErrorCode::kInternal, "{} bytes", first);
    co_await sleep_for(1s);
    d.write("/data/a b", "abcdefghij");
    CO_TRY(auto second, co_await body->read(buffer, Deadline::never()));
    co_return error(ErrorCode::kInternal, "{} bytes more", second);
  };
  CHECK(disk.sim.run(during(disk), 10s).failed_with(ErrorCode::kChanged));
}

TEST_CASE("folders are listed") {
  Disk disk;
  CHECK(disk.stat("file:///data")->is_folder);
  Request request;
  request.url = "file:///data/";
  auto entries = disk.sim.run(disk.backend.list(request, Deadline::never()), 10s);
  REQUIRE(entries.ok());
  REQUIRE(entries->size() == 2);
  CHECK((*entries)[0].name == "a b");
  CHECK((*entries)[0].url == "file:///data/a%20b");
  CHECK((*entries)[0].length == 10);
  CHECK((*entries)[1].name == "sub");
  CHECK((*entries)[1].is_folder);
  CHECK((*entries)[1].url == "file:///data/sub/");
}
