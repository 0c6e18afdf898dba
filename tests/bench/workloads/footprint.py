"""What d7y weighs: memory, the library's size, how soon a daemon is ready."""

import os
import shutil
import socket
import subprocess
import threading
import time

from cluster import MIB, SEED_IP, Failure, Peer, status_of
from measure import same, timed
from stage import GIB, workload


class Watch(threading.Thread):
    """Looks at the anonymous and resident memory of processes again and again; keeps the most."""

    def __init__(self, pids):
        super().__init__(daemon=True)
        self.pids, self.over = pids, threading.Event()
        self.anonymous = {name: 0 for name in pids}
        self.resident = {name: 0 for name in pids}
        self.start()

    def run(self):
        while not self.over.wait(0.005):
            for name, pid in self.pids.items():
                status = status_of(pid)
                self.anonymous[name] = max(self.anonymous[name], int(status.get('RssAnon', 0)))
                self.resident[name] = max(self.resident[name], int(status.get('VmRSS', 0)))

    def stop(self):
        self.over.set()
        self.join()


@workload('memory', 'of daemons: idle, and while 4 GiB go from parent to child', needs=('nginx',), rounds=1)
def memory(stage, report):
    size = 4 * GIB
    content = stage.file('4g', size)
    cluster, processes = stage.cluster, stage.processes
    url = f'{cluster.start_origin(stage.content, counted=False)}/4g'
    cluster.start_scheduler()
    parent = cluster.start_peer(Peer('parent', SEED_IP, seed=True))
    child = cluster.start_peer(Peer('child', '127.0.0.11'))
    pids = {name: processes.running[name].pid for name in ('parent', 'child', 'd7ysched')}
    samples = {}

    def keep(when, name, anonymous, resident):
        samples.setdefault(f'{name}, {when}', []).append({'anonymous': anonymous / 1024, 'resident': resident / 1024})

    def phase(when, names, action):
        watch = Watch(pids)
        action()
        watch.stop()
        for name in names:
            keep(when, name, watch.anonymous[name], watch.resident[name])

    phase('idle', pids, lambda: time.sleep(0.5))
    phase('from the origin', ('parent',), lambda: timed(cluster.get_command(parent, url, stage.out('at-parent'))))
    same(content, stage.out('at-parent'))
    phase('moving', pids, lambda: timed([*cluster.get_command(child, url, stage.out('at-child')),
                                         '--disable-back-to-source']))
    same(content, stage.out('at-child'))
    phase('after', pids, lambda: time.sleep(0.5))
    report.table(samples, {'anonymous MiB': lambda s: s['anonymous'], 'resident MiB': lambda s: s['resident']})
    report.target('resident MiB of an idle daemon', [s['resident'] for s in samples['child, idle']], at_most=16)
    report.target('anonymous MiB of the parent while 4 GiB move', [s['anonymous'] for s in samples['parent, moving']],
                  at_most=32)
    report.target('anonymous MiB of the child while 4 GiB move', [s['anonymous'] for s in samples['child, moving']],
                  at_most=32)
    report.target('anonymous MiB of a seed while 4 GiB come from the origin',
                  [s['anonymous'] for s in samples['parent, from the origin']], at_most=32)


@workload('library-size', 'of libd7y.so without symbols')
def library_size(stage, report):
    library = (stage.build / 'capi' / 'libd7y.so').resolve()
    stripped = stage.out('libd7y.so')
    subprocess.run(['strip', '-o', stripped, library], check=True)
    samples = {'libd7y.so': [{'size': stripped.stat().st_size / MIB}]}
    report.table(samples, {'MiB': lambda s: s['size']})
    report.target('MiB', [s['size'] for s in samples['libd7y.so']], at_most=8)


def seconds_until_ready(stage, peer):
    """From the start of d7yd until its socket and its health port answer."""
    cluster = stage.cluster
    config = cluster.configure(peer)
    log = cluster.logs / f'{peer.name}.log'
    began = time.perf_counter()
    with open(log, 'ab') as out:
        # No preexec_fn, as with timed(): starting must not depend on the size of this program.
        process = subprocess.Popen([cluster.tool('d7yd'), '--config', config], stdin=subprocess.DEVNULL, stdout=out,
                                   stderr=out, start_new_session=True)
    stage.processes.running[peer.name] = process
    cluster.peers[peer.name] = peer
    request = b'GET /healthy HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n'
    while True:
        if process.poll() is not None or time.perf_counter() - began > 60:
            raise Failure(f'{peer.name} does not start: {log}')
        try:
            with socket.socket(socket.AF_UNIX) as ours:
                ours.connect(str(peer.socket))
            with socket.create_connection((peer.ip, peer.ports['health']), timeout=10) as health:
                health.sendall(request)
                if health.recv(64).startswith(b'HTTP/1.1 200'):
                    return time.perf_counter() - began
        except OSError:
            time.sleep(0.0005)


@workload('ready', 'a daemon, from its start until it answers', rounds=20)
def ready(stage, report):
    runs = []
    stage.cluster.start_scheduler()
    for number in range(stage.rounds + 1):
        peer = Peer('peer', '127.0.0.11')
        seconds = seconds_until_ready(stage, peer)
        stage.cluster.stop_peer(peer)
        if number > 0:
            runs.append({'ms': seconds * 1000})
    report.table({'d7yd, empty store': runs}, {'ms': lambda s: s['ms']})
    report.target('ms until ready', [s['ms'] for s in runs], at_most=20)


@workload('restart', 'a daemon with 100,000 stored tasks, from its start until it answers', rounds=3)
def restart(stage, report):
    count = 100_000
    # Kept between runs, as content is: making and removing so many folders takes longer than the measurement.
    store = stage.content / f'store-{count}'
    if not (store / 'index').exists():
        shutil.rmtree(store, ignore_errors=True)
        store.mkdir(parents=True)
        subprocess.run([stage.program('store-bench'), 'fill', store, str(count)], check=True, capture_output=True)
    runs = []
    for _ in range(stage.rounds):
        peer = Peer('peer', '127.0.0.11', config={'storage': {'keep': True, 'dir': str(store)}})
        seconds = seconds_until_ready(stage, peer)
        resident = int(status_of(stage.processes.running['peer'].pid).get('VmRSS', 0)) / 1024
        stage.cluster.stop_peer(peer, keep_store=True)
        runs.append({'seconds': seconds, 'resident': resident})
    if sum(len(os.listdir(folder)) for folder in os.scandir(store / 'tasks')) < count:
        raise Failure('the daemon did not keep its tasks')
    report.table({f'd7yd, {count} tasks': runs}, {'seconds': lambda s: s['seconds'], 'resident MiB': lambda s: s['resident']})
    report.target('seconds until ready', [s['seconds'] for s in runs], at_most=1)
