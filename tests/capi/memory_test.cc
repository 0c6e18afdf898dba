// Calls that once find no memory: an error, and no exception.
#include <d7y/d7y.h>
#include <doctest/doctest.h>

#include <cstdlib>
#include <new>

namespace {

thread_local bool failing = false;
thread_local int allowed = 0;  // allocations of this thread until one fails

struct Failing {
  explicit Failing(int after) {
    allowed = after;
    failing = true;
  }
  ~Failing() { failing = false; }
};

}  // namespace

void* operator new(std::size_t size) {
  if (failing && allowed-- == 0) throw std::bad_alloc();
  if (void* memory = std::malloc(size)) return memory;
  throw std::bad_alloc();
}
// All of them, or sanitizers find one's memory freed by another's.
void* operator new[](std::size_t size) { return operator new(size); }
void* operator new(std::size_t size, const std::nothrow_t&) noexcept { return std::malloc(size); }
void* operator new[](std::size_t size, const std::nothrow_t&) noexcept { return std::malloc(size); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

namespace {

// The first allocation fails, then the second of the next call, and so on, until all are behind.
template <class Call>
int calls_until_it_goes_well(Call call) {
  for (int allocations = 0; allocations < 1000; ++allocations) {
    d7y_code code = D7Y_OK;
    {
      Failing now(allocations);
      code = call();
    }
    if (code == D7Y_OK) return allocations;
    REQUIRE(code == D7Y_EEXHAUSTED);
    REQUIRE(d7y_error_last()->code == D7Y_EEXHAUSTED);
  }
  return 1000;
}

}  // namespace

TEST_CASE("a call that finds no memory says so, wherever it was") {
  d7y_node* node = nullptr;
  CHECK(calls_until_it_goes_well([&] { return d7y_node_open(&node, nullptr); }) > 0);
  d7y_download_options options = D7Y_DOWNLOAD_OPTIONS_INIT;
  // No headers: a map of Protocol Buffers does not survive an allocation that fails.
  options.tag = "a tag that does not fit into a string by itself";
  options.on_data = [](void*, const void*, size_t) { return 0; };
  char id[129];
  const char* url = "http://127.0.0.1:9/a-file-with-a-long-name-that-nobody-serves-here";
  CHECK(calls_until_it_goes_well([&] { return d7y_task_id(url, &options, id, sizeof id); }) > 0);
  d7y_download* download = nullptr;
  CHECK(calls_until_it_goes_well([&] { return d7y_download_start(&download, node, url, &options); }) > 0);
  CHECK(d7y_download_wait(download, D7Y_FOREVER) != D7Y_OK);
  d7y_download_free(download);
  auto ignore = [](void*, const d7y_task*) { return 0; };
  CHECK(calls_until_it_goes_well([&] { return d7y_task_list(node, ignore, nullptr); }) > 0);
  size_t length = 0;
  CHECK(calls_until_it_goes_well([&] { return d7y_node_metrics(node, nullptr, 0, &length); }) > 0);
  d7y_node_free(node);
  d7y_scheduler* scheduler = nullptr;
  d7y_scheduler_options own = D7Y_SCHEDULER_OPTIONS_INIT;
  own.listen = "127.0.0.1:0";
  CHECK(calls_until_it_goes_well([&] { return d7y_scheduler_open(&scheduler, &own); }) > 0);
  d7y_scheduler_free(scheduler);
}
