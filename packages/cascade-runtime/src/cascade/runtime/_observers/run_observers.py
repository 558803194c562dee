"""The observers of one run: each gets the run's events, and none can fail it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

from cascade.interfaces import EventBus, Middleware, StepInfo, supports
from cascade.interfaces.call_context import traceparent
from cascade.interfaces.events import Event
from cascade.interfaces.logs import get_logger
from cascade.interfaces.observer import ObservedRun, Observer, StepContexts

_log = get_logger("cascade.bus")


@contextmanager
def followed(
    bus: EventBus, observers: Sequence[Observer], run: ObservedRun
) -> Iterator[tuple[Middleware, ...]]:
    """Pass a run's events on to its observers meanwhile; yield what wraps its attempts for them."""
    handlers = [handler for observer in observers if (handler := _begun(observer, run)) is not None]
    with ExitStack() as stack:
        for handler in (_OfRun(run.run_id, each) for each in handlers):
            for kind in Event.__args__:
                stack.callback(bus.subscribe(kind, handler))
        yield tuple(_around(handler) for handler in handlers if supports(handler, StepContexts))


def _begun(observer: Observer, run: ObservedRun) -> Callable[[Event], object] | None:
    try:
        return observer.follow(run)
    except Exception:
        _log.exception("observer %r failed at the start of a run, which goes on without it", observer)
        return None


class _OfRun:
    """Passes on the events of one run; the log names the observer."""

    def __init__(self, run_id: str, handler: Callable[[Event], object]) -> None:
        self._run_id = run_id
        self._handler = handler

    def __repr__(self) -> str:
        return repr(self._handler)

    def __call__(self, event: Event) -> None:
        if event.run_id == self._run_id:
            self._handler(event)


def _around(contexts: StepContexts) -> Middleware:
    """Return what wraps every attempt; an error of the observer leaves the attempt without its context."""
    failing = False

    def failed() -> None:
        nonlocal failing
        if not failing:
            failing = True
            _log.exception("observer %r failed around a step; the run goes on", contexts)

    async def around(step: StepInfo, call_next: Callable[[], Awaitable[Any]]) -> Any:
        entered: AbstractContextManager[str] | None = None
        try:
            entered = contexts.within(step)
            traceparent.set(entered.__enter__())
        except Exception:
            entered = None
            failed()
        try:
            return await call_next()
        finally:
            if entered is not None:
                try:
                    entered.__exit__(None, None, None)
                except Exception:
                    failed()

    return around
