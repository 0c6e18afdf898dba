"""Images on this machine: Debian's docker-registry, an image made for it, and containerds of their own.

    registry = Registry(cluster)
    registry.start()
    registry.fill(208 * MIB, layers=4)
    node = Containerd(cluster, peer)           # its mirror is the proxy of this d7yd
    node.start([registry])
    cluster.processes.start('ctr', node.pull_command(registry.image), log)

On top of cluster.py; used by ./quickstart, by tests/interop and by the benchmarks. Needs root, as containerd does.
"""

import json
import os
import re
import shutil
import subprocess

from cluster import MIB, Failure, accepts, free_port, tail

REGISTRY_IP = '127.0.0.5'
PROGRAMS = ('docker-registry', 'umoci', 'skopeo', 'containerd', 'ctr', 'unshare')


def missing_programs(programs=PROGRAMS):
    return [name for name in programs if shutil.which(name, path=os.environ.get('PATH', '') + ':/usr/sbin') is None]


class Registry:
    """Its folder outlives it, so that an image is made once."""

    def __init__(self, cluster, repository='demo/application', tag='v1'):
        self.cluster, self.repository, self.tag = cluster, repository, tag
        self.folder = cluster.place / 'registry'
        self.folder.mkdir(parents=True, exist_ok=True)
        self.log = cluster.logs / 'registry.log'
        self.address = None

    def start(self):
        port = free_port(REGISTRY_IP)
        self.address = f'{REGISTRY_IP}:{port}'
        config = self.cluster.place / 'registry.yml'
        config.write_text(json.dumps({  # JSON is YAML
            'version': '0.1',
            'log': {'level': 'warn', 'accesslog': {'disabled': False}},
            'storage': {'filesystem': {'rootdirectory': str(self.folder)}},
            'http': {'addr': self.address},
        }))
        self.cluster.processes.start('registry', ['docker-registry', 'serve', config], self.log)
        self.cluster.ready('registry', self.address, lambda: accepts(REGISTRY_IP, port))

    @property
    def url(self):
        return f'http://{self.address}'

    @property
    def image(self):
        return f'{self.address}/{self.repository}:{self.tag}'

    def fill(self, size, layers, say=lambda text: None):
        """Makes an image of this size and pushes it, unless an earlier run has done so."""
        note = self.folder / 'made.json'
        wanted = {'size': size, 'layers': layers, 'image': f'{self.repository}:{self.tag}'}
        if note.exists() and json.loads(note.read_text()) == wanted:
            return
        say(f'making an image of {size // MIB} MiB in {layers} layers ...')
        shutil.rmtree(self.folder / 'docker', ignore_errors=True)
        note.unlink(missing_ok=True)
        layout = self.cluster.place / 'image'
        shutil.rmtree(layout, ignore_errors=True)
        tree = layout / 'layer'
        tree.mkdir(parents=True)
        try:
            self.command('umoci', 'init', '--layout', layout / 'oci')
            self.command('umoci', 'new', '--image', f'{layout}/oci:{self.tag}')
            for layer in range(layers):
                with open(tree / 'data', 'wb') as file:  # random, hence incompressible
                    for _ in range(max(1, size // layers // MIB)):
                        file.write(os.urandom(MIB))
                self.command('umoci', 'insert', '--image', f'{layout}/oci:{self.tag}', tree, f'/layer-{layer}')
            self.command('skopeo', 'copy', '--quiet', '--dest-tls-verify=false', f'oci:{layout}/oci:{self.tag}',
                         f'docker://{self.image}')
        finally:
            shutil.rmtree(layout, ignore_errors=True)
        note.write_text(json.dumps(wanted))

    def command(self, *command):
        log = self.cluster.logs / 'image.log'
        if not self.cluster.processes.run(command[0], command, log):
            raise Failure(f'{command[0]} failed; the end of {log}:\n{tail(log)}')

    def layers(self):
        """{digest: size} of the image's layers, as its manifest says."""
        done = subprocess.run(['skopeo', 'inspect', '--raw', '--tls-verify=false', f'docker://{self.image}'],
                              capture_output=True, text=True, check=False)
        if done.returncode:
            raise Failure(f'skopeo cannot read {self.image}: {done.stderr.strip()}')
        return {layer['digest']: layer['size'] for layer in json.loads(done.stdout)['layers']}

    def requests(self):
        """Of all requests so far: [(method, path, status, bytes sent)]."""
        return [(method, path, int(status), int(count)) for method, path, status, count in
                re.findall(r'"([A-Z]+) (/v2/\S*) HTTP/[0-9.]+" (\d+) (\d+)', self.log.read_text(errors='replace'))]


class Containerd:
    """A containerd with its own root, state and socket. `cri`: with Kubernetes' interface, on the same socket."""

    def __init__(self, cluster, peer, cri=False):
        self.cluster, self.peer, self.cri = cluster, peer, cri
        self.name = f'containerd-{peer.name.rpartition("-")[2]}'
        self.folder = cluster.place / peer.name / 'node'
        self.socket = cluster.sockets / f'{self.name}.sock'
        self.log = cluster.logs / f'{self.name}.log'
        self.snapshotter = None

    @property
    def hosts(self):
        return self.folder / 'etc' / 'containerd' / 'certs.d'

    def start(self, registries):
        """`registries`: whatever has an address and a URL."""
        config = self.folder / 'etc' / 'containerd' / 'config.toml'
        config.parent.mkdir(parents=True)
        # Kubernetes' part only where it is asked for; where it unpacks must work on every file system.
        config.write_text(f'''version = 2
root = "{self.folder}/lib"
state = "{self.folder}/run"
disabled_plugins = [{'' if self.cri else '"io.containerd.grpc.v1.cri", '}"io.containerd.internal.v1.opt"]

[grpc]
  address = "{self.socket}"
''' + ('''
[plugins."io.containerd.grpc.v1.cri".containerd]
  snapshotter = "native"
''' if self.cri else ''))
        # As on a real machine: containerd's files are d7yd's to change.
        log = self.cluster.logs / f'{self.name}-configure.log'
        proxy = f'http://{self.peer.ip}:{self.peer.ports["proxy"]}'
        if not self.cluster.processes.run(
                'd7yd runtime', [self.cluster.tool('d7yd'), 'runtime', 'configure', 'containerd', '--root', self.folder,
                                 '--proxy', proxy, *(f'--registry={each.address}={each.url}' for each in registries)], log):
            raise Failure(f'd7yd runtime configure failed; the end of {log}:\n{tail(log)}')
        # In a mount namespace: what it mounts while it unpacks is gone with it. Unlike ctr, which is told where hosts.toml is,
        # the CRI reads it at the place that the configuration names.
        command = ['containerd', '--config', config]
        if self.cri:
            command = ['sh', '-c', 'mkdir -p /etc/containerd && mount --bind "$0" /etc/containerd && exec "$@"', config.parent,
                       *command]
        self.cluster.processes.start(self.name, ['unshare', '--mount', *command], self.log)

    def command(self, *command):
        return ['ctr', '--address', str(self.socket), '--namespace', 'd7y', *map(str, command)]

    def wait(self):
        plugins = ''

        def answers():
            nonlocal plugins
            done = subprocess.run(self.command('plugins', 'ls'), capture_output=True, text=True, check=False)
            plugins = done.stdout
            return done.returncode == 0
        self.cluster.ready(self.name, self.socket, answers, pause=0.05)
        # Not every file system can be overlaid; that of a container cannot.
        self.snapshotter = 'overlayfs' if re.search(r' overlayfs .* ok', plugins) else 'native'

    def pull_command(self, image, *more):
        return self.command('image', 'pull', '--hosts-dir', self.hosts, '--snapshotter', self.snapshotter, *more, image)
