"""Fewer system calls for many small packets. Private attributes of paho are used here, too."""

from __future__ import annotations

import socket
import time
from collections import deque
from types import SimpleNamespace
from typing import Any

READ_AT_ONCE = 16 * 1024
"""Bytes that are read from a socket at once; paho reads each packet in three pieces."""
WRITE_AT_ONCE = 64 * 1024
"""Bytes of packets that are written at once."""

SUCCESS = SimpleNamespace(value=0)
"""The reason of an acknowledgement, where a packet has none."""

_MQTT_5 = 5
_PUBLISH = 0x30  # the types of packets: MQTT 3.1.1, section 2.2.1
_PUBACK = b"\x40\x02"  # with its remaining length; section 3.4
_PUBACK_SIZE = 4


class Incoming:
    """What a client has read from its socket and not handled yet.

    :param paho: its ``_sock_recv`` is replaced. A websocket's is not: it reads in larger pieces by itself.
    """

    def __init__(self, paho: Any) -> None:
        self._paho = paho
        self._data = b""
        self._next = 0
        self._error: Exception | None = None
        self._receive = paho._sock_recv
        self._buffers = isinstance(paho._sock, socket.socket)
        if self._buffers:
            paho._sock_recv = self._take

    def read(self) -> None:
        """Handle what the socket has, at most ``READ_AT_ONCE`` bytes and what paho reads beyond."""
        paho, more = self._paho, True
        while more and paho._sock is not None:
            if not (self._buffers and self._all_acknowledged()):
                paho.loop_read()
            more = self._next < len(self._data) or (
                hasattr(paho._sock, "pending") and paho._sock.pending() > 0
            )

    def _all_acknowledged(self) -> bool:
        """Read; return whether that was acknowledgements only, so that paho need not look for more."""
        self._fill()
        self._acknowledge()
        return self._error is None and 0 < len(self._data) == self._next

    def _fill(self) -> None:
        """Read from the socket if everything before is handled; keep an error for :meth:`_take`."""
        if self._next < len(self._data) or self._error is not None:
            return
        try:
            self._data, self._next = self._receive(READ_AT_ONCE), 0
        except Exception as exc:
            self._error = exc

    def _take(self, size: int) -> bytes:
        """Return at most ``size`` bytes; raise what the socket has raised."""
        self._fill()
        if (error := self._error) is not None:
            self._error = None
            raise error
        begin, self._next = self._next, min(self._next + size, len(self._data))
        return self._data[begin : self._next]

    def _acknowledge(self) -> None:
        """Handle the acknowledgements at the front; MQTT 5 may give them a reason, which paho reads."""
        paho, data = self._paho, self._data
        if paho._in_packet["command"] or paho.protocol == _MQTT_5:  # paho is in the middle of a packet
            return
        begin = self._next
        with paho._out_message_mutex:
            while data.startswith(_PUBACK, self._next) and len(data) - self._next >= _PUBACK_SIZE:
                mid = int.from_bytes(data[self._next + 2 : self._next + _PUBACK_SIZE])
                if mid not in paho._out_messages:
                    break
                self._next += _PUBACK_SIZE
                paho._do_on_publish(mid, SUCCESS, None)
        if self._next > begin:
            with paho._msgtime_mutex:
                paho._last_bytes_received = time.monotonic()


def join(packets: deque[dict[str, Any]]) -> None:
    """Join the PUBLISH packets at the front of paho's queue, so that they are written with one call.

    At QoS 0 paho notes for each packet that it is written, so those stay apart.
    """
    run: list[bytes] = []
    size = 0
    while packets and size < WRITE_AT_ONCE and _joins(packets[0]):
        run.append(packets.popleft()["packet"])
        size += len(run[-1])
    if run:
        packets.appendleft(
            {
                "command": _PUBLISH,
                "mid": 0,
                "qos": 1,
                "pos": 0,
                "to_process": size,
                "packet": b"".join(run) if len(run) > 1 else run[0],
                "info": None,
            }
        )


def _joins(packet: dict[str, Any]) -> bool:
    return bool(packet["command"] & 0xF0 == _PUBLISH and packet["qos"] > 0 and packet["pos"] == 0)
