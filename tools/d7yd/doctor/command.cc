#include "command.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <iostream>
#include <nlohmann/json.hpp>

#include "../../common/printing.h"
#include "../runtime/refusal.h"
#include "examination.h"

namespace tools::doctor {

namespace {

const char* word_for(State state) {
  switch (state) {
    case State::kGood: return "ok";
    case State::kHint: return "hint";
    case State::kProblem: return "problem";
  }
  return "";
}

void print_json(const Examination& examination) {
  nlohmann::ordered_json out;
  out["ok"] = !examination.problems();
  out["findings"] = nlohmann::ordered_json::array();
  for (const auto& finding : examination.findings())
    out["findings"].push_back({{"state", word_for(finding.state)},
                               {"check", finding.check},
                               {"what", finding.what},
                               {"fix", finding.fix}});
  std::cout << out.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) << "\n";
}

void print_text(const Examination& examination) {
  std::size_t problems = 0, hints = 0;
  for (const auto& finding : examination.findings()) {
    problems += finding.state == State::kProblem;
    hints += finding.state == State::kHint;
    std::cout << fmt::format("{:8} {:13} {}\n", word_for(finding.state), finding.check, finding.what);
    if (!finding.fix.empty()) std::cout << fmt::format("{:22} -> {}\n", "", finding.fix);
  }
  std::cout << fmt::format("{} problem{}, {} hint{}\n", problems, problems == 1 ? "" : "s", hints,
                           hints == 1 ? "" : "s");
}

}  // namespace

int run(int argc, char** argv) {
  std::string config = "/etc/dragonfly/dfdaemon.yaml", root;
  bool json = false;
  CLI::App app{"Finds what keeps downloads and pulls from going through d7yd, and says how to put it right.",
               "d7yd doctor"};
  app.add_option("-c,--config", config, "Path of dfdaemon.yaml [/etc/dragonfly/dfdaemon.yaml]")
      ->envname("DFDAEMON_CONFIG");
  app.add_option("--root", root, "Folder where the host's / is seen, for the files of container runtimes");
  app.add_flag("--json", json, "Print one JSON object instead of text");
  app.footer("Changes nothing. Exit status: 0 no problem (there may be hints); 1 problems; 2 wrong usage.");
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& success) {
    return print_help(app, success, "d7yd doctor", kFailed);
  } catch (const CLI::Error& mistake) {
    std::cerr << "d7yd doctor: " << mistake.what() << "\nTry d7yd doctor --help.\n";
    return kUsage;
  }
  try {
    Examination examination(config, root);
    examination.run();
    if (json)
      print_json(examination);
    else
      print_text(examination);
    return status_once_printed("d7yd doctor", examination.problems() ? kFailed : kDone, kFailed);
  } catch (const std::exception& failure) {
    std::cerr << "d7yd doctor: " << failure.what() << "\n";
    return kFailed;
  }
}

}  // namespace tools::doctor
