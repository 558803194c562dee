"""Many small packets are read and written with few system calls, and each is handled as paho would."""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Iterator
from typing import Any

import pytest
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from cascade.connectors.mqtt._aiomqtt import packets
from cascade.connectors.mqtt._aiomqtt.packets import Incoming, join


def puback(mid: int) -> bytes:
    return b"\x40\x02" + mid.to_bytes(2)


def publish(topic: str, payload: bytes) -> bytes:
    body = len(topic).to_bytes(2) + topic.encode() + payload
    return bytes([0x30, len(body)]) + body


class Peer:
    """The other end of a paho client's socket, and what the client notes."""

    def __init__(self, version: MQTTProtocolVersion) -> None:
        self.sock, ours = socket.socketpair()
        ours.setblocking(False)
        self.paho: Any = Client(CallbackAPIVersion.VERSION2, protocol=version)
        self.paho._sock = ours
        self.published: list[int] = []
        self.received: list[str] = []
        self.lost: list[Any] = []
        self.paho.on_publish = lambda _c, _u, mid, *_: self.published.append(mid)
        self.paho.on_message = lambda _c, _u, message: self.received.append(message.topic)
        self.paho.on_disconnect = lambda *args: self.lost.append(args)
        for mid in range(1, 101):
            message = MQTTMessage(mid, b"t")
            message.qos = 1
            self.paho._out_messages[mid] = message
            self.paho._inflight_messages += 1
        self.incoming = Incoming(self.paho)

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)
        self.incoming.read()

    def close(self) -> None:
        self.sock.close()
        if self.paho._sock is not None:
            self.paho._sock.close()
            self.paho._sock = None


@pytest.fixture(params=[MQTTProtocolVersion.MQTTv311, MQTTProtocolVersion.MQTTv5], ids=["3.1.1", "5"])
def peer(request: pytest.FixtureRequest) -> Iterator[Peer]:
    made = Peer(request.param)
    yield made
    made.close()


def test_packets_are_handled_in_order_wherever_they_are_cut(peer: Peer) -> None:
    """Acknowledgements and messages mixed, in pieces of every size."""
    properties = b"\x00" if peer.paho.protocol == MQTTProtocolVersion.MQTTv5 else b""
    data = b"".join(
        puback(mid) + puback(mid + 1) + publish(f"a{mid}", properties + b"payload")
        for mid in range(1, 100, 2)
    )
    for size in (len(data), 1, 3, 7):
        peer.close()
        peer = Peer(peer.paho.protocol)
        for begin in range(0, len(data), size):
            peer.send(data[begin : begin + size])
        assert peer.published == list(range(1, 101))
        assert peer.received == [f"a{mid}" for mid in range(1, 100, 2)]
        assert (peer.paho._inflight_messages, len(peer.paho._out_messages), peer.lost) == (0, 0, [])
    peer.close()


