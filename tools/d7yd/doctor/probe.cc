#include "probe.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <condition_variable>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <memory>
#include <mutex>
#include <sstream>
#include <thread>

namespace tools::doctor {

namespace fs = std::filesystem;

namespace {

constexpr std::size_t kBodyLimit = 1 << 20;

class Socket {
 public:
  explicit Socket(int family) : number_(socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) {}
  ~Socket() {
    if (number_ >= 0) close(number_);
  }
  Socket(Socket&& other) noexcept : number_(other.number_) { other.number_ = -1; }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  Socket& operator=(Socket&&) = delete;
  operator int() const { return number_; }

 private:
  int number_;
};

Outcome failed(int number) { return {std::strerror(number), number}; }

bool wait_for(int socket, short events) {
  pollfd wanted{socket, events, 0};
  return poll(&wanted, 1, static_cast<int>(kPatience.count())) == 1;
}

struct Address {
  sockaddr_storage storage{};
  socklen_t size = 0;
};

std::optional<Address> numeric(const std::string& ip, std::uint16_t port) {
  Address address;
  auto* four = reinterpret_cast<sockaddr_in*>(&address.storage);
  auto* six = reinterpret_cast<sockaddr_in6*>(&address.storage);
  if (inet_pton(AF_INET, ip.c_str(), &four->sin_addr) == 1) {
    four->sin_family = AF_INET;
    four->sin_port = htons(port);
    address.size = sizeof *four;
  } else if (inet_pton(AF_INET6, ip.c_str(), &six->sin6_addr) == 1) {
    six->sin6_family = AF_INET6;
    six->sin6_port = htons(port);
    address.size = sizeof *six;
  } else {
    return std::nullopt;
  }
  return address;
}

Outcome connect_to(int socket, const sockaddr* address, socklen_t size) {
  if (socket < 0) return failed(errno);
  if (connect(socket, address, size) == 0) return {};
  if (errno != EINPROGRESS && errno != EAGAIN) return failed(errno);
  if (!wait_for(socket, POLLOUT)) return failed(ETIMEDOUT);
  int reason = 0;
  socklen_t length = sizeof reason;
  getsockopt(socket, SOL_SOCKET, SO_ERROR, &reason, &length);
  return reason == 0 ? Outcome{} : failed(reason);
}

// The whole answer of an HTTP server, which is asked to close.
std::optional<std::string> http_answer(const std::string& ip, std::uint16_t port,
                                       const std::string& request) {
  auto address = numeric(ip, port);
  if (!address) return std::nullopt;
  Socket socket(address->storage.ss_family);
  if (!connect_to(socket, reinterpret_cast<sockaddr*>(&address->storage), address->size)) return std::nullopt;
  if (send(socket, request.data(), request.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(request.size()))
    return std::nullopt;
  std::string answer;
  char buffer[16384];
  while (answer.size() < kBodyLimit && wait_for(socket, POLLIN)) {
    auto count = recv(socket, buffer, sizeof buffer, 0);
    if (count <= 0) break;
    answer.append(buffer, static_cast<std::size_t>(count));
  }
  if (!answer.starts_with("HTTP/1.")) return std::nullopt;
  return answer;
}

std::string read_text(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

bool is_number(const std::string& text) {
  return !text.empty() && text.find_first_not_of("0123456789") == std::string::npos;
}

}  // namespace

Resolved resolve(const std::string& host) {
  struct Shared {
    std::mutex mutex;
    std::condition_variable done;
    std::optional<Resolved> result;
  };
  // getaddrinfo() cannot be told to hurry; its thread is left behind when it does not, and ends with the
  // program.
  auto shared = std::make_shared<Shared>();
  std::thread([shared, host] {
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* found = nullptr;
    auto code = getaddrinfo(host.c_str(), nullptr, &hints, &found);
    Resolved result;
    if (code != 0) result.why = gai_strerror(code);
    for (auto* each = found; each != nullptr; each = each->ai_next) {
      char text[NI_MAXHOST];
      if (getnameinfo(each->ai_addr, each->ai_addrlen, text, sizeof text, nullptr, 0, NI_NUMERICHOST) == 0)
        result.addresses.emplace_back(text);
    }
    if (found != nullptr) freeaddrinfo(found);
    std::lock_guard lock(shared->mutex);
    shared->result = std::move(result);
    shared->done.notify_one();
  }).detach();
  std::unique_lock lock(shared->mutex);
  if (!shared->done.wait_for(lock, kPatience, [&] { return shared->result.has_value(); }))
    return {{}, fmt::format("no answer from the name server in {} s", kPatience.count() / 1000)};
  return *shared->result;
}

Outcome connect_tcp(const std::string& ip, std::uint16_t port) {
  auto address = numeric(ip, port);
  if (!address) return {"this is not an address", EINVAL};
  Socket socket(address->storage.ss_family);
  return connect_to(socket, reinterpret_cast<sockaddr*>(&address->storage), address->size);
}

Outcome connect_unix(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path)
    return {fmt::format("a socket's path has at most {} bytes", sizeof address.sun_path - 1), ENAMETOOLONG};
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  Socket socket(AF_UNIX);
  return connect_to(socket, reinterpret_cast<sockaddr*>(&address), sizeof address);
}

std::string local_address(const std::string& ip) {
  return ip == "0.0.0.0" ? "127.0.0.1" : ip == "::" ? "::1" : ip;
}

Outcome can_listen(const std::string& ip, std::uint16_t port) {
  auto address = numeric(ip, port);
  if (!address) return {"this is not an address", EINVAL};
  Socket socket(address->storage.ss_family);
  int on = 1;
  setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(socket, reinterpret_cast<sockaddr*>(&address->storage), address->size) != 0 ||
      listen(socket, 1) != 0)
    return failed(errno);
  return {};
}

std::string listener_of(std::uint16_t port) {
  // The socket's inode is in /proc/net/tcp, and who holds it in /proc/PID/fd (proc(5)).
  std::string inode;
  for (const char* table : {"/proc/net/tcp", "/proc/net/tcp6"}) {
    std::istringstream lines(read_text(table));
    for (std::string line; std::getline(lines, line);) {
      std::istringstream fields(line);
      std::string slot, local, remote, state, field;
      fields >> slot >> local >> remote >> state;
      if (state != "0A" || !local.ends_with(fmt::format(":{:04X}", port))) continue;
      for (int i = 0; i < 5; ++i) fields >> field;
      fields >> inode;
    }
  }
  if (inode.empty()) return {};
  auto wanted = "socket:[" + inode + "]";
  std::error_code failed;
  for (fs::directory_iterator process("/proc", failed), end; !failed && process != end;
       process.increment(failed)) {
    auto pid = process->path().filename().string();
    if (!is_number(pid)) continue;
    std::error_code denied;
    for (fs::directory_iterator each(process->path() / "fd", denied), last; !denied && each != last;
         each.increment(denied)) {
      std::error_code gone;
      if (fs::read_symlink(each->path(), gone).string() != wanted) continue;
      auto name = read_text(process->path() / "comm");
      return fmt::format("{} (pid {})", name.substr(0, name.find('\n')), pid);
    }
  }
  return {};
}

std::optional<std::string> http_get(const std::string& ip, std::uint16_t port, const std::string& path) {
  auto answer = http_answer(
      ip, port, fmt::format("GET {} HTTP/1.1\r\nHost: {}:{}\r\nConnection: close\r\n\r\n", path, ip, port));
  if (!answer || answer->size() < 13 || answer->substr(9, 3) != "200") return std::nullopt;
  auto body = answer->find("\r\n\r\n");
  return body == std::string::npos ? std::string() : answer->substr(body + 4);
}

std::optional<std::int64_t> http_date(const std::string& ip, std::uint16_t port) {
  auto answer = http_answer(
      ip, port, fmt::format("GET / HTTP/1.1\r\nHost: {}:{}\r\nConnection: close\r\n\r\n", ip, port));
  if (!answer) return std::nullopt;
  auto head = answer->substr(0, answer->find("\r\n\r\n"));
  std::transform(head.begin(), head.end(), head.begin(), [](unsigned char c) { return std::tolower(c); });
  auto at = head.find("\r\ndate:");
  if (at == std::string::npos) return std::nullopt;
  auto text = answer->substr(at + 7, answer->find("\r\n", at + 7) - at - 7);
  tm parts{};
  if (strptime(text.c_str(), " %a, %d %b %Y %H:%M:%S", &parts) == nullptr) return std::nullopt;
  return timegm(&parts);
}

HostPort split(const std::string& address) {
  HostPort parts;
  auto rest = address;
  if (auto scheme = rest.find("://"); scheme != std::string::npos) rest = rest.substr(scheme + 3);
  rest = rest.substr(0, rest.find('/'));
  auto colon = rest.rfind(':');
  if (colon != std::string::npos && rest.find(':') != colon && !rest.starts_with('['))
    colon = std::string::npos;
  if (colon != std::string::npos && rest.ends_with(']')) colon = std::string::npos;
  if (colon != std::string::npos) {
    const auto* end = rest.data() + rest.size();
    if (std::from_chars(rest.data() + colon + 1, end, parts.port).ptr != end) parts.port = 0;
  }
  parts.host = rest.substr(0, colon);
  if (parts.host.starts_with('[') && parts.host.ends_with(']'))
    parts.host = parts.host.substr(1, parts.host.size() - 2);
  return parts;
}

std::vector<std::string> command_lines() {
  std::vector<std::string> lines;
  std::error_code failed;
  for (fs::directory_iterator process("/proc", failed), end; !failed && process != end;
       process.increment(failed)) {
    if (!is_number(process->path().filename().string())) continue;
    auto line = read_text(process->path() / "cmdline");
    std::replace(line.begin(), line.end(), '\0', ' ');
    if (!line.empty()) lines.push_back(std::move(line));
  }
  return lines;
}

}  // namespace tools::doctor
