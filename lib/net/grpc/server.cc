#include "net/grpc/server.h"

#include <utility>

#include "net/grpc/server_core.h"

namespace d7y::grpc {

Server::Server(world::World& world, ServerOptions options, Log log)
    : core_(std::make_unique<ServerCore>(world, std::move(options), log)) {}
Server::~Server() = default;
Server::Server(Server&&) noexcept = default;
Server& Server::operator=(Server&&) noexcept = default;

void Server::method(std::string path, MethodKind kind, Handler handler, MethodOptions options) {
  core_->add(
      std::make_unique<Method>(Method{std::move(path), kind, std::move(handler), nullptr, nullptr, options}));
}

void Server::unary_bytes(std::string path, UnaryHandler handler, MethodOptions options) {
  unary_bytes(std::move(path), nullptr, std::move(handler), options);
}

void Server::unary_bytes(std::string path, PromptHandler prompt, UnaryHandler handler,
                         MethodOptions options) {
  core_->add(std::make_unique<Method>(
      Method{std::move(path), MethodKind::kUnary, nullptr, std::move(prompt), std::move(handler), options}));
}

std::vector<std::string> Server::services() const { return core_->services(); }

Result<Address> Server::listen(const Address& at, ListenerOptions options) {
  return core_->listen(at, std::move(options));
}

void Server::serve(std::unique_ptr<world::Stream> stream) { core_->serve(std::move(stream)); }

Task<Result<void>> Server::drain(Deadline deadline) { return core_->drain(deadline); }

std::size_t Server::connections() const { return core_->connections.size(); }
std::size_t Server::open_calls() const { return core_->open_calls; }

// ------------------------------------------------------------------------------- ServerCall

std::string_view ServerCall::path() const { return exchange_.path(); }
const Metadata& ServerCall::metadata() const { return exchange_.metadata(); }
Address ServerCall::remote() const { return exchange_.connection().stream().remote(); }
std::optional<world::PeerCredentials> ServerCall::peer_credentials() const {
  return exchange_.connection().stream().peer_credentials();
}
Loop& ServerCall::loop() const { return exchange_.loop(); }
Scope& ServerCall::scope() { return exchange_.scope(); }
std::optional<Duration> ServerCall::timeout() const { return exchange_.timeout(); }
Deadline ServerCall::deadline() const { return exchange_.deadline(); }
Metadata& ServerCall::initial_metadata() { return exchange_.initial_metadata(); }
Metadata& ServerCall::trailing_metadata() { return exchange_.trailing_metadata(); }
void ServerCall::send_headers() { exchange_.send_headers(); }
std::optional<TraceContext> ServerCall::trace() const {
  return exchange_.span() != nullptr ? std::optional(exchange_.span()->context) : std::nullopt;
}
void ServerCall::describe(std::string_view name, SpanValue value) {
  if (exchange_.span() != nullptr) exchange_.span()->attributes.emplace_back(name, std::move(value));
}
void ServerCall::ask_client() { exchange_.connection().ask_client(); }
TimePoint ServerCall::last_heard() const { return exchange_.connection().last_heard(); }
void ServerCall::use_gzip() { exchange_.use_gzip(); }
Task<Result<std::optional<std::string>>> ServerCall::read_bytes() { return exchange_.read(); }
std::optional<std::string> ServerCall::take_bytes() { return exchange_.take(); }
Task<Result<bool>> ServerCall::wait_bytes() { return exchange_.wait(); }
Task<Result<void>> ServerCall::write_bytes(std::string message) {
  return exchange_.write(std::move(message));
}

namespace detail {

Task<Result<std::string>> only_request(ServerCall& call) {
  CO_TRY(auto message, co_await call.read_bytes());
  if (!message) {
    co_return status_error(Code::kUnimplemented,
                           fmt::format("{} takes one request message; none came", call.path()));
  }
  co_return std::move(*message);
}

Task<Result<std::string>> no_reply(Error error) { co_return std::move(error); }

}  // namespace detail

}  // namespace d7y::grpc
