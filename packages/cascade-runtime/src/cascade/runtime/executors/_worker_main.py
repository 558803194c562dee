"""The main program of a worker process: it runs one packed call after the other.

The main thread runs the calls, another thread reads the pipe of control. So the worker notices at
once, also during a call, that the pipe was closed: the executor closed the worker, or the
executor's process was killed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from multiprocessing import connection
from types import FrameType
from typing import NoReturn

from cascade.interfaces.call_context import in_call
from cascade.interfaces.forked_children import restore_in_children
from cascade.interfaces.pickled_calls import run_packed
from cascade.runtime.executors._main_pickling import pack
from cascade.runtime.executors._pipe_frames import READY, RESULT, Frame, FrameReader
from cascade.runtime.executors._worker_call import Answers, Directives

STOP_TIMEOUT = 1.0
"""Seconds that a stopped call has for its ``finally`` blocks."""


def open_end(handle: int, *, writable: bool) -> connection.Connection:
    """Return one end of a pipe, from its file descriptor (a handle on Windows) in this process."""
    if sys.platform == "win32":
        return connection.PipeConnection(handle, readable=not writable, writable=writable)
    return connection.Connection(handle, readable=not writable, writable=writable)


def main(requests: int, control: int, answers: int) -> None:
    """Run calls until the pipes are closed; the arguments are this process's pipe ends."""
    _Worker(
        open_end(requests, writable=False),
        open_end(control, writable=False),
        open_end(answers, writable=True),
    ).serve()


class _Worker:
    def __init__(
        self,
        requests: connection.Connection,
        control: connection.Connection,
        answers: connection.Connection,
    ) -> None:
        for end in (requests, control, answers):
            if sys.platform != "win32":
                os.set_inheritable(
                    end.fileno(), False
                )  # processes that a task starts must not keep them open
        self._calls = _calls(requests)
        self._answers = Answers(answers)
        self._directives = Directives(control, self._answers)
        self._busy = False
        self._ending = False
        self._stopped = False

    def serve(self) -> None:
        before = signal.signal(signal.SIGTERM, self._stop)
        restore_in_children(signal.SIGTERM, self._stop, before)
        threading.Thread(target=self._follow, name="cascade control", daemon=True).start()
        self._answers.send(READY)
        for call in self._calls:
            self._busy = True
            if self._ending:
                return
            in_call.set(self._directives.begin(call.number))
            answer = run_packed(call.body, pack)
            self._busy = False
            given_up = self._directives.end()
            _flush()
            if self._stopped or given_up:
                sys.exit(1)
            self._answers.send(RESULT, call.number, answer)
            # otherwise an idle worker would keep the data alive
            del call, answer

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


def _calls(requests: connection.Connection) -> Iterator[Frame]:
    """Yield each call that arrives, until the pipes are closed."""
    reader = FrameReader(requests)
    with contextlib.suppress(EOFError, OSError):
        while True:
            yield from reader.read()
