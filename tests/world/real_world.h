// A production world for a test, with a folder of its own.
#pragma once

#include <doctest/doctest.h>

#include <cstdlib>
#include <filesystem>
#include <string>

#include "world/uv_world.h"

namespace d7y::world {

struct RealWorld {
  std::unique_ptr<UvWorld> world = make_uv_world().value();
  std::string folder = make_folder();

  RealWorld() = default;
  RealWorld(const RealWorld&) = delete;
  RealWorld& operator=(const RealWorld&) = delete;
  ~RealWorld() { std::filesystem::remove_all(folder); }

  UvWorld* operator->() { return world.get(); }
  UvWorld& operator*() { return *world; }
  std::string path(const std::string& name) const { return folder + "/" + name; }
  Deadline in(Duration time) { return Deadline::in(time, world->now()); }
  Deadline soon() { return in(std::chrono::seconds(20)); }

  // Runs `task` to its end.
  template <class T>
  T wait(Task<T> task) {
    auto value = world->wait_for(std::move(task));
    REQUIRE(value.has_value());
    return std::move(*value);
  }

 private:
  static std::string make_folder() {
    std::string name = std::filesystem::temp_directory_path() / "d7y-world-XXXXXX";
    if (::mkdtemp(name.data()) == nullptr) std::abort();
    return name;
  }
};

}  // namespace d7y::world
