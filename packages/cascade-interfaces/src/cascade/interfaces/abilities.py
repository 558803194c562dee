"""Abilities beyond the required methods, each one small protocol, and what they return. A docstring here is the contract of its method.

Check for one with :func:`supports`: it looks at the type, so that an object with every attribute (a mock, a proxy)
does not seem to have every ability.
"""

from __future__ import annotations

from asyncio import Future
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeGuard, TypeVar, runtime_checkable

if TYPE_CHECKING:
    from cascade.interfaces.connector import Payload
    from cascade.interfaces.watch import ReplyTo, WatchItem


_AbilityT = TypeVar("_AbilityT")


def supports(thing: object, ability: type[_AbilityT]) -> TypeGuard[_AbilityT]:
    """Return whether the type of ``thing`` defines every member of the protocol ``ability``.

    >>> supports(object(), SupportsFlush)
    False
    """
    members = _MEMBERS.get(ability)
    if members is None:
        members = _MEMBERS[ability] = tuple(name for name in vars(ability) if not name.startswith("_"))
    kind = type(thing)
    return all(hasattr(kind, name) for name in members)


_MEMBERS: dict[object, tuple[str, ...]] = {}
"""Of each protocol that was asked for: a run asks dozens of times."""


@runtime_checkable
class SupportsPublishNowait(Protocol):
    """Ability: publish from synchronous code on the event loop."""

    def publish_nowait(self, topic: str, payload: Payload, qos: int = 0, *, retain: bool = False) -> None:
        """Do what ``publish`` does, with the same promises, without being awaited.

        :raises WrongThreadError: if called from a thread that is not the event loop's.
        """
        ...


class Delivery(StrEnum):
    """What became of a message of ``deliver_nowait``."""

    TAKEN = "taken"
    """The other side has it; at QoS 1, it has acknowledged it."""
    REFUSED = "refused"
    """The client or the other side refuses it for good: a further try would be refused, too."""
    POISON = "poison"
    """It broke the link each time that it was sent, and is not sent again."""
    RETURNED = "returned"
    """It was not sent: the connector was disconnected, or had no room. Deliver it again later."""


@runtime_checkable
class SupportsDelivery(Protocol):
    """Ability: publish a text and report what became of it. An outbox on disk needs only this."""

    def deliver_nowait(
        self, topic: str, payload: str, qos: int = 1, *, settled: Callable[[Delivery], None]
    ) -> None:
        """Queue the JSON object in ``payload`` and return at once; call ``settled`` once, when its fate is known.

        Messages of one topic and QoS leave in the order of their calls, also among those of ``publish``. A lost
        link settles nothing: the message waits for the next link and is sent again. ``disconnect`` returns
        what it could not send. ``settled`` is called on the event loop, possibly before this returns; it must not
        raise, and must not call the connector.

        :raises InvalidTopicError: if nothing can be published to the topic; nothing is settled then.
        :raises WrongThreadError: if called from a thread that is not the event loop's; nothing is settled then.
        """
        ...


class WatchStream(Protocol):
    """The items of a watch, until it is closed. An asynchronous generator is one."""

    def __aiter__(self) -> AsyncIterator[WatchItem]:
        """Return itself."""
        ...

    async def __anext__(self) -> WatchItem:
        """Wait for the next item; the stream is over when it has been closed."""
        ...

    async def aclose(self) -> None:
        """Unsubscribe and end the stream. Idempotent."""
        ...


@runtime_checkable
class SupportsWatch(Protocol):
    """Ability: one ordered stream over several filters."""

    def watch(self, *filters: str) -> WatchStream:
        """Yield what arrives for all filters, undecoded, in one order of arrival.

        ``Linked`` comes when the peer has acknowledged all filters, first and on every new link; then the retained
        messages, then ``Complete``; from time to time retained messages and ``Complete`` come again. A message that
        matches several filters is yielded once. Messages that the connector itself uses to find out whether
        the retained messages are complete are yielded only if a filter begins with ``cascade/sync/``. On overflow
        the oldest items are dropped and ``Lost`` takes their place;
        ``Lost`` also reports a link that goes down and a filter that the peer refuses.
        The stream ends only when it is closed (``aclose``), which unsubscribes.

        :raises InvalidTopicError: if a filter is not valid.
        """
        ...


@runtime_checkable
class SupportsExtend(Protocol):
    """Ability of a watch stream: change its exact topics while it is open.

    Synchronous, so that a run's topics are part of the watch before its first task starts.
    """

    def extend(self, *filters: str) -> None:
        """Add exact topics; their retained messages follow in the stream. Topics that it has are ignored.

        If the link is up, a ``Complete`` follows those messages. On every new link the topics are part of the watch.

        :raises InvalidTopicError: if a filter is not valid.
        """
        ...

    def shrink(self, *filters: str) -> None:
        """Remove exact topics; those that the stream does not have are ignored."""
        ...


