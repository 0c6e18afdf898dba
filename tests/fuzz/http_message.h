// HTTP/1.1 messages out of arbitrary bytes: fed at once and byte by byte they give the same head, the same
// body and the same rest, or both are refused.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <string>

#include "net/http/codec.h"

namespace d7y::http {

struct Parsed {
  bool ok = true, head = false, complete = false;
  std::string start, body;
  Headers headers, trailers;
  Framing framing = Framing::kNone;
  std::uint64_t length = 0;
  bool keep = false, switches = false;
  std::size_t used = 0;
};

inline void must(bool holds) {
  if (!holds) std::abort();
}

inline Parsed parse(MessageReader::Kind kind, Bytes input, std::size_t step, std::string_view answers) {
  Limits limits;
  limits.head_bytes = 2048;
  limits.header_count = 16;
  limits.target_bytes = 512;
  limits.overhead_bytes = 512;
  MessageReader reader(kind, limits);
  reader.begin(answers);
  Parsed parsed;
  while (!reader.head_complete() && parsed.used < input.size()) {
    const auto piece = input.subspan(parsed.used, std::min(step, input.size() - parsed.used));
    const auto used = reader.feed_head(piece);
    if (!used) {
      parsed.ok = false;
      return parsed;
    }
    must(*used <= piece.size());
    must(*used == piece.size() || reader.head_complete());
    parsed.used += *used;
  }
  if (!reader.head_complete()) return parsed;
  parsed.head = true;
  if (kind == MessageReader::Kind::kRequest) {
    parsed.start = reader.request().method + " " + reader.request().target;
    parsed.headers = reader.request().headers;
  } else {
    parsed.start = fmt::format("{} {}", reader.response().status, reader.response().reason);
    parsed.headers = reader.response().headers;
  }
  // What was accepted can be sent on without changing its meaning.
  must(check_headers(parsed.headers).ok());
  must(parsed.headers.size() <= limits.header_count);
  parsed.framing = reader.framing();
  parsed.length = reader.content_length();
  parsed.keep = reader.keep_alive();
  parsed.switches = reader.switches_protocol();
  if (parsed.framing != Framing::kChunked) return parsed;
  while (!reader.body_complete() && parsed.used < input.size()) {
    std::string piece(as_text(input.subspan(parsed.used, std::min(step, input.size() - parsed.used))));
    const auto got = reader.decode(as_bytes(piece), as_mutable_bytes(piece));
    if (!got) {
      parsed.ok = false;
      return parsed;
    }
    must(got->consumed > 0 && got->consumed <= piece.size() && got->produced <= got->consumed);
    parsed.used += got->consumed;
    parsed.body.append(piece, 0, got->produced);
  }
  parsed.complete = reader.body_complete();
  parsed.trailers = reader.trailers();
  return parsed;
}

inline void compare(MessageReader::Kind kind, Bytes input, std::string_view answers) {
  const auto whole = parse(kind, input, std::max<std::size_t>(input.size(), 1), answers);
  const auto bytewise = parse(kind, input, 1, answers);
  must(whole.head == bytewise.head);
  if (!whole.head) {
    must(whole.ok == bytewise.ok);  // with several faults in it, which is seen first may differ
    return;
  }
  must(whole.start == bytewise.start && whole.headers == bytewise.headers);
  must(whole.framing == bytewise.framing && whole.length == bytewise.length);
  must(whole.keep == bytewise.keep && whole.switches == bytewise.switches);
  // Bytewise the proportion of framing to data is looked at more often.
  must(whole.ok || !bytewise.ok);
  if (!whole.ok || !bytewise.ok) return;
  must(whole.used == bytewise.used && whole.body == bytewise.body && whole.complete == bytewise.complete);
  must(!whole.complete || whole.trailers == bytewise.trailers);
}

}  // namespace d7y::http
