"""A thread that serves calls with one worker process."""

from __future__ import annotations

import threading
from collections import deque

from cascade.interfaces import Directive, ExecutorUnavailable, WorkerLostError
from cascade.interfaces.logs import get_logger
from cascade.interfaces.main_module import GUARD, is_importing_main
from cascade.runtime.executors._frames import RESULT, Frame
from cascade.runtime.executors._process_call import ProcessCall
from cascade.runtime.executors._worker_calls import WorkerCalls
from cascade.runtime.executors._worker_pool import WorkerPool, closed
from cascade.runtime.executors._worker_process import WorkerProcess

_log = get_logger("cascade.executor")


class WorkerThread(WorkerCalls):
    """A daemon thread with one worker process at a time, which it starts when it has a call.

    :raises RuntimeError: if the system cannot start a thread.
    """

    def __init__(self, pool: WorkerPool, number: int) -> None:
        super().__init__()
        self._pool = pool
        self.thread = threading.Thread(target=self._run, name=f"cascade worker {number}", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        """Serve calls until the pool is closed, or the worker is being stopped."""
        try:
            while self._pool.next_calls(self):
                if (
                    self.worker is not None or self._pack_first()
                ):  # no worker starts for calls that cannot be sent
                    self._serve()
        finally:
            with self._pool.lock:
                worker, self.worker = self.worker, None
            if worker is not None:
                worker.close()
            self._pool.left(self)

    def _serve(self) -> None:
        """Send calls and answer them until there are none, or the worker has ended."""
        try:
            worker = self.worker or self._opened()
            while self.calls:
                self._send(worker)
                if self.calls and self.calls[0].number:
                    self._handle(worker.receive())
        except ExecutorUnavailable as exc:
            self._fail_first(exc)
        except (EOFError, OSError):
            self._lost()

    def _pack_first(self) -> bool:
        """Pack the oldest call; fail those that cannot be packed, and return False if no call is left."""
        while call := next(iter(self.calls.copy()), None):
            try:
                call.pack()
            except Exception as exc:
                self._fail(call, exc)
            else:
                return True
        return False

    def _opened(self) -> WorkerProcess:
        """Start a worker, and wait until it takes calls.

        :raises ExecutorUnavailable: if it cannot be started.
        """
        if is_importing_main():
            raise _not_started("the main module that it imports runs tasks", f"put that code under `{GUARD}`")
        try:
            worker = WorkerProcess()
        except OSError as exc:
            raise _not_started(str(exc)) from exc
        with self._pool.lock:
            self.worker = worker
            if self.is_stopping:
                worker.stop()
        worker.receive()
        return worker

    def _send(self, worker: WorkerProcess) -> None:
        """Send calls as far as there is room; one that is too large, when nothing runs."""
        room = worker.room
        packed: list[tuple[ProcessCall, bytes]] = []
        for call in self.calls.copy():
            if call.number:
                continue
            if packed and room <= 0:
                break
            try:
                content = call.pack()
            except Exception as exc:
                self._fail(call, exc)
                continue
            room -= len(content)
            if room < 0 and self.calls[0] is not call:
                break
            packed.append((call, content))
        if packed:
            self._send_packed(worker, packed)

    def _send_packed(self, worker: WorkerProcess, packed: list[tuple[ProcessCall, bytes]]) -> None:
        with self._pool.lock:
            still = [(call, content) for call, content in packed if call in self.calls]
            if not still:
                return
            contents = [content for _, content in still]
            idle = self.calls[0] is still[0][0]
            numbers = worker.enlist(contents)
            for (call, _), number in zip(still, numbers, strict=True):
                call.number = number
                if call.directive is not Directive.RUN:
                    worker.direct(number, call.directive)
            first = self._reported_first()
            must_wait = worker.room < 0
            if not must_wait:
                worker.send(numbers, contents, idle=idle)
        if first is not None:
            first.report_start()
        if must_wait:
            worker.send(numbers, contents, idle=idle)

    def _reported_first(self) -> ProcessCall | None:
        """Return the oldest call, if it was sent: its start is to be reported; the lock is held."""
        if not (self.calls and self.calls[0].number):
            return None
        self.calls[0].is_reported = True
        return self.calls[0]

    def _handle(self, frames: list[Frame]) -> None:
        """Note what the worker has answered, and take more calls; then report it, which wakes the loop."""
        answered: list[tuple[ProcessCall, Frame, bool]] = []
        with self._pool.lock:
            for frame in frames:
                if frame.kind != RESULT:
                    self._hear(frame)
                else:
                    call = self.calls.popleft()
                    answered.append((call, frame, call.is_over))
                    self._pool.answered(call, frame.seconds)
            first = self._reported_first()
            self._pool.occupy(self)
        for call, frame, given_up in answered:
            call.report_start()
            if given_up:
                call.finish(None)
            else:
                call.answer(frame.body)
        if first is not None:
            first.report_start()  # after the answer to the call whose place it takes

    def _hear(self, frame: Frame) -> None:
        """Pass on what the call that runs says; the lock is held."""
        if self.calls and self.calls[0].number == frame.number:
            self.calls[0].hear(frame.kind, frame.body)

    def _fail(self, call: ProcessCall, error: Exception) -> None:
        """End a call that cannot be sent, unless it was taken away meanwhile."""
        with self._pool.lock:
            if call not in self.calls:
                return
            self.calls.remove(call)
            self._pool.ended(call)
        call.fail(error)

    def _fail_first(self, error: Exception) -> None:
        """Fail the oldest call, because no worker could be started for it; the others are tried again."""
        with self._pool.lock:
            calls, self.calls = [*self.calls], deque()
            self._pool.put_back(calls[1:])
        for call in calls[:1]:
            with self._pool.lock:
                self._pool.ended(call)
            call.fail(error)

    def _lost(self) -> None:
        """Discard a worker that has ended; let the calls that it had not started run elsewhere."""
        with self._pool.lock:
            worker, self.worker = self.worker, None
            assert worker is not None
            waiting = worker.take_back()
            calls, self.calls = [*self.calls], deque()
            if worker.ready:
                begun = [call for call in calls if call.number and call.number not in waiting]
            else:
                begun = calls[:1]  # or a worker that cannot start would be started for ever
            self._pool.put_back([call for call in calls if call not in begun])
        how = worker.close()
        for call in begun:
            self._end_or_rerun(call, how, ready=worker.ready)

    def _end_or_rerun(self, call: ProcessCall, how: str, *, ready: bool) -> None:
        """End a call whose worker died, or let it run again in another one."""
        error: ExecutorUnavailable | WorkerLostError | None = None
        with self._pool.lock:
            if not call.is_over:
                if self._pool.closed:
                    error = closed()
                elif not ready:
                    error = _not_started(how)
                elif call.times > self._pool.reruns:
                    error = WorkerLostError(call.name, call.times, how)
                else:
                    call.times += 1
                    self._pool.put_back([call])
                    _log.warning(
                        "the worker process of task %r died (%s); the task runs again", call.name, how
                    )
                    return
            self._pool.ended(call)
        if error is None:
            call.finish(None)  # it was given up
        else:
            call.fail(error)


def _not_started(
    cause: str, remedy: str = "see the worker's own error message on stderr"
) -> ExecutorUnavailable:
    return ExecutorUnavailable("ProcessExecutor", f"a worker process did not start ({cause})", remedy)
