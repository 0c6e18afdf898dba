#!/usr/bin/env python3
"""d7y among Dragonfly's own programs: its daemon, its command, its scheduler. See dragonfly.py for where they are.

Every scenario checks what arrived by SHA-256 and what the origin sent, in bytes.
"""

import http.client
import itertools
import os
import pathlib
import re
import shutil
import signal
import sys
import time
import unittest

import dragonfly
import rig
from dragonfly import needs
from registry import Image, Layer, Registry
from rig import MIB

# Up to 4 MiB Dragonfly's client goes to the origin without asking a scheduler; one byte more makes two pieces.
SIZES = {'0': 0, '1': 1, '4M': 4 * MIB, '4M+1': 4 * MIB + 1, '100M': 100 * MIB}
SMALL = 4 * MIB
# Large enough for several pieces at once (of 4 MiB each) and an uneven last one.
MIDDLE = 48 * MIB + 12345


class Swarm:
    """What the scenarios are made of; the classes that inherit it say who schedules."""

    def cluster(self, seed, peers):
        self.scheduler = self.new_scheduler()
        self.seed = self.peer(seed, 'seed', self.scheduler, seed=True)
        self.peers = [self.peer(kind, f'{kind}-{i}', self.scheduler) for i, kind in enumerate(peers)]
        self.until_the_seed_is_known()

    def all_sizes(self):
        for label, size in SIZES.items():
            with self.subTest(size=label):
                content = os.urandom(size)
                url = self.origin.add(f'/{label}', content)
                self.all_get(self.peers, url, content, label)
                if size > SMALL:
                    self.assertEqual(self.read_of(f'/{label}'), size)


class Mixed(Swarm):
    """The scenarios that hold under either scheduler."""

    def test_rust_peers_and_a_rust_seed(self):
        self.cluster('rust', ['rust', 'rust'])
        self.all_sizes()

    def test_rust_peers_and_a_d7y_seed(self):
        self.cluster('d7y', ['rust', 'rust'])
        self.all_sizes()

    def test_d7y_peers_and_a_rust_seed(self):
        self.cluster('rust', ['d7y', 'd7y'])
        self.all_sizes()

    def mixed_parents(self, seed):
        """First one of each kind gets the file, then one of each kind after them: all parents are of use."""
        self.cluster(seed, ['rust', 'd7y', 'rust', 'd7y'])
        content = os.urandom(100 * MIB)
        url = self.origin.add('/f', content)
        self.all_get(self.peers[:2], url, content, 'first')
        self.all_get(self.peers[2:], url, content, 'second')
        self.assertEqual(self.read_of('/f'), len(content))
        given = {peer.name: peer.metric('dragonfly_client_upload_traffic') for peer in [self.seed, *self.peers]}
        self.assertGreater(given['seed'], 0, given)
        for peer in self.peers[2:]:
            got = peer.metric('dragonfly_client_download_traffic', type='REMOTE_PEER')
            self.assertEqual(got, len(content), (peer.name, given))
        return given

    def test_mixed_parents_below_a_rust_seed(self):
        self.mixed_parents('rust')

    def test_mixed_parents_below_a_d7y_seed(self):
        self.mixed_parents('d7y')

    def only_parent(self, parent, child):
        """With the seed gone, the one peer that has everything serves one of the other kind."""
        self.cluster('rust', [parent, child])
        content = os.urandom(MIDDLE)
        url = self.origin.add('/f', content)
        self.all_get(self.peers[:1], url, content, 'first')
        self.ends_clean(self.seed)
        self.all_get(self.peers[1:], url, content, 'second')
        self.assertEqual(self.read_of('/f'), len(content))
        self.assertEqual(self.peers[0].metric('dragonfly_client_upload_traffic'), len(content))

    def test_a_d7y_child_of_a_rust_peer_only(self):
        self.only_parent('rust', 'd7y')

    def test_a_rust_child_of_a_d7y_peer_only(self):
        self.only_parent('d7y', 'rust')

    def parent_dies(self, seed):
        """The seed is killed while all download from it; the origin, which alone has the rest, goes on then."""
        self.cluster(seed, ['rust', 'd7y', 'rust', 'd7y'])
        content = os.urandom(MIDDLE)
        # A dfdaemon reads eight pieces of 4 MiB at a time: with less than 32 MiB none of them need be whole.
        url = self.origin.add('/f', content, hold_after=36 * MIB)
        running = [(peer, f'out-{peer.name}', self.begin(peer, url, f'out-{peer.name}')) for peer in self.peers]
        for kind in ('rust', 'd7y'):
            rig.until(lambda kind=kind: any(peer.metric('dragonfly_client_download_traffic') > 0
                                            for peer in self.peers if peer.kind == kind), f'a {kind} peer has something')
        self.seed.kill()
        self.origin['/f'].release()
        self.all_end(running, content)

    def test_a_rust_seed_is_killed_in_the_middle(self):
        self.parent_dies('rust')

    def test_a_d7y_seed_is_killed_in_the_middle(self):
        self.parent_dies('d7y')

    def test_all_end_clean_while_others_are_connected(self):
        self.cluster('rust', ['rust', 'd7y'])
        content = os.urandom(MIDDLE)
        self.all_get(self.peers, self.origin.add('/f', content), content, 'f')
        for daemon in [self.seed, *self.peers]:
            self.ends_clean(daemon)


