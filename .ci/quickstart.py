#!/usr/bin/env python3
"""Builds d7y and shows its main jobs on this machine: a file and an image, many peers, the origin read once.

    ./quickstart [--size MIB] [--peers N] [--image-size MIB] [--no-image] [--keep] [--no-install] [--tools DIR]
                 [--place DIR]

    --size MIB        size of the file at the origin (1024)
    --peers N         how many peers download it at once, 1 to 32 (4)
    --image-size MIB  size of the image, in four layers (208)
    --no-image        show the file only
    --keep            keep the peers' stores and the downloaded files when it is over
    --no-install      do not install packages; for machines where .ci/dependencies has run already
    --tools DIR       build nothing; use the tools of this build folder
    --place DIR       where stores, files and logs go (build/quickstart)

It installs Debian packages (as root), builds a release into build/release, and starts nginx as the origin, one
d7ysched, one seed d7yd and the peers, each on its own 127.0.0.x address with its own ports and store. For the image
come a registry, and up to three nodes, each a containerd whose mirror is the proxy of a peer; that needs root.
Everything it started is stopped when it ends, also after Ctrl-C or a failure. Exit code: 0 when everybody got the right
bytes, 1 when not or when something failed, 2 for wrong arguments, 130 after Ctrl-C.
"""

import argparse
import fcntl
import os
import pathlib
import shutil
import signal
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / 'tests' / 'support'))
import quickstart_image  # noqa: E402
import release  # noqa: E402
from cluster import FIRST_PEER, MIB, SEED_IP, Cluster, Failure, Peer, Processes, make_content, sha256_of  # noqa: E402

PLACE = ROOT / 'build' / 'quickstart'  # --place
LOGS = PLACE / 'logs'


class Stopped(Exception):
    """Asked to stop by a signal."""

    def __init__(self, number):
        super().__init__(signal.Signals(number).name)
        self.number = number


def say(text=''):
    try:
        print(text, flush=True)
    except BrokenPipeError:  # nobody reads any more; that must not keep us from stopping what we started
        sys.stdout = open(os.devnull, 'w')


# ---- the report ------------------------------------------------------------------------------------------------


def share(part, whole):
    return f'{part / MIB:8.1f} MiB {100 * part / whole:5.1f} %' if whole else f'{part / MIB:8.1f} MiB'


def report(cluster, results, seconds, size, digest, usages):
    """Prints what happened; returns whether every peer got the right bytes."""
    say()
    say('peer      seconds    MiB/s          from seed             from peers            from origin   SHA-256')
    good = True
    for name, result in results.items():
        verdict = 'right'
        if not result['ok']:
            verdict = f'FAILED: {result["error"]["message"]}'
        else:
            output = PLACE / name / 'downloaded'
            if not output.exists():
                verdict = 'MISSING'
            elif output.stat().st_size != size or sha256_of(output) != digest:
                verdict = 'WRONG'
        good = good and verdict == 'right'
        origins = result['from']
        say(f'{name:8} {result["seconds"]:8.2f} {result["mib_per_second"]:8.1f}'
            f'   {share(origins["seeds"], size)}  {share(origins["peers"], size)}'
            f'  {share(origins["source"], size)}   {verdict}')
    sent, requests = cluster.origin_bytes()
    say()
    say(f'origin: sent {sent / MIB:.1f} MiB in {requests} answers = {sent / size:.3f} x the file'
        f' (without peers: {len(results)} x)')
    if good:
        say(f'all {len(results)} peers: {seconds:.2f} s, {len(results) * size / MIB / seconds:.0f} MiB/s together')
    say()
    say('process    CPU seconds   peak memory')
    for name, usage in usages.items():
        say(f'{name:10} {usage.cpu:11.2f} {usage.peak / MIB:9.1f} MiB')
    total = sum((usage.cpu for usage in usages.values()), 0.0)
    say(f'{"together":10} {total:11.2f}')
    return good


EXPLANATION = '''
What this shows: {peers} peers wanted the same file at the same moment. The scheduler let the seed read it from
the origin once and told the peers whom to ask; they passed pieces on while they still received them. The columns
say where each peer's bytes came from; the digest of each output was computed again, apart from d7y's own
verification. To do it by hand: build/release/tools/d7yget/d7yget --help'''


