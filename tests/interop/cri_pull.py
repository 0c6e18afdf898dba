#!/usr/bin/python3
"""Pulls an image as Kubernetes' kubelet does: ImageService.PullImage at a runtime's CRI socket.

    cri_pull.py SOCKET IMAGE [USER:PASSWORD]
    cri_pull.py SOCKET                           # RuntimeService.Version: does it answer?

Prints the image's reference. Debian's python3-grpcio; the messages are small enough to be written by hand.
"""

import sys

import grpc


def varint(number):
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def field(number, value):
    value = value if isinstance(value, bytes) else value.encode()
    return varint(number << 3 | 2) + varint(len(value)) + value


def ask(socket, method, request):
    # As Go's client: containerd answers a :authority that is a path with a protocol error.
    with grpc.insecure_channel(f'unix:{socket}', options=[('grpc.default_authority', 'localhost')]) as channel:
        return channel.unary_unary(f'/runtime.v1.{method}')(request, timeout=60)


def pull(socket, image=None, login=None):
    if image is None:
        return ask(socket, 'RuntimeService/Version', b'')
    request = field(1, field(1, image))  # PullImageRequest.image, ImageSpec.image
    if login:
        user, _, password = login.partition(':')
        request += field(2, field(1, user) + field(2, password))  # auth: username, password
    answer = ask(socket, 'ImageService/PullImage', request)
    # PullImageResponse.image_ref, field 1; a digest or a name, shorter than 128 bytes.
    assert answer[0] == 10 and answer[1] < 128, answer
    return answer[2:2 + answer[1]].decode()


if __name__ == '__main__':
    try:
        print(pull(*sys.argv[1:]))
    except grpc.RpcError as reason:
        sys.exit(f'{reason.code().name}: {reason.details()}')