class D7ysched:
    def new_scheduler(self, port=None, config_too=''):
        config = pathlib.Path(self.path('scheduler.yaml'))
        metrics = rig.free_port()
        # Nothing of what other tests left on this machine.
        config.write_text(f'server:\n  dataDir: ""\nmetrics:\n  enable: true\n  addr: 127.0.0.1:{metrics}\n{config_too}')
        scheduler = rig.Scheduler(self, port=port, arguments=('--config', config))
        scheduler.metrics_port = metrics
        return scheduler

    def until_the_seed_is_known(self):
        pass  # an announced seed is used at once


class DragonflysScheduler:
    tries = itertools.count()

    def new_scheduler(self):
        return dragonfly.GoScheduler(self)

    def until_the_seed_is_known(self):
        """That scheduler looks for seeds twice a minute. Until then everybody goes to the origin."""
        def used():
            name = f'/try-{next(self.tries)}'
            content = os.urandom(SMALL + 1)
            self.all_get(self.peers[:1], self.origin.add(name, content), content, name[1:])
            return self.seed.metric('dragonfly_client_download_traffic') > 0
        rig.until(used, 'the scheduler knows the seed')


@needs('dfdaemon', 'dfget')
class UnderD7ysched(D7ysched, Mixed, dragonfly.Case):
    def test_the_scheduler_knows_who_comes_and_goes(self):
        self.cluster('rust', ['rust'])

        def calls(name):
            return dragonfly.metric(self.scheduler, f'dragonfly_scheduler_{name}_total')
        rig.until(lambda: dragonfly.metric(self.scheduler, 'd7y_scheduler_hosts') == 2, 'both are known')
        rig.until(lambda: calls('announce_host') >= 6, 'hosts are announced again')
        for daemon in [self.seed, *self.peers]:
            self.ends_clean(daemon)
        self.assertEqual(calls('leave_host'), 2)
        self.assertEqual(calls('leave_host_failure'), 0)
        rig.until(lambda: dragonfly.metric(self.scheduler, 'd7y_scheduler_hosts') == 0, 'nobody is left')

    def test_a_few_rust_peers_stand_in_a_row(self):
        """Everybody has one child at most, and so passes the content on once."""
        for seed in ('rust', 'd7y'):
            with self.subTest(seed=seed):
                self.cluster(seed, ['rust'] * 4)
                content = os.urandom(200 * MIB)  # ten pieces and more for each of them
                url = self.origin.add(f'/{seed}', content, rate=50_000_000)  # nobody is done before all are there
                running = [(peer, f'{seed}-{peer.name}', self.begin(peer, url, f'{seed}-{peer.name}')) for peer in self.peers]
                self.all_end(running, content)
                self.assertEqual(self.read_of(f'/{seed}'), len(content))
                given = sorted(peer.metric('dragonfly_client_upload_traffic') for peer in [self.seed, *self.peers])
                self.assertEqual(given, [0] + [len(content)] * 4)
                for daemon in [self.seed, *self.peers, self.scheduler]:
                    daemon.kill()
                for daemon in [self.seed, *self.peers]:
                    shutil.rmtree(daemon.folder)

    def test_a_herd_of_rust_peers_stands_in_two_trees(self):
        """Each passes on about as much as it gets. In one tree half of them would pass on twice as much, and half nothing."""
        self.scheduler = self.new_scheduler()
        self.seed = self.peer('d7y', 'seed', self.scheduler, seed=True, uplink='6MiB')
        self.peers = [self.peer('rust', f'rust-{i}', self.scheduler, uplink='6MiB') for i in range(20)]
        content = os.urandom(192 * MIB)
        url = self.origin.add('/f', content)
        self.all_get(self.peers, url, content, 'f')
        self.assertEqual(self.read_of('/f'), len(content))
        given = sorted(daemon.metric('dragonfly_client_upload_traffic') / len(content) for daemon in [self.seed, *self.peers])
        self.assertAlmostEqual(sum(given), 20, delta=0.5)
        self.assertLess(given[-1], 1.6)
        self.assertGreater(given[5], 0.4)

    def test_a_peer_that_nobody_reaches_is_given_to_few(self):
        """It has more than others, and announces an address at which nobody listens: a machine behind a firewall."""
        self.cluster('rust', [])
        hidden = self.peer('rust', 'hidden', self.scheduler, announced='127.9.9.9')
        self.peers = [self.peer('rust', f'rust-{i}', self.scheduler) for i in range(6)]
        content = os.urandom(200 * MIB)
        url = self.origin.add('/f', content, rate=4_000_000)
        first = self.begin(hidden, url, 'first')
        rig.until(lambda: hidden.metric('dragonfly_client_download_traffic') > 16 * MIB, 'it has something')
        running = [(hidden, 'first', first)]
        for peer in self.peers:
            running.append((peer, f'out-{peer.name}', self.begin(peer, url, f'out-{peer.name}')))
            rig.until(lambda peer=peer: peer.metric('dragonfly_client_download_task_total') > 0, 'one has asked after the other')
        self.all_end(running, content)
        self.assertEqual(self.read_of('/f'), len(content))

    def test_a_herd_of_both_kinds(self):
        """Twelve of one kind and six of the other at once; then again, and one of each is killed in the middle."""
        for seed in ('rust', 'd7y'):
            with self.subTest(seed=seed):
                self.cluster(seed, ['rust', 'd7y', 'rust'] * 6)
                content = os.urandom(100 * MIB)
                url = self.origin.add(f'/{seed}', content)
                self.all_get(self.peers, url, content, seed)
                self.assertEqual(self.read_of(f'/{seed}'), len(content))
                url = self.origin.add(f'/{seed}-2', content, rate=2_000_000)  # of each of its connections
                running = [(peer, f'again-{seed}-{peer.name}', self.begin(peer, url, f'again-{seed}-{peer.name}'))
                           for peer in self.peers]
                rig.until(lambda seed=seed: self.origin[f'/{seed}-2'].sent > 30 * MIB, 'they have begun')
                for peer, _, process in running[:2]:
                    peer.kill()
                    process.wait()
                self.all_end(running[2:], content)
                for daemon in [self.seed, *self.peers, self.scheduler]:
                    daemon.kill()
                for daemon in [self.seed, *self.peers]:
                    shutil.rmtree(daemon.folder)

    def again(self, peer, **settings):
        """A daemon that was killed, at its ports and with its folder; without `keep` it empties its store."""
        rig.until(lambda: all(dragonfly.Heir.free(port) for port in peer.ports), 'the ports are free again', 90)
        return self.peer(peer.kind, peer.name, self.scheduler, ports=peer.ports, **settings)

    def test_a_daemon_that_lost_its_copy_does_not_wait_for_it(self):
        """It is killed and back before the scheduler notices, and asks for what it has by the scheduler's books."""
        for kind in ('rust', 'd7y'):
            with self.subTest(kind=kind):
                self.scheduler = self.new_scheduler()
                peer = self.peer(kind, kind, self.scheduler, announce='60s')
                content = os.urandom(MIDDLE)
                url = self.origin.add(f'/{kind}', content)
                self.all_get([peer], url, content, 'first')
                peer.kill()
                peer = self.again(peer, announce='60s')
                began = time.monotonic()
                self.all_get([peer], url, content, 'second')
                self.assertLess(time.monotonic() - began, 5)  # it was 8 s
                self.assertEqual(self.read_of(f'/{kind}'), 2 * len(content))

    def test_a_daemon_that_kept_its_copy_serves_it_after_a_kill(self):
        for kind in ('rust', 'd7y'):
            self.scheduler = self.new_scheduler()
            parent = self.peer(kind, kind, self.scheduler, announce='60s', keep=True)
            children = [self.peer(child, f'{kind}-{child}', self.scheduler) for child in ('rust', 'd7y')]
            content = os.urandom(MIDDLE)
            url = self.origin.add(f'/{kind}', content)
            self.all_get([parent], url, content, 'first')
            parent.kill()
            self.again(parent, announce='60s', keep=True)
            for child in children:
                with self.subTest(parent=kind, child=child.kind):
                    self.all_get([child], url, content, 'second')
                    self.assertEqual(self.read_of(f'/{kind}'), len(content))

    def test_the_scheduler_is_killed_in_the_middle_and_comes_back(self):
        """Dragonfly's clients go on at the origin, each for itself, as under their own; ours go on with their parents."""
        for seed in ('rust', 'd7y'):
            with self.subTest(seed=seed):
                self.scheduler = self.new_scheduler()
                self.seed = self.peer(seed, f'seed-{seed}', self.scheduler, seed=True)
                self.peers = [self.peer(kind, f'{seed}-{kind}', self.scheduler) for kind in ('rust', 'd7y')]
                content = os.urandom(100 * MIB)
                url = self.origin.add(f'/{seed}', content, rate=4_000_000)
                running = [(peer, f'out-{peer.name}', self.begin(peer, url, f'out-{peer.name}')) for peer in self.peers]
                rig.until(lambda seed=seed: self.origin[f'/{seed}'].sent > 10 * MIB, 'they have begun')
                self.scheduler.kill()
                self.scheduler = self.new_scheduler(port=self.scheduler.port)
                self.all_end(running, content)
                self.assertLess(self.read_of(f'/{seed}'), 2.5 * len(content))
                rig.until(lambda: dragonfly.metric(self.scheduler, 'd7y_scheduler_hosts') >= 3, 'all are announced again')

    def second_seed(self, first, second):
        """Both are there from the beginning; which one is asked to read the origin is chance."""
        self.scheduler = self.new_scheduler(config_too='seedPeer:\n  hotTaskPeers: 4\n')
        seeds = [self.peer(kind, f'seed-{i}', self.scheduler, seed=True) for i, kind in enumerate([first, second])]
        self.peers = [self.peer(kind, f'{kind}-{i}', self.scheduler)
                      for i, kind in enumerate(['rust', 'rust', 'd7y', 'rust'])]
        content = os.urandom(MIDDLE)
        url = self.origin.add('/f', content, rate=1_000_000)  # of each of the connections
        running = [(peer, f'out-{peer.name}', self.begin(peer, url, f'out-{peer.name}')) for peer in self.peers]
        self.all_end(running, content)

        def got(seed, way):
            return seed.metric('dragonfly_client_download_traffic', type=way)
        rig.until(lambda: sorted(got(seed, 'REMOTE_PEER') for seed in seeds) == [0, len(content)],
                  'one seed has everything from the other and from peers')
        self.assertEqual(sorted(got(seed, 'BACK_TO_SOURCE') for seed in seeds), [0, len(content)])
        self.assertEqual(self.read_of('/f'), len(content))

    def test_a_second_rust_seed_of_a_hot_task(self):
        self.second_seed('rust', 'rust')

    def test_a_second_d7y_seed_of_a_hot_task(self):
        self.second_seed('rust', 'd7y')

    def test_a_rust_peer_set_to_quic(self):
        """It finds no QUIC port with d7y parents, and gets their pieces over TCP. Among its like it uses QUIC."""
        self.scheduler = self.new_scheduler()
        self.seed = self.peer('d7y', 'seed', self.scheduler, seed=True)
        self.peers = [self.peer('rust', 'rust-0', self.scheduler, protocol='quic'),
                      self.peer('rust', 'rust-1', self.scheduler, protocol='quic')]
        content = os.urandom(MIDDLE)
        url = self.origin.add('/f', content)
        self.all_get(self.peers, url, content, 'f')
        self.assertEqual(self.read_of('/f'), len(content))


