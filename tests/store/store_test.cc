#include "store/store.h"

#include "fixture.h"

using namespace d7y;
using namespace d7y::store;

STORE_TEST("what was fetched is there after a restart, and only that") {
  auto content = made_up(10'000);
  {
    auto store = co_await open_store(world, folder);
    {
      auto task = co_await make_task(*store, facts_of(an_id(1), content.size(), 4096));
      must(task->set_source({{"Content-Type", "text/plain"}}, {"\"v1\"", "yesterday"}));
      CHECK(task->piece_count() == 3);
      must(put_piece(*task, 0, content));
      must(put_piece(*task, 2, content));
      CHECK(task->stored() == 4096 + 1808);
      CHECK_FALSE(task->has_everything());
    }
    must(co_await store->close());
  }
  auto store = co_await open_store(world, folder);
  CHECK(store->contains(an_id(1)));
  auto found = must(co_await store->find(an_id(1)));
  CHECK(found->has(0));
  CHECK_FALSE(found->has(1));
  CHECK(found->has(2));
  CHECK(found->facts().version.etag == "\"v1\"");
  CHECK(found->facts().response_headers == Headers{{"Content-Type", "text/plain"}});
  auto piece = found->piece(2).value();
  CHECK(piece.offset == 8192);
  CHECK(piece.length == 1808);
  CHECK(piece.parent == "parent-1");
  CHECK(piece.traffic == Traffic::kRemotePeer);
  CHECK(stored_piece(*found, 2) == content.substr(8192));
  must(put_piece(*found, 1, content));
  must(co_await found->finish());
  CHECK(found->finished());
}

STORE_TEST("without close() complete pieces are verified again before they are used") {
  auto content = made_up(12'000);
  {
    auto store = co_await open_store(world, folder);
    auto task = co_await make_task(*store, facts_of(an_id(1), content.size(), 4000));
    must(put_all(*task, content));
    must(co_await task->finish());
    // What the page cache lost, as it were.
    must(task->file()->write_at(5000, as_bytes("rotten")));
  }
  auto store = co_await open_store(world, folder);
  auto task = must(co_await store->find(an_id(1)));
  CHECK(task->has(0));
  CHECK_FALSE(task->has(1));
  CHECK(task->has(2));
  CHECK_FALSE(task->finished());
  CHECK(store->stats().corrupt_pieces == 1);
  must(put_piece(*task, 1, content));
  must(co_await task->finish());
  CHECK(stored_bytes(*task, 0, 12'000) == content);
}

STORE_TEST("a store has one user at a time") {
  auto store = co_await open_store(world, folder);
  StoreOptions options;
  options.folder = folder;
  auto second = co_await Store::open(world, options, Log());
  CHECK(second.failed_with(ErrorCode::kExists));
  CHECK(second.error().message().find(folder) != std::string::npos);
  must(co_await store->close());
  store.reset();
  auto third = co_await Store::open(world, options, Log());
  CHECK(third.ok());
}

STORE_TEST("keep = false starts empty") {
  {
    auto store = co_await open_store(world, folder);
    auto task = co_await make_task(*store, facts_of(an_id(1), 100, 4096));
    must(put_all(*task, made_up(100)));
  }
  StoreOptions options;
  options.folder = folder;
  options.keep = false;
  auto opened = co_await Store::open(world, options, Log());
  auto store = must(std::move(opened));
  CHECK(store->list().empty());
  auto found = co_await store->find(an_id(1));
  CHECK(found.failed_with(ErrorCode::kNotFound));
  auto again = co_await make_task(*store, facts_of(an_id(1), 100, 4096));
  CHECK(again->stored() == 0);
}

STORE_TEST("a temporary store leaves nothing but its tasks, and those to whoever comes next") {
  auto content = made_up(12'000);
  StoreOptions options;
  options.folder = folder;
  options.temporary = true;
  {
    auto opened = co_await Store::open(world, options, Log());
    auto store = must(std::move(opened));
    auto done = co_await make_task(*store, facts_of(an_id(1), content.size(), 4000));
    must(put_all(*done, content));
    must(co_await done->finish());
    done = {};
    auto collected = co_await store->collect();
    CHECK(collected.ok());
    must(co_await store->close());
  }
  CHECK(must(world.files().list(folder)) == std::vector<std::string>{"lock", "tasks"});
  {
    auto opened = co_await Store::open(world, options, Log());
    auto store = must(std::move(opened));
    auto begun = co_await make_task(*store, facts_of(an_id(2), content.size(), 4000));
    must(put_piece(*begun, 0, content));
    must(put_piece(*begun, 2, content));
    // As if the page cache had lost it.
    must(begun->file()->write_at(8500, as_bytes("rotten")));
    begun = {};
    must(store->remove(an_id(1)));
    must(co_await store->close());
  }
  auto store = co_await open_store(world, folder);
  CHECK_FALSE(store->contains(an_id(1)));
  auto begun = must(co_await store->find(an_id(2)));
  CHECK(begun->has(0));
  CHECK_FALSE(begun->has(2));
}

STORE_TEST("a stop with nothing stored needs no index") {
  auto store = co_await open_store(world, folder);
  must(co_await store->close());
  store.reset();
  auto left = world.files().status(folder + "/index");
  CHECK(left.failed_with(ErrorCode::kNotFound));
  store = co_await open_store(world, folder);
  CHECK(store->list().empty());
}

STORE_TEST("a folder with things of others is refused, whatever is to be kept, and nothing is deleted") {
  auto& files = world.files();
  for (const char* theirs : {"/tasks/report", "/tasks/ab/cd", "/tasks/note.txt", "/trash/photos"}) {
    CAPTURE(theirs);
    auto place = folder + "/home";
    must(files.make_folders(place + theirs));
    for (bool keep : {false, true}) {
      StoreOptions options;
      options.folder = place;
      options.keep = keep;
      auto refused = co_await Store::open(world, std::move(options), Log());
      CHECK(refused.failed_with(ErrorCode::kExists));
      CHECK(refused.error().message().find(place + theirs) != std::string::npos);
      CHECK(files.link_status(place + theirs).ok());
    }
    must(co_await files.remove_tree(place));
  }
  // Ours, from a start whose FORMAT did not reach the disk.
  {
    auto store = co_await open_store(world, folder + "/ours");
    auto made = co_await store->create(facts_of(an_id(1), 100, 4096));
    must(std::move(made));
  }
  must(files.make_folders(folder + "/ours/trash/0123456789abcdef"));
  must(files.remove(folder + "/ours/FORMAT"));
  auto again = co_await open_store(world, folder + "/ours");
  CHECK(again->contains(an_id(1)));
}

STORE_TEST("a folder of another version is left alone") {
  must(world.files().make_folders(folder));
  {
    auto file = must(world.files().open(folder + "/FORMAT", world::OpenMode::kCreate));
    must(file->write_at(0, as_bytes("d7y store, format 2\n")));
  }
  StoreOptions options;
  options.folder = folder;
  auto opened = co_await Store::open(world, options, Log());
  CHECK(opened.failed_with(ErrorCode::kUnsupported));
}

STORE_TEST("bad facts and ids are refused") {
  auto store = co_await open_store(world, folder);
  for (std::string id : {"", "../../etc/passwd", "a/b", "a.b", "x y"}) {
    CAPTURE(id);
    auto made = co_await store->create(facts_of(id, 10, 10));
    CHECK(made.failed_with(ErrorCode::kInvalid));
    auto found = co_await store->find(id);
    CHECK(found.failed_with(ErrorCode::kInvalid));
  }
  auto zero = co_await store->create(facts_of(an_id(1), 10, 0));
  CHECK(zero.failed_with(ErrorCode::kInvalid));
  auto many = co_await store->create(facts_of(an_id(1), 1_GiB, 1));
  CHECK(many.failed_with(ErrorCode::kTooLarge));
  CHECK(many.error().message().find("ask for longer pieces") != std::string::npos);
  auto longest =
      co_await store->create(facts_of(an_id(1), kMaxPieceLength * (kMaxPieces + 1ull), kMaxPieceLength));
  CHECK(longest.failed_with(ErrorCode::kTooLarge));
  CHECK(longest.error().message().find("no content may be that long") != std::string::npos);
  auto digest = facts_of(an_id(1), 10, 10);
  digest.digest = "sha256:123";
  auto strange = co_await store->create(digest);
  CHECK(strange.failed_with(ErrorCode::kInvalid));
  CHECK(store->list().empty());
}

STORE_TEST("empty content is finished without any piece") {
  auto store = co_await open_store(world, folder);
  auto task = co_await make_task(*store, facts_of(an_id(1), 0, 4096));
  CHECK(task->piece_count() == 0);
  CHECK(task->has_everything());
  CHECK(must(task->pieces_of(0, 0)) == std::pair(0u, 0u));
  CHECK(task->claim(0).failed_with(ErrorCode::kInvalid));
  must(co_await task->finish());
  Reader reader(task, {});
  auto run = must(co_await reader.next(soon(world)));
  CHECK(run.length == 0);
  CHECK(reader.at_end());
  ExportOptions wish{.path = folder + "/out"};
  auto exported = co_await export_content(task, wish);
  CHECK(exported.ok());
  CHECK(file_bytes(world, folder + "/out").empty());
}

STORE_TEST("content of unknown length grows piece by piece and ends where it is told to") {
  auto content = made_up(10'000);
  auto store = co_await open_store(world, folder);
  auto task = co_await make_task(*store, facts_of(an_id(1), std::nullopt, 4096));
  CHECK_FALSE(task->piece_count());
  CHECK(task->claim(1).failed_with(ErrorCode::kInvalid));
  must(put_piece(*task, 0, content));
  must(put_piece(*task, 1, content));
  CHECK_FALSE(task->has_everything());
  auto finished = co_await task->finish();
  CHECK(finished.failed_with(ErrorCode::kPrecondition));
  {
    auto claim = claim_of(*task, 2);
    CHECK(claim.length() == 4096);
    must(claim.write(as_bytes(content.substr(8192))));
    CHECK(task->set_content_length(8000).failed_with(ErrorCode::kChanged));
    must(task->set_content_length(10'000));
    CHECK(claim.remaining() == 0);
    must(claim.complete({}));
  }
  CHECK(task->has_everything());
  must(co_await task->finish());
  CHECK(stored_bytes(*task, 0, 20'000) == content);
  CHECK(task->set_content_length(9'999).failed_with(ErrorCode::kChanged));
}

STORE_TEST("content of unknown length may end exactly with a piece") {
  auto content = made_up(8192);
  auto store = co_await open_store(world, folder);
  auto task = co_await make_task(*store, facts_of(an_id(1), std::nullopt, 4096));
  must(put_piece(*task, 0, content));
  must(put_piece(*task, 1, content));
  {
    auto claim = claim_of(*task, 2);
    must(task->set_content_length(8192));
    CHECK(claim.length() == 0);
    CHECK(claim.buffer().empty());
  }
  CHECK(task->has_everything());
  must(co_await task->finish());
  CHECK(must(task->file()->status()).size == 8192);
}

STORE_TEST("a removed task is not found, but those who hold it read it to its end") {
  auto content = made_up(8000);
  auto store = co_await open_store(world, folder);
  auto task = co_await make_task(*store, facts_of(an_id(1), content.size(), 4000));
  must(put_piece(*task, 0, content));
  must(store->remove(an_id(1)));
  CHECK(store->remove(an_id(1)).failed_with(ErrorCode::kNotFound));
  CHECK_FALSE(store->contains(an_id(1)));
  CHECK(task->removed());
  must(put_piece(*task, 1, content));
  must(co_await task->finish());
  CHECK(stored_bytes(*task, 0, 8000) == content);

  auto fresh = co_await make_task(*store, facts_of(an_id(1), content.size(), 4000));
  CHECK(fresh->stored() == 0);
  task = {};
  must(put_piece(*fresh, 0, content));
  CHECK(stored_piece(*fresh, 0) == content.substr(0, 4000));
  // The old one's folder goes in the background.
  for (int turn = 0; turn < 1000 && !must(world.files().list(folder + "/trash")).empty(); ++turn) {
    co_await sleep_for(1ms);
  }
  CHECK(must(world.files().list(folder + "/trash")).empty());
}

STORE_TEST("reset() starts anew: old claims, readers and views learn of it, nothing is mixed") {
  auto old_content = made_up(8000, 1), new_content = made_up(9000, 2);
  auto store = co_await open_store(world, folder);
  auto task = co_await make_task(*store, facts_of(an_id(1), 8000, 4000));
  must(put_piece(*task, 0, old_content));
  auto claim = claim_of(*task, 1);
  must(claim.write(as_bytes(old_content.substr(4000, 1000))));
  auto view = must(task->view(1));
  Reader reader(task, {});
  PieceCursor cursor;
  CHECK(task->news(cursor).size() == 1);
  auto facts = facts_of("ignored", 9000, 4000);
  facts.version.etag = "v2";
  must(task->reset(facts));
  CHECK(task->id() == an_id(1));
  CHECK(task->stored() == 0);
  CHECK(task->news(cursor).empty());
  CHECK(claim.superseded());
  CHECK(claim.write(as_bytes("x")).failed_with(ErrorCode::kChanged));
  auto more = co_await view.more(4000, soon(world));
  CHECK(more.failed_with(ErrorCode::kChanged));
  auto run = co_await reader.next(soon(world));
  CHECK(run.failed_with(ErrorCode::kChanged));
  must(put_all(*task, new_content));
  must(co_await task->finish());
  CHECK(stored_bytes(*task, 0, 10'000) == new_content);
}

STORE_TEST("after reset() and a restart only the new content is there") {
  auto old_content = made_up(8000, 1), new_content = made_up(9000, 2);
  {
    auto store = co_await open_store(world, folder);
    auto task = co_await make_task(*store, facts_of(an_id(1), 8000, 4000));
    must(put_all(*task, old_content));
    must(task->reset(facts_of(an_id(1), 9000, 4000)));
    must(put_piece(*task, 1, new_content));
    task = {};
    must(co_await store->close());
  }
  auto store = co_await open_store(world, folder);
  auto task = must(co_await store->find(an_id(1)));
  CHECK(task->content_length() == 9000);
  CHECK(task->pieces().count() == 1);
  CHECK(stored_piece(*task, 1) == new_content.substr(4000, 4000));
}

STORE_TEST("a digest that is wrong ends in nothing, one that is right is verified once") {
  auto content = made_up(300'000);
  auto store = co_await open_store(world, folder);
  for (auto kind : {HashKind::kSha256, HashKind::kSha512, HashKind::kMd5, HashKind::kCrc32}) {
    for (bool right : {true, false}) {
      auto facts = facts_of(an_id(static_cast<int>(kind) * 2 + right), content.size(), 4096);
      Hasher hasher(kind);
      hasher.update(as_bytes(right ? content : content + "x"));
      facts.digest = Digest::of(hasher).to_string();
      CAPTURE(facts.digest);
      auto task = co_await make_task(*store, facts);
      must(put_all(*task, content));
      auto finished = co_await task->finish();
      CHECK(finished.ok() == right);
      CHECK(task->finished() == right);
      if (right) continue;
      CHECK(finished.failed_with(ErrorCode::kCorrupt));
      CHECK(task->stored() == 0);
      CHECK(task->failure() != nullptr);
      ExportOptions wish{.path = folder + "/out"};
      auto exported = co_await export_content(task, wish);
      CHECK(exported.failed_with(ErrorCode::kPrecondition));
    }
  }
}

STORE_TEST("a version that changes is noticed") {
  auto store = co_await open_store(world, folder);
  auto task = co_await make_task(*store, facts_of(an_id(1), 100, 4096));
  must(task->set_source({}, {"v1", ""}));
  must(task->set_source({{"a", "b"}}, {"v1", ""}));
  CHECK(task->set_source({}, {"v2", ""}).failed_with(ErrorCode::kChanged));
  CHECK(task->facts().version.etag == "v1");
  must(task->set_digest("sha256:" + std::string(64, 'a')));
  CHECK(task->set_digest("sha256:" + std::string(64, 'b')).failed_with(ErrorCode::kChanged));
  CHECK(task->set_digest("rot13:xx").failed_with(ErrorCode::kChanged));
}

STORE_TEST("news tell each completion once, and begin again after a loss") {
  auto content = made_up(40'000);
  auto store = co_await open_store(world, folder);
  auto task = co_await make_task(*store, facts_of(an_id(1), content.size(), 4000));
  PieceCursor cursor;
  auto list = [&](PieceCursor& at) {
    auto fresh = task->news(at);
    return std::vector<std::uint32_t>(fresh.begin(), fresh.end());
  };
  CHECK(list(cursor).empty());
  must(put_piece(*task, 7, content));
  must(put_piece(*task, 3, content));
  CHECK(list(cursor) == std::vector<std::uint32_t>{7, 3});
  CHECK(list(cursor).empty());
  must(put_piece(*task, 0, content));
  CHECK(list(cursor) == std::vector<std::uint32_t>{0});
  must(task->file()->write_at(12'001, as_bytes("?")));
  must(co_await task->revalidate());
  auto again = list(cursor);
  std::sort(again.begin(), again.end());
  CHECK(again == std::vector<std::uint32_t>{0, 7});
}

STORE_TEST("tasks that nobody uses are closed, and found again as they were") {
  StoreOptions options;
  options.folder = folder;
  options.idle_tasks = 2;
  auto opened = co_await Store::open(world, options, Log());
  auto store = must(std::move(opened));
  for (int i = 0; i < 20; ++i) {
    auto content = made_up(5000, static_cast<std::uint64_t>(i));
    auto task = co_await make_task(*store, facts_of(an_id(i), content.size(), 4096));
    must(put_all(*task, content));
    must(co_await task->finish());
  }
  CHECK(store->stats().tasks == 20);
  CHECK(store->stats().pieces == 40);
  CHECK(store->stats().bytes == 20 * 5000);
  for (int i = 0; i < 20; ++i) {
    auto task = must(co_await store->find(an_id(i)));
    CHECK(task->finished());
    CHECK(stored_bytes(*task, 0, 5000) == made_up(5000, static_cast<std::uint64_t>(i)));
  }
  must(co_await store->close());
  store.reset();
  store = co_await open_store(world, folder);
  CHECK(store->list().size() == 20);
  CHECK(store->summary(an_id(3))->finished);
  CHECK(store->stats().bytes == 20 * 5000);
}

STORE_TEST("damaged tasks are given up at the next start, all others stay") {
  auto content = made_up(5000);
  {
    auto store = co_await open_store(world, folder);
    for (int i = 0; i < 5; ++i) {
      auto task = co_await make_task(*store, facts_of(an_id(i), content.size(), 4096));
      must(put_all(*task, content));
      must(co_await task->finish());
    }
  }
  auto folder_of = [&](int i) {
    return fmt::format("{}/tasks/{}/{}", folder, an_id(i).substr(0, 2), an_id(i));
  };
  must(world.files().remove(folder_of(0) + "/content.1"));
  must(world.files().remove(folder_of(1) + "/journal"));
  {
    auto journal = must(world.files().open(folder_of(2) + "/journal", world::OpenMode::kReadWrite));
    must(journal->write_at(10, as_bytes("garbage")));
  }
  must(world.files().rename(folder_of(3),
                            fmt::format("{}/tasks/{}/{}", folder, an_id(3).substr(0, 2), an_id(33))));
  must(world.files().make_folders(folder + "/tasks/lost+found"));
  {
    auto stray = must(world.files().open(folder + "/tasks/stray", world::OpenMode::kCreate));
    must(stray->write_at(0, as_bytes("?")));
  }
  auto store = co_await open_store(world, folder);
  for (int i : {0, 1, 2, 3, 33}) {
    CAPTURE(i);
    auto found = co_await store->find(an_id(i));
    CHECK(found.failed_with(ErrorCode::kNotFound));
  }
  CHECK(store->list().size() == 1);
  auto whole = must(co_await store->find(an_id(4)));
  CHECK(whole->finished());
  // Their places can be taken again.
  for (int i : {0, 1, 2, 3}) {
    auto task = co_await make_task(*store, facts_of(an_id(i), content.size(), 4096));
    must(put_all(*task, content));
    must(co_await task->finish());
  }
  CHECK(store->list().size() == 5);
}
