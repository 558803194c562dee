"""Settings that aiomqtt 2 lacks, made on one of its clients through private attributes of aiomqtt and paho.

They are used in this module only; a test fails when aiomqtt changes there.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import math
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from cascade.connectors.mqtt._client_port import Packet
from cascade.connectors.mqtt._unsettled import Unsettled
from cascade.transport.event_loop import close_copy
from cascade.transport.state_log import QuietLogger

UPKEEP = 1.0
"""Seconds between two calls that send what keeps the connection alive; aiomqtt's own value."""


class SocketService:
    """Reads and writes for a new client from the moment when it is connected; made on the event loop.

    aiomqtt itself starts while a thread still connects: by then the socket may be closed, and its number may belong
    to another socket.

    :param context: an ``aiomqtt.Client`` that was not entered.
    """

    def __init__(self, context: Any) -> None:
        self._loop = asyncio.get_running_loop()
        self._context = context
        self._paho = context._client
        self._connect = context._client_connect
        self._upkeep: asyncio.Task[None] | None = None
        self.asked_at = math.inf
        """When CONNECT was written, on the clock of the loop."""
        context._client_connect = self._connect_in_thread
        self._paho.on_socket_open = None
        self._paho.on_socket_register_write = self._register_write

    def stop(self) -> None:
        """End the task that keeps the connection alive. Idempotent."""
        if self._upkeep is not None:
            self._upkeep.cancel()

    def hold(self, held: bool) -> None:
        """Read nothing from the socket, or go on with that."""
        if (sock := self._paho.socket()) is None:
            return
        if held:
            self._loop.remove_reader(sock.fileno())
        else:
            self._loop.add_reader(sock.fileno(), self._call, self._read)
            # what TLS has decrypted already makes no socket readable
            self._loop.call_soon(self._call, self._read_on)

    def _read_on(self) -> None:
        if self._paho.socket() is not None:
            self._read()

    def _connect_in_thread(self) -> None:
        self._connect()
        self.asked_at = self._loop.time()
        # the loop is closed, so no task waits
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._begin)

    def _begin(self) -> None:
        if (sock := self._paho.socket()) is None:
            return
        self._loop.add_reader(sock.fileno(), self._call, self._read)
        if self._paho.want_write():
            self._loop.add_writer(sock.fileno(), self._call, self._paho.loop_write)
        self._upkeep = self._loop.create_task(self._keep_alive(), name="cascade-mqtt-upkeep")

    def _register_write(self, _paho: Any, _userdata: Any, sock: Any) -> None:
        # not in the thread that connects
        if asyncio._get_running_loop() is self._loop:
            self._loop.add_writer(sock.fileno(), self._call, self._paho.loop_write)

    def _read(self) -> None:
        more = True
        while more:
            self._paho.loop_read()
            sock = self._paho.socket()
            # decrypted bytes of TLS
            more = hasattr(sock, "pending") and sock.pending() > 0

    def _call(self, serve: Callable[[], object]) -> None:
        try:
            serve()
        except Exception as exc:
            if not self._context._disconnected.done():
                self._context._disconnected.set_exception(exc)

    async def _keep_alive(self) -> None:
        while self._paho.loop_misc() == 0:  # noqa: ASYNC110 - paho has to be asked; 0 is success
            await asyncio.sleep(UPKEEP)


try:
    from aiomqtt import MqttError as _MqttError
    from aiomqtt.client import Properties as _Properties  # type: ignore[attr-defined]  # paho's
    from aiomqtt.exceptions import MqttConnectError as _MqttConnectError
except ImportError:  # the connector's constructor says what to install
    _MqttError = ConnectionError  # type: ignore[assignment, misc]

KEEPALIVE = 15
UNANSWERED = "the connection was closed before a broker answered"
PENDING_CALLS = 10_000
"""aiomqtt warns beyond this many calls in progress; the window limits them here."""

MAX_PACKET = 4 * 1024 * 1024
"""Bytes of the largest packet that a broker may send with MQTT 5: it drops larger messages."""

RECEIVE_MAXIMUM = 1_000
"""Messages that a broker may send with MQTT 5 before the first of them is acknowledged, if they are kept."""
SESSION_SECONDS = 8 * 24 * 3600
"""For which a broker keeps messages for a client that is away; MQTT 3.1.1 cannot say that."""

_HIDDEN = (1, 2)
"""Return codes of a CONNACK that paho keeps to itself: wrong version, and refused client id if that is empty."""

