#!/usr/bin/env python3
"""Builds d7y and shows its main job on this machine: one file, many peers, the origin read once.

    ./quickstart [--size MIB] [--peers N] [--keep] [--no-install] [--tools DIR] [--place DIR]

    --size MIB     size of the file at the origin (1024)
    --peers N      how many peers download it at once, 1 to 32 (4)
    --keep         keep the peers' stores and the downloaded files when it is over
    --no-install   do not install packages; for machines where .ci/dependencies has run already
    --tools DIR    build nothing; use the tools of this build folder
    --place DIR    where stores, files and logs go (build/quickstart)

It installs Debian packages (as root), builds a release into build/release, and starts nginx as the origin, one
d7ysched, one seed d7yd and the peers, each on its own 127.0.0.x address with its own ports and store. Everything it started is stopped when it ends, also after Ctrl-C or a failure. Exit code: 0 when
every peer got the right bytes, 1 when not or when something failed, 2 for wrong arguments, 130 after Ctrl-C.
"""

import argparse
import ctypes
import dataclasses
import fcntl
import hashlib
import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = ROOT / 'build' / 'release'
PLACE = ROOT / 'build' / 'quickstart'  # --place
LOGS = PLACE / 'logs'
MIB = 1 << 20

ORIGIN_IP, SCHEDULER_IP, SEED_IP = '127.0.0.2', '127.0.0.3', '127.0.0.4'
FIRST_PEER = 11  # 127.0.0.11, .12, ...


class Failure(Exception):
    """Something that the user should read, without a stack trace."""


class Stopped(Exception):
    """Asked to stop by a signal."""

    def __init__(self, number):
        super().__init__(signal.Signals(number).name)
        self.number = number


def say(text=''):
    try:
        print(text, flush=True)
    except BrokenPipeError:  # nobody reads any more; that must not keep us from stopping what we started
        sys.stdout = open(os.devnull, 'w')


def tail(path, lines=15):
    try:
        return '\n'.join('    ' + line for line in path.read_text(errors='replace').splitlines()[-lines:])
    except OSError:
        return '    (no log)'


# ---- processes -------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Usage:
    """What a process has cost so far: CPU seconds of user and kernel, peak resident bytes."""
    cpu: float = 0.0
    peak: int = 0

    def __add__(self, other):
        return Usage(self.cpu + other.cpu, self.peak + other.peak)


def usage_of(pid):
    try:
        # The name in parentheses may hold spaces; fields are counted behind it (proc(5)).
        fields = pathlib.Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()
        cpu = (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')
        status = pathlib.Path(f'/proc/{pid}/status').read_text()
        peak = next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith('VmHWM:')), 0)
        return Usage(cpu, peak)
    except (OSError, IndexError, ValueError):
        return Usage()


def children_of(pid):
    try:
        return [int(p) for p in pathlib.Path(f'/proc/{pid}/task/{pid}/children').read_text().split()]
    except OSError:
        return []


