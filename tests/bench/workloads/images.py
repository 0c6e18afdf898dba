"""Images through d7yd's proxy: containerd's pulls, the first byte of a layer, cached blobs beside nginx, many connections."""

import http.client
import resource
import socket
import subprocess
import time

from cluster import FIRST_PEER, MIB, SEED_IP, Failure, Peer, sha256_of, status_of
from images import Containerd, Registry
from measure import Contender, compare, ratio, timed
from stage import GIB, workload

IMAGE, LAYERS, NODES = 200 * MIB, 4, 3
CONNECTIONS = 2000
RUNTIME = ('docker-registry', 'umoci', 'skopeo', 'containerd', 'unshare')


def cpu_columns(size):
    return {'s': lambda s: s['wall'], 'MiB/s': lambda s: size / MIB / s['wall'],
            'CPU-s/GiB of the server': lambda s: s['server_cpu'] * GIB / size if 'server_cpu' in s else None}


class Pulls:
    """A registry with an image, and nodes with a containerd and a d7yd each."""

    def __init__(self, stage):
        self.stage, cluster = stage, stage.cluster
        cluster.start_scheduler()
        # The seed's rule and the peers' is the default one.
        self.seed = Peer('seed', SEED_IP, seed=True)
        self.peers = [Peer(f'peer-{i + 1}', f'127.0.0.{FIRST_PEER + i}') for i in range(NODES)]
        self.daemons = [self.seed, *self.peers]
        # Knows nobody but the registry.
        self.loner = Peer('peer-alone', f'127.0.0.{FIRST_PEER + NODES}', config={'scheduler': {'addrs': []}})
        cluster.start_peers([*self.daemons, self.loner])
        self.registry = Registry(cluster)
        self.registry.start()
        self.registry.fill(IMAGE, LAYERS)
        self.layers = self.registry.layers()
        self.nodes = [Containerd(cluster, peer) for peer in self.peers]
        self.lone_node = Containerd(cluster, self.loner)
        self.all_nodes = [*self.nodes, self.lone_node]
        for node in self.all_nodes:
            node.start([self.registry])
        for node in self.all_nodes:
            node.wait()

    def forget(self, *peers):
        """Nothing of the image in containerds, nor in these peers' stores."""
        for node in self.all_nodes:
            subprocess.run(node.command('image', 'rm', '--sync', self.registry.image), capture_output=True, check=False)
        for peer in peers:
            self.stage.cluster.stop_peer(peer)
        self.stage.cluster.start_peers(peers)
        self.asked = len(self.registry.requests())

    def pull(self, commands):
        """All at once, each with unpacking."""
        before = {name: self.stage.processes.cpu(name) for name in self.stage.processes.running}
        began = time.perf_counter()
        running = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
                   for command in commands]
        said = [process.communicate()[0] for process in running]
        wall = time.perf_counter() - began
        for process, text in zip(running, said):
            if process.returncode:
                raise Failure(f'ctr image pull: {text[-1000:]}')
        after = {name: self.stage.processes.cpu(name) for name in before}
        def spent(*kinds):
            return sum(after[name] - before[name] for name in before if name.startswith(kinds))
        return {'wall': wall, 'd7y_cpu': spent('peer', 'seed', 'd7ysched'), 'other_cpu': spent('containerd', 'registry')}

    def direct(self, nodes):
        return self.pull([node.command('image', 'pull', '--plain-http', '--snapshotter', node.snapshotter, self.registry.image)
                          for node in nodes])

    def through(self, nodes):
        return self.pull([node.pull_command(self.registry.image) for node in nodes])

    def crossed(self, times):
        """Fails unless each layer left the registry so often. (containerd has compared the digests.)"""
        for digest, length in self.layers.items():
            sent = sum(count for method, path, _, count in self.registry.requests()[self.asked:]
                       if method == 'GET' and digest in path)
            if not times * length <= sent <= times * length * 1.02:
                raise Failure(f'{digest} left the registry {sent / length:.2f} times, not {times}')


@workload('image-pull', '200 MiB in 4 layers by containerd: direct and through d7yd, by one node and from a seed by 3 at once',
          needs=RUNTIME, rounds=3)