@runtime_checkable
class SupportsReplies(Protocol):
    """Ability: answer a message of a watch where its sender expects the answer (``Message.reply_to``)."""

    def answer_nowait(self, reply_to: ReplyTo, payload: Payload) -> None:
        """Publish an answer, at QoS 1 and not retained, and return at once; what ``publish`` promises holds for it.

        It waits for a link like any other message, and every call is one answer. The connector does not judge the
        address: see ``ReplyTo.is_permitted``.

        :raises WrongThreadError: if called from a thread that is not the event loop's.
        """
        ...


@runtime_checkable
class SupportsSendNow(Protocol):
    """Ability: send a message on the present link or never, on a network that gives everybody one order of a topic."""

    def send_nowait(self, topic: str, payload: Payload, *, retain: bool = False) -> bool:
        """Hand one message to the present link, at QoS 0, and return True; without a link, return False.

        Unlike what ``publish`` takes, it waits for no other link: it is lost with this one. Such messages of one
        topic leave in the order of their calls, and they arrive in one order, the same for all who watch the topic,
        retained or not, also those of several connectors.

        :raises InvalidTopicError: if nothing can be published to the topic.
        :raises InvalidPayloadError: if the payload is neither a mapping nor None.
        :raises WrongThreadError: if called from a thread that is not the event loop's.
        """
        ...


@runtime_checkable
class SupportsFlush(Protocol):
    """Ability: wait until the published messages have left."""

    async def flush(self, timeout: float | None = None) -> bool:
        """Wait up to ``timeout`` seconds; return whether every message accepted before is sent or dropped.

        Without a timeout, wait as long as ``disconnect`` would: less if no link is likely.
        """
        ...


@runtime_checkable
class SupportsStatistics(Protocol):
    """Ability: count messages."""

    def statistics(self) -> ConnectorStatistics:
        """Return the present counts."""
        ...


@runtime_checkable
class SupportsKeep(Protocol):
    """Ability: get the telemetry that was published while the connector was away."""

    def keep(self, name: str, stored: Callable[[], Awaitable[None]]) -> None:
        """Have the network keep telemetry for the subscriptions at QoS 1 under a name. Call it before ``connect``.

        A message is kept until its callback has returned and a call of ``stored`` that began after that has, too.
        What is not acknowledged like that comes again, on the next link at the latest.
        Store already while ``connect`` waits: the answers of the peer may come only behind what has to be stored first.
        """
        ...


@runtime_checkable
class SupportsBacklog(Protocol):
    """Ability: deliver more messages than usual that have arrived at once."""

    def expect_backlog(self, messages: int) -> None:
        """Keep up to so many messages waiting for each callback, before the oldest are dropped and counted."""
        ...


@runtime_checkable
class SupportsLimitations(Protocol):
    """Ability: report what the network cannot do for this user."""

    async def limitations(self) -> Sequence[Limitation]:
        """Return the guarantees that are missing on the present link; none without a link."""
        ...


@runtime_checkable
class SupportsLink(Protocol):
    """Ability: have a link that begins and ends, for a process that has a name.

    An engine needs only ``connected`` to leave a connector as it found it; that attribute may stand alone.
    """

    @property
    def connected(self) -> bool:
        """True from the call of ``connect`` to the call of ``disconnect``, link or no link."""
        ...

    @property
    def source_id(self) -> str:
        """The ``source`` of every message: the name of the process that publishes through the connector."""
        ...

    @property
    def presence(self) -> str | None:
        """The ``session`` of the latest birth on the retained status topic; None before the first one, or without presence."""
        ...

    def before_disconnect(self, callback: Callable[[], object]) -> Callable[[], None]:
        """Call ``callback()`` at the beginning of each ``disconnect``; return how to stop that.

        What it publishes is still sent. It is not called by a ``disconnect`` without a ``connect``. An error that it
        raises is logged.
        """
        ...


@runtime_checkable
class SupportsBroker(Protocol):
    """Ability: have a link to a broker on the network."""

    @property
    def hostname(self) -> str:
        """The broker's host, as the user has given it."""
        ...

    @property
    def port(self) -> int:
        """The broker's TCP port."""
        ...

    @property
    def required(self) -> bool:
        """Whether ``connect`` raises ``ConnectorUnavailable`` if it gets no link; a run then waits for it."""
        ...

    @property
    def earlier_runs(self) -> Sequence[Mapping[str, Any]] | None:
        """The rows of ended runs in the report of an earlier process of this name, read before it is replaced.

        The latest run comes first. None before they are known, or without a name.
        """
        ...

    @property
    def earlier_ends(self) -> Sequence[Mapping[str, Any]] | None:
        """The runs that an earlier process of this name has reported whole, and those that ran when it died, as ``Lost``.

        The list may grow for a moment after the first link. None before any is known, or without a name.
        """
        ...

    @property
    def contested(self) -> bool:
        """Whether another process uses the name of this one, as far as the broker has shown that in the last two minutes."""
        ...


