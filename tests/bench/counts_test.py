#!/usr/bin/env python3
"""What a piece costs, in counts that are the same on a busy machine and on an idle one. Usage: counts_test.py BUILD

Real daemons on this machine: a seed that has a file, a child that gets it. The limits stand a little above what was
measured; docs/performance.md says where they should go.
"""

import os
import pathlib
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / 'support'))
from cluster import FIRST_PEER, MIB, SEED_IP, Cluster, Peer, Processes, make_content, sha256_of  # noqa: E402

BUILD = pathlib.Path(sys.argv.pop(1)).resolve()
SIZE = 256 * MIB
PIECES = SIZE // (4 * MIB)

# Per piece of 4 MiB, the whole download with it: what the tool asks, what the scheduler is told. The buffer has 256 KiB,
# so a piece takes at least 16 reads and 16 writes at the child, and 4 sendfile at the parent (steps of 1 MiB).
LIMITS = {
    'system calls': {'child': 120, 'parent': 60},      # 43-52, 22-29
    'allocations': {'child': 130, 'parent': 70},       # 95-98, 50
    'context switches': {'child': 40, 'parent': 40},   # 0.2-0.5 and 1-2.4 where others want the processor, too
}


def context_switches(pid):
    """Of all threads: how often they had to wait."""
    total = 0
    for task in os.scandir(f'/proc/{pid}/task'):
        text = pathlib.Path(task.path, 'status').read_text()
        total += int(re.search(r'^voluntary_ctxt_switches:\s+(\d+)', text, re.MULTILINE)[1])
    return total


class Counts(unittest.TestCase):
    def setUp(self):
        self.place = pathlib.Path(tempfile.mkdtemp(prefix='d7y-counts-'))
        self.processes = Processes()
        self.cluster = Cluster(self.processes, BUILD, self.place)
        self.addCleanup(self.end)
        self.digest = make_content(self.place / 'content' / 'file', SIZE)
        self.origin = self.cluster.start_origin(self.place / 'content')
        self.cluster.start_scheduler()

    def end(self):
        self.processes.stop_all()
        self.cluster.tidy()
        shutil.rmtree(self.place)

    def pair(self):
        """A seed that has the file, and a child. Their allocations are counted."""
        parent = self.start(Peer('parent', SEED_IP, seed=True))
        self.get(parent)
        return parent, self.start(Peer('child', f'127.0.0.{FIRST_PEER}'))

    def start(self, peer):
        peer.environment = {'LD_PRELOAD': str(BUILD / 'tests' / 'bench' / 'libcount-allocations.so'),
                            'D7Y_ALLOCATIONS': str(self.place / f'{peer.name}-allocations')}
        return self.cluster.start_peer(peer)

    def get(self, peer, *more):
        output = self.place / f'{peer.name}-output'
        done = subprocess.run(self.cluster.get_command(peer, f'{self.origin}/file', output, *more), capture_output=True,
                              text=True, check=False, timeout=120)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(sha256_of(output), self.digest)

    def pid(self, peer):
        return self.processes.running[peer.name].pid

    def allocations(self, peer):
        return struct.unpack('Q', (self.place / f'{peer.name}-allocations').read_bytes())[0]

    def within(self, what, counted):
        for side, count in counted.items():
            per_piece = count / PIECES
            print(f'{what} per piece, {side}: {per_piece:.1f} (at most {LIMITS[what][side]})', file=sys.stderr)
            self.assertLessEqual(per_piece, LIMITS[what][side], f'{what} per piece at the {side}')

    def test_allocations_and_context_switches(self):
        peers = dict(zip(('parent', 'child'), self.pair()))
        before = {side: (self.allocations(peer), context_switches(self.pid(peer))) for side, peer in peers.items()}
        self.get(peers['child'], '--disable-back-to-source')
        after = {side: (self.allocations(peer), context_switches(self.pid(peer))) for side, peer in peers.items()}
        self.assertGreater(after['child'][0], before['child'][0])
        self.within('allocations', {side: after[side][0] - before[side][0] for side in peers})
        self.within('context switches', {side: after[side][1] - before[side][1] for side in peers})

    def test_system_calls(self):
        peers = dict(zip(('parent', 'child'), self.pair()))
        traces = {side: self.trace(peer, side) for side, peer in peers.items()}
        self.get(peers['child'], '--disable-back-to-source')
        for trace in traces.values():
            trace.send_signal(signal.SIGINT)
            trace.wait(20)
        counted = {}
        for side in peers:
            report = (self.place / f'{side}-calls').read_text()
            calls = {name: int(count) for count, name in re.findall(r'^ *[0-9.]+ +(\d+) (\w+)$', report, re.MULTILINE)}
            total = calls.pop('total')
            self.assertGreater(total, PIECES)
            counted[side] = total
            most = sorted(calls.items(), key=lambda entry: -entry[1])[:6]
            print(f'{side}: ' + ', '.join(f'{name} {count / PIECES:.1f}' for name, count in most), file=sys.stderr)
        self.within('system calls', counted)

    def trace(self, peer, side):
        trace = subprocess.Popen(['strace', '-f', '-c', '-U', 'time-percent,calls,name', '-o',
                                  self.place / f'{side}-calls', '-p', str(self.pid(peer))], stdin=subprocess.DEVNULL,
                                 stderr=subprocess.PIPE, text=True)
        self.addCleanup(trace.stderr.close)
        self.addCleanup(trace.wait)
        self.addCleanup(trace.kill)
        line = trace.stderr.readline()
        if 'Operation not permitted' in line:
            self.skipTest('this machine lets nobody trace system calls')
        self.assertIn('attached', line)
        return trace

    def test_the_origin_gives_each_byte_once_however_many_want_it(self):
        seed = Peer('seed', SEED_IP, seed=True)
        peers = [Peer(f'peer-{i}', f'127.0.0.{FIRST_PEER + i}') for i in range(16)]
        content = self.place / 'content' / 'small'
        digest = make_content(content, 32 * MIB)
        self.cluster.start_peers([seed, *peers])
        results, _ = self.cluster.download_everywhere(peers, f'{self.origin}/small')
        for peer in peers:
            self.assertTrue(results[peer.name]['ok'], results[peer.name])
            self.assertEqual(sha256_of(peer.folder / 'downloaded'), digest)
            self.assertEqual(results[peer.name]['from']['source'], 0)
        self.processes.stop('origin')  # writes its log to the end
        answers = self.cluster.origin_answers()
        self.assertEqual(sum(body for _, body, _, _, _ in answers), content.stat().st_size)
        ranges = [asked for _, _, _, method, asked in answers if method == 'GET']
        self.assertEqual(len(ranges), len(set(ranges)))
        self.assertLessEqual(len(ranges), 8)
        heads = sum(1 for _, _, _, method, _ in answers if method == 'HEAD')
        self.assertEqual(heads, 1)


if __name__ == '__main__':
    if not shutil.which('strace'):
        sys.exit('strace is not installed; run .ci/dependencies check')
    unittest.main(verbosity=2)
