"""Dragonfly's own programs as the tests run them, beside d7y's: dfdaemon and its commands, scheduler and manager in Go.

Their paths come from the environment; a test that needs one that is not named is skipped, and says so:

    D7Y_DFDAEMON      Dragonfly's client: the daemon
    D7Y_DFGET         Dragonfly's client: the command
    D7Y_DFCACHE       ... for files that are kept in several copies
    D7Y_DFCTL         ... that lists, preheats and removes tasks
    D7Y_GO_SCHEDULER  Dragonfly's scheduler
    D7Y_GO_MANAGER    Dragonfly's manager; before Debian's PostgreSQL and Redis
"""

import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import unittest

import rig

PROGRAMS = {'dfdaemon': 'D7Y_DFDAEMON', 'dfget': 'D7Y_DFGET', 'dfcache': 'D7Y_DFCACHE', 'dfctl': 'D7Y_DFCTL',
            'scheduler': 'D7Y_GO_SCHEDULER',
            'manager': 'D7Y_GO_MANAGER'}


def program(name):
    """The path of one of Dragonfly's programs, or None."""
    return os.environ.get(PROGRAMS[name]) or None


def needs(*names):
    """Skips a test case or test where the environment names no such programs."""
    missing = [PROGRAMS[name] for name in names if not program(name)]
    return unittest.skipIf(missing, f'{", ".join(missing)} not set: path of Dragonfly\'s own program')


def metric(process, name, **labels):
    """A metric of a process that has a metrics_port: the sum over all series with these labels."""
    process.metrics = lambda: rig.Daemon.metrics(process)
    return rig.Daemon.metric(process, name, **labels)


class RustDaemon(rig.Process):
    """A dfdaemon with its folder, ports and socket; as rig.Daemon, from the same configuration keys."""

    metrics = rig.Daemon.metrics
    metric = rig.Daemon.metric
    stop = rig.Daemon.stop

    def __init__(self, case, name, scheduler, extra='', wait=True, **settings):
        self.folder = case.folder / name
        self.folder.mkdir(exist_ok=True)
        self.socket = settings.get('socket', self.folder / 'd7yd.sock')
        self.store = settings.get('store', self.folder / 'store')
        self.ports = settings.get('ports') or [rig.free_port() for _ in range(4)]
        self.upload, self.piece, self.metrics_port, self.health = self.ports
        self.proxy = rig.free_port()
        here = '{ip: 127.0.0.1, port: %d}'
        tls = settings.get('tls')  # of Authority.files, as with rig.Daemon
        self.config = self.folder / 'dfdaemon.yaml'
        self.config.write_text(f'''host:
  hostname: {name}
  ip: {settings.get('announced', '127.0.0.1')}
scheduler:
  announceInterval: {settings.get('announce', '5s')}{rig.keys(tls, 2)}
seedPeer:
  enable: {str(bool(settings.get('seed'))).lower()}
dynconfig:
  refreshInterval: 5s
server:
  pluginDir: {self.folder / 'plugins'}
  cacheDir: {self.folder / 'cache'}
download:
  server:
    socketPath: {self.socket}
  protocol: {settings.get('protocol', 'tcp')}
upload:
  bandwidthLimit: {settings.get('uplink', '50GB')}
  server:
    ip: 127.0.0.1
    port: {self.upload}{rig.keys(tls, 4)}{rig.keys({'client': ''} if tls else {}, 2)}{rig.keys(tls, 4)}
storage:
  dir: {self.store}
  keep: {str(bool(settings.get('keep'))).lower()}
  server:
    ip: 127.0.0.1
    tcpPort: {self.piece}
    quicPort: {rig.free_port()}
health:
  server: {here % self.health}
metrics:
  server: {here % self.metrics_port}
stats:
  server: {here % rig.free_port()}
proxy:
  server: {here % self.proxy}
{extra}
''')
        addresses = ', '.join(f'"127.0.0.1:{port}"' for port in
                              (scheduler if isinstance(scheduler, (list, tuple)) else [scheduler]))
        self.dynconfig = self.folder / 'dynconfig.yaml'
        self.dynconfig.write_text(f'scheduler:\n  addrs: [{addresses}]\n')
        super().__init__(name, [program('dfdaemon'), '--config', self.config, '--dynconfig', self.dynconfig,
                                '--log-dir', self.folder / 'logs', '--console'],
                         self.folder / 'log', env=rig.clean_environment())
        case.processes.append(self)
        if wait:
            self.ready(lambda: rig.http_answers('127.0.0.1', self.health) and self.socket.exists()
                       and rig.accepts('127.0.0.1', self.upload) and rig.accepts('127.0.0.1', self.piece))


