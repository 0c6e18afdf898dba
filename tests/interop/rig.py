"""What the tests of the tools stand on: an origin that misbehaves on demand, daemons, schedulers, d7yget.

    class Test(rig.Case):
        def test_a_file_arrives(self):
            url = self.origin.add('/file', os.urandom(1 << 20))
            self.get(url, '-O', self.path('out'), ok=True)

Everything lives in a folder of its own and on free ports, and is stopped when the test case ends. Conditions are
waited for, with a deadline; nothing sleeps and hopes. Run with the build folder as argument:

    tests/interop/d7yget_test.py build-dev [Test.test_name]
"""

import contextlib
import ctypes
import fcntl
import functools
import hashlib
import http.client
import http.server
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
import unittest

MIB = 1 << 20
BUILD = pathlib.Path('.')
PATIENCE = 60.0  # seconds until a condition counts as never met; the machine may be busy


def main():
    """Runs the calling file's test cases with the tools of the build folder that the command line names."""
    global BUILD
    if len(sys.argv) < 2:
        sys.exit(f'usage: {sys.argv[0]} BUILD_FOLDER [Class.test ...]')
    # The file that imports this module as `rig` and this one must share BUILD.
    sys.modules['rig'].BUILD = pathlib.Path(sys.argv.pop(1)).resolve()
    unittest.main(verbosity=2)


def tool(name):
    return str(BUILD / 'tools' / name / name)


@functools.cache
def sanitized():
    """Whether the tools are built with a sanitizer: it keeps freed memory, so resident sizes say nothing."""
    content = pathlib.Path(tool('d7yget')).read_bytes()
    return b'__asan_' in content or b'__tsan_' in content


def until(condition, what, seconds=None):
    """Waits for `condition()` to be true and returns what it returned."""
    deadline = time.monotonic() + (seconds or PATIENCE)
    while True:
        got = condition()
        if got:
            return got
        if time.monotonic() > deadline:
            raise AssertionError(f'waited in vain until {what}')
        time.sleep(0.01)


_given = set()


def free_port(ip='127.0.0.1'):
    while True:
        with socket.socket() as probe:
            probe.bind((ip, 0))
            port = probe.getsockname()[1]
        if port not in _given:
            _given.add(port)
            return port


def sha256(data):
    if isinstance(data, (str, os.PathLike)):
        data = pathlib.Path(data).read_bytes()
    return hashlib.sha256(data).hexdigest()


def end_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


# ---- the origin ------------------------------------------------------------------------------------------------


class Authority:
    """A certificate authority of its own, with openssl; certificates are files in PEM."""

    def __init__(self, folder, name):
        self.folder, self.name = folder, name
        self.certificate, self.key = folder / f'{name}.pem', folder / f'{name}.key'
        self.openssl('req', '-x509', *self.new_key(self.key), '-days', '2', '-subj', f'/CN={name}',
                     '-out', self.certificate)

    def issue(self, *hosts):
        """(certificate, key) for these names and addresses."""
        stem = self.folder / f'{self.name}-{hosts[0]}'
        names = ','.join(f'{"IP" if host[0].isdigit() else "DNS"}:{host}' for host in hosts)
        self.openssl('req', '-new', *self.new_key(f'{stem}.key'), '-subj', f'/CN={hosts[0]}', '-out', f'{stem}.csr')
        pathlib.Path(f'{stem}.ext').write_text(f'subjectAltName={names}\n')
        self.openssl('x509', '-req', '-in', f'{stem}.csr', '-CA', self.certificate, '-CAkey', self.key, '-CAcreateserial',
                     '-days', '2', '-extfile', f'{stem}.ext', '-out', f'{stem}.pem')
        return f'{stem}.pem', f'{stem}.key'

    def files(self, *hosts):
        """The same as the configuration files of d7yd and d7ysched name them, with the authority."""
        certificate, key = self.issue(*hosts)
        return {'caCert': self.certificate, 'cert': certificate, 'key': key}

    @staticmethod
    def new_key(path):
        return '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-keyout', path

    @staticmethod
    def openssl(*arguments):
        subprocess.run(['openssl', *map(str, arguments)], check=True, capture_output=True)


class Resource:
    def __init__(self, content, **manner):
        self.content = content
        self.status = manner.get('status', 200)
        self.headers = manner.get('headers', {})
        self.ranges = manner.get('ranges', True)
        self.length = manner.get('length', True)
        self.rate = manner.get('rate', 0)        # bytes per second of each answer; 0: as fast as it goes
        self.break_after = manner.get('break_after')  # bytes of each answer's body before a reset
        self.silent = manner.get('silent', False)  # takes requests and never answers
        self.fail_first = manner.get('fail_first', 0)  # so many requests get `fail_status`
        self.fail_status = manner.get('fail_status', 503)
        self.hold_after = manner.get('hold_after')  # bytes sent in all before answers stop until release()
        self.sent = 0       # bytes of bodies
        self.requests = []  # (method, Range, headers)
        self.open = threading.Event()
        self.etag = '"' + hashlib.sha256(content).hexdigest()[:16] + '"'

    def release(self):
        self.open.set()


