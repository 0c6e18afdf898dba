#!/usr/bin/env python3
"""Half an hour of ordinary trouble: random downloads, cancelled ones, restarts, kills and evictions on small disks,
with real processes. Every file is verified; resident memory and descriptors of those that live on stay flat.

    tests/soak/soak.py build/check                      # 30 minutes
    tests/soak/soak.py build/check --minutes 480 --seed 7 --report soak.json

A scheduler, a seed and three peers. The scheduler and peer-0 run from start to end and are measured; the others are
stopped or killed now and then. Each store is on a disk of its own, of 160 MiB where one can be mounted, and the files
take three times as much, so that something is evicted all the time. The exit code is 0 if all is well.
"""

import argparse
import json
import os
import pathlib
import random
import shutil
import statistics
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / 'interop'))
import rig  # noqa: E402
from rig import MIB  # noqa: E402

DISK = 160 * MIB
FILES = 24
GROWTH = 8 * MIB        # of resident memory, over the run's last two thirds; buffers come and go
MORE_DESCRIPTORS = 8    # likewise, when nothing runs
SETTLE = 20             # seconds without downloads before each look at descriptors


def resident(pid):
    for line in pathlib.Path(f'/proc/{pid}/status').read_text().splitlines():
        if line.startswith('VmRSS:'):
            return int(line.split()[1]) * 1024
    return 0


def descriptors(pid):
    return len(os.listdir(f'/proc/{pid}/fd'))


