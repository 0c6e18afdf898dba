#include "world/host_address.h"

#include <doctest/doctest.h>

using namespace d7y;
using namespace d7y::world;

namespace {

struct Machine final : Network {
  std::vector<Interface> all;
  void add(const std::string& ip, bool up = true) {
    all.push_back({"if", *Address::parse_ip(ip, 0), 0, up, 0, 0});
  }

  Task<Result<std::unique_ptr<Stream>>> connect(Address, ConnectOptions, Deadline) override {
    co_return error(ErrorCode::kUnsupported, "only lists its interfaces");
  }
  Result<std::unique_ptr<Listener>> listen(const Address&, const ListenOptions&) override {
    return error(ErrorCode::kUnsupported, "only lists its interfaces");
  }
  Task<Result<std::vector<Address>>> resolve(std::string, std::uint16_t, Deadline) override {
    co_return error(ErrorCode::kUnsupported, "only lists its interfaces");
  }
  std::vector<Interface> interfaces() override { return all; }
};

}  // namespace

TEST_CASE("others reach a machine at its first usable address of the wanted family") {
  Machine machine;
  machine.add("127.0.0.1");
  machine.add("192.0.2.1", false);
  machine.add("2001:db8::1");
  machine.add("192.0.2.2");
  machine.add("192.0.2.3");
  CHECK(host_address(machine, false) == "192.0.2.2");
  CHECK(host_address(machine, true) == "2001:db8::1");
}

TEST_CASE("an address of the other family is better than loopback, which is better than none") {
  Machine machine;
  machine.add("::1");
  CHECK(host_address(machine, false) == "127.0.0.1");
  CHECK(host_address(machine, true) == "::1");
  machine.add("192.0.2.2");
  CHECK(host_address(machine, true) == "192.0.2.2");
}
