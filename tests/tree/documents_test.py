#!/usr/bin/env python3
"""The documents keep up with the code. Usage: documents_test.py ROOT

Every key that a configuration reader asks for is in docs/configuration.md, every option of a tool is in its man page,
and links between documents lead somewhere.
"""

import pathlib
import re
import sys
import unittest

ROOT = pathlib.Path(sys.argv.pop(1)).resolve()


def text_of(*parts):
    return ROOT.joinpath(*parts).read_text()


class Documents(unittest.TestCase):
    def test_every_configuration_key_is_documented(self):
        document = text_of('docs', 'configuration.md')
        known = set(re.findall(r'[A-Za-z]+(?:\.[A-Za-z]+)*', document))
        for room in ('node', 'scheduler'):
            path = ROOT / 'lib' / room / 'config.cc'
            if not path.exists():
                continue
            keys = set(re.findall(r'(?:read\w*(?:<[^>]*>)?\((?:reader, )?|take\()"([A-Za-z.]+)"', path.read_text()))
            self.assertGreater(len(keys), 20, f'the keys of {path} were not found')
            # A reader may also ask for the prefix of a group of keys.
            missing = sorted(key for key in keys
                             if key not in known and not any(name.startswith(key + '.') for name in known))
            self.assertEqual(missing, [], f'keys of lib/{room}/config.cc that docs/configuration.md does not name')

    def test_every_option_is_in_the_man_page(self):
        for tool, section, sources in (('d7yget', 1, ['d7yget/options.cc']), ('d7yd', 8, ['d7yd/main.cc']),
                                       ('d7yd-runtime', 8, ['d7yd/runtime/command.cc']),
                                       ('d7yd-doctor', 8, ['d7yd/doctor/command.cc']),
                                       ('d7ysched', 8, ['d7ysched/main.cc'])):
            page = text_of('docs', 'man', f'{tool}.{section}').replace('\\-', '-')
            for source in sources:
                options = re.findall(r'add_(?:option|flag)\(\s*"([^"]+)"', text_of('tools', source))
                self.assertGreater(len(options), 2)
                for names in options:
                    for name in names.split(','):
                        if name.startswith('--') and name not in ('--console', '--verbose'):
                            self.assertRegex(page, rf'\bFl {re.escape(name[1:])}\b', f'{tool} {name} is not in its man page')

    def test_links_lead_somewhere(self):
        pages = [*ROOT.glob('*.md'), *ROOT.glob('docs/**/*.md'), *ROOT.glob('lib/**/*.md'), *ROOT.glob('examples/*.md')]
        self.assertGreater(len(pages), 3)
        for page in pages:
            for target in re.findall(r'\]\(([^)#]+)(?:#[^)]*)?\)', page.read_text()):
                if '://' not in target:
                    self.assertTrue((page.parent / target).exists(), f'{page.relative_to(ROOT)} links to {target}')


if __name__ == '__main__':
    unittest.main(verbosity=2)
