#!/usr/bin/env python3
"""A scheduler, a seed and peers, while some of them die, freeze or go silent: all downloads end right."""

import os
import signal
import unittest

import rig
from rig import MIB

PEERS = 4


class Swarm(rig.Case):
    def setUp(self):
        super().setUp()
        self.scheduler = rig.Scheduler(self)
        self.seed = rig.Daemon(self, 'seed', seed=True, scheduler=self.scheduler.port)
        self.peers = [rig.Daemon(self, f'peer-{i}', scheduler=self.scheduler.port) for i in range(PEERS)]
        self.content = os.urandom(64 * MIB + 11)

    def start(self, url, peers=None):
        peers = self.peers if peers is None else peers
        return [(peer, self.start_get(url, '-O', f'out-{peer.name}', '--json', '--timeout', '150s', '--daemon',
                                      'require', daemon=peer)) for peer in peers]

    def arrive(self, running):
        """All downloads are right; their sums of bytes by where they came from."""
        totals = {}
        for peer, process in running:
            got = self.finish(process, 200)
            self.assertEqual(got.code, 0, f'{peer.name}: {got}')
            self.same(self.path(f'out-{peer.name}'), self.content)
            for where, count in got.json[0]['from'].items():
                totals[where] = totals.get(where, 0) + count
        return totals

    def held(self, **manner):
        """A file of which the origin gives the first part only, until it is told to go on."""
        return self.origin.add('/f', self.content, hold_after=24 * MIB, **manner)

    def half_way(self):
        rig.until(lambda: any(peer.metric('dragonfly_client_download_traffic') > 4 * MIB for peer in self.peers),
                  'peers have something')

    def go_on(self):
        self.origin['/f'].release()

    def test_the_origin_is_read_once(self):
        url = self.origin.add('/f', self.content)
        totals = self.arrive(self.start(url))
        self.assertEqual(self.origin['/f'].sent, len(self.content))
        self.assertEqual(totals['source'], 0)

    def test_the_seed_is_killed(self):
        running = self.start(self.held())
        self.half_way()
        self.seed.kill()
        self.go_on()
        self.arrive(running)

    def test_the_scheduler_is_killed(self):
        running = self.start(self.held())
        self.half_way()
        self.scheduler.kill()
        self.go_on()
        self.arrive(running)

    def test_the_scheduler_is_killed_and_comes_back(self):
        running = self.start(self.held())
        self.half_way()
        self.scheduler.kill()
        back = rig.Scheduler(self, 'd7ysched-again', port=self.scheduler.port)
        self.go_on()
        self.arrive(running)
        self.assertIsNone(back.popen.poll())

    def test_a_parent_is_killed(self):
        url = self.held()
        running = self.start(url)
        self.half_way()
        victim, process = running.pop(0)
        victim.kill()
        self.go_on()
        self.arrive(running)
        self.assertEqual(self.finish(process).code, 5)
        self.nothing_at(self.path(f'out-{victim.name}'))

    def test_a_parent_freezes(self):
        # The frozen one has everything, and is the only parent but the origin.
        url = self.origin.add('/f', self.content)
        self.arrive(self.start(url, self.peers[:1]))
        self.seed.signal(signal.SIGSTOP)
        self.arrive(self.start(url, self.peers[1:]))
        self.seed.signal(signal.SIGCONT)

    def test_a_parent_drains(self):
        url = self.held()
        running = self.start(url, self.peers[1:])
        self.half_way()
        self.seed.signal(signal.SIGTERM)
        self.go_on()
        self.arrive(running)
        self.assertEqual(self.seed.wait(), 0)


if __name__ == '__main__':
    rig.main()
