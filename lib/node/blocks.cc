#include "node/blocks.h"

#include <nlohmann/json.hpp>

namespace d7y::node {
namespace {

api::Use use_of(const fetch::Wish& wish) {
  if (!wish.replica) return api::Use::kDownload;
  return wish.has_origin() ? api::Use::kPersistentCacheUpload : api::Use::kPersistentCacheDownload;
}

// Of a replica there is none.
constexpr std::uint8_t kNoPriority = 0xff;

std::uint8_t priority_of(const fetch::Wish& wish) {
  const auto priority = static_cast<int>(wish.message.priority());
  return wish.replica || priority < 0 || priority > 6 ? kNoPriority : static_cast<std::uint8_t>(priority);
}

}  // namespace

void Blocks::take(const api::BlockList& list) {
  std::vector<std::string> complaints;
  rules_ = api::BlockRules(list, &complaints);
  for (const auto& complaint : complaints) log_.warn("{}", complaint);
}

void Blocks::take_json(const std::string& text) {
  if (text == text_) return;
  text_ = text;
  if (text.empty()) return take({});
  const auto json = nlohmann::json::parse(text, nullptr, false);
  if (json.is_discarded()) {
    log_.warn("the manager's client configuration is no JSON; its last block list stays in force");
    return;
  }
  take(api::block_list_of(json));
}

Result<void> Blocks::permit(const fetch::Wish& wish) {
  const auto& message = wish.message;
  const auto use = use_of(wish);
  api::BlockRules::Wish asked;
  asked.application = message.application();
  asked.tag = message.tag();
  asked.priority = priority_of(wish);
  if (!wish.replica) asked.url = message.url();  // that of an import is a file's of this host
  const auto why = rules_.blocked(use, asked);
  if (!why) return {};
  const auto type = wish.replica ? api::common::PERSISTENT_CACHE : api::common::STANDARD;
  const bool import = use == api::Use::kPersistentCacheUpload;
  metrics_
      .counter(import ? "dragonfly_client_upload_task_blocked_total"
                      : "dragonfly_client_download_task_blocked_total",
               "Requests refused: too many, or blocked.", {{"type", std::to_string(static_cast<int>(type))}})
      .add();
  return error(ErrorCode::kPermission, "{} is refused: its {} is on the block list of this cluster",
               wish.name(), *why);
}

}  // namespace d7y::node
