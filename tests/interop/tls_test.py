#!/usr/bin/env python3
"""A scheduler, a seed and peers that know each other by certificates of one authority: everything works, and who has
none, or one of a stranger, stays outside."""

import os
import socket
import ssl

import rig
from rig import MIB


class MutualTls(rig.Case):
    def setUp(self):
        super().setUp()
        authority = rig.Authority(self.folder, 'cluster')
        self.own = authority.files('127.0.0.1')
        self.strangers = rig.Authority(self.folder, 'stranger').files('127.0.0.1')
        # What a stranger would need: the cluster's authority is no secret.
        self.strangers['caCert'] = self.own['caCert']
        config = self.folder / 'scheduler.yaml'
        config.write_text(f'''server:
  dataDir: ""
  tls:{rig.keys(self.own, 4)}
seedPeer:
  tls:{rig.keys(self.own, 4)}
''')
        self.scheduler = rig.Scheduler(self, arguments=('--config', config))
        self.seed = self.daemon('seed', self.own, seed=True)
        self.content = os.urandom(24 * MIB + 5)
        self.url = self.origin.add('/f', self.content)

    def daemon(self, name, tls, **settings):
        return rig.Daemon(self, name, scheduler=self.scheduler.port, tls=tls, **settings)

    def download(self, daemon):
        name = f'out-{daemon.name}'
        got = self.get(self.url, '-O', name, '--json', '--daemon', 'require', '--timeout', '60s', daemon=daemon, code=0)
        self.same(self.path(name), self.content)
        return got.json[0]['from']

    def test_a_cluster_with_certificates_shares_what_the_seed_read_once(self):
        for name in ('peer-1', 'peer-2'):
            came = self.download(self.daemon(name, self.own))
            self.assertEqual(came['source'], 0, came)
        self.assertEqual(self.origin['/f'].sent, len(self.content))

    def test_a_stranger_gets_its_bytes_from_the_origin_only(self):
        self.download(self.daemon('peer-1', self.own))
        came = self.download(self.daemon('stranger', self.strangers))
        self.assertEqual(came['source'], len(self.content), came)

    def test_the_port_of_a_peer_is_closed_to_others(self):
        def greet(context):
            with socket.create_connection(('127.0.0.1', self.seed.upload), timeout=20) as plain:
                stream = context.wrap_socket(plain, server_hostname='127.0.0.1') if context else plain
                with stream:
                    stream.sendall(b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n' + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))
                    return stream.recv(9)

        def context(files):
            out = ssl.create_default_context(cafile=self.own['caCert'])
            out.set_alpn_protocols(['h2'])
            if files:
                out.load_cert_chain(files['cert'], files['key'])
            return out

        self.assertEqual(greet(context(self.own))[3], 4)  # a SETTINGS frame
        self.assertIn(greet(None)[:1], (b'', b'\x15'))  # nothing, or an alert of TLS
        for outsider in (context(None), context(self.strangers)):
            with self.assertRaises((ssl.SSLError, ConnectionError)):
                greet(outsider)


if __name__ == '__main__':
    rig.main()