_MQTT_5 = 5
_CONNECT = 1
"""The type of the packet; MQTT 5.0, section 2.1.2."""
_NODELAY = ((socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),)

LOGGER = logging.getLogger("mqtt")
"""aiomqtt's own, unless the caller passes another."""
# without one, logging prints its warnings on stderr
LOGGER.addHandler(logging.NullHandler())

_PRIVATE = frozenset({"_client", "_connected", "_disconnected", "_properties", "_queue"})
"""The attributes of aiomqtt 2 that are used here, besides those that are set."""

_ACKNOWLEDGED = SimpleNamespace(value=0)
"""The reason of an acknowledgement that has none: only MQTT 5 transmits one."""


class Internals:
    """A client of which only the public methods are known: nothing is set on it."""

    complete = False
    """Whether the client is one of aiomqtt 2."""

    has_properties = False
    """Whether it speaks MQTT 5, which transmits properties with messages and options with subscriptions."""

    receive_maximum: int | None = None
    """How many messages of QoS 1 and 2 the broker allows in flight, if it said so."""

    round_trip = 0.0
    """Seconds between CONNECT and the answer to it, if the broker stated a Receive Maximum."""

    broker_limit: int | None = None
    """How many bytes the largest packet to the broker may have, if it said so."""

    packet_limit: int | None = None
    """How many bytes the largest packet from the broker may have, if there is a limit."""

    def prepare(
        self,
        *,
        connect_timeout: float,
        window: int,
        logger: QuietLogger,
        rejected: Callable[[int], None],
        undecodable: Callable[[], None],
        kept: bool = False,
    ) -> None:
        """Set on a new client what its constructor cannot, unless the user gave it.

        :param connect_timeout: seconds for the TCP connection, which paho makes in a thread.
        :param window: how many messages will be in flight at most.
        :param rejected: called with the reason code of each publication that the broker rejects (MQTT 5).
        :param undecodable: called for each message that is discarded because its topic is none.
        :param kept: acknowledge no message before ``settle`` says so, and have the broker keep the session.
        """

    def set_answer_timeout(self, seconds: float) -> None:
        """Set how long to wait for the answer to CONNECT."""

    def on_lost(self, callback: Callable[[BaseException | None], None]) -> None:
        """Call ``callback`` as soon as the link is down. From here on, calls wait without a time limit."""

    def why_lost(self) -> BaseException | None:
        """Return the cause of the end of the link if the client knows it: calls that fail for it say less."""
        return None

    def arrived(self) -> Iterator[Any]:
        """Yield messages that have arrived already, which spares each of them a task."""
        return iter(())

    def note_read(self) -> None:
        """Note that the next message of QoS 1 or 2 was read."""

    async def unsettled(self) -> Sequence[Packet]:
        """Wait for messages that were read and are not acknowledged, and return all of them."""
        never: asyncio.Future[Sequence[Packet]] = asyncio.get_running_loop().create_future()
        return await never

    def settle(self, packets: Sequence[Packet]) -> None:
        """Acknowledge messages."""

    def ignore_answers(self) -> None:
        """Ignore the answers to calls that were cancelled: aiomqtt logs each of them as an error."""

    def close(self) -> None:
        """Close the socket and end aiomqtt's loop task; every call in progress ends or fails."""

    def discard(self, exc: BaseException) -> None:
        """Close what an ``__aenter__`` left open that raised ``exc``."""

    def close_in_child(self) -> None:
        """Close a forked process's copy of the socket; the parent's link and event loop do not change."""


