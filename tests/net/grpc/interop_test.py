#!/usr/bin/python3
"""Our gRPC against gRPC's C core (Debian's python3-grpcio): its client on our server, our client on its server.

    interop_test.py GRPC-ECHO ECHO_PROTO PROTO_FOLDER

Exits with 77 (skipped) where python3-grpcio or protoc is missing.
"""

import concurrent.futures
import importlib
import os
import subprocess
import sys
import tempfile
import threading
import time

try:
    import grpc
except ImportError:
    print('python3-grpcio is not installed')
    sys.exit(77)

program, echo_proto, protos = sys.argv[1:4]
folder = tempfile.TemporaryDirectory(prefix='d7y-grpc-')
subprocess.run(['protoc', '--proto_path=' + os.path.dirname(echo_proto), '--proto_path=' + protos,
                '--python_out=' + folder.name, echo_proto, protos + '/health.proto',
                protos + '/reflection_v1.proto'], check=True)
sys.path.insert(0, folder.name)
echo = importlib.import_module('echo_pb2')
health = importlib.import_module('health_pb2')
reflection = importlib.import_module('reflection_v1_pb2')

UNLIMITED = [('grpc.max_receive_message_length', -1), ('grpc.max_send_message_length', -1)]
failures = 0


def check(what, good):
    global failures
    print('ok  ' if good else 'FAIL', what, flush=True)
    failures += 0 if good else 1


class Stub:
    """Methods of one service by name, without generated code."""

    def __init__(self, channel, service, messages):
        for name, kind, request, response in messages:
            make = getattr(channel, kind)
            setattr(self, name, make('/%s/%s' % (service, name), request_serializer=request.SerializeToString,
                                     response_deserializer=response.FromString))


ECHO = [('Unary', 'unary_unary', echo.EchoRequest, echo.EchoResponse),
        ('Expand', 'unary_stream', echo.EchoRequest, echo.EchoResponse),
        ('Collect', 'stream_unary', echo.EchoRequest, echo.EchoResponse),
        ('Chat', 'stream_stream', echo.EchoRequest, echo.EchoResponse),
        ('Hang', 'unary_unary', echo.EchoRequest, echo.EchoResponse)]
HEALTH = [('Check', 'unary_unary', health.HealthCheckRequest, health.HealthCheckResponse),
          ('Watch', 'unary_stream', health.HealthCheckRequest, health.HealthCheckResponse)]
REFLECTION = [('ServerReflectionInfo', 'stream_stream', reflection.ServerReflectionRequest,
               reflection.ServerReflectionResponse)]


