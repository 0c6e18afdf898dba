"""How the cost of a byte grows: with parallel downloads, with tasks in the store, with open connections."""

import contextlib
import resource
import shutil
import socket
import subprocess
import time

from cluster import MIB, SEED_IP, Failure, Peer
from measure import Range, same, warm
from stage import GIB, workload


def cost(stage, url_of, count, size, parent, child_config=None):
    """CPU seconds of parent, child and scheduler, per GiB, for `count` downloads at once of `size` bytes each."""
    cluster, processes = stage.cluster, stage.processes
    cost.child = getattr(cost, 'child', 0) + 1
    child = cluster.start_peer(Peer(f'child-{cost.child}', '127.0.0.11', config=child_config or {}))
    names = (parent.name, child.name, 'd7ysched')
    folder = stage.out('out')
    folder.mkdir(exist_ok=True)
    warm(1280, stage.place)
    before = {name: processes.cpu(name) for name in names}
    began = time.perf_counter()
    running = [subprocess.Popen([*cluster.get_command(child, url_of(i), folder / str(i)), '--disable-back-to-source'],
                                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
               for i in range(count)]
    for process in running:
        said = process.stderr.read()
        process.stderr.close()
        if process.wait():
            raise Failure(f'd7yget: {said.decode(errors="replace")[-500:]}')
    wall = time.perf_counter() - began
    spent = sum(processes.cpu(name) - before[name] for name in names)
    for i in range(count):
        same(stage.content / f'{size // MIB}m', folder / str(i))
    shutil.rmtree(folder)
    cluster.stop_peer(child)
    gib = count * size / GIB
    return {'wall': wall, 'cpu': spent / gib, 'speed': gib / wall}


COLUMNS = {'seconds': lambda s: s['wall'], 'GiB/s': lambda s: s['speed'], 'CPU-s/GiB': lambda s: s['cpu']}
UNLIMITED = {'server': {'requestRateLimit': 1_000_000}}


def grown(report, samples, first):
    for name in samples:
        if name != first:
            pairs = [a['cpu'] / b['cpu'] for a, b in zip(samples[name], samples[first])]
            report.target(f'CPU per byte, {name} / {first}', Range.of(pairs), at_most=1.3)


def start(stage, parent_config=None):
    cluster = stage.cluster
    origin = cluster.start_origin(stage.content, counted=False)
    cluster.start_scheduler()
    parent = cluster.start_peer(Peer('parent', SEED_IP, seed=True, config=parent_config or {}))
    return origin, parent


def copies(stage, name, count):
    """Names of files with the bytes of one; each is a task of its own, and a file of its own in a folder."""
    names = [f'{name}-{i}' for i in range(count)]
    for each in names:
        path = stage.content / each
        if not path.exists():
            path.hardlink_to(stage.content / name)
    return names


def give(stage, parent, urls):
    """The parent gets them, each a file of its own."""
    folder = stage.out('at-parent')
    folder.mkdir(exist_ok=True)
    done = subprocess.run([stage.cluster.tool('d7yget'), *urls, '-O', f'{folder}/', '--daemon', 'require', '--endpoint',
                           parent.socket, '--no-progress', '--overwrite', '--max-concurrent-requests', '16'],
                          capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failure(f'the parent got no content: {done.stderr[-500:]}')


@workload('growth-downloads', '1 GiB in 1, 4, 16 and 64 downloads at once, parent to child', needs=('nginx',), rounds=3)
def growth_downloads(stage, report):
    counts = (1, 4, 16, 64)
    origin, parent = start(stage, {'upload': UNLIMITED})
    for count in counts:
        name = f'{1024 // count}m'
        stage.file(name, GIB // count)
        give(stage, parent, [f'{origin}/{each}' for each in copies(stage, name, count)])
    samples = {}
    for _ in range(stage.rounds):
        for count in counts:
            size = GIB // count
            samples.setdefault(f'{count} at once', []).append(
                cost(stage, lambda i, size=size: f'{origin}/{size // MIB}m-{i}', count, size, parent))
    report.table(samples, COLUMNS)
    grown(report, samples, '1 at once')


@workload('growth-tasks', '1 GiB from parent to child, which have 1 to 5,000 other tasks', needs=('nginx',), rounds=3)
def growth_tasks(stage, report):
    origin, parent = start(stage, {'upload': UNLIMITED, 'download': UNLIMITED})
    stage.file('1024m', GIB)
    give(stage, parent, [f'{origin}/1024m?n=0'])
    full = stage.out('full')
    full.mkdir()
    subprocess.run([stage.program('store-bench'), 'fill', full, '5000'], check=True, capture_output=True)
    samples = {}
    for _ in range(stage.rounds):
        samples.setdefault('1 task', []).append(cost(stage, lambda i: f'{origin}/1024m?n=0', 1, GIB, parent))
    # The same with a full store on both sides.
    stage.file('1b', 1)
    names = copies(stage, '1b', 5000)
    for at in range(0, 5000, 1000):
        give(stage, parent, [f'{origin}/{each}' for each in names[at:at + 1000]])
    for _ in range(stage.rounds):
        store = stage.place / f'child-{cost.child + 1}' / 'store'
        store.parent.mkdir()
        subprocess.run(['cp', '-r', full, store], check=True)
        samples.setdefault('5,000 tasks', []).append(
            cost(stage, lambda i: f'{origin}/1024m?n=0', 1, GIB, parent, {'storage': {'keep': True}}))
    report.table(samples, COLUMNS)
    grown(report, samples, '1 task')


@workload('growth-connections', '1 GiB from a parent that has 1 to 2,000 other connections', needs=('nginx',), rounds=3)
def growth_connections(stage, report):
    origin, parent = start(stage)
    stage.file('1024m', GIB)
    give(stage, parent, [f'{origin}/1024m?n=0'])
    samples = {}
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    for count in (1, 2000):
        with contextlib.ExitStack() as open_ones:
            for i in range(count - 1):
                # From many hosts: a parent takes 256 connections of each, and the child is one of them.
                open_ones.enter_context(socket.create_connection(
                    (parent.ip, parent.ports['piece' if i % 2 else 'upload']), timeout=10,
                    source_address=(f'127.0.1.{1 + i // 100}', 0)))
            for _ in range(stage.rounds):
                samples.setdefault(f'{count} connections', []).append(
                    cost(stage, lambda i: f'{origin}/1024m?n=0', 1, GIB, parent))
    report.table(samples, COLUMNS)
    grown(report, samples, '1 connections')
