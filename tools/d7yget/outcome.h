// How a download ended, as an exit status and as text.
#pragma once

#include <d7y/d7y.h>

#include <string>

namespace d7yget {

// One URL's end.
struct Outcome {
  std::string url, output, task_id;
  d7y_code code = D7Y_OK;
  std::string message;  // empty if all went well
  int status = 0;       // HTTP status of the origin
  bool interrupted = false;
  d7y_progress progress{};
};

// The process's exit status for `outcome`; the table is in --help and the manual page.
int exit_status(const Outcome& outcome);
int exit_status_of(d7y_code code);

// One line of JSON.
std::string as_json(const Outcome& outcome);

// "12.3 MiB" and "1:02:03".
std::string human_bytes(double bytes);
std::string human_time(double seconds);

}  // namespace d7yget
