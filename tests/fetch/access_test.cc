#include "fetch/access.h"

#include <doctest/doctest.h>

using namespace d7y;
using fetch::Access;
using fetch::Accesses;

namespace {
Access token(const char* value) { return {"http://origin/x", {{"Authorization", value}}}; }
}  // namespace

TEST_CASE("whose credentials end is stood in for by who came last and is still here") {
  Accesses accesses(token("first"));
  accesses.add(token("first"));
  accesses.add(token("second"));
  auto third = accesses.add(token("third"));
  auto fourth = accesses.add(token("fourth"));
  accesses.remove(fourth);
  auto turn = accesses.turn();
  CHECK(accesses.now() == token("first"));
  CHECK(accesses.refused(turn));
  CHECK(accesses.now() == token("third"));
  CHECK(accesses.refused(turn));  // a second request's answer to the same
  CHECK(accesses.now() == token("third"));
  accesses.remove(third);
  CHECK(accesses.now() == token("third"));  // what is in use goes on being used
  CHECK(accesses.refused(accesses.turn()));
  CHECK(accesses.now() == token("second"));
  CHECK_FALSE(accesses.refused(accesses.turn()));
}

TEST_CASE("refused credentials are not tried twice, whoever brings them") {
  Accesses accesses(token("old"));
  CHECK_FALSE(accesses.refused(accesses.turn()));
  accesses.add(token("old"));
  CHECK_FALSE(accesses.refused(accesses.turn()));
  accesses.add(token("new"));
  CHECK(accesses.refused(accesses.turn()));
  CHECK(accesses.now() == token("new"));
}
