"""The event bus: synchronous, on the loop, and deaf to the faults of its observers."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import Any, TypeVar

EventT = TypeVar("EventT")
Handler = Callable[[Any], object]

_log = logging.getLogger("cascade.bus")


class EventBus:
    """A :class:`cascade.interfaces.EventBus` inside one process."""

    def __init__(self) -> None:
        self._subscriptions: list[tuple[type, Handler]] = []
        self._routes: dict[type, tuple[Handler, ...]] = {}
        self._failing: set[int] = set()  # by identity: a handler need not be hashable
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = 0

    def subscribe(self, event_type: type[EventT], handler: Callable[[EventT], object]) -> Callable[[], None]:
        """Call ``handler`` for each event of this type; return a function that ends that."""
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
        self._loop = loop
        self._thread = threading.get_ident()

    def wants(self, event_type: type) -> bool:
        """Return whether anybody is subscribed to events of this type."""
        return bool(self._route(event_type))

    def publish(self, event: object) -> None:
        """Deliver an event; from another thread than the bound loop's it is handed over."""
        loop = self._loop
        if loop is None or threading.get_ident() == self._thread:
            self._deliver(event)
            return
        try:
            loop.call_soon_threadsafe(self._deliver, event)
        except RuntimeError:  # the loop is closed: nobody is left to tell
            _log.debug("an event came after its event loop was closed")

    def _route(self, event_type: type) -> tuple[Handler, ...]:
        route = self._routes.get(event_type)
        if route is None:
            route = tuple(h for wanted, h in self._subscriptions if issubclass(event_type, wanted))
            self._routes[event_type] = route
        return route

    def _deliver(self, event: object) -> None:
        for handler in self._route(type(event)):
            try:
                handler(event)
            except Exception:
                self._report(handler, event)
            else:
                if self._failing:
                    self._failing.discard(id(handler))

    def _report(self, handler: Handler, event: object) -> None:
        """Log a handler's failure once, until it has succeeded again."""
        if id(handler) not in self._failing:
            self._failing.add(id(handler))
            _log.exception(
                "observer %r failed on %s; the run goes on, further failures in a row are not logged",
                handler,
                type(event).__name__,
            )
