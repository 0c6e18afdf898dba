#!/usr/bin/env python3
"""d7yd and d7ysched as daemons: their start, what stops it, logs, limits, metrics, users, and their end."""

import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
import unittest

import rig
from rig import MIB

NOBODY = ('setpriv', '--reuid=65534', '--regid=65534', '--clear-groups')


class Start(rig.Case):
    def run_tool(self, name, *arguments, prefix=(), **options):
        return subprocess.run([*prefix, rig.tool(name), *arguments], cwd=self.folder, capture_output=True, text=True,
                              timeout=rig.PATIENCE, check=False, **options)

    def refused(self, config, code, *says, name='d7yd'):
        path = pathlib.Path(self.path('given.yaml'))
        path.write_text(config)
        done = self.run_tool(name, '--config', str(path))
        self.assertEqual(done.returncode, code, done.stderr)
        for each in says:
            self.assertRegex(done.stderr, each)

    def test_wrong_flags(self):
        for name in ('d7yd', 'd7ysched'):
            for arguments in (('--nonsense',), ('-l', 'loud'), ('--drain', 'x'), ('surplus',)):
                with self.subTest(tool=name, arguments=arguments):
                    done = self.run_tool(name, *arguments)
                    self.assertEqual(done.returncode, 2)
                    self.assertIn(f'Try {name} --help', done.stderr)

    def test_a_configuration_that_cannot_be_read(self):
        for name in ('d7yd', 'd7ysched'):
            done = self.run_tool(name, '--config', self.path('none.yaml'))
            self.assertNotEqual(done.returncode, 0)
            self.assertIn('none.yaml', done.stderr)
            done = self.run_tool(name, '--config', str(self.folder))
            self.assertNotEqual(done.returncode, 0)
            self.assertIn(str(self.folder), done.stderr)

    def test_a_configuration_out_of_a_pipe_is_not_taken_for_an_empty_one(self):
        os.mkfifo(self.path('pipe'))
        for name in ('d7yd', 'd7ysched'):
            writer = threading.Thread(target=lambda: open(self.path('pipe'), 'w').close(), daemon=True)
            writer.start()
            done = self.run_tool(name, '--config', self.path('pipe'))
            self.assertEqual(done.returncode, 2)
            self.assertIn('is not a file', done.stderr)
            writer.join()

    def test_a_missing_authority_shows_at_the_start(self):
        self.refused('backend: {caCert: /no/such.pem}\n' + f'storage: {{dir: {self.path("store")}}}\n', 1,
                     'backend.caCert.*/no/such.pem')

    def test_wrong_values_are_all_named_with_line_and_key(self):
        self.refused('upload:\n  server:\n    port: 70000\ngc:\n  interval: soon\nlog:\n  level: loud\n', 2,
                     'given.yaml:3: .*upload.server.port', 'given.yaml:5: .*gc.interval',
                     'given.yaml:7: .*log.level')
        self.refused('server:\n  port: x\n', 2, 'given.yaml:2: .*server.port', name='d7ysched')

    def test_text_that_is_no_yaml(self):
        for name in ('d7yd', 'd7ysched'):
            self.refused('a: [1, 2\nb: }\n', 2, r'given\.yaml:\d', name=name)
            self.refused('just text', 2, r'given\.yaml', name=name)

    def test_log_flags_and_the_file_of_schedulers_win_over_the_configuration(self):
        scheduler = rig.Scheduler(self)
        named = pathlib.Path(self.path('named.yaml'))
        named.write_text(f'scheduler:\n  addrs: ["127.0.0.1:{scheduler.port}"]\n')
        logs = pathlib.Path(self.path('logs'))
        daemon = rig.Daemon(self, 'one', arguments=('--dynconfig', named, '--log-dir', logs, '--log-max-files', '2',
                                                    '--log-max-file-size', '1MiB'))
        rig.until(lambda: f'127.0.0.1:{scheduler.port}' in (logs / 'd7yd.log').read_text(), 'the scheduler in the log')
        self.assertEqual(daemon.stop(), 0)
        done = self.run_tool('d7yd', '--config', str(daemon.config), '--log-max-file-size', '1KiB')
        self.assertEqual(done.returncode, 2)
        self.assertIn('64 KiB', done.stderr)

    def test_a_port_in_use_is_named(self):
        with socket.create_server(('127.0.0.1', 0)) as taken:
            port = taken.getsockname()[1]
            daemon = rig.Daemon(self, 'one', wait=False,
                                ports=[rig.free_port(), rig.free_port(), rig.free_port(), port, rig.free_port()])
            self.assertEqual(daemon.wait(), 1)
            self.assertRegex(daemon.output(), f'health.server.*{port}.*in use')
            self.assertEqual(daemon.output().count('in use'), 1, 'told twice')
            done = self.run_tool('d7ysched', '--listen', f'127.0.0.1:{port}')
            self.assertEqual(done.returncode, 1)
            self.assertIn(str(port), done.stderr)
            self.assertEqual(done.stderr.count('in use'), 1, 'told twice')
            # Where the log is a file, whoever starts it is told all the same.
            pathlib.Path(self.path('files.yaml')).write_text(f'server:\n  logDir: {self.path("logs")}\n')
            done = self.run_tool('d7ysched', '--config', self.path('files.yaml'), '--listen', f'127.0.0.1:{port}')
            self.assertEqual(done.stderr.count('in use'), 1)

    def test_a_store_in_use_is_named(self):
        first = rig.Daemon(self, 'one')
        second = rig.Daemon(self, 'two', wait=False, store=first.store)
        self.assertEqual(second.wait(), 1)
        self.assertRegex(second.output(), f'{first.store}.*(in use|another)')
        self.assertEqual(first.stop(), 0)

    def test_a_live_socket_is_not_taken_away_and_a_dead_one_is(self):
        first = rig.Daemon(self, 'one')
        second = rig.Daemon(self, 'two', wait=False, socket=first.socket)
        self.assertEqual(second.wait(), 1)
        self.assertIn('d7yd.sock', second.output())
        first.kill()
        self.assertTrue(os.path.exists(first.socket))
        third = rig.Daemon(self, 'three', socket=first.socket)
        self.assertEqual(third.stop(), 0)
        self.assertFalse(os.path.exists(first.socket))

    @unittest.skipUnless(os.getuid() == 0, 'needs root, to become another user')
    def test_folders_that_may_not_be_written(self):
        os.mkdir(self.path('one'))
        os.mkdir(self.path('closed'), 0o700)
        daemon = rig.Daemon(self, 'one', wait=False, store=self.path('closed/store'), prefix=NOBODY)
        self.assertEqual(daemon.wait(), 1)
        self.assertRegex(daemon.output(), 'closed.*[Pp]ermission')
        os.mkdir(self.path('two'))
        os.chmod(self.path('two'), 0o777)
        daemon = rig.Daemon(self, 'two', wait=False, prefix=NOBODY, socket=self.path('closed/sock'))
        self.assertEqual(daemon.wait(), 1)
        self.assertRegex(daemon.output(), 'closed.*[Pp]ermission')

    def test_an_unreachable_scheduler_is_only_a_warning(self):
        content = os.urandom(6 * MIB)
        daemon = rig.Daemon(self, 'one', scheduler=rig.free_port())
        self.get(self.origin.add('/f', content), '-O', 'out', daemon=daemon, code=0)
        self.same(self.path('out'), content)
        self.assertIn('WARN', daemon.output())

    def test_something_else_at_the_port_of_the_scheduler(self):
        content = os.urandom(6 * MIB)
        daemon = rig.Daemon(self, 'one', scheduler=self.origin.port)
        self.get(self.origin.add('/f', content), '-O', 'out', daemon=daemon, code=0)
        self.same(self.path('out'), content)

    def test_the_file_of_schedulers_is_read_again(self):
        named = pathlib.Path(self.path('named.yaml'))
        named.write_text(f'scheduler:\n  addrs: ["127.0.0.1:{rig.free_port()}"]\n')
        daemon = rig.Daemon(self, 'one', arguments=('--dynconfig', named), extra='dynconfig: {refreshInterval: 1s}\n')
        scheduler = rig.Scheduler(self)
        named.write_text('scheduler:\n')  # while somebody writes it, what was known stays
        rig.until(lambda: 'names no scheduler any more' in daemon.output(), 'that is noticed')
        named.write_text(f'scheduler:\n  addrs: ["127.0.0.1:{scheduler.port}"]\n')
        rig.until(lambda: f'127.0.0.1:{scheduler.port} is healthy' in daemon.output(), 'the new one is used')
        self.assertEqual(daemon.stop(), 0)
        named.unlink()
        lone = rig.Daemon(self, 'two', arguments=('--dynconfig', named))
        self.assertIn('named.yaml names a scheduler', lone.output())

    def test_a_scheduler_that_never_answers(self):
        content = os.urandom(6 * MIB)
        with socket.create_server(('127.0.0.1', 0)) as silent:
            daemon = rig.Daemon(self, 'one', scheduler=silent.getsockname()[1])
            began = time.monotonic()
            self.get(self.origin.add('/f', content), '-O', 'out', daemon=daemon, code=0)
            self.assertLess(time.monotonic() - began, 45)
        self.same(self.path('out'), content)

    def test_ready_is_told_to_the_service_manager(self):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(self.path('notify'))
            manager.settimeout(rig.PATIENCE)
            daemon = rig.Daemon(self, 'one', env={**os.environ, 'NOTIFY_SOCKET': self.path('notify')})
            self.assertEqual(manager.recv(100), b'READY=1')
            daemon.signal(signal.SIGTERM)
            self.assertEqual(manager.recv(100), b'STOPPING=1')
            self.assertEqual(daemon.wait(), 0)


