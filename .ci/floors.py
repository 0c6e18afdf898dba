#!/usr/bin/env python3
"""Checks that every file includes only files of its own room or of rooms on lower floors.

    .ci/floors.py ROOT [--stamp FILE --depfile FILE]

The include root of the library is one folder, so the compiler cannot see a wrong include; the build runs this
program instead and fails when it does (see meson.build). The table below is the floor plan of
docs/architecture.md. Also checked: the world's monopoly, that is which headers of the system only the production
world may include, because all other code has to run in the simulator as well.
"""

import argparse
import os
import pathlib
import re
import sys

# Rooms of lib/ and their floors.
LIBRARY = {
    'base': 0,
    'world': 1,
    'api': 2, 'net': 2,
    'store': 3, 'source': 3, 'swarm': 3,
    'fetch': 4, 'proxy': 4,
    'node': 5, 'scheduler': 5, 'manager': 5,
}
CAPI = 6  # capi/ and include/d7y/
USERS = 7  # tools/, bindings/, examples/: they see <d7y/...> and nothing else of ours

# A room may use another one of its own floor only where it is built on top of it.
ON_TOP_OF = {('proxy', 'fetch'), ('swarm', 'store')}

# Headers by which code reaches outside the process. Only lib/world may, and the files named here.
OUTSIDE = re.compile(
    r'^(uv\.h|fcntl\.h|unistd\.h|thread|future|fstream|filesystem|random|ctime|time\.h'
    r'|sys/(socket|stat|time|epoll|sendfile|uio|mman|statvfs|un|ioctl|eventfd|timerfd|inotify|random)\.h'
    r'|netdb\.h|poll\.h|dirent\.h)$')
OUTSIDE_ALLOWED = {
    # path of the including file: headers it may use, and why
}

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"\n]+)[>"]', re.MULTILINE)
SOURCES = ('.h', '.hh', '.hpp', '.c', '.cc', '.cpp')
AREAS = ('lib', 'include', 'capi', 'tools', 'bindings', 'examples')


class Plan:
    def __init__(self, root):
        self.root = root
        self.complaints = []
        self.seen = []  # files and folders read, for the build's dependency file

    def check(self):
        for area in AREAS:
            for folder, folders, files in os.walk(self.root / area):
                folders[:] = sorted(f for f in folders if f != 'node_modules' and not f.startswith('.'))
                self.seen.append(pathlib.Path(folder))
                for name in sorted(files):
                    if name.endswith(SOURCES):
                        self.check_file(pathlib.Path(folder) / name)
        library = self.root / 'lib'
        for room in sorted(p.name for p in library.iterdir() if p.is_dir()) if library.is_dir() else []:
            if room not in LIBRARY:
                self.complaints.append(f'lib/{room}: this room is on no floor; add it to the table in .ci/floors.py')

    def check_file(self, path):
        self.seen.append(path)
        text = path.read_text(errors='replace')
        relative = path.relative_to(self.root)
        for match in INCLUDE.finditer(text):
            reason = self.objection(relative, match.group(2), quoted=match.group(1) == '"')
            if reason:
                line = text.count('\n', 0, match.start()) + 1
                self.complaints.append(f'{relative}:{line}: {match.group(0).strip()}: {reason}')

    def objection(self, path, included, quoted):
        """Why `path` may not include `included`, or None."""
        area, room = path.parts[0], path.parts[1]
        if '..' in pathlib.PurePosixPath(included).parts:
            return self.objection_to_dots(path, included)
        target = included.split('/')[0]
        public = target == 'd7y'
        # A file beside the including one (or generated there) belongs to its room.
        inside = target in LIBRARY and '/' in included and not (quoted and (self.root / path.parent / included).exists())

        # The system has a folder net/ of its own (<net/if.h>).
        if inside and not quoted and target == 'net' and not (self.root / 'lib' / included).exists():
            inside = False

        if area == 'include':
            if inside or (quoted and not public):
                return 'a public header includes only <d7y/...> and headers of C'
            return None
        if area in ('tools', 'bindings', 'examples'):
            if inside or target == 'capi':
                return f'{area}/ stands outside the library and includes only <d7y/...> of it'
            return None
        if area == 'capi':
            return None
        # area is lib
        if public or target == 'capi':
            return f'lib/{room} is below the public interface (floor {CAPI}) and must not include it'
        if target in AREAS or target == 'tests' or target == 'sim':
            return f'lib/{room} must not know about {target}/'
        if inside and target != room:
            floor, own = LIBRARY[target], LIBRARY.get(room)
            if own is None:
                return None  # complained about once, by check()
            if floor > own:
                return f'upwards: {room} is on floor {own}, {target} on floor {floor}'
            if floor == own and (room, target) not in ON_TOP_OF:
                return f'sideways: {room} and {target} are both on floor {own}'
        if not quoted and room != 'world' and OUTSIDE.match(included):
            if included not in OUTSIDE_ALLOWED.get(path.as_posix(), ()):
                return 'only lib/world reaches outside the process; take it from world::World, so that it also runs simulated'
        return None


    def objection_to_dots(self, path, included):
        """tools/x may share files with tools/y this way; everything else has a name from the include root."""
        target = pathlib.PurePosixPath(os.path.normpath(path.parent / included))
        if path.parts[0] in ('tools', 'bindings', 'examples') and target.parts[0] == path.parts[0]:
            return None
        return 'write the path from the include root, without ".."'


def main():
    parser = argparse.ArgumentParser(description='Checks the floors of the source tree.')
    parser.add_argument('root', type=pathlib.Path)
    parser.add_argument('--stamp', type=pathlib.Path, help='written when all is well')
    parser.add_argument('--depfile', type=pathlib.Path, help='files and folders the result depends on')
    arguments = parser.parse_args()

    if not arguments.root.is_dir():
        sys.exit(f'floors: {arguments.root} is not a folder')
    plan = Plan(arguments.root.resolve())
    plan.check()
    if plan.complaints:
        print('\n'.join(plan.complaints))
        print(f'floors: {len(plan.complaints)} wrong includes (the plan is in docs/architecture.md)')
        sys.exit(1)
    if arguments.depfile:
        names = ' '.join(str(p).replace(' ', '\\ ') for p in plan.seen)
        arguments.depfile.write_text(f'{arguments.stamp}: {names}\n')
    if arguments.stamp:
        arguments.stamp.write_text('')


if __name__ == '__main__':
    main()
