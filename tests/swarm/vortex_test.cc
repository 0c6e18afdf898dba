#include "swarm/vortex.h"

#include <doctest/doctest.h>

using namespace d7y;
using namespace d7y::swarm;
using namespace d7y::swarm::vortex;

namespace {

const std::string kTask(64, 'a');

std::string unhex(std::string_view hex) {
  std::string out;
  auto digit = [](char c) { return c <= '9' ? c - '0' : c - 'a' + 10; };
  std::string digits;
  for (char c : hex) {
    if (c != ' ') digits.push_back(c);
  }
  for (std::size_t i = 0; i + 1 < digits.size(); i += 2) {
    out.push_back(static_cast<char>(digit(digits[i]) * 16 + digit(digits[i + 1])));
  }
  return out;
}

Result<std::vector<Request>> read_requests(std::string_view bytes, std::size_t step = 1 << 20) {
  RequestReader reader;
  std::vector<Request> out;
  while (!bytes.empty()) {
    auto part = bytes.substr(0, step);
    TRY_OK(reader.feed(as_bytes(part), out));
    bytes.remove_prefix(part.size());
  }
  if (reader.partial()) return error(ErrorCode::kReset, "partial");
  return out;
}

// Reads answers and drops the raw bytes behind them.
Result<std::vector<Answer>> read_answers(std::string_view bytes, std::size_t step = 1 << 20) {
  AnswerReader reader;
  std::vector<Answer> out;
  while (!bytes.empty()) {
    auto part = bytes.substr(0, step);
    if (reader.body_left() > 0) {
      auto skip = std::min<std::uint64_t>(reader.body_left(), part.size());
      reader.took_body(skip);
      bytes.remove_prefix(skip);
      continue;
    }
    TRY(auto got, reader.feed(as_bytes(part)));
    bytes.remove_prefix(got.taken);
    if (got.answer) out.push_back(std::move(*got.answer));
  }
  if (reader.partial()) return error(ErrorCode::kReset, "partial");
  return out;
}

PieceContent content() {
  PieceContent content;
  content.number = 3;
  content.offset = 12582912;
  content.length = 5;
  content.digest = "crc32:1475635037";
  content.cost = 2;
  content.created = 1'700'000'000;
  return content;
}

}  // namespace

TEST_CASE("a request is the 74 bytes of Dragonfly's worked example") {
  PieceRequest request{Kind::kStandard, kTask, 3};
  auto bytes = encode(request, 0x5a);
  REQUIRE(bytes.ok());
  CHECK(*bytes == unhex("5a00 00000044") + kTask + unhex("00000003"));
  CHECK(bytes->size() == 74);
}

TEST_CASE("a content header without parent counts 61 bytes of metadata and 65 in all") {
  auto bytes = encode(content(), 0x01);
  CHECK(bytes.substr(0, 10) == unhex("0101 00000041 0000003d"));
  CHECK(bytes.size() == 6 + 65);
  CHECK(bytes.substr(10) == unhex("00000003 0000000000c00000 0000000000000005 00000010") +
                                "crc32:1475635037" + unhex("00000000 01 0000000000000002 000000006553f100"));
}

TEST_CASE("each task kind has its own pair of tags") {
  for (auto kind : {Kind::kStandard, Kind::kPersistent, Kind::kPersistentCache, Kind::kCache}) {
    auto request = encode(PieceRequest{kind, kTask, 1}, 0);
    REQUIRE(request.ok());
    CHECK(static_cast<int>((*request)[1]) == static_cast<int>(kind) * 2);
    auto answer = content();
    answer.kind = kind;
    CHECK(static_cast<int>(encode(answer, 0)[1]) == static_cast<int>(kind) * 2 + 1);
  }
}

TEST_CASE("a task id that is not 64 printable characters is refused before it reaches the wire") {
  CHECK(encode(PieceRequest{Kind::kStandard, std::string(128, 'a'), 0}, 0).failed_with(ErrorCode::kInvalid));
  CHECK(encode(PieceRequest{Kind::kStandard, "", 0}, 0).failed_with(ErrorCode::kInvalid));
  CHECK(encode(PieceRequest{Kind::kStandard, std::string(64, '\n'), 0}, 0).failed_with(ErrorCode::kInvalid));
  CHECK(encode(Fetch{1, "short", 0}).failed_with(ErrorCode::kInvalid));
}

