#!/usr/bin/env python3
"""Faults that only a real machine has: a disk that is full, an origin's process that dies, a network that is cut in
two, every process of a cluster killed with -9. Downloads end in the right bytes or with a clear error in time, and
nothing wrong or half-written is left."""

import contextlib
import os
import random
import shutil
import subprocess
import sys

import rig
from rig import MIB

SERVED = '''
import signal, sys, threading
sys.path.insert(0, sys.argv[1])
import rig
origin = rig.Origin(port=int(sys.argv[2]))
origin.add('/f', open(sys.argv[3], 'rb').read(), rate=int(sys.argv[4]))
print('serving', flush=True)
signal.pause()
'''


def quietly(*command):
    return subprocess.run([str(part) for part in command], capture_output=True, check=False).returncode == 0


class Disk(rig.Case):
    """A small ext4 file system in a file."""

    def setUp(self):
        super().setUp()
        self.disk = self.folder / 'disk'
        self.disk.mkdir()
        image = self.folder / 'image'
        with open(image, 'wb') as out:
            out.truncate(48 * MIB)
        if os.getuid() != 0 or not shutil.which('mkfs.ext4') or not quietly('mkfs.ext4', '-q', '-F', image) \
                or not quietly('mount', '-o', 'loop', image, self.disk):
            self.skipTest('no file can be mounted as a disk here')
        self.addCleanup(lambda: quietly('umount', '-l', self.disk))

    def tearDown(self):
        for process in self.processes:
            process.kill()
        quietly('umount', self.disk)
        super().tearDown()

    def test_a_full_disk_fails_one_download_and_the_daemon_goes_on(self):
        daemon = rig.Daemon(self, 'peer', store=self.disk / 'store')
        big = self.origin.add('/big', os.urandom(80 * MIB))
        small = os.urandom(5 * MIB)
        self.get(big, '-O', 'big', '--daemon', 'require', daemon=daemon, says='(?i)space|full|disk')
        self.nothing_at(self.path('big'))
        self.get(self.origin.add('/small', small), '-O', 'small', '--daemon', 'require', code=0, daemon=daemon)
        self.same(self.path('small'), small)
        self.assertEqual(daemon.stop(), 0)

    def test_old_files_make_room_for_new_ones_and_all_are_right(self):
        daemon = rig.Daemon(self, 'peer', store=self.disk / 'store')
        files = {f'/f{i}': os.urandom(9 * MIB + i) for i in range(8)}
        for path, content in files.items():
            out = 'out' + path[1:]
            self.get(self.origin.add(path, content), '-O', out, '--daemon', 'require', code=0, daemon=daemon)
            self.same(self.path(out), content)
        self.assertEqual(daemon.stop(), 0)

    def test_a_daemon_whose_store_has_filled_the_disk_starts_again(self):
        content = os.urandom(9 * MIB)
        url = self.origin.add('/f', content)
        for keep in (False, True):
            daemon = rig.Daemon(self, f'peer-{keep}', store=self.disk / 'store', keep=keep)
            for number in range(2):
                self.get(f'{url}?{number}', '-O', f'out-{keep}-{number}', '--transfer-from-dfdaemon', '--daemon', 'require',
                         code=0, daemon=daemon)
            with open(self.disk / 'ballast', 'wb', buffering=0) as out:
                for size in (MIB, 4096, 1):
                    with contextlib.suppress(OSError):
                        while True:
                            out.write(b'x' * size)
            daemon.kill()
            again = rig.Daemon(self, f'peer-{keep}', store=self.disk / 'store', keep=keep, ports=daemon.ports)
            self.get(url, '-O', f'again-{keep}', '--transfer-from-dfdaemon', '--daemon', 'require', code=0, daemon=again)
            self.same(self.path(f'again-{keep}'), content)
            self.assertEqual(again.stop(), 0)
            os.unlink(self.disk / 'ballast')

    def test_an_output_on_a_full_disk_is_refused_and_not_left_half(self):
        content = os.urandom(20 * MIB)
        with open(self.disk / 'ballast', 'wb') as out:
            out.write(b'x' * (35 * MIB))
        daemon = rig.Daemon(self, 'peer')
        got = self.get(self.origin.add('/f', content), '-O', self.disk / 'out', '--daemon', 'require', daemon=daemon,
                       says='(?i)space|full|disk')
        self.assertNotEqual(got.code, 0)
        self.nothing_at(str(self.disk / 'out'))
        os.unlink(self.disk / 'ballast')
        self.get(self.origin.url('/f'), '-O', self.disk / 'out', '--daemon', 'require', code=0, daemon=daemon)
        self.same(self.disk / 'out', content)