def image_pull(stage, report):
    pulls = Pulls(stage)
    # What was pulled through d7yd before the warm pulls lies in the seed.
    samples = compare([
        Contender('direct', lambda: pulls.direct(pulls.nodes[:1]), lambda: pulls.forget(), lambda: pulls.crossed(1)),
        # What three containerds cost, whoever gives them their layers.
        Contender('direct, 3 nodes', lambda: pulls.direct(pulls.nodes), lambda: pulls.forget(), lambda: pulls.crossed(NODES)),
        Contender('cold, 1 node alone', lambda: pulls.through([pulls.lone_node]), lambda: pulls.forget(pulls.loner),
                  lambda: pulls.crossed(1)),
        Contender('cold, 1 node', lambda: pulls.through(pulls.nodes[:1]), lambda: pulls.forget(*pulls.daemons),
                  lambda: pulls.crossed(1)),
        Contender('warm, 3 nodes', lambda: pulls.through(pulls.nodes), lambda: seeded(pulls), lambda: pulls.crossed(0)),
    ], stage, 1024)
    report.table(samples, {'s': lambda s: s['wall'], 'CPU s of d7y': lambda s: s['d7y_cpu'],
                           'CPU s of containerds and registry': lambda s: s['other_cpu']})
    report.target('wall, cold through one node / direct', ratio(samples, 'cold, 1 node', 'direct'), at_most=1.05)
    report.target('wall, cold through one node without a seed / direct', ratio(samples, 'cold, 1 node alone', 'direct'), at_most=1.05)
    report.target('wall, warm on three nodes at once / one direct', ratio(samples, 'warm, 3 nodes', 'direct'), at_most=1.1)
    report.target('wall, warm on three nodes at once / direct on three at once', ratio(samples, 'warm, 3 nodes', 'direct, 3 nodes'),
                  at_most=1.1)


def seeded(pulls):
    """The seed has the image, and nobody else."""
    pulls.forget(*pulls.daemons)
    pulls.through(pulls.nodes[:1])
    pulls.forget(*pulls.peers)


def first_byte(address, path, headers):
    """Seconds until the first byte of the body, on a new connection; the body is read to its end."""
    host, _, port = address.partition(':')
    connection = http.client.HTTPConnection(host, int(port), timeout=60)
    began = time.perf_counter()
    connection.request('GET', path, headers=headers)
    answer = connection.getresponse()
    if answer.status != 200 or not answer.read(1):
        raise Failure(f'{address}{path}: status {answer.status}')
    seconds = time.perf_counter() - began
    size = 1 + len(answer.read())
    connection.close()
    return {'ms': seconds * 1000, 'size': size}


@workload('layer-first-byte', 'of a layer of 8 MiB that nobody has yet, directly and through d7yd and a seed', needs=RUNTIME,
          rounds=20)
def layer_first_byte(stage, report):
    cluster = stage.cluster
    cluster.start_scheduler()
    peer = Peer('peer-1', f'127.0.0.{FIRST_PEER}')
    daemons = [Peer('seed', SEED_IP, seed=True), peer]
    cluster.start_peers(daemons)
    registry = Registry(cluster, repository='demo/layers')
    registry.start()
    registry.fill((stage.rounds + 1) * 8 * MIB, stage.rounds + 1)
    runs = {'direct': [], 'through d7yd': []}
    proxy = f'{peer.ip}:{peer.ports["proxy"]}'
    for number, (digest, size) in enumerate(registry.layers().items()):
        path = f'/v2/{registry.repository}/blobs/{digest}'
        ways = {'direct': (registry.address, {}), 'through d7yd': (proxy, {'X-Dragonfly-Registry': registry.url})}
        first_byte(registry.address, path, {})  # into the page cache
        for name, (address, headers) in list(ways.items())[::1 if number % 2 else -1]:
            sample = first_byte(address, path, headers)
            if sample['size'] != size:
                raise Failure(f'{address} gave {sample["size"]} bytes of {size}')
            if number > 0:
                runs[name].append(sample)
    report.table(runs, {'ms': lambda s: s['ms']})
    report.target('ms later than directly', [through['ms'] - direct['ms'] for direct, through in
                                             zip(runs['direct'], runs['through d7yd'])], at_most=5)


