#!/usr/bin/env python3
"""d7yget with a daemon that is not ours: what it sends for origins that only that daemon reads.

The daemon is gRPC's C core (Debian's python3-grpcio) on a Unix socket. It answers as Dragonfly's does and keeps the
requests. Exits with 77 (skipped) where python3-grpcio or protoc is missing.
"""

import concurrent.futures
import importlib
import pathlib
import shutil
import subprocess
import sys
import tempfile
import types

import rig

try:
    import grpc
except ImportError:
    grpc = None
PROTOS = pathlib.Path(__file__).resolve().parents[2] / 'lib' / 'api'
CONTENT = b'what the other daemon has'


class OtherDaemon:
    """Serves DfdaemonDownload with one piece, and a folder of two files, whatever is asked for."""

    def __init__(self, folder, messages):
        self.messages = messages
        self.socket = folder / 'other.sock'
        self.requests = []
        self.server = grpc.server(concurrent.futures.ThreadPoolExecutor(max_workers=4))
        handlers = {
            'DownloadTask': grpc.unary_stream_rpc_method_handler(
                self.download, messages.DownloadTaskRequest.FromString,
                messages.DownloadTaskResponse.SerializeToString),
            'ListTaskEntries': grpc.unary_unary_rpc_method_handler(
                self.list_entries, messages.ListTaskEntriesRequest.FromString,
                messages.ListTaskEntriesResponse.SerializeToString)}
        self.server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler('dfdaemon.v2.DfdaemonDownload', handlers),))
        self.server.add_insecure_port(f'unix:{self.socket}')
        self.server.start()

    def stop(self):
        self.server.stop(None).wait()

    def download(self, request, _context):
        self.requests.append(request.download)
        answer = self.messages.DownloadTaskResponse(host_id='h', task_id='t' * 64, peer_id='p')
        started = answer.download_task_started_response
        started.content_length = len(CONTENT)
        started.pieces.add(number=0, offset=0, length=len(CONTENT))
        yield answer
        answer = self.messages.DownloadTaskResponse(host_id='h', task_id='t' * 64, peer_id='p')
        piece = answer.download_piece_finished_response.piece
        piece.number, piece.offset, piece.length = 0, 0, len(CONTENT)
        piece.parent_id = 'somebody'
        if request.download.need_piece_content:
            piece.content = CONTENT
        yield answer

    def list_entries(self, request, _context):
        self.requests.append(request)
        answer = self.messages.ListTaskEntriesResponse()
        for name in ('a', 'below/b'):
            answer.entries.add(url=request.url + name, content_length=len(CONTENT))
        return answer


class OtherOrigins(rig.Case):
    @classmethod
    def setUpClass(cls):
        cls.generated = tempfile.TemporaryDirectory(prefix='d7y-protos-')
        subprocess.run(['protoc', f'--proto_path={PROTOS}', '--python_out=' + cls.generated.name,
                        str(PROTOS / 'common.proto'), str(PROTOS / 'dfdaemon.proto')], check=True)
        sys.path.insert(0, cls.generated.name)
        cls.messages = importlib.import_module('dfdaemon_pb2')

    @classmethod
    def tearDownClass(cls):
        cls.generated.cleanup()

    def setUp(self):
        super().setUp()
        self.other = OtherDaemon(self.folder, self.messages)
        self.addCleanup(self.other.stop)

    def get_there(self, *arguments, env=None):
        daemon = types.SimpleNamespace(socket=self.other.socket)
        return self.get(*arguments, '--transfer-from-dfdaemon', code=0, daemon=daemon, env=env)

    def test_access_to_an_object_store_reaches_the_daemon(self):
        self.get_there('s3://bucket/key', '-O', 'o', '--storage-region', 'r1', '--storage-endpoint', 'http://e',
                       '--storage-access-key-id', 'who', '--storage-session-token', 's',
                       '--storage-security-token', 't', '--storage-credential-path', '/c',
                       '--storage-predefined-acl', 'publicRead', '--storage-insecure-skip-verify',
                       env={'DFGET_STORAGE_ACCESS_KEY_SECRET': 'hush'})
        self.assertEqual(pathlib.Path(self.path('o')).read_bytes(), CONTENT)
        store = self.other.requests[0].object_storage
        self.assertEqual((store.region, store.endpoint, store.access_key_id, store.access_key_secret,
                          store.session_token, store.security_token, store.credential_path, store.predefined_acl,
                          store.insecure_skip_verify),
                         ('r1', 'http://e', 'who', 'hush', 's', 't', '/c', 'publicRead', True))

    def test_an_object_stores_message_is_there_even_if_empty(self):
        self.get_there('gs://bucket/key', '-O', 'o')
        self.assertTrue(self.other.requests[0].HasField('object_storage'))
        self.assertFalse(self.other.requests[0].object_storage.HasField('region'))

    def test_http_needs_nothing_of_that(self):
        self.get_there('http://127.0.0.1/x', '-O', 'o', '--storage-region', 'r1', '--hf-token', 'hush')
        request = self.other.requests[0]
        for field in ('object_storage', 'hdfs', 'hugging_face', 'model_scope'):
            self.assertFalse(request.HasField(field), field)

    def test_each_hub_has_its_own_flags_and_default_revision(self):
        both = ('--hf-token', 'h', '--ms-token', 'm', '--ms-revision', 'v2', '--ms-base-url', 'http://hub')
        self.get_there('hf://owner/repo/file', '-O', 'o', *both)
        self.get_there('modelscope://owner/repo/file', '-O', 'p', *both)
        hub, other = self.other.requests[0].hugging_face, self.other.requests[1].model_scope
        self.assertEqual((hub.token, hub.revision, hub.base_url), ('h', 'main', ''))
        self.assertEqual((other.token, other.revision, other.base_url), ('m', 'v2', 'http://hub'))

    def test_a_folder_in_hdfs(self):
        self.get_there('hdfs://name/folder', '-r', '-O', 'o', '--hdfs-delegation-token', 'hush')
        self.assertEqual([request.hdfs.delegation_token for request in self.other.requests], ['hush'] * 3)
        for name in ('a', 'below/b'):
            self.assertEqual(pathlib.Path(self.path('o'), name).read_bytes(), CONTENT)

    def test_a_range_is_taken_as_bytes_because_dfdaemon_would_write_the_whole(self):
        daemon = types.SimpleNamespace(socket=self.other.socket)
        for number, asked in enumerate(('5-9', '5-')):
            self.get('http://127.0.0.1/x', '-O', f'o{number}', '--range', asked, code=0, daemon=daemon)
            self.assertTrue(self.other.requests[number].need_piece_content)
            self.assertEqual(self.other.requests[number].output_path, '')

    def test_an_output_that_exists_is_found_before_the_daemon_is_asked(self):
        pathlib.Path(self.path('o')).write_bytes(b'mine')
        daemon = types.SimpleNamespace(socket=self.other.socket)
        self.get('http://127.0.0.1/x', '-O', 'o', code=8, says='exists', daemon=daemon)
        self.assertEqual(self.other.requests, [])
        self.assertEqual(pathlib.Path(self.path('o')).read_bytes(), b'mine')

    def test_without_such_a_daemon_the_scheme_is_named(self):
        self.get('s3://bucket/key', '-O', 'o', code=2, says='"s3"')
        self.assertFalse(pathlib.Path(self.path('o')).exists())


if __name__ == '__main__':
    if grpc is None or shutil.which('protoc') is None:
        print('python3-grpcio or protoc is not installed')
        sys.exit(77)
    rig.main()
