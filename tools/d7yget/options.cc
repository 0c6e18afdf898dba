#include "options.h"

#include <d7y/version.h>

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <iostream>

#include "../common/printing.h"
#include "../common/quantity.h"
#include "outcome.h"

namespace d7yget {
namespace {

constexpr const char* kFooter = R"(Examples:
  d7yget https://example.com/model.bin -O model.bin
  d7yget https://example.com/a.tar.zst -O - | tar --zstd -x
  d7yget --digest sha256:<hex> --limit-rate 20MiB https://example.com/x -O x
  d7yget -r https://example.com/dataset/ -O dataset/

Exit status: 0 done; 1 other failure; 2 wrong usage; 3 not found; 4 not allowed; 5 network or server
unreachable; 6 timed out; 7 bytes do not match digest or length; 8 output exists; 9 disk full or
failing; 10 content changed meanwhile; 11 too many requests, try later; 12 no daemon (with
--daemon=require); 130 interrupted.)";

// Options of origins that are not http, under dfget's names.
void add_source_options(CLI::App& app, SourceAccess& source) {
  auto add = [&app](const char* name, std::string& value, const char* env, const char* text) {
    app.add_option(name, value, text)
        ->envname(std::string("DFGET_") + env)
        ->group("Origins that are not http (read by the daemon)");
  };
  add("--storage-region", source.region, "STORAGE_REGION", "s3: region of the bucket");
  add("--storage-endpoint", source.endpoint, "STORAGE_ENDPOINT", "Object stores: address of the service");
  add("--storage-access-key-id", source.access_key_id, "STORAGE_ACCESS_KEY_ID", "Object stores: who asks");
  add("--storage-access-key-secret", source.access_key_secret, "STORAGE_ACCESS_KEY_SECRET",
      "Object stores: the key's secret; better given by the variable than on the command line");
  add("--storage-session-token", source.session_token, "STORAGE_SESSION_TOKEN", "s3: token of a session");
  add("--storage-security-token", source.security_token, "STORAGE_SECURITY_TOKEN", "oss: security token");
  add("--storage-credential-path", source.credential_path, "STORAGE_CREDENTIAL_PATH",
      "gs: file with credentials on the daemon's machine");
  add("--storage-predefined-acl", source.predefined_acl, "STORAGE_PREDEFINED_ACL", "gs: predefined rights");
  app.add_flag("--storage-insecure-skip-verify", source.insecure_skip_verify,
               "Object stores: take any certificate")
      ->envname("DFGET_STORAGE_INSECURE_SKIP_VERIFY")
      ->group("Origins that are not http (read by the daemon)");
  add("--hdfs-delegation-token", source.hdfs_delegation_token, "HDFS_DELEGATION_TOKEN",
      "hdfs: delegation token");
  add("--hf-revision", source.hugging_face.revision, "HF_REVISION", "hf: revision [main]");
  add("--hf-token", source.hugging_face.token, "HF_TOKEN", "hf: access token");
  add("--hf-base-url", source.hugging_face.base_url, "HF_BASE_URL", "hf: another hub's URL");
  add("--ms-revision", source.model_scope.revision, "MS_REVISION", "modelscope: revision [master]");
  add("--ms-token", source.model_scope.token, "MS_TOKEN", "modelscope: access token");
  add("--ms-base-url", source.model_scope.base_url, "MS_BASE_URL", "modelscope: another hub's URL");
}

void check(const Options& options) {
  auto wrong = [](const std::string& why) { throw CLI::ValidationError(why); };
  // Not the parser's "required": that would be told before an option that does not exist.
  if (options.urls.empty()) wrong("URL is required: what is to be downloaded?");
  if (options.output.empty()) wrong("-O/--output is needed: a file, a folder, or - for stdout");
  if (options.to_stdout() && options.urls.size() != 1) wrong("-O - takes one URL");
  if (options.to_stdout() && options.recursive) wrong("-O - does not go with --recursive");
  if (options.to_stdout() && options.json) wrong("-O - does not go with --json: both write to stdout");
  if (!options.digest.empty() && (options.urls.size() != 1 || options.recursive))
    wrong("--digest takes one URL");
  if (!options.digest.empty() && !options.range.empty()) {
    wrong("--digest is of the whole content and does not go with --range");
  }
  if (options.piece_length != 0 && options.piece_length < (4U << 20))
    wrong("--piece-length must be at least 4MiB");
}

}  // namespace

