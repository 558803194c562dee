"""Links of the suite's witness to a broker: the bytes of MQTT and of NATS as messages. No I/O.

Both are written for this purpose alone, so that they share nothing with the connectors whose traffic they read.
"""

from __future__ import annotations

import json
import re
import secrets
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from cascade.interfaces.subjects import topic_of

CONNACK, PUBLISH, PUBREL, SUBACK, PINGRESP, DISCONNECT = 2, 3, 6, 9, 13, 14


@dataclass(frozen=True, slots=True)
class Heard:
    """A message as a broker delivers it; None where the network does not show it."""

    topic: str
    payload: bytes
    qos: int | None = None
    retain: bool | None = None


class RefusedError(Exception):
    """The broker does not accept the witness."""


class Link(Protocol):
    """One connection: bytes that arrive go in, messages and bytes to send come out."""

    listening: bool
    """Whether the broker has confirmed the subscription."""
    answers: int
    """How many calls for an answer it has answered: all that it had delivered before has arrived."""

    def feed(self, data: bytes) -> list[Heard]:
        """Take what has arrived.

        :raises RefusedError: if the broker refuses the connection or the subscription.
        """
        ...

    def replies(self) -> bytes:
        """Return what must be sent now."""
        ...

    def call(self) -> bytes:
        """Return what the broker answers behind all that it has delivered."""
        ...


def _text(value: str) -> bytes:
    return struct.pack(">H", len(value.encode())) + value.encode()


def _packet(head: int, body: bytes) -> bytes:
    assert len(body) < 128  # one byte holds the length of all that the witness sends
    return bytes((head, len(body))) + body


class MqttLink:
    """MQTT 5, which shows the flag "retain" as it was published (section 3.8.3.1), or 3.1.1, which does not.

    :param login: user and password; empty for an anonymous client.
    :param echo: the topic of messages to itself that a call for an answer publishes, at a broker whose PINGRESP overtakes
        messages.
    :param shows_qos: False for a broker that delivers at the QoS of the subscription.
    """

    def __init__(
        self,
        login: tuple[str, str] | None,
        *,
        version: int = 5,
        echo: str | None = None,
        shows_qos: bool = True,
    ) -> None:
        self.listening, self.answers = False, 0
        self._five = version == 5
        self._filters = ["cascade/#", *([echo] if echo else [])]
        self._echo, self._calls = echo, 0
        self._shows_qos = shows_qos
        self._buffer = bytearray()
        self._out = bytearray(self._connect(login))

    def _connect(self, login: tuple[str, str] | None) -> bytes:
        flags = 0x02 | (0xC0 if login else 0)  # a clean start, no will
        # The longest keepalive: a frozen broker stays as it is. rumqttd accepts neither 0 nor an empty client id.
        body = _text("MQTT") + bytes((5 if self._five else 4, flags, 0xFF, 0xFF))
        body += b"\x03\x21\xff\xff" if self._five else b""  # Receive Maximum 65,535
        body += _text(f"witness-{secrets.token_hex(4)}")
        return _packet(0x10, body + b"".join(_text(each) for each in login or ()))

    def _subscribe(self) -> bytes:
        options = (0x08 if self._five else 0) | (
            2 if self._shows_qos else 0
        )  # Retain As Published, and the QoS
        properties = b"\x00" if self._five else b""
        wanted = b"".join(_text(each) + bytes((options,)) for each in self._filters)
        return _packet(0x82, b"\x00\x01" + properties + wanted)

    def replies(self) -> bytes:
        out = bytes(self._out)
        self._out.clear()
        return out

    def call(self) -> bytes:
        if self._echo is None:
            return b"\xc0\x00"
        self._calls = self._calls % 0xFFFF + 1
        properties = b"\x00" if self._five else b""
        return _packet(0x32, _text(self._echo) + struct.pack(">H", self._calls) + properties)  # QoS 1

    def feed(self, data: bytes) -> list[Heard]:
        self._buffer += data
        return [heard for head, body in self._packets() if (heard := self._take(head, body)) is not None]

    def _packets(self) -> Iterator[tuple[int, bytes]]:
        buffer, at = self._buffer, 0
        while (length := _length(buffer, at + 1)) is not None and len(buffer) >= length[0] + length[1]:
            begin, size = length
            yield buffer[at], bytes(buffer[begin : begin + size])
            at = begin + size
        del buffer[:at]

    def _take(self, head: int, body: bytes) -> Heard | None:
        kind = head >> 4
        if kind == PUBLISH:
            return self._publication(head, body)
        if kind == CONNACK:
            if body[1]:
                raise RefusedError(f"CONNACK with code {body[1]}")
            self._out += self._subscribe()
        elif kind == SUBACK:
            if (code := max(body[-len(self._filters) :])) >= 0x80:
                raise RefusedError(f"SUBACK with code {code}")
            self.listening = True
        elif kind == PUBREL:
            self._out += _packet(0x70, body[:2])
        elif kind == PINGRESP and self._echo is None:
            self.answers += 1
        elif kind == DISCONNECT:
            pass  # the end of the connection follows
        return None

    def _publication(self, head: int, body: bytes) -> Heard | None:
        qos, retain = head >> 1 & 3, bool(head & 1)
        at = 2 + int.from_bytes(body[:2], "big")
        topic = body[2:at].decode()
        if qos:
            self._out += _packet(0x40 if qos == 1 else 0x50, body[at : at + 2])
            at += 2
        if self._five:
            begin, size = _length(body, at) or (at, 0)
            at = begin + size
        if topic == self._echo:
            self.answers += 1
            return None
        shown = qos if self._shows_qos else None
        return Heard(topic, body[at:], shown, retain if self._five or retain else None)


