#!/usr/bin/env python3
"""d7yget without a daemon: what it does with every kind of origin, output, option and interruption."""

import fcntl
import json
import os
import pathlib
import pty
import re
import resource
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
import unittest

import rig
from rig import MIB


class WrongUse(rig.Case):
    def test_wrong_flags_are_named_and_exit_2(self):
        url = self.origin.add('/f', b'x')
        for arguments, says in (
                ((), 'URL is required'),
                (('--nope',), '--nope'),
                ((url,), '-O/--output is needed'),
                ((url, '-O', 'o', '--nonsense'), '--nonsense'),
                ((url, '-O', 'o', '--timeout', 'soon'), '"soon" is not a duration'),
                ((url, '-O', 'o', '--limit-rate', 'fast'), '"fast" is not a size'),
                ((url, '-O', 'o', '--daemon', 'maybe'), 'maybe'),
                ((url, '-O', 'o', '-p', '9'), '9'),
                ((url, '-O', 'o', '--digest', 'sha256:12'), 'sha256'),
                ((url, '-O', 'o', '--digest', 'whirl:12'), 'whirl'),
                ((url, '-O', 'o', '--range', '9-1'), 'range'),
                ((url, '-O', 'o', '--range', 'lots'), 'range'),
                ((url, '-O', 'o', '-H', 'no colon'), 'header'),
                ((url, '-O', 'o', '-H', 'A: b\r\nC: d'), 'header'),
                ((url, '-O', 'o', '--piece-length', '1MiB'), '4MiB'),
                ((url, '-O', '-', '--json'), 'json'),
                ((url, url, '-O', '-'), 'one URL'),
        ):
            with self.subTest(arguments=arguments):
                self.get(*arguments, code=2, says=re.escape(says))
                self.nothing_at(self.path('o'))

    def test_an_option_that_may_be_repeated_takes_one_value_each_time(self):
        url = self.origin.add('/f', b'x')
        self.get('-H', 'A: 1', '-H', 'B: 2', url, '-O', 'one', code=0)
        self.get('--filtered-query-param', 'a', url, '-O', 'two', code=0)
        self.same(self.path('two'), b'x')

    def test_a_url_that_is_none(self):
        for url in ('nonsense', 'http://', 'ftp://127.0.0.1/file', 'http://127.0.0.1:99999/x',
                    'http://[::1/x', ''):
            with self.subTest(url=url):
                got = self.get(url, '-O', 'o', code=2)
                self.assertIn(b'd7yget: ', got.err)
                self.nothing_at(self.path('o'))

    def test_credentials_in_urls_are_never_shown(self):
        url = self.origin.add('/f', b'x', status=403).replace('//', '//user:hush@')
        got = self.get(url + '?X-Amz-Signature=secret', '-O', 'o', code=4)
        self.assertNotIn(b'hush', got.err)
        self.assertNotIn(b'secret', got.err)


