"""A release build of this tree in build/release, for the programs that show and measure d7y."""

import os
import shutil
import time

from cluster import Failure, tail


def build(processes, root, targets=('d7yget', 'd7yd', 'd7ysched'), say=print):
    """Builds `targets`; returns the build folder."""
    started = time.monotonic()
    folder = root / 'build' / 'release'
    log = root / 'build' / 'release.log'
    log.parent.mkdir(exist_ok=True)
    log.write_bytes(b'')
    env = dict(os.environ)
    env.setdefault('CCACHE_BASEDIR', str(root))
    env.setdefault('CCACHE_NOHASHDIR', '1')
    configured = (folder / 'build.ninja').exists()
    if not configured:
        say('building a release (a few minutes the first time) ...')

    def run(*command):
        return processes.run('build', command, log, env, root)

    ok = run('meson', 'setup', folder, root, *(['--reconfigure'] if configured else []))
    if not ok and configured:
        shutil.rmtree(folder)  # left by an older state of the tree
        ok = run('meson', 'setup', folder, root)
    ok = ok and run('meson', 'compile', '-C', folder, *targets)
    if not ok:
        raise Failure(f'the build failed; the end of {log}:\n{tail(log, 30)}')
    say(f'built into build/release, {time.monotonic() - started:.0f} s')
    return folder