class Heir(rig.Process):
    """A d7yd in the place of a dfdaemon that has stopped: with its very files, ports, socket and store."""

    metrics = rig.Daemon.metrics
    metric = rig.Daemon.metric
    stop = rig.Daemon.stop
    kind = 'd7y'

    def __init__(self, case, former):
        self.socket, self.store = former.socket, former.store
        self.upload, self.piece, self.metrics_port, self.health = self.ports = former.ports
        # dfdaemon's listeners do not allow it to take their ports again while closed connections linger (60 s).
        rig.until(lambda: all(self.free(port) for port in self.ports), 'the ports are free again', 90)
        super().__init__(f'{former.name}-heir', [rig.tool('d7yd'), '--config', former.config,
                                                 '--dynconfig', former.dynconfig], former.folder / 'log-d7yd')
        case.processes.append(self)
        self.ready(lambda: rig.http_answers('127.0.0.1', self.health))

    @staticmethod
    def free(port):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(('127.0.0.1', port))
            except OSError:
                return False
        return True


class GoScheduler(rig.Process):
    """Dragonfly's scheduler without a manager; as rig.Scheduler. Before a Redis it has persistent tasks as well."""

    def __init__(self, case, name='scheduler', port=None, redis=False):
        self.port = port or rig.free_port()
        self.metrics_port = rig.free_port()
        folder = case.folder / name
        folder.mkdir(exist_ok=True)
        config = folder / 'scheduler.yaml'
        database = ''
        if redis:
            redis_port = rig.free_port()
            server = rig.Process('redis', ['redis-server', '--port', str(redis_port), '--bind', '127.0.0.1', '--save', '',
                                           '--dir', folder], folder / 'redis.log', env=rig.clean_environment())
            case.processes.append(server)
            server.ready(lambda: rig.accepts('127.0.0.1', redis_port))
            database = f'database: {{redis: {{addrs: ["127.0.0.1:{redis_port}"]}}}}'
        config.write_text(f'''server:
  advertiseIP: 127.0.0.1
  advertisePort: {self.port}
  listenIP: 127.0.0.1
  port: {self.port}
  host: {name}
  logDir: {folder / 'logs'}
  pluginDir: {folder / 'plugins'}
metrics:
  enable: true
  addr: 127.0.0.1:{self.metrics_port}
{database}
''')
        super().__init__(name, [program('scheduler'), '--config', config, '--dynconfig', folder / 'dynconfig.yaml',
                                '--console'], folder / 'log', env=rig.clean_environment())
        case.processes.append(self)
        self.ready(lambda: rig.accepts('127.0.0.1', self.port))

    metrics = rig.Daemon.metrics
    metric = rig.Daemon.metric


