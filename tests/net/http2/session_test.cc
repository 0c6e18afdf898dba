// The HTTP/2 session as a pure object: bytes in, bytes out.
#include "net/http2/session.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "frames.h"

using namespace d7y;
using namespace d7y::http2;
using namespace d7y::test;

namespace {

struct TestStream final : Stream {
  std::string fields, data, log;
  bool hungry = true;  // consumes at once
  bool closed = false, processed = true;
  H2Error code = H2Error::kNone;

  void on_field(std::string_view name, std::string_view value) override {
    fields.append(name).append("=").append(value).append("\n");
  }
  void on_fields_end(FieldsKind kind) override { log.push_back("QIRT"[static_cast<int>(kind)]); }
  void on_data(Bytes bytes) override {
    data.append(as_text(bytes));
    if (hungry) consume(bytes.size());
  }
  void on_end() override { log.push_back('E'); }
  void on_close(H2Error why, bool seen) override {
    closed = true;
    code = why;
    processed = seen;
    log.push_back('C');
  }
};

struct Side final : Events {
  explicit Side(bool server, SessionOptions options = {}) : session(with(server, options), *this) {}
  static SessionOptions with(bool server, SessionOptions options) {
    options.server = server;
    return options;
  }
  Stream* on_new_stream() override {
    streams.push_back(std::make_unique<TestStream>());
    return refuse ? nullptr : streams.back().get();
  }
  void on_goaway(std::int32_t last, H2Error code, std::string_view debug) override {
    goaway = std::to_string(last) + " " + std::string(name_of(code)) + " " + std::string(debug);
  }
  void on_ping() override { ++pings; }
  void on_remote_reset() override { ++resets; }
  void on_output() override { ++outputs; }

  bool refuse = false;
  int pings = 0, resets = 0, outputs = 0;
  std::string goaway;
  std::vector<std::unique_ptr<TestStream>> streams;  // of a server
  Session session;
};

const Field kRequest[] = {
    {":method", "POST", true}, {":scheme", "http"}, {":path", "/x"}, {":authority", "a"}};
const Field kResponse[] = {{":status", "200", true}};
const Field kTrailer[] = {{"grpc-status", "0", true}};

// A client and a server with a wire between them that remembers what went over it.
struct Pair {
  explicit Pair(SessionOptions options = {}) : client(false, options), server(true, options) {}
  ~Pair() {
    client.session.drop_streams(H2Error::kCancel, true);
    server.session.drop_streams(H2Error::kCancel, true);
  }

  // Lets everything flow until both are silent; true if both sides took all of it.
  bool settle() {
    bool good = true;
    for (;;) {
      auto up = pull_all(client.session);
      auto down = pull_all(server.session);
      if (up.empty() && down.empty()) return good;
      good = server.session.receive(as_bytes(up)).ok() && client.session.receive(as_bytes(down)).ok() && good;
      for (auto& one : take_frames(up)) to_server.push_back(std::move(one));
      for (auto& one : take_frames(down)) to_client.push_back(std::move(one));
    }
  }
  TestStream& request(TestStream& stream, bool body = true) {
    client.session.request(stream, kRequest, body);
    return stream;
  }

  Side client, server;
  std::vector<Frame> to_server, to_client;
};

std::vector<std::string> kinds(const std::vector<Frame>& frames, std::uint32_t stream) {
  std::vector<std::string> kinds;
  for (const auto& one : frames) {
    if (one.stream != stream) continue;
    static const char* kNames[] = {"DATA", "HEADERS", "PRIORITY", "RST",    "SETTINGS",
                                   "PUSH", "PING",    "GOAWAY",   "WINDOW", "CONT"};
    kinds.push_back(std::string(kNames[one.type]) + (one.type < 2 && one.ends() ? "+END" : "") +
                    (one.type == kRstStream ? " " + std::to_string(one.code()) : ""));
  }
  return kinds;
}

// A server alone, spoken to in frames made by hand.
struct Bare {
  explicit Bare(SessionOptions options = {}) : server(true, options) {
    CHECK(say(std::string(kPreface) + frame(kSettings, 0, 0, "")));
    take_frames(heard);
  }
  ~Bare() { server.session.drop_streams(H2Error::kCancel, true); }
  bool say(const std::string& bytes) {
    bool good = server.session.receive(as_bytes(bytes)).ok();
    heard += pull_all(server.session);
    return good;
  }
  // The GOAWAY it has sent: its code, or -1.
  int ended_with() {
    for (auto& one : take_frames(heard)) {
      if (one.type == kGoaway) last_goaway = static_cast<int>(one.code());
    }
    return last_goaway;
  }
  int last_goaway = -1;
  Side server;
  std::string heard;
};

// :method POST, :scheme http, :path / from HPACK's static table, and :authority a, which is not indexed.
const std::string kShortRequest(
    "\x83\x86\x84\x01\x01"
    "a");

}  // namespace

