"""The odd broker: correct with no switch set, odd in one thing with one switch set."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import AsyncIterator, Iterator

import aiomqtt
import pytest
import pytest_asyncio

from cascade.testkit import eventually, time_limit
from testing_tools import mqtt_packets as mqtt
from testing_tools.mqtt_packets import MalformedPacketError, PacketType, Publication
from testing_tools.odd_broker import OddBroker

pytestmark = pytest.mark.broker

HELLO = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x01\x00\x01s"
"""A CONNECT packet: MQTT 3.1.1, clean session, keepalive 1 s, client id "s"."""

SET = {f"set/{n}": str(n).encode() for n in range(20)}


@pytest.fixture
def odd() -> Iterator[OddBroker]:
    with OddBroker() as broker:
        yield broker


def client_of(broker: OddBroker, **keywords: object) -> aiomqtt.Client:
    return aiomqtt.Client(broker.host, broker.port, **keywords)  # type: ignore[arg-type]


@pytest_asyncio.fixture
async def client(odd: OddBroker) -> AsyncIterator[aiomqtt.Client]:
    async with client_of(odd) as connected:
        yield connected


async def take(client: aiomqtt.Client, count: int) -> list[tuple[str, bytes, bool]]:
    """Return the next messages of a client: topic, payload, retain flag."""
    taken: list[tuple[str, bytes, bool]] = []
    async with time_limit(50):
        async for message in client.messages:
            assert isinstance(message.payload, bytes)
            taken.append((message.topic.value, message.payload, message.retain))
            if len(taken) == count:
                break
    return taken


async def wait_for_the_end(client: aiomqtt.Client) -> None:
    """Return when a client has noticed that its connection is lost."""
    with pytest.raises(aiomqtt.MqttError):
        await take(client, 1)


def fill(broker: OddBroker) -> None:
    """Give a broker the retained set of these tests."""
    for topic, payload in SET.items():
        broker.publish(topic, payload, retain=True)


async def set_and_echo(client: aiomqtt.Client, count: int) -> list[str]:
    """Subscribe to the set and to an echo, publish the echo, and return the topics in order of arrival."""
    await client.subscribe([("set/#", 0), ("echo", 0)])
    await client.publish("echo", b"x")
    return [topic for topic, _, _ in await take(client, count)]


async def test_messages_of_each_qos_reach_a_subscriber_in_order(
    odd: OddBroker, client: aiomqtt.Client
) -> None:
    """A message arrives once, at the lower one of both QoS, with its bytes unchanged."""
    await client.subscribe("a/+", 2)
    for qos in (0, 1, 2):
        await client.publish("a/b", bytes([qos, 255]), qos)
    assert await take(client, 3) == [("a/b", bytes([qos, 255]), False) for qos in (0, 1, 2)]


async def test_a_retained_message_is_kept_replaced_and_cleared(
    odd: OddBroker, client: aiomqtt.Client
) -> None:
    await client.publish("a", b"1", 1, retain=True)
    await client.publish("a", b"2", 1, retain=True)
    assert odd.retained() == {"a": b"2"}
    await client.subscribe("a")
    assert await take(client, 1) == [("a", b"2", True)]
    await client.publish("a", b"", 1, retain=True)
    assert odd.retained() == {}


async def test_the_retained_set_comes_before_an_echo(odd: OddBroker, client: aiomqtt.Client) -> None:
    fill(odd)
    assert await set_and_echo(client, 21) == [*SET, "echo"]


async def test_a_late_set_is_overtaken_by_an_echo(odd: OddBroker, client: aiomqtt.Client) -> None:
    fill(odd)
    odd.retained_order, odd.late_seconds = "late", 60.0
    assert await set_and_echo(client, 21) == ["echo", *SET]


async def test_a_late_set_comes_also_when_nothing_overtakes_it(
    odd: OddBroker, client: aiomqtt.Client
) -> None:
    fill(odd)
    odd.retained_order = "late"
    await client.subscribe("set/#")
    assert [topic for topic, _, _ in await take(client, 20)] == [*SET]


async def test_a_set_is_cut_at_its_limit(odd: OddBroker, client: aiomqtt.Client) -> None:
    fill(odd)
    odd.retained_limit = 5
    assert await set_and_echo(client, 6) == [*[*SET][:5], "echo"]


async def test_a_wildcard_gets_no_retained_message_but_an_exact_filter_does(
    odd: OddBroker, client: aiomqtt.Client
) -> None:
    fill(odd)
    odd.retained_for_wildcards = False
    assert await set_and_echo(client, 1) == ["echo"]
    await client.subscribe("set/7")
    assert await take(client, 1) == [("set/7", b"7", True)]


async def test_a_late_acknowledgement_holds_its_publisher_only(
    odd: OddBroker, client: aiomqtt.Client
) -> None:
    """The message is delivered at once; its sender waits for the PUBACK."""
    await client.subscribe("a")
    odd.ack_delay = 30.0
    publishing = asyncio.create_task(client.publish("a", b"1", 1))
    assert await take(client, 1) == [("a", b"1", False)]
    assert not publishing.done()
    publishing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await publishing


@pytest.mark.parametrize("code", [1, 2, 3, 4, 5])
async def test_a_connection_is_refused_with_its_code(odd: OddBroker, code: int) -> None:
    """Section 3.2.2.3: the CONNACK carries the code, then the connection is closed."""
    odd.connect_code = code
    reader, writer = await asyncio.open_connection(odd.host, odd.port)
    writer.write(HELLO)
    async with time_limit(50):
        assert await reader.read() == bytes((0x20, 2, 0, code))
    writer.close()
    assert odd.clients == []


async def test_a_client_of_mqtt_5_is_refused(odd: OddBroker) -> None:
    with pytest.raises(aiomqtt.MqttError):
        async with client_of(odd, protocol=aiomqtt.ProtocolVersion.V5):
            pass


async def test_a_filter_is_refused(odd: OddBroker, client: aiomqtt.Client) -> None:
    odd.refused_filters = frozenset({"no/#"})
    granted = await client.subscribe([("no/#", 1), ("yes", 1)])
    assert [code if isinstance(code, int) else code.value for code in granted] == [128, 1]


async def test_a_huge_message_arrives_whole(odd: OddBroker, client: aiomqtt.Client) -> None:
    await client.subscribe("huge")
    odd.publish("huge", b"x" * 5_000_000)
    ((_, payload, _),) = await take(client, 1)
    assert len(payload) == 5_000_000


async def test_a_packet_that_is_too_large_costs_the_connection(odd: OddBroker) -> None:
    odd.max_packet = 1_000
    with contextlib.suppress(aiomqtt.MqttError):
        async with client_of(odd) as client:
            await client.publish("a", b"x" * 2_000, retain=True)
            await wait_for_the_end(client)
    assert odd.retained() == {}


async def test_the_will_of_a_lost_client_is_published_and_that_of_one_that_leaves_is_not(
    odd: OddBroker, client: aiomqtt.Client
) -> None:
    await client.subscribe("will/#")
    async with client_of(odd, will=aiomqtt.Will("will/left", b"1")):
        pass
    with contextlib.suppress(aiomqtt.MqttError):
        async with client_of(odd, will=aiomqtt.Will("will/lost", b"1"), identifier="lost") as lost:
            odd._on_loop(odd._clients["lost"].close)
            await wait_for_the_end(lost)
    assert await take(client, 1) == [("will/lost", b"1", False)]


@pytest.mark.full
async def test_a_client_that_is_silent_is_put_out(odd: OddBroker) -> None:
    """Section 3.1.2.10: after one and a half times the keepalive."""
    reader, writer = await asyncio.open_connection(odd.host, odd.port)
    writer.write(HELLO)
    async with time_limit(50):
        assert await reader.readexactly(4) == b"\x20\x02\x00\x00"
        assert await reader.read() == b""
    writer.close()


@pytest.mark.parametrize(("keepalive", "limit"), [(40, 60.0), (41, 61.5), (0, None)])
async def test_a_client_may_be_silent_for_one_and_a_half_times_its_keepalive(
    odd: OddBroker, keepalive: int, limit: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Section 3.1.2.10; a keepalive of 0 sets no limit."""
    limits: list[float | None] = []
    timeout = asyncio.timeout

    def noted(delay: float | None) -> asyncio.Timeout:
        if (
            threading.current_thread() is not threading.main_thread()
        ):  # the odd broker has a thread of its own
            limits.append(delay)
        return timeout(delay)

    monkeypatch.setattr(asyncio, "timeout", noted)
    async with client_of(odd, keepalive=keepalive) as client:
        await client.subscribe("a")
    assert limits[1:]
    assert {*limits[1:]} == {limit}, "of every packet after CONNECT"