def _length(data: bytes | bytearray, at: int) -> tuple[int, int] | None:
    """Return where a length ends, and the length (section 1.5.5); None if it is not whole."""
    size = shift = 0
    while at < len(data):
        digit = data[at]
        size |= (digit & 127) << shift
        at, shift = at + 1, shift + 7
        if not digit & 128:
            return at, size
    return None


class NatsLink:
    """The text protocol of NATS: messages of native clients, and of MQTT clients with what the server notes of them."""

    _HEAD = re.compile(rb"([^\r\n]*)\r\n")

    def __init__(self, login: dict[str, str]) -> None:
        self.listening, self.answers = False, 0
        self._login = login
        self._buffer = bytearray()
        self._out = bytearray()

    def replies(self) -> bytes:
        out = bytes(self._out)
        self._out.clear()
        return out

    def call(self) -> bytes:
        return b"PING\r\n"

    def begin(self) -> None:
        """Answer the server's INFO, which has come (over TLS: before it)."""
        said = {
            "verbose": False,
            "pedantic": False,
            "headers": True,
            "echo": False,
            "protocol": 1,
            "lang": "witness",
        }
        self._out += b"CONNECT " + json.dumps(said | self._login).encode() + b"\r\n"
        for number, subject in enumerate(("cascade.>", "$KV.>", "$MQTT.rmsgs.>")):
            self._out += f"SUB {subject} {number}\r\n".encode()
        self._out += self.call()

    def feed(self, data: bytes) -> list[Heard]:
        self._buffer += data
        found = []
        while line := self._HEAD.match(self._buffer):
            words = line[1].split()
            kind = words[0].upper() if words else b""
            size = int(words[-1]) if kind in (b"MSG", b"HMSG") else 0
            end = line.end() + (size + 2 if kind in (b"MSG", b"HMSG") else 0)
            if len(self._buffer) < end:
                break
            if size or end > line.end():
                inside = int(words[-2]) if kind == b"HMSG" else 0
                content = bytes(self._buffer[line.end() : line.end() + size])
                found += _heard(words[1].decode(), content[:inside], content[inside:])
            else:
                self._take(kind, line[1])
            del self._buffer[:end]
        return found

    def _take(self, kind: bytes, line: bytes) -> None:
        if kind == b"PING":
            self._out += b"PONG\r\n"
        elif kind == b"PONG":
            if self.listening:
                self.answers += 1
            self.listening = True
        elif kind == b"-ERR" and b"Permissions Violation" not in line:
            raise RefusedError(line.decode())


_HEADER = re.compile(rb"^([\w-]+): ?(.*?)\r?$", re.MULTILINE)


def _heard(subject: str, head: bytes, payload: bytes) -> list[Heard]:
    """Return the message of a subject, as MQTT or native clients mean it; nothing for what is none of Cascade's."""
    headers = {name.decode(): value.decode() for name, value in _HEADER.findall(head)}
    if (
        "Nmqtt-RTopic" in headers
    ):  # the server's own copy of a retained message; a minus shows one that clears
        flags = abs(int(headers["Nmqtt-RFlags"]))
        topic = headers["Nmqtt-RTopic"]
        return [Heard(topic, payload, flags >> 1 & 3, retain=True)] if topic.startswith("cascade/") else []
    if "Nmqtt-Pub" in headers:
        return [Heard(_mqtt_topic_of(subject), payload, int(headers["Nmqtt-Pub"][:1]))]
    if subject.startswith("$KV."):
        key = subject.split(".", 2)[2]
        if not key.startswith("cascade.") or key.endswith(
            ".=will"
        ):  # the latter shows that an unnamed process lives
            return []
        return [Heard(_topic_of(key), b"" if "KV-Operation" in headers else payload, None, retain=True)]
    return [Heard(_topic_of(subject), payload)]  # a server that keeps nothing has no flag for it either


def _topic_of(subject: str) -> str:
    """Return the topic of a native client's subject; the subject itself, which is in no channel, if it has none."""
    try:
        return topic_of(subject)
    except ValueError:
        return subject


def _mqtt_topic_of(subject: str) -> str:
    """Return the topic of a subject that nats-server has made: ``.`` was ``/``, and ``//`` was ``.``."""
    parts = subject.split("//")
    return ".".join(part.replace(".", "/") for part in parts)
