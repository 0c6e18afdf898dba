#!/usr/bin/env python3
"""d7ysched dies and comes back, alone and with a Redis: complete copies are found again, the origin is not read."""

import os
import shutil
import signal
import unittest

import rig
from rig import MIB

REDIS = shutil.which('redis-server')


class Restart(rig.Case):
    def setUp(self):
        super().setUp()
        self.content = os.urandom(24 * MIB + 5)
        self.url = self.origin.add('/f', self.content)

    def download(self, peer):
        got = self.get(self.url, '-O', f'out-{peer.name}', '--json', '--daemon', 'require', daemon=peer)
        self.assertEqual(got.code, 0, got)
        self.same(self.path(f'out-{peer.name}'), self.content)
        return got.json[0]['from']

    def come_back(self, scheduler, settle, **settings):
        """One peer reads the origin, the scheduler is killed, and another peer asks the one that comes after it."""
        first = rig.Daemon(self, 'first', scheduler=scheduler.port)
        self.assertEqual(self.download(first)['source'], len(self.content))
        settle()
        scheduler.kill()
        again = rig.Scheduler(self, 'd7ysched-again', port=scheduler.port, **settings)
        second = rig.Daemon(self, 'second', scheduler=scheduler.port)
        self.assertEqual(self.download(second).get('source', 0), 0, again.output())
        self.assertEqual(self.origin['/f'].sent, len(self.content))

    def test_asked_twice_to_stop_it_stops_at_once(self):
        scheduler = rig.Scheduler(self)
        url = self.origin.add('/held', self.content, hold_after=8 * MIB)
        peer = rig.Daemon(self, 'peer', scheduler=scheduler.port)
        self.start_get(url, '-O', 'held', '--daemon', 'require', daemon=peer)
        rig.until(lambda: self.origin['/held'].sent >= 8 * MIB - (64 << 10), 'it downloads')
        scheduler.signal(signal.SIGTERM)
        rig.until(lambda: not rig.accepts('127.0.0.1', scheduler.port), 'it takes no new calls')
        self.assertIsNone(scheduler.popen.poll())
        scheduler.signal(signal.SIGTERM)
        self.assertEqual(scheduler.wait(5), -signal.SIGTERM)
        self.origin['/held'].release()

    def test_with_a_folder(self):
        data = self.path('data')
        scheduler = rig.Scheduler(self, data=data)
        journal = os.path.join(data, 'scheduler.journal')
        self.come_back(scheduler, lambda: rig.until(lambda: os.path.getsize(journal) > 500, 'the journal is written'),
                       data=data)

    @unittest.skipUnless(REDIS, 'needs redis-server')
    def test_with_redis_and_without_a_folder(self):
        port = rig.free_port()
        redis = rig.Process('redis', [REDIS, '--port', str(port), '--bind', '127.0.0.1', '--save', '', '--requirepass',
                                      'secret', '--dir', str(self.folder)], self.folder / 'redis.log')
        self.processes.append(redis)
        redis.ready(lambda: rig.accepts('127.0.0.1', port))
        config = self.folder / 'scheduler.yaml'
        config.write_text(f'server:\n  dataDir: ""\n'
                          f'database:\n  redis:\n    addrs: ["127.0.0.1:{port}"]\n    password: secret\n')
        metrics = rig.free_port()
        arguments = ('--config', config)
        scheduler = rig.Scheduler(self, arguments=(*arguments, '--metrics', f'127.0.0.1:{metrics}'))

        def written():
            # Hosts and the task were asked for; the host, the task with its expiry, and the copy were written.
            return 'd7y_scheduler_redis_commands_total{use="ledger"}' in (text := rig.page('127.0.0.1', metrics)) and \
                float(text.partition('\nd7y_scheduler_redis_commands_total{use="ledger"} ')[2].split()[0]) >= 6
        self.come_back(scheduler, lambda: rig.until(written, 'Redis has the copy'), arguments=arguments)
        self.assertNotIn('secret', scheduler.output())


if __name__ == '__main__':
    rig.main()