class Aiomqtt2(Internals):
    """A client of aiomqtt 2.

    :param given: the keywords that the user passed for it.
    """

    complete = True

    def __init__(self, context: Any, given: Mapping[str, Any]) -> None:
        self._context = context
        self._paho = context._client
        self._given = given
        self._service = SocketService(context)
        self._unsettled: Unsettled | None = None

    def prepare(
        self,
        *,
        connect_timeout: float,
        window: int,
        logger: QuietLogger,
        rejected: Callable[[int], None],
        undecodable: Callable[[], None],
        kept: bool = False,
    ) -> None:
        context, paho, given = self._context, self._paho, self._given
        paho.connect_timeout = connect_timeout
        paho.on_disconnect = functools.partial(_disconnected, context, paho.on_disconnect, logger)
        paho.on_socket_close = functools.partial(self._closing, paho.on_socket_close, logger)
        if paho.protocol == _MQTT_5:
            self.has_properties = True
            if "properties" not in given:
                context._properties = _connect_properties(kept=kept)
            self.packet_limit = getattr(context._properties, "MaximumPacketSize", None)
            paho.on_connect = functools.partial(self._connected, paho.on_connect)
            paho.on_publish = functools.partial(_published, paho.on_publish, rejected)
            paho._handle_pubrec = functools.partial(_pubrec, paho, paho._handle_pubrec)
        else:
            paho._handle_connack = functools.partial(_connack, context, paho, paho._handle_connack)
            paho._handle_pubackcomp = functools.partial(_puback, paho, paho._handle_pubackcomp)
        if kept:
            self._unsettled = Unsettled(self._service.hold)
            paho.manual_ack_set(True)
        paho.on_message = functools.partial(_message, paho.on_message, undecodable, self._unsettled)
        context.pending_calls_threshold = PENDING_CALLS
        if "max_inflight_messages" not in given:
            paho.max_inflight_messages_set(window)
        if "keepalive" not in given:
            context._keepalive = KEEPALIVE
        if "socket_options" not in given and given.get("transport") != "unix":
            context._socket_options = _NODELAY
        if "logger" not in given:
            context._logger = logger
            paho.enable_logger(logger)

    def _connected(self, original: Callable[..., None], paho: Any, *args: Any) -> None:
        """Respect the broker's limits, which paho ignores; MQTT 5.0, sections 3.2.2.3.3 and 3.2.2.3.6."""
        self.broker_limit = getattr(args[3], "MaximumPacketSize", None)
        if most := getattr(args[3], "ReceiveMaximum", 0):
            self.receive_maximum = most
            self.round_trip = max(0.0, asyncio.get_running_loop().time() - self._service.asked_at)
            paho._max_inflight_messages = min(paho.max_inflight_messages or most, most)
        original(paho, *args)

    def _closing(self, original: Callable[..., None], logger: QuietLogger, *args: Any) -> None:
        """Note the alert of a broker that refuses a certificate: it arrives with the reset, behind which writing fails.

        With TLS 1.3 the client's handshake is over before the broker has checked its certificate; RFC 8446, section 4.4.
        """
        self._service.stop()
        sock = args[2]
        if isinstance(sock, ssl.SSLSocket) and not self._context._connected.done():
            try:
                sock.recv(1)
            except ssl.SSLError as exc:
                if exc.reason is not None and "_ALERT_" in exc.reason:
                    logger.note_socket_error(exc)
            except (OSError, ValueError):
                pass
        original(*args)

    def set_answer_timeout(self, seconds: float) -> None:
        if "timeout" not in self._given:
            self._context.timeout = seconds

    def on_lost(self, callback: Callable[[BaseException | None], None]) -> None:
        # Without a limit, aiomqtt needs no task for each publish; the limits are the link's own.
        self.set_answer_timeout(math.inf)
        self._context._disconnected.add_done_callback(lambda future: callback(_outcome(future)))
        # it went down before aiomqtt made that future
        if self._paho.socket() is None:
            callback(ConnectionResetError("the broker closed the connection"))

    def why_lost(self) -> BaseException | None:
        disconnected = self._context._disconnected
        return _outcome(disconnected) if disconnected.done() else None

    def arrived(self) -> Iterator[Any]:
        queue = self._context._queue
        while not queue.empty():
            yield queue.get_nowait()

    def note_read(self) -> None:
        if self._unsettled is not None:
            self._unsettled.read()

    async def unsettled(self) -> Sequence[Packet]:
        if self._unsettled is None:
            return await super().unsettled()
        return await self._unsettled.take()

    def settle(self, packets: Sequence[Packet]) -> None:
        for packet in packets:
            self._paho.ack(packet.number, packet.qos)
        if self._unsettled is not None:
            self._unsettled.settled(packets)

    def ignore_answers(self) -> None:
        self._paho.on_subscribe = self._paho.on_unsubscribe = None

    def close(self) -> None:
        context = self._context
        if not context._connected.done():
            self._stop_connecting()
        self._paho._sock_close()
        self._service.stop()
        if context._disconnected.done():
            _outcome(context._disconnected)
        else:
            context._disconnected.set_result(None)

    def _stop_connecting(self) -> None:
        """Make an ``__aenter__`` in progress fail as soon as it can, without a packet to the broker."""
        # it would log the refused socket as an error
        self._paho.disable_logger()
        self._paho.on_socket_open = _refuse_socket
        self._context._connected.set_exception(_MqttError("abandoned"))
        self._context._connected.exception()  # mark it as retrieved

    def discard(self, exc: BaseException) -> None:
        """Close the socket, and one whose handshake has failed: paho keeps it in a local variable only."""
        self.close()
        trace = exc.__context__.__traceback__ if exc.__context__ is not None else None
        while trace is not None:
            for name in ("ssl_sock", "sock"):  # of TLS, of websockets
                half_open = trace.tb_frame.f_locals.get(name)
                if isinstance(half_open, socket.socket):
                    half_open.close()
            trace = trace.tb_next

    def close_in_child(self) -> None:
        sock, self._paho._sock = self._paho._sock, None
        close_copy(getattr(sock, "_socket", sock))  # of a websocket