@needs('dfdaemon')
class ProxiesUnderD7ysched(D7ysched, Swarm, dragonfly.Case):
    """The same through dfdaemon's proxy and through d7yd's."""

    def ask(self, daemon, url, **headers):
        connection = http.client.HTTPConnection('127.0.0.1', daemon.proxy, timeout=60)
        try:
            connection.request('GET', url, headers={'X-Dragonfly-Use-P2P': 'true', **headers})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def test_both_answer_alike_and_read_the_origin_once(self):
        for seed, first in itertools.product(('rust', 'd7y'), repeat=2):
            self.scheduler = self.new_scheduler()
            self.seed = self.peer(seed, f'seed-{seed}-{first}', self.scheduler, seed=True)
            kinds = ('rust', 'd7y') if first == 'rust' else ('d7y', 'rust')
            self.peers = [self.peer(kind, f'{seed}-{first}-{kind}', self.scheduler) for kind in kinds]
            for size in (0, 1, 5 * MIB, MIDDLE):
                with self.subTest(seed=seed, first=first, size=size):
                    content = os.urandom(size)
                    name = f'/{seed}-{first}-{size}'
                    url = self.origin.add(name, content, headers={'Content-Type': 'application/x-test', 'X-Own': 'a'})
                    answers = [self.ask(peer, url) for peer in self.peers]
                    for status, headers, body in answers:
                        self.assertEqual((status, rig.sha256(body)), (200, rig.sha256(content)))
                        self.assertEqual(headers['Content-Length'], str(size))
                    for field in ('Content-Type', 'X-Own', 'ETag', 'Accept-Ranges', 'X-Dragonfly-Task-Id'):
                        self.assertEqual(*[headers[field] for _, headers, _ in answers], field)
                        self.assertIsNotNone(answers[0][1][field], field)
                    if size > SMALL:
                        self.assertEqual(self.read_of(name), size)
            self.ranges(f'/{seed}-{first}-ranges')

    def ranges(self, name):
        content = os.urandom(20 * MIB)
        url = self.origin.add(name, content)
        for asked, part in (('0-0', content[:1]), ('5000000-9000000', content[5000000:9000001]), ('-5', content[-5:]),
                            ('20000000-', content[20000000:]), ('0-99999999', content)):
            for peer in self.peers:
                with self.subTest(peer=peer.name, asked=asked):
                    status, headers, body = self.ask(peer, url, Range=f'bytes={asked}')
                    self.assertEqual((status, rig.sha256(body)), (206, rig.sha256(part)))
                    self.assertRegex(headers['Content-Range'], rf'bytes \d+-\d+/{len(content)}')


