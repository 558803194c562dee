"""The event bus: synchronous, on the loop, unaffected by the errors of its observers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from threading import get_ident as _thread_id
from typing import Any, TypeVar

from cascade.interfaces.logs import get_logger

EventT = TypeVar("EventT")
Handler = Callable[[Any], object]

_log = get_logger("cascade.bus")


class EventBus:
    """A :class:`cascade.interfaces.EventBus` inside one process."""

    def __init__(self) -> None:
        self._subscriptions: list[tuple[type, Handler]] = []
        # handlers by the exact type of an event
        self._routes: dict[type, tuple[Handler, ...]] = {}
        # by identity: a handler need not be hashable
        self._failing: set[int] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = 0

    def __repr__(self) -> str:
        return f"<EventBus with {len(self._subscriptions)} handlers>"

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

    def handlers(self) -> list[Handler]:
        """Return every handler that is subscribed."""
        return [handler for _, handler in self._subscriptions]

    def bind(self, loop: asyncio.AbstractEventLoop) -> None:
        """Name the loop on which handlers are called; call it in that loop's thread."""
        self._loop, self._thread = loop, _thread_id()

    def wants(self, event_type: type) -> bool:
        """Return whether a handler is subscribed to events of this type."""
        route = self._routes.get(event_type)  # asked before each task
        return bool(self._route(event_type) if route is None else route)

    def publish(self, event: object) -> None:
        """Deliver an event; from another thread than the bound loop's, hand it to that loop first."""
        loop = self._loop
        if loop is not None and _thread_id() != self._thread:
            self._hand_over(event, loop)
            return
        for handler in self._route(type(event)):
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
                type(event).__name__,
            )