async def test_a_second_client_of_one_name_puts_the_first_out(odd: OddBroker) -> None:
    with contextlib.suppress(aiomqtt.MqttError):
        async with client_of(odd, identifier="twin") as first, client_of(odd, identifier="twin"):
            await wait_for_the_end(first)
    await eventually(lambda: odd.clients == [])
    assert odd.connects == 2


async def test_the_port_stays_through_a_restart_and_the_store_as_asked(odd: OddBroker) -> None:
    fill(odd)
    port = odd.port
    assert (odd.restart().port, odd.retained()) == (port, SET)
    assert (odd.restart(keep_store=False).port, odd.retained()) == (port, {})


async def test_cut_ends_every_connection(odd: OddBroker) -> None:
    with contextlib.suppress(aiomqtt.MqttError):
        async with client_of(odd) as client:
            odd.cut()
            await wait_for_the_end(client)
    await eventually(lambda: odd.clients == [])


def test_it_listens_on_loopback_only_and_a_taken_port_is_reported(odd: OddBroker) -> None:
    assert odd.host == "127.0.0.1"
    other = OddBroker()
    other._port = odd.port
    with pytest.raises(OSError, match="in use"):
        other.start()
    assert not other.running


def test_before_its_start_it_says_so() -> None:
    broker = OddBroker()
    with pytest.raises(RuntimeError, match="start it"):
        _ = broker.port
    with pytest.raises(RuntimeError, match="not running"):
        broker.cut()
    broker.stop()


