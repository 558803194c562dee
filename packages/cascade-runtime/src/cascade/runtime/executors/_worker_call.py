"""The worker's side of the call that runs: its progress goes up, and directives come down."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import sys
import threading
from multiprocessing.connection import Connection
from typing import Any

from cascade.interfaces import Directive
from cascade.interfaces.call_context import RunningCall
from cascade.runtime.executors._pipe_frames import (
    DATA,
    DIRECTIVES,
    PAUSED,
    PROGRESS,
    RESUMED,
    STOP,
    FrameReader,
    framed,
    write,
    write_at_once,
)

GRACE = 0.5
"""Seconds in which a call that was given up may reach its next checkpoint, if it has reached one before."""

_LONGEST = 4_096  # bytes of a frame that a pipe takes whole or not at all

_DIRECTIVES = {kind: directive for directive, kind in DIRECTIVES.items()}


class Answers:
    """The pipe to the executor; several threads of a task may write."""

    def __init__(self, end: Connection) -> None:
        self._end = end
        self._lock = threading.Lock()
        if sys.platform != "win32":
            os.set_blocking(end.fileno(), False)

    def send(self, kind: bytes, number: int = 0, body: bytes = b"") -> None:
        """Send a frame; wait until the pipe has room for it."""
        with self._lock:
            write(self._end, framed(kind, number, body))

    def offer(self, kind: bytes, number: int, body: bytes) -> None:
        """Send a small frame, or drop it if the pipe has no room."""
        if len(body) < _LONGEST - 64:
            with self._lock:
                write_at_once(self._end, framed(kind, number, body))


class _PipeReports:
    """The reports of one call, over the pipe to the executor, whose end ends the worker."""

    def __init__(self, number: int, answers: Answers) -> None:
        self._number = number
        self._answers = answers

    def progress(self, done: float, total: float | None, message: str, unit: str) -> None:
        self._answers.offer(PROGRESS, self._number, pickle.dumps((done, total, message, unit)))

    def publish(self, name: str, data: Any) -> None:
        self._answers.send(DATA, self._number, pickle.dumps((name, data)))

    def arrived(self, *, paused: bool) -> None:
        self._answers.send(PAUSED if paused else RESUMED, self._number)

    def is_awaited(self) -> bool:
        return True


class Directives:
    """What the executor wants of the call that runs, or is about to."""

    def __init__(self, control: Connection, answers: Answers) -> None:
        self._frames = FrameReader(control)
        self._answers = answers
        self._lock = threading.Lock()
        self._number = 0
        self._call: RunningCall | None = None
        # to a call that has not arrived
        self._early: tuple[int, Directive] = 0, Directive.RUN
        self._stopped: int | None = None
        """The number of the call that is to stop; a worker stops only once."""
        self._ended = threading.Event()  # set when a call has ended

    def begin(self, number: int) -> RunningCall:
        """Return the context of a call that begins, with the directive that has arrived for it.

        :raises SystemExit: if it was given up meanwhile.
        """
        with self._lock:
            if self._is_stopped(number):
                raise SystemExit(128 + signal.SIGTERM)
            self._ended.clear()
            directive = self._early[1] if self._early[0] == number else Directive.RUN
            self._number, self._call = number, RunningCall(_PipeReports(number, self._answers), directive)
            return self._call

    def end(self) -> bool:
        """Forget the call that ran; return whether it was to stop: then its worker sends no answer."""
        with self._lock:
            self._call = None
            self._ended.set()
            return self._is_stopped(self._number)

    def follow(self) -> None:
        """Pass on what arrives, until the pipe is closed."""
        with contextlib.suppress(EOFError, OSError):
            while True:
                for frame in self._frames.read():
                    if frame.kind == STOP:
                        self._stop(frame.number)
                    else:
                        self._pass_on(frame.number, _DIRECTIVES[frame.kind])

    def _stop(self, number: int) -> None:
        """Cancel a call at its next checkpoint; if it reaches none in time, raise SystemExit where it is."""
        with self._lock:
            self._stopped = number
            call = self._call if self._is_stopped(self._number) else None
        if call is None:
            return
        call.direct(Directive.CANCEL)
        if not call.visited or not self._ends_within(GRACE):
            with self._lock:
                if call is self._call:
                    os.kill(os.getpid(), signal.SIGTERM)

    def _is_stopped(self, number: int) -> bool:
        return self._stopped == number

    def _ends_within(self, seconds: float) -> bool:
        """Wait for the end of the call; of a pause in which the whole process stood still only a part counts."""
        return any(self._ended.wait(seconds / 10) for _ in range(10))

    def _pass_on(self, number: int, directive: Directive) -> None:
        with self._lock:
            if number > self._number:
                self._early = number, directive
            elif self._call is not None and number == self._number:
                self._call.direct(directive)