@needs('dfdaemon')
class WithCertificates(dragonfly.Case):
    """Certificates of one authority for all of them. Dragonfly's own clients of this release use none, wherever they ask."""

    def test_a_d7yd_is_the_child_of_a_dfdaemon_that_wants_certificates(self):
        own = rig.Authority(self.folder, 'cluster').files('127.0.0.1')
        strange = rig.Authority(self.folder, 'stranger').files('127.0.0.1')
        config = pathlib.Path(self.path('scheduler.yaml'))
        config.write_text(f'server:\n  dataDir: ""\n  tls:{rig.keys(own, 4)}\nseedPeer:\n  tls:{rig.keys(own, 4)}\n')
        scheduler = rig.Scheduler(self, arguments=('--config', config))
        self.peer('rust', 'seed', scheduler, seed=True, tls=own)
        child = self.peer('d7y', 'child', scheduler, tls=own)
        content = os.urandom(MIDDLE)
        url = self.origin.add('/f', content)
        self.all_get([child], url, content, 'f')
        self.assertEqual(child.metric('dragonfly_client_download_traffic', type='REMOTE_PEER'), len(content))
        self.assertEqual(self.read_of('/f'), len(content))
        stranger = self.peer('d7y', 'stranger', scheduler, tls=strange)
        self.all_get([stranger], url, content, 'f')
        self.assertEqual(stranger.metric('dragonfly_client_download_traffic', type='BACK_TO_SOURCE'), len(content))
        self.assertIn('it was signed by an unknown authority', stranger.output())


class KeepsCopies:
    """Files that are kept in several copies."""

    def cluster(self, kinds):
        self.scheduler = self.new_scheduler()
        self.peers = [self.peer(kind, f'{kind}-{i}', self.scheduler) for i, kind in enumerate(kinds)]

    def ids(self, kind, peer):
        return re.findall(r'\b[0-9a-f]{64}\b', self.command('dfctl', kind, 'ls', '-e', peer.socket))

    def test_a_file_is_kept_in_copies_and_outlives_its_uploader(self):
        """Each kind of daemon as the importer, with three others of one kind or of both to keep its copies."""
        for kinds in (['rust', 'rust', 'rust', 'rust'], ['d7y', 'd7y', 'd7y', 'd7y'], ['d7y', 'rust', 'rust', 'rust'],
                      ['rust', 'd7y', 'd7y', 'd7y'], ['rust', 'd7y', 'rust', 'd7y']):
            with self.subTest(kinds=kinds):
                self.cluster(kinds)
                try:
                    self.keeps_copies()
                finally:
                    for daemon in [*self.peers, self.scheduler]:
                        daemon.kill()
                    for daemon in self.peers:
                        shutil.rmtree(daemon.folder)

    def keeps_copies(self):
        peers = self.peers
        content = os.urandom(9 * MIB + 5)
        pathlib.Path(self.path('in')).write_bytes(content)
        self.command('dfcache', 'import', self.path('in'), '--persistent-replica-count', '2', '--ttl', '10m',
                     '-e', peers[0].socket)
        task, = self.ids('persistent-cache-task', peers[0])

        def others():
            return [peer for peer in peers[1:] if task in self.ids('persistent-cache-task', peer)]
        copy, = rig.until(others, 'somebody else has a copy')
        shown = self.command('dfcache', 'stat', task, '-e', peers[2].socket)
        self.assertRegex(shown, rf'{task} +Succeeded +9.0 MiB +4.0 MiB +2 +10m')
        self.assertIn(self.is_there, self.command('dfcache', 'import', self.path('in'), '-e', peers[1].socket, code=1))
        peers[0].kill()
        without = next(peer for peer in peers[1:] if peer is not copy)
        for name, more in (('file', []), ('socket', ['--transfer-from-dfdaemon'])):
            self.command('dfcache', 'export', task, '-O', self.path(name), '--overwrite', *more, '-e', without.socket)
            self.same(self.path(name), content)
        self.assertIn(self.is_unknown, self.command('dfcache', 'stat', 'f' * 64, '-e', without.socket, code=1))


