#include "swarm/host_description.h"

namespace d7y::swarm {

api::common::Host describe_host(world::World& world, const HostFacts& facts, const NetworkMeter& meter) {
  auto machine = world.machine();
  auto load = world.load();
  api::common::Host host;
  host.set_id(facts.id);
  host.set_type(facts.seed ? 1 : 0);
  host.set_hostname(facts.hostname);
  host.set_ip(facts.ip);
  host.set_port(facts.upload_port);
  host.set_download_port(facts.upload_port);
  host.set_proxy_port(facts.proxy_port);
  host.set_name(facts.name.empty() ? facts.hostname : facts.name);
  host.set_os(machine.os);
  host.set_platform(machine.platform);
  host.set_platform_family(machine.platform_family);
  host.set_platform_version(machine.platform_version);
  host.set_kernel_version(machine.kernel_version);
  host.set_scheduler_cluster_id(facts.scheduler_cluster_id);
  host.set_disable_shared(facts.disable_shared);

  auto& cpu = *host.mutable_cpu();
  cpu.set_logical_count(machine.logical_cpus);
  cpu.set_physical_count(machine.physical_cpus);
  cpu.set_percent(load.cpu_percent);
  cpu.set_process_percent(load.process_cpu_percent);

  auto& memory = *host.mutable_memory();
  memory.set_total(load.memory_total);
  memory.set_available(load.memory_available);
  memory.set_used(load.memory_used);
  memory.set_free(load.memory_free);
  if (load.memory_total > 0) {
    memory.set_used_percent(100.0 * static_cast<double>(load.memory_used) /
                            static_cast<double>(load.memory_total));
  }
  memory.set_process_used_percent(load.process_memory_percent);

  auto& network = *host.mutable_network();
  meter.fill(network);
  if (!facts.idc.empty()) network.set_idc(facts.idc);
  if (!facts.location.empty()) network.set_location(facts.location);

  auto& disk = *host.mutable_disk();
  if (auto space = world.files().space(facts.storage_folder)) {
    disk.set_total(space->total);
    disk.set_free(space->available);
    auto used = space->total - std::min(space->total, space->free);
    disk.set_used(used);
    if (space->total > 0) {
      disk.set_used_percent(100.0 * static_cast<double>(used) / static_cast<double>(space->total));
    }
  }

  host.mutable_build()->set_git_version(facts.version);
  return host;
}

}  // namespace d7y::swarm
