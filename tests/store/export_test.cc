#include "store/exporter.h"

#include "fixture.h"

using namespace d7y;
using namespace d7y::store;

namespace {

Task<TaskHandle> finished_task(Store& store, int number, std::string content) {
  auto made = co_await store.create(facts_of(an_id(number), content.size(), 4096));
  auto task = must(std::move(made));
  must(put_all(*task, content));
  must(co_await task->finish());
  co_return task;
}

std::vector<std::string> names_in(world::World& world, const std::string& folder) {
  return must(world.files().list(folder));
}

}  // namespace

STORE_TEST("content is hard-linked, cloned or copied, as asked and as possible") {
  auto content = made_up(50'000);
  auto store = co_await open_store(world, folder);
  auto task = co_await finished_task(*store, 1, content);
  auto out = folder + "/out";
  must(world.files().make_folders(out));
  ExportOptions wish{.path = out + "/linked"};
  auto linked = must(co_await export_content(task, wish));
  CHECK(linked == ExportMethod::kHardLink);
  ExportOptions wish2{.path = out + "/copied",
                      .allow_hard_link = false,
                      .allow_reflink = false,
                      .durable = true,
                      .permissions = 0600};
  auto copied = must(co_await export_content(task, wish2));
  CHECK(copied == ExportMethod::kCopy);
  ExportOptions wish3{.path = out + "/ranged",
                      .range = std::pair<std::uint64_t, std::uint64_t>{5000, 10'000}};
  auto ranged = must(co_await export_content(task, wish3));
  CHECK(ranged == ExportMethod::kCopy);
  CHECK(file_bytes(world, out + "/linked") == content);
  CHECK(file_bytes(world, out + "/copied") == content);
  CHECK(file_bytes(world, out + "/ranged") == content.substr(5000, 10'000));
  CHECK(must(world.files().status(out + "/linked")).links == 2);
  CHECK(must(world.files().status(out + "/copied")).mode == 0600);
  CHECK(names_in(world, out) == std::vector<std::string>{"copied", "linked", "ranged"});
}

STORE_TEST("an output that exists is left alone unless overwriting is asked for") {
  auto content = made_up(5000);
  auto store = co_await open_store(world, folder);
  auto task = co_await finished_task(*store, 1, content);
  auto out = folder + "/out";
  must(world.files().make_folders(out + "/folder"));
  {
    auto file = must(world.files().open(out + "/file", world::OpenMode::kCreate));
    must(file->write_at(0, as_bytes("precious")));
  }
  ExportOptions wish{.path = out + "/file"};
  auto refused = co_await export_content(task, wish);
  CHECK(refused.failed_with(ErrorCode::kExists));
  CHECK(file_bytes(world, out + "/file") == "precious");
  ExportOptions wish2{.path = out + "/folder", .overwrite = true};
  auto is_folder = co_await export_content(task, wish2);
  CHECK(is_folder.failed_with(ErrorCode::kInvalid));
  {
    auto socket = must(world.network().listen(Address::unix_socket(out + "/socket"), {}));
    ExportOptions wish2b{.path = out + "/socket", .overwrite = true};
    auto no_file = co_await export_content(task, wish2b);
    CHECK(no_file.failed_with(ErrorCode::kInvalid));
    CHECK(must(world.files().status(out + "/socket")).kind == world::FileKind::kOther);
  }
  ExportOptions wish3{.path = out + "/nowhere/file"};
  auto no_folder = co_await export_content(task, wish3);
  CHECK(no_folder.failed_with(ErrorCode::kNotFound));
  CHECK(no_folder.error().message().find(out + "/nowhere/file") != std::string::npos);
  for (bool link : {true, false, true, true}) {
    ExportOptions wish4{.path = out + "/file", .overwrite = true, .allow_hard_link = link};
    auto replaced = co_await export_content(task, wish4);
    CHECK(replaced.ok());
    CHECK(file_bytes(world, out + "/file") == content);
    CHECK(names_in(world, out) == std::vector<std::string>{"file", "folder"});
  }
  ExportOptions wish5{.path = out + "/file2"};
  // A second name of the same content: renaming one name of a file to another of it does nothing.
  auto second = co_await export_content(task, wish5);
  CHECK(second.ok());
  ExportOptions wish6{.path = out + "/file2", .overwrite = true};
  auto again = co_await export_content(task, wish6);
  CHECK(again.ok());
  CHECK(names_in(world, out) == std::vector<std::string>{"file", "file2", "folder"});
}

STORE_TEST("nothing is exported before it is complete") {
  auto content = made_up(10'000);
  auto store = co_await open_store(world, folder);
  auto task = co_await make_task(*store, facts_of(an_id(1), content.size(), 4096));
  must(put_piece(*task, 0, content));
  auto out = folder + "/out";
  ExportOptions wish{.path = out};
  auto whole = co_await export_content(task, wish);
  CHECK(whole.failed_with(ErrorCode::kPrecondition));
  ExportOptions wish2{.path = out, .range = std::pair<std::uint64_t, std::uint64_t>{0, 4097}};
  auto part = co_await export_content(task, wish2);
  CHECK(part.failed_with(ErrorCode::kPrecondition));
  ExportOptions wish3{.path = out, .range = std::pair<std::uint64_t, std::uint64_t>{0, 10'001}};
  auto beyond = co_await export_content(task, wish3);
  CHECK(beyond.failed_with(ErrorCode::kInvalid));
  CHECK_FALSE(world.files().link_status(out).ok());
  ExportOptions wish4{.path = out, .range = std::pair<std::uint64_t, std::uint64_t>{0, 4096}};
  auto here = co_await export_content(task, wish4);
  CHECK(here.ok());
  CHECK(file_bytes(world, out) == content.substr(0, 4096));
}

STORE_TEST("a copy of content that rotted on disk is refused, and the rotten piece dropped") {
  auto content = made_up(10'000);
  auto store = co_await open_store(world, folder);
  auto task = co_await finished_task(*store, 1, content);
  must(task->file()->write_at(5000, as_bytes("rot")));
  ExportOptions wish{.path = folder + "/out", .allow_hard_link = false, .allow_reflink = false};
  auto exported = co_await export_content(task, wish);
  CHECK(exported.failed_with(ErrorCode::kCorrupt));
  CHECK_FALSE(world.files().link_status(folder + "/out").ok());
  CHECK(task->has(0));
  CHECK_FALSE(task->has(1));
  CHECK_FALSE(task->finished());
}

STORE_TEST("what a user does to a hard-linked output is never served, and never undone in their file") {
  auto content = made_up(20'000);
  auto out = folder + "-out";
  {
    auto store = co_await open_store(world, folder);
    auto task = co_await finished_task(*store, 1, content);
    ExportOptions wish{.path = out};
    must(co_await export_content(task, wish));
    CHECK(task->intact());
    co_await sleep_for(10ms);  // file times are coarse
    {
      auto file = must(world.files().open(out, world::OpenMode::kReadWrite));
      must(file->write_at(9000, as_bytes("mine now")));
    }
    CHECK_FALSE(task->intact());
    CHECK(task->view(2).failed_with(ErrorCode::kNotFound));  // in doubt, being read again
    Reader reader(task, {.length = 8192});
    CHECK(co_await read_all(reader, soon(world)) == content.substr(0, 8192));
    auto found = must(co_await store->find(an_id(1)));
    CHECK(found->has(0));
    CHECK(found->has(1));
    CHECK_FALSE(found->has(2));
    CHECK(found->has(3));
    must(put_piece(*found, 2, content));
    must(co_await found->finish());
    CHECK(stored_bytes(*found, 0, 20'000) == content);
  }
  auto theirs = file_bytes(world, out);
  CHECK(theirs.substr(9000, 8) == "mine now");
  auto store = co_await open_store(world, folder);
  auto task = must(co_await store->find(an_id(1)));
  CHECK(task->has_everything());
  CHECK(stored_bytes(*task, 0, 20'000) == content);
}

STORE_TEST("a change of a hard-linked output while we were away is noticed") {
  auto content = made_up(20'000);
  auto out = folder + "-out";
  {
    auto store = co_await open_store(world, folder);
    auto task = co_await finished_task(*store, 1, content);
    ExportOptions wish{.path = out};
    must(co_await export_content(task, wish));
    task = {};
    must(co_await store->close());
  }
  co_await sleep_for(10ms);
  {
    auto file = must(world.files().open(out, world::OpenMode::kReadWrite));
    must(file->write_at(0, as_bytes("changed")));
    must(file->resize(15'000));
  }
  auto store = co_await open_store(world, folder);
  auto task = must(co_await store->find(an_id(1)));
  CHECK_FALSE(task->has(0));
  CHECK(task->has(1));
  CHECK(task->has(2));
  CHECK_FALSE(task->has(3));
  must(put_all(*task, content));
  must(co_await task->finish());
  CHECK(stored_bytes(*task, 0, 20'000) == content);
  CHECK(file_bytes(world, out).size() == 15'000);
}

STORE_TEST("touching a hard-linked output costs a look, nothing else") {
  auto content = made_up(20'000);
  auto out = folder + "-out";
  auto store = co_await open_store(world, folder);
  auto task = co_await finished_task(*store, 1, content);
  ExportOptions wish{.path = out};
  must(co_await export_content(task, wish));
  co_await sleep_for(10ms);
  {
    auto file = must(world.files().open(out, world::OpenMode::kReadWrite));
    must(file->write_at(9000, as_bytes(content.substr(9000, 8))));
  }
  CHECK_FALSE(task->intact());
  auto found = must(co_await store->find(an_id(1)));
  CHECK(found->intact());
  CHECK(found->finished());
  CHECK(must(world.files().status(out)).links == 2);  // still one file
}

STORE_TEST("a task whose output is linked can be deleted; the output stays") {
  auto content = made_up(20'000);
  auto store = co_await open_store(world, folder);
  {
    auto task = co_await finished_task(*store, 1, content);
    ExportOptions wish{.path = folder + "/out"};
    must(co_await export_content(task, wish));
  }
  must(store->remove(an_id(1)));
  must(co_await store->close());
  CHECK(file_bytes(world, folder + "/out") == content);
}

STORE_TEST("an export that is cancelled leaves nothing behind") {
  auto content = made_up(3_MiB);
  auto store = co_await open_store(world, folder);
  auto task = co_await finished_task(*store, 1, content);
  auto out = folder + "/out";
  must(world.files().make_folders(out));
  ExportOptions options{.path = out + "/file", .allow_hard_link = false, .allow_reflink = false};
  auto cut = co_await within(Deadline::in(1us, world.now()), export_content(task, options));
  CHECK(cut.failed_with(ErrorCode::kTimeout));
  CHECK(names_in(world, out).empty());
}

STORE_TEST("content whose files somebody took away is still exported, and then forgotten") {
  auto content = made_up(10'000);
  auto store = co_await open_store(world, folder);
  auto& files = world.files();
  for (int number : {1, 2, 3}) {
    auto task = co_await finished_task(*store, number, content);
    auto of_task = folder + "/tasks/" + task->id().substr(0, 2) + "/" + task->id();
    if (number == 1) must(files.remove(of_task + "/content.1"));
    if (number == 2) must(files.rename(folder + "/tasks", folder + "/elsewhere"));
    if (number == 3) {
      for (const char* all : {"/tasks", "/trash", "/FORMAT"}) must(co_await files.remove_tree(folder + all));
    }
    auto out = fmt::format("{}/out{}", folder, number);
    ExportOptions strict{.path = out, .require_hard_link = true};
    auto refused = co_await export_content(task, strict);
    CHECK(!refused);
    ExportOptions wish{.path = out};
    auto copied = must(co_await export_content(task, wish));
    CHECK(copied == ExportMethod::kCopy);
    CHECK(file_bytes(world, out) == content);
    CHECK_FALSE(store->contains(task->id()));
    // It comes again as if it had never been here, while somebody still holds the old one.
    auto anew = co_await finished_task(*store, number, content);
    task = {};
    ExportOptions again{.path = out + "-again"};
    auto linked = must(co_await export_content(anew, again));
    CHECK(linked == ExportMethod::kHardLink);
    must(co_await store->sync());
  }
  must(store->remove(an_id(3)));
  must(co_await store->close());
}

STORE_TEST("files of idle tasks that somebody took away are closed at the next collection") {
  auto store = co_await open_store(world, folder);
  for (int number : {1, 2}) co_await finished_task(*store, number, made_up(10'000));
  must(co_await world.files().remove_tree(folder + "/tasks/" + an_id(1).substr(0, 2) + "/" + an_id(1)));
  auto collected = co_await store->collect();
  auto gone = must(std::move(collected));
  REQUIRE(gone.evicted.size() == 1);
  CHECK(gone.evicted[0].id == an_id(1));
  CHECK(gone.evicted[0].reason == GcReason::kVanished);
  CHECK(store->stats().tasks == 1);
}