def client_side(target):
    """Their client, our server."""
    print('--- C core client, our server at', target, flush=True)
    channel = grpc.insecure_channel(target, options=UNLIMITED)
    stub = Stub(channel, 'd7y.test.Echo', ECHO)
    request = echo.EchoRequest

    metadata = [('x-plain', 'a b'), ('x-raw-bin', b'\0\xff')]
    response, call = stub.Unary.with_call(request(text='hello'), metadata=metadata, timeout=60)
    check('unary', response.text == 'hello')
    check('grpc-timeout is seen', 0 < response.timeout_ms <= 66000)
    check('initial metadata', ('x-plain', 'a b') in call.initial_metadata())
    check('trailing metadata', ('t-raw-bin', b'\0\xff') in call.trailing_metadata())

    details = b'{"message":"x","header":{"k":"v"},"status_code":404}'
    for name, method in (('unary', stub.Unary), ('stream', lambda *a, **k: list(stub.Expand(*a, **k)))):
        try:
            method(request(text='größer 100%\n', fail_with=13, payload=details), timeout=60)
            check('status of ' + name, False)
        except grpc.RpcError as error:
            check('status of ' + name, error.code() == grpc.StatusCode.INTERNAL)
            check('message of ' + name, error.details() == 'größer 100%\n')
            check('details of ' + name, ('grpc-status-details-bin', details) in error.trailing_metadata())

    counts = [r.count for r in stub.Expand(request(text='m', repeat=500), timeout=60)]
    check('server stream', counts == list(range(500)))
    response = stub.Collect((request(text='ab', payload=b'x' * 10000) for _ in range(100)), timeout=60)
    check('client stream', response.count == 1000000 and len(response.text) == 200)

    answers = [r.text for r in stub.Chat(iter([request(text=str(i)) for i in range(100)]), timeout=60)]
    check('bidi', answers == [str(i) for i in range(100)])

    stop = threading.Event()

    def endless():
        yield request(text='one')
        yield request(text='bye')
        stop.wait(60)  # never half-closes

    answers = [r.text for r in stub.Chat(endless(), timeout=60)]
    check('bidi ended by the server while the client has not half-closed', answers == ['one'])
    stop.set()

    begin = time.monotonic()
    call = stub.Chat(iter_until(stop2 := threading.Event()), timeout=60)
    call.initial_metadata()
    check('headers at once', time.monotonic() - begin < 5)
    call.cancel()
    stop2.set()

    big = os.urandom(1 << 20) * 64
    check('64 MiB both ways', stub.Unary(request(payload=big), timeout=60).payload == big)
    response = stub.Unary(request(payload=b'z' * 1000000, gzip=True), timeout=60, compression=grpc.Compression.Gzip)
    check('gzip both ways', response.payload == b'z' * 1000000)

    try:
        stub.Hang(request(), timeout=0.3)
        check('deadline', False)
    except grpc.RpcError as error:
        check('deadline', error.code() == grpc.StatusCode.DEADLINE_EXCEEDED)
    future = stub.Hang.future(request(), timeout=60)
    time.sleep(0.05)
    future.cancel()
    check('the connection survives a cancelled call', stub.Unary(request(text='y'), timeout=60).text == 'y')

    try:
        channel.unary_unary('/d7y.test.Echo/Nothing')(b'', timeout=60)
        check('unknown method', False)
    except grpc.RpcError as error:
        check('unknown method', error.code() == grpc.StatusCode.UNIMPLEMENTED)

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        texts = list(pool.map(lambda i: stub.Unary(request(text=str(i)), timeout=60).text, range(400)))
    check('400 calls by 16 threads', texts == [str(i) for i in range(400)])

    checker = Stub(channel, 'grpc.health.v1.Health', HEALTH)
    serving = health.HealthCheckResponse
    check('health', checker.Check(health.HealthCheckRequest(), timeout=60).status == serving.SERVING)
    check('health of one service', checker.Check(health.HealthCheckRequest(service='d7y.test.Echo'),
                                                 timeout=60).status == serving.NOT_SERVING)
    watch = checker.Watch(health.HealthCheckRequest(service='nobody'), timeout=60)
    check('health watch', next(watch).status == serving.SERVICE_UNKNOWN)
    watch.cancel()
    try:
        checker.Check(health.HealthCheckRequest(service='nobody'), timeout=60)
        check('health of an unknown service', False)
    except grpc.RpcError as error:
        check('health of an unknown service', error.code() == grpc.StatusCode.NOT_FOUND)

    for version in ('v1', 'v1alpha'):
        reflector = Stub(channel, 'grpc.reflection.%s.ServerReflection' % version, REFLECTION)
        ask = reflection.ServerReflectionRequest
        answers = list(reflector.ServerReflectionInfo(iter([
            ask(list_services='*'), ask(file_containing_symbol='grpc.health.v1.Health'),
            ask(file_by_filename='nothing.proto')]), timeout=60))
        services = [s.name for s in answers[0].list_services_response.service]
        check('reflection %s lists services' % version, 'd7y.test.Echo' in services)
        check('reflection %s gives files' % version,
              b'HealthCheckRequest' in answers[1].file_descriptor_response.file_descriptor_proto[0])
        check('reflection %s names what it does not know' % version, answers[2].error_response.error_code == 5)
    channel.close()