@needs('dfdaemon', 'dfcache', 'dfctl')
class CacheUnderD7ysched(D7ysched, KeepsCopies, dragonfly.Case):
    is_there, is_unknown = 'is there already', 'is not known'

    def test_a_task_is_removed_at_the_only_parent_midway(self):
        """The child has the rest from the origin, without asking a copy that is no more again and again."""
        for kinds in itertools.product(('rust', 'd7y'), repeat=2):
            with self.subTest(kinds=kinds):
                self.cluster(kinds)
                parent, child = self.peers
                name = '-'.join(kinds)
                content = os.urandom(300 * MIB)
                url = self.origin.add(f'/{name}', content)
                self.all_get([parent], url, content, name)
                running = [(child, f'child-{name}', self.begin(child, url, f'child-{name}'))]
                rig.until(lambda child=child: child.metric('dragonfly_client_download_traffic') > 8 * MIB, 'it has begun')
                task, = self.ids('task', parent)
                self.command('dfctl', 'task', 'rm', task, '-e', parent.socket)
                self.all_end(running, content)
                self.assertLess(self.read_of(f'/{name}'), 2 * len(content))
                for daemon in [*self.peers, self.scheduler]:
                    daemon.kill()
                for daemon in self.peers:
                    shutil.rmtree(daemon.folder)

    def test_a_mistaken_digest_costs_no_copy(self):
        """Wherever it is exported, by the importer's daemon or by another: who expects something else only hears so."""
        self.cluster(['d7y', 'd7y', 'rust'])
        content = os.urandom(9 * MIB + 5)
        pathlib.Path(self.path('in')).write_bytes(content)
        self.command('dfcache', 'import', self.path('in'), '--persistent-replica-count', '1', '-e', self.peers[0].socket)
        task, = self.ids('persistent-cache-task', self.peers[0])
        for peer in self.peers:
            wrong = ['--digest', 'sha256:' + '0' * 64]
            out = self.path(f'out-{peer.name}')
            said = self.command('dfcache', 'export', task, '-O', out, *wrong, '-e', peer.socket, code=1)
            self.assertRegex(said, 'was expected|digest mismatch')
            self.command('dfcache', 'export', task, '-O', out, '--overwrite', '-e', peer.socket)
            self.same(out, content)

    def test_dfctl_preheats_lists_and_removes(self):
        self.cluster(['d7y', 'rust'])
        seed = self.peer('d7y', 'seed', self.scheduler, seed=True)
        content = os.urandom(9 * MIB + 5)
        url = self.origin.add('/f', content)
        self.command('dfctl', 'task', 'preheat', url, '--scope', 'all_peers',
                     '--scheduler-endpoint', f'http://127.0.0.1:{self.scheduler.port}')
        daemons = [seed, *self.peers]
        rig.until(lambda: all(daemon.metric('dragonfly_client_download_traffic') == len(content) for daemon in daemons),
                  'all have it; the scheduler answers before that')
        self.assertEqual(self.read_of('/f'), len(content))
        for daemon in daemons:
            task, = self.ids('task', daemon)
            self.command('dfctl', 'task', 'rm', task, '-e', daemon.socket)
            self.assertEqual(self.ids('task', daemon), [])


@needs('dfdaemon', 'dfcache', 'dfctl', 'scheduler')
@unittest.skipUnless(shutil.which('redis-server'), 'needs redis-server')
class CacheUnderDragonflysScheduler(KeepsCopies, dragonfly.Case):
    is_there, is_unknown = 'cannot upload', 'not found'

    def new_scheduler(self):
        return dragonfly.GoScheduler(self, redis=True)


@needs('dfdaemon', 'dfget', 'scheduler')
class UnderDragonflysScheduler(DragonflysScheduler, Mixed, dragonfly.Case):
    def test_a_cluster_moves_over_one_process_at_a_time(self):
        """After each step everybody gets a new file, and the origin sends it once."""
        self.cluster('rust', ['rust', 'rust'])
        steps = iter(range(100))

        def works():
            name = f'/step-{next(steps)}'
            content = os.urandom(MIDDLE)
            self.all_get(self.peers, self.origin.add(name, content), content, name[1:])
            self.assertEqual(self.read_of(name), len(content))
        works()
        self.ends_clean(self.seed)
        self.seed = dragonfly.Heir(self, self.seed)
        self.until_the_seed_is_known()
        works()
        self.ends_clean(self.peers[0])
        self.peers[0] = dragonfly.Heir(self, self.peers[0])
        works()
        self.ends_clean(self.scheduler)
        self.scheduler = D7ysched.new_scheduler(self, port=self.scheduler.port)
        rig.until(lambda: dragonfly.metric(self.scheduler, 'd7y_scheduler_hosts') == 3, 'all are announced again')
        works()
        self.ends_clean(self.peers[1])
        self.peers[1] = dragonfly.Heir(self, self.peers[1])
        works()


