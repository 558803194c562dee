"""The event bus: delivers the events of runs to observers."""

from __future__ import annotations

from asyncio import AbstractEventLoop
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

_EventT = TypeVar("_EventT")


class EventBus(Protocol):
    """Delivers the events of runs to observers. No observer can affect a run."""

    def subscribe(
        self, event_type: type[_EventT], handler: Callable[[_EventT], object]
    ) -> Callable[[], None]:
        """Call ``handler`` for each event that is an instance of ``event_type``; return how to stop.

        Handlers are plain functions, called on the event loop, in the order of the events;
        an error that one raises is logged and does not affect the others.
        """
        ...

    def wants(self, event_type: type) -> bool:
        """Return whether a handler is subscribed to events of this type; if not, none need be made."""
        ...

    def handlers(self) -> list[Callable[[Any], object]]:
        """Return every handler that is subscribed."""
        ...

    def bind(self, loop: AbstractEventLoop) -> None:
        """Name the loop on which handlers are called from now on."""
        ...

    def publish(self, event: object) -> None:
        """Deliver an event. From another thread it goes to the loop first; each thread's events stay in order."""
        ...
