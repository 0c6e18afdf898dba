"""A registry of images in this process, which can want tokens, send blobs from elsewhere, and break off.

    registry = Registry(users={'me': 'secret'}, storage=True)
    image = Image([layer(b'...') for ...])
    registry.put('demo/app', 'v1', image)
    ... 127.0.0.6:PORT/demo/app:v1 ...
    registry.parts(digest)              # [(begin, end, whether a proxy asked)]
"""

import base64
import gzip
import hashlib
import http.server
import io
import json
import os
import secrets
import subprocess
import tarfile
import threading
import urllib.parse

MANIFEST = 'application/vnd.oci.image.manifest.v1+json'
INDEX = 'application/vnd.oci.image.index.v1+json'
CONFIG = 'application/vnd.oci.image.config.v1+json'
LAYER = 'application/vnd.oci.image.layer.v1.tar'
FOREIGN = 'application/vnd.docker.image.rootfs.foreign.diff.tar.gzip'


def digest_of(data):
    return 'sha256:' + hashlib.sha256(data).hexdigest()


class Layer:
    """A tar of one file, compressed as `form` says: gzip, zstd, or plain."""

    def __init__(self, name, content, form='gzip', urls=None):
        raw = io.BytesIO()
        with tarfile.open(fileobj=raw, mode='w') as tar:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
        self.tar = raw.getvalue()
        self.media = LAYER
        if form == 'gzip':
            self.data = gzip.compress(self.tar, compresslevel=1, mtime=0)
            self.media += '+gzip'
        elif form == 'zstd':
            self.data = subprocess.run(['zstd', '-q', '-1', '-c'], input=self.tar, stdout=subprocess.PIPE, check=True).stdout
            self.media += '+zstd'
        else:
            self.data = self.tar
        self.urls = urls

    @property
    def digest(self):
        return digest_of(self.data)

    def descriptor(self):
        more = {'mediaType': FOREIGN, 'urls': self.urls} if self.urls else {}
        return {'mediaType': self.media, 'digest': self.digest, 'size': len(self.data), **more}


class Image:
    def __init__(self, layers, architecture='amd64', more_blobs=()):
        self.layers = layers
        self.architecture = architecture
        config = {'architecture': architecture, 'os': 'linux', 'config': {},
                  'rootfs': {'type': 'layers', 'diff_ids': [digest_of(layer.tar) for layer in layers]}}
        self.config = json.dumps(config).encode()
        self.blobs = {digest_of(self.config): self.config, **{layer.digest: layer.data for layer in layers},
                      **{digest_of(data): data for data in more_blobs}}
        described = [layer.descriptor() for layer in layers]
        described += [{'mediaType': LAYER, 'digest': digest_of(data), 'size': len(data)} for data in more_blobs]
        self.manifest = json.dumps({
            'schemaVersion': 2, 'mediaType': MANIFEST,
            'config': {'mediaType': CONFIG, 'digest': digest_of(self.config), 'size': len(self.config)},
            'layers': described}).encode()


