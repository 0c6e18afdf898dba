#include <doctest/doctest.h>

#include "proxy/registries.h"

using namespace d7y;

namespace {

proxy::Registries make(std::string standard = "https://index.docker.io") {
  auto made = proxy::Registries::make(
      std::move(standard),
      {{.name = "reg.local:5000", .address = "http://10.0.0.9:5000"}, {.name = "quay.io"}});
  REQUIRE_MESSAGE(made.ok(), made.error().message());
  return std::move(*made);
}

std::string found(const proxy::Registries& registries, std::string_view target, std::string_view header = {},
                  std::string_view port = {}) {
  auto target_found = registries.find(target, header, port);
  return target_found ? target_found->url.to_string() : "error: " + target_found.error().message();
}

}  // namespace

TEST_CASE("the header wins over ns, ns over the port, the port over the path, all over the default") {
  auto all = make();
  CHECK(found(all, "/v2/a/b/manifests/1?ns=x.test", "https://h.test", "quay.io") ==
        "https://h.test/v2/a/b/manifests/1");
  CHECK(found(all, "/v2/a/b/manifests/1?ns=x.test", "", "quay.io") == "https://x.test/v2/a/b/manifests/1");
  CHECK(found(all, "/v2/a/b/manifests/1", "", "quay.io") == "https://quay.io/v2/a/b/manifests/1");
  CHECK(found(all, "/v2/quay.io/b/manifests/1") == "https://quay.io/v2/b/manifests/1");
  CHECK(found(all, "/v2/reg.local:5000/b/manifests/1") == "http://10.0.0.9:5000/v2/b/manifests/1");
  CHECK(found(all, "/v2/a/b/manifests/1") == "https://registry-1.docker.io/v2/a/b/manifests/1");
}

TEST_CASE("ns is a registry's name as its user typed it, and does not go on") {
  auto all = make();
  CHECK(found(all, "/v2/l/x/blobs/sha256:1?ns=docker.io") ==
        "https://registry-1.docker.io/v2/l/x/blobs/sha256:1");
  CHECK(found(all, "/v2/x/tags/list?n=5&ns=ghcr.io&last=a%2Fb") ==
        "https://ghcr.io/v2/x/tags/list?n=5&last=a%2Fb");
  CHECK(found(all, "/v2/?ns=reg.local:5000") == "http://10.0.0.9:5000/v2/");
  CHECK(found(all, "/v2/?ns=reg.local%3A5000") == "http://10.0.0.9:5000/v2/");
  CHECK(found(all, "/v2/?ns=http://plain.test:81") == "http://plain.test:81/v2/");
  CHECK(found(all, "/v2/x?nsx=1") == "https://registry-1.docker.io/v2/x?nsx=1");
}

TEST_CASE("this machine's own registries are asked without TLS, as runtimes do") {
  CHECK(*proxy::registry_address("localhost:5000") == "http://localhost:5000");
  CHECK(*proxy::registry_address("127.0.0.1:5000") == "http://127.0.0.1:5000");
  CHECK(*proxy::registry_address("[::1]:5000") == "http://[::1]:5000");
  CHECK(*proxy::registry_address("localhost:443") == "https://localhost");
  CHECK(*proxy::registry_address("10.1.1.1:5000") == "https://10.1.1.1:5000");
  CHECK(*proxy::registry_address("https://localhost:5000") == "https://localhost:5000");
}

TEST_CASE("addresses keep a path of their own and lose what they must not have") {
  CHECK(*proxy::registry_address("https://harbor.test/proxy/") == "https://harbor.test/proxy");
  CHECK(*proxy::registry_address("https://index.docker.io") == "https://registry-1.docker.io");
  for (auto bad : {"ftp://x.test", "https://user:pw@x.test", "https://x.test/?q=1", "x.test/path", "", "a b",
                   "x#y", "http://"})
    CHECK_MESSAGE(!proxy::registry_address(bad).ok(), bad);
}

TEST_CASE("a request that cannot be placed is refused") {
  auto all = make("");
  CHECK(found(all, "/v2/a/b/manifests/1").find("which registry") != std::string::npos);
  CHECK(found(all, "/v2/a?ns=ftp://x").starts_with("error: parameter ns"));
  CHECK(found(all, "/v2/a", "nonsense://").starts_with("error: header X-Dragonfly-Registry"));
  CHECK_FALSE(proxy::Registries::make("ftp://x", {}).ok());
  CHECK_FALSE(proxy::Registries::make("", {{.name = ""}}).ok());
}

TEST_CASE("dot segments are resolved before anything looks at the path") {
  CHECK(found(make(), "/v2/a/../../x") == "https://registry-1.docker.io/x");
}

TEST_CASE("the repository is what stands before the kind of thing") {
  CHECK(proxy::repository_in("/v2/library/alpine/blobs/sha256:ab") == "library/alpine");
  CHECK(proxy::repository_in("/v2/a/manifests/latest") == "a");
  CHECK(proxy::repository_in("/v2/blobs/blobs/blobs/sha256:ab") == "blobs/blobs");
  CHECK(proxy::repository_in("/v2/").empty());
  CHECK(proxy::repository_in("/x/blobs/y").empty());
}

TEST_CASE("targets of the registry API are known as paths and as URLs") {
  for (auto yes : {"/v2/", "/v2/a/blobs/1?ns=x", "http://reg.test/v2/a", "https://reg.test:5/v2/"})
    CHECK_MESSAGE(proxy::is_registry_path(yes), yes);
  for (auto no :
       {"", "/", "/v2", "/v1/a", "http://reg.test", "http://v2/", "/x?u=http://y/v2/", "host:443", "v2/"})
    CHECK_MESSAGE(!proxy::is_registry_path(no), no);
}

TEST_CASE("a target without a slash does not become part of the registry's name") {
  auto all = make();
  for (const char* target : {"@evil.test/v2/", ".evil.test/v2/", ":81/v2/", "", "v2/"})
    CHECK(found(all, target).starts_with("error: "));
}
