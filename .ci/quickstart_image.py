"""What ./quickstart shows second: an image, three container runtimes, every layer out of the registry once."""

import http.client
import os
import re
import time

from cluster import MIB, Failure, tail
from images import Containerd, Registry, missing_programs

LAYERS, NODES = 4, 3


def room(size):
    """Bytes of disk: in the registry, while it is made, in the seed, and thrice in each node (d7yd, blobs, unpacked)."""
    return (3 + 3 * NODES) * size


def traffic(peer):
    """Bytes of pieces that a daemon has received so far, by where they came from (its metrics)."""
    connection = http.client.HTTPConnection(peer.ip, peer.ports['metrics'], timeout=10)
    try:
        connection.request('GET', '/metrics')
        text = connection.getresponse().read().decode()
    finally:
        connection.close()
    found = {'REMOTE_PEER': 0.0, 'BACK_TO_SOURCE': 0.0}
    for labels, count in re.findall(r'^dragonfly_client_download_traffic\{(.*?)\} (\S+)$', text, re.MULTILINE):
        kind = re.search(r'\btype="(\w+)"', labels)
        if kind and kind[1] in found:
            found[kind[1]] += float(count)
    return found


def pull_everywhere(cluster, nodes, image, patience=300):
    """All nodes at once. Returns ({node: seconds}, seconds)."""
    started = time.monotonic()
    running = {node: cluster.processes.start(f'ctr {node.name}', node.pull_command(image),
                                             cluster.logs / f'ctr-{node.name}.log') for node in nodes}
    seconds = {}
    while running:
        for node, process in list(running.items()):
            if process.poll() is None:
                continue
            seconds[node] = time.monotonic() - started
            del running[node], cluster.processes.running[f'ctr {node.name}']
            log = cluster.logs / f'ctr-{node.name}.log'
            if process.returncode:
                raise Failure(f'ctr image pull failed; the end of {log}:\n{tail(log)}\n'
                              f'  the end of {node.log}:\n{tail(node.log)}')
        if time.monotonic() - started > patience:
            raise Failure(f'ctr image pull on {next(iter(running)).name} does not end within {patience} s')
        time.sleep(0.01)
    return seconds, time.monotonic() - started


def show(cluster, peers, size, say):
    """Returns whether every layer left the registry once."""
    say()
    if os.getuid() != 0:
        say('no image is pulled: containerd needs root')
        return True
    missing = missing_programs()
    if missing:
        raise Failure(f'{", ".join(missing)} not installed; run .ci/dependencies run, or say --no-image')
    registry = Registry(cluster)
    registry.start()
    registry.fill(size, LAYERS, say)
    layers = registry.layers()
    nodes = [Containerd(cluster, peer) for peer in peers[:NODES]]
    for node in nodes:
        node.start([registry])
    for node in nodes:
        node.wait()
    before = {node: traffic(node.peer) for node in nodes}
    already = len(registry.requests())
    say(f'pulling {registry.image}, {sum(layers.values()) / MIB:.0f} MiB in {len(layers)} layers, with {len(nodes)}'
        ' containerds at once ...')
    seconds, together = pull_everywhere(cluster, nodes, registry.image)
    cluster.alive()
    return report(registry.requests()[already:], layers, nodes, before, seconds, together, say)


def report(requests, layers, nodes, before, seconds, together, say):
    size = sum(layers.values())
    say()
    say('node           seconds        d7yd got from peers      and from the registry')
    for node in nodes:
        now = traffic(node.peer)
        got = {kind: now[kind] - before[node][kind] for kind in now}
        say(f'{node.name:13} {seconds[node]:8.2f}   {got["REMOTE_PEER"] / MIB:10.1f} MiB {100 * got["REMOTE_PEER"] / size:5.1f} %'
            f'   {got["BACK_TO_SOURCE"] / MIB:10.1f} MiB {100 * got["BACK_TO_SOURCE"] / size:5.1f} %')
    say()
    say('layer                   MiB   requests   left the registry')
    once = True
    for digest, length in layers.items():
        answers = [count for method, path, status, count in requests
                   if method == 'GET' and digest in path and status in (200, 206)]
        once = once and 0.999 <= sum(answers) / length <= 1.02
        say(f'{digest[:19]} {length / MIB:8.1f} {len(answers):10}   {sum(answers) / length:.3f} times')
    others = sum(1 for _, path, _, _ in requests if not any(digest in path for digest in layers))
    say()
    say(f'all {len(nodes)} nodes: {together:.2f} s with unpacking; the registry answered {len(requests)} requests, of which'
        f' {others} were not for layers')
    if once:
        say(EXPLANATION)
    else:
        say('\n./quickstart: not every layer left the registry exactly once')
    return once


EXPLANATION = '''
What this shows: hosts.toml, written by d7yd runtime configure, makes each containerd ask the d7yd of its node. The
seed reads the layers from the registry once, and they reach the nodes while they still arrive there. containerd has
verified every digest. To do it by hand: docs/runtimes.md'''