@needs('manager')
@unittest.skipUnless(shutil.which('redis-server') and dragonfly.postgresql('initdb'), 'needs redis-server and PostgreSQL')
class UnderDragonflysManager(dragonfly.Case):
    """d7ysched and daemons of both kinds, which know nothing but where the manager is."""

    def setUp(self):
        super().setUp()
        self.manager = dragonfly.GoManager(self)

    def new_scheduler(self, name='sched-1', port=None):
        config = pathlib.Path(self.path(f'{name}.yaml'))
        config.write_text(f'''server:
  dataDir: ""
  host: {name}
  advertiseIP: 127.0.0.1
manager:
  addr: 127.0.0.1:{self.manager.port}
  keepAlive: {{interval: 1s}}
dynConfig:
  refreshInterval: 1s
database:
  redis:
    addrs: ["127.0.0.1:{self.manager.redis}"]
''')
        return rig.Scheduler(self, name, port=port, arguments=('--config', config))

    def states(self):
        return {one['host_name']: one['state'] for one in self.manager.ask('GET', '/schedulers')}

    def new_peer(self, kind, name, **settings):
        extra = f'manager:\n  addr: http://127.0.0.1:{self.manager.port}\n'
        if kind == 'rust':
            daemon = dragonfly.RustDaemon(self, name, [], extra=extra, **settings)
        else:
            daemon = rig.Daemon(self, name, extra=extra + 'dynconfig:\n  refreshInterval: 1s\n', **settings)
        daemon.kind = kind
        return daemon

    def test_schedulers_come_and_go(self):
        scheduler = self.new_scheduler()
        rig.until(lambda: self.states() == {'sched-1': 'active'}, 'the manager knows it')
        row, = self.manager.ask('GET', '/schedulers')
        self.assertEqual((row['ip'], row['port'], row['scheduler_cluster_id']), ('127.0.0.1', scheduler.port, 1))
        self.assertEqual(sorted(row['features']), ['preheat', 'schedule'])
        second = self.new_scheduler('sched-2')
        rig.until(lambda: self.states() == {'sched-1': 'active', 'sched-2': 'active'}, 'both are active')
        second.kill()
        rig.until(lambda: self.states()['sched-2'] == 'inactive', 'a lost one is not')
        self.ends_clean(scheduler)
        rig.until(lambda: self.states()['sched-1'] == 'inactive', 'one that ends neither')
        self.manager.process.kill()
        scheduler = self.new_scheduler(port=scheduler.port)  # starts without a manager
        self.manager.start()
        rig.until(lambda: self.states()['sched-1'] == 'active', 'it finds its manager again', 60)

    def test_daemons_find_their_scheduler_and_jobs_are_done(self):
        scheduler = self.new_scheduler()
        kinds = {'seed': 'd7y', 'rust': 'rust', 'd7y': 'd7y'}
        peers = {name: self.new_peer(kind, name, seed=name == 'seed') for name, kind in kinds.items()}
        content = os.urandom(MIDDLE)
        url = self.origin.add('/f', content)
        self.all_get([peers['rust'], peers['d7y']], url, content, 'f')
        self.assertEqual(self.read_of('/f'), len(content))

        ahead = os.urandom(MIDDLE)
        url = self.origin.add('/ahead', ahead)
        state, = self.manager.job('preheat', type='file', urls=[url], scope='all_peers')
        done, = state['results']
        self.assertEqual({task['hostname'] for task in done['success_tasks']}, {'seed', 'rust', 'd7y'}, done)
        self.assertEqual(done.get('failure_tasks') or [], [])
        before = self.read_of('/ahead')
        self.assertEqual(before, len(ahead))
        self.all_get([peers['rust'], peers['d7y']], url, ahead, 'ahead')
        self.assertEqual(self.read_of('/ahead'), before)

        state, = self.manager.job('get_task', url=url)
        found, = state['results']
        self.assertEqual({peer['hostname'] for peer in found['peers']}, {'seed', 'rust', 'd7y'}, found)
        state, = self.manager.job('delete_task', url=url)
        gone, = state['results']
        self.assertEqual({task['hostname'] for task in gone['success_tasks']}, {'seed', 'rust', 'd7y'}, gone)
        state, = self.manager.job('get_task', url=url)
        self.assertEqual([peer for found in state['results'] for peer in found.get('peers') or []], [])

        self.assertEqual(self.manager.ask('POST', '/jobs', {'type': 'sync_peers', 'scheduler_cluster_ids': [1]}), 'OK')
        known = {peer['host_name']: peer['state'] for peer in self.manager.ask('GET', '/peers?per_page=50')}
        self.assertEqual(known, {'seed': 'active', 'rust': 'active', 'd7y': 'active'})
        self.ends_clean(scheduler)

    def test_all_ask_the_same_of_two_schedulers(self):
        schedulers = [self.new_scheduler(name) for name in ('sched-1', 'sched-2')]
        rig.until(lambda: self.states() == {'sched-1': 'active', 'sched-2': 'active'}, 'both are active')
        self.new_peer('rust', 'seed', seed=True)
        peers = [self.new_peer(kind, kind) for kind in ('rust', 'd7y')]
        content = os.urandom(5 * MIB)
        for i in range(40):
            url = self.origin.add(f'/f{i}', content)
            for peer in peers if i % 2 else reversed(peers):
                self.all_get([peer], url, content, f'{i}')
            self.assertEqual(self.read_of(f'/f{i}'), len(content), url)
            asked = [scheduler.output().count('is asked for task') for scheduler in schedulers]
            self.assertEqual(sum(asked), i + 1, asked)
            if i >= 7 and min(asked) > 0:  # which one it is lies with the hash of its URL
                return
        self.fail(f'one of two schedulers was never asked: {asked}')

    def test_an_image_is_preheated(self):
        self.new_scheduler()
        seed = self.new_peer('d7y', 'seed', seed=True)
        peer = self.new_peer('rust', 'rust')
        # The manager takes no registries at loopback addresses.
        registry = Registry(ip=dragonfly.outer_address(), users={'me': 'secret'})
        self.addCleanup(registry.stop)
        image = Image([Layer(f'{i}', os.urandom(6 * MIB), form='plain') for i in range(3)])
        registry.put('demo/app', 'v1', image)
        url = f'http://{registry.address}/v2/demo/app/manifests/v1'
        rights = {'username': 'me', 'password': 'secret', 'platform': 'linux/amd64'}
        state, = self.manager.job('preheat', type='image', url=url, scope='all_peers', **rights)
        done, = state['results']
        self.assertEqual({task['hostname'] for task in done['success_tasks']}, {'seed', 'rust'}, done)
        self.assertEqual(done.get('failure_tasks') or [], [])
        for layer in image.layers:  # and the one byte by which each dfdaemon asks for its length
            parts = [end - begin for begin, end, _ in registry.parts(layer.digest) if end - begin > 1]
            self.assertEqual(sum(parts), len(layer.data))
        self.assertGreaterEqual(seed.metric('dragonfly_client_upload_traffic'), 18 * MIB)
        self.assertGreaterEqual(peer.metric('dragonfly_client_download_traffic', type='REMOTE_PEER'), 18 * MIB)
        found = self.manager.ask('POST', '/jobs', {'type': 'get_image_distribution', 'scheduler_cluster_ids': [1],
                                                   'args': {'url': url, **rights}})
        self.assertEqual(len(found['image']['layers']), len(image.layers) + 1, found)
        self.assertEqual([(one['hostname'], len(one['cached_layers'])) for one in found['peers']],
                         [('rust', len(image.layers) + 1)], found)

    def test_what_the_manager_says_counts_soon(self):
        """A block list reaches daemons of both kinds, which refuse what it names before they ask anybody."""
        self.new_scheduler()
        self.new_peer('d7y', 'seed', seed=True)
        peers = [self.new_peer(kind, kind) for kind in ('rust', 'd7y')]
        content = os.urandom(MIDDLE)
        self.all_get(peers, self.origin.add('/f', content), content, 'f')
        cluster = self.manager.ask('GET', '/scheduler-clusters/1')
        rule = {'urls': ['/blocked'], 'tags': ['evil'], 'applications': ['bad'], 'priorities': [5]}
        client = {**cluster['client_config'], 'block_list': {'task': {'download': rule}}}
        self.manager.ask('PATCH', '/scheduler-clusters/1', {'client_config': client})
        self.origin.add('/blocked', content)
        self.origin.add('/allowed', content)
        outputs = itertools.count()

        def tried(peer, name, *more):
            got = self.finish(self.start_dfget(self.origin.url(name), '-O', self.path(f'tried-{next(outputs)}'), *more,
                                               daemon=peer))
            return got.code, (got.out + got.err).decode(errors='replace')
        for peer in peers:
            rig.until(lambda peer=peer: tried(peer, '/f', '--tag', 'evil')[0], f'{peer.name} has heard of it', 60)
            for name, *more in (('/blocked',), ('/allowed', '--tag', 'evil'), ('/allowed', '--application', 'bad'),
                                ('/allowed', '--priority', '5')):
                code, said = tried(peer, name, *more)
                self.assertEqual(code, 1, (peer.name, name, more))
                self.assertRegex(said, 'does not have permission')
            self.assertEqual(self.proxy_status(peer, self.origin.url('/blocked')), 403)
        self.assertEqual(self.origin['/blocked'].requests + self.origin['/allowed'].requests, [])
        client['block_list'] = {}
        self.manager.ask('PATCH', '/scheduler-clusters/1', {'client_config': client})
        for peer in peers:
            rig.until(lambda peer=peer: tried(peer, '/blocked')[0] == 0, f'{peer.name} may have it again', 60)

    @staticmethod
    def proxy_status(daemon, url):
        connection = http.client.HTTPConnection('127.0.0.1', daemon.proxy, timeout=60)
        try:
            connection.request('GET', url, headers={'X-Dragonfly-Use-P2P': 'true'})
            answer = connection.getresponse()
            answer.read()
            return answer.status
        finally:
            connection.close()


