"""A cluster of real processes on this machine: nginx as the origin, d7ysched, seeds and peers.

    processes = Processes()
    try:
        cluster = Cluster(processes, build=ROOT / 'build' / 'release', place=folder)
        origin = cluster.start_origin(content_folder)
        cluster.start_scheduler()
        cluster.start_peers([Peer('seed', '127.0.0.4', seed=True), Peer('peer-1', '127.0.0.11')])
        ...
    finally:
        processes.stop_all()

Each process has an address of its own in 127.0.0.0/8, so that they are told apart by it (and shaped, tests/bench).
Used by ./quickstart and by the benchmarks. Everything that was started ends with this program, however that ends.
"""

import ctypes
import dataclasses
import hashlib
import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import time

MIB = 1 << 20
ORIGIN_IP, SCHEDULER_IP, SEED_IP = '127.0.0.2', '127.0.0.3', '127.0.0.4'
FIRST_PEER = 11  # 127.0.0.11, .12, ...


class Failure(Exception):
    """Something that the user should read, without a stack trace."""


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


def status_of(pid):
    """The lines of /proc/PID/status as a dictionary; sizes are in KiB."""
    try:
        lines = pathlib.Path(f'/proc/{pid}/status').read_text().splitlines()
        return {name: value.split()[0] if value.split() else '' for name, _, value in (l.partition(':') for l in lines)}
    except OSError:
        return {}


def cpu_of(pid):
    """CPU seconds of a live process. The scheduler's own books are in nanoseconds, but leave out threads that ended."""
    total = 0
    try:
        for task in os.scandir(f'/proc/{pid}/task'):
            total += int(pathlib.Path(task.path, 'schedstat').read_text().split()[0])
        return total / 1e9
    except (OSError, IndexError, ValueError):
        pass
    try:
        # The name in parentheses may hold spaces; fields are counted behind it (proc(5)).
        fields = pathlib.Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')
    except (OSError, IndexError, ValueError):
        return 0.0


def usage_of(pid):
    return Usage(cpu_of(pid), int(status_of(pid).get('VmHWM', 0)) * 1024)


def children_of(pid):
    try:
        return [int(p) for p in pathlib.Path(f'/proc/{pid}/task/{pid}/children').read_text().split()]
    except OSError:
        return []