class Outputs(rig.Case):
    def setUp(self):
        super().setUp()
        self.content = os.urandom(9 * MIB + 123)
        self.url = self.origin.add('/file', self.content)

    def test_a_file_arrives_and_nothing_else_stays(self):
        self.get(self.url, '-O', 'out', code=0)
        self.same(self.path('out'), self.content)
        self.assertEqual(os.listdir(self.folder), ['out'])

    def test_an_existing_output_is_left_alone_unless_told(self):
        pathlib.Path(self.path('out')).write_text('mine')
        self.get(self.url, '-O', 'out', code=8, says='out exists')
        self.assertEqual(pathlib.Path(self.path('out')).read_text(), 'mine')
        self.assertEqual(self.origin['/file'].sent, 0)
        self.get(self.url, '-O', 'out', '--overwrite', code=0)
        self.same(self.path('out'), self.content)

    def test_a_missing_folder_is_named_and_nothing_is_made(self):
        self.get(self.url, '-O', 'no/such/out', code=3, says='no/such')
        self.assertEqual(os.listdir(self.folder), [])

    def test_an_output_below_a_file_is_an_error(self):
        pathlib.Path(self.path('plain')).write_text('x')
        got = self.get(self.url, '-O', 'plain/out')
        self.assertNotIn(got.code, (0, -6, -11))
        self.assertIn(b'plain', got.err)

    def test_a_folder_as_output_takes_the_name_of_the_url(self):
        os.mkdir(self.path('folder'))
        self.get(self.url, '-O', 'folder', code=0)
        self.same(self.path('folder/file'), self.content)
        self.get(self.url, '-O', 'new/', code=0)
        self.same(self.path('new/file'), self.content)

    def test_names_with_spaces_and_unicode(self):
        names = ['with space', 'grün-日本', "quo'te\"d", '-dash', 'per%cent', '#hash', 'new\nline']
        for name in names:
            with self.subTest(name=name):
                self.get(self.url, '-O', './' + name, code=0)
                self.same(self.path(name), self.content)

    def test_a_url_with_escapes_gives_a_readable_name(self):
        url = self.origin.add('/a%20b%C3%BC.bin', self.content)
        self.get(url, '-O', './', code=0)
        self.same(self.path('a bü.bin'), self.content)

    def test_relative_and_absolute_paths(self):
        os.makedirs(self.path('a/b'))
        self.get(self.url, '-O', '../out', cwd=self.path('a/b'), code=0)
        self.same(self.path('a/out'), self.content)
        self.get(self.url, '-O', self.path('abs'), cwd='/', code=0)
        self.same(self.path('abs'), self.content)

    def test_a_folder_that_may_not_be_written(self):
        if os.getuid() != 0:
            self.skipTest('needs root, to become another user')
        os.mkdir(self.path('closed'), 0o755)
        prefix = ('setpriv', '--reuid=65534', '--regid=65534', '--clear-groups')
        got = self.get(self.url, '-O', self.path('closed/out'), prefix=prefix, cwd='/')
        self.assertEqual(got.code, 4, str(got))
        self.assertIn(b'closed', got.err)
        self.nothing_at(self.path('closed/out'))

    def test_a_folder_where_another_user_left_pieces(self):
        if os.getuid() != 0:
            self.skipTest('needs root, to become another user')
        os.chmod(self.folder, 0o755)
        os.makedirs(self.path('shared/.d7yget/tasks'))
        os.chmod(self.path('shared'), 0o1777)
        os.close(os.open(self.path('shared/.d7yget/lock'), os.O_CREAT, 0o600))
        prefix = ('setpriv', '--reuid=65534', '--regid=65534', '--clear-groups')
        got = self.get(self.url, '-O', self.path('shared/out'), prefix=prefix, cwd='/')
        self.assertEqual(got.code, 0, str(got))
        self.assertNotIn(b'rror', got.err)
        self.same(self.path('shared/out'), self.content)
        self.assertEqual(sorted(os.listdir(self.path('shared'))), ['.d7yget', 'out'])

    def test_stdout_gives_the_bytes_in_order(self):
        got = self.get(self.url, '-O', '-', code=0)
        self.assertEqual(rig.sha256(got.out), rig.sha256(self.content))

    def test_a_closed_pipe_ends_it_without_a_crash(self):
        process = self.start_get(self.url, '-O', '-')
        process.stdout.read(1000)
        process.stdout.close()
        process.stdout = None
        got = self.finish(process)
        self.assertEqual(got.code, 9, str(got))
        self.assertIn(b'stdout', got.err)

    def test_a_pipe_and_a_device_get_the_bytes_and_stay_what_they_are(self):
        fifo = self.path('fifo')
        for more in ((), ('--overwrite',)):
            with self.subTest(more=more):
                if not os.path.exists(fifo):
                    os.mkfifo(fifo)
                process = self.start_get(self.url, '-O', 'fifo', *more)
                with open(fifo, 'rb') as end:
                    got = end.read()
                self.assertEqual(self.finish(process).code, 0)
                self.assertEqual(rig.sha256(got), rig.sha256(self.content))
                self.assertTrue(pathlib.Path(fifo).is_fifo())
        self.get(self.url, '-O', '/dev/null', code=0)
        self.assertTrue(pathlib.Path('/dev/null').is_char_device())
        self.assertEqual(rig.sha256(self.get(self.url, '-O', '/dev/stdout', code=0).out), rig.sha256(self.content))
        self.assertEqual(os.listdir(self.folder), ['fifo'])

    def test_stdout_that_does_not_block(self):
        read, write = os.pipe()
        os.set_blocking(write, False)
        process = self.start_get(self.url, '-O', '-', stdout=write)
        os.close(write)
        time.sleep(0.3)
        with os.fdopen(read, 'rb') as end:
            got = end.read()
        self.assertEqual(process.wait(rig.PATIENCE), 0)
        self.assertEqual(rig.sha256(got), rig.sha256(self.content))

    def test_ctrl_c_ends_it_though_nobody_reads_its_stdout(self):
        process = self.start_get(self.url, '-O', '-')
        process.stdout.read(1)
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.wait(rig.PATIENCE), 130)

    def test_streams_that_are_closed_or_full(self):
        tool = rig.tool('d7yget')
        for redirections in ('<&- 2>&-', '>&- <&- 2>&-', '2>/dev/full'):
            with self.subTest(redirections=redirections):
                command = f'exec "$0" --daemon never --overwrite "$1" -O out {redirections}'
                code = subprocess.run(['bash', '-c', command, tool, self.url], cwd=self.folder, check=False).returncode
                self.assertEqual(code, 0)
                self.same(self.path('out'), self.content)
        command = 'exec "$0" --daemon never "$1" -O - >&-'
        got = subprocess.run(['bash', '-c', command, tool, self.url], cwd=self.folder, check=False,
                             stderr=subprocess.PIPE)
        self.assertEqual(got.returncode, 9)
        self.assertIn(b'stdout', got.stderr)

    def test_what_cannot_be_printed_is_an_error(self):
        def run(redirection, *arguments):
            return subprocess.run(['bash', '-c', f'exec "$0" "$@" {redirection}', rig.tool('d7yget'), *arguments], cwd=self.folder,
                                  check=False, stderr=subprocess.PIPE)
        missing = self.origin.url('/missing')
        for arguments, code in ((('--version',), 9), (('--help',), 9), ((self.url, '-O', 'out', '--json'), 9),
                                ((missing, '-O', 'none', '--json'), 3)):
            for redirection, why in (('>/dev/full', b'No space left'), ('>&-', b'Bad file descriptor')):
                with self.subTest(arguments=arguments, redirection=redirection):
                    got = run(redirection, '--daemon', 'never', '--overwrite', *arguments)
                    self.assertEqual(got.returncode, code, got.stderr)
                    self.assertRegex(got.stderr, b'(?m)^d7yget: write to stdout: ' + why)
        self.same(self.path('out'), self.content)
        with open('/dev/full', 'wb') as full:
            got = subprocess.run([rig.tool('d7ysched'), '--version'], check=False, stdout=full, stderr=subprocess.PIPE)
        self.assertEqual((got.returncode, got.stderr), (1, b'd7ysched: write to stdout: No space left on device\n'))

    def test_stdout_of_a_slow_reader_costs_little_memory(self):
        big = os.urandom(1 << 20) * 192
        url = self.origin.add('/big', big)
        process = self.start_get(url, '-O', '-')
        process.stdout.read(1)
        # Nothing more is read until it has stopped taking from the origin.
        seen = [-1]

        def settled():
            before, seen[0] = seen[0], self.origin['/big'].sent
            time.sleep(0.2)
            return before == self.origin['/big'].sent

        rig.until(settled, 'it stopped')
        status = pathlib.Path(f'/proc/{process.pid}/status').read_text()
        resident = int(re.search(r'VmHWM:\s+(\d+)', status)[1]) << 10
        if not rig.sanitized():
            self.assertLess(resident, 160 * MIB)
        out = process.stdout.read()
        process.wait(rig.PATIENCE)
        self.assertEqual(process.returncode, 0)
        self.assertEqual(len(out) + 1, len(big))

    def test_two_at_once_on_one_folder(self):
        other = os.urandom(5 * MIB)
        second = self.start_get(self.origin.add('/other', other, rate=4 * MIB), '-O', 'two')
        first = self.start_get(self.url, '-O', 'one')
        for each in (first, second):
            got = self.finish(each)
            self.assertEqual(got.code, 0, str(got))
        self.same(self.path('one'), self.content)
        self.same(self.path('two'), other)
        self.assertEqual(sorted(os.listdir(self.folder)), ['one', 'two'])

    def test_two_at_once_on_one_output_never_mix(self):
        url = self.origin.add('/slow', self.content, rate=6 * MIB)
        both = [self.start_get(url, '-O', 'out') for _ in range(2)]
        codes = sorted(self.finish(each).code for each in both)
        self.assertIn(codes, ([0, 8], [0, 0]))
        self.assertEqual(codes, [0, 8])
        self.same(self.path('out'), self.content)
        self.assertEqual(os.listdir(self.folder), ['out'])

    def test_several_urls(self):
        contents = {f'n{i}': os.urandom(MIB + i) for i in range(7)}
        urls = [self.origin.add('/' + name, content) for name, content in contents.items()]
        self.get(*urls, '-O', 'all', code=0)
        for name, content in contents.items():
            self.same(self.path('all/' + name), content)
        self.get(*urls, self.origin.url('/missing'), '-O', 'again', code=3, says='missing')
        for name, content in contents.items():
            self.same(self.path('again/' + name), content)

    def test_several_urls_of_an_origin_that_takes_one_request_at_a_time(self):
        origin = self.new_origin()
        origin.at_once = 1
        contents = {f'n{i}': os.urandom(MIB + i) for i in range(7)}
        urls = [origin.add('/' + name, content, rate=8 * MIB) for name, content in contents.items()]
        got = self.get(*urls, '-O', 'all', '--json', code=0)
        for name, content in contents.items():
            self.same(self.path('all/' + name), content)
        self.assertEqual(sorted(one['url'] for one in got.json), sorted(urls))

    def test_two_urls_of_one_name(self):
        self.get(self.url, self.origin.add('/sub/file', b'other'), '-O', 'all', code=2, says='both be written')

    def test_an_empty_file(self):
        self.get(self.origin.add('/empty', b''), '-O', 'out', code=0)
        self.same(self.path('out'), b'')
        self.assertEqual(self.get(self.origin.url('/empty'), '-O', '-', code=0).out, b'')

    def test_a_full_disk_leaves_nothing(self):
        limit = 3 * MIB

        def small():
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

        command = [rig.tool('d7yget'), '--daemon', 'never', self.url, '-O', 'out']
        done = subprocess.run(command, cwd=self.folder, capture_output=True, preexec_fn=small, check=False,
                              env=rig.clean_environment(), timeout=rig.PATIENCE)
        self.assertIn(done.returncode, (1, 9), done.stderr)
        self.assertIn(b'too large', done.stderr)
        self.assertFalse(os.path.exists(self.path('out')))


