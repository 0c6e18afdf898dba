// The C interface as a program sees it: only <d7y/d7y.h>, real files, real sockets on loopback.
#include <d7y/d7y.h>
#include <doctest/doctest.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <random>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

namespace fs = std::filesystem;

namespace {

struct Folder {
  Folder() {
    char pattern[] = "/tmp/d7y-capi-XXXXXX";
    REQUIRE(mkdtemp(pattern) != nullptr);
    path = pattern;
  }
  ~Folder() { fs::remove_all(path); }
  std::string file(const std::string& name) const { return (path / name).string(); }
  fs::path path;
};

std::string random_text(std::size_t size) {
  std::mt19937_64 random(42);
  std::string text(size, '\0');
  for (auto& c : text) c = static_cast<char>(random());
  return text;
}

void write_file(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::binary).write(text.data(), static_cast<std::streamsize>(text.size()));
}

std::string read_file(const std::string& path) {
  std::ostringstream out;
  out << std::ifstream(path, std::ios::binary).rdbuf();
  return out.str();
}

struct Node {
  explicit Node(d7y_node_options options = D7Y_NODE_OPTIONS_INIT) {
    auto code = d7y_node_open(&handle, &options);
    REQUIRE_MESSAGE(code == D7Y_OK, d7y_error_last()->message);
  }
  ~Node() { d7y_node_free(handle); }
  d7y_node* handle = nullptr;
};

d7y_code fetch(d7y_node* node, const std::string& url, const d7y_download_options& options,
               d7y_progress* progress = nullptr) {
  d7y_download* download = nullptr;
  auto code = d7y_download_start(&download, node, url.c_str(), &options);
  if (code != D7Y_OK) return code;
  code = d7y_download_wait(download, 60'000);
  if (progress != nullptr) {
    progress->version = D7Y_PROGRESS_VERSION;
    CHECK(d7y_download_progress(download, progress) == D7Y_OK);
  }
  d7y_download_free(download);
  return code;
}

// Python's file server on a free port, for as long as the object lives.
class Origin {
 public:
  explicit Origin(const std::string& folder) {
    auto command = "exec python3 -u -m http.server 0 --bind 127.0.0.1 --directory " + folder + " 2>/dev/null";
    int ends[2];
    REQUIRE(pipe(ends) == 0);
    child_ = fork();
    if (child_ == 0) {
      dup2(ends[1], STDOUT_FILENO);
      execl("/bin/sh", "sh", "-c", command.c_str(), nullptr);
      _exit(127);
    }
    close(ends[1]);
    std::string line;
    for (char c = 0; read(ends[0], &c, 1) == 1 && c != '\n';) line += c;  // "Serving HTTP on ... port N ..."
    close(ends[0]);
    auto at = line.find(" port ");
    REQUIRE_MESSAGE(at != std::string::npos, line);
    port_ = std::stoi(line.substr(at + 6));
  }
  ~Origin() {
    kill(child_, SIGTERM);
    waitpid(child_, nullptr, 0);
  }
  std::string url(const std::string& name) const {
    return "http://127.0.0.1:" + std::to_string(port_) + "/" + name;
  }

 private:
  pid_t child_ = 0;
  int port_ = 0;
};

bool last_says(const char* word) {
  return std::string(d7y_error_last()->message).find(word) != std::string::npos;
}

}  // namespace

