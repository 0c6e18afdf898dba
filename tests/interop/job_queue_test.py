#!/usr/bin/env python3
"""d7ysched carries out what Dragonfly's manager leaves in a real Redis: preheat, get_task, delete_task, sync_peers."""

import json
import os
import shutil
import subprocess
import unittest
import uuid

import rig
from rig import MIB

REDIS = shutil.which('redis-server')
BROKER, RESULTS = 1, 2  # databases
QUEUE = 'scheduler_7_sched-7_127.0.0.1'


@unittest.skipUnless(REDIS and shutil.which('redis-cli'), 'needs redis-server and redis-cli')
class JobQueue(rig.Case):
    def setUp(self):
        super().setUp()
        self.redis_port, manager_port = rig.free_port(), rig.free_port()
        redis = rig.Process('redis', [REDIS, '--port', str(self.redis_port), '--bind', '127.0.0.1', '--save', '',
                                      '--requirepass', 'secret', '--dir', str(self.folder)], self.folder / 'redis.log')
        self.processes.append(redis)
        redis.ready(lambda: rig.accepts('127.0.0.1', self.redis_port))
        self.config = self.folder / 'scheduler.yaml'
        # Nobody is at the manager's port: jobs do not need it.
        self.config.write_text(f'''server:
  dataDir: ""
  host: sched-7
  advertiseIP: 127.0.0.1
manager:
  addr: 127.0.0.1:{manager_port}
  schedulerClusterID: 7
database:
  redis:
    addrs: ["127.0.0.1:{self.redis_port}"]
    password: secret
''')

    def start(self):
        self.scheduler = rig.Scheduler(self, arguments=('--config', self.config))
        self.seed = rig.Daemon(self, 'seed', seed=True, scheduler=self.scheduler.port)
        self.peer = rig.Daemon(self, 'peer', scheduler=self.scheduler.port)
        rig.until(lambda: len(self.result(self.leave('sync_peers'))) == 2, 'both hosts are known')
        self.content = os.urandom(9 * MIB + 1)

    def redis(self, database, *words, text=None):
        """What redis-cli prints; `text` becomes the last word."""
        command = ['redis-cli', '-p', str(self.redis_port), '-n', str(database), *words]
        done = subprocess.run([*command, *(['-x'] if text is not None else [])], input=text, text=True, check=True,
                              capture_output=True, env={**os.environ, 'REDISCLI_AUTH': 'secret'})
        return done.stdout.rstrip('\n')

    def leave(self, name, request=None):
        """Puts a job where a manager puts it; its id."""
        job = f'task_{uuid.uuid4()}'
        state = {'TaskUUID': job, 'TaskName': name, 'State': 'PENDING', 'Results': None, 'Error': '',
                 'CreatedAt': '2026-01-02T03:04:05.678Z', 'TTL': 0}
        self.redis(RESULTS, 'SET', job, json.dumps(state))
        arguments = None if request is None else [{'Name': '', 'Type': 'string', 'Value': json.dumps(request)}]
        self.redis(BROKER, 'RPUSH', QUEUE, json.dumps({'UUID': job, 'Name': name, 'RoutingKey': QUEUE, 'Args': arguments}))
        return job

    def state(self, job):
        def ended():
            state = json.loads(self.redis(RESULTS, 'GET', job))
            return state if state['State'] in ('SUCCESS', 'FAILURE') else None
        state = rig.until(ended, f'{job} has ended')
        self.assertEqual(state['TaskUUID'], job)
        self.assertEqual(state['CreatedAt'], '2026-01-02T03:04:05.678Z')
        self.assertGreater(int(self.redis(RESULTS, 'TTL', job)), 80000)
        return state

    def result(self, job):
        state = self.state(job)
        self.assertEqual(state['State'], 'SUCCESS', state)
        return json.loads(state['Results'][0]['Value'])

    def preheat(self, urls, **more):
        return self.leave('preheat', {'urls': urls, 'url': '', 'timeout': 60 * 10**9, 'headers': {}, **more})

    def test_what_a_manager_asks_for_is_done(self):
        self.start()
        hosts = {host['Hostname']: host for host in self.result(self.leave('sync_peers'))}
        self.assertEqual((hosts['seed']['Type'], hosts['peer']['Type']), (1, 0))
        self.assertEqual(hosts['peer']['Port'], self.peer.upload)
        url = self.origin.add('/f', self.content)
        done = self.result(self.preheat([url], scope='all_peers'))
        self.assertEqual(done['failure_tasks'], [])
        self.assertEqual({(task['url'], task['hostname']) for task in done['success_tasks']},
                         {(url, 'seed'), (url, 'peer')})
        self.assertEqual(done['scheduler_cluster_id'], 7)
        self.assertEqual(self.origin['/f'].sent, len(self.content))
        got = self.get(url, '-O', 'out', '--json', daemon=self.peer, code=0)
        self.same(self.path('out'), self.content)
        task = got.json[0]['task_id']
        request = {'task_id': task, 'timeout': 20 * 10**9, 'concurrent_peer_count': 10}
        peers = self.result(self.leave('get_task', request))['peers']
        self.assertEqual({(peer['hostname'], peer['IsFinished']) for peer in peers}, {('seed', True), ('peer', True)})
        gone = self.result(self.leave('delete_task', request))
        self.assertEqual({task['hostname'] for task in gone['success_tasks']}, {'seed', 'peer'}, gone)
        self.assertEqual(self.result(self.leave('get_task', request))['peers'], [])
        self.assertEqual(self.result(self.leave('delete_task', request))['success_tasks'], [])
        # The scheduler does not send anybody to copies that are gone.
        self.get(url, '-O', 'again', daemon=self.peer, code=0)
        self.same(self.path('again'), self.content)
        self.assertNotIn('secret', self.scheduler.output())

    def test_one_seed_fetches_and_what_cannot_be_fetched_is_told(self):
        self.start()
        url = self.origin.add('/f', self.content)
        missing = self.origin.url('/missing')
        done = self.result(self.preheat([url, missing]))
        self.assertEqual([task['url'] for task in done['success_tasks']], [url])
        failure, = done['failure_tasks']
        self.assertEqual((failure['url'], failure['hostname']), (missing, 'seed'))
        self.assertIn('404', failure['description'])
        state = self.state(self.preheat([missing]))
        self.assertEqual(state['State'], 'FAILURE')
        self.assertIn('404', state['Error'])

    def test_what_is_no_job_harms_nobody(self):
        self.start()
        for text in ('', 'no json', '[]', '{}', '{"UUID": 7}', '{"UUID":"task_x","Name":"preheat","Args":[null]}', '[' * 100000):
            self.redis(BROKER, 'RPUSH', QUEUE, text=text)
        for name, request in (('reformat', {}), ('preheat', {}), ('preheat', {'urls': ['no url']}), ('get_task', {}),
                              ('delete_task', {'task_id': 7}), ('preheat', {'urls': ['http://h/f'], 'certificate_chain': ['?']})):
            state = self.state(self.leave(name, request))
            self.assertEqual(state['State'], 'FAILURE', state)
            self.assertTrue(state['Error'])
        rig.until(lambda: self.redis(BROKER, 'EXISTS', QUEUE, f'{QUEUE}:taken') == '0', 'nothing is left in the lists')

    def test_a_job_whose_scheduler_was_killed_is_told_as_failed(self):
        self.start()
        url = self.origin.add('/f', self.content, hold_after=MIB)
        job = self.preheat([url])
        rig.until(lambda: self.origin['/f'].sent > 0, 'the seed fetches')
        self.scheduler.kill()
        self.scheduler = rig.Scheduler(self, 'd7ysched-again', port=self.scheduler.port,
                                       arguments=('--config', self.config))
        state = self.state(job)
        self.assertEqual(state['State'], 'FAILURE')
        self.assertIn('ended before the job', state['Error'])
        rig.until(lambda: self.redis(BROKER, 'EXISTS', f'{QUEUE}:taken') == '0', 'it is off the list')
        self.origin['/f'].release()

    def test_redis_may_go_and_come_back(self):
        self.start()
        self.processes[0].kill()
        rig.until(lambda: 'no jobs are taken' in self.scheduler.output(), 'the scheduler says that Redis is away')
        redis = rig.Process('redis-again', [REDIS, '--port', str(self.redis_port), '--bind', '127.0.0.1', '--save', '',
                                            '--requirepass', 'secret', '--dir', str(self.folder)],
                            self.folder / 'redis-again.log')
        self.processes.append(redis)
        redis.ready(lambda: rig.accepts('127.0.0.1', self.redis_port))
        self.assertEqual(len(self.result(self.leave('sync_peers'))), 2)


if __name__ == '__main__':
    rig.main()
