#!/usr/bin/env python3
"""The check of co_await expressions finds what it promises. Usage: coroutines_test.py PATH-TO-coroutines.py"""

import pathlib
import subprocess
import sys
import tempfile
import unittest

CHECK = pathlib.Path(sys.argv.pop(1)).resolve()


class Coroutines(unittest.TestCase):
    def run_on(self, text):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, 'lib', 'room', 'a.cc')
            path.parent.mkdir(parents=True)
            path.write_text(text)
            done = subprocess.run([sys.executable, CHECK, folder, '--stamp', pathlib.Path(folder, 'stamp')],
                                  capture_output=True, text=True, check=False)
            self.assertEqual(done.stderr, '')
            return done.returncode, done.stdout

    def test_braced_temporaries_are_found(self):
        for bad in ('auto a = co_await f(x, {.path = p});', 'co_await f({1, 2});', 'co_await f(x, {}, deadline);', 'co_await f(std::exchange(x, {}));', 'co_await f(Wish{p});',
                    'co_await f(\n  std::pair<int, int>{1, 2});', 'Reply reply{co_await f(), {}};',
                    'co_await f([x] { g(x); });', 'co_await f(1, [](int a) mutable { g(a); });',
                    'co_await f(x ? "a" : b);', 'auto y = co_await o.f(g(), x.empty() ? T() : x);',
                    'if (!co_await f()) co_return;', 'while (co_await f()) {\n}', 'if (co_await f(1)) g();',
                    'co_return Reply{1,\n  co_await f()};', 'Task<Result<int>> f(int a, Options options = {});'):
            code, output = self.run_on('int a;\n' + bad)
            self.assertEqual(code, 1, bad)
            self.assertIn('lib/room/a.cc:2:', output)

    def test_everything_else_passes(self):
        for good in ('co_await n.connect(to(80), {}, deadline);', 'co_await f("http://{1}");', 'Wish wish{p};\nco_await f(wish);', 'co_await Yield{};',
                     'while (x) {\n  co_await f();\n  g({1, 2});\n}', '// co_await f({1})\nint a;',
                     'Task<void> f() { co_await g(); }', 'Task<int> f(Options options = Options());',
                     'void f(Options options = {});', 'auto y = x ? a : b;\nco_await f(y);', 'co_await f(table[i]);'):
            self.assertEqual(self.run_on(good), (0, ''), good)

    def test_a_task_that_borrows_what_ends_before_it_begins_is_found(self):
        borrows = 'Task<void> A::tell(const Have& have, Job& job) {\n  co_await send(have);\n}\n'
        encodes = 'Task<void> A::tell(const Have& have, Job& job) {\n  return send(encode(have));\n}\n'
        for bad in ('Task<void> t = tell(made(kAll), job);', 'Task<void> t = peer->tell(Have{1}, job);'):
            code, output = self.run_on(borrows + bad)
            self.assertEqual(code, 1, bad)
            self.assertIn('lib/room/a.cc:4:', output)
            self.assertEqual(self.run_on(encodes + bad), (0, ''), bad)
        for good in ('Task<void> t = tell(have, job);', 'Task<void> t = tell(task->have(), job);',
                     'co_await tell(made(kAll), job);', 'Task<void> t = tell(std::move(have), job);'):
            self.assertEqual(self.run_on(borrows + good), (0, ''), good)


if __name__ == '__main__':
    unittest.main(verbosity=2)
