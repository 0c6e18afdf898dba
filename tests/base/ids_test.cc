// Vectors are Dragonfly's; a wrong letter here and peers do not meet.
#include "base/ids.h"

#include <doctest/doctest.h>

#include "base/crc32.h"
#include "base/digest.h"
#include "base/hex.h"
#include "base/scheduler_ring.h"
#include "base/siphash.h"

using namespace d7y;

namespace {

StandardTaskId recipe(std::string url) {
  StandardTaskId made;
  made.url = std::move(url);
  return made;
}
std::string id_of(const StandardTaskId& made) {
  auto id = task_id(made);
  return id ? *id : "error: " + id.error().message();
}
std::string url_of(std::string_view url, std::vector<std::string> filters = {}) {
  return *task_url(url, filters);
}
constexpr auto kPlain = "457b4328cde278e422c9e243f7bfd1e97f511fec43a80f535cf6b0ef6b086776";

}  // namespace

TEST_CASE("standard task ids") {
  auto made = recipe("https://example.com");
  CHECK(id_of(made) == kPlain);
  made.tag = "foo";
  CHECK(id_of(made) == "3c3f230ef9f191dd2821510346a7bc138e4894bee9aee184ba250a3040701d2a");
  made.application = "bar";
  CHECK(id_of(made) == "06408fbf247ddaca478f8cb9565fe5591c28efd0994b8fea80a6a87d3203c5ca");
  made.revision = "v1.0";
  made.piece_length = 1024;
  CHECK(id_of(made) == "5844f27a257287e9b734256bb25603d8005422ced8c0377f15063ec11963b25f");
  made = recipe("https://example.com");
  made.application = "bar";
  CHECK(id_of(made) == "c9f9261b7305c24371244f9f149f5d4589ed601348fdf22d7f6f4b10658fdba2");
  made = recipe("https://example.com");
  made.piece_length = 1024;
  CHECK(id_of(made) == "9f7c9aafbc6f30f8f41a96ca77eeae80c5b60964b3034b0ee43ccf7b2f9e52b8");
  made = recipe("https://example.com");
  made.revision = "v1.0";
  CHECK(id_of(made) == "b171331534b80e0bf91da38ebbfcdbf4d177898f4b9beac44f14733e3f004d4e");
  made = recipe("https://example.com?foo=foo&bar=bar");
  made.filtered_query_params = {"foo", "bar"};
  CHECK(id_of(made) == kPlain);
  CHECK(task_id(recipe("example.com")).failed_with(ErrorCode::kInvalid));
}

TEST_CASE("content or a blob's digest take the place of the URL") {
  auto made = recipe("not even a url");
  made.content_for_calculating_task_id = "This is a test file";
  CHECK(id_of(made) == "e2d0fe1585a63ec6009c8016ff8dda8b17719a637405a4e23c0ff81339148249");

  const std::string hex = "1234567890abcdef1234567890abcdef1234567890abcdef1234567890abcdef";
  const std::string blob = "http://registry.example.com/v2/library/a/blobs/sha256:" + hex;
  made = recipe(blob + "?ns=docker.io");
  made.based_on_blob_digest = true;
  CHECK(id_of(made) == hex);
  made.based_on_blob_digest = false;
  CHECK(id_of(made) != hex);
  CHECK_FALSE(blob_digest_in(blob.substr(0, blob.size() - 1)));
  CHECK_FALSE(blob_digest_in("http://h/v1/a/blobs/sha256:" + hex));
  CHECK_FALSE(blob_digest_in("http://h/v2/a/manifests/sha256:" + hex));
  CHECK_FALSE(blob_digest_in("http://h/v2/a/blobs/md5:d41d8cd98f00b204e9800998ecf8427e"));
  CHECK(blob_digest_in("http://h/v2/a/blobs/sha512:" + hex + hex) == hex + hex);
  CHECK(blob_digest_in("http://h/v2/a/blobs/crc32:0907060870") == "0907060870");
}

