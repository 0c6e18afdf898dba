#include "net/grpc/method_counters.h"

namespace d7y::grpc {
namespace {

std::string_view type_of(MethodKind kind) {
  switch (kind) {
    case MethodKind::kUnary: return "unary";
    case MethodKind::kServerStream: return "server_stream";
    case MethodKind::kClientStream: return "client_stream";
    case MethodKind::kBidi: return "bidi_stream";
  }
  return "unary";
}

// As Go writes them; name_of() has what other languages write.
constexpr std::array<std::string_view, MethodCounters::kCodes> kGoCodes = {
    "OK",       "Canceled",        "Unknown",          "InvalidArgument",   "DeadlineExceeded",
    "NotFound", "AlreadyExists",   "PermissionDenied", "ResourceExhausted", "FailedPrecondition",
    "Aborted",  "OutOfRange",      "Unimplemented",    "Internal",          "Unavailable",
    "DataLoss", "Unauthenticated",
};

}  // namespace

MethodCounters count_method(Metrics& metrics, std::string_view path, MethodKind kind) {
  const auto slash = path.rfind('/');
  const Labels labels = {{"grpc_method", std::string(path.substr(slash + 1))},
                         {"grpc_service", std::string(path.substr(1, slash - 1))},
                         {"grpc_type", std::string(type_of(kind))}};
  MethodCounters made;
  made.started = &metrics.counter("grpc_server_started_total", "Calls that began.", labels);
  made.received = &metrics.counter("grpc_server_msg_received_total", "Messages of clients.", labels);
  made.sent = &metrics.counter("grpc_server_msg_sent_total", "Messages to clients.", labels);
  for (std::size_t code = 0; code < MethodCounters::kCodes; ++code) {
    auto with_code = labels;
    with_code.insert(with_code.begin(), {"grpc_code", std::string(kGoCodes[code])});
    made.handled[code] =
        &metrics.counter("grpc_server_handled_total", "Calls that ended, however they did.", with_code);
  }
  return made;
}

}  // namespace d7y::grpc
