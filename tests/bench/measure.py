"""How the benchmarks measure, and how they say what they found.

Only ratios within one run mean something on a shared machine. So a workload runs d7y and its anchors in turn (A B B A),
warms the memory before each run, throws the first round away, and tells medians with their ranges. A ratio is the
ratio of medians; its range is that of the ratios within the rounds.
"""

import dataclasses
import os
import resource
import statistics
import subprocess
import time

from cluster import MIB, Failure


def warm(mib, folder):
    """Touches memory that may have gone back to the machine's host, or whoever writes first pays for it. By a file that
    is written as a store writes: memory that a program had for itself is found again by other programs, but not by a
    file system, which takes larger blocks (up to ten times as slow then)."""
    path = os.path.join(folder, 'warm')
    block = bytes(MIB // 4)
    with open(path, 'wb', buffering=0) as file:
        os.unlink(path)
        os.posix_fallocate(file.fileno(), 0, mib * MIB)
        for _ in range(4 * mib):
            file.write(block)


def read_through(path):
    """Brings a file into the page cache."""
    with open(path, 'rb', buffering=0) as file:
        buffer = bytearray(MIB)
        while file.readinto(buffer):
            pass


def timed(command, processes=None, daemons=(), ok=(0,), **options):
    """Runs a command; what it took: {'wall': seconds, 'cpu': of it and of `daemons`, names in `processes`}."""
    options.setdefault('stdout', subprocess.DEVNULL)
    command = [str(part) for part in command]
    before = {name: processes.cpu(name) for name in daemons}
    own = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    # No preexec_fn: without one the child is made by vfork, whatever the size of this program.
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, **options) as process:
        said = process.stderr.read()
        code = process.wait()
    wall = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if code not in ok:
        raise Failure(f'{command[0]} ended with code {code}: {said.decode(errors="replace")[-2000:]}')
    client = after.ru_utime + after.ru_stime - own.ru_utime - own.ru_stime
    spent = {name: processes.cpu(name) - before[name] for name in daemons}
    return {'wall': wall, 'cpu': client + sum(spent.values()), 'client_cpu': client, **{f'cpu:{n}': c for n, c in spent.items()}}


@dataclasses.dataclass
class Contender:
    """One way to do the work. `run` is timed by itself and returns a sample; `prepare` comes before it, `check` (which
    raises when the output is wrong) and `clean` behind it."""
    name: str
    run: object
    prepare: object = None
    check: object = None
    clean: object = None


def compare(contenders, stage, warm_mib):
    """Samples of each contender, without those of the first round: {name: [sample]}."""
    samples = {contender.name: [] for contender in contenders}
    for number in range(stage.rounds + 1):
        for contender in contenders if number % 2 == 0 else reversed(contenders):
            if contender.prepare:
                contender.prepare()
            warm(warm_mib, stage.place)
            sample = contender.run()
            if contender.check:
                contender.check()
            if contender.clean:
                contender.clean()
            if number > 0:
                samples[contender.name].append(sample)
    return samples


def same(one, other):
    """Fails unless the two files hold the same bytes."""
    if subprocess.run(['cmp', str(one), str(other)], capture_output=True, check=False).returncode:
        raise Failure(f'{other} does not hold the bytes of {one}')


@dataclasses.dataclass
class Range:
    median: float
    low: float
    high: float

    @staticmethod
    def of(values):
        return Range(statistics.median(values), min(values), max(values))

    def text(self):
        if self.low == self.high:
            return number(self.median)
        return f'{number(self.median)} ({number(self.low)}-{number(self.high)})'


def number(value):
    if value == 0 or abs(value) >= 1000 or float(value).is_integer():
        return f'{value:.0f}'
    return f'{value:.1f}' if abs(value) >= 100 else f'{value:.2f}' if abs(value) >= 1 else f'{value:.3f}'


@dataclasses.dataclass
class Target:
    what: str
    found: Range
    at_most: float = None
    at_least: float = None

    @property
    def reached(self):
        if self.at_most is not None:
            return self.found.median <= self.at_most
        return self.found.median >= self.at_least

    def text(self):
        wish = f'at most {number(self.at_most)}' if self.at_most is not None else f'at least {number(self.at_least)}'
        return f'{self.what}: {self.found.text()}, wanted {wish}: {"reached" if self.reached else "MISSED"}'


def ratio(samples, above, below, field='wall'):
    """The ratio of two contenders: of their medians, and the range within the rounds."""
    pairs = [a[field] / b[field] for a, b in zip(samples[above], samples[below])]
    medians = [statistics.median(s[field] for s in samples[name]) for name in (above, below)]
    return Range(medians[0] / medians[1], min(pairs), max(pairs))


class Report:
    """What a workload found: rows of a table, targets, and notes."""

    def __init__(self, name, what):
        self.name, self.what = name, what
        self.columns, self.rows, self.targets, self.notes = ['contender'], [], [], []
        self.samples = {}

    def table(self, samples, columns):
        """`columns`: {title: function of a sample}."""
        self.samples.update(samples)
        self.columns = ['', *columns]
        for name, runs in samples.items():
            cells = []
            for value in columns.values():
                values = [v for v in (value(run) for run in runs) if v is not None]
                cells.append(Range.of(values).text() if values else '')
            self.rows.append([name, *cells])

    def target(self, what, found, at_most=None, at_least=None):
        if not isinstance(found, Range):
            found = Range.of(found if isinstance(found, list) else [found])
        self.targets.append(Target(what, found, at_most, at_least))

    def note(self, text):
        self.notes.append(text)

    def print(self, seconds):
        print(f'\n== {self.name}: {self.what} ({seconds:.0f} s)\n')
        if self.rows:
            lines = [self.columns, *self.rows]
            widths = [max(len(line[i]) for line in lines) for i in range(len(self.columns))]
            for line in lines:
                print('  ' + '  '.join(cell.ljust(width) if i == 0 else cell.rjust(width)
                                       for i, (cell, width) in enumerate(zip(line, widths))))
            print()
        for note in self.notes:
            print(f'  {note}')
        for target in self.targets:
            print(f'  {target.text()}')
        print(flush=True)

    def json(self, seconds):
        return {
            'name': self.name, 'what': self.what, 'seconds': seconds, 'samples': self.samples, 'notes': self.notes,
            'targets': [{'what': t.what, 'median': t.found.median, 'low': t.found.low, 'high': t.found.high,
                         'at_most': t.at_most, 'at_least': t.at_least, 'reached': t.reached} for t in self.targets],
        }


def machine():
    """What the numbers depend on."""
    def first(path, default='?'):
        try:
            with open(path) as file:
                return file.read().strip()
        except OSError:
            return default
    model = next((line.partition(':')[2].strip() for line in first('/proc/cpuinfo', '').splitlines()
                  if line.startswith('model name')), '?')
    return {'cpus': len(os.sched_getaffinity(0)), 'model': model, 'kernel': os.uname().release,
            'memory_gib': round(os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / (1 << 30), 1),
            'congestion_control': first('/proc/sys/net/ipv4/tcp_congestion_control')}
