#include "base/url.h"

#include <doctest/doctest.h>

#include "base/url_host.h"

using namespace d7y;

namespace {

std::string normal(std::string_view text) {
  auto url = Url::parse(text);
  return url ? url->to_string() : "error: " + url.error().message();
}
std::string resolved(std::string_view base, std::string_view reference) {
  auto url = Url::parse(base)->resolve(reference);
  return url ? url->to_string() : "error: " + url.error().message();
}
bool refused(std::string_view text) { return Url::parse(text).failed_with(ErrorCode::kInvalid); }

}  // namespace

TEST_CASE("scheme and host are lower-cased, default ports vanish, dot segments are resolved") {
  CHECK(normal("HTTP://Example.COM:80/a/./b/../c") == "http://example.com/a/c");
  CHECK(normal("https://example.com:443") == "https://example.com/");
  CHECK(normal("https://example.com:8443/") == "https://example.com:8443/");
  CHECK(normal("http://h/%2e/a/%2E%2e/b/..") == "http://h/");
  CHECK(normal("http://h/a/b/.") == "http://h/a/b/");
  CHECK(normal("http://h/../../x") == "http://h/x");
  CHECK(normal("http:\\\\h\\a\\b") == "http://h/a/b");
  CHECK(normal("http:h/a") == "http://h/a");
  CHECK(normal("http:////h/a") == "http://h/a");
  CHECK(normal("  http://h/a\tb\nc  ") == "http://h/abc");
  CHECK(normal("http://h//a///b") == "http://h//a///b");
  CHECK(normal("ftp://h:21/x") == "ftp://h/x");
  CHECK(normal("s3://Bucket/key with space") == "s3://Bucket/key%20with%20space");
  CHECK(normal("hf://owner/name/file") == "hf://owner/name/file");
  CHECK(normal("s3://b") == "s3://b");
}

TEST_CASE("each part is percent-encoded by its own rule and never twice") {
  CHECK(normal("http://h/a b\"<>`{}^|~%zz%20") == "http://h/a%20b%22%3C%3E%60%7B%7D^|~%zz%20");
  CHECK(normal("http://h/?a b'\"<>`{}|") == "http://h/?a%20b%27%22%3C%3E`{}|");
  CHECK(normal("s3://h/?'") == "s3://h/?'");
  CHECK(normal("http://h/#a b`'") == "http://h/#a%20b%60'");
  CHECK(normal("http://h/\xc3\xa4") == "http://h/%C3%A4");
  CHECK(normal("http://u s:p@ss@h/") == "http://u%20s:p%40ss@h/");
  CHECK(normal("http://u:@h/") == "http://u@h/");
  CHECK(normal("http://h?") == "http://h/?");
  CHECK(normal("http://h#") == "http://h/#");
}

TEST_CASE("addresses as hosts take their shortest form") {
  CHECK(normal("http://[2001:DB8:0:0:0:0:0:1]:80/") == "http://[2001:db8::1]/");
  CHECK(normal("http://[::ffff:1.2.3.4]/") == "http://[::ffff:102:304]/");
  CHECK(normal("http://[1:0:2:0:0:3:0:0]/") == "http://[1:0:2::3:0:0]/");
  CHECK(normal("http://[::]/") == "http://[::]/");
  CHECK(normal("http://0x7f.1/") == "http://127.0.0.1/");
  CHECK(normal("http://2130706433/") == "http://127.0.0.1/");
  CHECK(normal("http://127.0.0.010./") == "http://127.0.0.8/");
  CHECK(refused("http://256.1.1.1/"));
  CHECK(refused("http://1.2.3.4.5/"));
  CHECK(refused("http://1.2.3.08/"));
  CHECK(refused("http://[::1"));
  CHECK(refused("http://[::1%25eth0]/"));
  CHECK(refused("http://[1.2.3.4]/"));
}

TEST_CASE("host names in other scripts become punycode") {
  CHECK(normal("http://B\xc3\xbc"
               "cher.de/") == "http://xn--bcher-kva.de/");
  CHECK(normal("http://\xc3\x9c"
               "ber.example/") == "http://xn--ber-goa.example/");
  CHECK(normal("http://XN--Bcher-KVA.de/") == "http://xn--bcher-kva.de/");
  CHECK(normal("http://\xe4\xbe\x8b\xe3\x81\x88.jp/") == "http://xn--r8jz45g.jp/");
  CHECK(normal("http://\xd0\x9f\xd0\xa0.\xd1\x80\xd1\x84/") == "http://xn--o1ac.xn--p1ai/");
  CHECK(normal("http://a\xe3\x80\x82"
               "b/") == "http://a.b/");
  CHECK(normal("http://%65x%61mple/") == "http://example/");
  CHECK(refused("http://\xff/"));
  // RFC 3492 7.1 (I): Russian.
  CHECK(punycode(U"\u043f\u043e\u0447\u0435\u043c\u0443\u0436\u0435\u043e\u043d\u0438\u043d\u0435\u0433\u043e"
                 U"\u0432\u043e\u0440\u044f\u0442\u043f\u043e\u0440\u0443\u0441\u0441\u043a\u0438") ==
        "b1abfaaepdrnnbgefbadotcwatmq2g4l");
}

