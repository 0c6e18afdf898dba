"""One download at a time: from a parent, from an origin, of a single byte."""

import json
import statistics
import subprocess

from cluster import SEED_IP, Peer
from measure import Contender, compare, ratio, same, timed
from stage import GIB, SYSTEM_PYTHON, remove, workload


def speed(size):
    """Columns that most tables have."""
    gib = size / GIB
    return {
        'seconds': lambda s: s['wall'],
        'GiB/s': lambda s: gib / s['wall'],
        'CPU-s/GiB': lambda s: s['cpu'] / gib if 'cpu' in s else None,
    }


@workload('p2p-hop', 'a file that a parent has in its page cache, to a file at a child',
          needs=('nginx', 'curl', 'libtorrent'))
def p2p_hop(stage, report):
    size = GIB
    content = stage.file('1g', size)
    cluster, processes = stage.cluster, stage.processes
    origin = cluster.start_origin(stage.content, counted=False)
    url = f'{origin}/1g'
    cluster.start_scheduler()
    parent = cluster.start_peer(Peer('parent', SEED_IP, seed=True))
    timed(cluster.get_command(parent, url, stage.out('at-parent')))
    children = []

    def new_child():
        children.append(cluster.start_peer(Peer(f'child-{len(children)}', '127.0.0.11')))

    def d7y():
        child = children[-1]
        return timed([*cluster.get_command(child, url, stage.out('d7y')), '--disable-back-to-source'], processes,
                     daemons=('parent', child.name, 'd7ysched'))

    def floor():
        line = subprocess.run([stage.program('floor'), content, stage.out('floor'), '2'], check=True,
                              capture_output=True, text=True).stdout
        said = json.loads(line)
        return {'wall': said['seconds'], 'cpu': said['sender_cpu'] + said['receiver_cpu']}

    torrent = Torrent(stage, content)

    def checked(name):
        return lambda: same(content, stage.out(name))

    def gone(name):
        return lambda: remove(stage.out(name))

    def d7y_gone():
        remove(stage.out('d7y'))
        cluster.stop_peer(children[-1])

    samples = compare([
        Contender('d7y', d7y, new_child, checked('d7y'), d7y_gone),
        Contender('cp', lambda: timed(['cp', content, stage.out('cp')]), None, checked('cp'), gone('cp')),
        Contender('floor', floor, None, checked('floor'), gone('floor')),
        Contender('curl -o', lambda: timed(['curl', '-s', '-o', stage.out('curl'), url], processes, ('origin',)), None,
                  checked('curl'), gone('curl')),
        Contender('libtorrent', torrent.leech, None, torrent.check, torrent.clean),
    ], stage, 1280)
    columns = speed(size)
    columns['parent CPU'] = lambda s: s.get('cpu:parent')
    columns['child CPU'] = lambda s: next((v for k, v in s.items() if k.startswith('cpu:child')), None)
    columns['tool CPU'] = lambda s: s.get('client_cpu')
    report.table(samples, columns)
    report.target('wall, d7y / cp', ratio(samples, 'd7y', 'cp'), at_most=0.85)
    report.target('CPU, d7y (parent, child, scheduler, d7yget) / floor program', ratio(samples, 'd7y', 'floor', 'cpu'),
                  at_most=1.2)
    report.target('wall, libtorrent / d7y', ratio(samples, 'libtorrent', 'd7y'), at_least=8)


class Torrent:
    """A libtorrent seed that has the file, and a leech for each run."""

    def __init__(self, stage, content):
        self.stage, self.content = stage, content
        self.program = [SYSTEM_PYTHON, stage.helper('torrent.py')]
        self.file = stage.out('file.torrent')
        subprocess.run([*self.program, 'make', content, self.file], check=True)
        seed = stage.processes.start('torrent-seed', [*self.program, 'seed', self.file, content.parent, '127.0.0.5'],
                                     stdout=subprocess.PIPE, text=True)
        self.port = seed.stdout.readline().strip()
        self.folder = stage.out('torrent')
        self.folder.mkdir()

    def leech(self):
        # Its own clock, so that the start of Python does not count.
        line = subprocess.run([*self.program, 'leech', self.file, self.folder, '127.0.0.5', self.port], check=True,
                              capture_output=True, text=True).stdout
        return json.loads(line)

    def check(self):
        same(self.content, self.folder / self.content.name)

    def clean(self):
        remove(self.folder / self.content.name)