def internals_of(context: Any, given: Mapping[str, Any]) -> Internals:
    """Return how to use the private parts of a client; a client that lacks one of them is used without."""
    found = getattr(context, "__dict__", {})
    return Aiomqtt2(context, given) if found.keys() >= _PRIVATE else Internals()


def _disconnected(context: Any, original: Callable[..., None], logger: QuietLogger, *args: Any) -> None:
    """Add why the link is down; end an ``__aenter__`` at once, where aiomqtt waits its whole time-out."""
    original(*args)
    cause = logger.take_socket_error()
    if not context._connected.done():
        context._connected.set_exception(_MqttError(UNANSWERED))
    for future in (context._connected, context._disconnected):
        if future.done() and (exc := _outcome(future)) is not None:
            exc.__cause__ = cause


def _puback(paho: Any, original: Callable[[str], Any], kind: str) -> Any:
    """Take an acknowledgement without the objects for a reason and properties, which only MQTT 5 transmits."""
    packet = paho._in_packet["packet"]
    mid = int.from_bytes(packet)
    if len(packet) != 2 or mid not in paho._out_messages:
        return original(kind)
    with paho._out_message_mutex:
        return paho._do_on_publish(mid, _ACKNOWLEDGED, None)


def _connect_properties(*, kept: bool) -> Any:
    """Return the properties of CONNECT that limit what the broker sends and keeps; MQTT 5.0, section 3.1.2.11."""
    properties: Any = _Properties(_CONNECT)  # type: ignore[no-untyped-call]
    properties.MaximumPacketSize = MAX_PACKET
    if kept:
        properties.ReceiveMaximum = RECEIVE_MAXIMUM
        properties.SessionExpiryInterval = SESSION_SECONDS
    return properties


def _connack(context: Any, paho: Any, original: Callable[[], Any]) -> Any:
    """Take the return code of a refusal, which paho keeps to itself for some; MQTT 3.1.1, section 3.2.2.3."""
    packet = paho._in_packet["packet"]
    if len(packet) > 1 and packet[1] in _HIDDEN and not context._connected.done():
        context._connected.set_exception(_MqttConnectError(packet[1]))
    return original()


_WILDCARDS = frozenset("+#")


def _message(
    original: Callable[..., None], undecodable: Callable[[], None], unsettled: Unsettled | None, *args: Any
) -> None:
    """Discard a message whose topic is not UTF-8 or has wildcards, which would end the link; MQTT 3.1.1, section 3.3.2.1.

    RabbitMQ sends such topics: it writes ``+`` for each ``*``.
    """
    message = args[2]
    try:
        # paho decodes it when it is read
        readable = _WILDCARDS.isdisjoint(message.topic)
    except UnicodeDecodeError:
        readable = False
    if unsettled is not None and message.qos:
        unsettled.arrive(Packet(message.mid, message.qos), readable=readable)
    if readable:
        original(*args)
    else:
        undecodable()


def _pubrec(paho: Any, original: Callable[[], Any]) -> Any:
    """End a publication of QoS 2 that a PUBREC rejects, where paho continues it; MQTT 5.0, section 4.3.3."""
    packet = paho._in_packet["packet"]
    mid = int.from_bytes(packet[:2])
    if len(packet) < 3 or packet[2] < 0x80 or mid not in paho._out_messages:
        return original()
    return paho._do_on_publish(mid, SimpleNamespace(value=packet[2]), None)


def _published(original: Callable[..., None], rejected: Callable[[int], None], *args: Any) -> None:
    """Read the reason code of a PUBACK or PUBREC, which aiomqtt ignores; MQTT 5.0, section 3.4.2.1."""
    reason = args[3].value
    if reason >= 0x80:
        rejected(reason)
    original(*args)


def _outcome(future: asyncio.Future[None]) -> BaseException | None:
    return None if future.cancelled() else future.exception()


def _refuse_socket(*_: Any) -> None:
    raise OSError("the connection is no longer wanted")
