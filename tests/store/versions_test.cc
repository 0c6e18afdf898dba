// What earlier versions have written is read: a store outlives its program.
#include "fixture.h"

using namespace d7y;
using namespace d7y::store;

namespace {

constexpr const char* kId = "89b11895a74c2d8ede80720547e378e363e249c18fc54196bd119be14f115413";
constexpr std::uint64_t kLength = 5_MiB + 7;  // zeros

// As the first d7yd (of 2026-11-23) wrote it and was killed: two pieces, finished, with a hard link that has
// been removed since.
constexpr std::string_view kJournal =
    "64377973746f724a010000000100000015f3b99e603492f08287f7204094a15938020000c7fdffff737a647189efc569"
    "000000004600000000000000020001000000000000000000000000000000000000000000060008000001000000000000"
    "0000400000000000070050000000000000000000000000000784d008cdf6ec180784d008cdf6ec181d0000000a020000"
    "3d000000020100004900000032000000490000007a0000004d00000057000000c50000009a000000cd0000000a000000"
    "cd0000000a00000038396231313839356137346332643865646538303732303534376533373865333633653234396331"
    "3866633534313936626431313962653134663131353431330000000000000000687474703a2f2f3132372e302e302e31"
    "3a34323131372f66696c653f763d31006120746167000000616e206170706c69636174696f6e00001400000000000200"
    "250000003a00000025000000da000000310000002a00000031000000f20000003d000000720000004100000032000000"
    "410000002a000000410000009a000000490000007a0000004d0000004200000053657276657200004261736548545450"
    "2f302e3620507974686f6e2f332e31312e3700000000000044617465000000004d6f6e2c203330204e6f762032303236"
    "2032333a33353a313120474d540000004163636570742d52616e67657300000062797465730000004554616700000000"
    "226534656564316532656632613162366422000000000000436f6e74656e742d4c656e67746800003532343238383700"
    "22653465656431653265663261316236642200000000000000000000000000000000000000000000600000009fffffff"
    "1edcac9f398ba845000000000b0000000000000002000100010000000000000000000000000000000000000005000100"
    "000000006a40471100004000000000000000000000000000e7040000000000004d7df909cdf6ec18010000000a000000"
    "0000000000000000600000009fffffffd30f7649618512e7000000000b00000000000000020001000100000000000000"
    "0000000000000000000000000500010001000000dbc320cb070010000000000000000000000000000000000000000000"
    "f6b71f0acdf6ec18010000000a000000000000000000000028000000d7ffffffde70d30c78ce277a0000000004000000"
    "000000000200010004000000000000000000000000000000000000000000000038000000c7ffffff15cd2360b975f6d1"
    "000000000600000000000000020001000700000000000000000000000000000000000000020000000700500000000000"
    "19eccf09cdf6ec18";

std::string from_hex(std::string_view hex) {
  const auto digit = [](char c) { return static_cast<char>(c <= '9' ? c - '0' : c - 'a' + 10); };
  std::string out;
  for (std::size_t at = 0; at + 1 < hex.size(); at += 2)
    out += static_cast<char>(digit(hex[at]) << 4 | digit(hex[at + 1]));
  return out;
}

void write_file(world::World& world, const std::string& path, std::string_view text, std::uint64_t length) {
  auto file = must(world.files().open(path, world::OpenMode::kCreateNew));
  must(file->write_at(0, as_bytes(text)));
  must(file->resize(length));
}

// A killed daemon's store, whose content has `first` at its beginning.
void write_store(world::World& world, const std::string& folder, std::string_view first) {
  const auto task = folder + "/tasks/89/" + kId;
  must(world.files().make_folders(task));
  write_file(world, folder + "/FORMAT", "d7y store, format 1\n", 20);
  write_file(world, task + "/content.1", first, kLength);
  const auto journal = from_hex(kJournal);
  write_file(world, task + "/journal", journal, journal.size());
}

}  // namespace

STORE_TEST("a store of the first version is read, and nothing of it fetched again") {
  write_store(world, folder, "");
  auto store = co_await open_store(world, folder);
  REQUIRE(store->list().size() == 1);
  auto found = co_await store->find(kId);
  auto task = must(std::move(found));
  CHECK(task->finished());
  CHECK(task->has_everything());
  const auto& facts = task->facts();
  CHECK(facts.url == "http://127.0.0.1:42117/file?v=1");
  CHECK(facts.tag == "a tag");
  CHECK(facts.application == "an application");
  CHECK(facts.piece_length == 4_MiB);
  CHECK(facts.content_length == kLength);
  CHECK(facts.response_headers.size() == 5);
  CHECK(facts.version.etag == "\"e4eed1e2ef2a1b6d\"");
  CHECK(task->piece(1)->length == 1_MiB + 7);
}

STORE_TEST("and what of it has been changed since is noticed") {
  write_store(world, folder, "x");
  auto store = co_await open_store(world, folder);
  auto found = co_await store->find(kId);
  auto task = must(std::move(found));
  CHECK_FALSE(task->finished());
  CHECK_FALSE(task->has(0));
  CHECK(task->has(1));
}