Options parse_command_line(int argc, char** argv) {
  Options options;
  CLI::App app{"Downloads files, from peers where possible and from their origin where not.", "d7yget"};
  app.footer(kFooter);
  app.set_version_flag("-V,--version", std::string("d7yget ") + d7y_version());
  app.option_defaults()->always_capture_default(false);
  // May be given again, with one value each time: else "-H 'A: b' URL" would take the URL for a header.
  auto repeatable = [](CLI::Option* option) { return option->allow_extra_args(false); };
  auto env = [](CLI::Option* option, const char* name) {
    return option->envname(std::string("DFGET_") + name);
  };

  app.add_option("URL", options.urls,
                 "What to download: http, https or file; several are fetched side by side");
  app.add_option(
      "-O,--output", options.output,
      "Output file, folder (ends in / or exists), or - for stdout, in order, as for a pipe or /dev/null");
  std::string daemon = "auto";
  env(app.add_option("--daemon", daemon,
                     "auto: use the local daemon if it runs, else download in this process; never; require")
          ->check(CLI::IsMember({"auto", "never", "require"})),
      "DAEMON");
  app.add_option("-e,--endpoint", options.endpoint,
                 "Socket of the local daemon [/var/run/dragonfly/dfdaemon.sock]");
  env(repeatable(app.add_option("--scheduler", options.schedulers,
                                "host:port of a scheduler for downloads without a daemon; repeatable")),
      "SCHEDULER");
  env(app.add_flag("--transfer-from-dfdaemon", options.transfer_from_daemon,
                   "Write the output here instead of letting the daemon link it"),
      "TRANSFER_FROM_DFDAEMON");
  env(app.add_flag("--overwrite", options.overwrite, "Replace an existing output"), "OVERWRITE");
  env(app.add_flag("--force-hard-link", options.force_hard_link,
                   "Fail rather than copy when the output cannot be a hard link"),
      "FORCE_HARD_LINK");
  app.add_flag("-r,--recursive", options.recursive, "Download everything below a folder URL");
  env(app.add_flag("--disable-back-to-source", options.disable_back_to_source,
                   "Peers only, never the origin"),
      "DISABLE_BACK_TO_SOURCE");
  std::string timeout = "2h", piece_length, limit_rate;
  env(app.add_option("--timeout", timeout, "Give up after this time, whatever was reached [2h]"), "TIMEOUT");
  app.add_option("--digest", options.digest,
                 "Expected digest, algorithm:hex (md5, sha1, sha256, sha512) or crc32:decimal");
  app.add_option("--range", options.range, "Only these bytes: 0-99, 100- or -100");
  env(app.add_option("--limit-rate", limit_rate, "At most this many bytes per second, like 20MiB"),
      "LIMIT_RATE");
  repeatable(app.add_option("-H,--header", options.headers,
                            "Request header for the origin, \"Name: value\"; repeatable"));
  repeatable(app.add_option("--filtered-query-param", options.filtered_query_params,
                            "Query parameter that does not tell contents apart; repeatable, replaces the "
                            "default list of signature parameters"));
  env(app.add_option("--tag", options.tag, "Part of the content's identity among peers"), "TAG");
  env(app.add_option("--application", options.application, "Part of the content's identity among peers"),
      "APPLICATION");
  env(app.add_option("--piece-length", piece_length, "Length of pieces, at least 4MiB [by content length]"),
      "PIECE_LENGTH");
  env(app.add_option("--content-for-calculating-task-id", options.content_for_task_id,
                     "Text that identifies the content instead of the URL"),
      "CONTENT_FOR_CALCULATING_TASK_ID");
  env(app.add_option("-p,--priority", options.priority, "0 to 6 [6]")->check(CLI::Range(0, 6)), "PRIORITY");
  repeatable(app.add_option("-I,--include-files", options.include_files,
                            "With -r: only paths that match this glob; repeatable"));
  env(app.add_option("--max-files", options.max_files, "With -r: refuse folders with more files [100]"),
      "MAX_FILES");
  env(app.add_option("--max-concurrent-requests", options.max_concurrent_requests,
                     "Files downloaded side by side [5]")
          ->check(CLI::Range(1, 1000)),
      "MAX_CONCURRENT_REQUESTS");
  env(app.add_option("--ca-cert", options.ca_cert,
                     "PEM file of further authorities for https, without a daemon"),
      "CA_CERT");
  add_source_options(app, options.source);
  app.add_flag("-k,--insecure", options.insecure, "Do not verify https origins, without a daemon");
  env(app.add_flag("--no-progress", options.no_progress, "No progress on stderr"), "NO_PROGRESS");
  app.add_flag("--json", options.json, "Print one JSON object per URL on stdout at its end");
  app.add_flag("-q,--quiet", options.quiet, "Errors only");
  bool console = false;
  env(app.add_option("-l,--log-level", options.log_level,
                     "trace, debug, info, warn or error; of the library's messages on stderr [warn]")
          ->check(CLI::IsMember({"trace", "debug", "info", "warn", "error"})),
      "LOG_LEVEL");
  env(app.add_flag("--console", console, "Show the library's messages from info on"), "CONSOLE");

  try {
    app.parse(argc, argv);
    options.daemon = daemon == "never"     ? DaemonUse::kNever
                     : daemon == "require" ? DaemonUse::kRequire
                                           : DaemonUse::kAuto;
    options.timeout_ms = tools::milliseconds_of(timeout);
    if (!piece_length.empty()) options.piece_length = tools::bytes_of(piece_length);
    if (!limit_rate.empty()) options.limit_rate = tools::bytes_of(limit_rate);
    if (console && options.log_level == "warn") options.log_level = "info";
    check(options);
  } catch (const CLI::Success& success) {
    std::exit(tools::print_help(app, success, "d7yget", exit_status_of(D7Y_EIO)));
  } catch (const CLI::Error& mistake) {
    std::cerr << "d7yget: " << mistake.what() << "\nTry d7yget --help.\n";
    std::exit(2);
  }
  return options;
}

}  // namespace d7yget