TEST_CASE("a request and its answer arrive with all events in order") {
  Pair pair;
  TestStream stream;
  pair.request(stream);
  stream.send(as_bytes("hello"));
  stream.finish();
  CHECK(pair.settle());
  REQUIRE(pair.server.streams.size() == 1);
  auto& served = *pair.server.streams[0];
  CHECK(served.fields.find(":path=/x") != std::string::npos);
  CHECK(served.data == "hello");
  CHECK(served.log == "QE");
  pair.server.session.respond(served, kResponse, true);
  served.send(as_bytes("world"));
  served.finish(kTrailer);
  CHECK(pair.settle());
  CHECK(stream.data == "world");
  CHECK(stream.log == "RTEC");
  CHECK(stream.code == H2Error::kNone);
  CHECK(served.log == "QEC");
  CHECK(pair.client.session.open_streams() == 0);
  CHECK(pair.server.session.open_streams() == 0);
}

TEST_CASE("trailers on a stream whose request is open are followed by RST_STREAM(NO_ERROR), in this order") {
  Pair pair;
  TestStream stream;
  pair.request(stream);
  stream.send(as_bytes("more to come"));
  CHECK(pair.settle());
  auto& served = *pair.server.streams[0];
  pair.server.session.respond(served, kResponse, true);
  served.send(as_bytes("answer"));
  served.finish(kTrailer);
  CHECK(pair.settle());
  CHECK(kinds(pair.to_client, 1) == std::vector<std::string>{"HEADERS", "DATA", "HEADERS+END", "RST 0"});
  CHECK(stream.data == "answer");
  CHECK(stream.fields.find("grpc-status=0") != std::string::npos);
  CHECK(stream.log == "RTEC");
  CHECK(stream.code == H2Error::kNone);
}

TEST_CASE("the same with an answer of one header list and nothing else") {
  Pair pair;
  TestStream stream;
  pair.request(stream);
  CHECK(pair.settle());
  pair.server.session.respond(*pair.server.streams[0], kResponse, false);
  CHECK(pair.settle());
  CHECK(kinds(pair.to_client, 1) == std::vector<std::string>{"HEADERS+END", "RST 0"});
}

