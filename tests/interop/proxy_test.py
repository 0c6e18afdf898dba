#!/usr/bin/env python3
"""d7yd as HTTP proxy and registry mirror among real processes: curl, several daemons, a scheduler."""

import hashlib
import http.client
import os
import pathlib
import re
import resource
import select
import signal
import socket
import subprocess
import sys

import rig
from rig import MIB

MIRROR = 'registryMirror: {enableTaskIDBasedBlobDigest: true}'


def blob_path(content, repository='team/app'):
    return f'/v2/{repository}/blobs/sha256:{hashlib.sha256(content).hexdigest()}'


class Reader:
    """A connection that has asked for a blob, whose bytes are compared as they are read."""

    def __init__(self, port, path, content):
        self.content, self.head, self.at = content, b'', 0
        self.socket = socket.socket()
        # What is not read is to wait at the daemon, not here.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 10)
        self.socket.connect(('127.0.0.1', port))
        self.socket.sendall(f'GET {path} HTTP/1.1\r\nHost: x\r\n\r\n'.encode())

    def read(self, room):
        """Once, whatever is here."""
        got = self.socket.recv_into(room)
        data = room[:got]
        if self.at == 0 and not self.head.endswith(b'\r\n\r\n'):
            text = self.head + bytes(data)
            body = text.find(b'\r\n\r\n') + 4
            self.head = text[:body] if body > 3 else text
            data = text[len(self.head):]
        if got == 0 or data != self.content[self.at:self.at + len(data)]:
            raise AssertionError(f'after {self.at} bytes: {"the end" if got == 0 else "other bytes"}; {self.head}')
        self.at += len(data)


def read_to(readers, end):
    """All at once, each until it has so many bytes."""
    room = memoryview(bytearray(256 << 10))
    with select.epoll() as poll:
        waiting = {reader.socket.fileno(): reader for reader in readers if reader.at < end}
        for descriptor in waiting:
            poll.register(descriptor, select.EPOLLIN)
        while waiting:
            ready = poll.poll(30)
            if not ready:
                raise AssertionError(f'{len(waiting)} of {len(readers)} readers got nothing for 30 s')
            for descriptor, _ in ready:
                waiting[descriptor].read(room)
                if waiting[descriptor].at >= end:
                    poll.unregister(descriptor)
                    del waiting[descriptor]


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

    def test_two_thousand_slow_readers_in_64_mib(self):
        # Each reads half of a blob and stops; the daemon stays small, others are served, and all get their end.
        count, content = 2000, os.urandom(4 * MIB)
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        if most < 2 * count:
            self.skipTest(f'at most {most} open files are allowed here')
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        path = blob_path(content)
        self.origin.add(path, content)
        daemon = rig.Daemon(self, 'node', proxy=MIRROR)
        asked = f'{path}?ns={self.registry}'
        self.assertEqual(self.curl(daemon, asked), content)
        descriptors = pathlib.Path(f'/proc/{daemon.pid}/fd')
        before = len(list(descriptors.iterdir()))
        readers = [Reader(daemon.proxy, asked, memoryview(content)) for _ in range(count)]
        for reader in readers:
            self.addCleanup(reader.socket.close)
        read_to(readers, len(content) // 2)

        # What they have not read is not in sockets either, but for some, more of them the busier the machine is: the daemon
        # has them in hand.
        self.assertLess(daemon.output().count('http.url='), count // 4)
        self.assertGreaterEqual(len(list(descriptors.iterdir())), before + count)
        if not rig.sanitized():
            status = pathlib.Path(f'/proc/{daemon.pid}/status').read_text()
            peak = int(re.search(r'^VmHWM:\s+(\d+) kB', status, re.MULTILINE)[1]) / 1024
            print(f'{peak:.1f} MiB resident at the peak', end=' ', file=sys.stderr)
            self.assertLessEqual(peak, 64, status)
        for _ in range(5):
            self.assertEqual(self.curl(daemon, asked), content)

        read_to(readers, len(content))
        for reader in readers:
            reader.socket.close()
        rig.until(lambda: len(list(descriptors.iterdir())) <= before + 8, 'the connections are gone')
        self.assertEqual(self.origin[path].sent, len(content))

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