class OriginDies(rig.Case):
    def setUp(self):
        super().setUp()
        self.content = os.urandom(12 * MIB + 5)
        (self.folder / 'content').write_bytes(self.content)
        (self.folder / 'served.py').write_text(SERVED)
        self.port = rig.free_port()
        self.url = f'http://127.0.0.1:{self.port}/f'

    def serve(self, rate=0):
        here = os.path.dirname(os.path.abspath(__file__))
        served = rig.Process('origin', [sys.executable, self.folder / 'served.py', here, self.port,
                                        self.folder / 'content', rate], self.folder / 'origin.log')
        self.processes.append(served)
        return served.ready(lambda: rig.accepts('127.0.0.1', self.port))

    def test_an_origin_that_dies_and_stays_dead_is_a_clear_error(self):
        served = self.serve(rate=MIB // 2)
        daemon = rig.Daemon(self, 'peer')
        process = self.start_get(self.url, '-O', 'out', '--timeout', '40s', '--daemon', 'require', daemon=daemon)
        rig.until(lambda: daemon.metric('d7y_downloads_running') > 0, 'the download has begun')
        served.kill()
        got = self.finish(process, 60)
        self.assertNotEqual(got.code, 0)
        self.assertIn('127.0.0.1', got.err.decode())
        self.nothing_at(self.path('out'))

    def test_an_origin_that_comes_back_is_read_on(self):
        served = self.serve(rate=4 * MIB)
        daemon = rig.Daemon(self, 'peer')
        process = self.start_get(self.url, '-O', 'out', '--timeout', '100s', '--daemon', 'require', daemon=daemon)
        rig.until(lambda: daemon.metric('d7y_downloads_running') > 0, 'the download has begun')
        served.kill()
        self.serve()
        got = self.finish(process, 110)
        if got.code != 0:  # its patience was over before; the next one goes on where that one ended
            self.nothing_at(self.path('out'))
            self.get(self.url, '-O', 'out', '--daemon', 'require', code=0, daemon=daemon)
        self.same(self.path('out'), self.content)


class KilledAgainAndAgain(rig.Case):
    def test_every_process_is_killed_once_and_everything_is_right_in_the_end(self):
        seed = int(os.environ.get('D7Y_FAULTS_SEED', '1'))
        dice = random.Random(seed)
        scheduler = rig.Scheduler(self)
        daemons = {}

        def start(name):
            old = daemons.get(name)
            daemons[name] = rig.Daemon(self, name, seed=name == 'seed', keep=True, scheduler=scheduler.port,
                                       **({'ports': old.ports} if old else {}))

        for name in ('seed', 'peer-0', 'peer-1'):
            start(name)
        content = os.urandom(24 * MIB + 3)
        url = self.origin.add('/f', content, rate=16 * MIB)
        victims = ['scheduler', *daemons]
        dice.shuffle(victims)
        for number, victim in enumerate(victims):
            running = {name: self.start_get(url, '-O', f'{name}-{number}', '--timeout', '60s', '--daemon', 'require',
                                            daemon=daemons[name]) for name in ('peer-0', 'peer-1')}
            rig.until(lambda: any(daemons[name].metric('d7y_downloads_running') > 0 for name in running)
                      or all(process.poll() is not None for process in running.values()), 'downloads have begun')
            if victim == 'scheduler':
                scheduler.kill()
                scheduler = rig.Scheduler(self, f'd7ysched-{number}', port=scheduler.port)
            else:
                daemons[victim].kill()
                start(victim)
            for name, process in running.items():
                got = self.finish(process, 90)
                out = self.path(f'{name}-{number}')
                if got.code == 0:
                    self.same(out, content)
                else:
                    self.assertEqual(name, victim, f'{name} was not killed: {got}')
                    self.nothing_at(out)
                    self.get(url, '-O', f'{name}-{number}', '--daemon', 'require', code=0, daemon=daemons[name])
                    self.same(out, content)
        for daemon in daemons.values():
            self.assertEqual(daemon.stop(), 0)


class CutInTwo(rig.Case):
    """The origin, a scheduler, a seed and a peer on one side; two peers on the other."""

    def setUp(self):
        super().setUp()
        tag = f'{os.getpid() % 100000:05d}'
        net = f'10.{200 + os.getpid() % 50}.{os.getpid() // 50 % 250}'
        self.spaces, self.links = [], []
        bridges = [f'd7a{tag}', f'd7b{tag}']
        self.cable = f'd7c{tag}'
        ok = os.getuid() == 0 and shutil.which('ip')
        for bridge in bridges:
            ok = ok and quietly('ip', 'link', 'add', bridge, 'type', 'bridge')
            self.links.append(bridge)
        ok = ok and quietly('ip', 'link', 'add', self.cable, 'type', 'veth', 'peer', 'name', f'd7d{tag}')
        self.links.append(self.cable)
        for link, bridge in ((self.cable, bridges[0]), (f'd7d{tag}', bridges[1])):
            ok = ok and quietly('ip', 'link', 'set', link, 'master', bridge, 'up')
        for bridge in bridges:
            ok = ok and quietly('ip', 'link', 'set', bridge, 'up')
        ok = ok and quietly('ip', 'addr', 'add', f'{net}.1/24', 'dev', bridges[0])
        self.addCleanup(self.remove_network)
        places = [bridges[0], bridges[0], bridges[1], bridges[1]]
        for number, bridge in enumerate(places):
            space, outside, inside = f'd7y-{tag}-{number}', f'd7o{tag}{number}', f'd7i{tag}{number}'
            ok = ok and quietly('ip', 'netns', 'add', space)
            self.spaces.append(space)
            ok = ok and quietly('ip', 'link', 'add', outside, 'type', 'veth', 'peer', 'name', inside)
            ok = ok and quietly('ip', 'link', 'set', inside, 'netns', space)
            ok = ok and quietly('ip', 'link', 'set', outside, 'master', bridge, 'up')
            inside_it = ('ip', '-n', space)
            ok = ok and quietly(*inside_it, 'addr', 'add', f'{net}.{10 + number}/24', 'dev', inside)
            ok = ok and quietly(*inside_it, 'link', 'set', inside, 'up')
            ok = ok and quietly(*inside_it, 'link', 'set', 'lo', 'up')
        if not ok:
            self.skipTest('no network namespaces can be made here')
        self.content = os.urandom(24 * MIB + 7)
        origin = self.new_origin(ip=f'{net}.1')
        self.url = origin.add('/f', self.content, rate=3 * MIB)
        self.scheduler = rig.Scheduler(self, ip=f'{net}.1')
        self.peers = []
        for number, name in enumerate(('seed', 'near', 'far-1', 'far-2')):
            self.peers.append(rig.Daemon(self, name, seed=number == 0, ip=f'{net}.{10 + number}',
                                         scheduler=f'{net}.1:{self.scheduler.port}',
                                         prefix=('ip', 'netns', 'exec', self.spaces[number])))

    def remove_network(self):
        for space in self.spaces:
            quietly('ip', 'netns', 'del', space)
        for link in self.links:
            quietly('ip', 'link', 'del', link)

    def test_both_sides_end_in_time(self):
        running = [(peer, self.start_get(self.url, '-O', f'out-{peer.name}', '--timeout', '25s', '--daemon', 'require',
                                         daemon=peer)) for peer in self.peers[1:]]
        rig.until(lambda: all(peer.metric('d7y_downloads_running') > 0 for peer in self.peers[1:]),
                  'all downloads have begun')
        self.assertTrue(quietly('ip', 'link', 'set', self.cable, 'down'))
        for peer, process in running:
            got = self.finish(process, 60)
            if got.code == 0:
                self.same(self.path(f'out-{peer.name}'), self.content)
            else:
                self.assertTrue(peer.name.startswith('far'), f'{peer.name}: {got}')
                self.assertTrue(got.err.strip(), 'failed without a word')
                self.nothing_at(self.path(f'out-{peer.name}'))
        # The cable is back, and so is everybody.
        self.assertTrue(quietly('ip', 'link', 'set', self.cable, 'up'))
        for peer in self.peers[2:]:
            out = f'again-{peer.name}'
            self.get(self.url, '-O', out, '--timeout', '60s', '--daemon', 'require', code=0, daemon=peer)
            self.same(self.path(out), self.content)


if __name__ == '__main__':
    rig.main()