class FullDisk(rig.Case):
    """On a small file system of its own."""

    def setUp(self):
        super().setUp()
        self.disk = self.path('disk')
        os.mkdir(self.disk)
        mounted = subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=16m', 'tmpfs', self.disk],
                                 capture_output=True, check=False)
        if mounted.returncode != 0:
            self.skipTest('nothing can be mounted here')

    def tearDown(self):
        subprocess.run(['umount', '-l', self.disk], capture_output=True, check=False)
        super().tearDown()

    def test_an_output_that_does_not_fit(self):
        content = os.urandom(40 * MIB)
        url = self.origin.add('/big', content)
        got = self.get(url, '-O', self.disk + '/out', code=9)
        self.assertRegex(got.err.decode(), 'full|space')
        self.nothing_at(self.disk + '/out')
        # With the disk emptied the same command works, or resumes.
        small = self.origin.add('/small', content[:5 * MIB])
        self.get(small, '-O', self.disk + '/small', code=0)
        self.same(self.disk + '/small', content[:5 * MIB])


class Origins(rig.Case):
    def setUp(self):
        super().setUp()
        self.content = os.urandom(20 * MIB + 77)

    def test_answers_that_are_errors(self):
        for status, code in ((401, 4), (403, 4), (404, 3), (410, 3), (416, 1), (429, 11), (500, 5), (503, 5)):
            with self.subTest(status=status):
                url = self.origin.add(f'/s{status}', b'x', status=status)
                got = self.get(url, '-O', 'out', '--json', code=code, says=str(status))
                self.assertEqual(got.json[0]['error']['status'], status)
                self.assertFalse(got.json[0]['ok'])
                self.nothing_at(self.path('out'))

    def test_a_moment_of_503_is_survived(self):
        url = self.origin.add('/f', self.content, fail_first=1, headers={'Retry-After': '0'})
        self.get(url, '-O', 'out', code=0)
        self.same(self.path('out'), self.content)

    def test_nobody_listens(self):
        port = rig.free_port()
        self.get(f'http://127.0.0.1:{port}/f', '-O', 'out', code=5, says=f'{port}')
        self.nothing_at(self.path('out'))

    def test_a_name_that_does_not_resolve(self):
        # Not 3: nobody knows whether the file exists.
        self.get('http://no-such-host.invalid/f', '-O', 'out', '--timeout', '20s', code=5, says='no-such-host.invalid')
        self.nothing_at(self.path('out'))

    def test_connections_that_break_are_taken_up_again(self):
        url = self.origin.add('/f', self.content, break_after=3 * MIB)
        self.get(url, '-O', 'out', code=0)
        self.same(self.path('out'), self.content)
        self.assertLess(self.origin['/f'].sent, len(self.content) + 24 * MIB)

    def test_an_origin_without_ranges(self):
        url = self.origin.add('/f', self.content, ranges=False)
        self.get(url, '-O', 'out', code=0)
        self.same(self.path('out'), self.content)

    def test_an_origin_without_a_length(self):
        url = self.origin.add('/f', self.content, ranges=False, length=False)
        self.get(url, '-O', 'out', code=0)
        self.same(self.path('out'), self.content)

    def test_the_timeout_holds(self):
        for name, manner in (('slow', {'rate': 200_000}), ('silent', {'silent': True})):
            with self.subTest(origin=name):
                url = self.origin.add('/' + name, self.content, **manner)
                began = time.monotonic()
                self.get(url, '-O', 'out', '--timeout', '2s', code=6, says='time')
                self.assertLess(time.monotonic() - began, 10)
                self.nothing_at(self.path('out'))

    def test_digests_are_verified(self):
        url = self.origin.add('/f', self.content)
        good = 'sha256:' + rig.sha256(self.content)
        self.get(url, '-O', 'good', '--digest', good, code=0)
        self.get(url, '-O', 'bad', '--digest', 'sha256:' + '0' * 64, code=7, says='digest')
        self.nothing_at(self.path('bad'))
        # Nobody gets all of the bytes on stdout and a success.
        got = self.get(url, '-O', '-', '--digest', 'sha256:' + '0' * 64, code=7, says='digest')
        self.assertLess(len(got.out), len(self.content))

    def test_content_that_changes_is_never_mixed(self):
        other = os.urandom(len(self.content))
        url = self.origin.add('/f', self.content, rate=4 * MIB)
        process = self.start_get(url, '-O', 'out')
        rig.until(lambda: self.origin['/f'].sent > MIB, 'some bytes went')
        self.origin.add('/f', other, break_after=0)
        old = self.origin['/f']
        rig.until(lambda: process.poll() is not None or old.requests, 'it asked again or ended')
        self.origin.add('/f', other)
        got = self.finish(process)
        if got.code == 0:
            self.assertIn(rig.sha256(self.path('out')), (rig.sha256(self.content), rig.sha256(other)))
        else:
            self.nothing_at(self.path('out'))

    def test_ranges(self):
        url = self.origin.add('/f', self.content)
        for given, part in (('0-99', slice(0, 100)), ('5000000-', slice(5000000, None)), ('-100', slice(-100, None)),
                            ('4194303-4194304', slice(4194303, 4194305)),
                            ('bytes=10-19', slice(10, 20)), ('0-99999999', slice(0, None))):
            with self.subTest(range=given):
                self.get(url, '-O', 'out', '--overwrite', f'--range={given}', code=0)
                self.same(self.path('out'), self.content[part])
                got = self.get(url, '-O', '-', f'--range={given}', code=0)
                self.assertEqual(rig.sha256(got.out), rig.sha256(self.content[part]))
        os.remove(self.path('out'))
        self.assertEqual(os.listdir(self.folder), [])
        got = self.get(url, '-O', 'out', '--range=99999999-', '--json', code=1)
        self.assertEqual(got.json[0]['error']['status'], 416)
        self.nothing_at(self.path('out'))

    def test_a_limit_of_the_rate_paces(self):
        content = self.content[:12 * MIB]
        url = self.origin.add('/f', content)
        got = self.get(url, '-O', 'out', '--limit-rate', '4MiB', '--json', code=0)
        self.assertAlmostEqual(got.json[0]['seconds'], 3.0, delta=0.45)

    def test_request_headers_reach_the_origin(self):
        url = self.origin.add('/f', self.content)
        self.get(url, '-O', 'out', '-H', 'X-Mine: yes', '-H', 'Authorization: Bearer t', code=0)
        for _, _, headers in self.origin['/f'].requests:
            self.assertEqual(headers.get('X-Mine'), 'yes')
            self.assertEqual(headers.get('Authorization'), 'Bearer t')

    def test_a_host_header_is_sent_in_place_of_the_urls(self):
        url = self.origin.add('/f', self.content)
        self.get(url, '-O', 'out', '-H', 'host: virtual.example:80', code=0)
        self.same(self.path('out'), self.content)
        hosts = {headers.get('Host') for _, _, headers in self.origin['/f'].requests}
        self.assertEqual(hosts, {'virtual.example:80'})
        self.get(url, '-O', 'none', '-H', 'Host: a/b', code=2, says='Host header')

    def test_proxy_variables(self):
        proxied = self.new_origin()
        proxied.resources['http://elsewhere.invalid/f'] = rig.Resource(self.content)
        proxy = f'http://127.0.0.1:{proxied.port}'
        self.get('http://elsewhere.invalid/f', '-O', 'out', env={'http_proxy': proxy}, code=0)
        self.same(self.path('out'), self.content)
        for number, name in enumerate(('all_proxy', 'ALL_PROXY')):
            self.get('http://elsewhere.invalid/f', '-O', f'all{number}', env={name: proxy}, code=0)
        self.get('http://elsewhere.invalid/f', '-O', 'none', env={'ALL_PROXY': 'socks5://127.0.0.1:1'}, code=2, says=r'\A[^\n]*socks5[^\n]*\n\Z')
        direct = self.origin.add('/f', self.content)
        self.get(direct, '-O', 'direct', env={'http_proxy': proxy, 'no_proxy': '127.0.0.1'}, code=0)
        self.same(self.path('direct'), self.content)

    def test_https_with_an_authority_of_ones_own(self):
        key, certificate = self.path('key.pem'), self.path('certificate.pem')
        subprocess.run(['openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-keyout', key, '-out',
                        certificate, '-days', '2', '-subj', '/CN=test', '-addext', 'subjectAltName=IP:127.0.0.1'],
                       check=True, capture_output=True)
        secure = self.new_origin(certificate=(certificate, key))
        url = secure.add('/f', self.content)
        self.get(url, '-O', 'out', code=4, says='certificate')
        self.nothing_at(self.path('out'))
        self.get(url, '-O', 'out', '--ca-cert', certificate, code=0)
        self.same(self.path('out'), self.content)
        self.get(url, '-O', 'unchecked', '-k', code=0)
        got = self.get(url, '-O', 'nope', '--ca-cert', self.path('missing.pem'))
        self.assertNotEqual(got.code, 0)
        self.assertIn(b'missing.pem', got.err)

    def test_a_redirect_from_https_to_http_is_followed_only_if_nothing_is_verified(self):
        certificate = rig.Authority(self.folder, 'authority').issue('127.0.0.1')
        plain = self.origin.add('/f', self.content)
        url = self.new_origin(certificate=certificate).add('/f', b'', status=302, headers={'Location': plain})
        authority = self.path('authority.pem')
        self.get(url, '-O', 'out', '--ca-cert', authority, code=4, says=f'to {plain}, where anybody .* ask for that URL')
        self.nothing_at(self.path('out'))
        self.get(url, '-O', 'out', '-k', code=0)
        self.same(self.path('out'), self.content)

    def test_json_says_what_happened(self):
        url = self.origin.add('/f', self.content)
        one = self.get(url, '-O', 'out', '--json', code=0).json
        self.assertEqual(len(one), 1)
        one = one[0]
        self.assertEqual((one['url'], one['output'], one['ok'], one['bytes']), (url, 'out', True, len(self.content)))
        self.assertEqual(one['from'], {'source': len(self.content), 'seeds': 0, 'peers': 0, 'local': 0})
        self.assertRegex(one['task_id'], '^[0-9a-f]{64}$')
        self.assertGreater(one['mib_per_second'], 0)
        self.assertEqual(one['pieces']['done'], one['pieces']['total'])