TEST_CASE("wrong options and URLs are refused by name") {
  d7y_node* none = nullptr;
  d7y_node_options old = D7Y_NODE_OPTIONS_INIT;
  old.version = 99;
  CHECK(d7y_node_open(&none, &old) == D7Y_EINVAL);
  CHECK(none == nullptr);
  d7y_node_options broken = D7Y_NODE_OPTIONS_INIT;
  broken.config_text = "upload:\n  server:\n    port: many\n";
  CHECK(d7y_node_open(&none, &broken) == D7Y_EINVAL);
  CHECK(last_says("configuration:3: upload.server.port"));
  CHECK(d7y_node_check(&broken) == D7Y_EINVAL);
  CHECK(last_says("configuration:3: upload.server.port"));
  broken.config_text = "storage: {dir: /proc/nowhere}\n";  // only opening it would tell
  CHECK(d7y_node_check(&broken) == D7Y_OK);
  CHECK(d7y_node_check(nullptr) == D7Y_OK);
  CHECK(d7y_node_check(&old) == D7Y_EINVAL);
  for (const char* wrong : {"scheduler", "http://scheduler:8002", static_cast<const char*>(nullptr)}) {
    d7y_node_options lost = D7Y_NODE_OPTIONS_INIT;
    lost.schedulers = &wrong;
    lost.scheduler_count = 1;
    CHECK(d7y_node_open(&none, &lost) == D7Y_EINVAL);
    CHECK(last_says("scheduler"));
    lost.schedulers = nullptr;
    CHECK(d7y_node_open(&none, &lost) == D7Y_EINVAL);
  }

  Node node;
  d7y_download* download = nullptr;
  CHECK(d7y_download_start(&download, node.handle, "not a url", nullptr) == D7Y_EINVAL);
  CHECK(download == nullptr);
  CHECK(d7y_download_start(&download, node.handle, "gopher://x/y", nullptr) == D7Y_EUNSUPPORTED);
  CHECK(last_says("gopher"));
  d7y_download_options options = D7Y_DOWNLOAD_OPTIONS_INIT;
  options.digest = "sha256:beef";
  CHECK(d7y_download_start(&download, node.handle, "file:///etc/hostname", &options) == D7Y_EINVAL);
  options.digest = nullptr;
  const char* nothing = nullptr;
  options.headers = &nothing;
  options.header_count = 1;
  CHECK(d7y_download_start(&download, node.handle, "file:///etc/hostname", &options) == D7Y_EINVAL);
  options.headers = nullptr;
  CHECK(d7y_download_start(&download, node.handle, "file:///etc/hostname", &options) == D7Y_EINVAL);
  options.header_count = 0;
  options.filtered_query_params = &nothing;
  options.filtered_query_param_count = 1;
  CHECK(d7y_download_start(&download, node.handle, "file:///etc/hostname", &options) == D7Y_EINVAL);
  options.filtered_query_params = nullptr;
  options.output_path = "";
  CHECK(d7y_download_start(&download, node.handle, "file:///etc/hostname", &options) == D7Y_EINVAL);
  CHECK(last_says("output_path"));
  options.output_path = "/no/such/folder/out";
  CHECK(d7y_download_start(&download, node.handle, "file:///etc/hostname", &options) == D7Y_ENOTFOUND);
}

TEST_CASE("a file is downloaded to a path, and an existing output is kept unless told otherwise") {
  Folder folder;
  auto content = random_text(9'000'001);
  write_file(folder.file("in"), content);
  Node node;
  auto out = folder.file("out");
  d7y_download_options options = D7Y_DOWNLOAD_OPTIONS_INIT;
  options.output_path = out.c_str();
  d7y_progress progress{};
  auto url = "file://" + folder.file("in");
  auto code = fetch(node.handle, url, options, &progress);
  REQUIRE_MESSAGE(code == D7Y_OK, d7y_error_last()->message);
  CHECK(read_file(out) == content);
  CHECK(progress.completed == content.size());
  CHECK(progress.from_source == content.size());
  CHECK(progress.pieces_done == progress.pieces_total);
  CHECK(fetch(node.handle, url, options) == D7Y_EEXIST);
  options.overwrite = 1;
  CHECK(fetch(node.handle, url, options, &progress) == D7Y_OK);
  CHECK(progress.from_local == content.size());
  CHECK(read_file(out) == content);
}

