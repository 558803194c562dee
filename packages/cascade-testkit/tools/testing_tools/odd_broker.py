"""A small MQTT 3.1.1 server with the oddities of real ones, each behind a switch.

    with OddBroker(retained_for_wildcards=False) as broker:  # as RabbitMQ does it
        connector = MqttConnector(broker.host, broker.port)
        ...
        broker.retained_limit = 100  # from the next SUBSCRIBE on
        broker.cut()

With no switch set it is a correct server without persistent sessions. It runs in a thread of its
own and listens on loopback only, so a test that blocks its loop does not block the broker.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Literal, Self

from cascade.interfaces.topics import matches
from testing_tools import heard_brokers
from testing_tools import mqtt_packets as mqtt
from testing_tools.mqtt_packets import MalformedPacketError, PacketType, Publication

RetainedOrder = Literal["first", "late"]

_START_SECONDS = 10.0
_MOST_TOPICS = 1_000


class OddBroker:
    """An MQTT 3.1.1 server for tests. Switches are attributes; each counts from its next use on.

    :param retained_for_wildcards: False: a filter with a wildcard gets no retained messages.
    :param retained_order: ``"late"``: the retained set follows the next message that the client
        is sent, or comes after ``late_seconds``: so an echo overtakes it.
    :param late_seconds: how long a late retained set waits for a message to overtake it.
    :param retained_limit: how many retained messages one SUBSCRIBE packet gets at most.
    :param ack_delay: seconds before a PUBACK, PUBREC or SUBACK leaves.
    :param connect_code: the return code of each CONNACK (section 3.2.2.3); not 0 refuses the client.
    :param refused_filters: filters that a SUBACK refuses.
    :param copies: whether a client gets a message once for each of its filters that match (section 3.3.5).
    :param max_packet: bytes; the broker closes a connection that sends a larger packet.
    """

    def __init__(
        self,
        *,
        retained_for_wildcards: bool = True,
        retained_order: RetainedOrder = "first",
        late_seconds: float = 0.2,
        retained_limit: int | None = None,
        ack_delay: float = 0.0,
        connect_code: int = 0,
        refused_filters: frozenset[str] = frozenset(),
        copies: bool = False,
        max_packet: int | None = None,
    ) -> None:
        self.host = "127.0.0.1"
        self.retained_for_wildcards = retained_for_wildcards
        self.retained_order: RetainedOrder = retained_order
        self.late_seconds = late_seconds
        self.retained_limit = retained_limit
        self.ack_delay = ack_delay
        self.connect_code = connect_code
        self.refused_filters = refused_filters
        self.copies = copies
        self.max_packet = max_packet
        self.connects = 0
        """How many CONNECT packets have arrived."""
        self.subscribes: list[list[tuple[str, int]]] = []
        """The filters of each SUBSCRIBE packet that has arrived, with the QoS asked for."""
        self.unsubscribes: list[list[str]] = []
        """The filters of each UNSUBSCRIBE packet that has arrived."""
        self.published: deque[str] = deque(maxlen=_MOST_TOPICS)
        """The topics of the latest 1,000 PUBLISH packets that have arrived."""
        self._retained: dict[str, Publication] = {}
        self._clients: dict[str, _Client] = {}
        self._port: int | None = None
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop
        self._stopping: asyncio.Event

    @property
    def port(self) -> int:
        """The port it listens on, the same through every restart.

        :raises RuntimeError: before the first start.
        """
        if self._port is None:
            raise RuntimeError("the broker has no port yet: start it, or enter it with `with`")
        return self._port

    @property
    def url(self) -> str:
        """Where clients connect to."""
        return f"mqtt://{self.host}:{self.port}"

    @property
    def running(self) -> bool:
        """Whether it accepts connections."""
        return self._thread is not None

    @property
    def clients(self) -> list[str]:
        """The ids of the clients that are connected."""
        return list(self._clients)

    def filters(self) -> set[str]:
        """Return the filters to which clients are subscribed."""
        return {each for client in list(self._clients.values()) for each in list(client.filters)}

    def retained(self) -> dict[str, bytes]:
        """Return the payload of each retained message by its topic."""
        return {topic: message.payload for topic, message in dict(self._retained).items()}

    def start(self) -> Self:
        """Listen, and return when clients can connect; do nothing while it runs.

        :raises OSError: if its port is taken.
        """
        if self._thread is not None:
            return self
        ready = threading.Event()
        problem: list[OSError] = []
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve(ready, problem)), name="odd-broker", daemon=True
        )
        self._thread.start()
        if not ready.wait(_START_SECONDS):
            raise RuntimeError("the broker's thread did not start in time")
        if problem:
            self._thread.join()
            self._thread = None
            raise problem[0]
        return self

    def stop(self) -> None:
        """Close every connection and the port. Idempotent; the retained messages stay."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        self._loop.call_soon_threadsafe(self._stopping.set)
        thread.join()

    def restart(self, *, keep_store: bool = True) -> Self:
        """Stop and start on the same port.

        :param keep_store: False: it comes back with nothing retained.
        """
        self.stop()
        if not keep_store:
            self._retained.clear()
        return self.start()

    def publish(self, topic: str, payload: bytes, *, qos: int = 0, retain: bool = False) -> None:
        """Publish a message of any size from the broker itself, and wait until it is on its way."""
        self._on_loop(lambda: self._route(Publication(topic, payload, qos, retain)))

    def cut(self) -> None:
        """Close every connection without a DISCONNECT; the wills are published."""
        self._on_loop(self._close_all)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        state = "running" if self.running else "stopped"
        return f"<OddBroker on port {self._port}, {state}, {len(self._clients)} clients>"

    def _on_loop(self, work: Callable[[], object]) -> None:
        """Run ``work`` in the broker's thread and wait for its end."""
        if self._thread is None:
            raise RuntimeError("the broker is not running")
        done = threading.Event()

        def run() -> None:
            try:
                work()
            finally:
                done.set()

        self._loop.call_soon_threadsafe(run)
        done.wait(_START_SECONDS)

    async def _serve(self, ready: threading.Event, problem: list[OSError]) -> None:
        """Be the broker's thread: listen until :meth:`stop`."""
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        try:
            server = await asyncio.start_server(self._accept, self.host, self._port or 0)
        except OSError as exc:
            problem.append(exc)
            ready.set()
            return
        self._port = server.sockets[0].getsockname()[1]
        ready.set()
        await self._stopping.wait()
        server.close()
        for client in self._clients.values():
            client.will = None  # a server that shuts down need not publish it
        self._close_all()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        if tasks:
            await asyncio.wait(tasks, timeout=_START_SECONDS)

    def _close_all(self) -> None:
        for client in list(self._clients.values()):
            client.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = _Client(self, reader, writer)
        try:
            await client.serve()
        except (OSError, MalformedPacketError, asyncio.IncompleteReadError, TimeoutError):
            pass  # section 4.8: the connection is closed; a will is published below
        finally:
            client.close()
            if self._clients.get(client.client_id) is client:
                del self._clients[client.client_id]
            if client.will is not None:
                self._route(client.will)

    def _enter(self, client: _Client) -> None:
        """Take a client in; an older one of the same id is put out (section 3.1.4)."""
        old = self._clients.pop(client.client_id, None)
        if old is not None:
            old.close()
            if old.will is not None:
                self._route(old.will)
                old.will = None
        self._clients[client.client_id] = client

    def _route(self, message: Publication) -> None:
        if heard_brokers.witness is not None:
            heard_brokers.witness.routed(self, message)
        if message.retain:
            if message.payload:
                self._retained[message.topic] = message
            else:
                self._retained.pop(message.topic, None)
        for client in list(self._clients.values()):
            granted = [qos for each, qos in client.filters.items() if matches(each, message.topic)]
            for qos in granted if self.copies else [max(granted)] if granted else []:
                client.send(message, min(message.qos, qos))

    def _retained_for(self, filters: dict[str, int]) -> list[tuple[Publication, int]]:
        """Return the retained messages that one SUBSCRIBE packet gets, in the order of its filters."""
        found = [
            (message, min(message.qos, qos))
            for topic_filter, qos in filters.items()
            if self.retained_for_wildcards or not ("#" in topic_filter or "+" in topic_filter)
            for message in self._retained.values()
            if matches(topic_filter, message.topic)
        ]
        return found[: self.retained_limit]


