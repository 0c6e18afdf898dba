#!/usr/bin/env python3
"""`d7yd doctor` finds what is wrong with a machine, one trap at a time, and nothing where all is well.

The daemon is played by this program: a Unix socket, and HTTP servers that answer as its own do.

    tests/tools/doctor_test.py BUILD [Doctor.test ...]
"""

import email.utils
import http.server
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

BUILD = pathlib.Path(sys.argv.pop(1)).resolve()


class Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        text = self.server.texts.get(self.path)
        self.send_response(200 if text is not None else 404)
        if self.server.date is not None:
            self.send_header('Date', email.utils.formatdate(self.server.date, usegmt=True))
        self.end_headers()
        self.wfile.write((text or '').encode())

    def send_response(self, code, message=None):
        self.send_response_only(code, message)

    def log_message(self, *arguments):
        pass


class Doctor(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix='d7y-'))
        self.addCleanup(shutil.rmtree, self.folder)
        self.root = self.folder / 'root'
        (self.root / 'etc').mkdir(parents=True)
        self.socket = self.folder / 'd.sock'
        self.daemon = socket.socket(socket.AF_UNIX)
        self.addCleanup(self.daemon.close)
        self.daemon.bind(str(self.socket))
        self.daemon.listen(100)
        self.health = self.serve({'/healthy': 'ok'})
        self.metrics = self.serve({'/metrics': 'dragonfly_client_proxy_request_total 0\n'})
        self.proxy = self.serve({})
        self.scheduler = self.serve({})
        self.registry = self.serve({}, date=time.time())
        self.settings = {
            'download': {'server': {'socketPath': str(self.socket)}},
            'storage': {'dir': str(self.folder / 'store'), 'server': {'tcpPort': self.free_port()}},
            'upload': {'server': {'port': self.free_port()}},
            'health': {'server': {'ip': '127.0.0.1', 'port': self.port_of(self.health)}},
            'metrics': {'server': {'ip': '127.0.0.1', 'port': self.port_of(self.metrics)}},
            'proxy': {'server': {'ip': '127.0.0.1', 'port': self.port_of(self.proxy)}},
            'scheduler': {'addrs': [f'127.0.0.1:{self.port_of(self.scheduler)}']},
            'gc': {'policy': {'diskHighThresholdPercent': 99}},
        }

    def serve(self, texts, date=None):
        server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Answers)
        server.daemon_threads = True
        server.texts, server.date = texts, date
        thread = threading.Thread(target=server.serve_forever, kwargs={'poll_interval': 0.02})
        thread.start()

        def stop():
            server.shutdown()
            server.server_close()
            thread.join()
        self.addCleanup(stop)
        return server

    @staticmethod
    def port_of(server):
        return server.server_address[1]

    @staticmethod
    def free_port():
        with socket.socket() as probe:
            probe.bind(('127.0.0.1', 0))
            return probe.getsockname()[1]

    def tool(self, *arguments):
        return subprocess.run([BUILD / 'tools/d7yd/d7yd', *arguments], capture_output=True, text=True, check=False,
                              timeout=60, env={**os.environ, 'LC_ALL': 'C'})

    def examine(self):
        """{check: [(state, what, fix)]}, without what is about this machine's own clock."""
        config = self.folder / 'dfdaemon.yaml'
        config.write_text(json.dumps(self.settings))
        done = self.tool('doctor', '--config', config, '--root', self.root, '--json')
        self.assertEqual(done.stderr, '')
        told = json.loads(done.stdout)
        found = {}
        for finding in told['findings']:
            if finding['check'] == 'clock' and 'behind' not in finding['what'] and 'ahead' not in finding['what']:
                continue
            if finding['state'] != 'ok':
                self.assertTrue(finding['fix'], finding)
            found.setdefault(finding['check'], []).append((finding['state'], finding['what'], finding['fix']))
        problems = any(finding['state'] == 'problem' for finding in told['findings'])
        self.assertEqual(told['ok'], not problems)
        self.assertEqual(done.returncode, 1 if problems else 0)
        return found

    def configure(self, restart=True):
        registry = f'127.0.0.1:{self.port_of(self.registry)}'
        done = self.tool('runtime', 'configure', 'containerd', '--root', self.root, '--registry',
                         f'{registry}=http://{registry}', '--proxy', f'http://127.0.0.1:{self.port_of(self.proxy)}',
                         *(['--restart', '--restart-command', 'true'] if restart else []))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.hosts = self.root / 'etc/containerd/certs.d' / f'127.0.0.1_{self.port_of(self.registry)}_' / 'hosts.toml'
        self.config = self.root / 'etc/containerd/config.toml'

    def bad(self, check):
        return [entry for entry in self.examine().get(check, []) if entry[0] != 'ok']

    def one(self, check, what, state='problem', fix=''):
        """There is exactly one complaint of this kind."""
        bad = self.bad(check)
        self.assertEqual(len(bad), 1, bad)
        self.assertEqual(bad[0][0], state)
        self.assertRegex(bad[0][1], what)
        self.assertIn(fix, bad[0][2])

    def test_where_all_is_well_nothing_is_found(self):
        self.configure()
        found = self.examine()
        self.assertEqual([entry for entries in found.values() for entry in entries if entry[0] != 'ok'], [])
        for check in ('configuration', 'daemon', 'health', 'disk', 'scheduler', 'containerd', 'registry'):
            self.assertIn(check, found)

    def test_what_cannot_be_printed_is_an_error(self):
        self.configure()
        config = self.folder / 'dfdaemon.yaml'
        config.write_text(json.dumps(self.settings))
        for arguments in (('doctor', '--config', config, '--root', self.root), ('doctor', '--json', '--config', config),
                          ('doctor', '--help'), ('runtime', 'configure', 'docker', '--dry-run', '--root', self.root),
                          ('runtime', '--help'), ('--version',)):
            with self.subTest(arguments=arguments), open('/dev/full', 'w', encoding='utf-8') as full:
                done = subprocess.run([BUILD / 'tools/d7yd/d7yd', *arguments], stdout=full, stderr=subprocess.PIPE, text=True,
                                      check=False)
                self.assertEqual(done.returncode, 1)
                self.assertRegex(done.stderr, r'(?m)^d7yd( doctor| runtime)?: write to stdout: No space left on device$')

    def test_the_configuration_is_missing_or_broken(self):
        done = self.tool('doctor', '--config', self.folder / 'nowhere.yaml', '--root', self.root)
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stdout, r'(?m)^problem +configuration +there is no .*nowhere.yaml')
        self.assertRegex(done.stdout, r'(?m)^\d+ problems?, \d+ hints?$')
        broken = self.folder / 'broken.yaml'
        broken.write_text('a: 1\nb: [\n')
        self.assertRegex(self.tool('doctor', '--config', broken, '--root', self.root).stdout, r'broken\.yaml:\d+:\d+: ')

    def test_what_d7yd_does_not_start_with_is_told(self):
        wrong = self.folder / 'wrong.yaml'
        wrong.write_text('scheduler:\n  addrs: [1, [2]]\nstorage: /data\nproxy: {registryMirror: {registries: [5]}}\n'
                         'upload: {server: {port: many}}\ngc: {interval: 5}\n')
        said = self.tool('doctor', '--config', wrong, '--root', self.root).stdout
        for each in ('wrong.yaml:2: scheduler.addrs', 'wrong.yaml:3: storage', 'registries', 'upload.server.port',
                     'gc.interval'):
            self.assertRegex(said, r'(?m)^problem +configuration .*' + each)
        for no_file in (self.folder, '/dev/zero'):
            done = self.tool('doctor', '--config', no_file, '--root', self.root)
            self.assertRegex(done.stdout, r'(?m)^problem +configuration +there is no .*or it cannot be read')

    def test_the_daemon_does_not_run(self):
        self.socket.unlink()
        self.one('daemon', 'nothing is at .*d.sock', fix='d7yd --config')

    def test_the_daemon_has_died(self):
        self.daemon.close()
        self.one('daemon', 'nobody listens')

    def test_the_socket_is_not_for_this_user(self):
        if os.getuid() != 0:
            self.skipTest('only root can become another user')
        os.chmod(self.folder, 0o755)
        os.chmod(self.socket, 0o600)
        config = self.folder / 'dfdaemon.yaml'
        config.write_text(json.dumps(self.settings))
        done = subprocess.run(['setpriv', '--reuid', '65534', '--clear-groups', BUILD / 'tools/d7yd/d7yd', 'doctor',
                               '--config', config, '--root', self.root], capture_output=True, text=True, check=False)
        if 'ermission denied' in done.stderr:
            self.skipTest('another user cannot reach the build folder')
        self.assertRegex(done.stdout, 'this user may not use .*d.sock')

    def test_the_socket_has_too_long_a_path(self):
        self.settings['download']['server']['socketPath'] = '/' + 'x' * 120
        self.one('daemon', '107 bytes', fix='shorter')

    def test_the_daemon_was_started_with_other_ports(self):
        self.settings['health']['server']['port'] = self.free_port()
        self.one('health', 'does not answer')

    def test_a_port_is_taken(self):
        self.daemon.close()
        self.socket.unlink()
        for server in ('health', 'metrics', 'proxy'):
            self.settings[server]['server']['port'] = self.free_port()
        self.settings['upload']['server'] = {'ip': '127.0.0.1', 'port': self.port_of(self.registry)}
        self.one('ports', rf'upload.server .*:{self.port_of(self.registry)}: .*by .*\(pid {os.getpid()}\)', fix='upload.server.port')

    def test_two_servers_have_one_port(self):
        self.settings['storage']['server']['tcpPort'] = self.settings['upload']['server']['port']
        self.one('ports', 'upload.server and storage.server|storage.server and upload.server')

    def test_the_disk_is_nearly_full(self):
        self.settings['gc']['policy'].update(diskHighThresholdPercent=2, diskLowThresholdPercent=1)
        self.one('disk', r'\d+ % full', state='hint')

    def test_no_scheduler_is_known(self):
        self.settings['scheduler']['addrs'] = []
        self.one('scheduler', 'no scheduler', state='hint')

    def test_the_scheduler_is_unreachable(self):
        self.settings['scheduler']['addrs'] = [f'127.0.0.1:{self.free_port()}']
        self.one('scheduler', 'nobody can be reached', fix='is it running')

    def test_the_scheduler_has_no_address(self):
        self.settings['scheduler']['addrs'] = ['no-such-host.invalid:8002']
        self.one('scheduler', 'no-such-host.invalid .* has no address', fix='resolv.conf')

    def test_the_scheduler_has_no_port(self):
        self.settings['scheduler']['addrs'] = ['127.0.0.1']
        found = self.examine()
        self.assertRegex(str(found['configuration']), r'scheduler.addrs: .*127.0.0.1.* is not host:port')
        self.assertRegex(str(found['scheduler']), 'has no port')

    def test_a_clock_is_wrong(self):
        self.configure()
        self.registry.date = time.time() - 3600
        self.one('clock', r'(3599|36\d\d) s behind')

    def test_containerd_is_not_configured(self):
        self.config = self.root / 'etc/containerd/config.toml'
        self.config.parent.mkdir(parents=True)
        self.config.write_text('version = 2\n')
        self.one('containerd', 'no config_path', state='hint', fix='d7yd runtime configure')

    def test_config_path_has_a_colon(self):
        self.configure()
        self.config.write_text(self.config.read_text().replace('certs.d"', 'certs.d:/etc/docker/certs.d"'))
        self.one('containerd', 'transfer', fix='config_path = "/etc/containerd/certs.d"')

    def test_an_imported_file_takes_config_path_away(self):
        self.configure()
        self.config.write_text('imports = ["conf.d/*.toml"]\n' + self.config.read_text())
        (self.config.parent / 'conf.d').mkdir()
        gpu = self.config.parent / 'conf.d/gpu.toml'
        gpu.write_text('version = 2\n[plugins."io.containerd.grpc.v1.cri".containerd]\n  snapshotter = "native"\n')
        self.one('containerd', '/etc/containerd/conf.d/gpu.toml is imported', fix='d7yd runtime configure')

    def test_config_path_names_nothing(self):
        self.configure()
        shutil.rmtree(self.root / 'etc/containerd/certs.d')
        self.one('containerd', 'is not there')

    def test_mirrors_beside_config_path(self):
        self.configure()
        with open(self.config, 'a') as file:
            file.write('[plugins."io.containerd.grpc.v1.cri".registry.mirrors."x"]\n')
        self.one('containerd', 'refuses both')

    def test_hosts_toml_points_at_the_wrong_port(self):
        self.configure()
        self.settings['proxy']['server']['port'] = self.free_port()
        self.one('containerd', f'points at http://127.0.0.1:{self.port_of(self.proxy)}, but', fix='--proxy')

    def test_the_proxy_does_not_answer(self):
        self.configure()
        self.proxy.shutdown()  # or its thread, waiting on the socket, keeps it open for a moment
        self.proxy.socket.close()
        self.one('containerd', 'nobody can be reached')

    def test_tls_is_tried_first(self):
        self.configure()
        self.hosts.write_text(self.hosts.read_text().replace('  capabilities', '  skip_verify = true\n  capabilities'))
        self.one('containerd', 'TLS first', state='hint')

    def test_another_mirror_is_asked_first(self):
        self.configure()
        self.hosts.write_text(self.hosts.read_text().replace('\n[host', '\n[host."https://near"]\n[host', 1))
        self.one('containerd', 'https://near is asked before', state='hint')

    def test_hosts_toml_is_broken(self):
        self.configure()
        self.hosts.write_text('server = \n')
        self.one('containerd', 'hosts.toml:1: ')

    def test_containerd_was_not_restarted(self):
        self.configure(restart=False)
        self.one('containerd', 'not restarted', fix='systemctl restart containerd')

    def test_somebody_pulls_past_it(self):
        self.configure()
        blobs = self.root / 'var/lib/containerd/io.containerd.content.v1.content/blobs/sha256'
        blobs.mkdir(parents=True)
        os.utime(self.socket, (time.time() - 100, time.time() - 100))
        self.one('pulls', 'nobody has asked', fix='--hosts-dir /etc/containerd/certs.d')
        self.metrics.texts['/metrics'] = 'dragonfly_client_proxy_request_total 3\n'
        self.assertEqual(self.bad('pulls'), [])

    def test_ctr_without_hosts_dir_is_seen_while_it_runs(self):
        self.configure()
        # A program that waits, under the name and with the words of such a pull.
        waits = subprocess.Popen(['ctr', '-c', 'read line', 'image', 'pull', '--user', 'me:secret', 'ghcr.io/x:y'], executable='/bin/sh',
                                 stdin=subprocess.PIPE)
        try:
            self.one('pulls', 'ctr image pull ghcr.io/x:y$', fix='--hosts-dir')
        finally:
            waits.stdin.close()
            waits.wait()

    def test_docker(self):
        path = self.root / 'etc/docker/daemon.json'
        path.parent.mkdir(parents=True)
        path.write_text('{"registry-mirrors": ["http://127.0.0.1:1"]}')
        self.one('docker', 'points at http://127.0.0.1:1', fix='d7yd runtime configure docker')
        path.write_text(json.dumps({'proxies': {'https-proxy': f'http://127.0.0.1:{self.port_of(self.proxy)}'}}))
        self.one('docker', 'Docker before 23', state='hint')
        path.write_text('{')
        self.one('docker', 'not a JSON object')

    def test_podman(self):
        path = self.root / 'etc/containers/registries.conf'
        path.parent.mkdir(parents=True)
        mirror = f'127.0.0.1:{self.port_of(self.proxy)}/ghcr.io'
        path.write_text(f'[[registry]]\nprefix = "ghcr.io"\n[[registry.mirror]]\nlocation = "{mirror}"\ninsecure = true\n')
        self.one('podman', 'which d7yd does not know', fix='{name: ghcr.io}')
        self.settings['proxy']['registryMirror'] = {'registries': [{'name': 'ghcr.io'}]}
        self.assertEqual(self.bad('podman'), [])
        path.write_text(path.read_text().replace('insecure = true', ''))
        self.one('podman', 'asked by https')
        own = self.serve({})
        path.write_text(f'[[registry]]\nprefix = "quay.io"\n[[registry.mirror]]\nlocation = "127.0.0.1:{self.port_of(own)}"\n'
                        'insecure = true\n')
        self.one('podman', f'points at 127.0.0.1:{self.port_of(own)}, but')
        self.settings['proxy']['registryMirror'] = {'registries': [{'name': 'quay.io', 'port': self.port_of(own)}]}
        self.assertEqual(self.bad('podman'), [])


if __name__ == '__main__':
    unittest.main(verbosity=2)
