"""A network of our own for a benchmark: loopback in a private namespace, with cubic, and uplinks as slow as wished.

Everything a process sends from its address 127.0.0.N goes through a class of its own (htb on lo), as if it had a link of
that rate. Needs root; without it the benchmarks run on the machine's own loopback, and those that shape are refused.
"""

import ctypes
import os
import subprocess

from cluster import Failure

CLONE_NEWNET = 0x40000000
CONTROL = '/proc/sys/net/ipv4/tcp_congestion_control'
ALLOWED = '/proc/sys/net/ipv4/tcp_allowed_congestion_control'


def enter_private():
    """Moves this process, and all it starts, into a network namespace. Says whether that was possible."""
    if os.geteuid() != 0:
        return False
    # A new namespace may take cubic only while the machine's own lets everybody choose it. Put back at once, by a child
    # that stays in the machine's own.
    with open(ALLOWED) as file:
        allowed = file.read().strip()
    restore = None
    try:
        if 'cubic' not in allowed.split():
            restore = subprocess.Popen(['sh', '-c', 'read _; echo "$0" > "$1"', allowed, ALLOWED], stdin=subprocess.PIPE)
            with open(ALLOWED, 'w') as file:
                file.write(f'{allowed} cubic')
        if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) != 0:
            return False
        run('ip', 'link', 'set', 'lo', 'up')
        with open(CONTROL, 'w') as file:
            file.write('cubic')
        return True
    except OSError as reason:
        raise Failure(f'no private network with cubic: {reason}') from None
    finally:
        if restore:
            restore.communicate(b'\n')


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failure(f'{" ".join(command)}: {done.stderr.strip()}')


class Uplinks:
    """Rates by address: with Uplinks({'127.0.0.2': 125_000_000}): ... (bytes per second)."""

    def __init__(self, rates):
        self.rates = rates

    def __enter__(self):
        run('tc', 'qdisc', 'add', 'dev', 'lo', 'root', 'handle', '1:', 'htb', 'default', '0')
        for number, (address, rate) in enumerate(self.rates.items(), start=1):
            run('tc', 'class', 'add', 'dev', 'lo', 'parent', '1:', 'classid', f'1:{number}', 'htb',
                'rate', f'{rate * 8}bit', 'burst', '128k', 'cburst', '128k')
            run('tc', 'filter', 'add', 'dev', 'lo', 'parent', '1:', 'protocol', 'ip', 'u32',
                'match', 'ip', 'src', f'{address}/32', 'flowid', f'1:{number}')
        return self

    def __exit__(self, *_):
        run('tc', 'qdisc', 'del', 'dev', 'lo', 'root')
