"""Many peers that want the same at once, peers in a row, and many small files."""

import hashlib
import http.server
import json
import os
import random
import selectors
import socketserver
import subprocess
import threading
import time

from cluster import FIRST_PEER, MIB, ORIGIN_IP, SEED_IP, Failure, Peer, sha256_of
from measure import Contender, compare, ratio, same, timed, warm
from stage import GIB, remove, workload

GIGABIT = 125_000_000  # bytes per second


def peers_named(count, **config):
    return [Peer(f'peer-{i + 1}', f'127.0.0.{FIRST_PEER + i}', config=config) for i in range(count)]


def swarm(stage, count, dynconfig=None):
    """An origin, a scheduler, a seed and peers."""
    cluster = stage.cluster
    origin = cluster.start_origin(stage.content)
    cluster.start_scheduler(dynconfig)
    seed = Peer('seed', SEED_IP, seed=True)
    peers = peers_named(count)
    cluster.start_peers([seed, *peers])
    return origin, seed, peers


def check_everywhere(peers, results, digest):
    for peer in peers:
        result = results[peer.name]
        if not result['ok']:
            raise Failure(f'{peer.name}: {result["error"]["message"]}')
        if sha256_of(peer.folder / 'downloaded') != digest:
            raise Failure(f'{peer.name} got wrong bytes')
        remove(peer.folder / 'downloaded')


class Herd:
    """Downloads on all peers at once, each time of another task with the same bytes, and what the origin gave."""

    def __init__(self, stage, origin, peers, name, size):
        self.stage, self.origin, self.peers, self.name, self.size = stage, origin, peers, name, size
        self.digest = (stage.content / f'{name}.sha256').read_text().strip()
        self.round = 0

    def run(self):
        cluster, processes = self.stage.cluster, self.stage.processes
        self.round += 1
        requests = len(cluster.origin_answers())
        daemons = [name for name in processes.running]
        before = {name: processes.cpu(name) for name in daemons}
        results, seconds = cluster.download_everywhere(self.peers, f'{self.origin}/{self.name}?round={self.round}')
        self.results = results
        cpu = {name: processes.cpu(name) - before[name] for name in daemons}
        answers = cluster.origin_answers()[requests:]
        walls = [result['seconds'] for result in results.values()]
        total = {key: sum(result['from'][key] for result in results.values()) for key in ('seeds', 'peers', 'source')}
        return {'wall': seconds, 'first': min(walls), 'last': max(walls),
                'cpu': sum(cpu.values()), 'scheduler_cpu': cpu['d7ysched'],
                'origin_bytes': sum(answer[1] for answer in answers), 'origin_requests': len(answers),
                'from_seeds': total['seeds'] / (len(self.peers) * self.size),
                'from_peers': total['peers'] / (len(self.peers) * self.size)}

    def check(self):
        check_everywhere(self.peers, self.results, self.digest)


def herd_columns(size, count):
    gib = size * count / GIB
    return {
        'first ends s': lambda s: s.get('first'),
        'last ends s': lambda s: s.get('last', s['wall']),
        'GiB/s together': lambda s: gib / s['wall'],
        'CPU-s/GiB': lambda s: s['cpu'] / gib,
        'origin bytes / size': lambda s: s['origin_bytes'] / size if 'origin_bytes' in s else None,
        'from seed': lambda s: s.get('from_seeds'),
        'from peers': lambda s: s.get('from_peers'),
    }


@workload('fan-out-shaped', '256 MiB to 8 peers at once, every uplink 1 Gbit/s', needs=('nginx', 'tc'), rounds=5,
          private_network=True)
def fan_out_shaped(stage, report):
    size, count = 256 * MIB, 8
    stage.file('256m', size)
    origin, _, peers = swarm(stage, count)
    stage.uplinks({address: GIGABIT for address in (ORIGIN_IP, SEED_IP, *(peer.ip for peer in peers))})
    herd = Herd(stage, origin, peers, '256m', size)
    samples = compare([Contender('d7y', herd.run, None, herd.check)], stage, 2560)
    report.table(samples, herd_columns(size, count))
    report.note(f'size / rate: {size / GIGABIT:.2f} s; {count} downloads from the origin alone would share its uplink:'
                f' {count * size / GIGABIT:.1f} s')
    report.target('last finisher / (size / rate)', [s['last'] / (size / GIGABIT) for s in samples['d7y']], at_most=1.25)
    report.target('origin bytes / size', [s['origin_bytes'] / size for s in samples['d7y']], at_most=1.02)


