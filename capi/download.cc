#include <d7y/download.h>

#include <pthread.h>

#include <cstring>
#include <exception>
#include <latch>

#include "handles.h"
#include "last_error.h"
#include "quiet_signals.h"

using namespace d7y;
using namespace d7y::capi;

namespace {

// Hands content to the callback from a thread of its own, so that a slow one holds up nobody else; not before
// the caller has the handle, which the callback may want to use.
void deliver(std::shared_ptr<std::latch> handed_out, std::shared_ptr<Transfer> transfer,
             std::weak_ptr<NodeCore> core, std::uint64_t id, d7y_data_callback callback, void* user) {
  handed_out->wait();
  std::string buffer(1 << 20, '\0');
  bool refused = false;
  for (;;) {
    std::size_t length = 0;
    auto code = transfer->read(buffer.data(), buffer.size(), &length, D7Y_FOREVER);
    if (code != D7Y_OK || length == 0) break;
    if (callback(user, buffer.data(), length) != 0) {
      refused = true;
      break;
    }
  }
  if (refused) {
    NodeCore::give_up(core, id);
    transfer->end(Error(ErrorCode::kCancelled, "the data callback asked to stop"));
  }
  transfer->delivered(refused);
}

// kExhausted when the process may have no more threads, or no memory for one.
Result<void> start_delivery(d7y_download& download, std::shared_ptr<std::latch> handed_out,
                            const d7y_download_options& options) {
  try {
    QuietSignals quiet;
    download.delivery = std::thread(deliver, std::move(handed_out), download.transfer, download.core,
                                    download.id, options.on_data, options.on_data_user);
  } catch (const std::exception& problem) {
    return error(ErrorCode::kExhausted, "start a thread: {}", problem.what());
  }
  pthread_setname_np(download.delivery.native_handle(), "d7y-deliver");
  return {};
}

}  // namespace

extern "C" {

d7y_code d7y_download_start(d7y_download** download, d7y_node* node, const char* url,
                            const d7y_download_options* options) try {
  if (download == nullptr || node == nullptr) return fail(D7Y_EINVAL, "d7y_download_start: a NULL argument");
  *download = nullptr;
  auto order = make_order(url, options);
  if (!order) return fail(order.error());
  auto handle = std::make_unique<d7y_download>();
  handle->transfer = std::make_shared<Transfer>();
  handle->core = node->core;
  handle->readable = options != nullptr && options->readable != 0;
  bool delivers = options != nullptr && options->on_data != nullptr;
  if (delivers) handle->transfer->expect_delivery();
  // Nothing may fail any more once the node has begun.
  auto handed_out = std::make_shared<std::latch>(1);
  auto& core = *node->core;
  if (core.thread->is_current())
    return fail(D7Y_EPRECONDITION, "d7y_download_start: not from a log callback");
  auto begun = core.thread->call([&]() -> Result<void> {
    if (core.closed) return Error(ErrorCode::kClosed, "the node is shutting down");
    handle->id = core.next_id++;
    auto scope = core.peer->begin(std::move(*order), handle->transfer);
    if (!scope) return std::move(scope).error();
    core.running.emplace(handle->id, NodeCore::Running{handle->transfer, std::move(*scope)});
    return {};
  });
  if (!begun) return fail(begun.error());
  if (delivers) {
    if (auto started = start_delivery(*handle, handed_out, *options); !started) {
      d7y_download_free(handle.release());
      return fail(started.error());
    }
  }
  *download = handle.release();
  handed_out->count_down();
  return D7Y_OK;
} catch (...) {
  return thrown();
}

d7y_code d7y_download_wait(d7y_download* download, uint64_t timeout_ms) try {
  if (download == nullptr) return fail(D7Y_EINVAL, "d7y_download_wait: a NULL argument");
  if (download->delivery.get_id() == std::this_thread::get_id())
    return fail(D7Y_EPRECONDITION, "d7y_download_wait: not from the download's own data callback");
  return download->transfer->wait(timeout_ms);
} catch (...) {
  return thrown();
}

int d7y_download_ended(const d7y_download* download) {
  return download == nullptr || download->transfer->ended() ? 1 : 0;
}

d7y_code d7y_download_read(d7y_download* download, void* buffer, size_t size, size_t* length,
                           uint64_t timeout_ms) try {
  if (download == nullptr || length == nullptr || (buffer == nullptr && size > 0)) {
    return fail(D7Y_EINVAL, "d7y_download_read: a NULL argument");
  }
  // Nothing read would look like the end of the content.
  *length = 0;
  if (size == 0) return fail(D7Y_EINVAL, "d7y_download_read: a buffer of no bytes");
  if (!download->readable)
    return fail(D7Y_EPRECONDITION, "d7y_download_read: the download was not started with options.readable");
  return download->transfer->read(buffer, size, length, timeout_ms);
} catch (...) {
  return thrown();
}

d7y_code d7y_download_progress(const d7y_download* download, d7y_progress* progress) try {
  if (download == nullptr || progress == nullptr)
    return fail(D7Y_EINVAL, "d7y_download_progress: a NULL argument");
  if (progress->version != D7Y_PROGRESS_VERSION) {
    return fail(D7Y_EINVAL, "d7y_progress has another version; set it to D7Y_PROGRESS_VERSION");
  }
  download->transfer->progress(*progress);
  return D7Y_OK;
} catch (...) {
  return thrown();
}

const char* d7y_download_task_id(const d7y_download* download) {
  return download == nullptr ? "" : download->transfer->task_id();
}

const char* d7y_download_header(const d7y_download* download, const char* name) try {
  return download == nullptr || name == nullptr ? nullptr : download->transfer->header(name);
} catch (...) {
  return nullptr;
}

void d7y_download_cancel(d7y_download* download) try {
  if (download == nullptr) return;
  download->transfer->end(Error(ErrorCode::kCancelled, "the download was cancelled"));
  NodeCore::give_up(download->core, download->id);
} catch (...) {  // it goes on to its end; nothing else is lost
}

void d7y_download_free(d7y_download* download) {
  if (download == nullptr) return;
  d7y_download_cancel(download);
  if (download->delivery.joinable()) {
    // From inside its own callback the thread cannot wait for itself; it ends when the callback does.
    if (download->delivery.get_id() == std::this_thread::get_id()) {
      download->delivery.detach();
    } else {
      download->delivery.join();
    }
  }
  delete download;
}

d7y_code d7y_list(d7y_node* node, const char* url, const d7y_download_options* options,
                  d7y_entry_callback callback, void* user) try {
  if (node == nullptr || callback == nullptr) return fail(D7Y_EINVAL, "d7y_list: a NULL argument");
  auto order = make_order(url, options);
  if (!order) return fail(order.error());
  std::string folder = url;
  if (!folder.ends_with('/') && folder.find('?') == std::string::npos) folder += '/';
  order->message.set_url(folder);
  auto& core = *node->core;
  auto entries = core.thread->await(
      [&] { return core.peer->list(*order, Deadline::in(order->timeout, core.thread->world().now())); });
  if (!entries) return fail(entries.error());
  for (const auto& entry : *entries) {
    d7y_entry shown{entry.url.c_str(), entry.name.c_str(), entry.length.value_or(D7Y_UNKNOWN_SIZE),
                    entry.is_folder ? 1 : 0};
    if (callback(user, &shown) != 0) return fail(D7Y_ECANCELLED, "the callback ended the listing");
  }
  return D7Y_OK;
} catch (...) {
  return thrown();
}

}  // extern "C"
