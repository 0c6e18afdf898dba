"""What a workload stands on: a folder, a cluster that ends with it, files at the origin, anchors' programs.

    @workload('source-http', 'one file from an HTTP origin, without a daemon', needs=('curl', 'aria2'))
    def source_http(stage, report): ...
"""

import contextlib
import dataclasses
import pathlib
import shutil
import subprocess
import sys

import network
from cluster import MIB, Cluster, Failure, Processes, make_content
from measure import read_through

# What a workload may need beside d7y, and the Debian package that brings it (the set `bench` of .ci/dependencies).
PROGRAMS = {'nginx': 'nginx-light', 'curl': 'curl', 'wget2': 'wget2', 'aria2c': 'aria2', 'openssl': 'openssl',
            'docker-registry': 'docker-registry', 'umoci': 'umoci', 'skopeo': 'skopeo', 'containerd': 'containerd',
            'unshare': 'util-linux', 'tc': 'iproute2', 'strace': 'strace', 'libtorrent': 'python3-libtorrent',
            'grpc++': 'libgrpc++-dev', 'grpc_cpp_plugin': 'protobuf-compiler-grpc'}
SYSTEM_PYTHON = '/usr/bin/python3'  # the one that Debian's packages of Python modules are for
# Those of PROGRAMS that are no programs, and what succeeds where they are.
PROBES = {'libtorrent': (SYSTEM_PYTHON, '-c', 'import libtorrent'), 'grpc++': ('pkg-config', '--exists', 'grpc++')}

WORKLOADS = {}


@dataclasses.dataclass
class Workload:
    name: str
    what: str
    run: object
    needs: tuple = ()
    rounds: int = 5
    private_network: bool = False


def workload(name, what, needs=(), rounds=5, private_network=False):
    def register(function):
        WORKLOADS[name] = Workload(name, what, function, tuple(needs), rounds, private_network)
        return function
    return register


def missing(needs):
    """The Debian packages that are missing for what a workload needs."""
    absent = []
    for need in needs:
        if need in PROBES:
            there = subprocess.run(PROBES[need], capture_output=True, check=False).returncode == 0
        else:
            there = shutil.which(need, path='/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin')
        if not there:
            absent.append(PROGRAMS[need])
    return absent


class Stage:
    def __init__(self, build, place, rounds, private_network):
        self.build, self.place, self.rounds, self.private_network = build, place, rounds, private_network
        self.content = place.parent / 'content'
        self.exits = contextlib.ExitStack()

    def __enter__(self):
        shutil.rmtree(self.place, ignore_errors=True)
        self.place.mkdir(parents=True)
        # ext4 passes over inodes that were freed in the last minutes, one by one, when it makes a file near them: after a
        # thousand deletions each new file costs ten times as much. With this mark each folder below begins elsewhere.
        subprocess.run(['chattr', '+T', self.place.parent, self.place], capture_output=True, check=False)
        self.processes = Processes()
        self.cluster = Cluster(self.processes, self.build, self.place)
        return self

    def __exit__(self, *_):
        slow = self.processes.stop_all()
        self.exits.close()
        self.cluster.tidy()
        for path in self.place.iterdir():
            if path != self.cluster.logs:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        if slow:
            print(f'  had to kill {", ".join(slow)}: did not stop within 10 s of SIGTERM', file=sys.stderr)

    def file(self, name, size):
        """A file of random bytes below the origin's root, in the page cache. Kept between runs."""
        path = self.content / name
        make_content(path, size)
        read_through(path)
        return path

    def out(self, name):
        return self.place / name

    def program(self, name):
        path = self.build / 'tests' / 'bench' / name
        if not path.exists():
            raise Failure(f'{path} is not there: ninja -C {self.build} tests/bench/{name}')
        return path

    @staticmethod
    def helper(name):
        """A program beside this file."""
        return pathlib.Path(__file__).with_name(name)

    def uplinks(self, rates):
        """Shapes what the addresses send, until the stage ends."""
        self.exits.enter_context(network.Uplinks(rates))

    def certificate(self):
        """(certificate, key) of an origin at 127.0.0.2, signed by itself."""
        folder = self.place / 'tls'
        folder.mkdir(exist_ok=True)
        certificate, key = folder / 'certificate.pem', folder / 'key.pem'
        subprocess.run(['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes',
                        '-days', '2', '-subj', '/CN=origin', '-addext', 'subjectAltName=IP:127.0.0.2',
                        '-keyout', key, '-out', certificate], check=True, capture_output=True)
        return certificate, key


def remove(*paths):
    for path in map(pathlib.Path, paths):
        path.unlink(missing_ok=True)


GIB = 1024 * MIB