class Commands(D7ysched, Swarm, dragonfly.Case):
    """Either command with the other's daemon, and what they say when something is wrong."""

    def dfget(self, *arguments, code=0, says=None):
        got = self.finish(self.start_dfget(*arguments, daemon=self.peers[0]))
        self.assertEqual(got.code, code, str(got))
        if says is not None:
            self.assertRegex((got.out + got.err).decode(errors='replace'), says)

    @needs('dfget')
    def test_dfget_with_d7yd(self):
        self.cluster('d7y', ['d7y'])
        for label, size in SIZES.items():
            content = os.urandom(size)
            url = self.origin.add(f'/{label}', content)
            out = self.path(f'out-{label}')
            with self.subTest(size=label, way='the daemon writes'):
                self.dfget(url, '-O', out)
                self.same(out, content)
            with self.subTest(size=label, way='over the socket'):
                self.dfget(url, '-O', out + '-socket', '--transfer-from-dfdaemon')
                self.same(out + '-socket', content)
            self.assertEqual(self.read_of(f'/{label}'), size)

    @needs('dfget')
    def test_flags_of_dfget_with_d7yd(self):
        self.cluster('d7y', ['d7y'])
        content = os.urandom(9 * MIB)
        url = self.origin.add('/f', content)
        out = self.path('out')
        self.dfget(url, '-O', out, '--digest', f'sha256:{rig.sha256(content)}', '--tag', 'a', '--application', 'b',
                   '--piece-length', '8MiB', '-H', 'X-Test: yes', '--filtered-query-param', 'token', '--priority', '3')
        self.same(out, content)
        self.assertIn('yes', [headers.get('X-Test') or headers.get('x-test')
                              for _, _, headers in self.origin['/f'].requests])
        self.dfget(url, '-O', out, '--tag', 'a', code=1)  # there is a file already
        self.dfget(url, '-O', out, '--overwrite')
        self.same(out, content)
        self.dfget(url, '-O', self.path('link'), '--force-hard-link')
        self.same(self.path('link'), content)

    @needs('dfget')
    def test_what_dfget_says_when_d7yd_refuses(self):
        self.cluster('d7y', ['d7y'])
        url = self.origin.add('/f', os.urandom(9 * MIB))
        out = self.path('out')
        self.dfget(url, '-O', out, '--digest', 'sha256:' + '0' * 64, code=1, says='was expected')
        self.nothing_at(out)
        slow = self.origin.add('/slow', os.urandom(9 * MIB), rate=MIB)
        self.dfget(slow, '-O', out, '--timeout', '2s', code=1, says='(?s)time was over|Timeout expired')
        self.nothing_at(out)
        self.dfget(self.origin.url('/none'), '-O', out, code=1, says='404')
        self.nothing_at(out)
        self.origin.add('/forbidden', b'x', status=403, headers={'X-Why': 'because'})
        self.dfget(self.origin.url('/forbidden'), '-O', out, code=1, says='403')

    @needs('dfdaemon')
    def test_d7yget_with_dfdaemon(self):
        self.cluster('rust', ['rust'])
        for label, size in SIZES.items():
            content = os.urandom(size)
            url = self.origin.add(f'/{label}', content)
            with self.subTest(size=label):
                self.get(url, '-O', f'out-{label}', '--daemon', 'require', daemon=self.peers[0], code=0)
                self.same(self.path(f'out-{label}'), content)
            with self.subTest(size=label, way='over the socket'):
                self.get(url, '-O', f'out-{label}-2', '--daemon', 'require', '--transfer-from-dfdaemon',
                         daemon=self.peers[0], code=0)
                self.same(self.path(f'out-{label}-2'), content)
            with self.subTest(size=label, way='to stdout'):
                got = self.get(url, '-O', '-', '--daemon', 'require', daemon=self.peers[0], code=0)
                self.assertEqual(rig.sha256(got.out), rig.sha256(content))
            if size > SMALL:
                self.assertEqual(self.read_of(f'/{label}'), size)

    @needs('dfdaemon')
    def test_flags_of_d7yget_with_dfdaemon(self):
        self.cluster('rust', ['rust'])
        content = os.urandom(13 * MIB)
        url = self.origin.add('/f', content)
        ask = {'daemon': self.peers[0]}
        self.get(url, '-O', 'part', '--range', '4194300-9000000', '--daemon', 'require', code=0, **ask)
        self.same(self.path('part'), content[4194300:9000001])
        self.get(url, '-O', 'all', '--digest', f'sha256:{rig.sha256(content)}', '--tag', 'a', '--daemon', 'require',
                 code=0, **ask)
        self.same(self.path('all'), content)
        wrong = self.get(url, '-O', 'wrong', '--digest', 'sha256:' + '0' * 64, '--daemon', 'require', **ask)
        self.assertNotEqual(wrong.code, 0)  # the file is left there by dfdaemon
        missing = self.get(self.origin.url('/none'), '-O', 'none', '--daemon', 'require', says='404', **ask)
        self.assertNotEqual(missing.code, 0)
        self.nothing_at(self.path('none'))