def main():
    global PLACE, LOGS
    parser = argparse.ArgumentParser(prog='./quickstart', usage=argparse.SUPPRESS, description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter, add_help=False)
    parser.add_argument('-h', '--help', action='store_true', help=argparse.SUPPRESS)
    parser.add_argument('--size', type=int, default=1024, help=argparse.SUPPRESS)
    parser.add_argument('--peers', type=int, default=4, help=argparse.SUPPRESS)
    parser.add_argument('--image-size', type=int, default=208, help=argparse.SUPPRESS)
    parser.add_argument('--no-image', action='store_true', help=argparse.SUPPRESS)
    parser.add_argument('--keep', action='store_true', help=argparse.SUPPRESS)
    parser.add_argument('--no-install', action='store_true', help=argparse.SUPPRESS)
    parser.add_argument('--tools', type=pathlib.Path, help=argparse.SUPPRESS)
    parser.add_argument('--place', type=pathlib.Path, default=PLACE, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.help:
        say(__doc__.rstrip())
        return 0
    if arguments.size < 1 or not 1 <= arguments.peers <= 32 or arguments.image_size < 32:
        say('./quickstart: --size must be at least 1 and --image-size 32 (MiB), --peers 1 to 32')
        return 2

    PLACE = arguments.place.absolute()
    LOGS = PLACE / 'logs'
    if arguments.tools:
        for name in ('d7yget', 'd7yd', 'd7ysched'):
            tool = arguments.tools.absolute() / 'tools' / name / name
            if not tool.exists():
                say(f'./quickstart: {tool} is not there; --tools wants a folder where d7y was built')
                return 2

    def stop(number, _frame):
        # Once is enough; a second Ctrl-C must not break the stopping itself.
        for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(each, signal.SIG_IGN)
        raise Stopped(number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)

    processes = Processes()
    code = 1
    lock = None
    try:
        PLACE.mkdir(parents=True, exist_ok=True)
        lock = open(PLACE / 'lock', 'w')
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock = None
            raise Failure(f'another ./quickstart is running in {PLACE}') from None
        shutil.rmtree(LOGS, ignore_errors=True)
        LOGS.mkdir()
        code = show(processes, arguments)
    except Stopped as reason:
        say(f'\nstopped by {reason}')
        code = 128 + reason.number
    except Failure as reason:
        say(f'\n./quickstart: {reason}')
    except OSError as reason:
        say(f'\n./quickstart: {reason}')
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        slow = processes.stop_all()
        if slow:
            say(f'had to kill {", ".join(slow)}: did not stop within 10 s of SIGTERM')
            code = code or 1
        if lock is not None:
            tidy(arguments.keep)
            say(f'\neverything is stopped; logs are in {LOGS}' +
                (f', stores and files in {PLACE}' if arguments.keep else ''))
    return code


def tidy(keep):
    if not keep:
        for folder in [PLACE / 'seed', *PLACE.glob('peer-*')]:
            shutil.rmtree(folder, ignore_errors=True)


def show(processes, arguments):
    size = arguments.size * MIB
    build = arguments.tools.absolute() if arguments.tools else None
    if not build:
        if not arguments.no_install and subprocess.run([ROOT / '.ci' / 'dependencies', 'run'],
                                                       stdin=subprocess.DEVNULL, check=False).returncode:
            raise Failure('the dependencies are not complete, see above')
        build = release.build(processes, ROOT, say=say)
    tidy(keep=False)
    # The origin's file, and one copy in the store of the seed and of every peer (outputs are links to them).
    needed = (arguments.peers + 2) * size + 256 * MIB
    if not arguments.no_image:
        needed += quickstart_image.room(arguments.image_size * MIB)
    free = shutil.disk_usage(PLACE).free
    if free < needed:
        raise Failure(f'{PLACE} has {free // MIB} MiB free, {needed // MIB} MiB are needed; try --no-image'
                      f' and --size {max(1, arguments.size * free // needed // 2)}')
    content = PLACE / 'content' / 'file.bin'
    digest = make_content(content, size, say)

    cluster = Cluster(processes, build, PLACE)
    try:
        url = f'{cluster.start_origin(content.parent)}/{content.name}'
        cluster.start_scheduler()
        peers = [Peer(f'peer-{i + 1}', f'127.0.0.{FIRST_PEER + i}') for i in range(arguments.peers)]
        cluster.start_peers([Peer('seed', SEED_IP, seed=True), *peers])
        say(f'running: origin {url}, d7ysched {cluster.scheduler}, seed d7yd {SEED_IP},'
            f' {arguments.peers} peers from 127.0.0.{FIRST_PEER}')
        say(f'downloading {arguments.size} MiB on {arguments.peers} peers at once ...')
        results, seconds = cluster.download_everywhere(peers, url, patience=300)
        usages = {name: processes.usage(name) for name in processes.running}
        cluster.alive()
        good = report(cluster, results, seconds, size, digest, usages)
        if good:
            say(EXPLANATION.format(peers=arguments.peers))
        if good and not arguments.no_image:
            good = quickstart_image.show(cluster, peers, arguments.image_size * MIB, say)
    finally:
        cluster.tidy()
    return 0 if good else 1


if __name__ == '__main__':
    sys.exit(main())
