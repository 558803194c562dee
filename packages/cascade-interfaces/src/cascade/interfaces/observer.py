"""Observers: code that follows runs inside their process, such as one that makes traces of them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol, runtime_checkable

from cascade.interfaces.call_context import StepInfo
from cascade.interfaces.events import Event


class ObservedRun(NamedTuple):
    """What an observer knows of a run before its first event."""

    run_id: str
    clean: Callable[[str], str]
    """Masks the secrets in a text and puts it on one line, as everything that leaves the process is."""


ENOUGH = object()
"""An observer of a run returns it for an event if it needs no further one: each costs the run some microseconds."""


class Observer(Protocol):
    """Follows runs. Whatever it does, no run changes: an error that it raises is logged.

    A distribution offers one by the entry point group ``cascade.observers``: what the entry point names is called without
    arguments.
    """

    def follow(self, run: ObservedRun) -> Callable[[Event], object]:
        """Return what is called with each event of a run, on the event loop and in their order; it must not block.

        The run's first event follows at once. What returns :data:`ENOUGH` for an event gets no further one. If what is
        returned here has the methods of :class:`StepContexts`, it is one, too.
        """
        ...


@runtime_checkable
class StepContexts(Protocol):
    """What an observer of one run has every attempt of a step run in."""

    def throughout(self) -> AbstractContextManager[str] | None:
        """Return one context for all attempts, which is entered once, or None if each has its own.

        It is asked after the run's first event, and yields what :meth:`within` does.
        """
        ...

    def within(self, step: StepInfo) -> AbstractContextManager[str]:
        """Return what is entered around an attempt, whose context variables its code then sees, also in a thread.

        It yields the W3C ``traceparent`` of the attempt, which ``cs.step().traceparent`` returns, or "". In a worker process,
        the function ``in_worker(traceparent)`` of what the entry point names returns what is entered there.
        """
        ...
