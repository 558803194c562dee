"""Tracebacks that begin in the user's own code, and whether errors show values of arguments."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import NamedTuple, TypeVar

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


class Frame(NamedTuple):
    """One line of a traceback that is the user's own."""

    file: str
    line: int
    function: str
    code: str
    """The line's text; empty if the file is not there."""

    def __str__(self) -> str:
        """Return the frame as Python writes it."""
        place = f'  File "{self.file}", line {self.line}, in {self.function}'
        return f"{place}\n    {self.code}" if self.code else place


def own_frames(error: BaseException) -> list[Frame]:
    """Return the lines of the user's own files on the way to an error, the one that raised it last.

    An error from another process has them in the text of its traceback there. Cascade, installed
    packages and Python's own modules are left out.
    """
    text = getattr(error.__cause__, "text", "")
    if getattr(error.__cause__, "from_another_process", False) and isinstance(text, str):
        found = [Frame(file, int(line), name, code or "") for file, line, name, code in _FRAME.findall(text)]
    else:
        import traceback

        entries = traceback.extract_tb(_first_of_the_user(error.__traceback__))
        found = [Frame(each.filename, each.lineno or 0, each.name, each.line or "") for each in entries]
    theirs = [frame for frame in found if not _is_pythons_or_ours(frame.file)]
    # a user's program may be installed, too
    return [frame for frame in theirs if not _is_installed(frame.file)] or theirs


_FRAME = re.compile(r'^ *File "(.+)", line (\d+), in (.+)(?:\n    +(?!File ")(?![\^~])(.*))?', re.MULTILINE)


def _is_installed(file: str) -> bool:
    import sysconfig

    return "-packages" in file or file.startswith(
        (sysconfig.get_path("purelib"), sysconfig.get_path("platlib"))
    )


def _is_pythons_or_ours(file: str) -> bool:
    import sysconfig

    ours = sys.modules[__name__.partition(".")[0]].__path__
    pythons = file.startswith(("<", sysconfig.get_path("stdlib"))) and not _is_installed(file)
    return pythons or file.startswith(tuple(ours))