TEST_CASE("the RST_STREAM waits behind trailers that flow control holds back") {
  SessionOptions options;
  options.stream_window = 70'000;
  Pair pair(options);
  TestStream stream;
  stream.hungry = false;
  pair.request(stream);
  CHECK(pair.settle());
  auto& served = *pair.server.streams[0];
  pair.server.session.respond(served, kResponse, true);
  served.send(std::string(100'000, 'x'));
  served.finish(kTrailer);
  CHECK(pair.settle());
  auto early = kinds(pair.to_client, 1);
  CHECK(std::count(early.begin(), early.end(), "RST 0") == 0);
  CHECK(stream.data.size() == 70'000);
  stream.consume(70'000);
  CHECK(pair.settle());
  CHECK(stream.data.size() == 100'000);
  auto late = kinds(pair.to_client, 1);
  REQUIRE(late.size() > 2);
  CHECK(late[late.size() - 2] == "HEADERS+END");
  CHECK(late.back() == "RST 0");
}

TEST_CASE("no RST_STREAM where the request had ended") {
  Pair pair;
  TestStream stream;
  pair.request(stream, false);
  CHECK(pair.settle());
  pair.server.session.respond(*pair.server.streams[0], kResponse, false);
  CHECK(pair.settle());
  CHECK(kinds(pair.to_client, 1) == std::vector<std::string>{"HEADERS+END"});
}

TEST_CASE("the window of a stream nobody reads stays shut while others flow") {
  SessionOptions options;
  options.stream_window = 100'000;
  options.connection_window = 1'000'000;
  Pair pair(options);
  TestStream slow, quick;
  pair.request(slow);
  CHECK(pair.settle());
  pair.server.streams[0]->hungry = false;
  slow.send(std::string(500'000, 's'));
  CHECK(pair.settle());
  CHECK(pair.server.streams[0]->data.size() == 100'000);
  CHECK(pair.server.session.unread() == 100'000);
  pair.request(quick);
  quick.send(std::string(5'000'000, 'q'));
  CHECK(pair.settle());
  CHECK(pair.server.streams[1]->data.size() == 5'000'000);
  pair.server.streams[0]->consume(60'000);
  CHECK(pair.settle());
  CHECK(pair.server.streams[0]->data.size() == 160'000);
}

TEST_CASE("bytes unread in all streams together are bounded by the connection's window") {
  SessionOptions options;
  options.stream_window = 100'000;
  options.connection_window = 250'000;
  Pair pair(options);
  std::vector<std::unique_ptr<TestStream>> streams;
  for (int i = 0; i < 20; ++i) {
    streams.push_back(std::make_unique<TestStream>());
    pair.request(*streams.back());
  }
  CHECK(pair.settle());
  for (auto& served : pair.server.streams) served->hungry = false;
  for (auto& stream : streams) stream->send(std::string(100'000, 'x'));
  CHECK(pair.settle());
  CHECK(pair.server.session.unread() <= 2 * 250'000);
  CHECK(pair.server.session.unread() >= 250'000);
  // Reading frees the connection again, and so does a stream that goes away unread.
  for (std::size_t i = 0; i < 10; ++i) pair.server.streams[i]->consume(100'000);
  for (std::size_t i = 0; i < 10; ++i) streams[i]->reset(H2Error::kCancel);
  CHECK(pair.settle());
  for (std::size_t i = 10; i < 20; ++i) {
    pair.server.streams[i]->hungry = true;
    pair.server.streams[i]->consume(100'000);
  }
  CHECK(pair.settle());
  for (std::size_t i = 10; i < 20; ++i) CHECK(pair.server.streams[i]->data.size() == 100'000);
  CHECK(pair.server.session.unread() == 0);
}

TEST_CASE("destroying a stream's object resets it and leaves the session whole") {
  Pair pair;
  auto stream = std::make_unique<TestStream>();
  pair.request(*stream);
  stream->send(std::string(1'000'000, 'x'));
  CHECK(pair.settle());
  stream.reset();
  CHECK(pair.settle());
  CHECK(pair.server.streams[0]->closed);
  CHECK(pair.server.streams[0]->code == H2Error::kCancel);
  CHECK(pair.server.resets == 1);
  TestStream next;
  pair.request(next, false);
  CHECK(pair.settle());
  CHECK(pair.server.streams.size() == 2);
}

TEST_CASE("a stream destroyed while a frame of it is half pulled takes the frame along") {
  Pair pair;
  auto stream = std::make_unique<TestStream>();
  pair.request(*stream);
  CHECK(pair.settle());
  stream->send(std::string(1'000'000, 'x'));
  Output output;
  REQUIRE(pair.client.session.pull(output, 40'000).ok());  // stops inside the DATA
  CHECK(output.size() >= 40'000);
  stream.reset();
  std::string wire;
  while (!output.empty()) {
    Bytes parts[8];
    auto count = output.gather(parts);
    std::size_t size = 0;
    for (std::size_t i = 0; i < count; ++i) {
      wire.append(as_text(parts[i]));
      size += parts[i].size();
    }
    output.advance(size);
  }
  wire += pull_all(pair.client.session);
  CHECK(pair.server.session.receive(as_bytes(wire)).ok());
  CHECK(pair.server.streams[0]->closed);
  CHECK(pair.settle());
}

TEST_CASE("streams beyond a GOAWAY are closed as never processed") {
  Pair pair;
  TestStream first, second;
  pair.request(first);
  CHECK(pair.settle());
  pair.server.session.goaway(H2Error::kNone, "bye");
  auto down = pull_all(pair.server.session);
  pair.request(second);
  auto up = pull_all(pair.client.session);
  CHECK(pair.client.session.receive(as_bytes(down)).ok());
  CHECK(pair.server.session.receive(as_bytes(up)).ok());
  CHECK(pair.settle());
  CHECK(pair.client.goaway == "1 NO_ERROR bye");
  CHECK(second.closed);
  CHECK(!second.processed);
  CHECK(!first.closed);
  // A request after that is told the same.
  TestStream third;
  pair.request(third);
  CHECK(pair.settle());
  CHECK(third.closed);
  CHECK(!third.processed);
  // The session is done when its last stream is.
  auto& served = *pair.server.streams[0];
  pair.server.session.respond(served, kResponse, false);
  CHECK(pair.settle());
  CHECK(first.closed);
  CHECK(pair.client.session.finished());
  CHECK(pair.server.session.finished());
}

TEST_CASE("a refused stream is closed as never processed") {
  Pair pair;
  CHECK(pair.settle());
  pair.server.refuse = true;
  TestStream stream;
  pair.request(stream);
  CHECK(pair.settle());
  CHECK(stream.closed);
  CHECK(!stream.processed);
}

TEST_CASE("big bodies are not copied: the output refers to them") {
  Pair pair;
  TestStream stream;
  pair.request(stream);
  CHECK(pair.settle());
  auto big = std::make_shared<const std::string>(std::string(100'000, 'x'));
  stream.send(big);
  Output output;
  REQUIRE(pair.client.session.pull(output, 1u << 20).ok());
  Bytes parts[64];
  auto count = output.gather(parts);
  std::size_t inside = 0;
  for (std::size_t i = 0; i < count; ++i) {
    auto* at = reinterpret_cast<const char*>(parts[i].data());
    if (at >= big->data() && at < big->data() + big->size()) inside += parts[i].size();
  }
  CHECK(inside >= 65'535 - 100);  // the first window
}

TEST_CASE("a list of header fields over the limit is cut and marked") {
  SessionOptions options;
  options.max_header_list = 2000;
  Pair pair(options);
  TestStream stream;
  std::string value(3000, 'v');
  const Field fields[] = {
      {":method", "POST"}, {":scheme", "http"}, {":path", "/"}, {"x-long", value}, {"x-more", "m"}};
  pair.client.session.request(stream, fields, false);
  CHECK(pair.settle());
  REQUIRE(pair.server.streams.size() == 1);
  CHECK(pair.server.streams[0]->fields_too_large());
  CHECK(pair.server.streams[0]->fields.find("x-more") == std::string::npos);
}

TEST_CASE("an HPACK bomb is cut off") {
  SessionOptions options;
  options.max_header_list = 16'384;
  Bare bare(options);
  // One literal of 4000 bytes into the dynamic table, then thousands of references to it, one byte each.
  std::string value(3900, 'b');
  std::string block = kShortRequest +
                      "\x40\x01"
                      "a"
                      "\x7f" +
                      be(0, 0);
  block += std::string("\xbd\x1d", 2) + value;  // 127 + 3773 = 3900
  block += std::string(10'000, '\xbe');
  bare.say(frame(kHeaders, kEndHeaders | kEndStream, 1, block));
  REQUIRE(bare.server.streams.size() == 1);
  CHECK(bare.server.streams[0]->fields_too_large());
  CHECK(bare.server.streams[0]->fields.size() < 20'000);
  CHECK(bare.server.streams[0]->closed);
  CHECK(bare.ended_with() == -1);
}

TEST_CASE("a flood of CONTINUATION frames ends the connection") {
  Bare bare;
  std::string flood = frame(kHeaders, 0, 1, kShortRequest);
  for (int i = 0; i < 1000; ++i) flood += frame(kContinuation, 0, 1, "");
  bool survived = bare.say(flood);
  CHECK((!survived || bare.server.session.finished()));
}

TEST_CASE("a flood of empty DATA frames ends the connection with ENHANCE_YOUR_CALM") {
  Bare bare;
  bare.say(frame(kHeaders, kEndHeaders, 1, kShortRequest));
  std::string flood;
  for (int i = 0; i < 1100; ++i) flood += frame(kData, 0, 1, "");
  bare.say(flood);
  CHECK(bare.ended_with() == static_cast<int>(H2Error::kEnhanceYourCalm));
}

TEST_CASE("a few empty DATA frames among full ones do no harm") {
  Bare bare;
  bare.say(frame(kHeaders, kEndHeaders, 1, kShortRequest));
  for (int i = 0; i < 3000; ++i) bare.say(frame(kData, 0, 1, "") + frame(kData, 0, 1, "x"));
  CHECK(bare.ended_with() == -1);
  CHECK(bare.server.streams[0]->data.size() == 3000);
}

TEST_CASE("floods of PING and SETTINGS do not grow the memory of a session that cannot write") {
  for (auto flood : {frame(kPing, 0, 0, "12345678"), frame(kSettings, 0, 0, "")}) {
    Bare bare;
    std::string batch;
    for (int i = 0; i < 100; ++i) batch += flood;
    bool alive = true;
    int batches = 0;
    for (; alive && batches < 1000; ++batches) alive = bare.server.session.receive(as_bytes(batch)).ok();
    CHECK(!alive);
    CHECK(batches < 20);
  }
}

TEST_CASE("broken frames by the hundred end the connection") {
  Bare bare;
  std::string flood;
  // Each opens a stream with a header name in upper case, which is a stream error.
  for (std::uint32_t i = 0; i < 200; ++i) {
    flood += frame(kHeaders, kEndHeaders | kEndStream, 2 * i + 1,
                   kShortRequest + std::string("\x00\x01"
                                               "A\x01x",
                                               5));
  }
  bare.say(flood);
  CHECK(bare.ended_with() == static_cast<int>(H2Error::kEnhanceYourCalm));
}

TEST_CASE("garbage instead of the preface is an error that says so") {
  Side server(true);
  auto taken = server.session.receive(as_bytes("GET / HTTP/1.1\r\nHost: x\r\n\r\n"));
  CHECK(taken.failed_with(ErrorCode::kProtocol));
}

TEST_CASE("PRIORITY for stream 0 is a connection error") {
  Bare bare;
  bare.say(frame(kPriority, 0, 0, std::string(5, '\0')));
  CHECK(bare.ended_with() == static_cast<int>(H2Error::kProtocol));
}

TEST_CASE("sessions survive being cut at every byte") {
  Pair pair;
  TestStream stream;
  pair.request(stream);
  stream.send(as_bytes("hello"));
  stream.finish();
  std::string up = pull_all(pair.client.session);
  for (char byte : up) REQUIRE(pair.server.session.receive(as_bytes(std::string_view(&byte, 1))).ok());
  REQUIRE(pair.server.streams.size() == 1);
  CHECK(pair.server.streams[0]->data == "hello");
  CHECK(pair.server.streams[0]->log == "QE");
}

TEST_CASE("Output hands out copies and references in the order they came") {
  Output output;
  auto big = std::make_shared<const std::string>("BIG");
  output.append(as_bytes("one"));
  output.append(as_bytes("two"));
  output.append(big, as_bytes(std::string_view(*big)));
  output.append(as_bytes("three"));
  CHECK(output.size() == 14);
  std::string all;
  while (!output.empty()) {
    Bytes parts[2];
    auto count = output.gather(parts);
    CHECK(count >= 1);
    all.append(as_text(parts[0]).substr(0, 2));
    output.advance(std::min<std::size_t>(2, parts[0].size()));
  }
  CHECK(all == "onetwoBIGthree");
  CHECK(big.use_count() == 1);
}