TEST_CASE("requests survive any split of the stream, and several may follow each other") {
  auto wire = encode(PieceRequest{Kind::kStandard, kTask, 7}, 9).value() +
              encode(Subscribe{4, kTask}).value() + encode(Fetch{5, kTask, 8, 1000}).value() +
              encode(Cancel{5}) + encode(Unsubscribe{4}) + encode(Close{});
  std::vector<Request> expected{PieceRequest{Kind::kStandard, kTask, 7},
                                Subscribe{4, kTask},
                                Fetch{5, kTask, 8, 1000},
                                Cancel{5},
                                Unsubscribe{4},
                                Close{}};
  for (std::size_t step : {1u, 2u, 5u, 6u, 7u, 73u, 74u, 1000u}) {
    auto got = read_requests(wire, step);
    REQUIRE(got.ok());
    CHECK(*got == expected);
  }
}

TEST_CASE("a request of any other length than 68 is a violation") {
  for (std::uint8_t length : {0, 4, 67, 69, 255}) {
    std::string wire =
        unhex("0000 000000") + std::string(1, static_cast<char>(length)) + std::string(length, 'a');
    CHECK(read_requests(wire).failed_with(ErrorCode::kProtocol));
  }
}

TEST_CASE("a request that announces gigabytes is refused at its header, before anything is kept") {
  RequestReader reader;
  std::vector<Request> out;
  CHECK(reader.feed(as_bytes(unhex("0000 ffffffff")), out).failed_with(ErrorCode::kProtocol));
  CHECK(reader.feed(as_bytes(encode(Close{})), out).failed_with(ErrorCode::kProtocol));
  CHECK(out.empty());
}

TEST_CASE("tags that are no requests are violations for a server") {
  for (int tag = 0; tag < 256; ++tag) {
    std::string wire = std::string(1, '\0') + std::string(1, static_cast<char>(tag)) + unhex("00000000");
    bool request = tag == 0 || tag == 2 || tag == 4 || tag == 6 || tag == 215 || tag == 216 || tag == 218 ||
                   tag == 219 || tag == 254;
    // With an empty value only Close is whole.
    CHECK(read_requests(wire).ok() == (tag == 254));
    RequestReader reader;
    std::vector<Request> out;
    std::string longer = std::string(1, '\0') + std::string(1, static_cast<char>(tag)) + unhex("00000044");
    CHECK(reader.feed(as_bytes(longer), out).ok() == request);
  }
}

TEST_CASE("the header's length does not cover a piece's bytes: they are left on the stream") {
  auto wire = encode(content(), 0) + "hello" + encode(Refusal{Code::kNotFound, "piece not found"}, 1);
  for (std::size_t step : {1u, 6u, 70u, 71u, 72u, 1000u}) {
    auto got = read_answers(wire, step);
    REQUIRE(got.ok());
    std::vector<Answer> expected{content(), Refusal{Code::kNotFound, "piece not found"}};
    CHECK(*got == expected);
  }
  AnswerReader reader;
  auto step = reader.feed(as_bytes(wire));
  REQUIRE(step.ok());
  CHECK(step->taken == 71);
  CHECK(reader.body_left() == 5);
}

TEST_CASE("a parent's id, an empty digest and a digest of another kind are carried") {
  auto answer = content();
  answer.parent_id = "10.0.0.1-host-0b5a0d0e-seed";
  answer.digest = "";
  CHECK(read_answers(encode(answer, 0))->at(0) == Answer(answer));
  answer.digest = "crc32:0";
  CHECK(read_answers(encode(answer, 0))->at(0) == Answer(answer));
}

TEST_CASE("our marker stands behind the last field, where a Rust child stops reading") {
  auto plain = content();
  auto ours = content();
  ours.abilities = kOurAbilities;
  auto without = encode(plain, 0);
  auto with = encode(ours, 0);
  CHECK(with.size() == without.size() + 8);
  // Everything a Rust child looks at is the same except the two lengths.
  CHECK(with.substr(10, without.size() - 10) == without.substr(10));
  auto read = read_answers(with + "hello");
  REQUIRE(read.ok());
  CHECK(std::get<PieceContent>(read->at(0)).abilities == kOurAbilities);
}

TEST_CASE("unknown bytes behind the last field are ignored") {
  auto wire = encode(content(), 0);
  wire += "unknown future field";
  wire[5] = static_cast<char>(0x41 + 20);
  wire[9] = static_cast<char>(0x3d + 20);
  auto read = read_answers(wire + "hello");
  REQUIRE(read.ok());
  CHECK(read->at(0) == Answer(content()));
}

