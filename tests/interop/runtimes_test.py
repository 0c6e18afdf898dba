#!/usr/bin/env python3
"""More runtimes through d7yd, set up by d7yd itself: Podman, its service, containerd as Kubernetes asks it, Docker.

    tests/interop/runtimes_test.py build-dev [Runtimes.test_name]

Needs root. Docker (Debian's docker.io) is not among what .ci/dependencies installs; its tests run where it is there.
"""

import base64
import json
import os
import pathlib
import shutil
import signal
import subprocess
import unittest
from urllib.parse import quote

import image_case
from image_case import MIB, Containerd, free_port, missing_programs
from registry import Image, Layer, digest_of, random_layer

CRI_PULL = pathlib.Path(__file__).with_name('cri_pull.py')
CRIO = os.environ.get('D7Y_CRIO')


def setUpModule():
    image_case.needs('containerd', 'ctr', 'unshare', 'podman', 'zstd')


def needs_grpc():
    if subprocess.run(['/usr/bin/python3', '-c', 'import grpc'], capture_output=True, check=False).returncode:
        raise unittest.SkipTest('no python3-grpcio; run .ci/dependencies check')


class TwoRegistries(image_case.Case):
    """One for everybody, and one that wants tokens and has a port of its own at each peer's proxy."""
    REGISTRIES = {'plain.test': {}, 'wary.test': {'users': {'me': 'secret'}}}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.plain, cls.wary = cls.registries.values()
        cls.wary_mirror = cls.wary_ports[0]

    wary_ports = {}

    @classmethod
    def config_of_peer(cls, number, config):
        """Each peer has a port for the registry that wants tokens."""
        cls.wary_ports[number] = port = free_port('127.0.0.11')
        config = json.loads(json.dumps(config))
        config['proxy']['registryMirror']['registries'][1]['port'] = port
        return config


class Runtimes(TwoRegistries):
    # ---- Podman

    def podman_settings(self):
        """registries.conf as `d7yd runtime configure podman` writes it."""
        root = self.place / f'root-{self.name()}'
        path = root / 'etc' / 'containers' / 'registries.conf'
        path.parent.mkdir(parents=True)
        path.write_text('# what was there before\nunqualified-search-registries = ["plain.test"]\n')
        self.run_tool(self.cluster.tool('d7yd'), 'runtime', 'configure', 'podman', '--root', root,
                      '--proxy', f'http://{self.proxy()}', '--registry', 'plain.test',
                      '--registry', f'wary.test=http://{self.peers[0].ip}:{self.wary_mirror}')
        storage = self.place / f'storage-{self.name()}'
        self.auth = storage / 'auth.json'
        storage.mkdir()
        self.auth.write_text('{}')
        run = self.cluster.sockets / f'podman-{len(list(self.cluster.sockets.iterdir()))}'  # at most 50 characters
        env = {'CONTAINERS_REGISTRIES_CONF': str(path), 'HOME': str(storage), 'REGISTRY_AUTH_FILE': str(self.auth),
               'XDG_RUNTIME_DIR': str(storage)}
        return env, ['podman', '--root', storage / 'lib', '--runroot', run, '--tmpdir', run / 'tmp', '--storage-driver', 'vfs',
                     '--events-backend', 'none', '--cgroup-manager', 'cgroupfs']

    def test_podman_pulls(self):
        env, podman = self.podman_settings()
        image = Image([random_layer('file', 5 * MIB), Layer('text', b'x' * 100_000, form='zstd')])
        self.put(self.plain, image)
        served = self.via_task()
        # By its short name, as in the search list that was there before.
        self.run_tool(*podman, 'pull', '--quiet', f'demo/{self.name()}:v1', env=env)
        self.assertIn(f'plain.test/demo/{self.name()}', self.run_tool(*podman, 'images', env=env))
        self.crossed_once(self.plain, image)
        self.assertGreater(self.via_task(), served)

    def test_the_service_of_podman_pulls(self):
        env, podman = self.podman_settings()
        image = Image([random_layer('file', 5 * MIB)])
        name = self.put(self.plain, image, name='plain.test')
        socket = self.cluster.sockets / 'podman.sock'
        self.processes.start('podman', [*podman, 'system', 'service', '--time', '0', f'unix://{socket}'],
                             self.cluster.logs / 'podman.log', env={**os.environ, **env})
        remote = ['podman', '--remote', '--url', f'unix://{socket}']
        self.cluster.ready('podman', socket, socket.exists)
        served = self.via_task()
        self.run_tool(*remote, 'pull', '--quiet', name, env=env)
        self.assertIn(name.removesuffix(':v1'), self.run_tool(*remote, 'images', env=env))
        self.crossed_once(self.plain, image)
        self.assertGreater(self.via_task(), served)
        self.processes.stop('podman')

    def test_podman_and_a_registry_with_tokens(self):
        env, podman = self.podman_settings()
        image = Image([random_layer('file', 5 * MIB)])
        name = self.put(self.wary, image, name='wary.test')
        # Podman gives a mirror only what was said for the mirror's own address.
        self.run_tool(*podman, 'pull', '--quiet', name, env=env, code=1)
        self.assertEqual(self.wary.sent(image.layers[0].digest), 0)
        login = base64.b64encode(b'me:secret').decode()
        self.auth.write_text(json.dumps({'auths': {f'{self.peers[0].ip}:{self.wary_mirror}': {'auth': login}}}))
        self.run_tool(*podman, 'pull', '--quiet', name, env=env)
        self.crossed_once(self.wary, image)

    # ---- the CRI, as kubelet and crictl use it

    def test_the_cri_of_containerd_pulls(self):
        node = Containerd(self.cluster, self.peers[0], cri=True)
        node.start(self.registries.values())
        node.wait()
        needs_grpc()
        image = Image([random_layer('file', 5 * MIB), random_layer('small', 1000)])
        name = self.put(self.plain, image)
        served = self.via_task()
        reference = self.run_tool('/usr/bin/python3', CRI_PULL, node.socket, name)
        self.assertEqual(reference.strip(), digest_of(image.config))
        self.crossed_once(self.plain, image)
        self.assertGreaterEqual(self.via_task(), served + 2)
        self.assertTrue([line for line in self.access_log() if f'{image.layers[0].digest}?ns={quote(self.plain.address, safe="")}"' in line])
        name = self.put(self.wary, image)
        self.run_tool('/usr/bin/python3', CRI_PULL, node.socket, name, code=1)
        self.run_tool('/usr/bin/python3', CRI_PULL, node.socket, name, 'me:secret')
        self.processes.stop(node.name)