def test_more_than_one_read_is_handled_at_once(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing stays in the buffer, where no selector would see it."""
    monkeypatch.setattr(packets, "READ_AT_ONCE", 10)
    peer.send(b"".join(puback(mid) for mid in range(1, 101)))
    while len(peer.published) < 100:
        before = len(peer.published)
        peer.incoming.read()
        assert len(peer.published) > before
    assert peer.published == list(range(1, 101))


def test_paho_is_not_asked_for_more_behind_acknowledgements(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would read from a socket that is empty, or take each further one by itself. What is left over it gets."""
    peer = Peer(MQTTProtocolVersion.MQTTv311)
    asked: list[int] = []
    read = peer.paho.loop_read

    def loop_read() -> None:
        asked.append(len(peer.published))
        read()

    monkeypatch.setattr(peer.paho, "loop_read", loop_read)
    peer.send(puback(1) + puback(2))
    assert (peer.published, asked) == ([1, 2], [])
    peer.send(puback(3) + puback(4)[:1])
    peer.send(puback(4)[1:] + puback(5))
    assert peer.published == [1, 2, 3, 4, 5]
    assert asked == [3, 3]
    peer.send(publish("a", b"x"))
    assert (peer.received, asked[2:]) == (["a"], [5])
    peer.close()


def test_a_message_may_hold_the_bytes_of_an_acknowledgement(peer: Peer) -> None:
    """Also where a read ends before them."""
    properties = b"\x00" if peer.paho.protocol == MQTTProtocolVersion.MQTTv5 else b""
    data = publish("a", properties + puback(5) + puback(6))
    peer.send(data[:-8])
    peer.send(data[-8:-4])
    peer.send(data[-4:] + puback(7))
    assert (peer.received, peer.published) == (["a"], [7])


def test_an_acknowledgement_of_nothing_is_left_to_paho(peer: Peer) -> None:
    """It ignores it, and what follows is handled."""
    peer.send(puback(700) + puback(3))
    assert peer.published == [3]
    assert not peer.lost


def test_the_end_of_a_socket_comes_behind_its_last_packets(peer: Peer) -> None:
    """The acknowledgements before it count, and the client notes the loss once."""
    peer.sock.sendall(puback(1) + puback(2))
    peer.sock.close()
    peer.incoming.read()
    peer.incoming.read()
    assert peer.published == [1, 2]
    assert (len(peer.lost), peer.paho._sock) == (1, None)


def test_the_error_of_a_socket_reaches_paho(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    """It reports the loss with its cause, which the log names."""

    def fail(_: int) -> bytes:
        raise ConnectionResetError("cut")

    monkeypatch.setattr(peer.incoming, "_receive", fail)
    logged: list[str] = []
    peer.paho.on_log = lambda _c, _u, _level, text: logged.append(text)
    peer.incoming.read()
    assert len(peer.lost) == 1
    assert any("cut" in line for line in logged)


def packet(payload: bytes, *, command: int = 0x32, qos: int = 1, pos: int = 0) -> dict[str, Any]:
    size = len(payload) - pos
    return {
        "command": command, "mid": 1, "qos": qos, "pos": pos, "to_process": size, "packet": payload, "info": None
    }  # fmt: skip


def bytes_of(queue: deque[dict[str, Any]]) -> list[bytes]:
    return [bytes(each["packet"][each["pos"] :]) for each in queue]


def test_messages_in_a_row_become_one_packet() -> None:
    """Their bytes stay in order; the number of bytes left is right."""
    queue = deque(packet(str(number).encode()) for number in range(12))
    join(queue)
    assert bytes_of(queue) == [b"01234567891011"]
    assert (queue[0]["to_process"], queue[0]["pos"]) == (14, 0)


@pytest.mark.parametrize(
    "apart",
    [packet(b"X", command=0x30, qos=0), packet(b"X", command=0xC0, qos=0), packet(b"X", command=0x62)],
    ids=["QoS 0", "PINGREQ", "PUBREL"],
)
def test_other_packets_stay_apart_and_in_their_place(apart: dict[str, Any]) -> None:
    """Paho acts when one of them is written."""
    queue = deque([packet(b"1"), packet(b"2"), apart, packet(b"3"), packet(b"4")])
    join(queue)
    assert bytes_of(queue) == [b"12", b"X", b"3", b"4"]
    queue = deque([apart, packet(b"3"), packet(b"4")])
    join(queue)
    assert bytes_of(queue) == [b"X", b"3", b"4"]


def test_a_packet_that_is_half_written_stays_apart() -> None:
    """The rest of it goes first."""
    queue = deque([packet(b"abc", pos=1), packet(b"d")])
    join(queue)
    assert bytes_of(queue) == [b"bc", b"d"]


def test_what_is_joined_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Paho copies the rest of a packet for each part that a socket takes."""
    monkeypatch.setattr(packets, "WRITE_AT_ONCE", 10)
    queue = deque(packet(b"four") for _ in range(5))
    join(queue)
    assert bytes_of(queue) == [b"fourfourfour", b"four", b"four"]