TEST_CASE("hostile metadata is refused without believing its lengths") {
  auto good = encode(content(), 0);
  auto with = [&good](std::size_t at, std::string_view bytes) {
    auto wire = good;
    wire.replace(at, bytes.size(), bytes);
    return read_answers(wire);
  };
  CHECK(with(2, unhex("ffffffff")).failed_with(ErrorCode::kProtocol));  // packet of 4 GiB
  CHECK(with(2, unhex("00002001")).failed_with(ErrorCode::kProtocol));  // one byte over the limit
  CHECK(with(6, unhex("ffffffff")).failed_with(ErrorCode::kProtocol));  // metadata longer than the packet
  CHECK(with(6, unhex("0000003e")).failed_with(ErrorCode::kProtocol));
  CHECK(with(6, unhex("0000003c")).failed_with(ErrorCode::kProtocol));           // metadata cut short
  CHECK(with(30, unhex("ffffffff")).failed_with(ErrorCode::kProtocol));          // digest
  CHECK(with(50, unhex("7fffffff")).failed_with(ErrorCode::kProtocol));          // parent id
  CHECK(with(63, unhex("7fffffffffffffff")).failed_with(ErrorCode::kProtocol));  // created_at
  CHECK(with(63, unhex("8000000000000000")).failed_with(ErrorCode::kProtocol));
}

TEST_CASE("times that a Rust child would reject are never written") {
  auto answer = content();
  answer.created = INT64_MAX;
  auto read = read_answers(encode(answer, 0));
  REQUIRE(read.ok());
  CHECK(std::get<PieceContent>(read->at(0)).created == 8'210'266'876'799);
}

TEST_CASE("an error packet carries its code and a message fit for a log") {
  auto read = read_answers(unhex("07ff 0000000a 02") + "no\npiece!");
  REQUIRE(read.ok());
  CHECK(read->at(0) == Answer(Refusal{Code::kNotFound, "no?piece!"}));
  CHECK(read_answers(unhex("07ff 00000000")).failed_with(ErrorCode::kProtocol));
  CHECK(encode(Refusal{Code::kNotFound, "x"}, 7) == unhex("07ff 00000002 02") + "x");
  CHECK(encode(Refusal{Code::kInternal, std::string(5000, 'x')}, 0).size() == 6 + 1 + 512);
}

TEST_CASE("extension answers are read back as they were written") {
  Have task;
  task.subscription = 1;
  task.content_length = 10;
  task.piece_length = 4;
  task.version = 5;
  Have bitmap;
  bitmap.subscription = 1;
  bitmap.what = Have::What::kComplete;
  bitmap.first = 8;
  bitmap.bitmap = std::string("\x05\x00\x80", 3);
  Have list;
  list.subscription = 1;
  list.what = Have::What::kGained;
  list.numbers = {1, 2, 0xffffffff};
  Have all;
  all.what = Have::What::kAll;
  Have share;
  share.what = Have::What::kShare;
  share.share = 2;
  share.shares = 5;
  share.numbers = {7, 3};
  Have end;
  end.what = Have::What::kEnd;
  end.code = Code::kNotFound;
  end.message = "no such task";
  std::vector<Answer> expected{task,
                               bitmap,
                               list,
                               all,
                               share,
                               PieceStart{9, 3, 12, 4, 77},
                               PieceChunk{9, 4},
                               PieceEnd{9, Code::kOk, "crc32:1", ""},
                               PieceEnd{10, Code::kNotFound, "", "gone"},
                               end,
                               Close{}};
  auto wire = encode(task) + encode(bitmap) + encode(list) + encode(all) + encode(share) +
              encode(PieceStart{9, 3, 12, 4, 77}) + encode(PieceChunk{9, 4}) + "abcd" +
              encode(PieceEnd{9, Code::kOk, "crc32:1", ""}) +
              encode(PieceEnd{10, Code::kNotFound, "", "gone"}) + encode(end) + encode(Close{});
  for (std::size_t step : {1u, 3u, 10u, 1000u}) {
    auto got = read_answers(wire, step);
    REQUIRE(got.ok());
    CHECK(*got == expected);
  }
}

TEST_CASE("hostile extension answers are refused") {
  CHECK(read_answers(unhex("00d9 00040001")).failed_with(ErrorCode::kProtocol));  // Have over its limit
  CHECK(read_answers(unhex("00d9 00000005 00000001 63"))
            .failed_with(ErrorCode::kProtocol));  // unknown statement
  CHECK(read_answers(unhex("00d9 00000007 00000001 03 0000")).failed_with(ErrorCode::kProtocol));
  CHECK(read_answers(unhex("00d9 0000000d 00000001 09 00000003 00000003"))
            .failed_with(ErrorCode::kProtocol));  // the fourth of three shares
  CHECK(read_answers(unhex("00dd 00000003")).failed_with(ErrorCode::kProtocol));  // chunk without number
  CHECK(read_answers(unhex("00dd 00400005")).failed_with(ErrorCode::kProtocol));  // chunk over 4 MiB
  CHECK(read_answers(unhex("00dc 00000001 00")).failed_with(ErrorCode::kProtocol));
  CHECK(read_answers(unhex("0000 00000044")).failed_with(ErrorCode::kProtocol));  // a request
}
