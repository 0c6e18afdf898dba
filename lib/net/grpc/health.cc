#include "net/grpc/health.h"

#include "health.pb.h"
#include "net/grpc/channel.h"

namespace d7y::grpc {

namespace {

using ::grpc::health::v1::HealthCheckRequest;
using ::grpc::health::v1::HealthCheckResponse;

constexpr const char* kCheck = "/grpc.health.v1.Health/Check";
constexpr const char* kWatch = "/grpc.health.v1.Health/Watch";

HealthCheckResponse response(HealthCheckResponse::ServingStatus status) {
  HealthCheckResponse made;
  made.set_status(status);
  return made;
}

HealthCheckResponse::ServingStatus to_wire(Health::Serving serving) {
  switch (serving) {
    case Health::Serving::kYes: return HealthCheckResponse::SERVING;
    case Health::Serving::kNo: return HealthCheckResponse::NOT_SERVING;
    case Health::Serving::kUnknown: break;
  }
  return HealthCheckResponse::UNKNOWN;
}

Task<Result<void>> judge(std::string server, std::string service, Task<Result<HealthCheckResponse>> asking) {
  CO_TRY(HealthCheckResponse answer, co_await asking);
  if (answer.status() == HealthCheckResponse::SERVING) co_return Result<void>{};
  co_return error(ErrorCode::kUnavailable, "{} says that its service \"{}\" takes no calls now (status {})",
                  server, service, static_cast<int>(answer.status()))
      .with_status(static_cast<int>(Code::kUnavailable));
}

}  // namespace

Health::Health() { services_[""] = Serving::kUnknown; }

void Health::attach(Server& server) {
  MethodOptions always;
  always.always_admit = true;
  server.unary<HealthCheckRequest, HealthCheckResponse>(
      kCheck,
      [this](ServerCall&, HealthCheckRequest request) -> Task<Result<HealthCheckResponse>> {
        auto found = services_.find(request.service());
        if (found == services_.end()) {
          co_return status_error(Code::kNotFound, fmt::format("no service \"{}\" here", request.service()));
        }
        co_return response(to_wire(found->second));
      },
      always);
  server.server_stream<HealthCheckRequest, HealthCheckResponse>(
      kWatch,
      [this](ServerCall&, HealthCheckRequest request,
             Writer<HealthCheckResponse>& out) -> Task<Result<void>> {
        std::optional<HealthCheckResponse::ServingStatus> told;
        for (;;) {
          auto found = services_.find(request.service());
          auto status =
              found == services_.end() ? HealthCheckResponse::SERVICE_UNKNOWN : to_wire(found->second);
          if (told != status) {
            told = status;
            Task<Result<void>> written = out.write(response(status));
            CO_OK(co_await written);
            continue;
          }
          CO_OK(co_await changed_.wait(Deadline::never()));
        }
      },
      always);
}

void Health::set(const std::string& service, Serving serving) {
  services_[service] = down_ ? Serving::kNo : serving;
  changed_.notify_all();
}

void Health::shut_down() {
  down_ = true;
  for (auto& [name, serving] : services_) serving = Serving::kNo;
  changed_.notify_all();
}

Task<Result<void>> check_health(Channel& channel, std::string service, Deadline deadline) {
  HealthCheckRequest request;
  request.set_service(service);
  CallOptions options;
  options.deadline = deadline;
  return judge(channel.name(), std::move(service),
               channel.unary<HealthCheckResponse>(kCheck, request, std::move(options)));
}

}  // namespace d7y::grpc
