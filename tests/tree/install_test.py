#!/usr/bin/env python3
"""What `meson install` puts on a machine is enough to build and run programs. Usage: install_test.py ROOT BUILD MESON"""

import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

MESON = sys.argv.pop(3)
BUILD = pathlib.Path(sys.argv.pop(2)).resolve()
ROOT = pathlib.Path(sys.argv.pop(1)).resolve()


# A program with a running node forks; its child calls exit(), with or without a node of its own before.
FORK = r'''
#include <d7y/d7y.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static d7y_node *fetch(const char *url) {
  d7y_node *node = NULL;
  d7y_download *download = NULL;
  if (d7y_node_open(&node, NULL) != D7Y_OK || d7y_download_start(&download, node, url, NULL) != D7Y_OK ||
      d7y_download_wait(download, D7Y_FOREVER) != D7Y_OK)
    exit(1);
  d7y_download_free(download);
  return node;
}

int main(int argc, char **argv) {
  d7y_node *node = fetch(argv[1]);
  pid_t child = fork();
  int status = 0;
  if (child == 0) {
    if (argv[2][0] == 'o') d7y_node_free(fetch(argv[1]));
    exit(7);
  }
  waitpid(child, &status, 0);
  d7y_node_free(node);
  return WIFEXITED(status) && WEXITSTATUS(status) == 7 ? 0 : 2;
}
'''


def run(*command, **options):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, **options)
    if done.returncode:
        raise AssertionError(f'{command} ended with code {done.returncode}:\n{done.stdout}{done.stderr}')
    return done.stdout


class Install(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.root = pathlib.Path(cls.folder.name)
        run(MESON, 'install', '-C', BUILD, '--no-rebuild', '--destdir', cls.root)
        cls.files = {str(path.relative_to(cls.root)): path for path in cls.root.rglob('*') if not path.is_dir()}

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def one(self, pattern):
        found = [path for name, path in self.files.items() if re.search(pattern, name)]
        self.assertEqual(len(found), 1, f'{pattern}: {found} of {sorted(self.files)}')
        return found[0]

    def environment(self):
        pc = self.one(r'/pkgconfig/d7y\.pc$')
        library = self.one(r'/libd7y\.so\.\d+\.\d+\.\d+$')
        return {**os.environ, 'PKG_CONFIG_PATH': str(pc.parent), 'PKG_CONFIG_SYSROOT_DIR': str(self.root),
                'LD_LIBRARY_PATH': str(library.parent)}

    def test_everything_is_there_and_nothing_else(self):
        for wanted in (r'/bin/d7yget$', r'/s?bin/d7yd$', r'/s?bin/d7ysched$', r'/man1/d7yget\.1$', r'/man8/d7yd\.8$',
                       r'/man8/d7ysched\.8$', r'/include/d7y/d7y\.h$', r'/pkgconfig/d7y\.pc$'):
            self.one(wanted)
        headers = {path.name for path in (ROOT / 'include' / 'd7y').glob('*.h')}
        self.assertEqual({pathlib.Path(name).name for name in self.files if '/include/' in name}, headers)
        strange = [name for name in self.files if not re.search(r'/(bin|sbin|include/d7y|man[18]|pkgconfig)/|/libd7y\.so', name)]
        self.assertEqual(strange, [], 'libraries of the inside must not be installed')

    def test_the_library_has_a_soname_and_exports_nothing_but_d7y(self):
        library = self.one(r'/libd7y\.so\.\d+\.\d+\.\d+$')
        self.assertRegex(run('readelf', '-d', library), r'SONAME.*\[libd7y\.so\.\d+\]')
        names = [line.split()[0] for line in run('nm', '-D', '--defined-only', '--format=posix', library).splitlines()]
        self.assertGreater(len(names), 20)
        self.assertEqual([name for name in names if not name.startswith('d7y_')], [])

    def test_the_library_is_small(self):
        options = {each['name']: each['value']
                   for each in json.loads((BUILD / 'meson-info' / 'intro-buildoptions.json').read_text())}
        if options['optimization'] not in ('2', 's'):
            self.skipTest('not a release')
        stripped = self.root / 'stripped.so'
        run('strip', '-o', stripped, self.one(r'/libd7y\.so\.\d+\.\d+\.\d+$'))
        self.assertLessEqual(stripped.stat().st_size, 8 << 20,
                             'unless subprojects/android-platform-* was unpacked before packagefiles changed: remove it')

    def test_the_readme_program_builds_in_c_and_cxx_and_runs(self):
        code = re.search(r'```c\n(#include <d7y/d7y\.h>.*?)```', (ROOT / 'README.md').read_text(), re.DOTALL)[1]
        code += ('int main(int argc, char **argv) {\n'
                 '  return argc == 3 ? -fetch(argv[1], argv[2]) : 99;\n}\n')
        env = self.environment()
        flags = run('pkg-config', '--cflags', '--libs', 'd7y', env=env).split()
        strict = ['-Wall', '-Wextra', '-Wpedantic', '-Werror']
        source = self.root / 'source.txt'
        source.write_text('a file\n' * 1000)
        for compiler, suffix, standard in (('cc', 'c', '-std=c99'), ('c++', 'cc', '-std=c++11')):
            program = self.root / f'fetch-{suffix}'
            program.with_suffix('.' + suffix).write_text(code)
            run(compiler, standard, *strict, program.with_suffix('.' + suffix), '-o', program, *flags)
            target = self.root / f'target-{suffix}'
            run(program, f'file://{source}', target, env=env, timeout=60)
            self.assertEqual(target.read_text(), source.read_text())

    def test_a_forked_child_of_a_program_with_a_node_exits_like_any_other(self):
        env = self.environment()
        source, program = self.root / 'fork.c', self.root / 'fork'
        source.write_text(FORK)
        (self.root / 'in').write_text('a file\n' * 1000)
        run('cc', '-std=gnu99', source, '-o', program, *run('pkg-config', '--cflags', '--libs', 'd7y', env=env).split())
        for child in ('exits', 'opens'):
            run(program, f'file://{self.root}/in', child, env=env, timeout=60)

    def test_each_public_header_can_be_included_alone(self):
        env = self.environment()
        flags = run('pkg-config', '--cflags', 'd7y', env=env).split()
        for header in sorted((ROOT / 'include' / 'd7y').glob('*.h')):
            run('cc', '-std=c99', '-Wall', '-Wextra', '-Wpedantic', '-Werror', '-fsyntax-only', '-x', 'c', '-', *flags,
                input=f'#include <d7y/{header.name}>\ntypedef int something;\n')

    def test_the_tools_find_the_library_where_they_were_put_and_answer(self):
        env = {name: value for name, value in os.environ.items() if name != 'LD_LIBRARY_PATH'}
        version = re.search(r'^Version: (.+)$', self.one(r'/d7y\.pc$').read_text(), re.MULTILINE)[1]
        for tool in ('d7yget', 'd7yd', 'd7ysched'):
            program = self.one(rf'/s?bin/{tool}$')
            self.assertIn(version, run(program, '--version', env=env))
            self.assertIn('--help', run(program, '--help', env=env))


if __name__ == '__main__':
    unittest.main(verbosity=2)
