"""The protocols that the packages meet at. A docstring here is the contract of its method.

An ability beyond the four methods of :class:`Connector` is one more small protocol. Ask for
one with :func:`supports`, which looks at the type, so that an object that answers to every
name (a mock, a proxy) is not taken to have every ability.
"""

from __future__ import annotations

from asyncio import AbstractEventLoop, Future
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Protocol, TypeGuard, TypeVar, runtime_checkable

from cascade.interfaces.stream import ConnectorStatistics, WatchItem

Payload = Mapping[str, Any] | None
MessageCallback = Callable[[str, dict[str, Any]], Awaitable[None]]
EventT = TypeVar("EventT")
AbilityT = TypeVar("AbilityT")


@runtime_checkable
class Subscription(Protocol):
    """A callback's registration."""

    async def unsubscribe(self) -> None:
        """End the registration: no call begins after this returns. Twice is harmless."""
        ...


@runtime_checkable
class Connector(Protocol):
    """A way out for telemetry and in for control. All methods run on one event loop.

    No fault of the outside world is raised from ``publish`` or ``subscribe``; a mistake of the
    caller (an invalid topic, a payload that is no mapping) is raised as a ``UsageError``.

    An engine connects what is not connected, and disconnects it after the last run that uses
    it; what it finds connected stays so. It can find that out only where ``connected`` says it
    (:class:`SupportsLinkState`; an attribute of the instance will do): one without it is
    disconnected after a run also if its user had connected it.
    """

    async def connect(self) -> None:
        """Establish the link, or begin to; do nothing when already connected.

        Return within the connector's own time limit whatever the other side does. From here
        on messages wait for the link. It may be called again after ``disconnect``, also on
        another event loop.

        :raises ConnectorUnavailable: only if the connector was made to require its link.
        """
        ...

    async def disconnect(self) -> None:
        """Send what waits, within a stated time, then leave cleanly. Twice is harmless.

        Subscriptions stay registered, and ``publish`` does what it did before ``connect``.
        """
        ...

    async def publish(self, topic: str, payload: Payload, qos: int = 0, *, retain: bool = False) -> None:
        """Hand one message over, as it is now, and return at once.

        Messages of one topic and QoS leave in the order of their calls. A payload of ``None``
        is the empty message, which clears a retained one. What JSON cannot hold is replaced
        by text and counted. Before ``connect`` was called nothing is sent, and one warning
        says so; while there is no link, messages wait, and what has to be given up is counted.

        :raises InvalidTopicError: if nothing can be published to the topic; see ``topics.check_topic``.
        :raises InvalidPayloadError: if the payload is neither a mapping nor None.
        :raises WrongThreadError: if called from another thread than that of the event loop.
        """
        ...

    async def subscribe(self, topic: str, callback: MessageCallback, qos: int = 0) -> Subscription:
        """Call ``await callback(topic, data)`` for each message that matches the filter.

        Calls of one subscription come one after the other, in order of arrival, never from
        inside ``publish``; an empty message arrives as ``{}``, what is no JSON object is passed
        over and counted. A callback that fails, is slow or never returns harms no other one:
        each subscription has a queue of 1,000, of which the oldest is dropped and counted. A
        filter may have several subscriptions, and each hears a message once, also where
        filters overlap. The retained messages of the filter come first; those who listened to
        it before may get them again. Before ``connect`` it is only registered.

        :raises InvalidTopicError: if the filter is not valid.
        """
        ...


@runtime_checkable
class SupportsPublishNowait(Protocol):
    """Ability: publish from synchronous code on the event loop."""

    def publish_nowait(self, topic: str, payload: Payload, qos: int = 0, *, retain: bool = False) -> None:
        """Do what ``publish`` does, with the same promises, without being awaited.

        :raises WrongThreadError: if called from a thread that is not the event loop's.
        """
        ...


class WatchStream(Protocol):
    """What arrives for a watch, until it is closed. An asynchronous generator is one."""

    def __aiter__(self) -> AsyncIterator[WatchItem]:
        """Return itself."""
        ...

    async def __anext__(self) -> WatchItem:
        """Wait for the next item; the stream is over when it has been closed."""
        ...

    async def aclose(self) -> None:
        """Unsubscribe and end the stream. Twice is harmless."""
        ...


@runtime_checkable
class SupportsWatch(Protocol):
    """Ability: one ordered stream over several filters."""

    def watch(self, *filters: str) -> WatchStream:
        """Yield what arrives for all filters, undecoded, in one order of arrival.

        All filters go out in one SUBSCRIBE at QoS 0, first and on every new link; ``Linked``
        follows when the broker has acknowledged them. A message that matches several filters
        is yielded once. On overflow the oldest items are given up and ``Lost`` takes their
        place; a link that goes down, and a filter that the broker refuses, are told by ``Lost``
        too. The stream ends only when it is closed (``aclose``), which unsubscribes.

        :raises InvalidTopicError: if a filter is not valid.
        """
        ...


