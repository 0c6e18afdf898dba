#!/usr/bin/env python3
"""Unary gRPC calls against the echo service: h2load's requests per second and our processor time per request.

    grpc_unary.py GRPC-ECHO [REQUESTS]

Each request and response is a message of 243 bytes. 10x10 means 10 connections with 10 calls in flight each. The
processor time is what counts on a machine that h2load shares. Build with optimisation:

    meson setup build-release --buildtype=release && ninja -C build-release bench-grpc
"""

import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile

h2load = shutil.which('h2load')
if not h2load:
    sys.exit('h2load is not installed (Debian: nghttp2-client)')
program = sys.argv[1]
requests = int(sys.argv[2]) if len(sys.argv) > 2 else 300000
ticks = os.sysconf('SC_CLK_TCK')


def processor_time(pid):
    fields = open('/proc/%d/stat' % pid).read().rsplit(')', 1)[1].split()
    return int(fields[11]) / ticks, int(fields[12]) / ticks


text = b'x' * 240
message = b'\x0a' + bytes([0x80 | len(text) & 0x7f, len(text) >> 7]) + text
with tempfile.NamedTemporaryFile() as body:
    body.write(b'\0' + struct.pack('>I', len(message)) + message)
    body.flush()
    server = subprocess.Popen([program, 'serve', '127.0.0.1:0'], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        address = server.stdout.readline().split()[1]
        print('%-10s %12s %12s %12s' % ('load', 'calls/s', 'user us/call', 'sys us/call'))
        for connections, calls in ((10, 10), (100, 1), (1000, 1)):
            before = processor_time(server.pid)
            done = subprocess.run(
                [h2load, '-n', str(requests), '-c', str(connections), '-m', str(calls), '-t', '1', '-d', body.name,
                 '-H', 'content-type: application/grpc', '-H', 'te: trailers',
                 'http://%s/d7y.test.Echo/Unary' % address], stdout=subprocess.PIPE, text=True, check=True).stdout
            after = processor_time(server.pid)
            rate = re.search(r'([\d.]+) req/s', done).group(1)
            good = int(re.search(r'status codes: (\d+) 2xx', done).group(1))
            if good != requests:
                sys.exit('%d of %d calls succeeded' % (good, requests))
            user, system = ((b - a) * 1e6 / requests for a, b in zip(before, after))
            print('%-10s %12.0f %12.2f %12.2f' % ('%dx%d' % (connections, calls), float(rate), user, system))
    finally:
        server.stdin.close()
        server.wait()
