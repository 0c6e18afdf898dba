#!/usr/bin/env python3
"""d7yd as HTTP proxy and registry mirror among real processes: curl, several daemons, a scheduler."""

import hashlib
import http.client
import os
import signal
import socket
import subprocess

import rig
from rig import MIB

MIRROR = 'registryMirror: {enableTaskIDBasedBlobDigest: true}'


def blob_path(content, repository='team/app'):
    return f'/v2/{repository}/blobs/sha256:{hashlib.sha256(content).hexdigest()}'


class Test(rig.Case):
    def setUp(self):
        super().setUp()
        self.registry = f'127.0.0.1:{self.origin.port}'

    def curl(self, daemon, path, *arguments, code=0):
        out = self.folder / 'curl.out'
        done = subprocess.run(['curl', '-sS', '--max-time', '60', '-o', out, '-D', self.folder / 'curl.head', *arguments,
                               f'http://127.0.0.1:{daemon.proxy}{path}'],
                              capture_output=True, text=True, env=rig.clean_environment(), check=False)
        self.assertEqual(done.returncode, code, done.stderr)
        return out.read_bytes() if out.exists() else b''

    def head(self):
        return (self.folder / 'curl.head').read_text().lower()

    def test_a_layer_crosses_its_registry_once_for_all_nodes(self):
        content = os.urandom(24 * MIB)
        path = blob_path(content)
        self.origin.add(path, content)
        scheduler = rig.Scheduler(self, 'scheduler')
        daemons = [rig.Daemon(self, f'node{i}', scheduler=scheduler.port, seed=i == 0, proxy=MIRROR) for i in range(3)]
        for daemon in daemons[1:] + daemons[:1]:
            self.assertEqual(self.curl(daemon, f'{path}?ns={self.registry}'), content)
        self.assertEqual(self.origin[path].sent, len(content))
        line = rig.until(lambda: [x for x in daemons[1].output().splitlines() if 'http.url=' in x], 'the access log')[0]
        self.assertIn(f'http.url="{path}?ns={self.registry}"', line)
        self.assertIn('http.status_code=200', line)
        metrics = daemons[1].metrics()
        self.assertEqual(metrics['dragonfly_client_proxy_request_total'], 1)
        self.assertEqual(metrics['dragonfly_client_proxy_request_via_dfdaemon_total'], 1)

    def test_credentials_go_to_the_registry_alone(self):
        content = os.urandom(8 * MIB)
        path = blob_path(content)
        self.origin.add(path, content)
        scheduler = rig.Scheduler(self, 'scheduler')
        seed = rig.Daemon(self, 'seed', scheduler=scheduler.port, seed=True, proxy=MIRROR, arguments=['-l', 'trace'])
        peer = rig.Daemon(self, 'peer', scheduler=scheduler.port, proxy=MIRROR, arguments=['-l', 'trace'])
        self.assertEqual(self.curl(peer, f'{path}?ns={self.registry}', '-H', 'Authorization: Bearer sesame-1234',
                                   '-H', 'Cookie: sesame-5678'), content)
        self.assertEqual(self.origin[path].sent, len(content))
        self.assertTrue(all(headers.get('Authorization') == 'Bearer sesame-1234'
                            for _, _, headers in self.origin[path].requests))
        for process in (seed, peer, scheduler):
            self.assertNotIn('sesame', process.output())
        for file in [*seed.folder.rglob('*'), *peer.folder.rglob('*')]:
            if file.is_file():
                self.assertNotIn(b'sesame', file.read_bytes(), file)

    def test_a_tls_hello_is_answered_at_once_in_plain_http(self):
        daemon = rig.Daemon(self, 'node')
        with socket.create_connection(('127.0.0.1', daemon.proxy), timeout=5) as hello:
            hello.sendall(bytes.fromhex('16030100c8010000c40303') + os.urandom(190))
            answer = hello.recv(1000)
        self.assertTrue(answer.startswith(b'HTTP/1.1 400 '), answer)

    def test_registries_by_port_and_by_path(self):
        port = rig.free_port()
        self.origin.add('/v2/team/app/manifests/1', b'{"of": "ours"}')
        daemon = rig.Daemon(self, 'node', proxy=f'''registryMirror:
    registries:
      - {{name: reg.test, addr: "{self.origin.url('')}", port: {port}}}''')
        self.assertEqual(self.curl(daemon, '/v2/reg.test/team/app/manifests/1'), b'{"of": "ours"}')
        connection = http.client.HTTPConnection('127.0.0.1', port, timeout=10)
        connection.request('GET', '/v2/team/app/manifests/1')
        self.assertEqual(connection.getresponse().read(), b'{"of": "ours"}')
        connection.close()

    def test_a_daemon_that_stops_lets_running_answers_end(self):
        content = os.urandom(6 * MIB)
        path = blob_path(content)
        self.origin.add(path, content, rate=3 * MIB)
        daemon = rig.Daemon(self, 'node')
        connection = http.client.HTTPConnection('127.0.0.1', daemon.proxy, timeout=60)
        connection.request('GET', f'{path}?ns={self.registry}')
        answer = connection.getresponse()
        begun = answer.read(1000)
        daemon.signal(signal.SIGTERM)
        self.assertEqual(begun + answer.read(), content)
        connection.close()
        self.assertEqual(daemon.wait(), 0)

    def test_plain_http_by_absolute_url(self):
        content = os.urandom(MIB)
        url = self.origin.add('/files/x.bin', content)
        daemon = rig.Daemon(self, 'node', proxy='rules: [{regex: "files/"}]')
        out = self.folder / 'through'
        subprocess.run(['curl', '-sS', '-x', f'http://127.0.0.1:{daemon.proxy}', '-o', out, url],
                       check=True, env=rig.clean_environment())
        self.assertEqual(out.read_bytes(), content)
        self.assertEqual(daemon.metrics()['dragonfly_client_proxy_request_via_dfdaemon_total'], 1)


if __name__ == '__main__':
    rig.main()
