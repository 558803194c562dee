"""What an error shows of a run: the user's own lines of its traceback, and values of arguments or not."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import TypeVar

from cascade.interfaces.errors import CascadeError

ErrorT = TypeVar("ErrorT", bound=BaseException)

_asked: ContextVar[bool] = ContextVar("cascade_show_arguments", default=False)
_INSIDES = ("cascade.", "asyncio.", "concurrent.futures.")


@contextmanager
def show_arguments() -> Iterator[None]:
    """Have errors show values of arguments within this context, wherever stderr leads."""
    before = _asked.set(True)
    try:
        yield
    finally:
        _asked.reset(before)


def arguments_are_shown() -> bool:
    """Return whether an error may show values of arguments: a person reads stderr, or has asked for them."""
    return _asked.get() or bool(sys.stderr and sys.stderr.isatty())


def begin_in_user_code(error: ErrorT) -> ErrorT:
    """Remove the frames of Cascade and asyncio before the first one of the user's code; return ``error``.

    Without any user's frame, an error of Cascade, a cancel, a group and a KeyboardInterrupt lose the whole
    traceback: their messages and members say all. So does an error from another process, whose cause is the
    traceback there. Every other error keeps it, because it may be a fault of Cascade. The cause of an error
    of Cascade is cut in the same way.
    """
    inner = _first_of_the_user(error.__traceback__)
    cause = error.__cause__
    if inner is not None or isinstance(error, _SAY_ALL) or getattr(cause, "from_another_process", False):
        # not the method that the error's class may define
        BaseException.with_traceback(error, inner)
    if isinstance(error, CascadeError) and cause is not None:
        begin_in_user_code(cause)
    return error


_SAY_ALL = (CascadeError, asyncio.CancelledError, BaseExceptionGroup, KeyboardInterrupt)


def _first_of_the_user(traceback: TracebackType | None) -> TracebackType | None:
    while traceback is not None:
        if not f"{traceback.tb_frame.f_globals.get('__name__', '')}.".startswith(_INSIDES):
            return traceback
        traceback = traceback.tb_next
    return None
