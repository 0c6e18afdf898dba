#!/usr/bin/env python3
"""Real programs through d7yd as their http_proxy and https_proxy: git-lfs, pip, npm, Chromium.

    tests/interop/forward_test.py build-dev [Forward.test_name]

Two https origins of this program: of packages.test d7yd opens the tunnels, of blind.test it does not. Names are given in
a mount namespace, hence root. npm and Chromium are not among what .ci/dependencies installs, because they are large;
their tests run where they are there.
"""

import base64
import ctypes
import hashlib
import http.server
import json
import os
import pathlib
import re
import shutil
import ssl
import subprocess
import tarfile
import tempfile
import threading
import unittest
import zipfile

import image_case
import rig
from image_case import MIB, missing_programs

ORIGIN_IP = '127.0.0.20'


def setUpModule():
    image_case.needs('git', 'git-lfs', 'openssl')
    name_hosts('packages.test', 'blind.test')


def name_hosts(*names):
    """Gives this process, and what it starts, names of its own, in a mount namespace of its own."""
    new_mounts, recursive, private, bind = 0x20000, 0x4000, 0x40000, 0x1000
    libc = ctypes.CDLL(None, use_errno=True)
    text = pathlib.Path('/etc/hosts').read_text() + ''.join(f'{ORIGIN_IP} {name}\n' for name in names)
    with tempfile.NamedTemporaryFile('w') as file:  # what is mounted outlives its name
        os.chmod(file.name, 0o644)
        file.write(text)
        file.flush()
        if libc.unshare(new_mounts) or libc.mount(b'none', b'/', None, recursive | private, None) or \
                libc.mount(file.name.encode(), b'/etc/hosts', None, bind, None):
            raise unittest.SkipTest(f'no mount namespace: {os.strerror(ctypes.get_errno())}')


def needs(*names):
    return unittest.skipIf(missing_programs(names), f'{", ".join(names)}: not installed here')


class Origin:
    """Files by path, over http or https. A file may be a function of the request's body."""

    def __init__(self, name, certificate=None):
        self.files, self.requests, self.lock = {}, [], threading.Lock()
        origin = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = 'HTTP/1.1'
            disable_nagle_algorithm = True

            def do_GET(self):
                origin.answer(self)

            do_HEAD = do_POST = do_GET

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_):
                pass

        self.server = Server((ORIGIN_IP, 0), Handler)
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            # Shaken hands in the connection's thread, not in the one that accepts.
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        self.authority = f'{name}:{self.server.server_address[1]}'
        self.url = f'{"https" if certificate else "http"}://{self.authority}'
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()

    def add(self, path, content, kind='application/octet-stream'):
        self.files[path] = (content, kind)
        return self.url + path

    def sent(self, path):
        return sum(count for method, asked, count in self.requests if method == 'GET' and asked == path)

    def answer(self, request):
        path = request.path.partition('?')[0]
        body = request.rfile.read(int(request.headers.get('Content-Length', 0)))
        content, kind = self.files.get(path, (b'no', 'text/plain'))
        status = 200 if path in self.files else 404
        if callable(content):
            content = content(body)
        size = len(content)
        asked = re.fullmatch(r'bytes=(\d+)-(\d*)', request.headers.get('Range', ''))
        if asked and status == 200 and int(asked[1]) < size:
            status, content = 206, content[int(asked[1]):int(asked[2] or size - 1) + 1]
        request.send_response(status)
        request.send_header('Content-Type', kind)
        request.send_header('Accept-Ranges', 'bytes')
        if status == 206:
            request.send_header('Content-Range', f'bytes {asked[1]}-{int(asked[1]) + len(content) - 1}/{size}')
        request.send_header('Content-Length', str(len(content)))
        request.end_headers()
        sent = 0
        if request.command != 'HEAD':
            request.wfile.write(content)
            sent = len(content)
        with self.lock:
            self.requests.append((request.command, path, sent))


