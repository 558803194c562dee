"""The calls of one executor, and the threads that each serve them with one worker process.

A call waits here until a thread has none: a worker has one call at a time.
"""

from __future__ import annotations

import atexit
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

from cascade.interfaces import Directive, ExecutorUnavailable
from cascade.runtime.executors._process_call import ProcessCall
from cascade.runtime.executors._worker_call import GRACE
from cascade.runtime.executors._worker_main import STOP_TIMEOUT


class ServingThread(Protocol):
    """A thread of the pool. The pool's lock is held when these are called."""

    call: ProcessCall | None
    """The one that it serves."""
    thread: threading.Thread

    def wake(self) -> None:
        """Make it look for a call if it sleeps."""
        ...

    def sleep(self) -> None:
        """Wait until :meth:`wake`; without the lock, in the thread."""
        ...

    def direct(self, directive: Directive) -> None:
        """Tell its call, which was sent, what to do at its checkpoints."""
        ...

    def stop(self) -> None:
        """Have its call stop at its next checkpoint or, without one, where it is; then the worker ends. Idempotent."""
        ...

    def kill(self) -> None:
        """Kill its worker."""
        ...


class WorkerPool:
    """The calls that wait, and the threads. Any thread may call any method.

    :param start: starts a thread that serves calls of this pool; raises RuntimeError if there can be none.
    """

    def __init__(
        self, workers: int, *, reruns: int, start: Callable[[WorkerPool, int], ServingThread]
    ) -> None:
        self.lock = threading.Lock()
        self.closed = False
        self.reruns = reruns
        self._workers = workers
        self._start = start
        self._waiting: deque[ProcessCall] = deque()
        self._unfinished = 0  # calls that were neither given up nor answered
        self._threads: set[ServingThread] = set()
        # they take no more calls; their workers are being stopped
        self._leaving: set[ServingThread] = set()
        self._idle: list[ServingThread] = []

    @property
    def used(self) -> bool:
        """Whether there is anything to close."""
        return bool(self._threads or self._leaving)

    # For the event loop.

    def submit(self, call: ProcessCall) -> None:
        """Have a call run.

        :raises ExecutorUnavailable: if the system cannot start the first thread.
        """
        with self.lock:
            self._unfinished += 1
            self._waiting.append(call)
            try:
                self._rouse()
            except RuntimeError:  # "can't start new thread"
                if not self._threads:
                    self._unfinished -= 1
                    self._waiting.remove(call)
                    remedy = "use fewer threads, or raise the system's limit"
                    raise ExecutorUnavailable(
                        "ProcessExecutor", "the system cannot start more threads", remedy
                    ) from None

    def abandon(self, call: ProcessCall) -> bool:
        """Give up a call; return whether it runs: then its worker is being stopped."""
        with self.lock:
            if call.is_over:
                return False
            call.is_over = True
            self._unfinished -= 1
            thread = self._serving(call)
            if thread is None:
                return False  # it was not sent, and will not be
            self._threads.discard(thread)
            self._leaving.add(thread)
            thread.stop()
            if self._waiting:
                self._rouse()
            return True

    def direct(self, call: ProcessCall, directive: Directive) -> None:
        """Tell a call what to do at its checkpoints, also if it runs only later, or again in another worker."""
        with self.lock:
            call.directive = directive
            if (thread := self._serving(call)) is not None:
                thread.direct(directive)

    def kill_leaving(self) -> None:
        """Kill the workers that are being stopped."""
        with self.lock:
            for thread in self._leaving:
                thread.kill()

    # For the threads.

    def next_call(self, thread: ServingThread) -> ProcessCall | None:
        """Wait for a call for a thread that has none; return None if there will be none."""
        while True:
            with self.lock:
                if self.closed or thread in self._leaving:
                    return None
                while self._waiting:
                    call = self._waiting.popleft()
                    if not call.is_over:
                        thread.call = call
                        return call
                self._idle.append(thread)
            thread.sleep()

    def ended(self, call: ProcessCall) -> None:
        """Note that a call has ended in another way than being given up; the lock is held."""
        if not call.is_over:
            call.is_over = True
            self._unfinished -= 1

    def put_back(self, call: ProcessCall) -> None:
        """Let a call run again before all others; its thread, which is free now, looks for one next. The lock is held."""
        call.number = 0
        self._waiting.appendleft(call)
        if self.closed:
            self._fail_waiting()

    def left(self, thread: ServingThread) -> None:
        """Forget a thread that ends."""
        with self.lock:
            self._leaving.discard(thread)
            self._threads.discard(thread)

    # For the end.

    def close(self) -> None:
        """End all workers; what runs is cancelled at its next checkpoint or, without one, stopped. Blocks."""
        atexit.unregister(self.close)
        with self.lock:
            self.closed = True
            self._fail_waiting()
            threads = [*self._threads, *self._leaving]
            for thread in threads:  # all first: so they end at the same time
                if thread.call is not None:
                    thread.stop()
                thread.wake()
        deadline = time.monotonic() + GRACE + 2 * STOP_TIMEOUT
        for thread in threads:
            thread.thread.join(max(0.0, deadline - time.monotonic()))
        for thread in threads:
            if thread.thread.is_alive():
                with self.lock:
                    thread.kill()
                thread.thread.join(STOP_TIMEOUT)

    # The lock is held in all of these.

    def _serving(self, call: ProcessCall) -> ServingThread | None:
        """Return the thread that has sent a call to its worker."""
        if not call.number:
            return None
        return next((thread for thread in self._threads if thread.call is call), None)

    def _rouse(self) -> None:
        """Have a thread look for calls; start one if there are fewer than calls.

        :raises RuntimeError: if the system cannot start a thread.
        """
        if self._idle:
            self._idle.pop().wake()
        elif len(self._threads) < min(self._unfinished, self._workers):
            if not self.used:
                atexit.register(self.close)
            self._threads.add(self._start(self, len(self._threads)))

    def _fail_waiting(self) -> None:
        """Fail the calls that no worker has, also those that a thread is about to send."""
        taken = [
            thread.call for thread in self._threads if thread.call is not None and not thread.call.number
        ]
        waiting = [*taken, *self._waiting]
        self._waiting.clear()
        for call in waiting:
            if not call.is_over:
                self.ended(call)
                call.fail(closed())


def closed() -> ExecutorUnavailable:
    """Return the error of a call whose executor was closed."""
    return ExecutorUnavailable(
        "ProcessExecutor", "it was closed while the task ran", "close it after its runs have ended"
    )
