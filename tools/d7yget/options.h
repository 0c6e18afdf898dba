// What the command line asks for.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace d7yget {

// Access to origins that are not http, as it stands on the command line; empty: not given.
struct SourceAccess {
  std::string region, endpoint, access_key_id, access_key_secret, session_token, security_token;
  std::string credential_path, predefined_acl, hdfs_delegation_token;
  bool insecure_skip_verify = false;
  struct Hub {
    std::string revision, token, base_url;
  };
  Hub hugging_face, model_scope;
};

enum class DaemonUse { kAuto, kNever, kRequire };

struct Options {
  std::vector<std::string> urls;
  std::string output;  // a file, a folder, or "-" for stdout
  DaemonUse daemon = DaemonUse::kAuto;
  std::string endpoint = "/var/run/dragonfly/dfdaemon.sock";
  std::vector<std::string> schedulers;

  bool transfer_from_daemon = false;
  bool overwrite = false, force_hard_link = false, recursive = false, disable_back_to_source = false;
  bool no_progress = false, json = false, quiet = false, insecure = false;
  std::string content_for_task_id, digest, application, tag, range, ca_cert;
  std::uint64_t piece_length = 0, limit_rate = 0;
  std::uint64_t timeout_ms = 2ULL * 3600 * 1000;
  std::vector<std::string> filtered_query_params, headers, include_files;
  SourceAccess source;
  int priority = 6;
  unsigned max_files = 100, max_concurrent_requests = 5;
  std::string log_level = "warn";

  bool to_stdout() const { return output == "-"; }
};

// Reads the command line. On --help, --version or a mistake it prints and exits with 0 or 2.
Options parse_command_line(int argc, char** argv);

}  // namespace d7yget