def iter_until(event):
    event.wait(60)
    return
    yield


class EchoServer:
    """The echo service as Python sees it."""

    def mirror(self, context):
        received = [(k, v) for k, v in context.invocation_metadata() if k.startswith('x-')]
        context.set_trailing_metadata([('t-' + k[2:], v) for k, v in received])
        context.send_initial_metadata(received)

    def verdict(self, request, context):
        if request.fail_with:
            context.set_trailing_metadata([('grpc-status-details-bin', request.payload)])
            code = next(c for c in grpc.StatusCode if c.value[0] == request.fail_with)
            context.abort(code, request.text)

    def unary(self, request, context):
        if request.gzip:
            context.set_compression(grpc.Compression.Gzip)
        self.mirror(context)
        self.verdict(request, context)
        return echo.EchoResponse(text=request.text, payload=request.payload)

    def expand(self, request, context):
        for i in range(request.repeat):
            yield echo.EchoResponse(text=request.text, count=i)
        self.verdict(request, context)

    def collect(self, requests, context):
        text, size = '', 0
        for request in requests:
            text += request.text
            size += len(request.payload)
        return echo.EchoResponse(text=text, count=size)

    def chat(self, requests, context):
        self.mirror(context)
        for i, request in enumerate(requests):
            if request.text == 'bye':
                return
            yield echo.EchoResponse(text=request.text, count=i)

    def hang(self, request, context):
        gone = threading.Event()
        context.add_callback(gone.set)
        gone.wait(30)
        return echo.EchoResponse()


def server_side():
    """Our client, their server."""
    print('--- our client, C core server', flush=True)
    service = EchoServer()

    def handler(kind, function, request=echo.EchoRequest, response=echo.EchoResponse):
        return getattr(grpc, kind + '_rpc_method_handler')(function, request.FromString, response.SerializeToString)

    def check_health(request, context):
        if request.service:
            context.abort(grpc.StatusCode.NOT_FOUND, 'no such service')
        return health.HealthCheckResponse(status=health.HealthCheckResponse.SERVING)

    server = grpc.server(concurrent.futures.ThreadPoolExecutor(16), options=UNLIMITED)
    server.add_generic_rpc_handlers((
        grpc.method_handlers_generic_handler('d7y.test.Echo', {
            'Unary': handler('unary_unary', service.unary), 'Expand': handler('unary_stream', service.expand),
            'Collect': handler('stream_unary', service.collect), 'Chat': handler('stream_stream', service.chat),
            'Hang': handler('unary_unary', service.hang)}),
        grpc.method_handlers_generic_handler('grpc.health.v1.Health', {
            'Check': handler('unary_unary', check_health, health.HealthCheckRequest,
                             health.HealthCheckResponse)})))
    socket = 'unix:' + folder.name + '/theirs.sock'
    server.add_insecure_port(socket)
    port = server.add_insecure_port('127.0.0.1:0')
    server.start()
    for address in ('127.0.0.1:%d' % port, socket):
        done = subprocess.run([program, 'call', address], stdout=subprocess.PIPE, text=True, timeout=120)
        print(done.stdout, end='')
        check('our client at ' + address, done.returncode == 0)
    server.stop(0)


socket = 'unix:' + folder.name + '/ours.sock'
server = subprocess.Popen([program, 'serve', '127.0.0.1:0', socket], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          text=True)
address = server.stdout.readline().split()[1]
server.stdout.readline()
try:
    client_side(address)
    client_side(socket)
    done = subprocess.run([program, 'call', socket], stdout=subprocess.PIPE, text=True, timeout=120)
    print('--- our client, our server\n' + done.stdout, end='')
    check('our client at our server', done.returncode == 0)
finally:
    server.stdin.close()
    check('our server ends when told', server.wait(60) == 0)
server_side()
print('%d failed' % failures)
sys.exit(1 if failures else 0)