@pytest.mark.parametrize(
    "data",
    [
        b"\x30\x00",  # PUBLISH comes before CONNECT
        b"\x10\xff\xff\xff\xff\x01",  # a remaining length of five bytes
        b"\x10\x02\x00\x09",  # a string that is longer than its packet
        b"\x10\x03\x00\x01\xff",  # not UTF-8
        b"\xf0\x00",  # a reserved type
        b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01g\x36\x02\x00\x00",  # QoS 3
        b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01g\x20\x00",  # a CONNACK from a client
    ],
)
def test_garbage_costs_the_connection_and_nothing_else(odd: OddBroker, data: bytes) -> None:
    with socket.create_connection((odd.host, odd.port), timeout=60) as link:
        link.sendall(data)
        link.settimeout(60)
        received = b""
        while piece := _receive(link):
            received += piece
    assert received in (b"", b"\x20\x02\x00\x00")
    odd.publish("still", b"here", retain=True)
    assert odd.retained() == {"still": b"here"}


def _receive(link: socket.socket) -> bytes:
    try:
        return link.recv(4096)
    except ConnectionResetError:
        return b""


@pytest.mark.parametrize("size", [0, 127, 128, 16_383, 16_384, 2_097_152])
def test_remaining_lengths(size: int) -> None:
    """Section 2.2.3: one byte for each seven bits."""
    whole = mqtt.packet(PacketType.PUBLISH, bytes(size))
    length, shift, at = 0, 0, 1
    while True:
        length |= (whole[at] & 127) << shift
        shift, at = shift + 7, at + 1
        if not whole[at - 1] & 128:
            break
    assert (length, len(whole) - at) == (size, size)


def test_a_publication_survives_its_packet() -> None:
    message = Publication("ü/1", b"\x00\xff", 2, True)
    whole = mqtt.publish(message, 77)
    assert mqtt.read_publish(whole[0] & 15, whole[2:]) == (message, 77)


def test_a_truncated_packet_is_malformed() -> None:
    with pytest.raises(MalformedPacketError, match="expected"):
        mqtt.read_subscribe(struct.pack(">HH", 1, 9) + b"short")
