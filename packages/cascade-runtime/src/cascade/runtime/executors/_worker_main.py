"""What a worker process does: it carries out one call after the other until its executor hangs up.

A thread reads, so that the process learns at once that nobody waits any more, also in the
middle of a call: the executor has closed the worker, or its process was killed.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import sys
import threading
import time
from multiprocessing import connection
from types import FrameType
from typing import NoReturn

from cascade.interfaces.parcels import carry_out

GRACE = 1.0
"""Seconds that a call has for its ``finally`` blocks when it is stopped."""

READY = b"ready"


def open_end(handle: int, *, writable: bool) -> connection.Connection:
    """Return one end of a pipe, from the number that it has in this process."""
    if sys.platform == "win32":
        return connection.PipeConnection(handle, readable=not writable, writable=writable)
    return connection.Connection(handle, readable=not writable, writable=writable)


def main(requests: int, answers: int) -> None:
    """Serve calls; the arguments are the worker's ends of the two pipes."""
    _Worker(open_end(requests, writable=False), open_end(answers, writable=True)).serve()


class _Worker:
    def __init__(self, requests: connection.Connection, answers: connection.Connection) -> None:
        for end in (requests, answers):
            if sys.platform != "win32":
                os.set_inheritable(end.fileno(), False)  # what a task starts must not hold the pipes
        self._requests = requests
        self._answers = answers
        self._calls: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._busy = False
        self._stopped = False

    def serve(self) -> None:
        signal.signal(signal.SIGTERM, self._stop)
        threading.Thread(target=self._read, name="cascade requests", daemon=True).start()
        self._answers.send_bytes(READY)
        while (parcel := self._calls.get()) is not None:
            self._busy = True
            answer = carry_out(parcel)
            self._busy = False
            _flush()
            if self._stopped:
                sys.exit(1)
            self._answers.send_bytes(answer)
            del parcel, answer  # an idle worker must not keep a task's data alive

    def _read(self) -> None:
        with contextlib.suppress(EOFError, OSError):
            while True:
                self._calls.put(self._requests.recv_bytes())
        self._calls.put(None)
        if self._busy:
            os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(GRACE)
        os._exit(1)

    def _stop(self, signal_number: int, frame: FrameType | None) -> NoReturn:
        """End the call as ``sys.exit`` would, so that it can tidy up."""
        self._stopped = True
        raise SystemExit(128 + signal_number)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):  # closed or replaced by a task
            stream.flush()