class Interruptions(rig.Case):
    def setUp(self):
        super().setUp()
        self.content = os.urandom(64 * MIB)

    def interrupt(self, number):
        url = self.origin.add('/f', self.content, hold_after=40 * MIB)
        process = self.start_get(url, '-O', 'out')
        # Whole pieces are kept, so some must have been written.
        rig.until(lambda: self.origin['/f'].sent > 40 * MIB - (64 << 10), 'most of it was sent')
        rig.until(lambda: sum(f.stat().st_blocks for f in pathlib.Path(self.folder).rglob('content*')) * 512
                  > 30 * MIB, 'most of it was stored')
        process.send_signal(number)
        got = self.finish(process)
        self.assertFalse(os.path.exists(self.path('out')))
        sent = self.origin['/f'].sent
        self.origin['/f'].release()
        return url, got, sent

    def resume(self, url, sent):
        self.get(url, '-O', 'out', code=0)
        self.same(self.path('out'), self.content)
        self.assertEqual(os.listdir(self.folder), ['out'])
        self.assertLess(self.origin['/f'].sent, len(self.content) + 20 * MIB)

    def test_ctrl_c_then_the_same_command_resumes(self):
        url, got, sent = self.interrupt(signal.SIGINT)
        self.assertEqual(got.code, 130, str(got))
        self.assertIn(b'resumes', got.err)
        self.resume(url, sent)

    def test_sigterm_is_like_ctrl_c(self):
        url, got, sent = self.interrupt(signal.SIGTERM)
        self.assertEqual(got.code, 143, str(got))
        self.resume(url, sent)

    def test_kill_then_the_same_command_resumes(self):
        url, got, sent = self.interrupt(signal.SIGKILL)
        self.assertEqual(got.code, -9)
        self.resume(url, sent)


