"""The calls of one worker process: which wait, which it runs, and which can be taken back."""

from __future__ import annotations

import queue
import threading
from collections import deque

from cascade.runtime.executors._process_call import ProcessCall
from cascade.runtime.executors._worker_call import EVERY
from cascade.runtime.executors._worker_process import WorkerProcess


class WorkerCalls:
    """The calls that were given to one worker and have not ended; the lock of their pool guards them.

    The oldest one that was sent runs: a worker starts a call only after it has written the answer
    to the one before.
    """

    def __init__(self) -> None:
        self.calls: deque[ProcessCall] = deque()
        self.worker: WorkerProcess | None = None
        self.is_stopping = False
        self.thread: threading.Thread
        """The one that sends and receives."""
        self._woken: queue.SimpleQueue[None] = queue.SimpleQueue()

    def wake(self) -> None:
        """Make the thread look for calls if it sleeps."""
        self._woken.put(None)

    def sleep(self) -> None:
        """Wait until :meth:`wake`; without the lock, in the thread."""
        self._woken.get()

    def cancel(self, call: ProcessCall) -> None:
        """Have the call that runs stop at its next checkpoint or, without one, where it is; and the worker after it."""
        self._stop(call.number)

    def cancel_all(self) -> None:
        """Do the same with the call that runs, if none was cancelled before."""
        if not self.is_stopping:
            self._stop(EVERY)

    def _stop(self, number: int) -> None:
        self.is_stopping = True
        if self.worker is not None and self.worker.ready:
            self.worker.cancel(number)
        elif self.worker is not None:
            self.worker.stop()

    def kill(self) -> None:
        """Kill the worker."""
        if self.worker is not None:
            self.worker.kill()

    def take_back(self) -> list[ProcessCall]:
        """Return the calls that have not started; those that are not given to :meth:`keep` never do here.

        A call whose start was reported is not among them, although its worker may not have begun.
        """
        numbers = self.worker.take_back() if self.worker is not None else []
        reported = [call.number for call in self.calls if call.is_reported and call.number in numbers]
        if reported and self.worker is not None:
            self.worker.give(reported)
        back = [
            call
            for call in self.calls
            if not call.is_reported and (not call.number or call.number in numbers)
        ]
        self.calls = deque(call for call in self.calls if call not in back)
        return back

    def keep(self, calls: list[ProcessCall]) -> None:
        """Let calls that were taken back run here after all."""
        self.calls += calls
        if self.worker is not None:
            self.worker.give([call.number for call in calls if call.number])