class Signals(rig.Case):
    def test_those_that_mean_nothing_here_do_no_harm(self):
        daemon = rig.Daemon(self, 'one')
        scheduler = rig.Scheduler(self)
        for process in (daemon, scheduler):
            for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
                process.signal(number)
            process.signal(signal.SIGTERM)
            self.assertEqual(process.wait(), 0)


class Logs(rig.Case):
    def test_lines_go_to_rotated_files_and_the_options_win(self):
        daemon = rig.Daemon(self, 'one', extra=f'''log:
  dir: {self.path('logs')}
  level: warn
  format: json
  maxFileSize: 64KiB
  maxFiles: 3
''', arguments=('-l', 'trace'))
        url = self.origin.add('/f', b'x' * 1000)
        for i in range(600):
            if os.path.exists(self.path('logs/d7yd.log.2')):
                break
            # A long URL makes long lines.
            self.get(url + '?' + 'x' * 3000 + f'{i}', '-O', f'out{i}', '-q', daemon=daemon, code=0)
        self.assertEqual(daemon.stop(), 0)
        self.assertEqual(daemon.output(), '')
        names = sorted(os.listdir(self.path('logs')))
        self.assertEqual([n for n in names if n != 'd7yd.log.lock'], ['d7yd.log', 'd7yd.log.1', 'd7yd.log.2'])
        levels = set()
        for name in names:
            path = pathlib.Path(self.path('logs')) / name
            self.assertLessEqual(path.stat().st_size, 64 << 10)
            for line in path.read_text().splitlines():
                entry = json.loads(line)
                self.assertRegex(entry['time'], r'^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$')
                levels.add(entry['level'])
        self.assertTrue(levels & {'DEBUG', 'TRACE'}, levels)

    def test_the_level_of_the_file_counts_without_an_option(self):
        daemon = rig.Daemon(self, 'one', extra='log: {level: error}\n')
        self.assertEqual(daemon.stop(), 0)
        self.assertEqual(daemon.output(), '')
        daemon = rig.Daemon(self, 'two', extra='log: {level: error, format: json}\n', arguments=('-l', 'info'))
        self.assertEqual(daemon.stop(), 0)
        lines = [json.loads(line) for line in daemon.output().splitlines()]
        self.assertIn('serves pieces', ' '.join(line['message'] for line in lines))

    def test_console_wins_over_the_folder(self):
        daemon = rig.Daemon(self, 'one', extra=f'log: {{dir: {self.path("logs")}}}\n', arguments=('--console',))
        self.assertEqual(daemon.stop(), 0)
        self.assertIn('serves pieces', daemon.output())
        self.assertFalse(os.path.exists(self.path('logs')))

    def test_the_schedulers_folder(self):
        config = pathlib.Path(self.path('scheduler.yaml'))
        config.write_text(f'server:\n  logDir: {self.path("logs")}\n  logLevel: info\n  dataDir: ""\n')
        scheduler = rig.Scheduler(self, arguments=('--config', config))
        scheduler.signal(signal.SIGTERM)
        self.assertEqual(scheduler.wait(), 0)
        self.assertIn('serves on port', pathlib.Path(self.path('logs/d7ysched.log')).read_text())

    @unittest.skipUnless(os.getuid() == 0, 'needs root, to mount')
    def test_a_full_disk_does_not_stop_the_daemon(self):
        disk = self.path('disk')
        os.mkdir(disk)
        if subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=128k', 'tmpfs', disk], capture_output=True,
                          check=False).returncode:
            self.skipTest('nothing can be mounted here')
        try:
            daemon = rig.Daemon(self, 'one', extra=f'log: {{dir: {disk}, level: trace}}\n')
            url = self.origin.add('/f', b'x' * 1000)
            for i in range(400):
                self.get(url + '?' + 'x' * 3000 + f'{i}', '-O', f'out{i}', '-q', daemon=daemon, code=0)
                stat = os.statvfs(disk)
                if stat.f_bavail == 0:
                    break
            self.assertEqual(os.statvfs(disk).f_bavail, 0)
            self.get(url + '?last', '-O', 'last', daemon=daemon, code=0)
            self.assertEqual(daemon.stop(), 0)
        finally:
            subprocess.run(['umount', '-l', disk], capture_output=True, check=False)


