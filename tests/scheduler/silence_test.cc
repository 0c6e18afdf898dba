// Hosts that stand still, and how the scheduler finds out.
#include <doctest/doctest.h>

#include "scheduler/script.h"

namespace d7y::scheduler {
namespace {

// "h0" reads the origin, "h1" and "h2" get a piece from it, and then nothing comes.
void begin(Script& s, bool listening) {
  s.hosts("h", 4);
  s.add("h0", {}, listens);
  s.source_started("h0-p");
  for (const std::string name : {"h1", "h2"}) {
    s.add(name, {}, listening ? listens : nullptr);
    s.started(name + "-p");
    s.piece(name + "-p", 0, "h0-p");
  }
}

}  // namespace

TEST_CASE("a reader that does not answer is replaced by one of its children, and comes back") {
  Script s;
  begin(s, true);
  s.pass(3500ms);
  REQUIRE(s.questions.size() == 1);
  CHECK(s.count("source") == 1);
  s.answered("h0", false);
  CHECK(s.task_record().roots == 0);
  CHECK(s.task_record().readers == 0);
  s.pass(2s);
  CHECK(s.count("source") == 2);  // one of them
  s.pass(10s);
  CHECK(s.count("source") == 2);
  s.add("h3");
  CHECK(!has(s.last("h3-p").parents, "h0-p"));
  s.brain.piece_finished(s["h0-p"], "", {}, s.now);
  s.settle();
  CHECK(s.task_record().roots == 1);
  CHECK(s.task_record().readers == 2);
}

TEST_CASE("a reader that answers is waited for, and asked again") {
  Script s;
  begin(s, true);
  for (std::size_t i = 1; i <= 5; ++i) {
    s.pass(4s);
    REQUIRE(s.questions.size() >= i);
    s.answered("h0", true);
  }
  CHECK(s.count("source") == 1);
}

TEST_CASE("nobody is asked anything as long as pieces come, or when nobody would know of the answer") {
  Script s;
  begin(s, true);
  for (std::uint32_t i = 1; i < 20; ++i) {
    s.pass(1s);
    s.piece("h1-p", i, "h0-p");
  }
  CHECK(s.questions.empty());
  Script deaf;
  begin(deaf, false);
  deaf.pass(20s);
  CHECK(deaf.questions.empty());
  deaf.lost("h2-p");
  deaf.reschedule("h1-p");  // it waits, and does know
  deaf.pass(1s);
  REQUIRE(deaf.questions.size() == 1);
  deaf.answered("h0", false);
  CHECK(deaf.kind("h1-p") == "source");
}

TEST_CASE("a seed that does not answer is not asked for anything until it says something") {
  Script s;
  s.host("s1", true);
  s.hosts("h", 3);
  s.add("h0", {}, listens);
  REQUIRE(s.triggers.size() == 1);
  s.pass(3s);
  s.answered("s1", false);
  s.pass(1s);
  CHECK(s.kind("h0-p") == "source");
  s.task = "another";
  s.add("h1", {}, listens);
  CHECK(s.kind("h1-p") == "source");
  CHECK(s.triggers.size() == 1);
  s.host("s1", true);  // it announces itself
  s.task = "a third";
  s.add("h2", {}, listens);
  CHECK(s.triggers.size() == 2);
}

TEST_CASE("children of a complete peer that does not answer are offered another") {
  BrainOptions options;
  options.candidate_parents = 1;
  Script s(options);
  s.hosts("h", 4);
  s.replica("h0");
  s.add("h1", {}, listens);
  s.started("h1-p");
  s.piece("h1-p", 0, "h0-p");
  s.replica("h2");
  s.pass(20s);
  REQUIRE(!s.questions.empty());
  for (const auto& question : s.questions)
    s.brain.host_answered(question.host, question.question,
                          s.brain.host(question.host)->facts.hostname != "h0", s.now);
  s.settle();
  s.answers.clear();
  s.pass(1s);
  CHECK(s.last("h1-p").parents == std::vector<std::string>{"h2-p"});
}

}  // namespace d7y::scheduler
