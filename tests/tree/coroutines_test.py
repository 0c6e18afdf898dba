#!/usr/bin/env python3
"""No co_await expression holds a braced initialiser. Usage: coroutines_test.py ROOT

g++ 12 destroys such a temporary twice (or copies it byte by byte) when the coroutine is suspended in the middle of its
expression: memory is corrupted without a warning. Give the object a name in a statement of its own. Empty braces pass,
because there is nothing in them to destroy.
"""

import pathlib
import re
import sys
import unittest

ROOT = pathlib.Path(sys.argv.pop(1)).resolve()

EXPRESSION = re.compile(r'(?<!operator )\bco_await\b[^;{}]*\{[^;]*;')
BRACED = re.compile(r'(?:[(,]\s*|\b[A-Za-z_]\w*(?:<[^;<>]*>)?)\{\s*[^\s}]')
# Where a body begins, the expression has ended: "while (co_await x) {", "if (...) {", "for (...) {".
BODY = re.compile(r'\)\s*(?:const\s*|noexcept\s*|->\s*[\w:<>]+\s*)*\{\s*\n')
COMMENT = re.compile(r'//[^\n]*|/\*.*?\*/', re.DOTALL)


def offences(text):
    text = COMMENT.sub(lambda m: re.sub(r'[^\n]', ' ', m.group(0)), text)
    for match in EXPRESSION.finditer(text):
        expression = BODY.split(match.group(0))[0]
        if BRACED.search(expression):
            yield text.count('\n', 0, match.start()) + 1, ' '.join(expression.split())[:100]


class Coroutines(unittest.TestCase):
    def test_the_check_sees_what_it_should(self):
        for bad in ('auto a = co_await f(x, {.path = p});', 'co_await f({1, 2});', 'co_await f(Wish{p});',
                    'co_await f(\n  std::pair<int, int>{1, 2});'):
            self.assertEqual(len(list(offences(bad))), 1, bad)
        for good in ('co_await f(x, {}, deadline);', 'Wish wish{p};\nco_await f(wish);', 'co_await Yield{};',
                     'if (co_await f()) {\n  g({1, 2});\n}', '// co_await f({1})\nint a;'):
            self.assertEqual(list(offences(good)), [], good)

    def test_no_co_await_with_braces(self):
        found = []
        for area in ('lib', 'capi', 'tests'):
            for path in sorted((ROOT / area).rglob('*')):
                if path.suffix in ('.h', '.cc'):
                    found += [f'{path.relative_to(ROOT)}:{line}: {what}' for line, what in offences(path.read_text())]
        self.assertEqual(found, [], 'name these objects in a statement of their own')


if __name__ == '__main__':
    unittest.main(verbosity=2)