class Serving(rig.Case):
    def setUp(self):
        super().setUp()
        self.content = os.urandom(20 * MIB + 5)
        self.url = self.origin.add('/f', self.content)

    def test_a_daemon_is_used_when_it_is_there(self):
        daemon = rig.Daemon(self, 'one')
        got = self.get(self.url, '-O', 'out', '--json', '--daemon', 'require', daemon=daemon, code=0)
        self.same(self.path('out'), self.content)
        self.assertEqual(got.json[0]['from']['source'], len(self.content))
        again = self.get(self.url, '-O', 'again', '--json', daemon=daemon, code=0)
        self.assertEqual(again.json[0]['from']['local'], len(self.content))
        sent = self.origin['/f'].sent
        self.get(self.url, '-O', 'never', '--daemon', 'never', daemon=daemon, code=0)
        self.assertEqual(self.origin['/f'].sent, sent + len(self.content))
        got = self.get(self.url, '-O', '-', daemon=daemon, code=0)
        self.assertEqual(rig.sha256(got.out), rig.sha256(self.content))
        self.get(self.url, '-O', 'sent', '--transfer-from-dfdaemon', daemon=daemon, code=0)
        self.same(self.path('sent'), self.content)
        self.get(self.url, '-O', 'part', '--range=5-4999999', daemon=daemon, code=0)
        self.same(self.path('part'), self.content[5:5000000])
        self.assertEqual(sorted(os.listdir(self.folder)), ['again', 'never', 'one', 'out', 'part', 'sent'])

    def test_require_without_a_daemon(self):
        self.get(self.url, '-O', 'out', '--daemon', 'require', code=12, says='no daemon')
        self.nothing_at(self.path('out'))

    def test_auto_with_a_dead_socket(self):
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(self.no_socket))
        self.get(self.url, '-O', 'out', code=0)
        self.same(self.path('out'), self.content)

    def test_failures_reach_the_caller_as_without_a_daemon(self):
        daemon = rig.Daemon(self, 'one')
        for status, code in ((403, 4), (404, 3), (416, 1), (429, 11), (500, 5), (503, 5)):
            with self.subTest(status=status):
                url = self.origin.add(f'/s{status}', b'x', status=status)
                got = self.get(url, '-O', 'bad', '--json', daemon=daemon, code=code, says=str(status))
                self.assertEqual(got.json[0]['error']['status'], status)
        for unreachable in (f'127.0.0.1:{rig.free_port()}', 'no-such-host.invalid'):
            self.get(f'http://{unreachable}/f', '-O', 'bad', daemon=daemon, code=5, says=unreachable)
        self.get(self.url, '-O', 'bad', '--digest', 'sha256:' + '0' * 64, daemon=daemon, code=7, says='digest')
        self.get(self.url, '-O', 'no/such/bad', daemon=daemon, code=3, says='no/such')
        self.get(self.origin.add('/slow', self.content, silent=True), '-O', 'bad', '--timeout', '2s', daemon=daemon,
                 code=6)
        pathlib.Path(self.path('mine')).write_text('mine')
        self.get(self.url, '-O', 'mine', daemon=daemon, code=8)
        self.assertEqual(pathlib.Path(self.path('mine')).read_text(), 'mine')
        self.nothing_at(self.path('bad'))

    def test_a_limit_of_the_rate_paces_through_a_daemon(self):
        daemon = rig.Daemon(self, 'one')
        url = self.origin.add('/paced', self.content[:12 * MIB])
        got = self.get(url, '-O', 'out', '--limit-rate', '4MiB', '--json', daemon=daemon, code=0)
        self.assertAlmostEqual(got.json[0]['seconds'], 3.0, delta=0.45)

    def test_requests_beyond_the_limit_are_refused(self):
        daemon = rig.Daemon(self, 'one', extra='', download='', arguments=())
        self.assertEqual(daemon.stop(), 0)
        config = daemon.config.read_text().replace('    socketPath:', '    requestRateLimit: 1\n    socketPath:')
        self.assertIn('requestRateLimit', config)
        daemon.config.write_text(config)
        again = rig.Process('again', [rig.tool('d7yd'), '--config', daemon.config], daemon.log)
        self.processes.append(again)
        again.ready(lambda: rig.http_answers('127.0.0.1', daemon.health))
        url = self.origin.add('/tiny', b'tiny')
        seen = [self.finish(each) for each in
                [self.start_get(url, '-O', f'o{i}', '--daemon', 'require', daemon=daemon) for i in range(6)]]
        codes = [got.code for got in seen]
        self.assertIn(11, codes, '\n'.join(map(str, seen)))
        self.assertIn(0, codes)
        self.assertRegex(b''.join(got.err for got in seen).decode(), 'requestRateLimit')
        self.assertGreater(daemon.metric('dragonfly_client_download_task_blocked_total'), 0)

    def test_metrics_have_dragonflys_names_and_can_be_reset(self):
        daemon = rig.Daemon(self, 'one')
        self.get(self.url, '-O', 'out', daemon=daemon, code=0)
        self.get(self.origin.url('/none'), '-O', 'bad', daemon=daemon, code=3)
        for name, wanted in (('download_task_total', 2), ('download_task_failure_total', 1),
                             ('concurrent_download_task_total', 0),
                             ('download_task_duration_milliseconds_count', 1),
                             ('download_traffic', len(self.content))):
            self.assertEqual(daemon.metric('dragonfly_client_' + name), wanted, name)
        self.assertEqual(daemon.metric('dragonfly_client_download_traffic', type='BACK_TO_SOURCE'), len(self.content))
        self.assertGreater(daemon.metric('dragonfly_client_backend_request_total', scheme='http', method='GET'), 1)
        self.assertGreater(daemon.metric('dragonfly_client_backend_request_failure_total'), 0)
        self.assertGreater(daemon.metric('dragonfly_client_disk_space_total'), 0)
        connection = http.client.HTTPConnection('127.0.0.1', daemon.metrics_port, timeout=10)
        connection.request('DELETE', '/metrics')
        self.assertEqual(connection.getresponse().status, 200)
        connection.close()
        self.assertEqual(daemon.metric('dragonfly_client_download_task_total'), 0)
        self.assertEqual(daemon.metric('dragonfly_client_download_traffic'), 0)
        self.assertGreater(daemon.metric('dragonfly_client_disk_space_total'), 0)

    def test_words_of_callers_do_not_become_series(self):
        daemon = rig.Daemon(self, 'one')
        url = self.origin.add('/tiny', b'tiny')
        for i in range(5):
            self.get(url, '-O', f'o{i}', '--tag', f't{i}', '--application', f'a{i}', daemon=daemon, code=0)
        series = [key for key in daemon.metrics() if key.startswith('dragonfly_client_download_task_total')]
        self.assertEqual(len(series), 1)

    @unittest.skipUnless(os.getuid() == 0, 'needs root, to become another user')
    def test_another_user_gets_nothing_that_they_could_not_do_themselves(self):
        daemon = rig.Daemon(self, 'one')
        os.mkdir(self.path('theirs'))
        os.chown(self.path('theirs'), 65534, 65534)
        os.mkdir(self.path('roots'), 0o755)
        secret = pathlib.Path(self.path('secret'))
        secret.write_text('hush')
        secret.chmod(0o600)
        theirs = {'daemon': daemon, 'prefix': NOBODY, 'cwd': '/'}
        got = self.get(self.url, '-O', self.path('theirs/out'), '--json', code=0, **theirs)
        self.same(self.path('theirs/out'), self.content)
        self.assertEqual(os.stat(self.path('theirs/out')).st_uid, 65534)
        self.assertEqual(daemon.metric('dragonfly_client_download_task_total'), 1)
        self.get(self.url, '-O', self.path('roots/out'), code=4, says='roots', **theirs)
        self.nothing_at(self.path('roots/out'))
        for how in ('auto', 'require'):
            got = self.get(f'file://{secret}', '-O', self.path('theirs/secret'), '--daemon', how, code=4, **theirs)
            self.nothing_at(self.path('theirs/secret'))
        self.get(f'file://{secret}', '-O', self.path('mine'), '--daemon', 'require', daemon=daemon, code=0)

    def test_sigterm_lets_a_download_end_and_removes_the_socket(self):
        url = self.origin.add('/held', self.content, hold_after=4 * MIB)
        daemon = rig.Daemon(self, 'one')
        process = self.start_get(url, '-O', 'out', '--daemon', 'require', daemon=daemon)
        rig.until(lambda: self.origin['/held'].sent >= 3 * MIB, 'it runs')
        daemon.signal(signal.SIGTERM)
        rig.until(lambda: not rig.http_answers('127.0.0.1', daemon.health), 'it says that it drains')
        self.origin['/held'].release()
        got = self.finish(process)
        self.assertEqual(got.code, 0, str(got))
        self.same(self.path('out'), self.content)
        self.assertEqual(daemon.wait(), 0)
        self.assertFalse(os.path.exists(daemon.socket))

    def test_sigterm_waits_no_longer_than_asked(self):
        url = self.origin.add('/held', self.content, hold_after=4 * MIB)
        daemon = rig.Daemon(self, 'one', arguments=('--drain', '1'))
        process = self.start_get(url, '-O', 'out', '--daemon', 'require', daemon=daemon)
        rig.until(lambda: self.origin['/held'].sent >= 3 * MIB, 'it runs')
        began = time.monotonic()
        self.assertEqual(daemon.stop(), 0)
        self.assertLess(time.monotonic() - began, 15)
        got = self.finish(process)
        self.assertEqual(got.code, 5, str(got))
        self.nothing_at(self.path('out'))

    def test_a_second_signal_ends_the_drain_at_once_and_in_order(self):
        url = self.origin.add('/held', self.content, hold_after=4 * MIB)
        daemon = rig.Daemon(self, 'one', keep=True, arguments=('--drain', '600'))
        process = self.start_get(url, '-O', 'out', '--daemon', 'require', daemon=daemon)
        rig.until(lambda: self.origin['/held'].sent >= 3 * MIB, 'it runs')
        daemon.signal(signal.SIGTERM)
        rig.until(lambda: not rig.http_answers('127.0.0.1', daemon.health), 'it says that it drains')
        daemon.signal(signal.SIGINT)
        self.assertEqual(daemon.wait(), 0)
        self.assertFalse(os.path.exists(daemon.socket))
        self.assertTrue((daemon.store / 'index').exists())
        self.assertEqual(self.finish(process).code, 5)
        self.nothing_at(self.path('out'))

    def test_ctrl_c_at_the_client_then_resume(self):
        url = self.origin.add('/held', self.content, hold_after=16 * MIB)
        daemon = rig.Daemon(self, 'one')
        process = self.start_get(url, '-O', 'out', '--daemon', 'require', daemon=daemon)
        rig.until(lambda: daemon.metric('dragonfly_client_download_traffic') >= 4 * MIB, 'pieces are stored')
        process.send_signal(signal.SIGINT)
        self.assertEqual(self.finish(process).code, 130)
        self.nothing_at(self.path('out'))
        kept = daemon.metric('dragonfly_client_download_traffic')
        before = self.origin['/held'].sent
        self.origin['/held'].release()
        self.get(url, '-O', 'out', daemon=daemon, code=0)
        self.same(self.path('out'), self.content)
        # Less than a piece more: answers that were held write once more before they see that nobody reads.
        self.assertLessEqual(self.origin['/held'].sent - before, len(self.content) - kept + MIB)

    def test_kill_of_the_daemon_then_resume(self):
        content = os.urandom(64 * MIB)
        url = self.origin.add('/held', content, hold_after=48 * MIB)
        daemon = rig.Daemon(self, 'one', keep=True)
        process = self.start_get(url, '-O', 'out', '--daemon', 'require', daemon=daemon)
        rig.until(lambda: daemon.metric('dragonfly_client_download_traffic') >= 28 * MIB, 'pieces are stored')
        daemon.kill()
        got = self.finish(process)
        self.assertEqual(got.code, 5, str(got))
        self.nothing_at(self.path('out'))
        before = self.origin['/held'].sent
        self.origin['/held'].release()
        daemon = rig.Daemon(self, 'one', keep=True, ports=daemon.ports)
        self.get(url, '-O', 'out', '--daemon', 'require', daemon=daemon, code=0)
        self.same(self.path('out'), content)
        self.assertLess(self.origin['/held'].sent - before, 40 * MIB)

    @unittest.skipUnless(os.getuid() == 0, 'needs root, to mount')
    def test_a_full_store_fails_clearly_and_lives_on(self):
        disk = self.path('disk')
        os.mkdir(disk)
        if subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=16m', 'tmpfs', disk], capture_output=True,
                          check=False).returncode:
            self.skipTest('nothing can be mounted here')
        try:
            daemon = rig.Daemon(self, 'one', store=disk + '/store')
            got = self.get(self.url, '-O', 'out', daemon=daemon, code=9)
            self.assertRegex(got.err.decode(), 'full|space')
            self.nothing_at(self.path('out'))
            small = self.origin.add('/small', self.content[:3 * MIB])
            self.get(small, '-O', 'small', '--daemon', 'require', daemon=daemon, code=0)
            self.same(self.path('small'), self.content[:3 * MIB])
            self.assertEqual(daemon.stop(), 0)
        finally:
            subprocess.run(['umount', '-l', disk], capture_output=True, check=False)

    def test_a_store_that_is_deleted_under_a_daemon_fills_again(self):
        daemon = rig.Daemon(self, 'one', keep=True)
        for out in ('first', 'second', 'third'):
            self.get(self.url, '-O', out, '--daemon', 'require', daemon=daemon, code=0)
            self.same(self.path(out), self.content)
            if out == 'first':
                shutil.rmtree(daemon.store)
        self.assertEqual(self.origin['/f'].sent, 2 * len(self.content))
        self.assertEqual(daemon.stop(), 0)
        self.assertNotIn('sync point', daemon.output())
        daemon = rig.Daemon(self, 'one', keep=True, ports=daemon.ports)
        self.get(self.url, '-O', 'fourth', '--daemon', 'require', daemon=daemon, code=0)
        self.assertEqual(self.origin['/f'].sent, 2 * len(self.content))

    def test_two_hundred_downloads_leave_nothing_behind(self):
        daemon = rig.Daemon(self, 'one', arguments=('-l', 'warn'))
        url = self.origin.add('/tiny', os.urandom(100_000))

        def open_files():
            return len(os.listdir(f'/proc/{daemon.pid}/fd'))

        def resident():
            return int(re.search(r'VmRSS:\s+(\d+)', pathlib.Path(f'/proc/{daemon.pid}/status').read_text())[1])

        def many(first, count):
            for begin in range(first, first + count, 10):
                urls = [f'{url}?{i}' for i in range(begin, begin + 10)]
                for i, got in enumerate([self.start_get(each, '-O', f'o{i}', '-q', '--overwrite', '--daemon',
                                                        'require', daemon=daemon) for i, each in enumerate(urls)]):
                    self.assertEqual(self.finish(got).code, 0, i)

        many(0, 50)
        files, memory = open_files(), resident()
        many(50, 150)
        print(f'open files {files} -> {open_files()}, resident {memory} -> {resident()} KiB', end=' ', flush=True)
        rig.until(lambda: open_files() <= files + 60, 'files of idle tasks are closed')
        if not rig.sanitized():
            self.assertLess(resident() - memory, 8 << 10)


if __name__ == '__main__':
    rig.main()
