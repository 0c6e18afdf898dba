#include <doctest/doctest.h>

#include "proxy/exchange.h"
#include "proxy/instructions.h"

using namespace d7y;

TEST_CASE("the headers of Dragonfly are read whatever their case") {
  auto said = proxy::Instructions::read({{"x-dragonfly-tag", "t"},
                                         {"X-Dragonfly-Application", "a"},
                                         {"X-DRAGONFLY-PRIORITY", "5"},
                                         {"X-Dragonfly-Filtered-Query-Params", "a, b,,c "},
                                         {"X-Dragonfly-Use-P2P", "TRUE"},
                                         {"X-Dragonfly-Piece-Length", "8MiB"},
                                         {"X-Dragonfly-Enable-Task-ID-Based-Blob-Digest", "false"}});
  REQUIRE(said.ok());
  CHECK(said->tag == "t");
  CHECK(said->application == "a");
  CHECK(said->priority == 5U);
  CHECK(*said->filtered_query_params == std::vector<std::string>{"a", "b", "c"});
  CHECK(said->use_p2p == true);
  CHECK(said->blob_digest_ids == false);
  CHECK(said->piece_length == std::uint64_t{8} << 20);
  CHECK_FALSE(said->prefetch.has_value());
}

TEST_CASE("a wrong value is refused by its header's name") {
  const http::Headers wrong[] = {{{"X-Dragonfly-Priority", "7"}},
                                 {{"X-Dragonfly-Priority", "-1"}},
                                 {{"X-Dragonfly-Use-P2P", "yes"}},
                                 {{"X-Dragonfly-Piece-Length", "big"}}};
  for (const auto& headers : wrong) {
    auto said = proxy::Instructions::read(headers);
    REQUIRE_FALSE(said.ok());
    CHECK(said.error().message().find(headers.begin()->name) != std::string::npos);
    CHECK(said.error().status() == 400);
  }
}

TEST_CASE("what goes on is neither ours nor of this connection") {
  auto out = proxy::forwarded({{"Host", "x"},
                               {"X-Dragonfly-Tag", "t"},
                               {"Connection", "close, X-Hop"},
                               {"X-Hop", "1"},
                               {"Proxy-Authorization", "Basic x"},
                               {"Content-Length", "5"},
                               {"Authorization", "Bearer x"},
                               {"Accept", "a/b"}});
  CHECK(out == http::Headers{{"Authorization", "Bearer x"}, {"Accept", "a/b"}});
}

TEST_CASE("only headers that hold no secrets may be told to others") {
  auto shared = proxy::divide({{"Accept", "a/b"},
                               {"accept", "c/d"},
                               {"User-Agent", "containerd/2"},
                               {"Authorization", "Bearer x"},
                               {"Cookie", "c=1"},
                               {"X-Registry-Auth", "x"},
                               {"Docker-Distribution-API-Version", "registry/2.0"},  // Podman, CRI-O
                               {"Want-Digest", "SHA-256"},                           // aria2
                               {"Range", "bytes=0-1"},
                               {"Traceparent", "00-1"},
                               {"If-None-Match", "*"}});
  CHECK(shared.open == std::map<std::string, std::string>{{"Accept", "a/b"},
                                                          {"Docker-Distribution-API-Version", "registry/2.0"},
                                                          {"User-Agent", "containerd/2"},
                                                          {"Want-Digest", "SHA-256"},
                                                          {"accept", "c/d"}});
  CHECK(shared.secret ==
        http::Headers{{"Authorization", "Bearer x"}, {"Cookie", "c=1"}, {"X-Registry-Auth", "x"}});
}

TEST_CASE("the log shows targets as they came, without what authorises") {
  CHECK(proxy::shown_target("/v2/a/blobs/sha256:1?ns=ghcr.io") == "/v2/a/blobs/sha256:1?ns=ghcr.io");
  CHECK(proxy::shown_target("/f?X-Amz-Signature=abc&x=1") == "/f?X-Amz-Signature=...&x=1");
  CHECK(proxy::shown_target("http://u:p@h.test/f?token=abc").find("abc") == std::string::npos);
  CHECK(proxy::shown_target("http://u:p@h.test/f").find("p@") == std::string::npos);
  CHECK(proxy::shown_target("h.test:443") == "h.test:443");
  CHECK(proxy::shown_target("/" + std::string(100'000, 'a')).size() < 2100);
}

TEST_CASE("errors are told in the form of the API that was asked") {
  auto json = proxy::explain("/v2/app/tags/list", 404, "no \"such\" thing");
  CHECK(json.content_type == "application/json");
  CHECK(json.body == "{\"errors\":[{\"code\":\"NAME_UNKNOWN\",\"message\":\"no \\\"such\\\" thing\"}]}\n");
  CHECK(proxy::explain("/v2/app/blobs/sha256:1", 404, "no").body.find("BLOB_UNKNOWN") != std::string::npos);
  CHECK(proxy::explain("/v2/app/manifests/v1", 404, "no").body.find("MANIFEST_UNKNOWN") != std::string::npos);
  CHECK(proxy::explain("/files/blobs/1", 404, "no such thing").body == "no such thing\n");
  CHECK(proxy::status_of(error(ErrorCode::kTimeout, "")) == 504);
  CHECK(proxy::status_of(error(ErrorCode::kRefused, "")) == 502);
  CHECK(proxy::status_of(error(ErrorCode::kUnauthenticated, "").with_status(401)) == 401);
  CHECK(proxy::status_of(error(ErrorCode::kUnauthenticated, "").with_status(407)) == 502);
}
