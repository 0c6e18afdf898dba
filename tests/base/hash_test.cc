#include "base/hash.h"

#include <doctest/doctest.h>

#include <random>
#include <vector>

#include "base/sha256_lanes.h"

using namespace d7y;

TEST_CASE("digests of known texts, however they are cut") {
  struct Case {
    HashKind kind;
    const char* name;
    const char* empty;
    const char* abc;
  };
  for (const auto& c : {
           Case{HashKind::kMd5, "md5", "d41d8cd98f00b204e9800998ecf8427e",
                "900150983cd24fb0d6963f7d28e17f72"},
           Case{HashKind::kSha1, "sha1", "da39a3ee5e6b4b0d3255bfef95601890afd80709",
                "a9993e364706816aba3e25717850c26c9cd0d89d"},
           Case{HashKind::kSha256, "sha256",
                "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
                "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
           Case{HashKind::kSha512, "sha512",
                "cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce"
                "47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e",
                "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
                "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f"},
       }) {
    CHECK(name_of(c.kind) == c.name);
    CHECK(hash_kind(c.name) == c.kind);
    CHECK(hash_hex(c.kind, {}) == c.empty);
    Hasher hasher(c.kind);
    for (auto piece : {"a", "", "b", "c"}) hasher.update(as_bytes(piece));
    CHECK(hasher.hex() == c.abc);
    CHECK(hasher.digest().size() == hash_size(c.kind));
    hasher.update(as_bytes("more"));
    CHECK(hasher.hex() != c.abc);
  }
  CHECK(!hash_kind("sha3").has_value());
}

TEST_CASE("several contents are hashed at once as they are one by one, whatever their lengths and kinds") {
  std::mt19937_64 random(20);
  std::string pool(1 << 16, '\0');
  for (auto& c : pool) c = static_cast<char>(random());
  for (int round = 0; round < 300; ++round) {
    struct Content {
      Hasher together, alone;
    };
    std::vector<Content> contents;
    const auto count = random() % 8;
    for (std::size_t i = 0; i < count; ++i) {
      auto kind = random() % 5 == 0 ? HashKind::kSha1 : HashKind::kSha256;
      contents.push_back({Hasher(kind), Hasher(kind)});
    }
    for (int step = 0; step < 4; ++step) {
      std::vector<HashPart> parts;
      for (auto& content : contents) {
        // Now and then whole blocks, often not.
        const auto most = std::size_t{1} << random() % 14;
        auto length = random() % most;
        if (random() % 3 == 0) length = length / kSha256Block * kSha256Block;
        auto bytes = as_bytes(pool).subspan(random() % (pool.size() - length), length);
        parts.push_back({&content.together, bytes});
        content.alone.update(bytes);
      }
      update_together(parts);
      for (auto& content : contents) CHECK(content.together.hex() == content.alone.hex());
    }
  }
}

TEST_CASE("lengths beyond 32 bits of bits count in digests of several at once") {
  std::string megabyte(1 << 20, 'x');
  Hasher first(HashKind::kSha256), second(HashKind::kSha256), alone(HashKind::kSha256);
  for (int i = 0; i < 600; ++i) {
    HashPart parts[] = {{&first, as_bytes(megabyte)}, {&second, as_bytes(megabyte)}};
    update_together(parts);
    alone.update(as_bytes(megabyte));
  }
  CHECK(first.hex() == alone.hex());
  CHECK(second.hex() == alone.hex());
}