@runtime_checkable
class SupportsFlush(Protocol):
    """Ability: wait until what was published has left."""

    async def flush(self, timeout: float) -> bool:
        """Wait up to ``timeout`` seconds; return whether all that was accepted before is sent or dropped."""
        ...


@runtime_checkable
class SupportsStatistics(Protocol):
    """Ability: true counts."""

    def statistics(self) -> ConnectorStatistics:
        """Return the counts of this moment."""
        ...


@runtime_checkable
class SupportsLinkState(Protocol):
    """Ability: tell whether ``connect`` was called and ``disconnect`` was not."""

    @property
    def connected(self) -> bool:
        """True from the call of ``connect`` to the call of ``disconnect``, link or no link."""
        ...


@runtime_checkable
class SupportsRequired(Protocol):
    """Ability: tell whether whoever connects insists on a link."""

    @property
    def required(self) -> bool:
        """Whether ``connect`` raises ``ConnectorUnavailable`` when there is no link; a run then waits for it."""
        ...


@runtime_checkable
class SupportsSource(Protocol):
    """Ability: a name of its own for the process that speaks through the connector."""

    @property
    def source_id(self) -> str:
        """The ``source`` of every message."""
        ...


def supports(thing: object, ability: type[AbilityT]) -> TypeGuard[AbilityT]:
    """Return whether the type of ``thing`` defines every member of the protocol ``ability``.

    >>> supports(object(), SupportsFlush)
    False
    """
    members = [name for name in vars(ability) if not name.startswith("_")]
    return all(hasattr(type(thing), name) for name in members)


class EventBus(Protocol):
    """Tells observers what happens in runs. No observer can harm a run."""

    def subscribe(self, event_type: type[EventT], handler: Callable[[EventT], object]) -> Callable[[], None]:
        """Call ``handler`` for each event that is an instance of ``event_type``; return how to stop.

        Handlers are plain functions, called on the event loop, in the order of the events;
        what one raises is logged and reaches nobody else.
        """
        ...

    def wants(self, event_type: type) -> bool:
        """Return whether anybody would hear an event of this type, so that none need be made."""
        ...

    def handlers(self) -> list[Callable[[Any], object]]:
        """Return every handler that is subscribed."""
        ...

    def bind(self, loop: AbstractEventLoop) -> None:
        """Name the loop on which handlers are called from now on."""
        ...

    def publish(self, event: object) -> None:
        """Deliver an event. From another thread it is handed to the loop, in order per thread."""
        ...


@runtime_checkable
class Executor(Protocol):
    """Runs the calls of synchronous tasks somewhere else than on the event loop."""

    @property
    def workers(self) -> int:
        """How many calls run at the same time; an engine hands over no more than that, whatever runs it has."""
        ...

    async def run(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return what ``function(*args, **kwargs)`` returns, or raise what it raises.

        When the awaiting task is cancelled the call is abandoned: its outcome is ignored, a
        call that has not begun does not begin, and one that runs is stopped where that is possible.
        """
        ...

    async def settle(self, timeout: float) -> int:
        """Wait up to ``timeout`` seconds for abandoned calls to end; return how many still run."""
        ...

    async def close(self) -> None:
        """Free what the executor holds, without waiting for calls that still run. Twice is harmless.

        Such a call is stopped where that is possible, else left to end. Used again afterwards,
        the executor works, or refuses with a ``CascadeError``.
        """
        ...


@runtime_checkable
class SupportsTracking(Protocol):
    """Ability of an executor: tell when a call that was abandoned while it ran has really ended."""

    def runs_on(self) -> Future[None] | None:
        """Return what is done when the call that this asyncio task abandoned last has ended; None if it has.

        An engine asks as soon as ``run`` has raised ``CancelledError``. Until the future, one of
        the running loop, is done it counts the task as running, and lets nobody else have what
        the task was given. Without this ability it cannot know.
        """
        ...


@runtime_checkable
class SupportsCheck(Protocol):
    """Ability of an executor: tell before a run that it will not be able to call a function."""

    def check(self, function: Callable[..., Any]) -> None:
        """Do nothing if the function can be called here; quick, and without starting anything.

        An engine asks once for each task of a run, before the first one starts.

        :raises TaskNotPicklableError: if it cannot be sent to where calls run.
        """
        ...


@runtime_checkable
class SupportsStart(Protocol):
    """Ability of an executor: be made ready before its first call, so that what is missing is known in time."""

    async def start(self) -> None:
        """Make ready; do nothing if it is. ``workers`` is right from here on.

        An engine calls it once in each run that the executor has a part in: before the first task
        starts, or when a task that is only known later turns out to need it. Without it the first
        ``run`` does the same.

        :raises ExecutorUnavailable: if what the calls should run on is not there, within a stated time.
        """
        ...