def end_with_parent():
    """In the child: die when this program dies, however it dies (PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


class Processes:
    """Everything that was started, so that everything is stopped."""

    def __init__(self):
        self.running = {}  # name: Popen

    def start(self, name, command, log=None, **options):
        """`log` gets all output; without it the caller reads stdout."""
        # A session of their own: Ctrl-C reaches this program only, which then stops them in order.
        output = {} if log is None else {'stdout': open(log, 'ab'), 'stderr': subprocess.STDOUT}
        try:
            process = subprocess.Popen([str(part) for part in command], stdin=subprocess.DEVNULL,
                                       start_new_session=True, preexec_fn=end_with_parent, **output, **options)
        except OSError as reason:
            raise Failure(f'cannot start {command[0]}: {reason.strerror}') from None
        finally:
            if log is not None:
                output['stdout'].close()
        self.running[name] = process
        return process

    def run(self, name, command, log, env=None):
        """Runs to the end; false if it ended badly."""
        process = self.start(name, command, log, env=env, cwd=ROOT)
        code = process.wait()
        del self.running[name]
        return code == 0

    def usage(self, name):
        """Of the process and its direct children (nginx serves from a worker)."""
        pid = self.running[name].pid
        total = usage_of(pid)
        for child in children_of(pid):
            total += usage_of(child)
        return total

    def stop_all(self, patience=10.0):
        def signal_all(number):
            for process in self.running.values():
                try:
                    os.killpg(process.pid, number)
                except (ProcessLookupError, PermissionError):
                    pass

        for process in reversed(self.running.values()):
            if process.poll() is None:
                process.terminate()
        until = time.monotonic() + patience
        for process in self.running.values():
            try:
                process.wait(max(0.0, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                pass
        left = [name for name, process in self.running.items() if process.poll() is None]
        signal_all(signal.SIGKILL)
        for process in self.running.values():
            process.wait()
        self.running.clear()
        return left


# ---- installing and building -----------------------------------------------------------------------------------


def build(processes, install):
    started = time.monotonic()
    if install:
        if subprocess.run([ROOT / '.ci' / 'dependencies', 'run'], stdin=subprocess.DEVNULL, check=False).returncode:
            raise Failure('the dependencies are not complete, see above')
    log = ROOT / 'build' / 'release.log'
    log.parent.mkdir(exist_ok=True)
    log.write_bytes(b'')
    env = dict(os.environ)
    env.setdefault('CCACHE_BASEDIR', str(ROOT))
    env.setdefault('CCACHE_NOHASHDIR', '1')
    configured = (BUILD / 'build.ninja').exists()
    if not configured:
        say('building a release (a few minutes the first time) ...')
    setup = ['meson', 'setup', BUILD, ROOT]
    ok = processes.run('build', setup + (['--reconfigure'] if configured else []), log, env)
    if not ok and configured:
        shutil.rmtree(BUILD)  # left by an older state of the tree
        ok = processes.run('build', setup, log, env)
    ok = ok and processes.run('build', ['meson', 'compile', '-C', BUILD, 'd7yget', 'd7yd', 'd7ysched'], log, env)
    if not ok:
        raise Failure(f'the build failed; the end of {log}:\n{tail(log, 30)}')
    say(f'built into build/release, {time.monotonic() - started:.0f} s')


def tool(name):
    return BUILD / 'tools' / name / name


# ---- the cluster -----------------------------------------------------------------------------------------------


def free_port(ip):
    """A TCP port that nobody uses on this address now."""
    with socket.socket() as probe:
        probe.bind((ip, 0))
        return probe.getsockname()[1]


def make_content(path, size):
    """Random bytes, hence incompressible; kept between runs. Returns their SHA-256."""
    note = path.with_suffix('.sha256')
    if path.exists() and path.stat().st_size == size and note.exists():
        return note.read_text().strip()
    say(f'writing {size // MIB} MiB of random bytes for the origin ...')
    path.parent.mkdir(parents=True, exist_ok=True)
    note.unlink(missing_ok=True)
    digest = hashlib.sha256()
    with open(path, 'wb') as file:
        left = size
        while left > 0:
            block = os.urandom(min(left, 4 * MIB))
            digest.update(block)
            file.write(block)
            left -= len(block)
    note.write_text(digest.hexdigest() + '\n')
    return digest.hexdigest()


def sha256_of(path):
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while block := file.read(4 * MIB):
            digest.update(block)
    return digest.hexdigest()


class Cluster:
    def __init__(self, processes, peers):
        self.processes = processes
        self.peers = [f'peer-{i + 1}' for i in range(peers)]
        self.ports = {}
        self.started_at = {}

    def ready(self, name, ip, port, answered, seconds=20):
        """Waits until the process answers, or says why it does not."""
        process = self.processes.running[name]
        until = time.monotonic() + seconds
        while not answered(ip, port):
            if process.poll() is not None:
                raise Failure(f'{name} ended with code {process.returncode} right after its start;'
                              f' the end of {LOGS / name}.log:\n{tail(LOGS / f"{name}.log")}')
            if time.monotonic() > until:
                raise Failure(f'{name} does not answer on {ip}:{port} after {seconds} s;'
                              f' the end of {LOGS / name}.log:\n{tail(LOGS / f"{name}.log")}')
            time.sleep(0.02)

    def start_origin(self, content):
        nginx = shutil.which('nginx', path=os.environ.get('PATH', '') + ':/usr/sbin')
        if not nginx:
            raise Failure('nginx is not installed; run .ci/dependencies run')
        folder = PLACE / 'origin'
        folder.mkdir(parents=True, exist_ok=True)
        port = free_port(ORIGIN_IP)
        (LOGS / 'origin-access.log').write_bytes(b'')
        temporary = ''.join(f'  {kind}_temp_path {folder}/{kind};\n'
                            for kind in ('client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'))
        (folder / 'nginx.conf').write_text(f'''daemon off;
{"user root;" if os.getuid() == 0 else ""}
worker_processes 1;
pid {folder}/nginx.pid;
error_log {LOGS}/origin.log warn;
events {{ worker_connections 512; }}
http {{
  log_format counted '$bytes_sent $body_bytes_sent $status $remote_addr "$http_range" "$request"';
  access_log {LOGS}/origin-access.log counted;
  sendfile on;
  tcp_nopush on;
  keepalive_requests 100000;
{temporary}
  server {{
    listen {ORIGIN_IP}:{port};
    root {content.parent};
  }}
}}
''')
        self.processes.start('origin', [nginx, '-c', folder / 'nginx.conf', '-p', folder], LOGS / 'origin.log')
        self.ready('origin', ORIGIN_IP, port, accepts)
        return f'http://{ORIGIN_IP}:{port}/{content.name}'

    def origin_bytes(self):
        """Bytes of answers that nginx sent, headers included, and the number of requests."""
        lines = [line.split() for line in (LOGS / 'origin-access.log').read_text().splitlines()]
        return sum(int(line[0]) for line in lines), len(lines)

    def start_scheduler(self):
        port = free_port(SCHEDULER_IP)
        config = PLACE / 'd7ysched.yaml'
        config.write_text(f'server:\n  listenIP: {SCHEDULER_IP}\n  advertiseIP: {SCHEDULER_IP}\n  port: {port}\n')
        self.processes.start('d7ysched', [tool('d7ysched'), '--config', config], LOGS / 'd7ysched.log')
        self.ready('d7ysched', SCHEDULER_IP, port, accepts)
        self.scheduler = f'{SCHEDULER_IP}:{port}'

    def start_peer(self, name, ip, seed=False):
        folder = PLACE / name
        folder.mkdir(parents=True, exist_ok=True)
        ports = {}
        while len(set(ports.values())) < 6:
            ports = {use: free_port(ip) for use in ('upload', 'piece', 'metrics', 'health', 'stats', 'proxy')}
        config = folder / 'dfdaemon.yaml'
        config.write_text(f'''host:
  hostname: {name}
  ip: {ip}
scheduler:
  addrs: ["{self.scheduler}"]
download:
  server:
    socketPath: {self.socket(name)}
upload:
  server:
    ip: {ip}
    port: {ports["upload"]}
storage:
  dir: {folder}/store
  server:
    ip: {ip}
    tcpPort: {ports["piece"]}
metrics:
  server:
    ip: {ip}
    port: {ports["metrics"]}
health:
  server:
    ip: {ip}
    port: {ports["health"]}
stats:
  server:
    ip: {ip}
    port: {ports["stats"]}
proxy:
  server:
    ip: {ip}
    port: {ports["proxy"]}
''' + ('seedPeer:\n  enable: true\n  type: super\n' if seed else ''))
        self.processes.start(name, [tool('d7yd'), '--config', config], LOGS / f'{name}.log')
        return lambda: self.ready(name, ip, ports['health'], healthy)

    @staticmethod
    def socket(name):
        # The path of a Unix socket has at most 107 bytes; a deep checkout must not matter.
        return pathlib.Path(f'/tmp/d7y-quickstart-{os.getpid()}') / f'{name}.sock'

    def start(self, content):
        sockets = self.socket('x').parent
        sockets.mkdir(mode=0o700)
        url = self.start_origin(content)
        self.start_scheduler()
        waits = [self.start_peer('seed', SEED_IP, seed=True)]
        waits += [self.start_peer(name, f'127.0.0.{FIRST_PEER + i}') for i, name in enumerate(self.peers)]
        for wait in waits:
            wait()
        return url

    def download_everywhere(self, url, patience):
        """All peers at once. Returns {peer: d7yget's JSON}, with its CPU and memory."""
        gets = {}
        started = time.monotonic()
        for name in self.peers:
            output = PLACE / name / 'downloaded'
            log = open(LOGS / f'd7yget-{name}.log', 'wb')
            gets[name] = self.processes.start(
                f'd7yget {name}',
                [tool('d7yget'), url, '-O', output, '--overwrite', '--daemon', 'require', '--endpoint',
                 self.socket(name), '--timeout', f'{patience}s', '--no-progress', '--json'],
                stdout=subprocess.PIPE, stderr=log, text=True)
            log.close()
        results = {}
        for name, get in gets.items():
            try:
                text, _ = get.communicate(timeout=max(1.0, started + patience + 30 - time.monotonic()))
            except subprocess.TimeoutExpired:
                raise Failure(f'd7yget of {name} does not end, although its --timeout has passed') from None
            del self.processes.running[f'd7yget {name}']
            try:
                results[name] = json.loads(text)
            except json.JSONDecodeError:
                raise Failure(f'd7yget of {name} ended with code {get.returncode} and said:\n{text}'
                              f'{tail(LOGS / f"d7yget-{name}.log")}\n  the end of {LOGS}/{name}.log:\n'
                              f'{tail(LOGS / f"{name}.log")}') from None
        return results, time.monotonic() - started


def accepts(ip, port):
    try:
        with socket.create_connection((ip, port), timeout=1):
            return True
    except OSError:
        return False


def healthy(ip, port):
    try:
        connection = http.client.HTTPConnection(ip, port, timeout=1)
        connection.request('GET', '/healthy')
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False


# ---- the report ------------------------------------------------------------------------------------------------


def share(part, whole):
    return f'{part / MIB:8.1f} MiB {100 * part / whole:5.1f} %' if whole else f'{part / MIB:8.1f} MiB'


def report(cluster, results, seconds, size, digest, usages):
    """Prints what happened; returns whether every peer got the right bytes."""
    say()
    say('peer      seconds    MiB/s          from seed             from peers            from origin   SHA-256')
    good = True
    for name, result in results.items():
        verdict = 'right'
        if not result['ok']:
            verdict = f'FAILED: {result["error"]["message"]}'
        else:
            output = PLACE / name / 'downloaded'
            if not output.exists():
                verdict = 'MISSING'
            elif output.stat().st_size != size or sha256_of(output) != digest:
                verdict = 'WRONG'
        good = good and verdict == 'right'
        origins = result['from']
        say(f'{name:8} {result["seconds"]:8.2f} {result["mib_per_second"]:8.1f}'
            f'   {share(origins["seeds"], size)}  {share(origins["peers"], size)}'
            f'  {share(origins["source"], size)}   {verdict}')
    sent, requests = cluster.origin_bytes()
    say()
    say(f'origin: sent {sent / MIB:.1f} MiB in {requests} answers = {sent / size:.3f} x the file'
        f' (without peers: {len(results)} x)')
    if good:
        say(f'all {len(results)} peers: {seconds:.2f} s, {len(results) * size / MIB / seconds:.0f} MiB/s together')
    say()
    say('process    CPU seconds   peak memory')
    for name, usage in usages.items():
        say(f'{name:10} {usage.cpu:11.2f} {usage.peak / MIB:9.1f} MiB')
    total = sum((usage.cpu for usage in usages.values()), 0.0)
    say(f'{"together":10} {total:11.2f}')
    return good


EXPLANATION = '''
What this shows: {peers} peers wanted the same file at the same moment. The scheduler let the seed read it from
the origin once and told the peers whom to ask; they passed pieces on while they still received them. The columns
say where each peer's bytes came from; the digest of each output was computed again, apart from d7y's own
verification. To do it by hand: build/release/tools/d7yget/d7yget --help'''


def main():
    global BUILD, PLACE, LOGS
    parser = argparse.ArgumentParser(prog='./quickstart', usage=argparse.SUPPRESS, description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter, add_help=False)
    parser.add_argument('-h', '--help', action='store_true', help=argparse.SUPPRESS)
    parser.add_argument('--size', type=int, default=1024, help=argparse.SUPPRESS)
    parser.add_argument('--peers', type=int, default=4, help=argparse.SUPPRESS)
    parser.add_argument('--keep', action='store_true', help=argparse.SUPPRESS)
    parser.add_argument('--no-install', action='store_true', help=argparse.SUPPRESS)
    parser.add_argument('--tools', type=pathlib.Path, help=argparse.SUPPRESS)
    parser.add_argument('--place', type=pathlib.Path, default=PLACE, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.help:
        say(__doc__.rstrip())
        return 0
    if arguments.size < 1 or not 1 <= arguments.peers <= 32:
        say('./quickstart: --size must be at least 1 (MiB), --peers 1 to 32')
        return 2

    PLACE = arguments.place.absolute()
    LOGS = PLACE / 'logs'
    if arguments.tools:
        BUILD = arguments.tools.absolute()
        for name in ('d7yget', 'd7yd', 'd7ysched'):
            if not tool(name).exists():
                say(f'./quickstart: {tool(name)} is not there; --tools wants a folder where d7y was built')
                return 2

    def stop(number, _frame):
        # Once is enough; a second Ctrl-C must not break the stopping itself.
        for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(each, signal.SIG_IGN)
        raise Stopped(number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)

    processes = Processes()
    code = 1
    lock = None
    try:
        PLACE.mkdir(parents=True, exist_ok=True)
        lock = open(PLACE / 'lock', 'w')
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock = None
            raise Failure(f'another ./quickstart is running in {PLACE}') from None
        shutil.rmtree(LOGS, ignore_errors=True)
        LOGS.mkdir()
        code = show(processes, arguments)
    except Stopped as reason:
        say(f'\nstopped by {reason}')
        code = 128 + reason.number
    except Failure as reason:
        say(f'\n./quickstart: {reason}')
    except OSError as reason:
        say(f'\n./quickstart: {reason}')
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        slow = processes.stop_all()
        if slow:
            say(f'had to kill {", ".join(slow)}: did not stop within 10 s of SIGTERM')
            code = code or 1
        if lock is not None:
            tidy(arguments.keep)
            say(f'\neverything is stopped; logs are in {LOGS}' +
                (f', stores and files in {PLACE}' if arguments.keep else ''))
    return code


def tidy(keep):
    shutil.rmtree(Cluster.socket('x').parent, ignore_errors=True)
    if not keep:
        for folder in [PLACE / 'seed', *PLACE.glob('peer-*')]:
            shutil.rmtree(folder, ignore_errors=True)


def show(processes, arguments):
    size = arguments.size * MIB
    if not arguments.tools:
        build(processes, not arguments.no_install)
    tidy(keep=False)
    # The origin's file, and one copy in the store of the seed and of every peer (outputs are links to them).
    needed = (arguments.peers + 2) * size + 256 * MIB
    free = shutil.disk_usage(PLACE).free
    if free < needed:
        raise Failure(f'{PLACE} has {free // MIB} MiB free, {needed // MIB} MiB are needed; try --size'
                      f' {max(1, arguments.size * free // needed // 2)}')
    content = PLACE / 'content' / 'file.bin'
    digest = make_content(content, size)

    cluster = Cluster(processes, arguments.peers)
    url = cluster.start(content)
    say(f'running: origin {url}, d7ysched {cluster.scheduler}, seed d7yd {SEED_IP},'
        f' {arguments.peers} peers from 127.0.0.{FIRST_PEER}')
    say(f'downloading {arguments.size} MiB on {arguments.peers} peers at once ...')
    results, seconds = cluster.download_everywhere(url, patience=300)
    usages = {name: processes.usage(name) for name in processes.running}
    for name, process in processes.running.items():
        if process.poll() is not None:
            raise Failure(f'{name} ended with code {process.returncode} while it was needed;'
                          f' the end of {LOGS}/{name}.log:\n{tail(LOGS / f"{name}.log")}')
    good = report(cluster, results, seconds, size, digest, usages)
    if good:
        say(EXPLANATION.format(peers=arguments.peers))
    return 0 if good else 1


if __name__ == '__main__':
    sys.exit(main())
