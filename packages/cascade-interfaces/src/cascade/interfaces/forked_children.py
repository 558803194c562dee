"""Forked children of a task: they handle signals as the program did before the run, and end where the task ends.

``multiprocessing`` forks on Linux up to Python 3.13, and so does ``os.fork``. Such a child has copies of what the run
has set up for its own process.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from typing import Any

_replaced: dict[int, tuple[Any, Any]] = {}
"""By the number of a signal: the handler that Cascade has set, and the one before."""


class _Forks:
    """How many forks are between this process and its program."""

    count = 0


class _Forking(threading.local):
    """The signals that were blocked in this thread before it blocked more to fork."""

    mask: set[int] | None = None


_forking = _Forking()


def restore_in_children(number: int, handler: Any, before: Any) -> None:
    """Set a signal's handler back to ``before`` in every child forked from now on, if it is still ``handler`` there."""
    _replaced[number] = handler, before


def forget_handler(number: int) -> None:
    """Undo :func:`restore_in_children`: the handler is no longer set. Idempotent."""
    _replaced.pop(number, None)


def generation() -> int:
    """Return how many forks are between this process and its program; a child has another number than its parent."""
    return _Forks.count


def end_forked_child(since: int, error: BaseException | None = None) -> None:
    """End this process if it was forked since :func:`generation` was ``since``: only its parent goes on with the run.

    It ends as a child of ``multiprocessing`` does: no ``finally`` block and no ``atexit`` function of the parent's
    program runs. The exit status is that of ``error`` as Python reports it: 0 if None, the one of a SystemExit, or 1
    after the traceback.
    """
    if since == _Forks.count:
        return
    try:
        status = _status(error)
        sys.stdout.flush()
        sys.stderr.flush()
    except Exception:
        # a stream that the program closed or replaced
        status = 1
    os._exit(status)


def _status(error: BaseException | None) -> int:
    if error is None:
        return 0
    if not isinstance(error, SystemExit):
        traceback.print_exception(error)
        return 1
    if error.code is None or isinstance(error.code, int):
        return int(error.code or 0) & 0xFF
    sys.stderr.write(f"{error.code}\n")
    return 1


def _before_fork() -> None:
    # A signal for the child that arrives before its handlers are restored would be lost.
    if _replaced:
        _forking.mask = signal.pthread_sigmask(signal.SIG_BLOCK, _replaced)


def _after_fork() -> None:
    mask, _forking.mask = _forking.mask, None
    if mask is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _after_fork_in_child() -> None:
    _Forks.count += 1
    if not _replaced:
        return
    # of the parent's event loop, which would take the child's signals for its own
    signal.set_wakeup_fd(-1)
    restored = {
        number: before
        for number, (handler, before) in _replaced.items()
        if signal.getsignal(number) == handler
    }
    _replaced.clear()
    for number in restored:
        signal.signal(number, signal.SIG_DFL)
    # here a signal that was blocked ends the child; a handler's exception would be lost in this function
    _after_fork()
    for number, before in restored.items():
        signal.signal(number, before)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork_in_child)
