// Telling a seed of ours to whom of a herd it deals its pieces (brain_twins.cc), before they hear of it.
#include "api/dealing.h"
#include "api/methods.h"
#include "scheduler/service.h"

namespace d7y::scheduler {
namespace {

// A seed that does not answer by then tells everybody of everything.
constexpr auto kPatience = std::chrono::milliseconds(500);

}  // namespace

Task<void> Service::deal_then_send(SendParents parents) {
  const auto* child = brain_.peer(parents.peer);
  const auto* seed = brain_.peer(parents.dealer);
  if (child != nullptr && seed != nullptr) {
    api::dealing::DealRequest request;
    request.set_task_id(brain_.task(child->task)->id);
    request.set_host_id(brain_.host(child->host)->facts.id);
    request.set_later(parents.later);
    const auto host = seed->host;
    const auto facts = brain_.host(host)->facts;
    if (const auto at = Address::parse_ip(facts.ip, facts.port)) {  // announcements are checked
      Task<Result<api::dealing::DealResponse>> calling = hosts_.unary<api::dealing::DealResponse>(
          *at, api::method::dealing::kDeal, std::move(request), kPatience);
      auto told = co_await calling;
      if (!told) {
        log_.warn("seed {} does not deal: {}", facts.id, told.error().message());
        if (told.failed_with(ErrorCode::kUnsupported)) brain_.does_not_deal(host, world_.now());
      }
    }
  }
  send(parents);
}

}  // namespace d7y::scheduler