@runtime_checkable
class SupportsTracking(Protocol):
    """Ability of an executor: report when a call that was abandoned while it ran has finished."""

    def runs_on(self) -> Future[None] | None:
        """Return a future that completes when the call last abandoned by the current asyncio task finishes.

        None if it has finished already. An engine calls this as soon as ``run`` has raised
        ``CancelledError``. Until the future, which belongs to the running loop, completes, the
        engine counts the task as running and keeps its resources reserved. Without this
        ability the engine cannot know when the call ends.
        """
        ...


@runtime_checkable
class SupportsCheck(Protocol):
    """Ability of an executor: find before a run that it cannot call a function."""

    def check(self, function: Callable[..., Any]) -> None:
        """Return if the function can be called here; quick, and without starting anything.

        An engine calls this once for each task of a run, before the first one starts.

        :raises TaskNotPicklableError: if the function cannot be sent to where calls run.
        """
        ...


@runtime_checkable
class SupportsStart(Protocol):
    """Ability of an executor: get ready before its first call, so that a missing cluster or worker is reported in time."""

    async def start(self) -> None:
        """Get ready; do nothing if it is ready. ``workers`` is right from here on.

        An engine calls it once in each run that uses the executor: before the first task
        starts, or when a task that becomes known later needs it. Without this ability the
        first ``run`` does the same.

        :raises ExecutorUnavailable: if the workers cannot be reached within a stated time.
        """
        ...


@runtime_checkable
class SupportsResize(Protocol):
    """Ability of an executor: change ``workers`` during a run, as when a machine joins its cluster."""

    def watch_workers(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Call ``changed`` on this event loop after ``workers`` has changed; return how to stop that.

        An engine reads ``workers`` again then, so that new workers get calls at once.
        """
        ...


class Lacking(StrEnum):
    """Which guarantee is missing."""

    STORE = "store"
    """Nothing keeps retained messages."""
    STORE_RIGHTS = "store rights"
    """This user may not use what keeps them."""
    STORE_SETTINGS = "store settings"
    """What keeps them was made with settings that lose constraints."""
    STORE_ANSWER = "store answer"
    """What keeps them does not answer, or refuses for another reason."""
    PRESENCE = "presence"
    """Others cannot see that a process has gone."""
    TELEMETRY = "telemetry"
    """Telemetry is sent, and not kept for readers that are away."""
    ONE_SET = "one set"
    """A second network keeps retained messages of its own, in the same account."""


class Limitation(NamedTuple):
    """A guarantee that is missing, and why."""

    lacking: Lacking
    cause: str
    remedy: str

    @property
    def text(self) -> str:
        """Cause and remedy, for one line of a log."""
        return f"{self.cause}; {self.remedy}"

    @property
    def of_store(self) -> bool:
        """Whether nothing is retained because of it."""
        return self.lacking.startswith("store")


_NONE: Mapping[str, int] = MappingProxyType({})


class ConnectorStatistics(NamedTuple):
    """Counts of messages since the connector was made.

    At every moment ``accepted == sent + pending + sum(dropped.values())``.
    """

    linked: bool = False
    connections: int = 0
    """How often a link was established."""
    accepted: int = 0
    """Messages taken by ``publish``."""
    sent: int = 0
    """Messages written to the link and, at QoS 1 and 2, acknowledged by the peer."""
    pending: int = 0
    """Messages waiting or in flight."""
    dropped: Mapping[str, int] = _NONE
    """Outgoing messages dropped, by reason."""
    sanitized: int = 0
    """Outgoing payloads in which text replaced a value that JSON does not have."""
    received: int = 0
    """Messages read from the link."""
    delivered: int = 0
    """Callbacks that were called and watch items that were taken."""
    discarded: Mapping[str, int] = _NONE
    """Incoming messages (one for each subscription) dropped, by reason."""
    window: int = 0
    """How many messages may be in flight now; it grows up to ``window_limit`` with the round trip."""
    window_limit: int = 0
    """How many messages may be in flight at most on this link."""
    receive_maximum: int | None = None
    """How many messages of QoS 1 and 2 the broker allows in flight; None if it does not say (MQTT 3.1.1)."""
    packet_limit: int | None = None
    """Bytes of the largest packet that the broker may send; None if it has no limit (MQTT 3.1.1)."""
    refused: Mapping[str, int] = _NONE
    """Filters that the broker refuses on this link, with its reason code."""

    @property
    def summary(self) -> str:
        """The counts that a person looks at first, in one line."""
        parts = []
        if self.window:
            broker = f", Receive Maximum {self.receive_maximum}" if self.receive_maximum else ""
            parts.append(f"window {self.window} of {self.window_limit}{broker}")
        parts += [f"{self.sent} sent", f"{self.pending} pending", f"{sum(self.dropped.values())} dropped"]
        parts.append(f"{self.received} received")
        if self.refused:
            parts.append(f"{len(self.refused)} subscriptions refused")
        return ", ".join(parts)
