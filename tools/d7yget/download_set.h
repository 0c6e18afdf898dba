// Runs the downloads of one command, some at a time, and reports each as it ends.
#pragma once

#include <d7y/d7y.h>

#include <functional>
#include <string>
#include <vector>

#include "options.h"
#include "outcome.h"

namespace d7yget {

struct Wish {
  std::string url;
  std::string output;  // "-" for stdout
};

// Whether bytes go to `output` as they come, because it is stdout, a pipe or a device: nothing can take its
// name's place when all is there.
bool is_stream(const std::string& output);

// True once somebody asked the program to stop.
using Interrupted = std::function<bool()>;

// What is to be fetched: the URLs of the command line, or everything below them with --recursive.
// Fails with a message.
struct Plan {
  std::vector<Wish> wishes;
  d7y_code code = D7Y_OK;
  std::string message;
};
Plan make_plan(d7y_node* node, const Options& options);

// Downloads everything in `wishes`; fewer at once where an origin says that it gets too many requests.
struct Ends {
  std::vector<Outcome> outcomes;  // in the order of their ends
  int unprinted = 0;              // errno of what kept --json's lines from standard output
};
Ends run_downloads(d7y_node* node, const Options& options, std::vector<Wish> wishes,
                   const Interrupted& interrupted);

}  // namespace d7yget
