#include <d7y/task.h>

#include <cstring>

#include "fetch/engine.h"
#include "handles.h"
#include "last_error.h"

using namespace d7y;
using namespace d7y::capi;

namespace {

void fill(d7y_task& out, const store::TaskSummary& task, const std::string& url) {
  auto seconds = [](WallTime at) {
    return std::chrono::floor<std::chrono::seconds>(at).time_since_epoch().count();
  };
  out.version = D7Y_TASK_VERSION;
  out.id = task.id.c_str();
  out.url = url.c_str();
  out.content_length = task.content_length.value_or(D7Y_UNKNOWN_SIZE);
  out.stored = task.stored;
  out.piece_length = task.piece_length;
  out.pieces_done = task.pieces;
  out.pieces_total = 0;
  if (task.content_length && task.piece_length > 0) {
    out.pieces_total =
        static_cast<std::uint32_t>((*task.content_length + task.piece_length - 1) / task.piece_length);
  }
  out.complete = task.finished ? 1 : 0;
  out.created_at = seconds(task.created_at);
  out.accessed_at = seconds(task.accessed_at);
}

}  // namespace

extern "C" {

d7y_code d7y_task_list(d7y_node* node, d7y_task_callback callback, void* user) try {
  if (node == nullptr || callback == nullptr) return fail(D7Y_EINVAL, "d7y_task_list: a NULL argument");
  auto& core = *node->core;
  auto tasks = core.thread->await([&] { return core.peer->tasks(); });
  if (!tasks) return fail(tasks.error());
  for (const auto& task : *tasks) {
    auto url = core.thread->await([&] { return core.peer->url_of(task.id); });
    d7y_task shown{};
    fill(shown, task, url);
    if (callback(user, &shown) != 0) break;
  }
  return D7Y_OK;
} catch (...) {
  return thrown();
}

d7y_code d7y_task_stat(d7y_node* node, const char* id, d7y_task* task) try {
  if (node == nullptr || id == nullptr || task == nullptr)
    return fail(D7Y_EINVAL, "d7y_task_stat: a NULL argument");
  auto& core = *node->core;
  auto found = core.thread->await([&] { return core.peer->stat(id); });
  if (!found) return fail(found.error());
  thread_local store::TaskSummary summary;
  thread_local std::string url;
  summary = std::move(*found);
  url = core.thread->await([&] { return core.peer->url_of(id); });
  fill(*task, summary, url);
  return D7Y_OK;
} catch (...) {
  return thrown();
}

d7y_code d7y_task_delete(d7y_node* node, const char* id) try {
  if (node == nullptr || id == nullptr) return fail(D7Y_EINVAL, "d7y_task_delete: a NULL argument");
  auto& core = *node->core;
  return finish(core.thread->await([&] { return core.peer->remove(id); }));
} catch (...) {
  return thrown();
}

d7y_code d7y_task_id(const char* url, const d7y_download_options* options, char* id, size_t size) try {
  if (id == nullptr) return fail(D7Y_EINVAL, "d7y_task_id: a NULL argument");
  auto order = make_order(url, options);
  if (!order) return fail(order.error());
  auto made = fetch::Engine::task_id(order->message);
  if (!made) return fail(made.error());
  if (made->size() + 1 > size)
    return fail(D7Y_EINVAL, "d7y_task_id: the buffer is too small; 129 bytes always do");
  std::memcpy(id, made->c_str(), made->size() + 1);
  return D7Y_OK;
} catch (...) {
  return thrown();
}

}  // extern "C"