class Blob:
    """A blob at nginx and, complete, at a d7yd whose configured registry nginx is."""

    def __init__(self, stage, size, counted=False):
        content = stage.file(f'blob-{size // MIB}m', size)
        self.digest = sha256_of(content)
        root = stage.out('root')
        folder = root / 'v2' / 'demo' / 'blobs'
        folder.mkdir(parents=True)
        (folder / f'sha256:{self.digest}').hardlink_to(content)
        origin = stage.cluster.start_origin(root, counted=counted)
        self.peer = stage.cluster.start_peer(Peer('peer', f'127.0.0.{FIRST_PEER}', config={
            'proxy': {'registryMirror': {'addr': origin}}}))
        self.path = f'/v2/demo/blobs/sha256:{self.digest}'
        self.urls = {'nginx': origin + self.path, 'd7yd': f'http://{self.peer.ip}:{self.peer.ports["proxy"]}{self.path}'}
        self.servers = {'nginx': 'origin', 'd7yd': 'peer'}
        for url in self.urls.values():
            done = subprocess.run(f"curl -sSf '{url}' | sha256sum", shell=True, capture_output=True, text=True, check=False)
            if done.stdout.split()[:1] != [self.digest]:
                raise Failure(f'{url} gives other bytes: {done.stderr}')


@workload('cached-blob', '1 GiB that lies at a d7yd, to curl, beside nginx', needs=('nginx', 'curl'))
def cached_blob(stage, report):
    size = GIB
    blob = Blob(stage, size)

    def fetch(name):
        server = blob.servers[name]
        sample = timed(['curl', '-sSf', '-o', '/dev/null', '-w', '%{stderr}%{size_download}', blob.urls[name]],
                       stage.processes, (server,))
        return {**sample, 'server_cpu': sample[f'cpu:{server}']}
    samples = compare([Contender(name, lambda name=name: fetch(name)) for name in blob.urls], stage, 64)
    report.table(samples, cpu_columns(size))
    report.target('throughput, d7yd / nginx', ratio(samples, 'nginx', 'd7yd'), at_least=0.95)
    report.target('CPU, d7yd / nginx', ratio(samples, 'd7yd', 'nginx', 'server_cpu'), at_most=1.1)


@workload('proxy-connections', f'{CONNECTIONS} at once to a d7yd: idle, and each with a cached blob half read', needs=('nginx', 'curl'),
          rounds=1)
def proxy_connections(stage, report):
    resource.setrlimit(resource.RLIMIT_NOFILE, (3 * CONNECTIONS, max(3 * CONNECTIONS, resource.getrlimit(resource.RLIMIT_NOFILE)[1])))
    blob = Blob(stage, 64 * MIB)
    pid = stage.processes.running['peer'].pid
    samples = {}

    def look(when):
        status = status_of(pid)
        samples[when] = [{'resident': int(status['VmRSS']) / 1024, 'anonymous': int(status['RssAnon']) / 1024}]
    look('none')
    clients = [socket.create_connection((blob.peer.ip, blob.peer.ports['proxy']), timeout=60) for _ in range(CONNECTIONS)]
    question = f'HEAD {blob.path} HTTP/1.1\r\nHost: x\r\n\r\n'.encode()
    for client in clients:
        client.sendall(question)
    for client in clients:
        if not client.recv(4096).startswith(b'HTTP/1.1 200 '):
            raise Failure('a HEAD of the blob was not answered')
    look('idle, each has asked once')
    for client in clients:
        client.sendall(question.replace(b'HEAD', b'GET'))
    got = [client.recv(65536) for client in clients]
    if not all(answer.startswith(b'HTTP/1.1 200 ') for answer in got):
        raise Failure('a GET of the blob was not answered')
    look('each half read')
    peak = int(status_of(pid)['VmHWM']) / 1024
    for client in clients:
        client.close()
    report.table(samples, {'resident MiB': lambda s: s['resident'], 'anonymous MiB': lambda s: s['anonymous']})
    report.target('resident MiB of d7yd at its peak', peak, at_most=64)
