// TOML and JSON are edited in place, and changes can be shown and taken back.
#include <doctest/doctest.h>

#include "d7yd/runtime/json_edit.h"
#include "d7yd/runtime/line_diff.h"
#include "d7yd/runtime/refusal.h"
#include "d7yd/runtime/toml.h"

using namespace tools;

namespace {

std::string set(const std::string& text, const toml::Path& table, const std::string& key,
                const std::string& value) {
  auto document = toml::Document::parse(text, "test.toml");
  auto out = toml::set(document, table, key, value);
  auto again = toml::Document::parse(out, "after the edit");  // still TOML, and it says so
  auto path = table;
  path.push_back(key);
  const auto* entry = again.find(path);
  REQUIRE(entry != nullptr);
  CHECK(again.text.substr(entry->value, entry->value_end - entry->value) == value);
  return out;
}

const toml::Path kRegistry = {"plugins", "io.containerd.grpc.v1.cri", "registry"};

}  // namespace

TEST_CASE("a value is replaced where it stands, whatever is around it") {
  CHECK(set("# top\n[a]\n  b = \"old\" # why\n  c = [1, # one\n   2]\n", {"a"}, "b", "\"new\"") ==
        "# top\n[a]\n  b = \"new\" # why\n  c = [1, # one\n   2]\n");
  CHECK(set("a.b = '''x\n]'''\nc=1", {"a"}, "b", "2") == "a.b = 2\nc=1");
  CHECK(set("a = { b = { c = 'x' } } # y\n", {"a", "b"}, "c", "1") == "a = { b = { c = 1 } } # y\n");
}

TEST_CASE("a key is added where its table is written") {
  CHECK(set("[a]\n    b = 1 # x\n# end\n\n[c]\n", {"a"}, "d", "2") ==
        "[a]\n    b = 1 # x\n    d = 2\n# end\n\n[c]\n");
  CHECK(set("  [a.b]", {"a", "b"}, "c", "1") == "  [a.b]\n    c = 1\n");
  CHECK(set("version = 2\n[x]\n", {}, "y", "1") == "version = 2\ny = 1\n[x]\n");
  CHECK(set("a = { b = 1 }\n", {"a"}, "c", "2") == "a = { c = 2, b = 1 }\n");
  CHECK(set("a = {}\n", {"a"}, "c", "2") == "a = { c = 2 }\n");
  CHECK(set("a = { x = 1 }\n", {"a", "b"}, "c", "2") == "a = { b.c = 2, x = 1 }\n");
  CHECK(set("[p]\n  q.r.s = 1\n", {"p", "q", "r"}, "t", "2") == "[p]\n  q.r.t = 2\n  q.r.s = 1\n");
}

TEST_CASE("a table that is not there follows its nearest relative") {
  CHECK(set("version = 2\n\n[plugins]\n  [plugins.\"io.containerd.grpc.v1.cri\"]\n"
            "    [plugins.\"io.containerd.grpc.v1.cri\".cni]\n      bin_dir = \"/x\"\n"
            "  [plugins.\"io.containerd.internal.v1.opt\"]\n    path = \"/y\"\n",
            kRegistry, "config_path", "\"/z\"") ==
        "version = 2\n\n[plugins]\n  [plugins.\"io.containerd.grpc.v1.cri\"]\n"
        "    [plugins.\"io.containerd.grpc.v1.cri\".cni]\n      bin_dir = \"/x\"\n\n"
        "    [plugins.\"io.containerd.grpc.v1.cri\".registry]\n      config_path = \"/z\"\n"
        "  [plugins.\"io.containerd.internal.v1.opt\"]\n    path = \"/y\"\n");
  CHECK(set("version = 2", kRegistry, "config_path", "\"/z\"") ==
        "version = 2\n\n[plugins.\"io.containerd.grpc.v1.cri\".registry]\n  config_path = \"/z\"\n");
  // Tables below it that are written already stay theirs.
  auto text = set("[a.b.c]\nx = 1\n", {"a", "b"}, "y", "2");
  CHECK(text == "[a.b.c]\nx = 1\n\n[a.b]\n  y = 2\n");
}

TEST_CASE("what is not TOML is refused with its line") {
  for (const char* wrong :
       {"a = \n", "a\n", "[a\n", "a = \"x\n", "a = [1, 2\n", "a = { b = 1\n", "a = 'x' y\n", "= 1\n"}) {
    CAPTURE(wrong);
    CHECK_THROWS_WITH_AS(toml::Document::parse(std::string("# ok\n") + wrong, "f"), doctest::Contains("f:"),
                         Refusal);
  }
  std::string deep = "a = " + std::string(100000, '[');
  CHECK_THROWS_AS(toml::Document::parse(deep, "f"), Refusal);
  CHECK_THROWS_AS(toml::set(toml::Document::parse("a = 1\n", "f"), {"a"}, "b", "2"), Refusal);
}

