"""Ports for servers of tests."""

from __future__ import annotations

import os
import random
import socket
from collections import deque

# below the range that systems take for outgoing connections (see free_port)
_PORTS = range(20_000, 32_768)
# a seeded test in two processes at once must not draw the same ports
_draw = random.SystemRandom()
# two servers that are yet to be started must not get one port
_given: deque[int] = deque(maxlen=100)


def free_port() -> int:
    """Return a loopback port on which no program listens at this moment, and that it has not just returned.

    It is not one that the system gives to outgoing connections: a client that calls again and
    again on such a port, while its server is away, ends up connected to itself and takes it.
    """
    ports = _share()
    for _ in range(200):
        port = _draw.choice(ports)
        if port in _given:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        _given.append(port)
        return port
    raise OSError(f"no free loopback port between {_PORTS.start} and {_PORTS.stop - 1}")


def _share() -> range:
    """Return the ports of this worker of pytest-xdist: no other worker takes one while its server is away."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "").removeprefix("gw")
    workers = os.environ.get("PYTEST_XDIST_WORKER_COUNT", "")
    if not (worker.isdecimal() and workers.isdecimal()):
        return _PORTS
    return _PORTS[int(worker) % int(workers) :: int(workers)]
