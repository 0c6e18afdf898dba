#!/usr/bin/env python3
"""Compares hops: runs the programs in turn (A B B A), on the same file, and prints what each reaches and costs.

    ninja -C build tests/bench/{floor,world-hop,vortex-hop}
    tests/bench/hop.py build/tests/bench [--size MIB] [--rounds N] [--connections N ...]
"""

import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / 'support'))
from measure import warm  # noqa: E402

def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('folder_of_programs', type=pathlib.Path, metavar='FOLDER')
    parser.add_argument('--size', type=int, default=1024, help='MiB of the file')
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--connections', type=int, nargs='+', default=[1, 2])
    parser.add_argument('--programs', dest='names', nargs='+', default=['floor', 'world-hop', 'vortex-hop'])
    parser.add_argument('--folder', help='where the files are made (ext4 is faster than tmpfs)')
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        source, target = os.path.join(folder, 'source'), os.path.join(folder, 'target')
        # Written as a store writes. How the page cache holds a file decides what sending it costs: one written in
        # small pieces takes twice the CPU of this one.
        with open(source, 'wb', buffering=0) as file:
            os.posix_fallocate(file.fileno(), 0, arguments.size << 20)
            for _ in range(arguments.size * 4):
                file.write(os.urandom(256 << 10))
        names = arguments.names
        for connections in arguments.connections:
            runs = {name: [] for name in names}
            for round_number in range(arguments.rounds + 1):
                for name in names if round_number % 2 == 0 else reversed(names):
                    warm(arguments.size + 256, folder)
                    command = [arguments.folder_of_programs / name, source, target, str(connections)]
                    line = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                    if round_number > 0:  # the first one warms up
                        runs[name].append(json.loads(line))
                    if round_number == 0:
                        subprocess.run(['cmp', source, target], check=True)
                    os.unlink(target)
                    shutil.rmtree(target + '.store', ignore_errors=True)
            best = {}
            for name in names:
                gib = runs[name][0]['gib']
                speed = [gib / run['seconds'] for run in runs[name]]
                cpu = [(run['sender_cpu'] + run['receiver_cpu']) / gib for run in runs[name]]
                # Memory that had gone back to the host only ever adds; the best run is the one without it.
                best[name] = max(speed), min(cpu)
                sender = statistics.median(run['sender_cpu'] / gib for run in runs[name])
                switches = statistics.median(run['switches'] for run in runs[name])
                print(f'{connections} connection(s)  {name:10} {statistics.median(speed):5.2f} GiB/s '
                      f'({min(speed):.2f}-{max(speed):.2f})  {statistics.median(cpu):.3f} CPU-s/GiB (best {min(cpu):.3f}) '
                      f'(sender {sender:.3f})  {switches:.0f} waits')
            for name in names[1:]:
                print(f'{connections} connection(s)  best {name} / best {names[0]}: '
                      f'speed {best[name][0] / best[names[0]][0]:.2f}, CPU {best[name][1] / best[names[0]][1]:.2f}')


if __name__ == '__main__':
    main()