@workload('fan-out-raw', '256 MiB to 8 peers at once, as fast as the machine goes', needs=('nginx', 'curl'))
def fan_out_raw(stage, report):
    size, count = 256 * MIB, 8
    content = stage.file('256m', size)
    origin, _, peers = swarm(stage, count)
    herd = Herd(stage, origin, peers, '256m', size)

    def curls():
        outputs = [stage.out(f'curl-{i}') for i in range(count)]
        before = stage.processes.cpu('origin')
        used = os.times()
        began = time.perf_counter()
        running = [subprocess.Popen(['curl', '-s', '-o', output, f'{origin}/256m']) for output in outputs]
        for process in running:
            if process.wait():
                raise Failure('curl failed')
        wall = time.perf_counter() - began
        after = os.times()
        return {'wall': wall, 'cpu': stage.processes.cpu('origin') - before + after.children_user +
                after.children_system - used.children_user - used.children_system}

    def curls_check():
        for i in range(count):
            same(content, stage.out(f'curl-{i}'))
            remove(stage.out(f'curl-{i}'))

    samples = compare([Contender('d7y', herd.run, None, herd.check), Contender('8 curls', curls, None, curls_check)],
                      stage, 2560)
    report.table(samples, herd_columns(size, count))
    report.target('wall, 8 curls / d7y', ratio(samples, '8 curls', 'd7y'), at_least=2.5)


@workload('origin-offload', '64 MiB to 16 peers that start within 2 s', needs=('nginx',), rounds=5)
def origin_offload(stage, report):
    size, count = 64 * MIB, 16
    stage.file('64m', size)
    origin, _, peers = swarm(stage, count)
    dice = random.Random(7)
    samples = []
    for number in range(stage.rounds):
        url = f'{origin}/64m?round={number}'
        before = len(stage.cluster.origin_answers())
        starts = sorted((dice.uniform(0, 2), peer) for peer in peers)
        began = time.monotonic()
        running = []
        for at, peer in starts:
            time.sleep(max(0.0, began + at - time.monotonic()))
            running.append((peer, subprocess.Popen(
                stage.cluster.get_command(peer, url, peer.folder / 'downloaded', '--json'), stdout=subprocess.PIPE)))
        results = {peer.name: json.loads(process.communicate()[0]) for peer, process in running}
        check_everywhere(peers, results, (stage.content / '64m.sha256').read_text().strip())
        answers = stage.cluster.origin_answers()[before:]
        samples.append({
            'bytes': sum(answer[1] for answer in answers) / size,
            'ranges': sum(1 for answer in answers if answer[3] == 'GET'),
            'heads': sum(1 for answer in answers if answer[3] == 'HEAD'),
            'from_peers': sum(r['from']['peers'] for r in results.values()) / (size * count),
            'longest': max(r['seconds'] for r in results.values()),
        })
    report.table({'d7y': samples}, {
        'origin bytes / size': lambda s: s['bytes'],
        'GETs': lambda s: s['ranges'],
        'HEADs': lambda s: s['heads'],
        'from peers': lambda s: s['from_peers'],
        'longest s': lambda s: s['longest'],
    })
    report.target('origin bytes / size', [s['bytes'] for s in samples], at_most=1.0)
    report.target('HEAD requests', [s['heads'] for s in samples], at_most=1)