TEST_CASE("persistent and persistent cache task ids") {
  CHECK(persistent_task_id("my-object-key", "us-west-1", "https://s3.us-west-1.amazonaws.com") ==
        "b51f4f44921bb585277a5cbac13e7f6e2858238e98546f3ee6bfeb56369979c0");
  const auto cache = [](const char* tag, const char* application, std::optional<std::uint64_t> piece_length) {
    PersistentCacheTaskId id;
    id.update(as_bytes("This is a "));
    id.update(as_bytes("test file"));
    return id.finish(tag, application, piece_length);
  };
  CHECK(cache("tag1", "app1", 1024) == "7160a071a9acea5ac341e770c14d0211c38a4b15b3bbe2c5f848a706fd47419e");
  CHECK(cache("", "app1", {}) == "0d0f8536f51227fda07141308f5ae8149b561b51b61c6517125f25dfa27acf5b");
  CHECK(cache("tag1", "", {}) == "a98b76813681e30cf83733fe055792b86393bba6f18e3d89fd8c18253922d992");
  CHECK(cache("", "", 1024) == "e894374a39e39cfa78c409cac02f2cdbb5605a24f5ff55c7bc2b624877556c03");
}

TEST_CASE("the URL in a task id is normalised as the Rust client does") {
  CHECK(url_of("https://example.com/") == "https://example.com");
  CHECK(url_of("HTTPS://EXAMPLE.com:443/") == "https://example.com");
  CHECK(url_of("https://example.com/?a=b") == "https://example.com/?a=b");
  CHECK(url_of("https://example.com/a/") == "https://example.com/a/");
  CHECK(url_of("https://h/x?a=b%20c") == "https://h/x?a=b+c");
  CHECK(url_of("https://h/x?a=b+c") == "https://h/x?a=b+c");
  CHECK(url_of("https://h/x?flag") == "https://h/x?flag=");
  CHECK(url_of("https://h/x?") == "https://h/x");
  CHECK(url_of("https://h/x?a=1&b=2&a=3", {"a"}) == "https://h/x?b=2");
  CHECK(url_of("https://h/x?A=1&a=2", {"a"}) == "https://h/x?A=1");
  CHECK(url_of("https://h/x?%61=1", {"a"}) == "https://h/x");
  CHECK(url_of("https://u:p@h/x#frag") == "https://u:p@h/x#frag");
  CHECK(url_of("https://h/#frag/") == "https://h/#frag");  // a corner the Rust client has
  CHECK(url_of("https://h/x?X-Amz-Signature=s&ns=docker.io&id=7", default_filtered_query_params()) ==
        "https://h/x?id=7");
}

TEST_CASE("host, peer and piece ids, uuids") {
  CHECK(host_id("127.0.0.1", "localhost", false) == "127.0.0.1-localhost");
  CHECK(host_id("127.0.0.1", "localhost", true) == "127.0.0.1-localhost-seed");
  const auto uuid = uuid_v4(~0ULL, ~0ULL);
  CHECK(uuid == "ffffffff-ffff-4fff-bfff-ffffffffffff");
  CHECK(uuid_v4(0, 0) == "00000000-0000-4000-8000-000000000000");
  CHECK(peer_id("::1", "h", uuid, false) == "::1-h-" + uuid);
  CHECK(peer_id("::1", "h", uuid, true) == "::1-h-" + uuid + "-seed");
  CHECK(piece_id("t", 7) == "t-7");
  CHECK(is_task_id(kPlain));
  CHECK_FALSE(is_task_id("../" + std::string(61, 'a')));
  CHECK_FALSE(is_task_id(std::string(64, 'A')));
  CHECK_FALSE(is_task_id(std::string(63, 'a')));
}

