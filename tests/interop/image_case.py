"""What tests with real clients of registries stand on: one cluster for all cases of a file.

    class Images(image_case.Case):
        REGISTRIES = {'plain.test': {}, 'wary.test': {'users': {'me': 'secret'}}}
        CONTAINERDS = True

A scheduler, a seed and two peers, each with a proxy; registries of this program (registry.py), so that they can misbehave,
under their addresses and, in the proxies' configuration, under names. Needs root.
"""

import http.client
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / 'support'))
from cluster import MIB, SEED_IP, Cluster, Peer, Processes, free_port, laid_over, tail  # noqa: E402
from images import Containerd, missing_programs  # noqa: E402
from registry import Registry  # noqa: E402

BUILD = pathlib.Path('.')
PEERS = 2
VIA_TASK = 'dragonfly_client_proxy_request_via_dfdaemon_total'


def main():
    global BUILD
    if len(sys.argv) < 2:
        sys.exit(f'usage: {sys.argv[0]} BUILD_FOLDER [Class.test ...]')
    # The file that imports this module as `image_case` and this one must share BUILD.
    sys.modules['image_case'].BUILD = pathlib.Path(sys.argv.pop(1)).resolve()
    unittest.main(verbosity=2)


def needs(*programs):
    """For setUpModule: skips the file where root or a program that .ci/dependencies brings is missing."""
    if os.getuid() != 0:
        raise unittest.SkipTest('container runtimes need root')
    missing = missing_programs(programs)
    if missing:
        raise unittest.SkipTest(f'not installed: {", ".join(missing)}; run .ci/dependencies check')


class Case(unittest.TestCase):
    maxDiff = None
    REGISTRIES = {}       # name: arguments of Registry
    CONTAINERDS = False   # one at each peer
    CONFIG = {}           # laid over the configuration of seed and peers
    IN_MEMORY = True

    @classmethod
    def setUpClass(cls):
        # In memory if there is room: containerd waits for the disk after each blob, which is not what is tested.
        memory = pathlib.Path('/dev/shm')
        roomy = cls.IN_MEMORY and memory.is_dir() and shutil.disk_usage(memory).free > 2048 * MIB
        cls.place = pathlib.Path(tempfile.mkdtemp(prefix='d7y-', dir=memory if roomy else None))
        cls.processes = Processes()
        cls.addClassCleanup(shutil.rmtree, cls.place, ignore_errors=True)
        cls.addClassCleanup(cls.processes.stop_all)
        cls.cluster = Cluster(cls.processes, BUILD, cls.place)
        cls.addClassCleanup(cls.cluster.tidy)
        cls.registries, listed = {}, []
        for i, (name, arguments) in enumerate(cls.REGISTRIES.items()):
            cls.registries[name] = cls.open_registry(f'127.0.0.{6 + i}', **arguments)
            cls.addClassCleanup(cls.registries[name].stop)
            listed.append({'name': name, 'addr': cls.registries[name].url})
        mirror = {'addr': listed[0]['addr'], 'registries': listed} if listed else {}
        config = laid_over({'proxy': {'rules': [{'regex': 'blobs/sha256.*'}, {'regex': '/files/'}],
                                      'registryMirror': mirror}}, cls.CONFIG)
        cls.cluster.start_scheduler()
        cls.seed = Peer('seed', SEED_IP, seed=True, config=config)
        cls.peers = [Peer(f'peer-{i + 1}', f'127.0.0.{11 + i}', config=cls.config_of_peer(i, config)) for i in range(PEERS)]
        cls.cluster.start_peers([cls.seed, *cls.peers])
        cls.nodes = [Containerd(cls.cluster, peer) for peer in cls.peers] if cls.CONTAINERDS else []
        for node in cls.nodes:
            node.start(cls.registries.values())
        for node in cls.nodes:
            node.wait()

    @classmethod
    def open_registry(cls, ip, **arguments):
        """Something with an address, a URL and an end."""
        return Registry(ip, **arguments)

    @classmethod
    def config_of_peer(cls, _number, config):
        return config

    def tearDown(self):
        self.cluster.alive()

    def name(self):
        return self.id().rpartition('.test_')[2].replace('_', '-')

    def run_tool(self, *command, code=0, env=None, clean=False, timeout=60, **options):
        """What it printed. `code`: 0, or anything else for a failure. `clean`: `env` is the whole environment."""
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False,
                              timeout=timeout, env={**({} if clean else os.environ), **(env or {})}, **options)
        if (done.returncode == 0) != (code == 0):
            self.fail(f'{command[0]} ended with {done.returncode}:\n{done.stdout[-1500:]}{done.stderr[-1500:]}\n'
                      + '\n'.join(f'{peer.name}:\n{tail(self.cluster.logs / f"{peer.name}.log", 5)}'
                                  for peer in [*self.peers, self.seed]))
        return done.stdout

    def put(self, where, *images, name=None, **more):
        """The image's name: each test has one of its own."""
        repository = f'demo/{self.name()}'
        where.put(repository, 'v1', *images, **more)
        return f'{name or where.address}/{repository}:v1'

    def pull_on_all_nodes(self, name):
        """At the same time."""
        pulls = [subprocess.Popen(node.pull_command(name), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
                 for node in self.nodes]
        for process in pulls:
            said, _ = process.communicate(timeout=60)
            self.assertEqual(process.returncode, 0, said)

    def crossed_once(self, where, image):
        for layer in image.layers:
            self.assertEqual(where.sent(layer.digest), len(layer.data), layer.digest)

    def metric(self, peer, name):
        connection = http.client.HTTPConnection(peer.ip, peer.ports['metrics'], timeout=10)
        connection.request('GET', '/metrics')
        text = connection.getresponse().read().decode()
        connection.close()
        return sum(float(value) for value in re.findall(rf'^{name}(?:{{.*}})? (\S+)$', text, re.MULTILINE))

    def via_task(self, peer=0):
        """Requests that this peer's proxy has answered through the swarm."""
        return self.metric(self.peers[peer], VIA_TASK)

    def access_log(self, peer=0):
        text = (self.cluster.logs / f'{self.peers[peer].name}.log').read_text(errors='replace')
        return [line for line in text.splitlines() if 'http.url=' in line]

    def proxy(self, peer=0):
        return f'{self.peers[peer].ip}:{self.peers[peer].ports["proxy"]}'


__all__ = ['MIB', 'PEERS', 'Case', 'Containerd', 'free_port', 'main', 'missing_programs', 'needs']