@needs('scheduler')
class D7yUnderDragonflysScheduler(DragonflysScheduler, Swarm, dragonfly.Case):
    def test_d7y_peers_and_a_d7y_seed(self):
        self.cluster('d7y', ['d7y', 'd7y', 'd7y'])
        self.all_sizes()

    def test_the_scheduler_knows_who_comes_and_goes(self):
        self.cluster('d7y', ['d7y'])
        self.assertGreaterEqual(self.scheduler.metric('dragonfly_scheduler_announce_host_total'), 2)
        rig.until(lambda: self.scheduler.metric('dragonfly_scheduler_announce_host_total') >= 4,
                  'hosts are announced again')
        self.assertEqual(self.scheduler.metric('dragonfly_scheduler_announce_host_failure_total'), 0)
        for daemon in [self.seed, *self.peers]:
            self.ends_clean(daemon)
        self.assertEqual(self.scheduler.metric('dragonfly_scheduler_leave_host_total'), 2)
        self.assertEqual(self.scheduler.metric('dragonfly_scheduler_leave_host_failure_total'), 0)


if __name__ == '__main__':
    if not any(dragonfly.program(name) for name in dragonfly.PROGRAMS):
        print('skipped: none of', ', '.join(dragonfly.PROGRAMS.values()), 'is set to the path of Dragonfly\'s own program')
        sys.exit(77)
    rig.main()