@workload('small-files', '10,000 files of 16 KiB through one peer, from a warm seed', needs=('nginx',), rounds=2)
def small_files(stage, report):
    count, size = 10_000, 16 << 10
    folder = stage.content / 'small'
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        if not (folder / f'{i}').exists():
            (folder / f'{i}').write_bytes(os.urandom(size))
    cluster = stage.cluster
    origin = cluster.start_origin(stage.content)
    cluster.start_scheduler()
    many = {'server': {'requestRateLimit': 1_000_000}}
    config = {'download': many, 'upload': many}
    seed = cluster.start_peer(Peer('seed', SEED_IP, seed=True, config=config))
    urls = [f'{origin}/small/{i}' for i in range(count)]

    def get(peer, output, *more):
        output.mkdir(exist_ok=True)
        return [stage.cluster.tool('d7yget'), *urls, '-O', f'{output}/', '--daemon', 'require', '--endpoint', peer.socket,
                '--no-progress', '--max-concurrent-requests', '64', *more]

    timed(get(seed, stage.out('at-seed')))
    peers = []

    def new_peer():
        peers.append(cluster.start_peer(Peer(f'peer-{len(peers)}', '127.0.0.11', config=config)))

    def run():
        return timed(get(peers[-1], stage.out('out'), '--disable-back-to-source'), stage.processes,
                     ('seed', peers[-1].name, 'd7ysched', 'origin'))

    def check():
        if subprocess.run(['diff', '-rq', folder, stage.out('out')], capture_output=True, check=False).returncode:
            raise Failure('not all files are there and right')

    def clean():
        cluster.stop_peer(peers[-1])
        subprocess.run(['rm', '-r', stage.out('out')], check=True)

    samples = compare([Contender('d7y', run, new_peer, check, clean)], stage, 256)
    report.table(samples, {
        'seconds': lambda s: s['wall'],
        'files/s': lambda s: count / s['wall'],
        'CPU us/file': lambda s: s['cpu'] / count * 1e6,
        'of peer': lambda s: next(v for k, v in s.items() if k.startswith('cpu:peer')) / count * 1e6,
        'of seed': lambda s: s['cpu:seed'] / count * 1e6,
        'of scheduler': lambda s: s['cpu:d7ysched'] / count * 1e6,
        'of d7yget': lambda s: s['client_cpu'] / count * 1e6,
    })
    report.target('files per second', [count / s['wall'] for s in samples['d7y']], at_least=2000)


