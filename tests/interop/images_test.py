#!/usr/bin/env python3
"""Real clients of registries through d7yd: containerd, skopeo, buildah, curl, wget, aria2c; registries of every kind.

    tests/interop/images_test.py build-dev [Images.test_name]

One cluster for all tests (image_case.py), one containerd at each peer. Debian's docker-registry is in ./quickstart and its
test. With D7Y_BIG_LAYER=GIB in the environment, also a layer of so many GiB.
"""

import hashlib
import mmap
import os
import subprocess
import unittest

import image_case
from image_case import MIB, PEERS
from registry import Image, Layer, digest_of, random_layer

BIG_LAYER = int(os.environ.get('D7Y_BIG_LAYER', 0))  # GiB


def setUpModule():
    image_case.needs('containerd', 'ctr', 'unshare', 'skopeo', 'buildah', 'zstd')


class Case(image_case.Case):
    CONTAINERDS = True
    IN_MEMORY = not BIG_LAYER

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.plain = cls.registries['plain.test']

    def pull(self, image, *more, node=0, code=0):
        return self.run_tool(*self.nodes[node].pull_command(image, *more), code=code)

    def fetch(self, image, *more, node=0, code=0):
        """Without unpacking."""
        node = self.nodes[node]
        return self.run_tool(*node.command('content', 'fetch', '--hosts-dir', node.hosts, *more, image), code=code)

    def has(self, node, *digests):
        there = self.run_tool(*self.nodes[node].command('content', 'ls', '-q')).split()
        for digest in digests:
            self.assertIn(digest, there)