class Origin:
    """An HTTP server in this process that does what each resource says."""

    def __init__(self, certificate=None, ip='127.0.0.1', port=0):
        origin = self
        self.ip = ip
        self.resources = {}
        self.lock = threading.Lock()
        self.stopping = threading.Event()
        self.at_once, self.under_way = 0, 0  # answers; beyond `at_once` it is 503, 0: no limit

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = 'HTTP/1.1'

            def log_message(self, *_):
                pass

            def do_GET(self):
                origin.answer(self)

            do_HEAD = do_GET

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, *_):
                pass  # clients that hang up are part of the tests

        self.server = Server((ip, port), Handler)
        self.scheme = 'http'
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
            self.scheme = 'https'
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()

    def add(self, path, content, **manner):
        self.resources[path] = Resource(content, **manner)
        return self.url(path)

    def url(self, path):
        return f'{self.scheme}://{self.ip}:{self.port}{path}'

    def __getitem__(self, path):
        return self.resources[path]

    def answer(self, handler):
        with self.lock:
            self.under_way += 1
            too_many = 0 < self.at_once < self.under_way
        try:
            return self.short(handler, 503) if too_many else self.answer_alone(handler)
        finally:
            with self.lock:
                self.under_way -= 1

    def answer_alone(self, handler):
        resource = self.resources.get(handler.path.partition('?')[0])
        asked = handler.headers.get('Range')
        if resource is None:
            return self.short(handler, 404)
        with self.lock:
            resource.requests.append((handler.command, asked, dict(handler.headers.items())))
            failing = len(resource.requests) <= resource.fail_first
        if resource.silent:
            while not self.stopping.wait(0.05) and not resource.open.is_set():
                pass
            handler.close_connection = True
            return None
        if failing:
            return self.short(handler, resource.fail_status, resource.headers)
        if resource.status != 200:
            return self.short(handler, resource.status, resource.headers)
        first, last = 0, len(resource.content) - 1
        match = re.fullmatch(r'bytes=(\d*)-(\d*)', asked or '')
        ranged = bool(match) and resource.ranges
        if ranged:
            if match[1]:
                first = int(match[1])
                last = min(last, int(match[2])) if match[2] else last
            else:
                first = max(0, len(resource.content) - int(match[2]))
            if first >= len(resource.content):
                return self.short(handler, 416, {'Content-Range': f'bytes */{len(resource.content)}'})
        body = memoryview(resource.content)[first:last + 1]
        handler.send_response(206 if ranged else 200)
        if ranged:
            handler.send_header('Content-Range', f'bytes {first}-{last}/{len(resource.content)}')
        if resource.ranges:
            handler.send_header('Accept-Ranges', 'bytes')
        handler.send_header('ETag', resource.etag)
        for name, value in resource.headers.items():
            handler.send_header(name, value)
        if resource.length:
            handler.send_header('Content-Length', str(len(body)))
        else:
            handler.send_header('Connection', 'close')
            handler.close_connection = True
        handler.end_headers()
        if handler.command != 'HEAD':
            self.send(handler, resource, body)
        return None

    def send(self, handler, resource, body):
        step = 64 << 10
        if resource.rate:
            step = max(1024, resource.rate // 50)
        sent, began = 0, time.monotonic()
        while sent < len(body):
            part = body[sent:sent + step]
            if resource.break_after is not None:
                part = part[:resource.break_after - sent]
                if not part:
                    handler.wfile.flush()
                    self.delivered(handler.connection)
                    linger = struct.pack('ii', 1, 0)
                    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                    handler.close_connection = True
                    handler.connection.close()
                    return
            while resource.hold_after is not None and not resource.open.is_set():
                with self.lock:
                    if resource.sent < resource.hold_after:
                        break
                if self.stopping.is_set():
                    return
                resource.open.wait(0.02)
            handler.wfile.write(part)
            sent += len(part)
            with self.lock:
                resource.sent += len(part)
            if resource.rate:
                ahead = sent / resource.rate - (time.monotonic() - began)
                if ahead > 0:
                    self.stopping.wait(ahead)

    def delivered(self, connection):
        """Waits until the other side has all that was sent: a reset throws away what still lies here."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            waiting = fcntl.ioctl(connection, termios.TIOCOUTQ, b'\0' * 4)
            if struct.unpack('i', waiting)[0] == 0:
                return
            self.stopping.wait(0.005)

    @staticmethod
    def short(handler, status, headers=None):
        body = b'no\n'
        handler.send_response(status)
        for name, value in (headers or {}).items():
            handler.send_header(name, value)
        handler.send_header('Content-Length', str(len(body)))
        handler.end_headers()
        if handler.command != 'HEAD':
            handler.wfile.write(body)

    def stop(self):
        self.stopping.set()
        self.server.shutdown()
        self.server.server_close()


# ---- processes -------------------------------------------------------------------------------------------------


class Process:
    """A program with its output in a file."""

    ip = '127.0.0.1'  # where it shows its metrics, if it does

    def __init__(self, name, command, log, **options):
        self.name, self.log = name, pathlib.Path(log)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with open(self.log, 'ab') as out:
            self.popen = subprocess.Popen([str(part) for part in command], stdin=subprocess.DEVNULL, stdout=out,
                                          stderr=subprocess.STDOUT, preexec_fn=end_with_parent, **options)

    @property
    def pid(self):
        return self.popen.pid

    def output(self):
        return self.log.read_text(errors='replace')

    def signal(self, number):
        self.popen.send_signal(number)

    def kill(self):
        if self.popen.poll() is None:
            self.popen.kill()
        return self.popen.wait()

    def wait(self, seconds=None):
        return self.popen.wait(seconds or PATIENCE)

    def ready(self, answered):
        def check():
            if self.popen.poll() is not None:
                raise AssertionError(f'{self.name} ended with {self.popen.returncode}:\n{self.output()}')
            return answered()
        try:
            until(check, f'{self.name} answers')
        except AssertionError as reason:
            raise AssertionError(f'{reason}\n{self.output()}') from None
        return self


def http_answers(ip, port, path='/healthy'):
    connection = http.client.HTTPConnection(ip, port, timeout=2)
    try:
        connection.request('GET', path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def page(ip, port, path='/metrics'):
    connection = http.client.HTTPConnection(ip, port, timeout=10)
    try:
        connection.request('GET', path)
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def accepts(ip, port):
    try:
        with socket.create_connection((ip, port), timeout=2):
            return True
    except OSError:
        return False


def keys(values, indent):
    """Lines of YAML that follow another line."""
    return ''.join(f'\n{" " * indent}{key}: {value}' for key, value in (values or {}).items())


class Daemon(Process):
    """A d7yd with its folder, ports and socket."""

    def __init__(self, case, name, extra='', arguments=(), wait=True, **settings):
        self.folder = case.folder / name
        self.folder.mkdir(exist_ok=True)
        self.settings = settings
        self.socket = settings.get('socket', self.folder / 'd7yd.sock')
        self.store = settings.get('store', self.folder / 'store')
        ports = settings.get('ports') or [free_port() for _ in range(5)]
        self.ports = ports
        self.upload, self.piece, self.metrics_port, self.health, self.proxy = ports
        scheduler = settings.get('scheduler')  # a port of this machine, or "ip:port"
        if isinstance(scheduler, int):
            scheduler = f'127.0.0.1:{scheduler}'
        self.ip = settings.get('ip', '127.0.0.1')
        tls = settings.get('tls')  # of Authority.files: mutual TLS to schedulers and among peers
        config = self.folder / 'dfdaemon.yaml'
        config.write_text(f'''host:
  hostname: {name}
  ip: {self.ip}
scheduler:
  addrs: [{f'"{scheduler}"' if scheduler else ''}]
  announceInterval: {settings.get('announce', '5s')}{keys(tls, 2)}
seedPeer:
  enable: {str(bool(settings.get('seed'))).lower()}
download:
  server:
    socketPath: {self.socket}
  {settings.get('download', '')}
upload:
  bandwidthLimit: {settings.get('uplink', '50GB')}
  server:
    port: {self.upload}{keys(tls, 4)}{keys({'client': ''} if tls else {}, 2)}{keys(tls, 4)}
storage:
  dir: {self.store}
  keep: {str(bool(settings.get('keep'))).lower()}
  server:
    tcpPort: {self.piece}
health:
  server:
    ip: {self.ip}
    port: {self.health}
metrics:
  server:
    ip: {self.ip}
    port: {self.metrics_port}
proxy:
  server:
    ip: 127.0.0.1
    port: {self.proxy}
  {settings.get('proxy', '')}
{extra}
''')
        self.config = config
        super().__init__(name, [*settings.get('prefix', ()), tool('d7yd'), '--config', config, *arguments],
                         self.folder / 'log', env=settings.get('env'))
        case.processes.append(self)
        if wait:
            self.ready(lambda: http_answers(self.ip, self.health))

    def metrics(self):
        connection = http.client.HTTPConnection(self.ip, self.metrics_port, timeout=10)
        try:
            connection.request('GET', '/metrics')
            lines = connection.getresponse().read().decode().splitlines()
        finally:
            connection.close()
        return {line.rpartition(' ')[0]: float(line.rpartition(' ')[2])
                for line in lines if line and not line.startswith('#')}

    def metric(self, name, **labels):
        """The sum of a metric's values over all series that have these labels."""
        total = 0.0
        for key, value in self.metrics().items():
            if key.partition('{')[0] == name and all(f'{k}="{v}"' in key for k, v in labels.items()):
                total += value
        return total

    def stop(self, seconds=None):
        self.signal(signal.SIGTERM)
        return self.wait(seconds)


class Scheduler(Process):
    def __init__(self, case, name='d7ysched', port=None, data=None, arguments=(), ip='127.0.0.1'):
        """`data`: folder of what outlives a restart; none without it."""
        self.port, self.ip = port or free_port(), ip
        if data:
            config = case.folder / f'{name}.yaml'
            config.write_text(f'server:\n  dataDir: {data}\n')
            arguments = ('--config', config, *arguments)
        super().__init__(name, [tool('d7ysched'), '--listen', f'{ip}:{self.port}', *arguments],
                         case.folder / f'{name}.log')
        case.processes.append(self)
        self.ready(lambda: accepts(ip, self.port))


class Got:
    """How a d7yget ended."""

    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err

    @property
    def json(self):
        return [json.loads(line) for line in self.out.decode().splitlines()]

    def __str__(self):
        return f'exit status {self.code}\nstdout: {self.out[:2000]!r}\nstderr: {self.err.decode(errors="replace")}'


def clean_environment(**more):
    env = {name: value for name, value in os.environ.items()
           if not name.startswith('DFGET_') and name.lower() not in ('http_proxy', 'https_proxy', 'all_proxy', 'no_proxy')}
    env.update(more)
    return env


class Case(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix='d7y-', dir=os.environ.get('D7Y_TEST_FOLDER')))
        os.chmod(self.folder, 0o755)
        self.processes = []
        self.origins = []
        self.origin = self.new_origin()
        self.no_socket = self.folder / 'no-daemon.sock'

    def new_origin(self, **options):
        origin = Origin(**options)
        self.origins.append(origin)
        return origin

    def tearDown(self):
        for origin in self.origins:
            origin.stop()
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError):
                process.signal(signal.SIGCONT)
        for process in self.processes:
            process.kill()
        outcome = self._outcome
        bad = any(error for _, error in getattr(outcome, 'errors', [])) or \
            any(test is self for test, _ in getattr(outcome.result, 'failures', []) +
                getattr(outcome.result, 'errors', []))
        if bad:
            for process in self.processes:
                print(f'--- {process.name}\n{process.output()[-4000:]}', file=sys.stderr)
        shutil.rmtree(self.folder, ignore_errors=True)

    def path(self, name):
        return str(self.folder / name)

    def start_get(self, *arguments, daemon=None, cwd=None, env=None, prefix=(), **options):
        """Starts d7yget; without `daemon` there is none."""
        command = [*prefix, tool('d7yget'), '--endpoint', str(daemon.socket if daemon else self.no_socket),
                   *map(str, arguments)]
        options.setdefault('stdout', subprocess.PIPE)
        options.setdefault('stderr', subprocess.PIPE)
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, cwd=cwd or self.folder,
                                   env=clean_environment(**(env or {})), preexec_fn=end_with_parent, **options)
        self.addCleanup(self.reap, process)
        return process

    @staticmethod
    def reap(process):
        if process.poll() is None:
            process.kill()
        process.wait()
        for stream in (process.stdout, process.stderr):
            if stream:
                stream.close()

    def finish(self, process, seconds=None):
        out, err = process.communicate(timeout=seconds or 2 * PATIENCE)
        return Got(process.returncode, out or b'', err or b'')

    def get(self, *arguments, code=None, says=None, **options):
        """Runs d7yget to its end; checks exit status and, as a regular expression, what it says on stderr."""
        got = self.finish(self.start_get(*arguments, **options))
        if code is not None:
            self.assertEqual(got.code, code, str(got))
        if says is not None:
            self.assertRegex(got.err.decode(errors='replace'), says)
        return got

    def same(self, path, content):
        self.assertTrue(os.path.exists(path), f'{path} is not there')
        data = pathlib.Path(path).read_bytes()
        self.assertEqual(len(data), len(content))
        self.assertEqual(sha256(data), sha256(content))

    def nothing_at(self, path):
        """Neither the output nor a half-written one beside it."""
        folder, name = os.path.split(path)
        left = [entry for entry in os.listdir(folder) if name in entry] if os.path.isdir(folder) else []
        self.assertEqual(left, [])