class Folders(rig.Case):
    FILES = {'a.txt': b'a' * 1000, 'sub/b.bin': b'b' * 5000, 'sub/deeper/c d.txt': b'c', 'ü.txt': b'u'}

    def make(self):
        root = pathlib.Path(self.path('tree'))
        for name, content in self.FILES.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(content)
        return root

    def compare(self, out):
        found = {str(p.relative_to(out)): p.read_bytes() for p in pathlib.Path(out).rglob('*')
                 if p.is_file() and '.d7yget' not in str(p)}
        self.assertEqual(found, self.FILES)

    def test_everything_below_a_file_url(self):
        root = self.make()
        self.get(f'file://{root}/', '-r', '-O', 'out', code=0)
        self.compare(self.path('out'))

    def test_folders_and_files_of_a_folder(self):
        root = self.make()
        self.get(f'file://{root}/', '-r', '-O', 'out', '-I', 'sub/', '-I', 'ü.txt', code=0)
        found = {str(p.relative_to(self.path('out'))) for p in pathlib.Path(self.path('out')).rglob('*') if p.is_file()}
        self.assertEqual(found, {'sub/b.bin', 'sub/deeper/c d.txt', 'ü.txt'})

    def test_everything_below_an_autoindex_of_nginx(self):
        nginx = next((p for p in ('/usr/sbin/nginx', '/usr/bin/nginx') if os.path.exists(p)), None)
        if not nginx:
            self.skipTest('nginx is not installed')
        root = self.make()
        os.chmod(root, 0o755)
        port = rig.free_port()
        config = pathlib.Path(self.path('nginx.conf'))
        config.write_text(f'''daemon off; {"user root;" if os.getuid() == 0 else ""} pid {self.folder}/pid;
error_log {self.folder}/nginx-error.log; events {{}}
http {{ access_log off; client_body_temp_path {self.folder}/t1; proxy_temp_path {self.folder}/t2;
fastcgi_temp_path {self.folder}/t3; uwsgi_temp_path {self.folder}/t4; scgi_temp_path {self.folder}/t5;
server {{ listen 127.0.0.1:{port}; root {root}; autoindex on; }} }}''')
        process = rig.Process('nginx', [nginx, '-c', config, '-p', self.folder], self.path('nginx.log'))
        self.processes.append(process)
        process.ready(lambda: rig.accepts('127.0.0.1', port))
        self.get(f'http://127.0.0.1:{port}/', '-r', '-O', 'out', code=0)
        self.compare(self.path('out'))
        self.get(f'http://127.0.0.1:{port}/', '-r', '-O', 'some', '-I', '*.txt', code=0)
        self.assertFalse(os.path.exists(self.path('some/sub/b.bin')))
        self.assertTrue(os.path.exists(self.path('some/a.txt')))
        self.get(f'http://127.0.0.1:{port}/', '-r', '-O', 'none', '-I', '*.txxt', code=3, says='--include-files')
        self.get(f'http://127.0.0.1:{port}/', '-r', '-O', 'few', '--max-files', '2', code=1, says='--max-files')
        process.signal(signal.SIGQUIT)
        process.wait()

    def test_a_file_url_of_one_file(self):
        root = self.make()
        self.get(f'file://{root}/a.txt', '-O', 'out', code=0)
        self.same(self.path('out'), self.FILES['a.txt'])
        self.get(f'file://{root}/none', '-O', 'out2', code=3, says='none')


