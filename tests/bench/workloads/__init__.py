"""The workloads, in the order in which they are listed and run."""

from . import one_peer, many_peers, footprint, growth, images, scheduler  # noqa: F401
