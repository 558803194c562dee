"""The adapter: the client port over the public methods of ``aiomqtt.Client``."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from functools import cache
from types import ModuleType
from typing import Any

from cascade.connectors.mqtt import _properties
from cascade.connectors.mqtt._aiomqtt_internals import UNANSWERED, Internals, internals_of
from cascade.connectors.mqtt._client_port import Packet
from cascade.transport.faults import LinkLost, MessageRejected, MessageTooLarge
from cascade.transport.incoming.message import IncomingMessage
from cascade.transport.outbox import Outgoing
from cascade.transport.state_log import QuietLogger

try:
    from aiomqtt import Client as _Client
    from aiomqtt import MqttError as _MqttError
    from aiomqtt import ProtocolVersion as _Version
except ImportError:  # the connector's constructor says what to install
    _Client = None  # type: ignore[assignment, misc]
    _MqttError = ConnectionError  # type: ignore[assignment, misc]
    _Version = None  # type: ignore[assignment, misc]

_VERSIONS = {3: "V31", 4: "V311", 5: "V5", "3.1": "V31", "3.1.1": "V311", "5": "V5"}
"""aiomqtt's names for the versions of MQTT, by their number on the wire and by their own."""

NEWER_SECONDS = 0.5
"""In which a broker has to answer a CONNECT of MQTT 5 before 3.1.1 is tried: some that do not know it stay silent."""
LEAST_RATE = 800
"""Messages a second that the Receive Maximum of MQTT 5 has to permit, or 3.1.1 is used, which has no such limit."""


class AiomqttClient:
    """One client of aiomqtt; see ``ClientPort``.

    :param context: an ``aiomqtt.Client`` that was not entered.
    :param given: the keywords that the user passed for it; what they set is not changed.
    :param connect_timeout: seconds for the TCP connection.
    :param window: how many messages will be in flight at most.
    :param undecodable: called for each message that is discarded because its topic is none.
    :param logger: gets what the client logs.
    :param kept: see ``unsettled``: the client acknowledges no message by itself.
    :param may_be_slow: whether MQTT 5 is used, too, if the broker takes few messages at a time.
    :param older: returns another context, of MQTT 3.1.1, for a broker that does not take that of MQTT 5.
    :param on_older: called when the broker has taken MQTT 3.1.1 instead; with the Receive Maximum and the round trip
        in seconds if they are the reason.
    """

    def __init__(
        self,
        context: Any,
        *,
        given: Mapping[str, Any],
        connect_timeout: float,
        window: int,
        undecodable: Callable[[], None],
        logger: QuietLogger,
        kept: bool = False,
        may_be_slow: bool = False,
        older: Callable[[], Any] | None = None,
        on_older: Callable[[tuple[int, float] | None], None] = lambda reason: None,
    ) -> None:
        self.native: Any = None
        self._rejections: list[int] = []
        self._kept, self._may_be_slow = kept, may_be_slow
        self._older, self._on_older = older, on_older
        self._closed = False
        self._given = given
        self._settings: dict[str, Any] = {
            "connect_timeout": connect_timeout,
            "window": window,
            "logger": logger,
            "rejected": self._rejections.append,
            "undecodable": undecodable,
            "kept": kept,
        }
        self._use(context)

    def _use(self, context: Any) -> None:
        self._context = context
        self._internals: Internals = internals_of(context, self._given)
        self._internals.prepare(**self._settings)

    @property
    def can_probe(self) -> bool:
        """Whether a message that the client publishes comes back to it from a broker."""
        return self._internals.complete

    @property
    def receive_maximum(self) -> int | None:
        return self._internals.receive_maximum

    @property
    def packet_limit(self) -> int | None:
        return self._internals.packet_limit

    async def connect(self, answer_timeout: float) -> None:
        if self._older is None:
            await self._connect(answer_timeout)
            return
        too_slow = None
        try:
            await self._connect(min(answer_timeout, NEWER_SECONDS))
            if (too_slow := self._throttled()) is None:
                return
            await self._leave()
        except _MqttError as exc:
            if too_slow is None and not _may_be_older(exc):
                raise
        if self._closed:
            raise _MqttError("abandoned")
        self._use(self._older())
        await self._connect(answer_timeout)
        self._on_older(too_slow)

    def _throttled(self) -> tuple[int, float] | None:
        """Return the Receive Maximum and the round trip if they permit fewer messages a second than a run may need."""
        most, round_trip = self._internals.receive_maximum, self._internals.round_trip
        if self._may_be_slow or most is None:
            return None
        if most >= self._settings["window"] or most >= LEAST_RATE * round_trip:
            return None
        return most, round_trip

    async def _leave(self) -> None:
        """Disconnect so that the broker does not send the will."""
        self.native = None
        try:
            await self._context.__aexit__(None, None, None)
        finally:
            self._internals.close()

    async def _connect(self, answer_timeout: float) -> None:
        self._internals.set_answer_timeout(answer_timeout)
        try:
            self.native = await self._context.__aenter__()
        except BaseException as exc:
            self._internals.discard(exc)
            raise

    def on_lost(self, callback: Callable[[BaseException | None], None]) -> None:
        self._internals.on_lost(callback)

    async def disconnect(self) -> None:
        await self._context.__aexit__(None, None, None)

    async def publish(self, item: Outgoing) -> None:
        if (limit := self._internals.broker_limit) is not None and (size := _packet_size(item)) > limit:
            raise MessageTooLarge(size, limit)
        try:
            if item.correlation is not None and self._internals.has_properties:
                properties = _properties.of_answer(item.correlation)
                await self.native.publish(
                    item.topic, payload=item.payload, qos=item.qos, properties=properties
                )
            elif item.retain:
                await self.native.publish(item.topic, payload=item.payload, qos=item.qos, retain=True)
            else:
                await self.native.publish(item.topic, payload=item.payload, qos=item.qos)
        except (_MqttError, OSError) as exc:
            raise self._lost(exc) from exc
        # noted just before the call that it answers returns
        if self._rejections:
            raise MessageRejected(self._rejections.pop(0))

    async def subscribe(self, filters: str | list[tuple[str, int]], qos: int = 0) -> list[int | None]:
        options = {"qos": qos} if qos else {}
        wanted: Any = filters
        if self._internals.has_properties:
            wanted, options = (
                _properties.with_options([(filters, qos)] if isinstance(filters, str) else filters),
                {},
            )
        try:
            return refusals(await self.native.subscribe(wanted, **options))
        except (_MqttError, OSError) as exc:
            raise self._lost(exc) from exc

    async def unsubscribe(self, filters: list[str]) -> None:
        try:
            await self.native.unsubscribe(filters if len(filters) > 1 else filters[0])
        except (_MqttError, OSError) as exc:
            raise self._lost(exc) from exc

    def messages(self) -> AsyncIterator[IncomingMessage]:
        return _Messages(aiter(self.native.messages), self._incoming)

    def arrived(self) -> Iterator[IncomingMessage]:
        return map(self._incoming, self._internals.arrived())

    async def unsettled(self) -> Sequence[Packet]:
        return await self._internals.unsettled()

    def settle(self, packets: Sequence[Packet]) -> None:
        self._internals.settle(packets)

    def _incoming(self, message: Any) -> IncomingMessage:
        if self._kept and message.qos:
            self._internals.note_read()
        return _incoming(message)

    def ignore_answers(self) -> None:
        self._internals.ignore_answers()

    def close(self) -> None:
        self._closed = True
        self._internals.close()

    def close_in_child(self) -> None:
        self._internals.close_in_child()

    def _lost(self, exc: BaseException) -> LinkLost:
        """Return the error of a lost link, with the client's cause if it knows more than the failed call."""
        return LinkLost(self._internals.why_lost() or exc)


