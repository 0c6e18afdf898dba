#!/usr/bin/env python3
"""d7yd's and d7ysched's spans at collectors that know nothing of it: gRPC by Debian's python3-grpcio, HTTP by http.server.

    tests/interop/tracing_test.py build-dev [Test.test_name]

Spans are read from the protocol's public field numbers, not from d7y's own files.
"""

import concurrent.futures
import hashlib
import http.client
import http.server
import os
import socket
import struct
import threading
import unittest

import rig
from rig import MIB

try:
    import grpc
except ImportError:
    grpc = None

EXPORT = '/opentelemetry.proto.collector.trace.v1.TraceService/Export'
SECRET = 'sesame'


def fields(message):
    """{number: [values]} of a protobuf message."""
    found, at = {}, 0

    def varint():
        nonlocal at
        number = shift = 0
        while True:
            byte = message[at]
            at += 1
            number |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return number
    while at < len(message):
        tag = varint()
        if tag & 7 == 0:
            value = varint()
        elif tag & 7 == 1:
            value = struct.unpack_from('<Q', message, at)[0]
            at += 8
        else:
            assert tag & 7 == 2, tag
            length = varint()
            value = bytes(message[at:at + length])
            at += length
        found.setdefault(tag >> 3, []).append(value)
    return found


def attributes(values):
    """KeyValue: key = 1, value = 2; AnyValue: string_value = 1, bool_value = 2, int_value = 3."""
    out = {}
    for each in values:
        pair = fields(each)
        any_value = fields(pair[2][0])
        out[pair[1][0].decode()] = any_value[1][0].decode() if 1 in any_value else next(iter(any_value.values()))[0]
    return out


class Span:
    def __init__(self, message, resource):
        span = fields(message)
        self.trace, self.id, self.parent = span[1][0].hex(), span[2][0].hex(), span.get(4, [b''])[0].hex()
        self.name, self.kind = span[5][0].decode(), span[6][0]
        self.began, self.ended = span[7][0], span[8][0]
        self.attributes = attributes(span.get(9, []))
        self.status = fields(span[15][0]) if 15 in span else {}
        self.resource = resource


class Collector:
    def __init__(self):
        self.spans, self.raw, self.headers, self.lock = [], [], [], threading.Lock()

    def take(self, body, headers):
        with self.lock:
            self.raw.append(body)
            self.headers.append(headers)
            for all_of_process in fields(body)[1]:
                process = fields(all_of_process)
                resource = attributes(fields(process[1][0])[1])
                for scope in process[2]:
                    self.spans += [Span(span, resource) for span in fields(scope).get(2, [])]

    def span(self, url):
        def find():
            with self.lock:
                return [span for span in self.spans if span.attributes.get('http.url') == url]
        return rig.until(find, f'a span of {url}')[0]


class GrpcCollector(Collector):
    def __init__(self):
        super().__init__()
        self.server = grpc.server(concurrent.futures.ThreadPoolExecutor(4))
        handler = grpc.unary_unary_rpc_method_handler(self.export)
        service, method = EXPORT[1:].split('/')
        self.server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: handler}),))
        self.endpoint = f'127.0.0.1:{self.server.add_insecure_port("127.0.0.1:0")}'
        self.server.start()

    def export(self, body, context):
        self.take(body, {key.lower(): value for key, value in context.invocation_metadata()})
        return b''

    def stop(self):
        self.server.stop(None)


class HttpCollector(Collector):
    def __init__(self):
        super().__init__()
        collector = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = 'HTTP/1.1'

            def log_message(self, *_):
                pass

            def do_POST(self):
                body = self.rfile.read(int(self.headers['Content-Length']))
                right = self.path == '/otlp/traces' and self.headers['Content-Type'] == 'application/x-protobuf'
                if right:
                    collector.take(body, {key.lower(): value for key, value in self.headers.items()})
                self.send_response(200 if right else 404)
                self.send_header('Content-Type', 'application/x-protobuf')
                self.send_header('Content-Length', '0')
                self.end_headers()
        self.server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
        self.endpoint = f'127.0.0.1:{self.server.server_address[1]}'
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