class _Client:
    """One connection."""

    def __init__(self, broker: OddBroker, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.client_id = ""
        self.filters: dict[str, int] = {}
        self.will: Publication | None = None
        self._broker = broker
        self._reader = reader
        self._writer = writer
        self._late: deque[tuple[Publication, int]] = deque()
        self._received: set[int] = set()  # packet ids of QoS 2 that wait for their PUBREL
        self._last_id = 0
        self._limit: float | None = _START_SECONDS  # for the CONNECT packet; then the keepalive counts

    def close(self) -> None:
        """Close the connection at once."""
        self._writer.transport.abort()

    def send(self, message: Publication, qos: int) -> None:
        """Send a live message; a late retained set follows it."""
        self._publish(Publication(message.topic, message.payload, qos))
        self._send_late()

    async def serve(self) -> None:
        """Answer packets until the connection ends."""
        if not await self._connect():
            return
        while True:
            flags, kind, body = await self._read()
            if kind is PacketType.DISCONNECT:
                self.will = None  # section 3.14.4
                return
            await self._answer(kind, flags, body)

    async def _connect(self) -> bool:
        _, kind, body = await self._read()
        if kind is not PacketType.CONNECT:
            raise MalformedPacketError("the first packet is not CONNECT")
        wanted = mqtt.read_connect(body)
        self._broker.connects += 1
        code = self._broker.connect_code or (1 if wanted.level != 4 else 0)
        answer = mqtt.packet(PacketType.CONNACK, bytes((0, code)))
        if code:
            self._writer.write(answer)
            await self._writer.drain()
            return False
        self._limit = wanted.keepalive * 1.5 or None  # section 3.1.2.10
        self.client_id = wanted.client_id or f"odd-{id(self)}"
        self.will = wanted.will
        self._broker._enter(self)
        self._writer.write(answer)  # what a client does after it finds the broker ready
        return True

    async def _read(self) -> tuple[int, PacketType, bytes]:
        async with asyncio.timeout(self._limit):
            head = (await self._reader.readexactly(1))[0]
            size = shift = 0
            while True:
                digit = (await self._reader.readexactly(1))[0]
                size |= (digit & 127) << shift
                shift += 7
                if not digit & 128:
                    break
                if shift > 21:
                    raise MalformedPacketError("the remaining length has more than four bytes")
            if self._broker.max_packet is not None and size > self._broker.max_packet:
                raise MalformedPacketError("the packet is too large")
            body = await self._reader.readexactly(size)
        try:
            return head & 15, PacketType(head >> 4), body
        except ValueError as exc:
            raise MalformedPacketError("a reserved packet type") from exc

    async def _answer(self, kind: PacketType, flags: int, body: bytes) -> None:
        if kind is PacketType.PUBLISH:
            self._take(*mqtt.read_publish(flags, body))
        elif kind is PacketType.SUBSCRIBE:
            self._subscribe(*mqtt.read_subscribe(body))
        elif kind is PacketType.UNSUBSCRIBE:
            packet_id, filters = mqtt.read_unsubscribe(body)
            self._broker.unsubscribes.append(filters)
            for topic_filter in filters:
                self.filters.pop(topic_filter, None)
            self._writer.write(mqtt.answer(PacketType.UNSUBACK, packet_id))
        elif kind is PacketType.PINGREQ:
            self._writer.write(mqtt.packet(PacketType.PINGRESP))
        elif kind is PacketType.PUBREL:
            packet_id = mqtt.Fields(body).number()
            self._received.discard(packet_id)
            self._writer.write(mqtt.answer(PacketType.PUBCOMP, packet_id))
        elif kind is PacketType.PUBREC:
            self._writer.write(mqtt.answer(PacketType.PUBREL, mqtt.Fields(body).number()))
        elif kind not in (PacketType.PUBACK, PacketType.PUBCOMP):
            raise MalformedPacketError(f"a client does not send {kind.name}")
        await self._writer.drain()

    def _take(self, message: Publication, packet_id: int) -> None:
        self._broker.published.append(message.topic)
        if packet_id not in self._received:  # else it is sent again: section 4.3.3
            self._broker._route(message)
        if message.qos == 1:
            self._acknowledge(mqtt.answer(PacketType.PUBACK, packet_id))
        elif message.qos == 2:
            self._received.add(packet_id)
            self._acknowledge(mqtt.answer(PacketType.PUBREC, packet_id))

    def _subscribe(self, packet_id: int, wanted: list[tuple[str, int]]) -> None:
        broker = self._broker
        broker.subscribes.append(wanted)
        granted = {each: qos for each, qos in wanted if each not in broker.refused_filters}
        self.filters |= granted
        codes = bytes(granted.get(each, 0x80) for each, _ in wanted)
        self._acknowledge(mqtt.answer(PacketType.SUBACK, packet_id, codes))
        self._late.extend(broker._retained_for(granted))
        if broker.retained_order == "first":
            self._send_late()
        elif self._late:
            asyncio.get_running_loop().call_later(broker.late_seconds, self._send_late)

    def _acknowledge(self, data: bytes) -> None:
        delay = self._broker.ack_delay
        if delay:
            asyncio.get_running_loop().call_later(delay, self._write, data)
        else:
            self._writer.write(data)

    def _send_late(self) -> None:
        while self._late:
            message, qos = self._late.popleft()
            self._publish(Publication(message.topic, message.payload, qos, retain=True))

    def _publish(self, message: Publication) -> None:
        if message.qos:
            self._last_id = self._last_id % 65_535 + 1
        self._write(mqtt.publish(message, self._last_id))

    def _write(self, data: bytes) -> None:
        if not self._writer.is_closing():
            self._writer.write(data)