class _Messages(AsyncIterator[IncomingMessage]):
    """Converts each message of aiomqtt's iterator."""

    def __init__(self, messages: AsyncIterator[Any], convert: Callable[[Any], IncomingMessage]) -> None:
        self._messages = messages
        self._convert = convert

    async def __anext__(self) -> IncomingMessage:
        return self._convert(await anext(self._messages))


def _may_be_older(exc: BaseException) -> bool:
    """Return whether a broker that failed to answer so may know MQTT 3.1.1 only.

    It refuses the version, closes the connection, or does not answer; aiomqtt reports the last only as text.
    """
    return reason_code(getattr(exc, "rc", None)) in _WRONG_VERSION or str(exc) in (
        UNANSWERED,
        "Operation timed out",
    )


_WRONG_VERSION = (1, 132)
"""MQTT 3.1.1, section 3.2.2.3; MQTT 5.0, section 3.2.2.2."""


@cache
def client_keywords() -> frozenset[str]:
    """Return the keywords that ``aiomqtt.Client`` takes beyond host and port."""
    if _Client is None:
        return frozenset()
    return frozenset(inspect.signature(_Client).parameters) - {"hostname", "port"}


def is_client(kind: object) -> bool:
    """Return whether a class is aiomqtt's own client, and not one that a program has put in its place."""
    return kind is not None and kind is _Client


def client_id_keyword(module: ModuleType) -> str:
    """Return the name that the signature of ``Client`` has for a client id."""
    parameters = inspect.signature(module.Client).parameters
    return "identifier" if "identifier" in parameters else "client_id"


def protocol_version(value: object) -> Any:
    """Return aiomqtt's name for a version of MQTT such as ``"3.1.1"`` or 5; None if aiomqtt does not have it."""
    if _Version is None or isinstance(value, bool) or not isinstance(value, int | str):
        return None
    return _Version[_VERSIONS[value]] if value in _VERSIONS else None


def reason_code(code: Any) -> int | None:
    """Return a reason code as a number; None for anything else."""
    value = getattr(code, "value", code)
    return int(value) if isinstance(value, int) and not isinstance(value, bool) else None


def refusals(granted: Any) -> list[int | None]:
    """Return for each filter of a SUBACK the code of its refusal, or None; an empty list for anything else."""
    if not isinstance(granted, list | tuple):
        return []
    codes = map(reason_code, granted)
    return [code if code is not None and code >= 0x80 else None for code in codes]


def _packet_size(item: Outgoing) -> int:
    """Return the bytes of a PUBLISH of MQTT 5; section 3.3."""
    properties = 0 if item.correlation is None else _properties.size_of_answer(item.correlation)
    rest = 2 + len(item.topic.encode()) + (2 if item.qos else 0) + len(item.payload.encode())
    rest += _length_size(properties) + properties
    return 1 + _length_size(rest) + rest


def _length_size(length: int) -> int:
    """Return the bytes of a variable byte integer; MQTT 5.0, section 1.5.5."""
    return max(1, (length.bit_length() + 6) // 7)


def _incoming(message: Any) -> IncomingMessage:
    payload = message.payload
    if isinstance(payload, str):
        payload = payload.encode()
    elif not isinstance(payload, bytes):
        payload = bytes(payload or b"")
    return IncomingMessage(
        str(message.topic),
        payload,
        retain=message.retain is True,
        expires_in=_properties.expires_in(message),
        reply_to=_properties.reply_to(message),
        traceparent=_properties.traceparent(message),
    )
