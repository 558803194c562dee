"""MQTT 3.1.1 packets, made beforehand, so that the sender's cost is not measured."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager


def publish_packet(topic: str, payload: bytes) -> bytes:
    """Return a PUBLISH at QoS 0 (MQTT 3.1.1, section 3.3)."""
    name = topic.encode()
    return _packet(0x30, len(name).to_bytes(2, "big") + name + payload)


@contextmanager
def connected(host: str, port: int) -> Iterator[socket.socket]:
    """Connect with a clean session and no client id; what follows are packets as they are."""
    with socket.create_connection((host, port), timeout=60) as link:
        link.sendall(_packet(0x10, b"\x00\x04MQTT\x04\x02\x00\x3c\x00\x00"))
        if link.recv(4)[:1] != b"\x20":
            raise ConnectionError("the broker did not answer with a CONNACK")
        yield link


def flood(host: str, port: int, packets: bytes) -> None:
    """Connect, send everything as fast as the broker takes it, and leave. It blocks."""
    with connected(host, port) as link:
        link.sendall(packets)
        link.sendall(b"\xe0\x00")


def _packet(kind: int, rest: bytes) -> bytes:
    length, size = bytearray(), len(rest)
    while True:
        size, digit = divmod(size, 128)
        length.append(digit | (0x80 if size else 0))
        if not size:
            return bytes([kind]) + bytes(length) + rest
