#include "common/printable.h"

#include <doctest/doctest.h>

using namespace tools;

TEST_CASE("what a terminal would obey is not printed") {
  CHECK(printable("a b.bin") == "a b.bin");
  CHECK(printable("caf\xc3\xa9 \xe6\x96\x87") == "caf\xc3\xa9 \xe6\x96\x87");
  CHECK(printable("\x1b[31mred\x07\r\n") == "?[31mred???");
  CHECK(printable("c1 \xc2\x9b"
                  "31m") == "c1 ?31m");
  CHECK(printable("\xe2\x80\xaetxt.exe") == "?txt.exe");
  CHECK(printable("latin \xe9, cut \xe6\x96") == "latin ?, cut ??");
}

TEST_CASE("text is cut between characters, by columns") {
  const std::string text = "a\xc3\xa9\xe6\x96\x87\xe5\xad\x97z";  // columns: 1, 1, 2, 2, 1
  CHECK(columns_of(text) == 7);
  CHECK(first_columns(text, 100) == text);
  CHECK(first_columns(text, 0).empty());
  CHECK(first_columns(text, 2) == "a\xc3\xa9");
  CHECK(first_columns(text, 3) == "a\xc3\xa9");
  CHECK(first_columns(text, 4) == "a\xc3\xa9\xe6\x96\x87");
  CHECK(last_columns(text, 100) == text);
  CHECK(last_columns(text, 1) == "z");
  CHECK(last_columns(text, 2) == "z");
  CHECK(last_columns(text, 3) == "\xe5\xad\x97z");
  CHECK(columns_of("e\xcc\x81") == 1);
}
