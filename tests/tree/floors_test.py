#!/usr/bin/env python3
"""The floor check finds what it promises to find. Usage: floors_test.py PATH-TO-floors.py"""

import pathlib
import subprocess
import sys
import tempfile
import unittest

FLOORS = pathlib.Path(sys.argv.pop(1)).resolve()


class Floors(unittest.TestCase):
    def run_on(self, files):
        """Exit code and output of the check on a tree of {path: text}."""
        with tempfile.TemporaryDirectory() as folder:
            for name, text in files.items():
                path = pathlib.Path(folder, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
            stamp, depfile = pathlib.Path(folder, 'stamp'), pathlib.Path(folder, 'deps')
            done = subprocess.run(
                [sys.executable, FLOORS, folder, '--stamp', stamp, '--depfile', depfile],
                capture_output=True, text=True, check=False)
            self.assertEqual(done.stderr, '')
            self.assertEqual(stamp.exists(), done.returncode == 0)
            self.deps = depfile.read_text() if depfile.exists() else ''
            return done.returncode, done.stdout

    def refused(self, files, *words):
        code, output = self.run_on(files)
        self.assertEqual(code, 1, output)
        for word in words:
            self.assertIn(word, output)

    def accepted(self, files):
        code, output = self.run_on(files)
        self.assertEqual((code, output), (0, ''))

    def test_downwards_and_own_room_are_fine(self):
        self.accepted({
            'lib/base/a.h': '#include <string>\n#include "base/b.h"\n',
            'lib/node/n.cc': '#include "node/n.h"\n#include "swarm/s.h"\n#include "base/a.h"\n',
            'lib/proxy/p.cc': '#include "fetch/f.h"\n',
            'lib/world/uv.cc': '#include <uv.h>\n#include <unistd.h>\n',
            'capi/c.cc': '#include <d7y/node.h>\n#include "node/n.h"\n',
            'include/d7y/node.h': '#include <stdint.h>\n#include <d7y/error.h>\n',
            'tools/d7yget/main.cc': '#include <d7y/node.h>\n#include "options.h"\n#include <CLI/CLI.hpp>\n',
        })

    def test_dependencies_name_files_and_folders(self):
        self.accepted({'lib/base/a.h': ''})
        self.assertIn('lib/base/a.h', self.deps)
        self.assertIn('lib/base ', self.deps.replace('\n', ' '))

    def test_upwards_is_refused_with_file_and_line(self):
        self.refused({'lib/base/a.h': '\n#include "store/s.h"\n'}, 'lib/base/a.h:2', 'upwards', 'floor 3')

    def test_upwards_with_angle_brackets_and_spaces_is_refused(self):
        self.refused({'lib/net/x.h': '  #  include   <node/n.h>\n'}, 'lib/net/x.h:1')

    def test_sideways_is_refused(self):
        self.refused({'lib/store/a.h': '#include "swarm/s.h"\n'}, 'sideways')
        self.refused({'lib/fetch/a.h': '#include "proxy/s.h"\n'}, 'sideways')

    def test_library_below_the_public_interface(self):
        self.refused({'lib/node/a.cc': '#include <d7y/node.h>\n'}, 'below the public interface')
        self.refused({'lib/node/a.cc': '#include "capi/handle.h"\n'}, 'below the public interface')

    def test_library_does_not_know_tests(self):
        self.refused({'lib/node/a.cc': '#include "tests/sim/world.h"\n'}, 'must not know')

    def test_users_see_only_the_public_interface(self):
        for area in ('tools/d7yd', 'examples', 'bindings/python'):
            self.refused({f'{area}/main.cc': '#include "base/log.h"\n'}, 'only <d7y/...>')
            self.refused({f'{area}/main.cc': '#include "capi/handle.h"\n'}, 'only <d7y/...>')

    def test_public_headers_see_only_public_headers(self):
        self.refused({'include/d7y/n.h': '#include "base/log.h"\n'}, 'public header')
        self.refused({'include/d7y/n.h': '#include "secret.h"\n'}, 'public header')

    def test_only_the_world_reaches_outside(self):
        self.refused({'lib/store/a.cc': '#include <fcntl.h>\n'}, 'only lib/world')
        self.refused({'lib/swarm/a.cc': '#include <uv.h>\n'}, 'only lib/world')

    def test_dots_are_no_way_around(self):
        self.refused({'lib/base/a.cc': '#include "../node/n.h"\n'}, '..')
        self.refused({'tools/d7yd/a.cc': '#include "../../lib/node/n.h"\n'}, '..')
        self.refused({'tools/d7yd/a.cc': '#include "../../capi/n.h"\n'}, '..')
        self.accepted({'tools/d7yd/a.cc': '#include "../common/n.h"\n'})

    def test_a_room_without_a_floor_is_named(self):
        self.refused({'lib/attic/a.cc': ''}, 'lib/attic', 'no floor')


if __name__ == '__main__':
    unittest.main(verbosity=2)