TEST_CASE("what is no URL is refused with a reason") {
  for (const char* text :
       {"", "example.com", "/a", "http://", "http:///", "http://u@/", "http://h:99999/", "http://h:8a/",
        "http://a b/", "http://a<b/", "http://:80/", "https://%00/", "1http://h/"}) {
    INFO(text);
    CHECK(refused(text));
  }
  CHECK(Url::parse("http://h/" + std::string(70000, 'a')).failed_with(ErrorCode::kTooLarge));
}

TEST_CASE("references are resolved as a browser does") {
  CHECK(resolved("http://a/b/c/d?q#f", "g") == "http://a/b/c/g");
  CHECK(resolved("http://a/b/c/d?q", "../g?x") == "http://a/b/g?x");
  CHECK(resolved("http://a/b/c/d?q", "?y") == "http://a/b/c/d?y");
  CHECK(resolved("http://a/b/c/d?q", "#s") == "http://a/b/c/d?q#s");
  CHECK(resolved("http://a/b/c/d?q", "") == "http://a/b/c/d?q");
  CHECK(resolved("http://a/b/c/d", "/x/./y") == "http://a/x/y");
  CHECK(resolved("https://u:p@a/b", "//h/y") == "https://h/y");
  CHECK(resolved("https://u:p@a/b", "c") == "https://u:p@a/c");
  CHECK(resolved("http://a/b", "https://C/d") == "https://c/d");
  CHECK(resolved("http://a/b", "http:d") == "http://a/d");
  CHECK(resolved("file:///x/y", "z") == "file:///x/z");
  CHECK(resolved("http://a", "b") == "http://a/b");
  CHECK(resolved("http://a/b/", "..") == "http://a/");
}

TEST_CASE("parts of a URL") {
  auto url = *Url::parse("https://us:pw@[::1]:8443/a/b?x=1#frag");
  CHECK(url.scheme() == "https");
  CHECK(url.username() == "us");
  CHECK(url.password() == "pw");
  CHECK(url.host() == "[::1]");
  CHECK(url.hostname() == "::1");
  CHECK(url.port_or_default() == 8443);
  CHECK(url.origin() == "https://[::1]:8443");
  CHECK(url.authority() == "[::1]:8443");
  CHECK(url.request_target() == "/a/b?x=1");
  CHECK(Url::parse("http://h")->port_or_default() == 80);
  CHECK(Url::parse("data:x")->origin() == "null");
  CHECK(normal("file:///a/b") == "file:///a/b");
  CHECK(normal("file://localhost/a") == "file:///a");
  CHECK(Url::parse("file:/a")->host() == "");
  CHECK(normal("file:/a") == "file:///a");
  url.set_path("new path");
  CHECK(url.request_target() == "/new%20path?x=1");
}

TEST_CASE("forms decode and encode as browsers do") {
  const auto pairs = form_decode("a=b%20c&&a=+%2B&flag&=v&x=%c3%28%zz&y=%e2%82");
  REQUIRE(pairs.size() == 6);
  CHECK(pairs[0] == std::pair<std::string, std::string>("a", "b c"));
  CHECK(pairs[1].second == " +");
  CHECK(pairs[2] == std::pair<std::string, std::string>("flag", ""));
  CHECK(pairs[3].first.empty());
  CHECK(pairs[4].second == "\xef\xbf\xbd(%zz");
  CHECK(pairs[5].second == "\xef\xbf\xbd");
  CHECK(form_encode({{"a b", "*-._~/\xc3\xa4"}, {"flag", ""}}) == "a+b=*-._%7E%2F%C3%A4&flag=");
  CHECK(percent_encode("a/b c~") == "a%2Fb%20c~");
  CHECK(percent_decode("%41%4") == "A%4");
}

TEST_CASE("what is shown of a URL has no secrets") {
  const auto shown = [](std::string_view text) { return Url::parse(text)->redacted(); };
  CHECK(shown("https://user:hunter2@h/a#t") == "https://h/a");
  CHECK(shown("https://h/a?x=1&X-Amz-Signature=abc&TOKEN=t") ==
        "https://h/a?x=1&X-Amz-Signature=***&TOKEN=***");
  CHECK(shown("https://h/a?x=b%20c&ns=docker.io") == "https://h/a?x=b%20c&ns=docker.io");
}