@unittest.skipUnless(CRIO, 'CRI-O: D7Y_CRIO does not say where it is')
class CriO(TwoRegistries):
    """It runs before d7yd sets it up, and reads its settings again as `systemctl reload crio` makes it."""

    @classmethod
    def setUpClass(cls):
        needs_grpc()
        super().setUpClass()
        cls.root = cls.place / 'crio'
        cls.conf = cls.root / 'etc' / 'containers' / 'registries.conf'
        cls.conf.parent.mkdir(parents=True)
        cls.conf.write_text('# what was there before\nunqualified-search-registries = ["plain.test"]\n')
        cls.socket = cls.cluster.sockets / 'crio.sock'
        cls.auth = cls.root / 'auth.json'
        cls.auth.write_text('{}')
        cls.log = cls.cluster.logs / 'crio.log'
        # Its mounts are gone with it.
        cls.processes.start('crio', ['unshare', '--mount', CRIO, '--config', cls.settings(), '--config-dir', '',
                                     '--registries-conf', cls.conf, '--registries-conf-dir', cls.root / 'none'], cls.log)
        asked = ['/usr/bin/python3', CRI_PULL, cls.socket]
        cls.cluster.ready('crio', cls.socket, lambda: not subprocess.run(asked, capture_output=True, check=False).returncode)
        mirror = cls.peers[0].ip
        said = cls.processes.run('d7yd runtime', [
            cls.cluster.tool('d7yd'), 'runtime', 'configure', 'crio', '--root', cls.root,
            '--proxy', f'http://{mirror}:{cls.peers[0].ports["proxy"]}', '--registry', 'plain.test',
            '--registry', f'wary.test=http://{mirror}:{cls.wary_mirror}'], cls.log)
        assert said, cls.log.read_text()
        cls.processes.running['crio'].send_signal(signal.SIGHUP)

    @classmethod
    def settings(cls):
        """A crio.conf with which it touches nothing of this machine's."""
        policy, run = cls.root / 'policy.json', cls.cluster.sockets / 'crio'
        policy.write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
        runtime = shutil.which('crun') or shutil.which('runc', path='/usr/bin:/usr/sbin')
        config = cls.root / 'crio.conf'
        config.write_text(f'''
[crio]
root = "{cls.root}/lib"
runroot = "{run}"
storage_driver = "vfs"
log_dir = "{cls.root}/log"
version_file = "{run}/version"
version_file_persist = "{cls.root}/version"
clean_shutdown_file = "{cls.root}/clean"
[crio.api]
listen = "{cls.socket}"
stream_port = "0"
[crio.runtime]
conmon_cgroup = "pod"
cgroup_manager = "cgroupfs"
pinns_path = "{pathlib.Path(CRIO).with_name('pinns')}"
namespaces_dir = "{run}/namespaces"
container_exits_dir = "{run}/exits"
container_attach_socket_dir = "{run}/attach"
irqbalance_config_file = ""
irqbalance_config_restore_file = "disable"
default_runtime = "here"
[crio.runtime.runtimes.here]
runtime_path = "{runtime}"
runtime_root = "{run}/runtime"
monitor_path = "{shutil.which('conmon')}"
[crio.image]
signature_policy = "{policy}"
global_auth_file = "{cls.auth}"
[crio.network]
network_dir = "{cls.root}/net"
plugin_dirs = ["{cls.root}/net-plugins"]
[crio.nri]
enable_nri = false
''')
        return config

    def pull(self, image, **more):
        return self.run_tool('/usr/bin/python3', CRI_PULL, self.socket, image, **more)

    def test_pulls_over_its_socket(self):
        image = Image([random_layer('file', 5 * MIB), random_layer('small', 1000)])
        name = self.put(self.plain, image, name='plain.test')
        served = self.via_task()
        self.assertTrue(self.pull(name).strip(), self.log.read_text())
        self.crossed_once(self.plain, image)
        self.assertGreaterEqual(self.via_task(), served + 2)
        self.assertTrue([line for line in self.access_log() if f'/v2/plain.test/demo/{self.name()}/blobs/{image.layers[0].digest}' in line])

    def test_a_short_name_is_looked_for_where_it_was_before(self):
        image = Image([random_layer('file', 5 * MIB)])
        self.put(self.plain, image)
        self.pull(f'demo/{self.name()}:v1')
        self.crossed_once(self.plain, image)

    def test_a_registry_with_tokens_has_a_port_and_its_login(self):
        image = Image([random_layer('file', 5 * MIB)])
        name = self.put(self.wary, image, name='wary.test')
        # What is said for the registry is not for its mirror.
        self.pull(name, code=1)
        self.assertEqual(self.wary.sent(image.layers[0].digest), 0)
        login = base64.b64encode(b'me:secret').decode()
        self.auth.write_text(json.dumps({'auths': {f'{self.peers[0].ip}:{self.wary_mirror}': {'auth': login}}}))
        self.pull(name)
        self.crossed_once(self.wary, image)


