// A real nginx with a configuration of its own, on a free port of 127.0.0.1.
//
// /            files of the folder, directory listings (HTML), WebDAV PUT
// /json/       the same folder, listed as JSON
// /chunked     a chunked answer, made by gzip
// /moved       redirects to /file
// /plain/      the same folder, without range support
// /nohead/     the same folder, HEAD is refused
// The TLS port serves the same when a certificate is given.
#pragma once

#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "support/process.h"

namespace d7y::test {

// A port nobody listens on now.
inline std::uint16_t free_port() {
  const int socket = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ::bind(socket, reinterpret_cast<sockaddr*>(&address), sizeof address);
  socklen_t length = sizeof address;
  ::getsockname(socket, reinterpret_cast<sockaddr*>(&address), &length);
  ::close(socket);
  return ntohs(address.sin_port);
}

inline bool answers(std::uint16_t port) {
  const int socket = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const bool up = ::connect(socket, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
  ::close(socket);
  return up;
}

struct NginxTls {
  std::string certificate, key;  // files
  std::string protocols = "TLSv1.2 TLSv1.3";
  std::string extra;  // further directives
};

class Nginx {
 public:
  // Works in `folder`/nginx; serves `folder`/nginx/www.
  explicit Nginx(const std::string& folder, const NginxTls* tls = nullptr) : folder_(folder + "/nginx") {
    std::filesystem::create_directories(www());
    std::filesystem::permissions(folder, std::filesystem::perms::owner_all |
                                             std::filesystem::perms::others_exec |
                                             std::filesystem::perms::others_read);
    // A port can be taken between asking and listening: then another one is tried.
    for (int attempt = 0; attempt < 5 && !up_; ++attempt) start(tls);
    REQUIRE_MESSAGE(up_, "nginx does not start; see " << folder_ << "/error.log");
  }

  std::string www() const { return folder_ + "/www"; }
  std::uint16_t port() const { return port_; }
  std::uint16_t tls_port() const { return tls_port_; }
  std::string url(const std::string& path) const {
    return "http://127.0.0.1:" + std::to_string(port_) + path;
  }
  void put(const std::string& name, const std::string& content) {
    std::filesystem::create_directories(std::filesystem::path(www() + "/" + name).parent_path());
    std::ofstream(www() + "/" + name, std::ios::binary) << content;
  }
  // Lines of the access log: "METHOD TARGET STATUS RANGE".
  std::vector<std::string> log() const {
    std::ifstream in(folder_ + "/access.log");
    std::vector<std::string> lines;
    for (std::string line; std::getline(in, line);) lines.push_back(line);
    return lines;
  }

 private:
  void start(const NginxTls* tls) {
    port_ = free_port();
    std::string listen = "listen 127.0.0.1:" + std::to_string(port_) + ";";
    if (tls != nullptr) {
      do tls_port_ = free_port();
      while (tls_port_ == port_);
      listen += "listen 127.0.0.1:" + std::to_string(tls_port_) + " ssl; ssl_certificate " +
                tls->certificate + "; ssl_certificate_key " + tls->key + "; ssl_protocols " + tls->protocols +
                ";" + tls->extra;
    }
    std::ofstream(folder_ + "/nginx.conf")
        << "daemon off; master_process off; worker_processes 1; pid " << folder_ << "/pid; error_log "
        << folder_ << "/error.log;\nevents { worker_connections 256; }\nhttp {\n"
        << "log_format d7y '$request_method $request_uri $status $http_range';\naccess_log " << folder_
        << "/access.log d7y;\nclient_body_temp_path " << folder_ << "/b; proxy_temp_path " << folder_
        << "/p; fastcgi_temp_path " << folder_ << "/f; uwsgi_temp_path " << folder_ << "/u; scgi_temp_path "
        << folder_
        << "/s;\ndefault_type application/octet-stream; sendfile on; client_max_body_size 0;\nserver { "
        << listen << " root " << www() << "; autoindex on;\n"
        << "location / { dav_methods PUT DELETE; }\n"
        << "location = /moved { return 302 /file; }\n"
        << "location = /chunked { gzip on; gzip_min_length 0; gzip_types *; default_type text/plain; alias "
        << www() << "/file; }\n"
        << "location /json/ { alias " << www() << "/; autoindex_format json; }\n"
        << "location /plain/ { alias " << www() << "/; max_ranges 0; }\n"
        << "location /nohead/ { alias " << www() << "/; if ($request_method = HEAD) { return 405; } }\n"
        << "} }\n";
    process_ = std::make_unique<Process>(
        spawn("exec nginx -p " + folder_ + " -c " + folder_ + "/nginx.conf 2>/dev/null"));
    for (int i = 0; i < 5000 && !process_->ended() && !up_; ++i) {
      up_ = answers(port_) && (tls == nullptr || answers(tls_port_));
      if (!up_) ::usleep(1000);
    }
  }

  std::string folder_;
  std::uint16_t port_ = 0, tls_port_ = 0;
  bool up_ = false;
  std::unique_ptr<Process> process_;
};

}  // namespace d7y::test