class Test(rig.Case):
    def daemon(self, protocol, collector):
        return rig.Daemon(self, 'node', extra=f'''tracing:
  protocol: {protocol}
  endpoint: "{collector.endpoint}"
  path: /otlp/traces
  headers: {{authorization: "Bearer {SECRET}-key"}}
''')

    def ask(self, daemon, path, headers=None, status=200):
        connection = http.client.HTTPConnection('127.0.0.1', daemon.proxy, timeout=60)
        connection.request('GET', path, headers=headers or {})
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        self.assertEqual(answer.status, status, body)
        return body

    def see_spans(self, daemon, collector):
        content = os.urandom(6 * MIB)
        blob = f'/v2/team/app/blobs/sha256:{hashlib.sha256(content).hexdigest()}'
        self.origin.add(blob, content)
        registry = f'127.0.0.1:{self.origin.port}'
        trace = '0af7651916cd43dd8448eb211c80319c'
        asked = f'{blob}?ns={registry}'
        self.assertEqual(self.ask(daemon, asked, {'Authorization': f'Bearer {SECRET}-caller',
                                                  'traceparent': f'00-{trace}-b7ad6b7169203331-01'}), content)
        signed = f'/v2/team/app/manifests/1?ns={registry}&X-Amz-Signature={SECRET}&X-Amz-Credential={SECRET}'
        self.ask(daemon, signed, status=404)
        unsampled = f'/v2/team/app/tags/list?ns={registry}'
        self.ask(daemon, unsampled, {'traceparent': f'00-{trace}-b7ad6b7169203331-00'}, status=404)

        span = collector.span(asked)
        self.assertEqual((span.name, span.kind), ('proxy', 2))
        self.assertEqual((span.trace, span.parent), (trace, 'b7ad6b7169203331'))
        self.assertLess(span.began, span.ended)
        said = span.attributes
        self.assertEqual(said['http.method'], 'GET')
        self.assertEqual(said['http.scheme'], 'http')
        self.assertEqual(said['http.host'], f'127.0.0.1:{daemon.proxy}')
        self.assertEqual(said['http.status_code'], 200)
        self.assertEqual(said['http.response_content_length'], len(content))
        self.assertEqual(said['url.full'], f'http://{registry}{blob}')
        self.assertEqual(said['d7y.peer.host'], 'node')
        self.assertEqual(said['net.peer.ip'], '127.0.0.1')
        self.assertIn('d7y.peer.task.id', said)
        self.assertEqual(span.resource['service.namespace'], 'dragonfly')
        self.assertEqual(span.resource['service.name'], f'dfdaemon-{said["net.host.ip"]}')
        self.assertEqual(span.resource['host.name'], 'node')
        self.assertEqual(span.resource['host.seed_peer'], 0)
        rig.until(lambda: any('manifests' in span.attributes['http.url'] for span in collector.spans), 'the other span')
        # What waits is sent at the end.
        self.ask(daemon, f'/v2/team/app/manifests/last?ns={registry}', status=404)
        daemon.signal(15)
        self.assertEqual(daemon.wait(), 0)
        self.assertTrue(any('manifests/last' in span.attributes['http.url'] for span in collector.spans))
        self.assertFalse(any('tags/list' in span.attributes['http.url'] for span in collector.spans))
        self.assertTrue(all(headers['authorization'] == f'Bearer {SECRET}-key' for headers in collector.headers))
        self.assertNotIn(SECRET.encode(), b''.join(collector.raw))
        self.assertNotIn(SECRET, daemon.output())

    @unittest.skipUnless(grpc, 'no python3-grpcio; run .ci/dependencies check')
    def test_spans_by_grpc(self):
        collector = GrpcCollector()
        self.addCleanup(collector.stop)
        self.see_spans(self.daemon('grpc', collector), collector)

    def test_spans_by_http(self):
        collector = HttpCollector()
        self.addCleanup(collector.stop)
        daemon = self.daemon('http', collector)
        self.see_spans(daemon, collector)

    def test_a_collector_that_is_silent_delays_nothing(self):
        with socket.create_server(('127.0.0.1', 0)) as silent:
            class Silent:
                endpoint = f'127.0.0.1:{silent.getsockname()[1]}'
            daemon = self.daemon('http', Silent)
            connection = http.client.HTTPConnection('127.0.0.1', daemon.proxy, timeout=60)
            for _ in range(3000):  # more than are kept
                connection.request('GET', '/v2/', headers={'X-Dragonfly-Priority': 'none'})
                answer = connection.getresponse()
                answer.read()
                self.assertEqual(answer.status, 400)
            connection.close()
            self.assertGreater(daemon.metrics()['d7y_trace_spans_dropped'], 0)
            daemon.signal(15)
            self.assertEqual(daemon.wait(), 0)

    def see_calls(self, protocol, collector):
        config = self.folder / 'scheduler.yaml'
        config.write_text(f'''server:
  dataDir: ""
tracing:
  protocol: {protocol}
  endpoint: "{collector.endpoint}"
  path: /otlp/traces
  service-name: our-scheduler
  headers: {{authorization: "Bearer {SECRET}-key"}}
''')
        scheduler = rig.Scheduler(self, arguments=('--config', config))
        trace = '0af7651916cd43dd8448eb211c80319c'
        with grpc.insecure_channel(f'127.0.0.1:{scheduler.port}') as channel:
            list_hosts = channel.unary_unary('/scheduler.v2.Scheduler/ListHosts')
            list_hosts(b'', metadata=[('traceparent', f'00-{trace}-b7ad6b7169203331-00')], timeout=10)
            list_hosts(b'', metadata=[('traceparent', f'00-{trace}-b7ad6b7169203331-01')], timeout=10)
        scheduler.signal(15)
        self.assertEqual(scheduler.wait(), 0)  # and has sent what waited
        self.assertEqual([span.name for span in collector.spans], ['scheduler.v2.Scheduler/ListHosts'])
        span = collector.spans[0]
        self.assertEqual((span.kind, span.trace, span.parent), (2, trace, 'b7ad6b7169203331'))
        self.assertLess(span.began, span.ended)
        self.assertEqual((span.attributes['rpc.method'], span.attributes['rpc.grpc.status_code']), ('ListHosts', 0))
        self.assertEqual(span.resource['service.name'], 'our-scheduler')
        self.assertEqual(span.resource['service.namespace'], 'dragonfly')
        self.assertEqual(collector.headers[0]['authorization'], f'Bearer {SECRET}-key')
        self.assertNotIn(SECRET, scheduler.output())

    @unittest.skipUnless(grpc, 'no python3-grpcio; run .ci/dependencies check')
    def test_calls_of_the_scheduler(self):
        for protocol, collector in (('grpc', GrpcCollector()), ('http', HttpCollector())):
            with self.subTest(protocol):
                self.addCleanup(collector.stop)
                self.see_calls(protocol, collector)


if __name__ == '__main__':
    rig.main()
