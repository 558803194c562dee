"""MQTT 3.1.1 packets as a server sees them: bytes to values and back. No I/O.

Sections are those of the OASIS standard "MQTT Version 3.1.1".
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum


class PacketType(IntEnum):
    """Section 2.2.1: the type in the upper four bits of the first byte."""

    CONNECT = 1
    CONNACK = 2
    PUBLISH = 3
    PUBACK = 4
    PUBREC = 5
    PUBREL = 6
    PUBCOMP = 7
    SUBSCRIBE = 8
    SUBACK = 9
    UNSUBSCRIBE = 10
    UNSUBACK = 11
    PINGREQ = 12
    PINGRESP = 13
    DISCONNECT = 14


class MalformedPacketError(ValueError):
    """The bytes are not an MQTT 3.1.1 packet; a server closes the connection (section 4.8)."""


@dataclass(frozen=True, slots=True)
class Publication:
    """A PUBLISH packet (section 3.3) without its flow control."""

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False


@dataclass(frozen=True, slots=True)
class Connect:
    """A CONNECT packet (section 3.1)."""

    level: int
    """Protocol level: 4 is MQTT 3.1.1, 5 is MQTT 5."""
    client_id: str
    keepalive: int
    """Seconds; 0 turns it off."""
    will: Publication | None


class Fields:
    """Reads the fields of one packet's body in order."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._at = 0

    @property
    def left(self) -> int:
        """How many bytes have not been read."""
        return len(self._body) - self._at

    def byte(self) -> int:
        """Read one byte."""
        return self._take(1)[0]

    def number(self) -> int:
        """Read a two-byte integer (section 1.5.2)."""
        return int.from_bytes(self._take(2), "big")

    def binary(self) -> bytes:
        """Read bytes behind their two-byte length."""
        return self._take(self.number())

    def text(self) -> str:
        """Read a UTF-8 string (section 1.5.3)."""
        try:
            return self.binary().decode("utf-8")
        except UnicodeDecodeError as exc:
            raise MalformedPacketError("a string is not UTF-8") from exc

    def rest(self) -> bytes:
        """Read all that is left."""
        return self._take(self.left)

    def _take(self, size: int) -> bytes:
        if size > self.left:
            raise MalformedPacketError(f"{size} bytes expected, {self.left} left")
        start, self._at = self._at, self._at + size
        return self._body[start : self._at]


def packet(kind: PacketType, body: bytes = b"", flags: int = 0) -> bytes:
    """Return a whole packet: fixed header, remaining length (section 2.2.3), body."""
    length, size = bytearray(), len(body)
    while True:
        size, digit = divmod(size, 128)
        length.append(digit | (128 if size else 0))
        if not size:
            return bytes((kind << 4 | flags,)) + bytes(length) + body


def answer(kind: PacketType, packet_id: int, codes: bytes = b"") -> bytes:
    """Return an acknowledgement: PUBACK and its kin, SUBACK with its codes."""
    flags = 2 if kind is PacketType.PUBREL else 0  # section 3.6.1
    return packet(kind, struct.pack(">H", packet_id) + codes, flags)


def publish(message: Publication, packet_id: int = 0) -> bytes:
    """Return a PUBLISH packet; ``packet_id`` is needed above QoS 0."""
    topic = message.topic.encode("utf-8")
    head = struct.pack(">H", len(topic)) + topic
    if message.qos:
        head += struct.pack(">H", packet_id)
    return packet(PacketType.PUBLISH, head + message.payload, message.qos << 1 | message.retain)


def read_publish(flags: int, body: bytes) -> tuple[Publication, int]:
    """Return a PUBLISH packet's message and packet id (0 at QoS 0)."""
    fields, qos = Fields(body), flags >> 1 & 3
    if qos > 2:
        raise MalformedPacketError("QoS 3")
    topic = fields.text()
    packet_id = fields.number() if qos else 0
    return Publication(topic, fields.rest(), qos, bool(flags & 1)), packet_id


def read_connect(body: bytes) -> Connect:
    """Return what a CONNECT packet asks for; the credentials are skipped."""
    fields = Fields(body)
    fields.text()
    level, flags, keepalive = fields.byte(), fields.byte(), fields.number()
    if level != 4:  # MQTT 5 has properties here: section 3.1.2.2 answers with code 1
        return Connect(level, "", keepalive, None)
    client_id = fields.text()
    will = None
    if flags & 0x04:
        topic, payload = fields.text(), fields.binary()
        will = Publication(topic, payload, flags >> 3 & 3, bool(flags & 0x20))
    return Connect(level, client_id, keepalive, will)


def read_subscribe(body: bytes) -> tuple[int, list[tuple[str, int]]]:
    """Return a SUBSCRIBE packet's id and its filters with the QoS asked for."""
    fields = Fields(body)
    packet_id, filters = fields.number(), []
    while fields.left:
        filters.append((fields.text(), fields.byte()))
    return packet_id, filters


def read_unsubscribe(body: bytes) -> tuple[int, list[str]]:
    """Return an UNSUBSCRIBE packet's id and its filters."""
    fields = Fields(body)
    packet_id, filters = fields.number(), []
    while fields.left:
        filters.append(fields.text())
    return packet_id, filters
