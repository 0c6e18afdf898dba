"""libtorrent as an anchor: a seed and a leech that talk over loopback and to nobody else.

    torrent.py make FILE TORRENT
    torrent.py seed TORRENT FOLDER ADDRESS               prints its port, then serves until it is stopped
    torrent.py leech TORRENT FOLDER ADDRESS PORT         prints {"wall": seconds, "leech_cpu": of it}
"""

import json
import os
import signal
import sys
import time

import libtorrent as lt

SETTINGS = {
    'enable_dht': False, 'enable_lsd': False, 'enable_upnp': False, 'enable_natpmp': False,
    'allow_multiple_connections_per_ip': True, 'enable_outgoing_utp': False, 'enable_incoming_utp': False,
    'out_enc_policy': 2, 'in_enc_policy': 2,  # no encryption
    'unchoke_slots_limit': -1, 'connection_speed': 1000, 'send_buffer_watermark': 4 << 20, 'alert_mask': 0,
}


def make(source, torrent):
    files = lt.file_storage()
    lt.add_files(files, source)
    made = lt.create_torrent(files, 4 << 20, lt.create_torrent.v1_only)
    lt.set_piece_hashes(made, os.path.dirname(os.path.abspath(source)))
    with open(torrent, 'wb') as file:
        file.write(lt.bencode(made.generate()))


def session(address):
    return lt.session({**SETTINGS, 'listen_interfaces': f'{address}:0'})


def add(in_session, torrent, folder, flags):
    parameters = lt.add_torrent_params()
    parameters.ti = lt.torrent_info(torrent)
    parameters.save_path = folder
    parameters.flags = flags
    return in_session.add_torrent(parameters)


def seed(torrent, folder, address):
    ours = session(address)
    add(ours, torrent, folder, lt.torrent_flags.seed_mode)
    while not ours.listen_port():
        time.sleep(0.01)
    print(ours.listen_port(), flush=True)
    signal.pause()


def leech(torrent, folder, address, port):
    ours = session('127.0.0.6')
    began, used = time.perf_counter(), time.process_time()
    handle = add(ours, torrent, folder, lt.torrent_flags.default_flags & ~lt.torrent_flags.auto_managed & ~lt.torrent_flags.paused)
    handle.connect_peer((address, int(port)))
    while not handle.status().is_seeding:
        time.sleep(0.002)
    print(json.dumps({'wall': time.perf_counter() - began, 'leech_cpu': time.process_time() - used}), flush=True)
    del handle, ours  # which ends once everything is written; not counted


if __name__ == '__main__':
    {'make': make, 'seed': seed, 'leech': leech}[sys.argv[1]](*sys.argv[2:])