TEST_CASE("texts are read as TOML means them") {
  CHECK(toml::decode_string(R"("a\"\u00e9\t")") == "a\"\xc3\xa9\t");
  CHECK(toml::decode_string(R"('a\n')") == "a\\n");
  CHECK(toml::decode_string("\"\"\"\nx\\\n  y\"\"\"") == "xy");
  CHECK(toml::decode_string("12") == std::nullopt);
  CHECK(toml::decode_strings("[ 'a', # x\n \"b\", ]") == std::vector<std::string>{"a", "b"});
  CHECK(toml::decode_strings("[1]") == std::nullopt);
  CHECK(toml::dotted({"a", "b.c"}) == "a.\"b.c\"");
}

TEST_CASE("JSON keeps its order and indentation") {
  CHECK(json::set("", "f", {"a"}, "1") == "{\n  \"a\": 1\n}\n");
  CHECK(json::set("{\"z\": {\"y\": [\"}\"]}, \"b\":2}", "f", {"a"}, "1") ==
        "{\"z\": {\"y\": [\"}\"]}, \"b\":2, \"a\": 1}");
  CHECK(json::set("{\n\t\"z\": true,\n\t\"p\": {\n\t\t\"no-proxy\": \"x\"\n\t}\n}\n", "f",
                  {"p", "http-proxy"}, "\"u\"") ==
        "{\n\t\"z\": true,\n\t\"p\": {\n\t\t\"no-proxy\": \"x\",\n\t\t\"http-proxy\": \"u\"\n\t}\n}\n");
  CHECK(json::set("{\"a\": \"\\\"x\", \"b\": 1}", "f", {"b"}, "2") == "{\"a\": \"\\\"x\", \"b\": 2}");
  CHECK(json::put_first("{\"m\": [\"x\", \"u\"]}", "f", {"m"}, "u") == "{\"m\": [\"u\", \"x\"]}");
  CHECK(json::put_first("{\"m\": [\"u\",\"x\"]}", "f", {"m"}, "u") == "{\"m\": [\"u\",\"x\"]}");
  CHECK(json::set("\xef\xbb\xbf{\"b\": 2}", "f", {"a"}, "1") == "\xef\xbb\xbf{\"b\": 2, \"a\": 1}");
  CHECK(json::put_first("\xef\xbb\xbf", "f", {"m"}, "u") == "{\n  \"m\": [\"u\"]\n}\n");
  CHECK_THROWS_AS(json::set("[1]", "f", {"a"}, "1"), Refusal);
  CHECK_THROWS_AS(json::set("{\"a\": 1}", "f", {"a", "b"}, "1"), Refusal);
  CHECK_THROWS_WITH_AS(json::set("{,}", "f", {"a"}, "1"), doctest::Contains("f: "), Refusal);
}

TEST_CASE("a diff looks as diff -u prints it") {
  CHECK(unified_diff("/f", "1\n2\n3\n4\n5\n6\n7\n8\n9\n", "1\n2\n3\n4\nfive\n6\n7\n8\n9\nten") ==
        "--- /f\n+++ /f\n@@ -2,8 +2,9 @@\n 2\n 3\n 4\n-5\n+five\n 6\n 7\n 8\n 9\n+ten\n\\ No newline at end "
        "of file\n");
  CHECK(unified_diff("/f", std::nullopt, "a\n") == "--- /dev/null\n+++ /f\n@@ -0,0 +1 @@\n+a\n");
  CHECK(unified_diff("/f", "a\n", std::nullopt) == "--- /f\n+++ /dev/null\n@@ -1 +0,0 @@\n-a\n");
  CHECK(unified_diff("/f", "a\n", "a\n").empty());
}

TEST_CASE("a change is taken back out of a text that others changed") {
  const std::string before = "a\nb\nc\n", after = "a\nours\nb\nC\n";
  CHECK(take_back(before, after, after) == before);
  CHECK(take_back(before, after, "theirs\na\nours\nb\nC\nmore\n") == "theirs\na\nb\nc\nmore\n");
  CHECK(take_back(before, after, "a\nmine\nb\nC\n") == std::nullopt);
  CHECK(take_back("a\n", "a\nx\n", "a\nx\na\nx\n") == std::nullopt);  // which x is it?
}
