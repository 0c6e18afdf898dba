#!/usr/bin/env python3
"""./quickstart shows a cluster, and leaves nothing behind. Usage: quickstart_test.py ROOT BUILD

Real programs on this machine: nginx, d7ysched, a seed and two peers, with a small file.
"""

import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time
import unittest

BUILD = pathlib.Path(sys.argv.pop(2)).resolve()
ROOT = pathlib.Path(sys.argv.pop(1)).resolve()


def command_lines():
    """Of all processes: {pid: command line}."""
    found = {}
    for folder in pathlib.Path('/proc').iterdir():
        if folder.name.isdigit():
            try:
                found[int(folder.name)] = (folder / 'cmdline').read_bytes().replace(b'\0', b' ').decode(errors='replace')
            except OSError:
                pass
    return found


class Quickstart(unittest.TestCase):
    def setUp(self):
        self.place = tempfile.TemporaryDirectory()
        self.addCleanup(self.place.cleanup)

    def command(self, *more, image=False):
        return [ROOT / 'quickstart', '--no-install', '--tools', BUILD, '--place', self.place.name,
                *([] if image else ['--no-image']), *more]

    def logs(self):
        return '\n'.join(f'---- {path.name}\n{path.read_text(errors="replace")[-3000:]}'
                         for path in sorted(pathlib.Path(self.place.name, 'logs').glob('*.log')))

    def nothing_runs(self):
        left = {pid: line for pid, line in command_lines().items() if self.place.name in line and pid != os.getpid()}
        self.assertEqual(left, {})

    def test_everybody_gets_the_right_bytes_and_the_origin_is_read_once(self):
        done = subprocess.run(self.command('--size', '24', '--peers', '2', '--image-size', '32', image=True), cwd='/',
                              capture_output=True, text=True, check=False, timeout=240)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr + self.logs())
        self.assertEqual(done.stderr, '')
        self.assertEqual(len(re.findall(r'^peer-\d .* right$', done.stdout, re.MULTILINE)), 2, done.stdout)
        ratio = float(re.search(r'= ([0-9.]+) x the file', done.stdout)[1])
        self.assertGreater(ratio, 0.99, done.stdout)
        self.assertLess(ratio, 1.1, done.stdout)
        for name in ('origin', 'd7ysched', 'seed', 'peer-1', 'peer-2'):
            self.assertRegex(done.stdout, rf'(?m)^{name} +\d+\.\d+ +\d+\.\d MiB$')
        if os.getuid() == 0:
            self.assertEqual(len(re.findall(r'^sha256:\S+ +8\.0 .* 1\.0\d\d times$', done.stdout, re.MULTILINE)), 4,
                             done.stdout)
            self.assertRegex(done.stdout, r'(?m)^all 2 nodes: ')
        self.nothing_runs()
        self.assertEqual(list(pathlib.Path(self.place.name).glob('peer-*')), [])

    def stopped_by(self, number, code, at='downloading', *more, image=False):
        process = subprocess.Popen(self.command('--peers', '4', *more, image=image), cwd='/', stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, text=True)
        said = ''
        for line in process.stdout:
            said += line
            if line.startswith(at):
                process.send_signal(number)
        process.stdout.close()
        self.assertEqual(process.wait(timeout=60), code, said + self.logs())
        self.assertIn('everything is stopped; logs are in', said)
        self.nothing_runs()

    def test_ctrl_c_stops_everything(self):
        self.stopped_by(signal.SIGINT, 130, 'downloading', '--size', '256')

    @unittest.skipUnless(os.getuid() == 0, 'containerd needs root')
    def test_ctrl_c_stops_containers_too(self):
        self.stopped_by(signal.SIGINT, 130, 'pulling', '--size', '1', '--image-size', '64', image=True)

    def test_being_killed_outright_stops_everything_too(self):
        process = subprocess.Popen(self.command('--size', '256'), cwd='/', stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, text=True)
        said = ''
        for line in process.stdout:
            said += line
            if line.startswith('downloading'):
                process.kill()
        process.stdout.close()
        process.wait()
        until = time.monotonic() + 60
        while time.monotonic() < until:
            if not any(self.place.name in line for line in command_lines().values()):
                break
            time.sleep(0.1)
        self.nothing_runs()

    def test_a_program_that_does_not_start_is_reported(self):
        with tempfile.TemporaryDirectory() as fake:
            for name in ('d7yget', 'd7yd', 'd7ysched'):
                path = pathlib.Path(fake, 'tools', name, name)
                path.parent.mkdir(parents=True)
                path.write_text('#!/bin/sh\necho "I would rather not" >&2\nexit 3\n')
                path.chmod(0o755)
            done = subprocess.run([ROOT / 'quickstart', '--no-install', '--tools', fake, '--place', self.place.name,
                                   '--size', '1'], capture_output=True, text=True, check=False, timeout=120)
        self.assertEqual(done.returncode, 1)
        self.assertIn('d7ysched ended with code 3', done.stdout)
        self.assertIn('I would rather not', done.stdout)
        self.nothing_runs()

    def test_nobody_reading_does_not_keep_it_from_stopping(self):
        done = subprocess.run(f'{ROOT}/quickstart --no-image --no-install --tools {BUILD} --place {self.place.name}'
                              ' --size 1 --peers 1 | head -n 1', shell=True, capture_output=True, text=True, check=False, timeout=120)
        self.assertEqual(done.stderr, '')
        self.nothing_runs()

    def test_wrong_arguments(self):
        for wrong in (['--size', '0'], ['--peers', '99'], ['--tools', '/nowhere']):
            done = subprocess.run(self.command(*wrong), capture_output=True, text=True, check=False, timeout=60)
            self.assertEqual(done.returncode, 2, done.stdout)


if __name__ == '__main__':
    unittest.main(verbosity=2)
