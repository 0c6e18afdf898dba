#!/usr/bin/env python3
"""Registries of several makers behind d7yd: what containerd, skopeo and curl get is theirs, and crosses once.

    tests/interop/registries_test.py build-dev [Distribution.test_name]

Debian's docker-registry (Distribution 2.8) is among what .ci/dependencies brings. The paths of others come from the
environment; a registry that is not named is skipped, and says so:

    D7Y_DISTRIBUTION          Distribution 3:       go install github.com/distribution/distribution/v3/cmd/registry@latest
    D7Y_GO_CONTAINERREGISTRY  go-containerregistry: go install github.com/google/go-containerregistry/cmd/registry@latest

Needs root.
"""

import http.client
import json
import os
import subprocess
import unittest

import image_case
from cluster import accepts
from image_case import MIB, PEERS, free_port
from registry import MANIFEST, Image, digest_of, random_layer

TRAFFIC = 'dragonfly_client_download_traffic'


def setUpModule():
    image_case.needs('containerd', 'ctr', 'unshare', 'skopeo', 'docker-registry')


class Foreign:
    """A registry that is a program of its own; images are pushed as any client does it."""

    def __init__(self, cluster, command, ip, environment=None):
        """`command`: a function of the port."""
        self.cluster = cluster
        port = free_port(ip)
        self.address, self.url = f'{ip}:{port}', f'http://{ip}:{port}'
        cluster.processes.start('registry', command(port), cluster.logs / 'registry.log', env={**os.environ, **(environment or {})})
        cluster.ready('registry', self.address, lambda: accepts(ip, port))

    def stop(self):
        self.cluster.processes.stop('registry')

    def ask(self, method, path, body=b'', headers=None, wanted=(200, 201, 202)):
        connection = http.client.HTTPConnection(self.address, timeout=30)
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        said = answer.read()
        connection.close()
        if answer.status not in wanted:
            raise AssertionError(f'{method} {path}: {answer.status} {said[:500]}')
        return answer

    def put(self, repository, tag, image):
        for digest, data in image.blobs.items():
            place = self.ask('POST', f'/v2/{repository}/blobs/uploads/').headers['Location'].removeprefix(self.url)
            self.ask('PUT', f'{place}{"&" if "?" in place else "?"}digest={digest}', data,
                     {'Content-Type': 'application/octet-stream'})
        self.ask('PUT', f'/v2/{repository}/manifests/{tag}', image.manifest, {'Content-Type': MANIFEST})


class Pulls:
    """What holds for each of them."""
    REGISTRIES = {'foreign.test': {}}
    CONTAINERDS = True

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.foreign, = cls.registries.values()

    def from_registry(self):
        """Bytes of pieces that seed and peers have had from there."""
        return sum(self.metric(peer, f'{TRAFFIC}{{type="BACK_TO_SOURCE"}}') for peer in [self.seed, *self.peers])

    def put_image(self, *sizes):
        image = Image([random_layer(f'file-{i}', size) for i, size in enumerate(sizes)])
        return image, self.put(self.foreign, image)

    def test_containerd_on_two_nodes_takes_each_layer_once(self):
        image, name = self.put_image(9 * MIB, 5 * MIB, 70_000)
        layers = sum(len(layer.data) for layer in image.layers)
        before = self.from_registry()
        self.pull_on_all_nodes(name)
        # The image's configuration is so small that each node gets it by itself.
        self.assertGreaterEqual(self.from_registry() - before, layers)
        self.assertLessEqual(self.from_registry() - before, layers + PEERS * len(image.config))

    def test_skopeo_takes_all_of_an_image(self):
        image, name = self.put_image(5 * MIB, 1000)
        settings = self.place / f'{self.name()}.conf'
        settings.write_text(f'[[registry]]\nprefix = "foreign.test"\nlocation = "{self.foreign.address}"\ninsecure = true\n'
                            f'[[registry.mirror]]\nlocation = "{self.proxy()}/foreign.test"\ninsecure = true\n')
        served = self.via_task()
        folder = self.place / self.name()
        self.run_tool('skopeo', '--registries-conf', settings, 'copy', '--quiet',
                      f'docker://{name.replace(self.foreign.address, "foreign.test")}', f'dir:{folder}')
        for digest, data in image.blobs.items():
            self.assertEqual((folder / digest[7:]).read_bytes(), data)
        self.assertGreaterEqual(self.via_task(), served + 2)

    def test_what_is_asked_for_in_parts_or_is_not_there(self):
        image, name = self.put_image(5 * MIB)
        data, digest = image.layers[0].data, image.layers[0].digest
        repository = f'demo/{self.name()}'
        out = self.place / self.name()
        curl = ('curl', '-sS', '-H', f'X-Dragonfly-Registry: {self.foreign.url}', '-o', out, '-w', '%{http_code}')
        there = f'http://{self.proxy()}/v2/{repository}'
        self.assertEqual(self.run_tool(*curl, '-r', '1000-2999', f'{there}/blobs/{digest}'), '206')
        self.assertEqual(out.read_bytes(), data[1000:3000])
        self.assertEqual(self.run_tool(*curl, '-r', '-5', f'{there}/blobs/{digest}'), '206')
        self.assertEqual(out.read_bytes(), data[-5:])
        self.assertEqual(self.run_tool(*curl, f'{there}/blobs/{digest}'), '200')
        self.assertEqual(out.read_bytes(), data)
        self.assertEqual(self.run_tool(*curl, f'{there}/blobs/{digest_of(b"nothing")}'), '404')
        self.assertIn('BLOB_UNKNOWN', [each['code'] for each in json.loads(out.read_text())['errors']])
        self.assertEqual(self.run_tool(*curl, '-H', f'Accept: {MANIFEST}', f'{there}/manifests/v1'), '200')
        self.assertEqual(out.read_bytes(), image.manifest)
        self.assertEqual(name, f'{self.foreign.address}/{repository}:v1')


class Distribution2(Pulls, image_case.Case):
    PROGRAM = 'docker-registry'

    @classmethod
    def open_registry(cls, ip):
        config = cls.cluster.place / 'registry.yml'

        def command(port):
            config.write_text(json.dumps({'version': '0.1', 'log': {'level': 'warn'}, 'http': {'addr': f'{ip}:{port}'},
                                          'storage': {'filesystem': {'rootdirectory': str(cls.cluster.place / 'registry')}}}))
            return [cls.PROGRAM, 'serve', config]
        return Foreign(cls.cluster, command, ip, {'OTEL_TRACES_EXPORTER': 'none'})


@unittest.skipUnless(os.environ.get('D7Y_DISTRIBUTION'), 'D7Y_DISTRIBUTION not set: path of Distribution 3')
class Distribution3(Distribution2):
    PROGRAM = os.environ.get('D7Y_DISTRIBUTION')


@unittest.skipUnless(os.environ.get('D7Y_GO_CONTAINERREGISTRY'),
                     'D7Y_GO_CONTAINERREGISTRY not set: path of go-containerregistry\'s registry')
class GoContainerregistry(Pulls, image_case.Case):
    """Keeps everything in memory, and listens at 127.0.0.1 only."""

    @classmethod
    def open_registry(cls, _ip):
        return Foreign(cls.cluster, lambda port: [os.environ['D7Y_GO_CONTAINERREGISTRY'], '-port', str(port)], '127.0.0.1')


if __name__ == '__main__':
    image_case.main()