TEST_CASE("ring points and keys") {
  const auto point = [](const char* address) { return SchedulerRing::point_of(*Address::parse(address)); };
  CHECK(point("127.0.0.1:8002") == 0x2c30ce45aaaf7546);
  CHECK(point("192.168.1.10:8002") == 0x66bb86f995f476ca);
  CHECK(point("192.168.1.11:8002") == 0x3d622d18edd0b172);
  CHECK(point("192.168.1.12:8002") == 0x97d32668cf08d4f9);
  CHECK(point("10.0.0.1:8002") == 0x9948a09af7ec8dee);
  CHECK(point("10.0.0.2:8002") == 0x3c5a35daa4177512);
  CHECK(point("10.0.0.3:8002") == 0x3fb2e2c7ee4f0057);
  CHECK(point("[::1]:8002") == 0x3f52c1d091552b23);
  CHECK(point("[2001:db8::1]:8002") == 0x7594c522abec20ee);
  CHECK(point("[fd00::1]:8002") == 0x1ddd041f86193513);
  const std::pair<const char*, std::uint64_t> keys[] = {
      {"00000", 0x32266d2bbc957c60}, {"abcde", 0xf4cdb0a996a23a5e}, {"fffff", 0xfe327ff26d77028c},
      {"e3b0c", 0xda91969ba843c2c1}, {"9f86d", 0x94ddd4effaaaf57b}, {"2c26b", 0xf5b0aa0804d8c8dd},
      {"12345", 0x4e9d735f863c6067}, {"54321", 0x171868ca59baa13f}, {"deadb", 0x058dd5f65c0f204a},
      {"cafe0", 0x7d35a9924a4a2f08}, {"6b86b", 0x87dec1f885e66d87}, {"d4735", 0xe8d47402cef71b37},
      {"4e074", 0x251003fb00a13bc7}, {"5844f", 0xefec496e8810c73a}, {"06408", 0xd6b27f30679d0b91},
      {"3c3f2", 0x0ab2cf5a340b992b}, {"c9f92", 0xda5bc50bfa003546}, {"9f7c9", 0x3c2104d782d4da03},
      {"457b4", 0xa96e1294e304728d}, {"b1713", 0x3a750f9c5d56215c}, {"e2d0f", 0x5c00fcf320620345}};
  for (const auto& [key, hash] : keys) {
    INFO(key);
    CHECK(SchedulerRing::key_of(key) == hash);
    CHECK(SchedulerRing::key_of(std::string(key) + "and more") == hash);
  }
}

TEST_CASE("every peer of a task picks the same scheduler") {
  const auto ring_of = [](std::vector<const char*> texts) {
    std::vector<Address> addresses;
    for (const char* text : texts) addresses.push_back(*Address::parse(text));
    return SchedulerRing(addresses);
  };
  const auto picks = [](const SchedulerRing& ring, const char* expected, std::vector<const char*> keys) {
    for (const char* key : keys) {
      INFO(key);
      CHECK(ring.pick(key)->to_string() == expected);
      CHECK(ring.in_order(key)[0].to_string() == expected);
      CHECK(ring.in_order(key).size() == ring.size());
    }
  };
  const auto three = ring_of({"10.0.0.3:8002", "10.0.0.1:8002", "10.0.0.2:8002", "10.0.0.2:8002"});
  CHECK(three.size() == 3);
  picks(three, "10.0.0.1:8002", {"9f86d", "12345", "cafe0", "6b86b"});
  picks(three, "10.0.0.2:8002",
        {"00000", "abcde", "fffff", "e3b0c", "2c26b", "54321", "deadb", "d4735", "4e074"});
  const auto other = ring_of({"192.168.1.10:8002", "192.168.1.11:8002", "192.168.1.12:8002"});
  picks(other, "192.168.1.10:8002", {"12345"});
  picks(other, "192.168.1.12:8002", {"9f86d", "cafe0", "6b86b"});
  picks(other, "192.168.1.11:8002",
        {"00000", "abcde", "fffff", "e3b0c", "2c26b", "54321", "deadb", "d4735", "4e074"});
  const auto four = ring_of({"10.0.0.1:8002", "10.0.0.2:8002", "10.0.0.3:8002", "[fd00::1]:8002"});
  picks(four, "[fd00::1]:8002", {"5844f", "06408", "3c3f2", "c9f92", "457b4", "fffff"});
  picks(four, "10.0.0.2:8002", {"9f7c9", "b1713", "00000"});
  picks(four, "10.0.0.1:8002", {"e2d0f"});
  CHECK(SchedulerRing().pick("12345") == nullptr);
  CHECK(SchedulerRing().in_order("12345").empty());
  CHECK(three.pick("") != nullptr);
}