class Images(Case):
    REGISTRIES = {'plain.test': {}, 'wary.test': {'users': {'me': 'secret'}}, 'stored.test': {'storage': True}}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.wary, cls.stored = cls.registries['wary.test'], cls.registries['stored.test']

    # ---- containerd

    def test_containerd_on_two_nodes_takes_each_layer_once(self):
        image = Image([random_layer(f'file-{i}', 5 * MIB) for i in range(3)])
        name = self.put(self.plain, image)
        served = self.via_task()
        self.pull_on_all_nodes(name)
        self.crossed_once(self.plain, image)
        self.assertGreaterEqual(self.via_task(), served + 3)

    def test_multi_arch_index(self):
        images = [Image([random_layer('file', MIB)], architecture=name) for name in ('amd64', 'arm64', 's390x')]
        name = self.put(self.plain, *images)
        self.pull(name, '--platform', 'linux/arm64')
        self.has(0, images[1].layers[0].digest)
        self.assertEqual(self.plain.sent(images[2].layers[0].digest), 0)
        self.fetch(name, '--all-platforms', node=1)
        self.has(1, *(image.layers[0].digest for image in images))

    def test_zstd_and_plain_layers(self):
        image = Image([Layer('text', b'much the same again and again\n' * 100_000, form='zstd'),
                       random_layer('noise', MIB, form='plain')])
        self.pull(self.put(self.plain, image))
        self.crossed_once(self.plain, image)

    def test_foreign_layers_come_from_where_they_are(self):
        foreign = random_layer('licensed', MIB)
        elsewhere = Image([foreign])
        self.stored.put('elsewhere', 'v1', elsewhere)
        signature = 'always'
        self.stored.tokens.add(signature)
        foreign.urls = [f'{self.stored.url}/storage/{foreign.digest}?X-Signature={signature}']
        image = Image([random_layer('ours', MIB), foreign])
        self.pull(self.put(self.plain, image, without=[foreign.digest]))
        self.has(0, foreign.digest)

    def test_a_registry_with_tokens(self):
        image = Image([random_layer('file', 3 * MIB)])
        name = self.put(self.wary, image)
        self.pull(name, code=1)
        self.pull(name, '--user', 'me:wrong', code=1)
        self.assertEqual(self.wary.sent(image.layers[0].digest), 0)
        self.pull(name, '--user', 'me:secret')
        self.crossed_once(self.wary, image)
        self.pull(name, '--user', 'me:secret', node=1)
        self.has(1, image.layers[0].digest)

    def test_credentials_reach_no_log(self):
        image = Image([random_layer('file', MIB)])
        self.pull(self.put(self.wary, image), '--user', 'me:secret')
        tokens = [entry[0] for entry in self.wary.tokens if isinstance(entry, tuple)]
        self.assertTrue(tokens)
        for log in self.cluster.logs.glob('*.log'):
            if log.name.startswith(('peer', 'seed', 'd7ysched')):
                text = log.read_text(errors='replace')
                for secret in tokens:
                    self.assertNotIn(secret, text, log.name)

    def test_blobs_behind_signed_addresses(self):
        image = Image([random_layer(f'file-{i}', 6 * MIB) for i in range(2)])
        name = self.put(self.stored, image)
        self.pull(name)
        self.pull(name, node=1)
        self.crossed_once(self.stored, image)

    def test_a_registry_that_breaks_off_in_the_middle_of_a_layer(self):
        image = Image([random_layer('file', 9 * MIB)])
        digest = image.layers[0].digest
        name = self.put(self.plain, image)
        self.plain.break_after[digest] = [2 * MIB + 5]
        self.pull(name)
        self.assertEqual(self.plain.break_after[digest], [])
        self.has(0, digest)
        # What had arrived was not fetched again, not even of the piece that was cut.
        self.crossed_once(self.plain, image)

    def test_a_registry_that_dies_in_the_middle_of_a_layer_and_comes_back(self):
        image = Image([random_layer('file', 9 * MIB)])
        digest = image.layers[0].digest
        name = self.put(self.plain, image)
        self.plain.break_after[digest] = [2 * MIB + 5]

        def die():
            self.plain.dead = 2
        self.plain.at_break = die
        self.addCleanup(setattr, self.plain, 'at_break', lambda: None)
        self.addCleanup(setattr, self.plain, 'dead', 0)
        self.pull(name)
        self.assertEqual(self.plain.break_after[digest], [])
        self.assertLess(self.plain.dead, 2)
        # Where the seed gave up, the peer has the piece that was cut anew: an origin does not vouch for bytes of a peer.
        again = self.plain.sent(digest) - len(image.layers[0].data)
        self.assertIn(again, (0, 2 * MIB + 5))
        self.pull(name, node=1)
        self.has(1, digest)

    def test_a_token_that_expires_in_the_middle_of_a_layer(self):
        image = Image([random_layer('file', 9 * MIB)])
        digest = image.layers[0].digest
        name = self.put(self.wary, image)
        self.wary.break_after[digest] = [2 * MIB + 5]
        self.wary.at_break = self.wary.expire
        self.addCleanup(setattr, self.wary, 'at_break', lambda: None)
        self.pull(name, '--user', 'me:secret')
        self.assertEqual(self.wary.break_after[digest], [])
        self.has(0, digest)
        # containerd 1.6 keeps a token for a host as long as a pull lasts. So it gets a new one only where it goes next: the
        # registry itself, for what it does not have.
        size = len(image.layers[0].data)
        self.assertIn([part for part in self.wary.parts(digest) if not part[2]], ([], [(2 * MIB + 5, size, False)]))
        # The next one has what is here from here, and the rest from the byte on where it broke.
        self.run_tool(*self.nodes[0].command('image', 'rm', '--sync', name))
        self.pull(name, '--user', 'me:secret')
        ends = [0]
        for begin, end, _ in sorted(part for part in self.wary.parts(digest) if part[2]):
            self.assertEqual(begin, ends[-1])
            ends.append(end)
        self.assertEqual(ends[-1], size)

    def test_a_token_that_has_expired_since_the_layer_was_cached(self):
        image = Image([random_layer('file', 5 * MIB)])
        name = self.put(self.wary, image)
        self.pull(name, '--user', 'me:secret')
        self.wary.expire()
        self.pull(name, node=1, code=1)
        self.pull(name, '--user', 'me:secret', node=1)
        self.crossed_once(self.wary, image)

    def test_the_access_log_says_what_containerd_asked_for(self):
        # As in the tutorials: search the traces for http.url="/v2/<repository>/blobs/sha256:<hex>?ns=<registry>".
        image = Image([random_layer('file', 2 * MIB)])
        name = self.put(self.plain, image, name='ghcr.test')
        hosts = self.nodes[0].hosts / 'ghcr.test' / 'hosts.toml'
        hosts.parent.mkdir()
        hosts.write_text(f'''server = "https://ghcr.test"
[host."http://{self.proxy()}"]
capabilities = ["pull", "resolve"]
skip_verify = true
[host."http://{self.proxy()}".header]
X-Dragonfly-Registry = "{self.plain.url}"
''')
        self.pull(name)
        path = f'/v2/demo/{self.name()}'
        for digest in (image.layers[0].digest, digest_of(image.config)):
            found = [line for line in self.access_log() if f'http.url="{path}/blobs/{digest}?ns=ghcr.test"' in line]
            self.assertEqual(len(found), 1)
            self.assertIn('http.method=GET', found[0])
            self.assertIn('via=task', found[0])
        self.assertTrue([line for line in self.access_log() if f'http.method=HEAD http.url="{path}/manifests/v1?ns=ghcr.test"' in line])

    # ---- other clients

    def registries_conf(self, peer=0):
        path = self.place / f'registries-{peer}.conf'
        path.write_text(''.join(
            f'[[registry]]\nprefix = "{name}"\nlocation = "{each.address}"\ninsecure = true\n'
            f'[[registry.mirror]]\nlocation = "{self.proxy(peer)}/{name}"\ninsecure = true\n'
            for name, each in self.registries.items()))
        return path

    def skopeo(self, image, folder, peer=0):
        self.run_tool('skopeo', '--registries-conf', self.registries_conf(peer), 'copy', '--quiet', f'docker://{image}',
                      f'dir:{folder}')

    def test_skopeo_through_a_mirror_by_path(self):
        image = Image([random_layer('file', 4 * MIB)])
        name = self.put(self.stored, image, name='stored.test')
        served = self.via_task()
        folder = self.place / 'skopeo'
        self.skopeo(name, folder)
        self.assertEqual(digest_of((folder / image.layers[0].digest[7:]).read_bytes()), image.layers[0].digest)
        self.crossed_once(self.stored, image)
        self.assertGreater(self.via_task(), served)

    def test_buildah_pulls(self):
        image = Image([random_layer('file', 2 * MIB), Layer('text', b'x' * 100_000, form='zstd')])
        name = self.put(self.plain, image, name='plain.test')
        served = self.via_task()
        storage = ['--root', self.place / 'buildah', '--runroot', self.place / 'buildah-run', '--storage-driver', 'vfs']
        self.run_tool('buildah', *storage, 'pull', '--quiet', name, env={'CONTAINERS_REGISTRIES_CONF': str(self.registries_conf())})
        self.assertIn('demo/buildah-pulls', self.run_tool('buildah', *storage, 'images'))
        self.crossed_once(self.plain, image)
        self.assertGreater(self.via_task(), served)

    def blob(self, size=5 * MIB):
        data = os.urandom(size)
        self.plain.blobs[digest_of(data)] = data
        return data, f'http://{self.proxy()}/v2/files/blobs/{digest_of(data)}?ns={self.plain.url.partition("//")[2]}'

    def test_curl_from_the_mirror(self):
        data, url = self.blob()
        out = self.place / 'curl'
        header = f'X-Dragonfly-Registry: {self.plain.url}'
        for _ in range(2):
            self.run_tool('curl', '-sSf', '-H', header, '-o', out, url)
            self.assertEqual(out.read_bytes(), data)
        self.run_tool('curl', '-sSf', '-H', header, '-r', '1000-2999', '-o', out, url)
        self.assertEqual(out.read_bytes(), data[1000:3000])
        self.assertEqual(self.plain.sent(digest_of(data)), len(data))

    def test_an_image_of_a_hundred_layers(self):
        # By skopeo: containerd waits for the disk after each of them.
        image = Image([random_layer(f'file-{i}', 3000 + i) for i in range(100)])
        name = self.put(self.plain, image, name='plain.test')
        for peer in range(PEERS):
            folder = self.place / f'hundred-{peer}'
            self.skopeo(name, folder, peer)
            for layer in image.layers:
                self.assertEqual(digest_of((folder / layer.digest[7:]).read_bytes()), layer.digest)
        # Small content comes straight from where it is, for each peer.
        for layer in image.layers:
            self.assertLessEqual(self.plain.sent(layer.digest), PEERS * len(layer.data))

    def test_an_empty_blob(self):
        # containerd refuses them by itself.
        image = Image([random_layer('file', 1000)], more_blobs=[b''])
        folder = self.place / 'empty'
        self.skopeo(self.put(self.plain, image, name='plain.test'), folder)
        self.assertEqual((folder / digest_of(b'')[7:]).read_bytes(), b'')
        _, url = self.blob(0)
        self.run_tool('curl', '-sSf', '-H', f'X-Dragonfly-Registry: {self.plain.url}', '-o', folder / 'curl', url)
        self.assertEqual((folder / 'curl').read_bytes(), b'')

    def test_wget_and_aria2c_from_the_mirror(self):
        data, url = self.blob()
        out = self.place / 'wget'
        header = f'X-Dragonfly-Registry: {self.plain.url}'
        self.run_tool('wget', '-q', '--header', header, '-O', out, url)
        self.assertEqual(out.read_bytes(), data)
        self.run_tool('aria2c', '-q', '--header', header, '-x', '4', '-s', '4', '-k', '1M', '-d', self.place, '-o', 'aria',
                      '--allow-overwrite=true', url)
        self.assertEqual((self.place / 'aria').read_bytes(), data)

    # ---- the proxy as http_proxy

    def test_curl_wget_and_aria2c_through_the_forward_proxy(self):
        data = os.urandom(6 * MIB)
        self.plain.blobs[digest_of(data)] = data
        url = f'{self.plain.url}/v2/demo/blobs/{digest_of(data)}'
        proxy = f'http://{self.proxy()}'
        commands = {
            'curl': ['curl', '-sSf', '--noproxy', '', '-x', proxy, '-o'],
            'wget': ['wget', '-q', '-e', 'use_proxy=yes', '-e', f'http_proxy={proxy}', '-e', 'no_proxy=', '-O'],
            'aria2c': ['aria2c', '-q', f'--all-proxy={proxy}', '--no-proxy=', '-d', '/', '-x', '4', '-k', '1M', '-o'],
        }
        for name, command in commands.items():
            out = self.place / f'forward-{name}'
            self.run_tool(*command, out, url)
            self.assertEqual(out.read_bytes(), data, name)
        # A rule matches: one of them fetched it, the others had it from the store.
        self.assertEqual(self.plain.sent(digest_of(data)), len(data))
        # What no rule matches, or does not exist, is the origin's to answer.
        self.run_tool('curl', '-sSf', '--noproxy', '', '-x', proxy, f'{self.plain.url}/v2/')
        self.run_tool('curl', '-sSf', '--noproxy', '', '-x', proxy, f'{self.plain.url}/v2/no/manifests/v1', code=22)

    @unittest.skipUnless(BIG_LAYER, 'only with D7Y_BIG_LAYER=GIB in the environment')
    def test_a_big_layer(self):
        size = BIG_LAYER << 30
        path = self.place / 'big'
        digest = hashlib.sha256()
        with open(path, 'wb') as file:
            for _ in range(size // (16 * MIB)):
                block = os.urandom(16 * MIB)
                digest.update(block)
                file.write(block)
        name = 'sha256:' + digest.hexdigest()
        with open(path, 'rb') as file:
            self.plain.blobs[name] = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
        url = f'http://{self.proxy()}/v2/files/blobs/{name}'
        got = self.run_tool('sh', '-c', f"curl -sSf -H 'X-Dragonfly-Registry: {self.plain.url}' {url} | sha256sum",
                            timeout=600)
        self.assertEqual(got.split()[0], digest.hexdigest())


class WrongContent(Case):
    """A cluster of its own: who passed the wrong bytes on is not asked for anything for a while."""
    REGISTRIES = {'plain.test': {}}

    def test_a_blob_that_is_not_what_it_is_called_is_refused(self):
        image = Image([random_layer('file', 5 * MIB)])
        digest = image.layers[0].digest
        name = self.put(self.plain, image)
        right = self.plain.blobs[digest]
        self.plain.blobs[digest] = right[:-1] + bytes([right[-1] ^ 1])
        self.pull(name, code=1)
        self.plain.blobs[digest] = right
        self.pull(name)
        self.pull(name, node=1)


if __name__ == '__main__':
    image_case.main()