class HeldOrigin:
    """Answers HEAD at once, and GET only when it is let go, so that a whole row of peers waits for the first byte."""

    def __init__(self, content):
        self.content, self.digest = content, hashlib.sha256(content).hexdigest()
        self.gate, self.first = threading.Event(), None
        origin = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = 'HTTP/1.1'

            def log_message(self, *_):
                pass

            def do_HEAD(self):
                self.answer(False)

            def do_GET(self):
                self.answer(True)

            def answer(self, body):
                asked = self.headers.get('Range')
                first, last = 0, len(origin.content) - 1
                if asked:
                    low, _, high = asked.removeprefix('bytes=').partition('-')
                    first, last = int(low), min(last, int(high) if high else last)
                self.send_response(206 if asked else 200)
                if asked:
                    self.send_header('Content-Range', f'bytes {first}-{last}/{len(origin.content)}')
                self.send_header('Accept-Ranges', 'bytes')
                self.send_header('ETag', '"one"')
                self.send_header('Content-Length', str(last + 1 - first))
                self.end_headers()
                if body:
                    self.wfile.flush()
                    origin.gate.wait()
                    if first == 0 and origin.first is None:
                        origin.first = time.perf_counter()
                    self.wfile.write(memoryview(origin.content)[first:last + 1])

        class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
            daemon_threads = True

            def handle_error(self, *_):
                pass

        self.server = Server((ORIGIN_IP, 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        self.url = f'http://{ORIGIN_IP}:{self.server.server_address[1]}'

    def again(self):
        self.gate, self.first = threading.Event(), None

    def go(self):
        self.gate.set()


# A scheduler that lets each host serve one child, and offers each child one parent, makes a row of peers that come one
# after another.
ONE_EACH = {'schedulerClusterConfig': {'candidateParentLimit': 1}, 'schedulerClusterClientConfig': {'loadLimit': 1},
            'seedPeerClusterConfig': {'loadLimit': 1}}


class Row:
    """Peers in a row behind a seed; their downloads are written to pipes, in order, as they arrive."""

    def __init__(self, stage, origin, count):
        self.stage, self.origin = stage, origin
        stage.cluster.start_scheduler(ONE_EACH)
        self.peers = peers_named(count)
        stage.cluster.start_peers([Peer('seed', SEED_IP, seed=True), *self.peers])
        stage.uplinks({address: GIGABIT for address in (ORIGIN_IP, SEED_IP, *(peer.ip for peer in self.peers))})

    def run(self, url, *more):
        """Seconds from the origin's first byte to the first byte and to the end at each peer, in the row's order."""
        self.origin.again()
        warm(1536, self.stage.place)
        running = []
        for peer in self.peers:
            running.append(subprocess.Popen(self.stage.cluster.get_command(peer, url, '-', *more),
                                            stdout=subprocess.PIPE, stderr=subprocess.PIPE))
            time.sleep(0.1)  # so that each finds the one before it
        time.sleep(0.2)
        ends, firsts = {}, {}
        digests = [hashlib.sha256() for _ in running]
        with selectors.DefaultSelector() as ready:
            for i, process in enumerate(running):
                ready.register(process.stdout, selectors.EVENT_READ, i)
            self.origin.go()
            while ready.get_map():
                for key, _ in ready.select(60):
                    block = os.read(key.fd, MIB)
                    now = time.perf_counter()
                    if block:
                        firsts.setdefault(key.data, now)
                        digests[key.data].update(block)
                        ends[key.data] = now
                    else:
                        ready.unregister(key.fileobj)
        for i, process in enumerate(running):
            said = process.stderr.read().decode(errors='replace')
            process.stdout.close()
            process.stderr.close()
            if process.wait(10) or digests[i].hexdigest() != self.origin.digest:
                raise Failure(f'{self.peers[i].name} did not get the bytes: {said[-500:]}')
        return ([firsts[i] - self.origin.first for i in range(len(running))],
                [ends[i] - self.origin.first for i in range(len(running))])


@workload('chain', '256 MiB along origin, seed and 4 peers in a row, every uplink 1 Gbit/s', needs=('tc', 'curl'),
          rounds=5, private_network=True)
def chain(stage, report):
    count, size = 4, 256 * MIB
    origin = HeldOrigin(os.urandom(size))
    row = Row(stage, origin, count)
    samples = {'d7y, 4 peers': [], 'curl, 1 link': []}
    for number in range(stage.rounds):
        firsts, ends = row.run(f'{origin.url}/file?round={number}')
        samples['d7y, 4 peers'].append({'first': firsts[-1], 'end': max(ends), 'next': ends[0]})
        origin.again()
        origin.go()
        took = timed(['curl', '-s', '-o', stage.out('curl'), f'{origin.url}/file'])
        samples['curl, 1 link'].append({'end': took['wall'], 'next': took['wall']})
        if sha256_of(stage.out('curl')) != origin.digest:
            raise Failure('curl got wrong bytes')
    report.table(samples, {
        'first peer ends, s': lambda s: s['next'],
        'last peer ends, s': lambda s: s['end'],
        'a byte at the last peer, ms': lambda s: s['first'] * 1000 if 'first' in s else None,
    })
    report.target("last peer / one link's time (curl)",
                  [a['end'] / b['end'] for a, b in zip(*samples.values())], at_most=1.10)


@workload('first-byte', 'the first byte at the end of a row of seed and 4 peers, every uplink 1 Gbit/s', needs=('tc',),
          rounds=5, private_network=True)
def first_byte(stage, report):
    count = 4
    origin = HeldOrigin(os.urandom(64 * MIB))
    row = Row(stage, origin, count)
    samples = {}
    for piece in (4, 64):
        for number in range(stage.rounds):
            firsts, _ = row.run(f'{origin.url}/file?piece={piece}&round={number}', '--piece-length', f'{piece}MiB')
            samples.setdefault(f'pieces of {piece} MiB', []).append({'first': min(firsts), 'last': max(firsts)})
    report.table(samples, {
        'at the first peer, ms': lambda s: s['first'] * 1000,
        'at the last peer, ms': lambda s: s['last'] * 1000,
    })
    report.note('as d7yget prints it')
    for name, runs in samples.items():
        report.target(f'ms per hop, {name}', [(s['last'] - s['first']) * 1000 / (count - 1) for s in runs], at_most=5)
