// A simulated HTTP/1.1 origin that serves content, counts what it served, and misbehaves on demand.
//
//   sim::Origin origin(host);                                    // port 80
//   auto& file = origin.serve("/model.bin", sim::random_bytes(64_MiB));
//   file.faults.push_back({.status = 503, .retry_after = 2, .count = 3});
//   file.faults.push_back({.reset_after = 1_MiB, .probability = 0.1, .count = sim::kAlways});
//   ... download origin.url("/model.bin") ...
//   CHECK(origin.body_bytes() <= 64_MiB * 1.02);
//
// Its text handling is as small as a test allows; it shares nothing with the code under test.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "sim/host.h"

namespace d7y::sim {

constexpr std::uint64_t kAlways = ~std::uint64_t{0};

// How answers to a file's requests go wrong. The first fault that applies is used.
struct OriginFault {
  int status = 0;                            // answers this instead (403, 404, 416, 429, 503 ...)
  std::optional<int> retry_after;            // seconds, with `status`
  std::string body;                          // with `status`
  std::optional<std::uint64_t> reset_after;  // RST after so many bytes of the body
  std::optional<std::uint64_t> close_after;  // FIN after so many bytes of the body
  std::optional<std::uint64_t> stall_after;  // silence after so many bytes of the body
  Duration delay{};                          // before the answer begins
  bool refuse_range = false;                 // answers 400 where the range ends beyond the content
  bool ignore_range = false;                 // answers 200 with everything
  std::int64_t wrong_length = 0;             // added to Content-Length; the body keeps its real length
  std::int64_t wrong_range = 0;              // added to the first byte of Content-Range and of what is sent
  std::optional<std::uint64_t> flip_at;      // a bit of the content's byte at this offset is wrong
  bool garbage = false;                      // the answer is not HTTP
  std::string method;                        // only for this method; empty: any
  std::uint64_t after = 0;                   // lets so many matching requests pass first
  double probability = 1;
  std::uint64_t count = 1;  // applies so many times
};

struct OriginFile {
  enum class Framing : std::uint8_t { kLength, kChunked, kUntilClose };

  std::shared_ptr<const std::string> content;
  std::string etag = "\"v1\"";  // empty: none
  std::string last_modified = "Mon, 02 Jan 2023 10:00:00 GMT";
  std::string content_type = "application/octet-stream";
  bool ranges = true;  // understands Range, and says so
  bool head = true;    // answers HEAD; else 405
  Framing framing = Framing::kLength;
  std::string authorization;  // wants exactly this header, else 401
  std::string location;       // redirects there with `status`
  int status = 302;
  std::string other_etag;        // of every other answer, as if there were two machines
  std::size_t most_answers = 0;  // under way at once, further requests get 503; 0: no limit
  std::uint64_t rate = 0;        // bytes per second of each answer; 0: as fast as the network
  std::vector<OriginFault> faults;

  // All that `content` ever was, the latest last.
  std::vector<std::shared_ptr<const std::string>> versions;

  // Replaces the content, and the tag so that anybody can see it. Answers under way keep the old one.
  void change(std::string bytes, std::string new_etag);

  std::uint64_t requests = 0, body_bytes = 0;
  std::shared_ptr<std::size_t> answers = std::make_shared<std::size_t>(0);  // under way
};

struct OriginRequest {
  std::string method, target, range;
  std::map<std::string, std::string> headers;  // names in lower case
  std::string client;                          // its IP
  int status = 0;                              // answered
};

class Origin {
 public:
  // Serves on all of `host`'s addresses from now on, as one of its tasks.
  explicit Origin(Host& host, std::uint16_t port = 80);
  ~Origin();

  OriginFile& serve(const std::string& path, std::string content);
  OriginFile& file(const std::string& path) { return files_.at(path); }
  std::string url(const std::string& path) const;        // by the host's address
  std::string named_url(const std::string& path) const;  // by the host's name
  const std::string& bytes(const std::string& path) const { return *files_.at(path).content; }

  // After the host was restarted.
  void start();

  std::uint64_t requests() const { return log_.size(); }
  std::uint64_t requests(const std::string& method) const;
  std::uint64_t body_bytes() const { return body_bytes_; }  // written to sockets, all files
  std::uint64_t connections() const { return connections_; }
  std::size_t open_connections() const { return open_; }
  std::size_t most_connections() const { return most_; }  // open at the same time
  const std::vector<OriginRequest>& log() const { return log_; }
  Host& host() { return host_; }

 private:
  Task<void> listen();
  Task<void> converse(std::unique_ptr<world::Stream> stream);
  Task<Result<bool>> answer(world::Stream& stream, OriginRequest request);

  Host& host_;
  std::uint16_t port_;
  Random random_;
  std::map<std::string, OriginFile> files_;
  std::vector<OriginRequest> log_;
  std::uint64_t body_bytes_ = 0, connections_ = 0;
  std::size_t open_ = 0, most_ = 0;
};

}  // namespace d7y::sim