class Registry:
    def __init__(self, ip='127.0.0.6', users=None, storage=False):
        self.users, self.storage = users, storage
        self.blobs, self.manifests = {}, {}
        self.requests = []  # (method, path, status, bytes sent, had Authorization, first byte of the content, Via)
        self.tokens = set()
        self.break_after = {}  # digest: [bytes of the body, after which this and the next answers break off]
        self.at_break = lambda: None  # called when one has broken off
        self.dead = 0  # so many requests are not answered, but their connections closed
        self.lock = threading.Lock()
        registry = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = 'HTTP/1.1'
            disable_nagle_algorithm = True  # headers and body are two writes

            def do_GET(self):
                with registry.lock:
                    dead = registry.dead > 0
                    registry.dead -= dead
                if dead:
                    self.close_connection = True
                else:
                    registry.serve(self)

            do_HEAD = do_GET

            def do_POST(self):
                form = self.rfile.read(int(self.headers.get('Content-Length', 0))).decode()
                registry.give_token_by_form(self, dict(urllib.parse.parse_qsl(form)))

            def log_message(self, *arguments):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, request, client_address):
                pass  # whoever hangs up has a reason

        self.server = Server((ip, 0), Handler)
        self.address = f'{ip}:{self.server.server_address[1]}'
        self.url = 'http://' + self.address
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={'poll_interval': 0.05}, daemon=True)
        self.thread.start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    # ---- what it has

    def put(self, repository, tag, *images, without=()):
        """One image, or an index over several. `without`: digests of blobs that only others have."""
        for image in images:
            self.blobs.update({digest: data for digest, data in image.blobs.items() if digest not in without})
            self.manifests[repository, digest_of(image.manifest)] = (MANIFEST, image.manifest)
        if len(images) == 1:
            self.manifests[repository, tag] = (MANIFEST, images[0].manifest)
            return
        index = json.dumps({'schemaVersion': 2, 'mediaType': INDEX, 'manifests': [
            {'mediaType': MANIFEST, 'digest': digest_of(image.manifest), 'size': len(image.manifest),
             'platform': {'architecture': image.architecture, 'os': 'linux'}} for image in images]}).encode()
        for name in (tag, digest_of(index)):
            self.manifests[repository, name] = (INDEX, index)

    def sent(self, digest):
        """Bytes of a blob that left this registry, or the storage behind it."""
        return sum(end - begin for begin, end, _ in self.parts(digest))

    def parts(self, digest):
        """[(begin, end, whether a proxy asked)] of a blob's bytes that left, in the order of the requests."""
        return [(begin, begin + count, bool(via)) for method, path, status, count, _, begin, via in self.requests
                if method == 'GET' and digest in path and status in (200, 206)]

    def expire(self):
        """No token that was given out so far is good any more."""
        self.tokens = {entry for entry in self.tokens if not isinstance(entry, tuple)}

    # ---- answering

    def answer(self, request, status, body=b'', headers=None, break_after=None, begin=0):
        with self.lock:
            self.requests.append([request.command, request.path, status, 0, 'Authorization' in request.headers, begin,
                                  request.headers.get('Via')])
            entry = self.requests[-1]
        request.send_response(status)
        for name, value in (headers or {}).items():
            request.send_header(name, value)
        request.send_header('Content-Length', str(len(body)))
        request.end_headers()
        if request.command == 'HEAD':
            return
        if break_after is not None:
            body = body[:break_after]
        entry[3] = len(body)
        request.wfile.write(body)
        if break_after is not None:
            request.wfile.flush()
            self.at_break()
            request.close_connection = True

    def refuse(self, request, status, code, headers=None):
        body = json.dumps({'errors': [{'code': code, 'message': code.lower()}]}).encode()
        self.answer(request, status, body, {'Content-Type': 'application/json', **(headers or {})})

    def serve(self, request):
        path, _, query = request.path.partition('?')
        query = dict(urllib.parse.parse_qsl(query))
        if path == '/token':
            return self.give_token(request, query)
        if path.startswith('/storage/'):
            return self.serve_storage(request, path.removeprefix('/storage/'), query)
        if self.users and not self.allowed(request):
            scope = ''
            if len(path.split('/')) > 4:
                scope = f',scope="repository:{"/".join(path.split("/")[2:-2])}:pull"'
            return self.refuse(request, 401, 'UNAUTHORIZED', {
                'WWW-Authenticate': f'Bearer realm="{self.url}/token",service="{self.address}"{scope}'})
        if path in ('/v2', '/v2/'):
            return self.answer(request, 200, b'{}')
        parts = path.split('/')
        if len(parts) < 5 or parts[-2] not in ('manifests', 'blobs'):
            return self.refuse(request, 404, 'NOT_FOUND')
        repository, kind, name = '/'.join(parts[2:-2]), parts[-2], parts[-1]
        if kind == 'manifests':
            if (repository, name) not in self.manifests:
                return self.refuse(request, 404, 'MANIFEST_UNKNOWN')
            media, data = self.manifests[repository, name]
            return self.answer(request, 200, data, {'Content-Type': media, 'Docker-Content-Digest': digest_of(data)})
        if name not in self.blobs:
            return self.refuse(request, 404, 'BLOB_UNKNOWN')
        if self.storage:
            # Signed anew each time, as object stores do.
            signature = secrets.token_hex(16)
            self.tokens.add(signature)
            return self.answer(request, 307, b'', {'Location': f'{self.url}/storage/{name}?X-Signature={signature}'})
        return self.send_blob(request, name)

    def give_token(self, request, query):
        kind, _, value = request.headers.get('Authorization', '').partition(' ')
        user, _, password = base64.b64decode(value).decode().partition(':') if kind == 'Basic' else ('', '', '')
        if self.users.get(user) != password:
            return self.refuse(request, 401, 'UNAUTHORIZED')
        token = secrets.token_hex(16)
        self.tokens.add((token, query.get('scope', '')))
        return self.answer(request, 200, json.dumps({'token': token, 'expires_in': 300}).encode(),
                           {'Content-Type': 'application/json'})

    def give_token_by_form(self, request, form):
        if self.users is None or self.users.get(form.get('username')) != form.get('password'):
            return self.refuse(request, 401, 'UNAUTHORIZED')
        token = secrets.token_hex(16)
        self.tokens.add((token, form.get('scope', '')))
        return self.answer(request, 200, json.dumps({'access_token': token, 'expires_in': 300}).encode(),
                           {'Content-Type': 'application/json'})

    def allowed(self, request):
        kind, _, token = request.headers.get('Authorization', '').partition(' ')
        if kind != 'Bearer':
            return False
        scopes = [entry[1] for entry in self.tokens if isinstance(entry, tuple) and entry[0] == token]
        path = request.path.partition('?')[0]
        return any(path in ('/v2', '/v2/') or f'/v2/{scope.split(":")[1]}/' in path for scope in scopes
                   if path in ('/v2', '/v2/') or scope.count(':') == 2)

    def serve_storage(self, request, digest, query):
        if query.get('X-Signature') not in self.tokens or 'Authorization' in request.headers:
            return self.refuse(request, 400, 'SIGNATURE')  # two kinds of credentials are one too many
        return self.send_blob(request, digest)

    def send_blob(self, request, digest):
        data = self.blobs[digest]
        headers = {'Content-Type': 'application/octet-stream', 'Docker-Content-Digest': digest, 'Accept-Ranges': 'bytes',
                   'ETag': f'"{digest}"'}
        breaks = self.break_after.get(digest)
        cut = breaks.pop(0) if breaks and request.command == 'GET' else None
        asked = request.headers.get('Range', '')
        if asked.startswith('bytes=') and ',' not in asked and data:
            first, _, last = asked[6:].partition('-')
            begin = int(first) if first else max(0, len(data) - int(last))
            end = min(int(last), len(data) - 1) if first and last else len(data) - 1
            if begin >= len(data):
                return self.answer(request, 416, b'', {'Content-Range': f'bytes */{len(data)}'})
            headers['Content-Range'] = f'bytes {begin}-{end}/{len(data)}'
            return self.answer(request, 206, data[begin:end + 1], headers, cut, begin)
        return self.answer(request, 200, data, headers, cut)


def random_layer(name, size, **more):
    return Layer(name, os.urandom(size), **more)
