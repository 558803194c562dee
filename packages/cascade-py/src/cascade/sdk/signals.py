"""SIGTERM and SIGHUP treated like the first Ctrl-C, for as long as a run lasts."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Coroutine
from types import FrameType, TracebackType
from typing import Any, TypeVar

from cascade.interfaces.forked_children import forget_handler, restore_in_children
from cascade.interfaces.termination import CTRL_C, termination

T = TypeVar("T")

_SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
"""Windows has no SIGHUP."""


def run_guarded(work: Callable[[], Coroutine[Any, Any, T]], *, close_timeout: float | None = None) -> T:
    """Run a coroutine on a new event loop; Ctrl-C, SIGTERM and SIGHUP cancel it, a second one ends it at once.

    :param close_timeout: seconds for what is left on the loop at the end; those of a run if None.
    :raises KeyboardInterrupt: after Ctrl-C.
    :raises SystemExit: with status 143 after SIGTERM, 129 after SIGHUP.
    """
    # here, so that importing the SDK stays quick
    from cascade.runtime import new_event_loop, run_on_loop
    from cascade.runtime.engine import STOP_TIMEOUT

    with Termination() as termination:
        return run_on_loop(
            lambda: termination.guard(work()),
            loop_factory=new_event_loop,
            close_timeout=STOP_TIMEOUT if close_timeout is None else close_timeout,
        )


class Termination:
    """Cancels the coroutine that it guards at the first SIGTERM or SIGHUP, and exits at the second.

    It does so in the main thread only, and only for a signal that has its default handler: a handler
    of the user's own and a SIGHUP ignored by ``nohup`` stay. At the end it restores the default. A child that a task
    forks gets the default, too, and Python's own handler of Ctrl-C in place of asyncio's: it is not part of the run.
    The exit status is 128 and the number of the signal, as a shell reports it.
    """

    def __init__(self) -> None:
        self._received: int | None = None
        self._guarded: asyncio.Task[Any] | None = None
        self._installed: list[int] = []
        self._is_main_thread = threading.current_thread() is threading.main_thread()
        self._on_interrupt = signal.getsignal(signal.SIGINT)

    def __enter__(self) -> Termination:
        if self._is_main_thread:
            for number in _SIGNALS:
                if signal.getsignal(number) is signal.SIG_DFL:
                    signal.signal(number, self._terminate)
                    restore_in_children(number, self._terminate, signal.SIG_DFL)
                    self._installed.append(number)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        for number in self._installed:
            signal.signal(number, signal.SIG_DFL)
            forget_handler(number)
        if self._is_main_thread:
            forget_handler(signal.SIGINT)
        if self._received is not None and isinstance(error, asyncio.CancelledError):
            raise SystemExit(128 + self._received) from None

    async def guard(self, work: Coroutine[Any, Any, T]) -> T:
        """Await ``work``; this is the asyncio task that a signal cancels."""
        self._guarded = asyncio.current_task()
        termination.set(self._cause)
        # asyncio has replaced it meanwhile
        on_interrupt = signal.getsignal(signal.SIGINT)
        if self._is_main_thread and on_interrupt is not self._on_interrupt:
            restore_in_children(signal.SIGINT, on_interrupt, self._on_interrupt)
        return await work

    def _cause(self) -> str:
        """Return what ends the program: of the signals, asyncio itself handles Ctrl-C, and cancels the guarded task."""
        if self._received is not None:
            return signal.Signals(self._received).name
        is_cancelled = self._is_main_thread and self._guarded is not None and self._guarded.cancelling() > 0
        return CTRL_C if is_cancelled else ""

    def _terminate(self, number: int, frame: FrameType | None) -> None:
        again, self._received = self._received is not None, number
        if again or self._guarded is None or self._guarded.done():
            raise SystemExit(128 + number)
        self._guarded.cancel()
        # wakes a loop that waits in select
        self._guarded.get_loop().call_soon_threadsafe(lambda: None)