@unittest.skipIf(missing_programs(['dockerd']), 'dockerd: not installed here')
class Docker(image_case.Case):
    """Its daemon, which asks mirrors for Docker Hub's images only: here the proxies' registry is in the Hub's place."""
    REGISTRIES = {'hub.test': {}}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.hub, = cls.registries.values()
        cls.node = Containerd(cls.cluster, cls.peers[0])
        cls.node.start(cls.registries.values())
        cls.node.wait()
        # Two of them, each set up by d7yd for the proxy of another peer.
        cls.docker = []
        for number, peer in enumerate(cls.peers):
            cls.docker.append(cls.start_docker(f'dockerd-{number}', f'http://{peer.ip}:{peer.ports["proxy"]}'))

    @classmethod
    def start_docker(cls, name, proxy):
        root = cls.place / name
        config = root / 'etc' / 'docker' / 'daemon.json'
        config.parent.mkdir(parents=True)
        config.write_text('{"log-level": "warn"}')
        log = cls.cluster.logs / f'{name}.log'
        said = cls.processes.run('d7yd runtime', [cls.cluster.tool('d7yd'), 'runtime', 'configure', 'docker', '--root', root,
                                                  '--proxy', proxy], log)
        assert said, log.read_text()
        socket = cls.cluster.sockets / f'{name}.sock'
        # Nothing of the machine's network or firewall is touched, and its mounts are gone with it.
        cls.processes.start(name, [
            'unshare', '--mount', 'dockerd', '--config-file', config, '--host', f'unix://{socket}', '--containerd', cls.node.socket,
            '--containerd-namespace', name, '--data-root', root / 'lib', '--exec-root', cls.cluster.sockets / f'{name}-run',
            '--pidfile', root / 'pid', '--storage-driver', 'vfs', '--bridge', 'none', '--iptables=false', '--ip6tables=false'], log)
        cls.cluster.ready(name, socket, lambda: not subprocess.run(
            ['curl', '-sf', '--unix-socket', socket, 'http://docker/_ping'], capture_output=True, check=False).returncode)
        return socket

    def ask(self, docker, method, path):
        return self.run_tool('curl', '-sS', '--fail', '-X', method, '--unix-socket', docker, f'http://docker{path}')

    def pull(self, docker, image):
        said = self.ask(docker, 'POST', f'/images/create?fromImage={image}&tag=v1')
        self.assertNotIn('errorDetail', said)
        return [image['RepoTags'] for image in json.loads(self.ask(docker, 'GET', '/images/json'))]

    def test_docker_on_two_nodes_takes_each_layer_once(self):
        image = Image([random_layer(f'file-{i}', 5 * MIB) for i in range(3)])
        self.put(self.hub, image)
        name = f'demo/{self.name()}'
        for peer, docker in enumerate(self.docker):
            served = self.via_task(peer)
            self.assertIn([f'{name}:v1'], self.pull(docker, name))
            self.assertGreaterEqual(self.via_task(peer), served + 3)
        self.crossed_once(self.hub, image)

    def test_an_official_image_by_its_short_name(self):
        image = Image([random_layer('file', MIB)])
        self.hub.put('library/demo', 'v1', image)
        self.assertIn(['demo:v1'], self.pull(self.docker[0], 'demo'))
        self.crossed_once(self.hub, image)


if __name__ == '__main__':
    image_case.main()