TEST_CASE("content streams to a callback and to read, in order") {
  Folder folder;
  auto content = random_text(20'000'003);
  write_file(folder.file("in"), content);
  auto url = "file://" + folder.file("in");
  Node node;
  std::string seen;
  d7y_download_options options = D7Y_DOWNLOAD_OPTIONS_INIT;
  options.on_data = [](void* user, const void* data, std::size_t size) {
    static_cast<std::string*>(user)->append(static_cast<const char*>(data), size);
    return 0;
  };
  options.on_data_user = &seen;
  REQUIRE(fetch(node.handle, url, options) == D7Y_OK);
  CHECK(seen == content);

  d7y_download_options readable = D7Y_DOWNLOAD_OPTIONS_INIT;
  readable.readable = 1;
  d7y_download* download = nullptr;
  REQUIRE(d7y_download_start(&download, node.handle, url.c_str(), &readable) == D7Y_OK);
  std::string read;
  std::vector<char> buffer(100'000);
  for (;;) {
    std::size_t length = 0;
    REQUIRE(d7y_download_read(download, buffer.data(), buffer.size(), &length, 60'000) == D7Y_OK);
    if (length == 0) break;
    read.append(buffer.data(), length);
  }
  CHECK(read == content);
  CHECK(std::string(d7y_download_task_id(download)).size() == 64);
  std::size_t length = 1;
  CHECK(d7y_download_read(download, buffer.data(), 0, &length, 0) == D7Y_EINVAL);
  d7y_download_free(download);

  // One that delivers nothing to read must not look like one that is empty.
  REQUIRE(d7y_download_start(&download, node.handle, url.c_str(), nullptr) == D7Y_OK);
  length = 1;
  CHECK(d7y_download_read(download, buffer.data(), buffer.size(), &length, 60'000) == D7Y_EPRECONDITION);
  CHECK(length == 0);
  CHECK(d7y_download_wait(download, 60'000) == D7Y_OK);
  d7y_download_free(download);
}

TEST_CASE("a callback that refuses cancels, and a wrong digest leaves no output") {
  Folder folder;
  write_file(folder.file("in"), random_text(5'000'000));
  auto url = "file://" + folder.file("in");
  Node node;
  d7y_download_options options = D7Y_DOWNLOAD_OPTIONS_INIT;
  options.on_data = [](void*, const void*, std::size_t) { return 1; };
  CHECK(fetch(node.handle, url, options) == D7Y_ECANCELLED);
  d7y_download_options digest = D7Y_DOWNLOAD_OPTIONS_INIT;
  auto out = folder.file("out");
  auto zero = "sha256:" + std::string(64, '0');
  digest.digest = zero.c_str();
  digest.output_path = out.c_str();
  CHECK(fetch(node.handle, url, digest) == D7Y_ECORRUPT);
  CHECK(!fs::exists(out));
}

TEST_CASE(
    "a data callback has its handle, takes no signals of the host, and is not kept waiting for itself") {
  struct Seen {
    d7y_download* download = nullptr;
    bool had_handle = false, quiet = false;
    d7y_code waited = D7Y_OK;
  };
  Folder folder;
  write_file(folder.file("in"), random_text(100));
  auto url = "file://" + folder.file("in");
  Node node;
  d7y_download_options options = D7Y_DOWNLOAD_OPTIONS_INIT;
  options.on_data = [](void* user, const void*, std::size_t) {
    auto& seen = *static_cast<Seen*>(user);
    seen.had_handle = seen.download != nullptr && d7y_download_ended(seen.download) == 0;
    sigset_t blocked;
    pthread_sigmask(SIG_BLOCK, nullptr, &blocked);
    // A host that reports its crashes still sees them.
    seen.quiet =
        sigismember(&blocked, SIGTERM) && sigismember(&blocked, SIGPIPE) && !sigismember(&blocked, SIGSEGV);
    seen.waited = d7y_download_wait(seen.download, 2'000);
    return 0;
  };
  for (int i = 0; i < 20; ++i) {
    Seen seen;
    options.on_data_user = &seen;
    REQUIRE(d7y_download_start(&seen.download, node.handle, url.c_str(), &options) == D7Y_OK);
    CHECK(d7y_download_wait(seen.download, 60'000) == D7Y_OK);
    CHECK(seen.had_handle);
    CHECK(seen.quiet);
    REQUIRE(seen.waited == D7Y_EPRECONDITION);
    d7y_download_free(seen.download);
  }
}

TEST_CASE("a private folder is for this user only, and goes with its node or when that does not start") {
  // Of this process, as each store holds its lock open; others may make such folders at the same time.
  auto folders = [] {
    std::set<fs::path> found;
    for (const auto& entry : fs::directory_iterator("/proc/self/fd")) {
      std::error_code gone;
      auto target = fs::read_symlink(entry.path(), gone);
      if (target.filename() == "lock" && target.string().starts_with("/tmp/d7y-"))
        found.insert(target.parent_path());
    }
    return found;
  };
  // Those that a store was made in and nobody holds.
  auto left_behind = [] {
    std::set<fs::path> found;
    for (const auto& entry : fs::directory_iterator("/tmp")) {
      if (!entry.path().filename().string().starts_with("d7y-")) continue;
      int lock = open((entry.path() / "lock").c_str(), O_RDONLY | O_CLOEXEC);
      if (lock < 0) continue;
      struct flock holder{};
      holder.l_type = F_WRLCK;
      if (fcntl(lock, F_OFD_GETLK, &holder) == 0 && holder.l_type == F_UNLCK) found.insert(entry.path());
      close(lock);
    }
    return found;
  };
  auto mask = umask(022);
  auto left_before = left_behind();
  d7y_node_options options = D7Y_NODE_OPTIONS_INIT;
  options.upload_port = 0;
  std::set<fs::path> made;
  {
    Node node(options);
    made = folders();
    CHECK(made.size() == 1);
    for (const auto& path : made) CHECK(fs::status(path).permissions() == fs::perms::owner_all);
    options.upload_port = d7y_node_port(node.handle, D7Y_PORT_UPLOAD);
    d7y_node* second = nullptr;
    CHECK(d7y_node_open(&second, &options) == D7Y_EEXIST);
    CHECK(folders() == made);
    for (const auto& path : left_behind()) CHECK_MESSAGE(left_before.contains(path), path.string());
  }
  umask(mask);
  for (const auto& path : made) CHECK_FALSE(fs::exists(path));
}

TEST_CASE("private folders that killed programs have left go when the next node makes its own") {
  auto make = [](const fs::path& folder, std::chrono::minutes age) {
    fs::create_directories(folder / "tasks/ab/abcd");
    fs::permissions(folder, fs::perms::owner_all);
    write_file((folder / "lock").string(), "");
    write_file((folder / "tasks/ab/abcd/content.1").string(), "content");
    fs::last_write_time(folder, fs::file_time_type::clock::now() - age);
  };
  // No other test's: nodes of other programs may sweep at the same time, and must leave these as they are.
  char number[9];
  snprintf(number, sizeof number, "%08x", static_cast<unsigned>(getpid()));
  const auto named = [&](const char* begin) { return fs::path(std::string("/tmp/d7y-") + begin + number); };
  const auto killed = named("00000001"), living = named("00000002"), starting = named("00000003"),
             shared = named("00000004"), linked = named("00000005"), other = named("left-by-");
  const std::chrono::minutes long_ago(5);
  for (const auto& folder : {killed, living, shared, other}) make(folder, long_ago);
  make(starting, std::chrono::minutes(0));
  fs::permissions(shared, fs::perms::all);
  fs::create_directory_symlink(other, linked);
  const int lock = open((living / "lock").c_str(), O_RDWR | O_CLOEXEC);
  struct flock held{};
  held.l_type = F_WRLCK;
  REQUIRE(fcntl(lock, F_OFD_SETLK, &held) == 0);
  {
    Node node;
  }
  CHECK_FALSE(fs::exists(killed));
  for (const auto& folder : {living, starting, shared, other}) {
    CHECK_MESSAGE(fs::exists(folder / "tasks/ab/abcd/content.1"), folder.string());
    fs::remove_all(folder);
  }
  fs::remove(linked);
  close(lock);
}

TEST_CASE("what a store says of its tasks is for its user only") {
  Folder folder;
  write_file(folder.file("in"), random_text(100));
  auto store = folder.file("store");
  d7y_node_options options = D7Y_NODE_OPTIONS_INIT;
  options.storage_path = store.c_str();
  Node node(options);
  d7y_download_options download = D7Y_DOWNLOAD_OPTIONS_INIT;
  REQUIRE(fetch(node.handle, "file://" + folder.file("in"), download) == D7Y_OK);
  int journals = 0;
  for (const auto& entry : fs::recursive_directory_iterator(store)) {
    if (entry.path().filename() != "journal") continue;
    ++journals;
    CHECK((entry.status().permissions() & (fs::perms::group_all | fs::perms::others_all)) == fs::perms::none);
  }
  CHECK(journals == 1);
}

TEST_CASE("a process that may have no more threads is told so") {
  Folder folder;
  write_file(folder.file("in"), random_text(100));
  auto url = "file://" + folder.file("in");
  Node node;
  d7y_download_options options = D7Y_DOWNLOAD_OPTIONS_INIT;
  options.on_data = [](void*, const void*, std::size_t) { return 0; };
  REQUIRE(fetch(node.handle, url, options) == D7Y_OK);  // whatever threads the node itself wants run now
  pthread_attr_t before, impossible;
  REQUIRE(pthread_getattr_default_np(&before) == 0);
  REQUIRE(pthread_attr_init(&impossible) == 0);
  REQUIRE(pthread_attr_setstacksize(&impossible, std::size_t{1} << 50) == 0);
  REQUIRE(pthread_setattr_default_np(&impossible) == 0);
  d7y_download* download = nullptr;
  auto code = d7y_download_start(&download, node.handle, url.c_str(), &options);
  pthread_setattr_default_np(&before);
  CHECK(code == D7Y_EEXHAUSTED);
  CHECK(download == nullptr);
  CHECK(last_says("thread"));
  CHECK(fetch(node.handle, url, options) == D7Y_OK);
}

TEST_CASE("a node is freed while its downloads are read, delivered and cancelled by other threads") {
  Folder folder;
  write_file(folder.file("in"), random_text(24 << 20));
  auto url = "file://" + folder.file("in");
  for (int round = 0; round < 12; ++round) {
    d7y_node* node = nullptr;
    REQUIRE(d7y_node_open(&node, nullptr) == D7Y_OK);
    std::atomic<std::size_t> seen{0};
    std::atomic<bool> freed{false};
    std::vector<d7y_download*> downloads;
    std::vector<std::thread> users;
    for (int i = 0; i < 6; ++i) {
      d7y_download_options options = D7Y_DOWNLOAD_OPTIONS_INIT;
      options.readable = i % 2;
      options.on_data_user = &seen;
      if (options.readable == 0) {
        options.on_data = [](void* user, const void*, std::size_t size) {
          return (*static_cast<std::atomic<std::size_t>*>(user) += size) % 13 == 0 ? 1 : 0;
        };
      }
      d7y_download* download = nullptr;
      REQUIRE(d7y_download_start(&download, node, url.c_str(), &options) == D7Y_OK);
      downloads.push_back(download);
      users.emplace_back([download, &seen, &freed, last = 64 + 16 * i] {
        std::vector<char> buffer(64 << 10);
        std::size_t length = 1;
        for (int reads = 0; reads < last && length > 0; ++reads) {
          auto code = d7y_download_read(download, buffer.data(), buffer.size(), &length, 50);
          if (code != D7Y_OK && code != D7Y_ETIMEOUT) break;
          seen += length;
          if (code == D7Y_ETIMEOUT) length = 1;
        }
        while (!freed) d7y_download_cancel(download);
      });
    }
    while (seen < static_cast<std::size_t>(round) << 20) std::this_thread::yield();
    d7y_node_free(node);
    freed = true;
    for (auto& user : users) user.join();
    for (auto* download : downloads) {
      CHECK(d7y_download_wait(download, 60'000) <= D7Y_OK);
      CHECK(d7y_download_ended(download));
      d7y_download_free(download);
    }
  }
}

TEST_CASE("stored tasks are listed, told about and deleted") {
  Folder folder;
  write_file(folder.file("in"), random_text(4'500'000));
  auto url = "file://" + folder.file("in");
  Node node;
  d7y_download_options options = D7Y_DOWNLOAD_OPTIONS_INIT;
  REQUIRE(fetch(node.handle, url, options) == D7Y_OK);
  char id[129];
  REQUIRE(d7y_task_id(url.c_str(), &options, id, sizeof id) == D7Y_OK);
  int count = 0;
  REQUIRE(d7y_task_list(
              node.handle,
              [](void* user, const d7y_task*) {
                ++*static_cast<int*>(user);
                return 0;
              },
              &count) == D7Y_OK);
  CHECK(count == 1);
  d7y_task task{};
  REQUIRE(d7y_task_stat(node.handle, id, &task) == D7Y_OK);
  CHECK(task.complete == 1);
  CHECK(task.content_length == 4'500'000);
  CHECK(task.pieces_total == 2);
  CHECK(d7y_task_delete(node.handle, id) == D7Y_OK);
  CHECK(d7y_task_delete(node.handle, id) == D7Y_ENOTFOUND);
}

TEST_CASE("a folder is listed with paths that stay inside it") {
  Folder folder;
  fs::create_directories(folder.path / "tree" / "sub");
  write_file(folder.file("tree/a"), "1");
  write_file(folder.file("tree/sub/b"), "22");
  Node node;
  std::vector<std::string> paths;
  auto url = "file://" + folder.file("tree") + "/";
  auto collect = [](void* user, const d7y_entry* entry) {
    static_cast<std::vector<std::string>*>(user)->push_back(entry->path);
    return 0;
  };
  auto code = d7y_list(node.handle, url.c_str(), nullptr, collect, &paths);
  REQUIRE_MESSAGE(code == D7Y_OK, d7y_error_last()->message);
  std::sort(paths.begin(), paths.end());
  CHECK(paths == std::vector<std::string>{"a", "sub", "sub/b"});
}

TEST_CASE("a client without a store downloads through a daemon's socket") {
  Folder folder;
  auto content = random_text(12'345'678);
  write_file(folder.file("in"), content);
  auto url = "file://" + folder.file("in");
  auto socket = folder.file("d.sock");
  auto store = folder.file("store");
  d7y_node_options daemon_options = D7Y_NODE_OPTIONS_INIT;
  daemon_options.storage_path = store.c_str();
  daemon_options.download_socket = socket.c_str();
  Node daemon(daemon_options);
  d7y_node* client = nullptr;
  REQUIRE_MESSAGE(d7y_node_connect(&client, socket.c_str(), 5'000) == D7Y_OK, d7y_error_last()->message);

  auto linked = folder.file("linked");
  d7y_download_options options = D7Y_DOWNLOAD_OPTIONS_INIT;
  options.output_path = linked.c_str();
  d7y_progress progress{};
  auto code = fetch(client, url, options, &progress);
  REQUIRE_MESSAGE(code == D7Y_OK, d7y_error_last()->message);
  CHECK(read_file(linked) == content);
  CHECK(progress.from_source == content.size());

  auto written = folder.file("written");
  options.output_path = written.c_str();
  options.transfer = 1;
  options.range = "bytes=5000000-5000999";
  code = fetch(client, url, options);
  REQUIRE_MESSAGE(code == D7Y_OK, d7y_error_last()->message);
  CHECK(read_file(written) == content.substr(5'000'000, 1000));

  d7y_download_options missing = D7Y_DOWNLOAD_OPTIONS_INIT;
  CHECK(fetch(client, "file://" + folder.file("nothing"), missing) == D7Y_ENOTFOUND);
  d7y_node_free(client);
}

TEST_CASE("a daemon that does not answer, or hangs up, or stops, is none") {
  Folder folder;
  auto path = folder.file("mute.sock");
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  int mute = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  REQUIRE(bind(mute, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
  REQUIRE(listen(mute, 8) == 0);  // the kernel takes the connection, nobody reads it
  d7y_node* client = nullptr;
  CHECK(d7y_node_connect(&client, path.c_str(), 100) == D7Y_ETIMEOUT);
  CHECK(client == nullptr);
  CHECK(last_says("mute.sock"));
  std::thread rude([mute] {
    for (int taken; (taken = accept(mute, nullptr, nullptr)) >= 0;) close(taken);
  });
  CHECK(d7y_node_connect(&client, path.c_str(), 20'000) < D7Y_OK);
  CHECK(client == nullptr);
  shutdown(mute, SHUT_RDWR);
  rude.join();
  close(mute);

  auto socket = folder.file("d.sock");
  d7y_node_options options = D7Y_NODE_OPTIONS_INIT;
  options.download_socket = socket.c_str();
  Node daemon(options);
  REQUIRE(d7y_node_connect(&client, socket.c_str(), 20'000) == D7Y_OK);
  d7y_node_free(client);
  client = nullptr;
  REQUIRE(d7y_node_drain(daemon.handle, 20'000) == D7Y_OK);
  CHECK(d7y_node_connect(&client, socket.c_str(), 20'000) < D7Y_OK);
  CHECK(client == nullptr);
}

TEST_CASE("a scheduler, a seed and two peers in one process read the origin once") {
  Folder folder;
  auto content = random_text(40'000'000);
  write_file(folder.file("in"), content);
  // A seed reads no files for others, so the origin is a real HTTP server.
  Origin origin(folder.path.string());
  auto url = origin.url("in");
  d7y_scheduler_options scheduler_options = D7Y_SCHEDULER_OPTIONS_INIT;
  scheduler_options.listen = "127.0.0.1:0";
  d7y_scheduler* scheduler = nullptr;
  REQUIRE_MESSAGE(d7y_scheduler_open(&scheduler, &scheduler_options) == D7Y_OK, d7y_error_last()->message);
  auto address = "127.0.0.1:" + std::to_string(d7y_scheduler_port(scheduler));
  const char* addresses[] = {address.c_str()};
  {
    d7y_node_options options = D7Y_NODE_OPTIONS_INIT;
    options.schedulers = addresses;
    options.scheduler_count = 1;
    options.ip = "127.0.0.1";
    options.hostname = "seed";
    options.seed = 1;
    Node seed(options);
    options.seed = 0;
    options.hostname = "one";
    Node one(options);
    options.hostname = "two";
    Node two(options);
    std::uint64_t from_source = 0;
    int number = 0;
    for (auto* node : {&one, &two}) {
      auto out = folder.file("out" + std::to_string(number++));
      d7y_download_options download = D7Y_DOWNLOAD_OPTIONS_INIT;
      download.output_path = out.c_str();
      d7y_progress progress{};
      auto code = fetch(node->handle, url, download, &progress);
      REQUIRE_MESSAGE(code == D7Y_OK, d7y_error_last()->message);
      CHECK(read_file(out) == content);
      CHECK(progress.from_seeds + progress.from_peers == content.size());
      from_source += progress.from_source;
    }
    CHECK(from_source == 0);
  }
  d7y_scheduler_free(scheduler);
}
