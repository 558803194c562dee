"""The event bus: synchronous, on the loop, unaffected by the errors of its observers."""

from __future__ import annotations

import asyncio
from asyncio import _get_running_loop as _running_loop
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from contextvars import Context
from threading import get_ident as _thread_id
from typing import Any, TypeVar

from cascade.interfaces.events import MOST_WAITING, TaskFields, TaskStateEvent
from cascade.interfaces.logs import get_logger

EventT = TypeVar("EventT")
Handler = Callable[[Any], object]

_log = get_logger("cascade.bus")

AT_ONCE = 16
"""Events of tasks in one iteration of the event loop that are delivered at once; further ones wait for the next one."""


class EventBus:
    """A :class:`cascade.interfaces.EventBus` inside one process.

    It also is :class:`cascade.interfaces.SupportsTaskFields` and :class:`cascade.interfaces.SupportsTaskBursts`.
    """

    waiting: list[TaskFields] | None = None
    """Fields of events that wait for the next iteration of the event loop; None while no burst goes on."""

    def __init__(self) -> None:
        self._subscriptions: list[tuple[type, Handler]] = []
        self._routes: dict[type, tuple[Handler, ...]] = {}
        self._of_fields: tuple[tuple[bool, Handler], ...] = ()
        """Whether each takes bursts; an object for each, as above."""
        self._kept: list[TaskFields] = []
        """What waits: always this list, since the thread of another loop may just have asked for it."""
        self._is_shared = False  # whether several loops have used this bus at the same time
        self._at_once = 0  # events of tasks in this iteration that were delivered at once
        self._takes_bursts: bool | None = None  # None: ask _only_bursts()
        self._context = Context()  # the context in which an event arrives would keep a run's variables alive
        self._failing: set[int] = set()  # by identity: a handler need not be hashable
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = 0
        self._publishes_fields = type(self).publish is EventBus.publish
        """A subclass may want to see every event."""

    def __repr__(self) -> str:
        return f"<EventBus with {len(self.handlers())} handlers>"

    def subscribe(self, event_type: type[EventT], handler: Callable[[EventT], object]) -> Callable[[], None]:
        """Call ``handler`` for each event of this type; return a function that unsubscribes it."""
        entry = (event_type, handler)
        self._end_burst()
        self._subscriptions.append(entry)
        self._routes.clear()

        def unsubscribe() -> None:
            self._end_burst()
            self._subscriptions = [kept for kept in self._subscriptions if kept is not entry]
            self._failing.discard(id(handler))
            self._routes.clear()

        return unsubscribe

    def subscribe_fields(self, handler: Callable[[TaskFields], object]) -> Callable[[], None]:
        """Call ``handler`` with the fields of each event of a task; return a function that unsubscribes it."""
        return self._subscribe_fields(handler, bursts=False)

    def subscribe_bursts(self, handler: Callable[[Sequence[TaskFields]], object]) -> Callable[[], None]:
        """Call ``handler`` with the fields of each event of a task, alone or with those that came next.

        :return: a function that unsubscribes it.
        """
        return self._subscribe_fields(handler, bursts=True)

    def _subscribe_fields(self, handler: Handler, *, bursts: bool) -> Callable[[], None]:
        entry = (bursts, handler)
        self._end_burst()
        self._of_fields += (entry,)

        def unsubscribe() -> None:
            self._end_burst()
            self._of_fields = tuple(kept for kept in self._of_fields if kept is not entry)
            self._failing.discard(id(handler))

        return unsubscribe

    def handlers(self) -> list[Handler]:
        """Return every handler that is subscribed."""
        return [entry[-1] for entry in (*self._subscriptions, *self._of_fields)]

    def bind(self, loop: asyncio.AbstractEventLoop) -> None:
        """Name the loop on which handlers are called; call it in that loop's thread."""
        before, self._loop = self._loop, loop
        self._thread = _thread_id()
        if loop is not before:
            self._is_shared |= before is not None and before.is_running()
            self._at_once = 0
            self._end_burst()

    def wants(self, event_type: type) -> bool:
        """Return whether a handler is subscribed to events of this type."""
        if event_type is TaskStateEvent and self._of_fields:
            return True
        route = self._routes.get(event_type)
        return bool(self._route(event_type) if route is None else route)

    def publish(self, event: object) -> None:
        """Deliver an event; from another thread than the bound loop's, hand it to that loop first."""
        loop = self._loop
        if loop is not None and _thread_id() != self._thread:
            self._hand_over(event, loop)
            return
        if self._kept:
            self.publish_waiting()
        if self._of_fields and isinstance(event, TaskStateEvent):
            self._deliver_fields(event.fields())
        self._deliver(self._routes.get(type(event)) or self._route(type(event)), event)

    def publish_fields(self, fields: TaskFields) -> None:
        """Deliver the event of a task that has these fields, as :meth:`publish` does."""
        if not self._publishes_fields or (self._loop is not None and _thread_id() != self._thread):
            self.publish(TaskStateEvent.of(fields))
            return
        if self._kept:
            self.publish_waiting()
        self._deliver_fields(fields)
        route = self._routes.get(TaskStateEvent)
        if route is None:
            route = self._route(TaskStateEvent)
        if route:
            self._deliver(route, TaskStateEvent.of(fields))

    def publish_soon(self, fields: TaskFields) -> None:
        """Deliver the event of a task, in the next iteration of the event loop at the latest; in order with all others.

        The first events of an iteration are delivered at once. Then, and in the next iterations of the burst, they wait.
        """
        if (waiting := self.waiting) is None:
            self.publish_fields(fields)
            if self._only_bursts() if self._takes_bursts is None else self._takes_bursts:
                self._count_at_once()
            return
        waiting.append(fields)
        if len(waiting) >= MOST_WAITING:
            self.publish_waiting()

    def publish_waiting(self) -> None:
        """Deliver the events of tasks that wait."""
        kept, events = self._kept, list[TaskFields]()
        with suppress(IndexError):  # another thread binds the bus, and delivers the rest
            while kept:
                events.append(kept.pop(0))
        if events:
            self._deliver([handler for _, handler in self._of_fields], events)

    def _count_at_once(self) -> None:
        """Note that an event of a task was delivered at once; after many in one iteration, have the next one wait."""
        self._at_once += 1
        if self._at_once == 1:
            self._watch_iteration()
        elif self._at_once >= AT_ONCE:
            self.waiting = self._kept

    def _watch_iteration(self) -> None:
        loop = self._loop
        if loop is None or _running_loop() is not loop:  # no further iteration may come
            self.waiting, self._at_once = None, 0
        else:
            loop.call_soon(self._iteration_ended, loop, context=self._context)

    def _iteration_ended(self, loop: asyncio.AbstractEventLoop) -> None:
        if loop is not self._loop:
            return
        if self._kept:  # the burst may go on
            self.publish_waiting()
            self._watch_iteration()
        else:
            self.waiting, self._at_once = None, 0

    def _end_burst(self) -> None:
        """Deliver what waits to the handlers for which it was published: others begin or end."""
        self.waiting = self._takes_bursts = None
        self.publish_waiting()

    def _only_bursts(self) -> bool:
        """Return whether every handler of events of tasks takes bursts, and one loop publishes them."""
        takes = self._publishes_fields and not self._is_shared and not self._route(TaskStateEvent)
        self._takes_bursts = takes and all(bursts for bursts, _ in self._of_fields)
        return self._takes_bursts

    def _deliver_fields(self, fields: TaskFields) -> None:
        alone = (fields,)
        for (
            takes_bursts,
            handler,
        ) in self._of_fields:  # as _deliver(), which takes as long to call as the rest of this
            try:
                handler(alone if takes_bursts else fields)
            except Exception:
                self._report(handler, fields)
            else:
                if self._failing:
                    self._failing.discard(id(handler))

    def _deliver(self, handlers: Iterable[Handler], event: Any) -> None:
        for handler in handlers:
            try:
                handler(event)
            except Exception:
                self._report(handler, event)
            else:
                if self._failing:
                    self._failing.discard(id(handler))

    def _hand_over(self, event: object, loop: asyncio.AbstractEventLoop) -> None:
        try:
            loop.call_soon_threadsafe(self.publish, event)
        except RuntimeError:  # the loop is closed, and with it every observer
            _log.debug("an event was published after its event loop was closed, and is dropped")

    def _route(self, event_type: type) -> tuple[Handler, ...]:
        route = self._routes.get(event_type)
        if route is None:
            route = tuple(h for wanted, h in self._subscriptions if issubclass(event_type, wanted))
            self._routes[event_type] = route
        return route

    def _report(self, handler: Handler, event: object) -> None:
        """Log a handler's failure once, until it has succeeded again."""
        if id(handler) not in self._failing:
            self._failing.add(id(handler))
            _log.exception(
                "observer %r failed on %s; the run goes on, further failures in a row are not logged",
                handler,
                TaskStateEvent.__name__ if type(event) in (tuple, list) else type(event).__name__,
            )