class Soak(rig.Case):
    def runTest(self):
        pass

    def begin(self, options):
        self.dice = random.Random(options.seed)
        self.until = time.monotonic() + options.minutes * 60
        self.mounts = []
        self.counts = dict.fromkeys(('right', 'cancelled', 'failed', 'stopped', 'killed'), 0)
        self.wrong = []
        self.samples = []
        self.scheduler = rig.Scheduler(self)
        self.daemons = {}
        for name in ('seed', 'peer-0', 'peer-1', 'peer-2'):
            self.disk(name)
            self.start(name)
        self.files = {}
        for i in range(FILES):
            size = self.dice.choice((0, 1, 1000, 3 * MIB, 4 * MIB, 4 * MIB + 1, 20 * MIB, 40 * MIB))
            content = self.dice.randbytes(size)
            self.files[f'/f{i}'] = content
            self.origin.add(f'/f{i}', content, ranges=self.dice.random() > 0.1)

    def disk(self, name):
        folder = self.folder / f'disk-{name}'
        folder.mkdir()
        mounted = subprocess.run(['mount', '-t', 'tmpfs', '-o', f'size={DISK}', 'tmpfs', folder],
                                 capture_output=True, check=False).returncode == 0
        if mounted:
            self.mounts.append(folder)
        else:
            print(f'no small disk for {name}: nothing can be mounted here', flush=True)

    def start(self, name):
        old = self.daemons.get(name)
        settings = {'ports': old.ports} if old else {}
        extra = 'gc:\n  interval: 20s\n  policy:\n    distHighThresholdPercent: 80\n    distLowThresholdPercent: 50\n'
        self.daemons[name] = rig.Daemon(self, name, extra, seed=name == 'seed', keep=True,
                                        store=self.folder / f'disk-{name}' / 'store', scheduler=self.scheduler.port,
                                        **settings)
        if old:
            self.processes.remove(old)

    def round(self, number):
        """Some downloads at once, some trouble in the middle, and what became of all of them."""
        running = []
        for i in range(self.dice.randint(1, 6)):
            path = self.dice.choice(list(self.files))
            name = self.dice.choice(('peer-0', 'peer-0', 'peer-1', 'peer-2'))
            out = self.path(f'out-{number}-{i}')
            arguments = [self.origin.url(path), '-O', out, '--timeout', '60s', '--daemon', 'require']
            if self.dice.random() < 0.3:
                arguments += ['--digest', 'sha256:' + rig.sha256(self.files[path])]
            running.append([self.start_get(*arguments, daemon=self.daemons[name]), path, name, out, False])
        time.sleep(self.dice.random() * 0.5)
        restarted = None
        if self.dice.random() < 0.15:
            restarted = self.dice.choice(('seed', 'peer-1', 'peer-2'))
            if self.dice.random() < 0.5:
                self.daemons[restarted].kill()
                self.counts['killed'] += 1
            else:
                code = self.daemons[restarted].stop()
                self.counts['stopped'] += 1
                if code != 0:
                    self.wrong.append(f'{restarted} ended with {code} when it was asked to stop')
            self.start(restarted)
        for entry in running:
            if self.dice.random() < 0.1 and entry[0].poll() is None:
                entry[0].terminate()
                entry[4] = True
        for process, path, name, out, cancelled in running:
            got = self.finish(process, 120)
            if got.code == 0:
                self.counts['right'] += 1
                if pathlib.Path(out).read_bytes() != self.files[path]:
                    self.wrong.append(f'{name}: {path} holds wrong bytes')
            else:
                # One that is cancelled when its output has just got its name leaves all of it, never a part.
                whole = cancelled and os.path.exists(out) and pathlib.Path(out).read_bytes() == self.files[path]
                if os.path.exists(out) and not whole:
                    self.wrong.append(f'{name}: {path} failed and left {out}: {got}')
                self.counts['cancelled' if cancelled else 'failed'] += 1
                if not cancelled and name != restarted:
                    self.wrong.append(f'{name}: {path}: {got}')
            if os.path.exists(out):
                os.unlink(out)
        self._cleanups.clear()  # those processes are over

    def look(self):
        self.samples.append({'at': time.monotonic(), **{
            process.name: {'resident': resident(process.pid), 'descriptors': descriptors(process.pid)}
            for process in (self.scheduler, self.daemons['peer-0'])}})

    def judge(self):
        for name in (self.scheduler.name, 'peer-0'):
            series = [sample[name] for sample in self.samples]
            third = max(1, len(series) // 3)
            if len(series) < 6:
                continue
            for what, most in (('resident', GROWTH), ('descriptors', MORE_DESCRIPTORS)):
                early = statistics.median(s[what] for s in series[third:2 * third])
                late = statistics.median(s[what] for s in series[-third:])
                print(f'{name}: {what} {early:.0f} in the second third, {late:.0f} in the last', flush=True)
                if late > early + most:
                    self.wrong.append(f'{name}: {what} grew from {early:.0f} to {late:.0f}')

    def end(self):
        for name, daemon in self.daemons.items():
            code = daemon.stop()
            if code != 0:
                self.wrong.append(f'{name} ended with {code} when it was asked to stop')
        for origin in self.origins:
            origin.stop()
        self.scheduler.kill()
        for folder in self.mounts:
            subprocess.run(['umount', '-l', folder], capture_output=True, check=False)
        shutil.rmtree(self.folder, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('build')
    parser.add_argument('--minutes', type=float, default=30)
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--report', help='write counts, samples and what was wrong to this file')
    options = parser.parse_args()
    rig.BUILD = pathlib.Path(options.build).resolve()
    soak = Soak()
    soak.setUp()
    try:
        soak.begin(options)
        number, looked = 0, 0.0
        every = max(SETTLE + 5, options.minutes * 60 / 30)
        while time.monotonic() < soak.until and len(soak.wrong) < 20:
            soak.round(number)
            number += 1
            if time.monotonic() - looked > every:
                time.sleep(SETTLE)
                soak.look()
                looked = time.monotonic()
                print(f'{(soak.until - time.monotonic()) / 60:.1f} minutes left: {soak.counts}', flush=True)
        soak.judge()
    finally:
        soak.end()
    for what in soak.wrong:
        print(f'WRONG: {what}')
    print(f'{number} rounds with seed {options.seed}: {soak.counts}')
    if options.report:
        pathlib.Path(options.report).write_text(json.dumps(
            {'seed': options.seed, 'counts': soak.counts, 'wrong': soak.wrong, 'samples': soak.samples}, indent=1))
    return 1 if soak.wrong else 0


if __name__ == '__main__':
    sys.exit(main())
