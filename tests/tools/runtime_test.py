#!/usr/bin/env python3
"""`d7yd runtime` on trees of files as they stand on machines: nothing else is changed, everything can be taken back.

    tests/tools/runtime_test.py BUILD [Runtime.test ...]
"""

import fcntl
import os
import pathlib
import stat
import subprocess
import sys
import tempfile
import unittest

BUILD = pathlib.Path(sys.argv.pop(1)).resolve()

CONFIG = '''# Written by hand, and dear to somebody.
version = 2

[plugins]
  [plugins."io.containerd.grpc.v1.cri"]
    sandbox_image = "registry.k8s.io/pause:3.9" # the small one
    [plugins."io.containerd.grpc.v1.cri".cni]
      bin_dir = "/usr/lib/cni"
  [plugins."io.containerd.internal.v1.opt"]
    path = "/var/lib/containerd/opt"
'''


class Runtime(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name)
        self.config = self.write('etc/containerd/config.toml', CONFIG)
        os.chmod(self.config, 0o640)

    def write(self, path, text):
        path = self.root / path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def run_tool(self, *arguments, code=0):
        done = subprocess.run([BUILD / 'tools/d7yd/d7yd', 'runtime', *arguments, '--root', self.root],
                              capture_output=True, text=True, check=False, timeout=60)
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        return done.stdout + done.stderr

    def tree(self):
        return {str(path.relative_to(self.root)): path.read_text() for path in self.root.rglob('*') if path.is_file()}

    def configure(self, *more, code=0):
        return self.run_tool('configure', 'containerd', '--registry', 'ghcr.io', *more, code=code)

    def hosts(self, registry='ghcr.io'):
        return self.root / 'etc/containerd/certs.d' / registry / 'hosts.toml'

    def test_a_dry_run_shows_a_diff_and_changes_nothing(self):
        before = self.tree()
        said = self.configure('--dry-run')
        self.assertEqual(self.tree(), before)
        self.assertIn(f'--- {self.config}\n+++ {self.config}\n@@ -6,5 +6,8 @@\n', said)
        self.assertIn('+      config_path = "/etc/containerd/certs.d"\n', said)
        self.assertIn(f'--- /dev/null\n+++ {self.hosts()}\n', said)

    def test_the_diff_is_what_patch_applies(self):
        diff = self.configure('--dry-run')
        diff = diff[diff.index(f'--- {self.config}'):]
        copy = self.root / 'copy.toml'
        copy.write_text(CONFIG)
        try:
            done = subprocess.run(['patch', copy], input=diff, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            self.skipTest('patch is not installed')
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.configure()
        self.assertEqual(copy.read_text(), self.config.read_text())

    def test_what_is_no_registry_is_refused_with_what_to_say(self):
        before = self.tree()
        for given, says in {'http://ghcr.io': 'ghcr.io=http://ghcr.io', 'https://reg:5000/v2/': 'as in image names: reg:5000 ',
                            'ghcr.io/team': 'whole registries only: --registry ghcr.io', '../x': 'such as ghcr.io'}.items():
            said = self.run_tool('configure', 'containerd', '--registry', given, code=2)
            self.assertIn(says, said, given)
        self.assertEqual(self.tree(), before)

    def test_other_settings_comments_and_permissions_stay(self):
        said = self.configure()
        self.assertIn('needed for it to take effect: nsenter -t 1 -m -- systemctl restart containerd', said)
        text = self.config.read_text()
        added = '\n    [plugins."io.containerd.grpc.v1.cri".registry]\n      config_path = "/etc/containerd/certs.d"\n'
        self.assertIn(added, text)
        self.assertEqual(text.replace(added, ''), CONFIG)
        self.assertEqual(stat.S_IMODE(self.config.stat().st_mode), 0o640)
        self.assertEqual(stat.S_IMODE(self.hosts().stat().st_mode), 0o644)

    def test_twice_is_as_once(self):
        self.configure()
        before = self.tree()
        self.assertIn('containerd is configured already', self.configure())
        self.assertEqual(self.tree(), before)

    def test_several_at_once_work_one_after_the_other(self):
        before = self.tree()
        other = os.open(self.root / 'etc', os.O_RDONLY)
        fcntl.flock(other, fcntl.LOCK_EX)
        command = [BUILD / 'tools/d7yd/d7yd', 'runtime', 'configure', 'containerd', '--root', self.root, '--registry']
        waiting = [subprocess.Popen([*command, f'r{number}.example'], stdout=subprocess.DEVNULL,
                                    stderr=subprocess.PIPE, text=True) for number in range(6)]
        for one in waiting:
            self.assertIn('waits for another one', one.stderr.readline())
        self.assertEqual(self.tree(), before)
        self.configure('--dry-run')  # waits for nobody
        os.close(other)
        for one in waiting:
            self.assertEqual(one.wait(60), 0, one.stderr.read())
            one.stderr.close()
        self.assertEqual(len(list(self.hosts().parent.parent.iterdir())), 1)  # each took back what those before it wrote
        self.run_tool('undo', 'containerd', '--restart', '--restart-command', 'true')
        self.assertEqual(self.tree(), before)

    def test_undo_leaves_nothing(self):
        before = self.tree()
        self.configure()
        self.run_tool('undo', 'containerd', '--restart', '--restart-command', 'true')
        self.assertEqual(self.tree(), before)
        self.assertFalse((self.root / 'etc/containerd/certs.d/ghcr.io').exists())
        self.assertFalse((self.root / 'etc/containerd/.d7yd').exists())
        self.assertIn('nothing of d7yd', self.run_tool('undo', 'containerd'))

    def test_undo_keeps_what_people_added_meanwhile(self):
        self.configure()
        self.config.write_text(self.config.read_text() + '\n[grpc]\n  address = "/run/c.sock"\n')
        self.run_tool('undo', 'containerd')
        self.assertEqual(self.config.read_text(), CONFIG + '\n[grpc]\n  address = "/run/c.sock"\n')

    def test_undo_does_not_guess(self):
        self.configure()
        text = self.config.read_text().replace('/etc/containerd/certs.d', '/elsewhere')
        self.config.write_text(text)
        before = self.tree()
        said = self.run_tool('undo', 'containerd', code=4)
        self.assertIn('/etc/containerd/config.toml', said)
        self.assertEqual(self.tree(), before)
        self.run_tool('undo', 'containerd', '--force')
        self.assertEqual(self.config.read_text(), CONFIG)

    def test_other_settings_replace_the_former_ones(self):
        self.configure('--registry', 'quay.io')
        self.configure('--proxy', 'http://127.0.0.1:5001')
        text = self.hosts().read_text()
        self.assertIn('[host."http://127.0.0.1:5001"]', text)
        self.assertNotIn(':4001', text)
        self.assertFalse(self.hosts('quay.io').exists())

    def test_a_restart_happens_once_and_only_if_needed(self):
        count = ['--restart', '--restart-command', f'echo x >> {self.root}/restarts']
        restarts = lambda: (self.root / 'restarts').read_text().count('x')
        self.configure()
        self.configure(*count)  # what the first one has left to do
        self.assertEqual(restarts(), 1)
        self.configure(*count)
        self.configure('--registry', 'quay.io', *count)  # hosts.toml is read at each pull
        self.assertEqual(restarts(), 1)
        self.configure('--config-path', '/etc/containerd/config.toml', *count)
        self.assertEqual(restarts(), 1)
        self.run_tool('undo', 'containerd', *count)
        self.assertEqual(restarts(), 2)

    def test_an_imported_file_that_wins_is_changed_and_put_back(self):
        self.config.write_text('imports = ["/etc/containerd/conf.d/*.toml"]\n' + CONFIG)
        self.write('etc/containerd/conf.d/gpu.toml', 'version = 2\n[plugins."io.containerd.grpc.v1.cri".containerd]\n  x = 1\n')
        before = self.tree()
        said = self.configure()
        self.assertIn('changed ' + str(self.root / 'etc/containerd/conf.d/gpu.toml'), said)
        self.assertIn('needed for it to take effect', said)
        self.assertEqual(self.config.read_text(), before['etc/containerd/config.toml'])
        self.assertIn('configured already', self.configure('--restart', '--restart-command', 'true'))
        self.assertIn('running: true', self.run_tool('undo', 'containerd', '--restart', '--restart-command', 'true'))
        self.assertEqual(self.tree(), before)

    def test_a_restart_that_fails_is_tried_again(self):
        self.configure('--restart', '--restart-command', 'exit 7', code=1)
        self.assertIn('running: true', self.configure('--restart', '--restart-command', 'true'))
        self.assertNotIn('running', self.configure('--restart', '--restart-command', 'true'))

    def test_all_files_or_none(self):
        (self.root / 'etc/containerd/certs.d').mkdir()
        (self.root / 'etc/containerd/certs.d/ghcr.io').write_text('in the way')
        before = self.tree()
        said = self.configure(code=1)
        self.assertIn('ghcr.io', said)
        self.assertIn('nothing is changed', said)
        self.assertNotIn('wrote', said)
        self.assertEqual(self.tree(), before)

    def test_links_are_followed_as_the_host_follows_them(self):
        (self.root / 'opt').mkdir()
        self.config.rename(self.root / 'opt/real.toml')
        self.config.symlink_to('/opt/real.toml')  # absolute on the host, which is at --root
        before = self.tree()
        self.configure()
        self.assertEqual(os.readlink(self.config), '/opt/real.toml')
        text = (self.root / 'opt/real.toml').read_text()
        self.assertIn('sandbox_image = "registry.k8s.io/pause:3.9" # the small one', text)
        self.assertIn('config_path = "/etc/containerd/certs.d"', text)
        self.run_tool('undo', 'containerd', '--restart', '--restart-command', 'true')
        self.assertEqual(self.tree(), before)
        self.assertEqual(os.readlink(self.config), '/opt/real.toml')

    def test_a_linked_folder_takes_new_files(self):
        (self.root / 'opt/certs').mkdir(parents=True)
        (self.root / 'etc/containerd/certs.d').symlink_to('/opt/certs')
        self.configure()
        self.assertTrue((self.root / 'opt/certs/ghcr.io/hosts.toml').is_file())
        self.run_tool('undo', 'containerd')
        self.assertEqual(os.listdir(self.root / 'opt/certs'), [])

    def test_nothing_takes_the_place_of_a_link_whose_target_cannot_be_seen(self):
        self.config.unlink()
        self.config.symlink_to('/var/elsewhere/config.toml')  # of a folder that is not mounted here
        said = self.configure(code=3)
        self.assertIn('/etc/containerd/config.toml -> /var/elsewhere/config.toml', said)
        self.assertEqual(os.readlink(self.config), '/var/elsewhere/config.toml')
        self.assertEqual(os.listdir(self.root / 'etc/containerd'), ['config.toml'])
        self.config.unlink()
        self.config.symlink_to('config.toml')
        self.assertIn('leads nowhere', self.configure(code=3))

    def test_nothing_is_said_to_be_written_that_is_not(self):
        (self.root / 'etc/containerd/.d7yd').write_text('in the way')
        said = self.configure(code=1)
        self.assertIn('nothing is changed', said)
        self.assertNotIn('wrote', said)
        self.assertEqual(self.config.read_text(), CONFIG)

    def test_what_is_not_toml_is_refused(self):
        self.config.write_text('version = 2\n[plugins\n')
        self.assertIn('config.toml:2: ', self.configure(code=3))
        self.assertEqual(self.config.read_text(), 'version = 2\n[plugins\n')

    def test_dfinit_yaml_says_what_to_do(self):
        dfinit = self.write('dfinit.yaml', '''proxy:
  addr: http://127.0.0.1:4001
containerRuntime:
  containerd:
    configPath: /etc/containerd/config.toml
    proxyAllRegistries: true
    registries:
      - hostNamespace: docker.io
        serverAddr: https://index.docker.io
        capabilities: ['pull', 'resolve']
        skipVerify: true
  colour: blue
''')
        said = self.run_tool('configure', '-c', dfinit)
        self.assertIn('dfinit.yaml:12: unknown key containerRuntime.colour', said)
        self.assertIn('skipVerify and ca are left out', said)
        self.assertIn('X-Dragonfly-Registry = "https://index.docker.io"', self.hosts('docker.io').read_text())
        self.assertTrue(self.hosts('_default').exists())
        self.run_tool('undo', '-c', dfinit)
        self.assertEqual(self.config.read_text(), CONFIG)

    def test_docker_podman_and_crio(self):
        docker = self.write('etc/docker/daemon.json', '{\n  "log-driver": "journald"\n}\n')
        conf = self.write('etc/containers/registries.conf', '# long comments\nunqualified-search-registries = ["docker.io"]\n')
        before = self.tree()
        self.run_tool('configure', 'docker')
        self.assertEqual(docker.read_text(), '{\n  "log-driver": "journald",\n  "registry-mirrors": ["http://127.0.0.1:4001"]\n}\n')
        self.run_tool('configure', 'podman', '--registry', 'quay.io')
        self.assertTrue(conf.read_text().startswith(before['etc/containers/registries.conf'] + '\n[[registry]]\n'))
        said = self.run_tool('configure', 'crio', '--registry', 'ghcr.io')
        self.assertIn('systemctl reload crio', said)
        self.assertIn('127.0.0.1:4001/quay.io', conf.read_text())
        self.assertIn('127.0.0.1:4001/ghcr.io', conf.read_text())
        for runtime in ('docker', 'podman', 'crio'):
            self.run_tool('undo', runtime, '--restart', '--restart-command', 'true')
        self.assertEqual(self.tree(), before)

    def test_wrong_usage(self):
        self.run_tool('configure', 'rkt', code=2)
        self.run_tool('configure', 'podman', code=2)
        self.run_tool('configure', 'containerd', code=2)
        self.configure('--proxy', '127.0.0.1:4001', code=2)
        self.run_tool('configure', 'containerd', '--registry', '../etc', code=2)
        self.run_tool('configure', '-c', self.root / 'nowhere.yaml', code=2)


if __name__ == '__main__':
    unittest.main(verbosity=2)
