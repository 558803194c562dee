"""The event bus: synchronous, on the loop, unaffected by the errors of its observers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from threading import get_ident as _thread_id
from typing import Any, TypeVar

from cascade.interfaces.events import TaskFields, TaskStateEvent
from cascade.interfaces.logs import get_logger

EventT = TypeVar("EventT")
Handler = Callable[[Any], object]

_log = get_logger("cascade.bus")


class EventBus:
    """A :class:`cascade.interfaces.EventBus` inside one process, with :class:`cascade.interfaces.SupportsTaskFields`."""

    def __init__(self) -> None:
        self._subscriptions: list[tuple[type, Handler]] = []
        self._routes: dict[type, tuple[Handler, ...]] = {}
        self._of_fields: tuple[tuple[Handler], ...] = ()  # an object for each subscription, as above
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
        self._subscriptions.append(entry)
        self._routes.clear()

        def unsubscribe() -> None:
            self._subscriptions = [kept for kept in self._subscriptions if kept is not entry]
            self._failing.discard(id(handler))
            self._routes.clear()

        return unsubscribe

    def subscribe_fields(self, handler: Callable[[TaskFields], object]) -> Callable[[], None]:
        """Call ``handler`` with the fields of each event of a task; return a function that unsubscribes it."""
        entry = (handler,)
        self._of_fields += (entry,)

        def unsubscribe() -> None:
            self._of_fields = tuple(kept for kept in self._of_fields if kept is not entry)
            self._failing.discard(id(handler))

        return unsubscribe

    def handlers(self) -> list[Handler]:
        """Return every handler that is subscribed."""
        return [entry[-1] for entry in (*self._subscriptions, *self._of_fields)]

    def bind(self, loop: asyncio.AbstractEventLoop) -> None:
        """Name the loop on which handlers are called; call it in that loop's thread."""
        self._loop = loop
        self._thread = _thread_id()

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
        if self._of_fields and isinstance(event, TaskStateEvent):
            self._deliver([handler for (handler,) in self._of_fields], event.fields())
        self._deliver(self._routes.get(type(event)) or self._route(type(event)), event)

    def publish_fields(self, fields: TaskFields) -> None:
        """Deliver the event of a task that has these fields, as :meth:`publish` does."""
        if not self._publishes_fields or (self._loop is not None and _thread_id() != self._thread):
            self.publish(TaskStateEvent.of(fields))
            return
        for (handler,) in self._of_fields:  # as _deliver(), which takes as long to call as the rest of this
            try:
                handler(fields)
            except Exception:
                self._report(handler, fields)
            else:
                if self._failing:
                    self._failing.discard(id(handler))
        route = self._routes.get(TaskStateEvent)
        if route is None:
            route = self._route(TaskStateEvent)
        if route:
            self._deliver(route, TaskStateEvent.of(fields))

    def _deliver(self, handlers: Iterable[Handler], event: object) -> None:
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
                TaskStateEvent.__name__ if type(event) is tuple else type(event).__name__,
            )