class Forward(image_case.Case):
    @classmethod
    def setUpClass(cls):
        folder = pathlib.Path(tempfile.mkdtemp(prefix='d7y-'))
        cls.addClassCleanup(shutil.rmtree, folder, ignore_errors=True)
        cls.ours, cls.theirs = rig.Authority(folder, 'd7yd'), rig.Authority(folder, 'origins')
        cls.plain = Origin('packages.test')
        cls.opened = Origin('packages.test', cls.theirs.issue('packages.test'))
        cls.blind = Origin('blind.test', cls.theirs.issue('blind.test'))
        for origin in (cls.plain, cls.opened, cls.blind):
            cls.addClassCleanup(origin.stop)
        cls.CONFIG = {'proxy': {
            'server': {'caCert': str(cls.ours.certificate), 'caKey': str(cls.ours.key), 'intercept': [r'//packages\.test[:/]']},
            'rules': [{'regex': r'\.whl$|\.tgz$|/objects/|/files/'}],
            'registryMirror': {'cert': str(cls.theirs.certificate)}}}
        super().setUpClass()
        # Clients trust both: which one they see depends on the host.
        cls.trusted = folder / 'trusted.pem'
        cls.trusted.write_text(cls.ours.certificate.read_text() + cls.theirs.certificate.read_text())

    def proxy_env(self, peer=0, **more):
        """The proxy, and nothing of the user's: authorities named there would win over those that a test names."""
        proxy = f'http://{self.proxy(peer)}'
        names = ('http_proxy', 'https_proxy', 'HTTP_PROXY', 'HTTPS_PROXY')
        return {'PATH': os.environ['PATH'], 'HOME': str(self.home()), 'LC_ALL': 'C.UTF-8', **dict.fromkeys(names, proxy), **more}

    def home(self):
        folder = self.place / f'home-{self.name()}'
        folder.mkdir(exist_ok=True)
        return folder

    def logged(self, text, via):
        return [line for line in self.access_log() if text in line and f'via={via}' in line]

    # ---- git-lfs

    def lfs(self, origin):
        content = os.urandom(5 * MIB + 17)
        name = hashlib.sha256(content).hexdigest()
        where = origin.add(f'/{self.name()}/objects/{name}', content)

        def batch(body):
            wanted = json.loads(body)['objects']
            return json.dumps({'transfer': 'basic', 'objects': [
                {**each, 'authenticated': True, 'actions': {'download': {'href': where}}} for each in wanted]}).encode()
        origin.add(f'/{self.name()}/objects/batch', batch, 'application/vnd.git-lfs+json')
        # A repository with the object's pointer, as a push would have left it.
        env = {'HOME': str(self.home()), 'GIT_CONFIG_NOSYSTEM': '1'}
        work = self.place / f'lfs-{self.name()}'
        git = ['git', '-c', 'user.name=n', '-c', 'user.email=e@example.org', '-C', work]
        self.run_tool('git', 'init', '-q', work, env=env)
        (work / '.gitattributes').write_text('*.bin filter=lfs diff=lfs merge=lfs -text\n')
        (work / 'big.bin').write_text(f'version https://git-lfs.github.com/spec/v1\noid sha256:{name}\nsize {len(content)}\n')
        self.run_tool(*git, 'add', '.', env=env)
        self.run_tool(*git, 'commit', '-qm', 'pointer', env=env)
        settings = ['-c', f'lfs.url={origin.url}/{self.name()}', '-c', f'http.sslCAInfo={self.trusted}']
        for peer in range(2):
            shutil.rmtree(work / '.git' / 'lfs', ignore_errors=True)
            self.run_tool(*git, *settings, 'lfs', 'fetch', env=self.proxy_env(peer, GIT_CONFIG_NOSYSTEM='1'), clean=True)
            stored = work / '.git' / 'lfs' / 'objects' / name[:2] / name[2:4] / name
            self.assertEqual(stored.read_bytes(), content)
        return len(content), f'/{self.name()}/objects/{name}'

    def test_git_lfs_by_http(self):
        size, path = self.lfs(self.plain)
        self.assertEqual(self.plain.sent(path), size)
        self.assertTrue(self.logged(path, 'task'))

    def test_git_lfs_by_https_through_opened_tunnels(self):
        size, path = self.lfs(self.opened)
        self.assertEqual(self.opened.sent(path), size)
        self.assertTrue(self.logged(path, 'task'))

    def test_git_lfs_by_https_through_blind_tunnels(self):
        size, path = self.lfs(self.blind)
        self.assertEqual(self.blind.sent(path), 2 * size)
        self.assertTrue(self.logged(self.blind.authority, 'tunnel'))

    # ---- pip

    def test_pip_takes_wheels_from_the_swarm(self):
        if subprocess.run(['/usr/bin/python3', '-m', 'pip', '--version'], capture_output=True, check=False).returncode:
            self.skipTest('no python3-pip; run .ci/dependencies check')
        wheel = self.place / 'demo_wheel-1.0-py3-none-any.whl'
        with zipfile.ZipFile(wheel, 'w') as archive:
            archive.writestr('demo_wheel/data', os.urandom(5 * MIB))
            archive.writestr('demo_wheel/__init__.py', '')
            about = 'demo_wheel-1.0.dist-info'
            archive.writestr(f'{about}/METADATA', 'Metadata-Version: 2.1\nName: demo-wheel\nVersion: 1.0\n')
            archive.writestr(f'{about}/WHEEL', 'Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n')
            archive.writestr(f'{about}/RECORD', f'demo_wheel/data,,\ndemo_wheel/__init__.py,,\n{about}/METADATA,,\n'
                                                f'{about}/WHEEL,,\n{about}/RECORD,,\n')
        content = wheel.read_bytes()
        self.opened.add(f'/wheels/{wheel.name}', content)
        link = f'<a href="/wheels/{wheel.name}#sha256={hashlib.sha256(content).hexdigest()}">{wheel.name}</a>'
        self.opened.add('/simple/demo-wheel/', f'<!DOCTYPE html><html><body>{link}</body></html>'.encode(), 'text/html')
        for peer in range(2):
            into = self.place / f'pip-{peer}'
            self.run_tool('/usr/bin/python3', '-m', 'pip', '--no-cache-dir', '--disable-pip-version-check', '--cert', self.trusted,
                          'install', '--quiet', '--root-user-action=ignore', '--index-url', f'{self.opened.url}/simple/',
                          '--target', into, 'demo-wheel', env=self.proxy_env(peer, PIP_CONFIG_FILE='/dev/null'), clean=True)
            self.assertEqual((into / 'demo_wheel' / 'data').stat().st_size, 5 * MIB)
        self.assertEqual(self.opened.sent(f'/wheels/{wheel.name}'), len(content))
        self.assertTrue(self.logged(f'/wheels/{wheel.name}', 'task'))
        self.assertTrue(self.logged('/simple/demo-wheel/', 'origin'))

    # ---- npm

    @needs('npm')
    def test_npm_takes_packages_from_the_swarm(self):
        source = self.place / 'npm-source'
        source.mkdir()
        (source / 'package.json').write_text('{"name": "demo-package", "version": "1.0.0"}')
        (source / 'data').write_bytes(os.urandom(5 * MIB))
        archive = self.place / 'demo-package-1.0.0.tgz'
        with tarfile.open(archive, 'w:gz', compresslevel=1) as tar:
            tar.add(source, 'package')
        content = archive.read_bytes()
        path = f'/demo-package/-/{archive.name}'
        where = self.opened.add(path, content)
        integrity = 'sha512-' + base64.b64encode(hashlib.sha512(content).digest()).decode()
        about = {'name': 'demo-package', 'dist-tags': {'latest': '1.0.0'}, 'versions': {'1.0.0': {
            'name': 'demo-package', 'version': '1.0.0', 'dist': {'tarball': where, 'integrity': integrity}}}}
        self.opened.add('/demo-package', json.dumps(about).encode(), 'application/json')
        for peer in range(2):
            into = self.place / f'npm-{peer}'
            into.mkdir()
            proxy = f'http://{self.proxy(peer)}'
            self.run_tool('npm', 'install', '--no-audit', '--no-fund', '--no-update-notifier', '--cache', into / 'cache',
                          '--registry', self.opened.url, '--cafile', self.trusted, '--proxy', proxy, '--https-proxy', proxy,
                          '--noproxy', '', 'demo-package', cwd=into, env=self.proxy_env(peer), clean=True)
            self.assertEqual((into / 'node_modules' / 'demo-package' / 'data').read_bytes(), (source / 'data').read_bytes())
        self.assertEqual(self.opened.sent(path), len(content))
        self.assertTrue(self.logged(path, 'task'))

    # ---- curl

    def test_curl_speaks_http2_inside_of_opened_tunnels(self):
        contents = [os.urandom(5 * MIB + number) for number in range(4)]
        urls = [self.opened.add(f'/files/h2-{number}', content) for number, content in enumerate(contents)]
        for peer in range(2):
            into = self.place / f'curl-{peer}'
            into.mkdir()
            outputs = [part for number, url in enumerate(urls) for part in ('-o', into / str(number), url)]
            said = self.run_tool('curl', '-sS', '--fail', '--http2', '--parallel', '--cacert', self.trusted, '-w', '%{http_version} ',
                                 *outputs, env=self.proxy_env(peer), clean=True)
            self.assertEqual(said.split(), ['2'] * len(urls))
            for number, content in enumerate(contents):
                self.assertEqual((into / str(number)).read_bytes(), content)
        for url, content in zip(urls, contents):
            path = url[len(self.opened.url):]
            self.assertEqual(self.opened.sent(path), len(content))
            self.assertTrue(self.logged(path, 'task'))
        # A body, a refusal, and HTTP/1.1 as before.
        self.opened.add('/echo', lambda body: body)
        data = self.place / 'curl-body'
        data.write_bytes(os.urandom(3 * MIB))
        curl = ('curl', '-sS', '--cacert', self.trusted, '-o', self.place / 'curl-out', '-w', '%{http_version} %{http_code}')
        said = self.run_tool(*curl, '--http2', '--data-binary', f'@{data}', f'{self.opened.url}/echo', env=self.proxy_env(), clean=True)
        self.assertEqual(said.split(), ['2', '200'])
        self.assertEqual((self.place / 'curl-out').read_bytes(), data.read_bytes())
        said = self.run_tool(*curl, '--http2', f'{self.opened.url}/nothing', env=self.proxy_env(), clean=True)
        self.assertEqual(said.split(), ['2', '404'])
        said = self.run_tool(*curl, '--http1.1', f'{self.opened.url}/nothing', env=self.proxy_env(), clean=True)
        self.assertEqual(said.split(), ['1.1', '404'])

    # ---- Chromium

    @needs('chromium')
    def test_chromium_through_connect(self):
        content = os.urandom(5 * MIB)
        for origin in (self.opened, self.blind):
            origin.add('/files/big', content)
            page = '''<!DOCTYPE html><title>wait</title><script>
            const hex = b => [...new Uint8Array(b)].map(x => x.toString(16).padStart(2, '0')).join('');
            fetch('/files/big').then(r => r.arrayBuffer()).then(b => crypto.subtle.digest('SHA-256', b))
              .then(d => { document.title = hex(d); });
            </script>'''
            origin.add('/page', page.encode(), 'text/html')
            seen = self.run_tool(
                'chromium', '--headless', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--no-first-run',
                '--disable-background-networking', '--disable-component-update', f'--user-data-dir={self.home()}/{origin.authority}',
                f'--proxy-server=http://{self.proxy()}', '--ignore-certificate-errors', '--virtual-time-budget=20000', '--dump-dom',
                f'{origin.url}/page', env={'HOME': str(self.home())})
            self.assertIn(f'<title>{hashlib.sha256(content).hexdigest()}</title>', seen)
        self.assertTrue(self.logged('/files/big', 'task'))
        self.assertTrue(self.logged(self.blind.authority, 'tunnel'))


if __name__ == '__main__':
    image_case.main()
