"""The worker's side of the call that runs: its progress goes up, and directives come down."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
import sys
import threading
import time
from multiprocessing.connection import Connection
from typing import Any

from cascade.interfaces import Directive
from cascade.runtime.executors._frames import (
    DATA,
    DIRECTIVES,
    PAUSED,
    PROGRESS,
    RESUMED,
    FrameReader,
    framed,
    write,
    write_at_once,
)

PROGRESS_INTERVAL = 0.5
"""Seconds between two reports of progress of one call, at the least."""

_LONGEST = 4_096  # bytes of a frame that a pipe takes whole or not at all

_DIRECTIVES = {kind: directive for directive, kind in DIRECTIVES.items()}


class Answers:
    """The pipe to the executor; several threads of a task may write."""

    def __init__(self, end: Connection) -> None:
        self._end = end
        self._lock = threading.Lock()
        if sys.platform != "win32":
            os.set_blocking(end.fileno(), False)

    def send(self, kind: bytes, number: int = 0, body: bytes = b"", *, seconds: float = 0.0) -> None:
        """Send a frame; wait until the pipe has room for it."""
        with self._lock:
            write(self._end, framed(kind, number, body, seconds=seconds))

    def offer(self, kind: bytes, number: int, body: bytes) -> None:
        """Send a small frame, or drop it if the pipe has no room."""
        if len(body) < _LONGEST - 64:
            with self._lock:
                write_at_once(self._end, framed(kind, number, body))


class RunningCall:
    """The call that runs, or will run next: the :class:`cascade.interfaces.InCall` of its task."""

    def __init__(self, number: int, directive: Directive, answers: Answers) -> None:
        self._number = number
        self._directive = directive
        self._answers = answers
        self._changed = threading.Condition()
        self._reported = -PROGRESS_INTERVAL

    def direct(self, directive: Directive) -> None:
        """Change what the call is to do at its checkpoints; from any thread."""
        with self._changed:
            self._directive = directive
            self._changed.notify_all()

    def checkpoint(self, progress: tuple[float, float | None, str, str] | None) -> None:
        """Report progress, at most every half second; wait while the call is paused.

        :raises asyncio.CancelledError: if the call is to stop.
        """
        if progress is not None:
            now = time.monotonic()
            if now - self._reported >= PROGRESS_INTERVAL:
                self._reported = now
                self._answers.offer(PROGRESS, self._number, pickle.dumps(progress))
        if self._directive is not Directive.RUN:
            self._wait()

    def publish(self, name: str, data: Any) -> None:
        """Send a value to the engine."""
        self._answers.send(DATA, self._number, pickle.dumps((name, data)))

    def _wait(self) -> None:
        with self._changed:
            if self._is(Directive.PAUSE):
                self._answers.send(PAUSED, self._number)
                while self._is(Directive.PAUSE):
                    self._changed.wait()
                self._answers.send(RESUMED, self._number)
            if self._is(Directive.CANCEL):
                raise asyncio.CancelledError

    def _is(self, directive: Directive) -> bool:
        return self._directive is directive


class Directives:
    """What the executor wants of the calls: of the one that runs, and of those that have not begun."""

    def __init__(self, control: Connection, answers: Answers) -> None:
        self._frames = FrameReader(control)
        self._answers = answers
        self._lock = threading.Lock()
        self._number = 0
        self._call: RunningCall | None = None
        self._early: dict[int, Directive] = {}

    def begin(self, number: int) -> RunningCall:
        """Return the context of a call that begins, with the directive that has arrived for it."""
        with self._lock:
            directive = self._early.get(number, Directive.RUN)
            self._early = {later: each for later, each in self._early.items() if later > number}
            self._number, self._call = number, RunningCall(number, directive, self._answers)
            return self._call

    def end(self) -> None:
        """Forget the call that ran."""
        with self._lock:
            self._call = None

    def follow(self) -> None:
        """Pass on what arrives, until the pipe is closed."""
        with contextlib.suppress(EOFError, OSError):
            while True:
                for frame in self._frames.read():
                    self._pass_on(frame.number, _DIRECTIVES[frame.kind])

    def _pass_on(self, number: int, directive: Directive) -> None:
        with self._lock:
            if number > self._number:
                self._early[number] = directive
            elif self._call is not None and number == self._number:
                self._call.direct(directive)