class Progress(rig.Case):
    def setUp(self):
        super().setUp()
        self.content = os.urandom(6 * MIB)
        self.url = self.origin.add('/f', self.content, rate=8 * MIB)

    def shown_on_a_terminal(self, *arguments, columns=80, **env):
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack('HHHH', 24, columns, 0, 0))
        process = self.start_get(*arguments, stderr=slave, env=env)
        os.close(slave)
        shown = b''
        while True:
            ready, _, _ = select.select([master], [], [], rig.PATIENCE)
            self.assertTrue(ready, 'the terminal stays silent')
            try:
                part = os.read(master, 65536)
            except OSError:
                break
            if not part:
                break
            shown += part
        os.close(master)
        self.assertEqual(process.wait(rig.PATIENCE), 0)
        return shown

    def test_a_bar_on_a_terminal(self):
        shown = self.shown_on_a_terminal(self.url, '-O', 'out')
        self.assertIn(b'eta', shown)
        self.assertIn(b'\x1b[', shown)
        self.assertIn(b'from the origin', shown)

    def test_a_bar_is_never_longer_than_a_line_nor_cut_within_a_letter(self):
        name = '\u6587\u5b57' * 10
        for columns in (79, 40, 12):
            shown = self.shown_on_a_terminal(self.url, '-O', f'{name}{columns}', columns=columns).decode()
            bars = [line for line in re.split(r'\x1b\[[A-Z0-9]*|[\r\n]', shown) if line][:-1]
            self.assertTrue(bars)
            for bar in bars:
                wide = sum(2 if '\u4e00' <= letter <= '\u9fff' else 1 for letter in bar)
                self.assertLess(wide, columns, bar)
        self.assertNotIn(b'\x1b', self.shown_on_a_terminal(self.url, '-O', 'dumb', TERM='dumb'))

    def test_names_cannot_command_the_terminal(self):
        self.origin.add('/%1b%5b31mred', self.content)
        got = self.get(self.origin.url('/%1b%5b31mred'), '-O', '.', code=0)
        self.assertNotIn(b'\x1b', got.err)
        self.same(self.path('\x1b[31mred'), self.content)
        got = self.get(self.origin.url('/%1b%5b31mred'), '-O', '.', code=8)
        self.assertNotIn(b'\x1b', got.err)

    def test_plain_lines_elsewhere(self):
        got = self.get(self.url, '-O', 'out', code=0)
        self.assertNotIn(b'\x1b', got.err)
        self.assertRegex(got.err.decode(), r'out: 6\.0 MiB in .* from the origin')

    def test_quiet_is_quiet(self):
        self.assertEqual(self.get(self.url, '-O', 'out', '-q', code=0).err, b'')
        self.assertEqual(self.get(self.url, '-O', 'out2', '--no-progress', code=0).err, b'')


if __name__ == '__main__':
    rig.main()
