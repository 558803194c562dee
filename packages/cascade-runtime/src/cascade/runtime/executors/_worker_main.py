"""The main program of a worker process: it runs one packed call after the other.

The main thread takes the permit of a call, then the call. Another thread reads the pipe of
control. So the worker notices at once, also during a call, that the pipe was closed: the
executor closed the worker, or the executor's process was killed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from multiprocessing import connection
from types import FrameType
from typing import NoReturn

from cascade.interfaces.call_context import in_call
from cascade.interfaces.pickled_calls import run_packed
from cascade.runtime.executors._frames import CALL, READY, RESULT, START, Frame, FrameReader
from cascade.runtime.executors._main_pickling import pack
from cascade.runtime.executors._worker_call import Answers, Directives

if sys.platform != "win32":
    import select

    from cascade.runtime.executors._permits import PermitReader

STOP_TIMEOUT = 1.0
"""Seconds that a stopped call has for its ``finally`` blocks."""


def open_end(handle: int, *, writable: bool) -> connection.Connection:
    """Return one end of a pipe, from its file descriptor (a handle on Windows) in this process."""
    if sys.platform == "win32":
        return connection.PipeConnection(handle, readable=not writable, writable=writable)
    return connection.Connection(handle, readable=not writable, writable=writable)


def main(requests: int, control: int, answers: int, permits: int) -> None:
    """Run calls until the pipes are closed; the arguments are this process's pipe ends.

    ``permits`` is negative where there are none: then every call may start as soon as it arrives.
    """
    _Worker(
        open_end(requests, writable=False),
        open_end(control, writable=False),
        open_end(answers, writable=True),
        permits,
    ).serve()


class _Worker:
    def __init__(
        self,
        requests: connection.Connection,
        control: connection.Connection,
        answers: connection.Connection,
        permits: int,
    ) -> None:
        for end in (requests, control, answers):
            if sys.platform != "win32":
                os.set_inheritable(
                    end.fileno(), False
                )  # processes that a task starts must not keep them open
        self._calls = _permitted(requests, permits)
        self._answers = Answers(answers)
        self._directives = Directives(control, self._answers)
        self._permits = permits
        self._busy = False
        self._ending = False
        self._stopped = False

    def serve(self) -> None:
        signal.signal(signal.SIGTERM, self._stop)
        threading.Thread(target=self._follow, name="cascade control", daemon=True).start()
        self._answers.send(READY)
        for call in self._calls:
            self._busy = True
            if self._ending:
                return
            in_call.set(self._directives.begin(call.number))
            began = time.perf_counter()
            answer = run_packed(call.body, pack)
            seconds = time.perf_counter() - began
            self._busy = False
            given_up = self._directives.end()
            _flush()
            if self._stopped or given_up:
                sys.exit(1)
            self._answers.send(RESULT, call.number, answer, seconds=seconds)
            del call, answer  # otherwise an idle worker would keep the data alive

    def _follow(self) -> None:
        self._directives.follow()
        self._ending = True
        if self._busy:
            os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(STOP_TIMEOUT)
        os._exit(1)

    def _stop(self, signal_number: int, frame: FrameType | None) -> NoReturn:
        """Raise SystemExit in the call, so that its ``finally`` blocks run."""
        self._stopped = True
        raise SystemExit(128 + signal_number)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):  # closed or replaced by a task
            stream.flush()


def _permitted(requests: connection.Connection, permits: int) -> Iterator[Frame]:
    """Yield each call when it may start, until the pipes are closed."""
    reader = FrameReader(requests)
    with contextlib.suppress(EOFError, OSError):
        if sys.platform == "win32":
            while True:
                yield from reader.read()
        else:
            yield from _Calls(reader, requests, PermitReader(permits))


class _Calls:
    """The calls that have arrived, and the permit that was taken last."""

    def __init__(self, reader: FrameReader, requests: connection.Connection, permits: PermitReader) -> None:
        self._reader = reader
        self._permits = permits
        self._arrived: deque[Frame] = deque()
        self._poll = select.poll()
        self._requests = requests.fileno()
        for end in (permits.fileno(), self._requests):
            self._poll.register(end, select.POLLIN)

    def __iter__(self) -> Iterator[Frame]:
        permit: int | None = 0
        while permit is not None:
            while self._arrived and self._arrived[0].kind == CALL and self._arrived[0].number < permit:
                self._arrived.popleft()  # the executor has taken it back
            if self._arrived and self._arrived[0].kind == START:
                yield self._arrived.popleft()
            elif self._arrived and self._arrived[0].number == permit:
                permit = 0
                yield self._arrived.popleft()
            elif permit or self._is_call_next():
                self._read()
            else:
                permit = self._permits.take()

    def _is_call_next(self) -> bool:
        """Wait until something arrives; return whether there is a call.

        Calls are read before a permit is taken: a call that has its permit counts as started, and
        must not wait for one that needs none. The permits are looked at first, because the
        executor writes a call before the permits of those behind it.
        """
        return self._requests in [file for file, _ in self._poll.poll()]

    def _read(self) -> None:
        for frame in self._reader.read():
            if frame.kind == START:  # the executor has taken back all that were sent before
                self._arrived.clear()
            self._arrived.append(frame)