def from_origin(stage, report, url, contenders):
    size = GIB
    content = stage.file('1g', size)

    def checked(name):
        return lambda: same(content, stage.out(name))

    samples = compare([Contender(name, lambda command=command: timed(command, stage.processes, ('origin',)), None,
                                 checked(name), lambda name=name: remove(stage.out(name)))
                       for name, command in contenders.items()], stage, 1280)
    columns = speed(size)
    columns['client CPU'] = lambda s: s['client_cpu']
    report.table(samples, columns)
    return samples


def get(stage, url, *more):
    """d7yget without a daemon."""
    return [stage.cluster.tool('d7yget'), url, '-O', stage.out('d7y'), '--daemon', 'never', '--no-progress', *more]


@workload('source-http', 'a file from an HTTP origin, without a daemon', needs=('nginx', 'curl', 'wget2', 'aria2c'))
def source_http(stage, report):
    url = f'{stage.cluster.start_origin(stage.content, counted=False)}/1g'
    samples = from_origin(stage, report, url, {
        'd7y': get(stage, url),
        'curl': ['curl', '-s', '-o', stage.out('curl'), url],
        'wget2': ['wget2', '-q', '-O', stage.out('wget2'), url],
        'aria2c': ['aria2c', '-q', '-x8', '-s8', '--file-allocation=falloc', '--allow-overwrite=true', '-d', stage.place,
                   '-o', 'aria2c', url],
    })
    report.target('wall, curl -o / d7y', ratio(samples, 'curl', 'd7y'), at_least=3)
    report.target('wall, wget2 / d7y', ratio(samples, 'wget2', 'd7y'), at_least=1.6)
    report.target('wall, aria2c -x8 / d7y', ratio(samples, 'aria2c', 'd7y'), at_least=5)


@workload('source-https', 'a file from an HTTPS origin (TLS 1.3, AES-128-GCM), without a daemon',
          needs=('nginx', 'curl', 'openssl'))
def source_https(stage, report):
    certificate, key = stage.certificate()
    stage.cluster.start_origin(stage.content, (certificate, key), counted=False)
    url = f'{stage.cluster.https}/1g'
    samples = from_origin(stage, report, url, {
        'd7y': get(stage, url, '--ca-cert', certificate),
        'curl': ['curl', '-s', '--cacert', certificate, '-o', stage.out('curl'), url],
    })
    report.target('wall, curl -o / d7y', ratio(samples, 'curl', 'd7y'), at_least=1.4)


@workload('one-byte', 'one byte, from the start of the program to its end', needs=('nginx', 'curl'), rounds=50)
def one_byte(stage, report):
    stage.file('1b', 1)
    cluster, processes = stage.cluster, stage.processes
    origin = cluster.start_origin(stage.content, counted=False)
    cluster.start_scheduler()
    cluster.start_peer(Peer('seed', SEED_IP, seed=True))
    peer = cluster.start_peer(Peer('peer', '127.0.0.11'))
    runs = {'n': 0}

    def fresh():
        # Another task each time, as a cold one is what is measured.
        runs['n'] += 1
        return f'{origin}/1b?n={runs["n"]}'

    def checked(name):
        return lambda: same(stage.content / '1b', stage.out(name))

    def gone(name):
        return lambda: remove(stage.out(name))

    samples = compare([
        Contender('d7y, daemon', lambda: timed(cluster.get_command(peer, fresh(), stage.out('with'))), None,
                  checked('with'), gone('with')),
        Contender('d7y', lambda: timed(get(stage, fresh())), None, checked('d7y'), gone('d7y')),
        Contender('curl -o', lambda: timed(['curl', '-s', '-o', stage.out('curl'), fresh()]), None, checked('curl'),
                  gone('curl')),
    ], stage, 16)
    report.table(samples, {
        'ms': lambda s: s['wall'] * 1000,
        "program's CPU ms": lambda s: s['client_cpu'] * 1000,
    })
    for name in ('d7y, daemon', 'd7y'):
        report.target(f'p50 of wall, {name} / curl -o', ratio(samples, name, 'curl -o'), at_most=2.5)
        walls = sorted(s['wall'] for s in samples[name])
        report.note(f'{name}: p50 {statistics.median(walls) * 1000:.1f} ms,'
                    f' p99 {walls[min(len(walls) - 1, int(len(walls) * 0.99))] * 1000:.1f} ms')
