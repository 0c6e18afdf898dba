"""A crowd of daemons talks to d7ysched over gRPC: calls, piece reports, whole downloads, and everybody's announcement."""

import http.client
import json
import shutil
import subprocess

from cluster import SCHEDULER_IP, Failure, accepts, free_port, status_of
from measure import Contender, Range, compare, number, ratio
from stage import workload

ECHO_IP = '127.0.0.5'
GOAL = 3000  # downloads per second

COLUMNS = {
    'a second': lambda s: s['rate'],
    'CPU us each': lambda s: s['cpu_each'],
    "generator's": lambda s: s['generator_each'],
    'ms p50': lambda s: s['p50'] or None,
    'p99': lambda s: s['p99'] or None,
    'worst': lambda s: s['most'] or None,
}


class Crowd:
    """The generator and the two servers that it talks to."""

    def __init__(self, stage):
        self.stage, self.processes, self.runs = stage, stage.processes, 0
        self.metrics = free_port(SCHEDULER_IP)
        # All that calls are is load here; who may make how many of them is measured nowhere.
        stage.cluster.start_scheduler(config={
            'server': {'requestRateLimit': 100_000_000},
            'metrics': {'enable': True, 'addr': f'{SCHEDULER_IP}:{self.metrics}'}})
        self.addresses = {'d7ysched': stage.cluster.scheduler}

    def start_echo(self):
        address = f'{ECHO_IP}:{free_port(ECHO_IP)}'
        stage = self.stage
        self.processes.start('grpc++', [stage.program('grpcpp-echo'), address], stage.cluster.logs / 'grpc++.log')
        ip, _, port = address.partition(':')
        stage.cluster.ready('grpc++', address, lambda: accepts(ip, int(port)))
        self.addresses['grpc++'] = address

    def reports_counted(self):
        """Piece reports that d7ysched counts in its metrics."""
        connection = http.client.HTTPConnection(SCHEDULER_IP, self.metrics, timeout=10)
        connection.request('GET', '/metrics')
        lines = connection.getresponse().read().decode().splitlines()
        connection.close()
        return sum(int(line.split()[-1]) for line in lines
                   if line.startswith('dragonfly_scheduler_download_piece_finished_total{'))

    def run(self, server, phase, reports_each=0, **options):
        """What the generator says, and the server's CPU time from when the phase itself began. `reports_each`: how many
        piece reports belong to each thing done; the server must have counted that many."""
        self.runs += 1
        words = [part for name, value in options.items() for part in (f'--{name.replace("_", "-")}', str(value))]
        before = self.reports_counted() if reports_each else 0
        with subprocess.Popen([str(self.stage.program('scheduler-load')), phase, self.addresses[server],
                               '--run', str(self.runs), *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True) as process:
            process.stdout.readline()
            cpu = -self.processes.cpu(server)
            said = process.stdout.readline()
            cpu += self.processes.cpu(server)
            complaint = process.stderr.read()
        if process.returncode or not said:
            raise Failure(f'scheduler-load {phase} at {server}: {complaint.strip()}')
        sample = json.loads(said)
        if reports_each and self.reports_counted() - before != reports_each * sample['done']:
            raise Failure(f'd7ysched counted {self.reports_counted() - before} piece reports'
                          f' where {reports_each * sample["done"]} were made')
        sample['cpu_each'] = 1e6 * cpu / sample['done']
        sample['generator_each'] = 1e6 * sample['cpu'] / sample['done']
        sample['resident'] = int(status_of(self.processes.running[server].pid).get('VmRSS', 0)) / 1024
        return sample

    def contender(self, name, *arguments, **options):
        return Contender(name, lambda: self.run(*arguments, **options))


@workload('scheduler-load', "a crowd of daemons at d7ysched, beside gRPC's own C++ echo server",
          needs=('grpc++', 'grpc_cpp_plugin'), rounds=4)
def scheduler_load(stage, report):
    crowd = Crowd(stage)
    crowd.start_echo()
    calls(stage, report, crowd)
    reports(stage, report, crowd)
    downloads(stage, report, crowd)
    hosts(stage, report, crowd)


def calls(stage, report, crowd):
    samples = compare([crowd.contender('announcements: d7ysched', 'd7ysched', 'unary'),
                       crowd.contender('announcements: grpc++ echo', 'grpc++', 'unary', echo=1)], stage, 1)
    report.table(samples, COLUMNS)
    names = list(samples)
    report.target('unary calls, rate / that of the echo', ratio(samples, *names, 'rate'), at_least=2)
    report.target('unary calls, CPU each / that of the echo', ratio(samples, *names, 'cpu_each'), at_most=1 / 3)


def reports(stage, report, crowd):
    samples = compare([crowd.contender('piece reports: d7ysched', 'd7ysched', 'reports', reports_each=1),
                       crowd.contender('piece reports: grpc++ echo', 'grpc++', 'reports', echo=1),
                       crowd.contender('piece reports: grpc++ reads only', 'grpc++', 'reports', echo='take')], stage, 1)
    report.table(samples, COLUMNS)
    ours, echo, _ = samples
    report.target('piece reports, rate / that of the echo', ratio(samples, ours, echo, 'rate'), at_least=3)


def downloads(stage, report, crowd):
    kinds = {'downloads: unmodified clients': 1, 'downloads: d7y clients': 32}
    samples = compare([crowd.contender(name, 'd7ysched', 'lifecycles', reports_each=64, batch=batch)
                       for name, batch in kinds.items()], stage, 1)
    paced = {}
    for name, batch in kinds.items():
        half = Range.of([s['rate'] for s in samples[name]]).median / 2
        for load, rate in (('half the goal', GOAL / 2), ('half the most', half)):
            paced[f'{name}, {load}'] = [crowd.run('d7ysched', 'lifecycles', reports_each=64, batch=batch, rate=rate)
                                        for _ in range(stage.rounds)]
    report.table({**samples, **paced}, COLUMNS)
    for name, runs in samples.items():
        report.target(f'{name}, a second', [s['rate'] for s in runs], at_least=GOAL)
    for name, runs in paced.items():
        report.target(f'{name}, ms p99 to parents', [s['p99'] for s in runs], at_most=5)


def hosts(stage, report, crowd):
    """A scheduler that was started anew, so that nobody is known."""
    first, again = [], []
    for _ in range(stage.rounds):
        stage.processes.stop('d7ysched')
        shutil.rmtree(stage.place / 'd7ysched')
        crowd = Crowd(stage)
        first.append(crowd.run('d7ysched', 'hosts'))
        again.append(crowd.run('d7ysched', 'hosts'))
    samples = {'100,000 hosts announce': first, '100,000 hosts, again': again}
    report.table(samples, COLUMNS)
    for name, runs in samples.items():
        report.target(f'{name}, ms of the longest wait', [s['most'] for s in runs], at_most=50)
    report.note(f'{number(Range.of([s["resident"] for s in again]).median)} MiB resident with 100,000 hosts')
