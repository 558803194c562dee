"""The calls of one executor, and the threads that each serve them with one worker process.

A thread sends its worker one call to run, and some ahead while calls are short. What has not
started can be taken back at any time: to be cancelled, withdrawn, moved to a worker without work,
or run elsewhere because its worker died.
"""

from __future__ import annotations

import atexit
import threading
import time
from collections import deque
from collections.abc import Callable

from cascade.interfaces import Directive, ExecutorUnavailable
from cascade.interfaces.ahead import AheadWindow
from cascade.runtime.executors._process_call import ProcessCall
from cascade.runtime.executors._worker_call import GRACE
from cascade.runtime.executors._worker_calls import WorkerCalls
from cascade.runtime.executors._worker_main import STOP_TIMEOUT
from cascade.runtime.executors._worker_process import CAN_TAKE_BACK


class WorkerPool:
    """The calls that wait, and the threads. Any thread may call any method.

    :param start: starts a thread that serves calls of this pool; raises RuntimeError if there can be none.
    """

    def __init__(self, workers: int, *, reruns: int, start: Callable[[WorkerPool, int], WorkerCalls]) -> None:
        self.lock = threading.Lock()
        self.closed = False
        self.reruns = reruns
        self._workers = workers
        self._start = start
        self._window = AheadWindow()
        self._waiting: deque[ProcessCall] = deque()
        self._unfinished = 0  # calls that were neither given up nor answered
        self._threads: set[WorkerCalls] = set()
        self._leaving: set[WorkerCalls] = set()  # they take no more calls; their workers are being stopped
        self._idle: list[WorkerCalls] = []

    @property
    def ahead(self) -> int:
        """How many calls each worker takes beyond the one that it runs."""
        return self._window.each if CAN_TAKE_BACK else 0

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
            thread = next((thread for thread in self._threads if call in thread.calls), None)
            if thread is None:
                return False  # it waits, and is passed over
            back = thread.take_back()
            if call in back or not call.number:
                back = [other for other in back if other is not call]
                thread.calls = deque(other for other in thread.calls if other is not call)
                thread.keep(back)
                return False
            self._threads.discard(thread)
            self._leaving.add(thread)
            thread.cancel(call)
            self.put_back(back)
            self._rouse()
            return True

    def withdraw(self) -> None:
        """Withdraw the calls that were taken ahead and have not started."""
        withdrawn: list[ProcessCall] = []
        with self.lock:
            withdrawn += [call for call in self._waiting if call.may_be_withdrawn and not call.is_over]
            for thread in self._threads:
                back = thread.take_back()
                thread.keep([call for call in back if not call.may_be_withdrawn])
                withdrawn += [call for call in back if call.may_be_withdrawn]
            for call in withdrawn:
                call.is_over = True
            self._unfinished -= len(withdrawn)
        for call in withdrawn:
            call.withdraw()

    def direct(self, call: ProcessCall, directive: Directive) -> None:
        """Tell a call what to do at its checkpoints, also if it runs only later, or again in another worker."""
        with self.lock:
            call.directive = directive
            for thread in self._threads:
                if call.number and call in thread.calls and thread.worker is not None:
                    thread.worker.direct(call.number, directive)

    def kill_leaving(self) -> None:
        """Kill the workers that are being stopped."""
        with self.lock:
            for thread in self._leaving:
                thread.kill()

    # For the threads.

    def next_calls(self, thread: WorkerCalls) -> bool:
        """Wait for calls of a thread that has none; return False if there will be none."""
        while True:
            with self.lock:
                if self.closed or thread in self._leaving:
                    return False
                self.occupy(thread)
                if thread.calls:
                    return True
            thread.sleep()

    def occupy(self, thread: WorkerCalls) -> None:
        """Give a thread more calls if it has few; count it as idle if there are none; the lock is held."""
        if self.closed or thread in self._leaving:
            return
        if self.take(thread) or thread.calls or self._steal(thread):
            if thread in self._idle:
                self._idle.remove(thread)
        elif thread not in self._idle:
            self._idle.append(thread)

    def take(self, thread: WorkerCalls) -> bool:
        """Give a thread calls that wait, if it has few; the lock is held."""
        if not self._waiting or self.closed or 2 * len(thread.calls) > 1 + self.ahead:
            return False
        free = sum(not other.calls for other in self._threads)
        room = min(1 + self.ahead - len(thread.calls), max(1, len(self._waiting) // max(1, free)))
        taken = False
        while self._waiting and room > 0:
            call = self._waiting.popleft()
            if not call.is_over:
                thread.calls.append(call)
                room -= 1
                taken = True
        return taken

    def answered(self, call: ProcessCall, seconds: float) -> None:
        """Note that a call has been answered; the lock is held."""
        self._window.learn(seconds)
        self.ended(call)

    def ended(self, call: ProcessCall) -> None:
        """Note that a call has ended in another way than being given up; the lock is held."""
        if not call.is_over:
            call.is_over = True
            self._unfinished -= 1

    def put_back(self, calls: list[ProcessCall]) -> None:
        """Let calls that have not started run at another worker, before all others; the lock is held."""
        for call in reversed(calls):
            call.number = 0
            self._waiting.appendleft(call)
        if self.closed:
            self._fail_waiting()
        elif calls:
            self._rouse()

    def left(self, thread: WorkerCalls) -> None:
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
                if thread.calls:
                    thread.cancel_all()
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

    def _steal(self, thread: WorkerCalls) -> bool:
        """Give a thread without calls half of those that wait at the fullest worker."""
        if not self._threads:
            return False
        fullest = max(self._threads, key=lambda other: len(other.calls))
        if len(fullest.calls) < 2:
            return False
        back = fullest.take_back()
        kept = len(back) // 2
        fullest.keep(back[:kept])
        for call in back[kept:]:
            call.number = 0
            thread.calls.append(call)
        return bool(thread.calls)

    def _fail_waiting(self) -> None:
        waiting, self._waiting = self._waiting, deque()
        for call in waiting:
            if not call.is_over:
                self.ended(call)
                call.fail(closed())


def closed() -> ExecutorUnavailable:
    """Return the error of a call whose executor was closed."""
    return ExecutorUnavailable(
        "ProcessExecutor", "it was closed while the task ran", "close it after its runs have ended"
    )
