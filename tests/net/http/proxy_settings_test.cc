#include "net/http/proxy_settings.h"

#include <doctest/doctest.h>

using namespace d7y;
using namespace d7y::http;

TEST_CASE("proxy settings are read as curl reads them") {
  CHECK(parse_proxy("http://proxy:3128").value() == Proxy{"proxy", 3128, false, ""});
  CHECK(parse_proxy("Proxy.example").value() == Proxy{"proxy.example", 1080, false, ""});
  CHECK(parse_proxy("https://p/").value() == Proxy{"p", 443, true, ""});
  CHECK(parse_proxy("http://[::1]:8080").value() == Proxy{"::1", 8080, false, ""});
  CHECK(parse_proxy("http://us%40er:p%3Aw@p:1").value().authorization == "Basic dXNAZXI6cDp3");
  CHECK(parse_proxy("socks5://p:1").failed_with(ErrorCode::kUnsupported));
  for (auto text : {"", "http://", "http://:80", "p:0", "p:99999", "p:x", "[::1", "a b:80"}) {
    CAPTURE(text);
    CHECK(!parse_proxy(text).ok());
  }
  auto failed = parse_proxy("http://user:secret@:x");
  REQUIRE(!failed.ok());
  CHECK(failed.error().message().find("secret") == std::string::npos);
}

TEST_CASE("no_proxy matches names with their subdomains, addresses and blocks") {
  NoProxy list("localhost, .svc,example.org,10.0.0.0/8 192.168.1.7,fd00::/8,special:8080,*.wild.net");
  CHECK(list.matches("localhost", 80));
  CHECK(list.matches("a.b.svc", 80));
  CHECK(list.matches("svc", 80));
  CHECK(list.matches("EXAMPLE.org", 443));
  CHECK(list.matches("www.example.org.", 443));
  CHECK(!list.matches("notexample.org", 443));
  CHECK(!list.matches("example.org.evil.com", 443));
  CHECK(list.matches("10.1.2.3", 80));
  CHECK(!list.matches("11.1.2.3", 80));
  CHECK(list.matches("192.168.1.7", 80));
  CHECK(!list.matches("192.168.1.8", 80));
  CHECK(list.matches("fd12::1", 80));
  CHECK(list.matches("[fd12::1]", 80));
  CHECK(list.matches("special", 8080));
  CHECK(!list.matches("special", 80));
  CHECK(list.matches("a.wild.net", 80));
  CHECK(NoProxy("*").matches("anything", 1));
  CHECK(!NoProxy("").matches("anything", 1));
  CHECK(!NoProxy("10.0.0.0/99,/8,:80").matches("10.0.0.1", 1));
}

TEST_CASE("each scheme has its proxy, all_proxy stands in") {
  ProxyVariables variables;
  variables.https_proxy = "http://secure:1";
  variables.all_proxy = "http://all:2";
  variables.no_proxy = "direct";
  auto settings = ProxySettings::from_variables(variables).value();
  CHECK(settings.proxy_for("https", "x", 443)->host == "secure");
  CHECK(settings.proxy_for("http", "x", 80)->host == "all");
  CHECK(settings.proxy_for("http", "direct", 80) == nullptr);
  CHECK(ProxySettings().proxy_for("http", "x", 80) == nullptr);
  variables.http_proxy = "http://bad:port";
  CHECK(ProxySettings::from_variables(variables).failed_with(ErrorCode::kInvalid));
}
