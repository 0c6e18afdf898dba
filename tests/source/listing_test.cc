#include "source/listing.h"

#include <doctest/doctest.h>

using namespace d7y;
using namespace d7y::source;

namespace {

std::vector<std::string> names(std::string_view type, std::string_view text) {
  auto entries = parse_listing(http::parse_http_url("http://h:81/dir/").value(), type, text);
  REQUIRE(entries.ok());
  std::vector<std::string> all;
  for (const auto& entry : *entries) {
    all.push_back(entry.name + (entry.is_folder ? "/" : "") +
                  (entry.length ? fmt::format("={}", *entry.length) : ""));
    CHECK(entry.url.starts_with("http://h:81/dir/"));
  }
  return all;
}

using Names = std::vector<std::string>;

}  // namespace

TEST_CASE("nginx's, Apache's and Python's pages are understood") {
  CHECK(
      names(
          "text/html",
          "<html>\r\n<head><title>Index of /dir/</title></head>\r\n<body>\r\n<h1>Index of /dir/</h1><hr><pre>"
          "<a href=\"../\">../</a>\r\n<a href=\"sub/\">sub/</a>   01-Jan-2026 00:00   -\r\n"
          "<a href=\"a%20b.bin\">a b.bin</a>  01-Jan-2026 00:00  5\r\n</pre><hr></body>\r\n</html>\r\n") ==
      Names{"sub/", "a b.bin"});
  CHECK(
      names(
          "text/html;charset=UTF-8",
          "<title>Index of /dir</title><A class=x HREF=\"?C=N;O=D\">Name</A><a href=\"/\">Parent</a>"
          "<a href=\"x&amp;y.txt\">x&amp;y.txt</a><a href='quoted'>q</a><a href=\"x&amp;y.txt\">again</a>") ==
      Names{"x&y.txt", "quoted"});
  CHECK(names("text/html; charset=utf-8",
              "<title>Directory listing for /dir/</title><ul><li><a href=\"caf%C3%A9\">x</a></li></ul>") ==
        Names{"caf\xc3\xa9"});
}

TEST_CASE("rclone's and webfs' pages, whose title is their path, are understood") {
  CHECK(names("text/html; charset=utf-8",
              "<title>/dir</title><h1><a href=\"\">/</a></h1><a href=\"?sort=name&order=asc\">Name</a>"
              "<a href=\"..\">up</a><span class=\"name\"><a href=\"sub/\">sub/</a></span>"
              "<span class=\"name\"><a href=\"100%25.txt\">100%.txt</a></span>") ==
        Names{"sub/", "100%.txt"});
  CHECK(names("text/html",
              "<head><title>h:81/dir/</title></head><h1>listing: <a href=\"/\">/</a>"
              "<a href=\"/dir/\">dir/</a></h1><a href=\"q'uote%22s\">q'uote\"s</a>"
              "<a href=\"x&y<z>.txt\">x&y<z>.txt</a>") == Names{"q'uote\"s", "x&y<z>.txt"});
  const auto root = http::parse_http_url("http://h/").value();
  CHECK(parse_listing(root, "text/html", "<title>\n/ </title><a href=\"x\">x</a>")->size() == 1);
  CHECK(!parse_listing(root, "text/html", "<title>Home</title><a href=\"x\">x</a>").ok());
  CHECK(!parse_listing(root, "text/html", "<title>").ok());
}

TEST_CASE("JSON listings of nginx and Caddy carry sizes") {
  CHECK(names("application/json",
              R"([{"name":"sub","type":"directory","mtime":"x"},{"name":"a b","type":"file","size":5}])") ==
        Names{"sub/", "a b=5"});
  CHECK(
      names(
          "application/json; charset=utf-8",
          R"([{"name":"sub/","size":4096,"url":"./sub/","is_dir":true},{"name":"f","size":7,"url":"./f","is_dir":false}])") ==
      Names{"sub/", "f=7"});
}

TEST_CASE("links that lead elsewhere or would escape a folder are left out") {
  CHECK(
      names(
          "text/html",
          "<title>Index of /dir/</title><a href=\"http://evil/dir/x\">1</a><a href=\"//h:82/dir/x\">2</a>"
          "<a href=\"/other\">3</a><a href=\"deep/er\">4</a><a href=\"%2e%2e%2f%2e%2e%2fetc\">5</a>"
          "<a href=\"..%2fx\">6</a><a href=\"a%00b\">7</a><a href=\"javascript:x\">8</a><a href=\"./\">9</a>"
          "<a href=\"\">10</a><a href=>11</a><a href=\"fine\">12</a><a href=\"unclosed") == Names{"fine"});
  CHECK(names("application/json",
              R"([{"name":".."},{"name":"../x"},{"name":"a/b"},{"name":""},{"name":"fine"}])") ==
        Names{"fine"});
}

TEST_CASE("a page that is no listing is not mistaken for one") {
  const auto page = http::parse_http_url("http://h/dir/").value();
  for (auto [type, text] :
       {std::pair{"text/html", "<h1>Welcome</h1><a href=\"x\">x</a>"}, std::pair{"text/plain", "index of "},
        std::pair{"application/json", "{}"}, std::pair{"application/json", "[1]"},
        std::pair{"application/json", "[{\"name\":1}]"}, std::pair{"application/json", "["}}) {
    CAPTURE(text);
    CHECK(parse_listing(page, type, text).failed_with(ErrorCode::kUnsupported));
  }
  CHECK(parse_listing(page, "application/json", std::string(1'000'000, '['))
            .failed_with(ErrorCode::kUnsupported));
  const auto deep = "[{\"name\":\"a\",\"x\":" + std::string(1000, '[') + std::string(1000, ']') + "}]";
  CHECK(parse_listing(page, "application/json", deep)->size() == 1);
}