def outer_address():
    """This machine's address towards others; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(('192.0.2.1', 9))
        except OSError:
            raise unittest.SkipTest('needs a network interface beside loopback') from None
        return probe.getsockname()[0]


def postgresql(name):
    """The path of one of Debian's PostgreSQL's programs, or None."""
    found = sorted(pathlib.Path('/usr/lib/postgresql').glob(f'*/bin/{name}'))
    return found[-1] if found else None


class GoManager:
    """Dragonfly's manager with databases of its own, and what people do at its REST port."""

    def __init__(self, case):
        self.case = case
        self.folder = case.folder / 'manager'
        self.folder.mkdir()
        self.port, self.rest, self.database, self.redis = [rig.free_port() for _ in range(4)]
        self.start_databases()
        self.config = self.folder / 'manager.yaml'
        self.config.write_text(f'''server:
  logDir: {self.folder / 'logs'}
  pluginDir: {self.folder / 'plugins'}
  grpc:
    advertiseIP: 127.0.0.1
    listenIP: 127.0.0.1
    port: {{start: {self.port}, end: {self.port}}}
  rest:
    addr: 127.0.0.1:{self.rest}
auth:
  jwt: {{key: of-this-test-only}}
database:
  type: postgres
  postgres: {{user: d7y, password: none, host: 127.0.0.1, port: {self.database}, dbname: postgres}}
  redis:
    addrs: ["127.0.0.1:{self.redis}"]
cache:
  redis: {{ttl: 1s}}
  local: {{ttl: 1s}}
''')
        self.token = None
        self.start()

    def run(self, name, command, ready):
        process = rig.Process(name, command, self.folder / f'{name}.log', env=rig.clean_environment())
        self.case.processes.append(process)
        process.ready(ready)
        return process

    def start_databases(self):
        data = self.folder / 'database'
        data.mkdir()
        user = []
        if os.geteuid() == 0:  # which that server does not run as
            user = ['setpriv', '--reuid=postgres', '--regid=postgres', '--clear-groups']
            shutil.chown(data, 'postgres', 'postgres')
        subprocess.run([*user, postgresql('initdb'), '--pgdata', data, '--username', 'd7y', '--auth', 'trust', '--no-sync'],
                       check=True, capture_output=True)
        self.run('postgres', [*user, postgresql('postgres'), '-D', data, '-p', str(self.database), '-h', '127.0.0.1',
                              '-k', data, '-F'], self.database_answers)
        self.run('redis', ['redis-server', '--port', str(self.redis), '--bind', '127.0.0.1', '--save', '',
                           '--dir', self.folder], lambda: rig.accepts('127.0.0.1', self.redis))

    def database_answers(self):
        return subprocess.run([postgresql('pg_isready'), '-q', '-h', '127.0.0.1', '-p', str(self.database)]).returncode == 0

    def start(self):
        self.process = self.run('manager', [program('manager'), '--config', self.config, '--console'],
                                lambda: rig.accepts('127.0.0.1', self.port) and rig.accepts('127.0.0.1', self.rest))

    def ask(self, method, path, body=None):
        """What the REST interface answers, to its first user."""
        if self.token is None and path != '/users/signin':
            self.token = self.ask('POST', '/users/signin', {'name': 'root', 'password': 'dragonfly'})['token']
        connection = http.client.HTTPConnection('127.0.0.1', self.rest, timeout=60)
        try:
            headers = {'Content-Type': 'application/json'}
            if self.token is not None:
                headers['Authorization'] = f'Bearer {self.token}'
            connection.request(method, f'/api/v1{path}', None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            text = answer.read().decode()
        finally:
            connection.close()
        assert answer.status == 200, f'{method} {path}: {answer.status} {text}'
        return json.loads(text)

    def job(self, kind, **arguments):
        """Its result, when it has ended well."""
        job = self.ask('POST', '/jobs', {'type': kind, 'args': arguments, 'scheduler_cluster_ids': [1]})

        def ended():
            now = self.ask('GET', f'/jobs/{job["id"]}')
            return now if now['state'] in ('SUCCESS', 'FAILURE') else None
        ended = rig.until(ended, f'the job {kind} has ended')
        assert ended['state'] == 'SUCCESS', ended
        return ended['result']['job_states']


class Case(rig.Case):
    """Clusters of both kinds: `peer('rust', ...)` and `peer('d7y', ...)`, and downloads with either command."""

    def peer(self, kind, name, scheduler, **settings):
        if kind == 'rust':
            daemon = RustDaemon(self, name, scheduler.port, **settings)
        else:
            daemon = rig.Daemon(self, name, scheduler=scheduler.port, **settings)
        daemon.kind = kind
        return daemon

    def command(self, name, *arguments, code=0):
        """What one of Dragonfly's commands prints."""
        done = subprocess.run([program(name), *map(str, arguments)], capture_output=True, timeout=120, cwd=self.folder,
                              env=rig.clean_environment())
        said = (done.stdout + done.stderr).decode(errors='replace')
        self.assertEqual(done.returncode, code, f'{name} {arguments}: {said}')
        return said

    def start_dfget(self, *arguments, daemon):
        process = subprocess.Popen([program('dfget'), *map(str, arguments), '--endpoint', str(daemon.socket),
                                    '--no-progress'], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, cwd=self.folder, env=rig.clean_environment(),
                                   preexec_fn=rig.end_with_parent)
        self.addCleanup(self.reap, process)
        return process

    def begin(self, peer, url, out, *more):
        """Starts the command that belongs to the peer's kind."""
        if peer.kind == 'rust':
            return self.start_dfget(url, '-O', self.path(out), *more, daemon=peer)
        return self.start_get(url, '-O', out, '--json', '--timeout', '170s', '--daemon', 'require', *more, daemon=peer)

    def all_get(self, peers, url, content, label):
        """Every one of `peers` downloads at once, and gets `content`."""
        running = [(peer, f'out-{label}-{peer.name}', self.begin(peer, url, f'out-{label}-{peer.name}'))
                   for peer in peers]
        self.all_end(running, content)

    def all_end(self, running, content):
        for peer, out, process in running:
            got = self.finish(process, 200)
            self.assertEqual(got.code, 0, f'{peer.name}: {got}')
            self.same(self.path(out), content)

    def read_of(self, path):
        """Bytes that the origin sent of a file, without the one byte by which each dfdaemon asks for its length."""
        resource = self.origin[path]
        return resource.sent - sum(asked == 'bytes=0-0' and len(resource.content) > 1 for _, asked, _ in resource.requests)

    def ends_clean(self, daemon, seconds=20):
        daemon.signal(signal.SIGTERM)
        self.assertEqual(daemon.wait(seconds), 0, daemon.name)