def end_with_parent():
    """In the child: die when this program dies, however it dies (PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Processes:
    """Everything that was started, so that everything is stopped."""

    def __init__(self):
        self.running = {}  # name: Popen

    def start(self, name, command, log=None, **options):
        """`log` gets all output; without it the caller reads stdout."""
        # A session of their own: Ctrl-C reaches this program only, which then stops them in order.
        output = {} if log is None else {'stdout': open(log, 'ab'), 'stderr': subprocess.STDOUT}
        # Whoever stops us between the start and the note of it would leave a process that nobody stops.
        unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)

        def prepare():
            end_with_parent()
            signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)

        try:
            self.running[name] = subprocess.Popen([str(part) for part in command], stdin=subprocess.DEVNULL,
                                                  start_new_session=True, preexec_fn=prepare, **output, **options)
            return self.running[name]
        except OSError as reason:
            raise Failure(f'cannot start {command[0]}: {reason.strerror}') from None
        finally:
            if log is not None:
                output['stdout'].close()
            signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)

    def run(self, name, command, log, env=None, cwd=None):
        """Runs to the end; false if it ended badly."""
        process = self.start(name, command, log, env=env, cwd=cwd)
        code = process.wait()
        del self.running[name]
        return code == 0

    def pids(self, name):
        """The process and its direct children (nginx serves from a worker)."""
        pid = self.running[name].pid
        return [pid, *children_of(pid)]

    def usage(self, name):
        return sum((usage_of(pid) for pid in self.pids(name)), Usage())

    def cpu(self, name):
        return sum(cpu_of(pid) for pid in self.pids(name))

    def stop(self, name, patience=10.0):
        """SIGTERM, then SIGKILL; true if the first was enough."""
        process = self.running.pop(name)
        if process.poll() is None:
            process.terminate()
        try:
            process.wait(patience)
            return True
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return False

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


# ---- small things ----------------------------------------------------------------------------------------------


_given = set()


def free_port(ip):
    """A TCP port that nobody uses on this address now, and that was not given out before."""
    while True:
        with socket.socket() as probe:
            probe.bind((ip, 0))
            port = probe.getsockname()[1]
        if (ip, port) not in _given:
            _given.add((ip, port))
            return port


def accepts(ip, port):
    try:
        with socket.create_connection((ip, port), timeout=1):
            return True
    except OSError:
        return False


def healthy(ip, port):
    connection = http.client.HTTPConnection(ip, port, timeout=1)
    try:
        connection.request('GET', '/healthy')
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def sha256_of(path):
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while block := file.read(4 * MIB):
            digest.update(block)
    return digest.hexdigest()


def make_content(path, size, say=lambda text: None):
    """Random bytes, hence incompressible; kept between runs. Returns their SHA-256."""
    note = path.with_name(path.name + '.sha256')
    if path.exists() and path.stat().st_size == size and note.exists():
        return note.read_text().strip()
    say(f'writing {size // MIB} MiB of random bytes for the origin ...')
    path.parent.mkdir(parents=True, exist_ok=True)
    note.unlink(missing_ok=True)
    digest = hashlib.sha256()
    # As a store writes it: how the page cache holds a file decides what sending it costs.
    with open(path, 'wb', buffering=0) as file:
        if size > 0:
            os.posix_fallocate(file.fileno(), 0, size)
        left = size
        while left > 0:
            block = os.urandom(min(left, MIB // 4))
            digest.update(block)
            file.write(block)
            left -= len(block)
    note.write_text(digest.hexdigest() + '\n')
    return digest.hexdigest()


# ---- the cluster -----------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Peer:
    """A d7yd. `config` is laid over the configuration that every peer gets: {'storage': {'keep': True}}."""
    name: str
    ip: str
    seed: bool = False
    config: dict = dataclasses.field(default_factory=dict)
    environment: dict = dataclasses.field(default_factory=dict)  # beside ours
    ports: dict = dataclasses.field(default_factory=dict)
    folder: pathlib.Path = None
    socket: pathlib.Path = None


def laid_over(below, above):
    merged = dict(below)
    for key, value in above.items():
        merged[key] = laid_over(below[key], value) if isinstance(value, dict) and isinstance(below.get(key), dict) else value
    return merged


class Cluster:
    def __init__(self, processes, build, place):
        self.processes = processes
        self.build = build
        self.place = place
        self.logs = place / 'logs'
        self.logs.mkdir(parents=True, exist_ok=True)
        # The path of a Unix socket has at most 107 bytes; a deep checkout must not matter.
        self.sockets = pathlib.Path(f'/tmp/d7y-{os.getpid()}')
        self.sockets.mkdir(mode=0o700, exist_ok=True)
        self.scheduler = None
        self.peers = {}

    def tidy(self):
        shutil.rmtree(self.sockets, ignore_errors=True)

    def tool(self, name):
        return self.build / 'tools' / name / name

    def ready(self, name, what, answered, seconds=20, pause=0.02):
        """Waits until the process answers, or says why it does not."""
        process = self.processes.running[name]
        until = time.monotonic() + seconds
        log = self.logs / f'{name}.log'
        while not answered():
            if process.poll() is not None:
                raise Failure(f'{name} ended with code {process.returncode} right after its start;'
                              f' the end of {log}:\n{tail(log)}')
            if time.monotonic() > until:
                raise Failure(f'{name} does not answer on {what} after {seconds} s; the end of {log}:\n{tail(log)}')
            time.sleep(pause)

    def alive(self):
        """Fails when something ended that should run."""
        for name, process in self.processes.running.items():
            if process.poll() is not None:
                log = self.logs / f'{name}.log'
                raise Failure(f'{name} ended with code {process.returncode} while it was needed;'
                              f' the end of {log}:\n{tail(log)}')

    def start_origin(self, content, certificate=None, counted=True):
        """nginx over a folder; returns the URL of its root. `certificate`: paths of PEM files, for https beside http
        (self.https). `counted`: log requests, for origin_bytes()."""
        nginx = shutil.which('nginx', path=os.environ.get('PATH', '') + ':/usr/sbin')
        if not nginx:
            raise Failure('nginx is not installed; run .ci/dependencies run')
        folder = self.place / 'origin'
        folder.mkdir(parents=True, exist_ok=True)
        port, tls = free_port(ORIGIN_IP), ''
        if certificate:
            tls_port = free_port(ORIGIN_IP)
            self.https = f'https://{ORIGIN_IP}:{tls_port}'
            tls = (f'    listen {ORIGIN_IP}:{tls_port} ssl;\n    ssl_certificate {certificate[0]};\n'
                   f'    ssl_certificate_key {certificate[1]};\n    ssl_protocols TLSv1.3;\n'
                   '    ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256;\n')
        self.access_log = self.logs / 'origin-access.log'
        self.access_log.write_bytes(b'')
        temporary = ''.join(f'  {kind}_temp_path {folder}/{kind};\n'
                            for kind in ('client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'))
        (folder / 'nginx.conf').write_text(f'''daemon off;
{"user root;" if os.getuid() == 0 else ""}
worker_processes 1;
pid {folder}/nginx.pid;
error_log {self.logs}/origin.log warn;
events {{ worker_connections 4096; }}
http {{
  log_format counted '$bytes_sent $body_bytes_sent $status $remote_addr "$http_range" "$request"';
  access_log {f"{self.access_log} counted" if counted else "off"};
  sendfile on;
  tcp_nopush on;
  keepalive_requests 1000000;
{temporary}
  server {{
    listen {ORIGIN_IP}:{port};
{tls}    root {content};
  }}
}}
''')
        self.processes.start('origin', [nginx, '-c', folder / 'nginx.conf', '-p', folder], self.logs / 'origin.log')
        self.ready('origin', f'{ORIGIN_IP}:{port}', lambda: accepts(ORIGIN_IP, port))
        return f'http://{ORIGIN_IP}:{port}'

    def origin_answers(self):
        """What nginx logged, in order: (bytes sent, bytes of the body, status, method, Range or '-')."""
        answers = []
        for line in self.access_log.read_text().splitlines():
            numbers, asked, _, request, _ = line.split('"')
            numbers = numbers.split()
            answers.append((int(numbers[0]), int(numbers[1]), int(numbers[2]), request.split()[0], asked))
        return answers

    def origin_bytes(self):
        """Bytes of answers that nginx sent, headers included, and the number of requests."""
        answers = self.origin_answers()
        return sum(answer[0] for answer in answers), len(answers)

    def start_scheduler(self, dynconfig=None, config=None):
        """`dynconfig`: contents of dynconfig.yaml, the settings of the scheduler's cluster. `config` is laid over the
        configuration that every scheduler gets."""
        port = free_port(SCHEDULER_IP)
        folder = self.place / 'd7ysched'
        folder.mkdir(parents=True, exist_ok=True)
        settings = {'server': {'listenIP': SCHEDULER_IP, 'advertiseIP': SCHEDULER_IP, 'port': port,
                               'dataDir': str(folder / 'data')}}
        path = folder / 'scheduler.yaml'
        path.write_text(json.dumps(laid_over(settings, config or {}), indent=2))
        if dynconfig:
            (folder / 'dynconfig.yaml').write_text(json.dumps(dynconfig, indent=2))
        self.processes.start('d7ysched', [self.tool('d7ysched'), '--config', path], self.logs / 'd7ysched.log')
        self.ready('d7ysched', f'{SCHEDULER_IP}:{port}', lambda: accepts(SCHEDULER_IP, port))
        self.scheduler = f'{SCHEDULER_IP}:{port}'

    def configure(self, peer):
        """Gives a peer folder, ports, socket and a configuration file; its folder may hold a store already."""
        peer.folder = self.place / peer.name
        peer.folder.mkdir(parents=True, exist_ok=True)
        peer.socket = self.sockets / f'{peer.name}.sock'
        ip = peer.ip
        if not peer.ports:
            peer.ports = {use: free_port(ip) for use in ('upload', 'piece', 'metrics', 'health', 'stats', 'proxy')}
        settings = {
            'host': {'hostname': peer.name, 'ip': ip},
            'scheduler': {'addrs': [self.scheduler] if self.scheduler else []},
            'download': {'server': {'socketPath': str(peer.socket)}},
            'upload': {'server': {'ip': ip, 'port': peer.ports['upload']}},
            'storage': {'dir': str(peer.folder / 'store'), 'server': {'ip': ip, 'tcpPort': peer.ports['piece']}},
            'metrics': {'server': {'ip': ip, 'port': peer.ports['metrics']}},
            'health': {'server': {'ip': ip, 'port': peer.ports['health']}},
            'stats': {'server': {'ip': ip, 'port': peer.ports['stats']}},
            'proxy': {'server': {'ip': ip, 'port': peer.ports['proxy']}},
        }
        if peer.seed:
            settings['seedPeer'] = {'enable': True, 'type': 'super'}
        # JSON is YAML.
        config = peer.folder / 'dfdaemon.yaml'
        config.write_text(json.dumps(laid_over(settings, peer.config), indent=2))
        return config

    def start_peer(self, peer, wait=True):
        config = self.configure(peer)
        self.processes.start(peer.name, [self.tool('d7yd'), '--config', config], self.logs / f'{peer.name}.log',
                             env={**os.environ, **peer.environment})
        self.peers[peer.name] = peer
        if wait:
            self.wait_for(peer)
        return peer

    def wait_for(self, peer):
        self.ready(peer.name, f'{peer.ip}:{peer.ports["health"]}', lambda: healthy(peer.ip, peer.ports['health']))

    def start_peers(self, peers):
        for peer in peers:
            self.start_peer(peer, wait=False)
        for peer in peers:
            self.wait_for(peer)
        return peers

    def stop_peer(self, peer, keep_store=False):
        if not self.processes.stop(peer.name):
            raise Failure(f'{peer.name} did not stop within 10 s of SIGTERM')
        del self.peers[peer.name]
        if not keep_store:
            shutil.rmtree(peer.folder / 'store', ignore_errors=True)

    def get_command(self, peer, url, output, *more):
        return [str(part) for part in (self.tool('d7yget'), url, '-O', output, '--overwrite', '--daemon', 'require',
                                       '--endpoint', peer.socket, '--no-progress', *more)]

    def download_everywhere(self, peers, url, patience=120):
        """All peers at once, into FOLDER/downloaded. Returns ({peer: d7yget's JSON}, seconds)."""
        gets = {}
        started = time.monotonic()
        for peer in peers:
            log = self.logs / f'd7yget-{peer.name}.log'
            with open(log, 'wb') as stderr:
                gets[peer.name] = self.processes.start(
                    f'd7yget {peer.name}',
                    self.get_command(peer, url, peer.folder / 'downloaded', '--timeout', f'{patience}s', '--json'),
                    stdout=subprocess.PIPE, stderr=stderr, text=True)
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
                log = self.logs / f'd7yget-{name}.log'
                raise Failure(f'd7yget of {name} ended with code {get.returncode} and said:\n{text}{tail(log)}\n'
                              f'  the end of {self.logs}/{name}.log:\n{tail(self.logs / f"{name}.log")}') from None
        return results, time.monotonic() - started