TEST_CASE("siphash is the reference's") {
  // Key 00..0f, message 00..0e: the value in the SipHash paper.
  std::string message;
  for (char c = 0; c < 15; ++c) message += c;
  CHECK(siphash24(as_bytes(message), 0x0706050403020100, 0x0f0e0d0c0b0a0908) == 0xa129ca6149be45e5);
}

TEST_CASE("digests of pieces and of content") {
  CHECK(Digest::crc32(crc32(as_bytes("test content"))).to_string() == "crc32:1475635037");
  CHECK(Digest::crc32(crc32(as_bytes("hello"))).to_string() == "crc32:907060870");
  CHECK(Digest::parse("crc32:0907060870")->to_string() == "crc32:907060870");
  // The digest over a piece's metadata that the Rust client reports.
  std::string meta{
      "\x00\x00\x00\x01"
      "\x00\x00\x00\x00\x00\x00\x00\x00"
      "\x00\x00\x00\x00\x00\x00\x04\x00",
      20};
  meta += "crc32:1929153120";
  CHECK(Digest::crc32(crc32(as_bytes(meta))).to_string() == "crc32:3299754941");

  Hasher hasher(HashKind::kSha256);
  hasher.update(as_bytes("te"));
  hasher.update(as_bytes("st"));
  CHECK(Digest::of(hasher) ==
        *Digest::parse("sha256:9F86D081884C7D659A2FEAA0C55AD015A3BF4F1B2B0B822CD15D6C15B0F00A08"));
  Hasher crc(HashKind::kCrc32);
  crc.update(as_bytes("hello"));
  CHECK(Digest::of(crc).to_string() == "crc32:907060870");
  CHECK(crc.hex() == "3610a686");
  for (const char* bad :
       {"", "sha256", "sha256:", "sha256:12", "sha256:zz", "crc32:", "crc32:-1", "crc32:4294967296",
        "crc32:00000000001", "crc32:12 ", "sha3:00", "md5:d41d8cd98f00b204e9800998ecf8427"}) {
    INFO(bad);
    CHECK(Digest::parse(bad).failed_with(ErrorCode::kInvalid));
  }
  CHECK(Digest::parse("blake3:" + std::string(64, '0')).failed_with(ErrorCode::kUnsupported));
}

TEST_CASE("hashes of nothing and of abc") {
  const auto of = [](HashKind kind, std::string_view text) { return hash_hex(kind, as_bytes(text)); };
  CHECK(of(HashKind::kMd5, "") == "d41d8cd98f00b204e9800998ecf8427e");
  CHECK(of(HashKind::kSha1, "abc") == "a9993e364706816aba3e25717850c26c9cd0d89d");
  CHECK(of(HashKind::kSha256, "") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  CHECK(of(HashKind::kSha512, "abc").substr(0, 16) == "ddaf35a193617aba");
  CHECK(of(HashKind::kCrc32, "123456789") == "cbf43926");
  for (const char* name : {"md5", "sha1", "sha256", "sha512", "crc32"})
    CHECK(name_of(*hash_kind(name)) == name);
  CHECK_FALSE(hash_kind("SHA256"));
}

TEST_CASE("checksums of parts join to the checksum of the whole") {
  std::string text;
  for (int i = 0; i < 100000; ++i) text += static_cast<char>(i * 7 + i / 251);
  const auto whole = crc32(as_bytes(text));
  for (const std::size_t cut :
       {std::size_t{0}, std::size_t{1}, std::size_t{4096}, std::size_t{65537}, text.size()}) {
    const auto a = crc32(as_bytes(text).first(cut));
    const auto b = crc32(as_bytes(text).subspan(cut));
    CHECK(crc32_combine(a, b, text.size() - cut) == whole);
    CHECK(crc32(as_bytes(text).subspan(cut), a) == whole);
  }
}

TEST_CASE("hexadecimal text both ways") {
  CHECK(to_hex(as_bytes(std::string("\x00\xff\x1a", 3))) == "00ff1a");
  CHECK(from_hex("00Ff1a") == std::string("\x00\xff\x1a", 3));
  CHECK_FALSE(from_hex("0"));
  CHECK_FALSE(from_hex("0g"));
}
