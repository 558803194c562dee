"""The observers of one run: each gets the run's events, and none can fail it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from contextvars import Token
from typing import Any

from cascade.interfaces import EventBus, Middleware, StepInfo, supports
from cascade.interfaces.call_context import traceparent
from cascade.interfaces.events import Event
from cascade.interfaces.logs import get_logger
from cascade.interfaces.observer import ENOUGH, ObservedRun, Observer, StepContexts

_log = get_logger("cascade.bus")

_Entered = tuple[AbstractContextManager[str], Token[str]]
"""A context, and the trace context before."""


class RunObservers:
    """What the observers of one run get, from before its first event until after its last one.

    ``with`` subscribes them to the run's events.
    """

    def __init__(self, bus: EventBus, observers: Sequence[Observer], run: ObservedRun) -> None:
        self._bus = bus
        self._run_id = run.run_id
        self._handlers = [handler for each in observers if (handler := _begun(each, run)) is not None]
        self._stack = ExitStack()

    def __enter__(self) -> RunObservers:
        for handler in self._handlers:
            self._stack.enter_context(_OfRun(self._run_id, handler, self._bus))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @contextmanager
    def contexts(self) -> Iterator[tuple[Middleware, ...]]:
        """After the run's first event enter what one context for all its code is, until the run is over.

        Yield what wraps each attempt for the other observers.
        """
        offering = [_Contexts(handler) for handler in self._handlers if supports(handler, StepContexts)]
        with ExitStack() as stack:
            yield tuple(each.around for each in offering if not stack.enter_context(each.throughout()))


def _begun(observer: Observer, run: ObservedRun) -> Callable[[Event], object] | None:
    try:
        return observer.follow(run)
    except Exception:
        _log.exception("observer %r failed at the start of a run, which goes on without it", observer)
        return None


class _OfRun:
    """Passes on the events of one run while ``with`` lasts or until it is enough; the log names the observer."""

    def __init__(self, run_id: str, handler: Callable[[Event], object], bus: EventBus) -> None:
        self._run_id = run_id
        self._handler = handler
        self._bus = bus
        self._unsubscribe: list[Callable[[], None]] = []

    def __repr__(self) -> str:
        return repr(self._handler)

    def __enter__(self) -> None:
        self._unsubscribe = [self._bus.subscribe(kind, self) for kind in Event.__args__]

    def __exit__(self, *_: object) -> None:
        for unsubscribe in self._unsubscribe:
            unsubscribe()

    def __call__(self, event: Event) -> None:
        if event.run_id == self._run_id and self._handler(event) is ENOUGH:
            self.__exit__()


class _Contexts:
    """The contexts that one observer offers; its errors leave the code without them."""

    def __init__(self, contexts: StepContexts) -> None:
        self._contexts = contexts
        self._failing = False

    @contextmanager
    def throughout(self) -> Iterator[bool]:
        """Enter the one for all code of the run; yield whether there is one."""
        entered = self._entered(self._contexts.throughout)
        try:
            yield entered is not None
        finally:
            self._leave(entered)

    async def around(self, step: StepInfo, call_next: Callable[[], Awaitable[Any]]) -> Any:
        """Make an attempt in its context."""
        entered = self._entered(self._contexts.within, step)
        try:
            return await call_next()
        finally:
            self._leave(entered)

    def _entered(
        self, offer: Callable[..., AbstractContextManager[str] | None], *about: StepInfo
    ) -> _Entered | None:
        try:
            offered = offer(*about)
            return None if offered is None else (offered, traceparent.set(offered.__enter__()))
        except Exception:
            self._failed()
            return None

    def _leave(self, entered: _Entered | None) -> None:
        if entered is None:
            return
        context, before = entered
        traceparent.reset(before)
        try:
            context.__exit__(None, None, None)
        except Exception:
            self._failed()

    def _failed(self) -> None:
        if not self._failing:
            self._failing = True
            _log.exception("observer %r failed around a step; the run goes on", self._contexts)
