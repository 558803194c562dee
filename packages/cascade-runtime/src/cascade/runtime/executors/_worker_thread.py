"""A thread that serves calls with one worker process."""

from __future__ import annotations

import queue
import threading

from cascade.interfaces import Directive, ExecutorUnavailable, WorkerLostError
from cascade.interfaces.logs import get_logger
from cascade.interfaces.main_module import GUARD, is_importing_main
from cascade.runtime.executors._pipe_frames import RESULT, Frame
from cascade.runtime.executors._process_call import ProcessCall
from cascade.runtime.executors._worker_pool import WorkerPool, closed
from cascade.runtime.executors._worker_process import WorkerProcess

_log = get_logger("cascade.executor")


class WorkerThread:
    """A daemon thread with one worker process at a time, which it starts when it has a call.

    It sends its worker one call, and the next one when that was answered.

    :raises RuntimeError: if the system cannot start a thread.
    """

    def __init__(self, pool: WorkerPool, number: int) -> None:
        self._pool = pool
        self._woken: queue.SimpleQueue[None] = queue.SimpleQueue()
        # The pool's lock guards the following.
        self.call: ProcessCall | None = None
        self._worker: WorkerProcess | None = None
        self._is_stopping = False
        self.thread = threading.Thread(target=self._run, name=f"cascade worker {number}", daemon=True)
        self.thread.start()

    # For the pool.

    def wake(self) -> None:
        """Make the thread look for a call if it sleeps."""
        self._woken.put(None)

    def sleep(self) -> None:
        """Wait until :meth:`wake`."""
        self._woken.get()

    def direct(self, directive: Directive) -> None:
        """Tell the call what to do at its checkpoints."""
        if self.call is not None and self._worker is not None:
            self._worker.direct(self.call.number, directive)

    def stop(self) -> None:
        """Have the call stop at its next checkpoint or, without one, where it is; then the worker ends. Idempotent."""
        if self._is_stopping:
            return
        self._is_stopping = True
        if self._worker is None:
            return
        if self.call is not None and self.call.number:
            self._worker.cancel(self.call.number)
        else:
            self._worker.stop()

    def kill(self) -> None:
        """Kill the worker."""
        if self._worker is not None:
            self._worker.kill()

    # In the thread.

    def _run(self) -> None:
        """Serve calls until the pool is closed, or the worker is being stopped."""
        try:
            while (call := self._pool.next_call(self)) is not None:
                self._serve(call)
                # otherwise an idle thread would keep the arguments alive
                del call
        finally:
            if (worker := self._without_worker()) is not None:
                worker.close()
            self._pool.left(self)

    def _serve(self, call: ProcessCall) -> None:
        """Run a call in the worker; start that first if there is none."""
        try:
            # no worker starts for a call that cannot be sent
            packed = call.pack()
        except Exception as exc:
            self._fail(call, exc)
            return
        try:
            worker = self._worker or self._opened()
        except ExecutorUnavailable as exc:
            self._fail(call, exc)
        except (EOFError, OSError):
            # it ended before it took calls, and another one would, too
            self._lost(call, started=True)
        else:
            self._run_in(worker, call, packed)

    def _run_in(self, worker: WorkerProcess, call: ProcessCall, packed: bytes) -> None:
        """Send a call and wait for its answer, unless it was given up meanwhile."""
        if not self._is_numbered(worker, call):
            return
        try:
            worker.send(call.number, packed)
        except OSError:  # the worker has ended without it
            self._lost(call, started=False)
            return
        try:
            answer = self._answer(worker, call)
        except (EOFError, OSError):
            self._lost(call, started=True)
            return
        with self._pool.lock:
            given_up, self.call = call.is_over, None
            self._pool.ended(call)
        if given_up:
            call.finish(None)
        else:
            call.answer(answer.body)

    def _is_numbered(self, worker: WorkerProcess, call: ProcessCall) -> bool:
        """Return whether a call, which has a number now, is to be sent."""
        with self._pool.lock:
            if call.is_over:
                self.call = None
                return False
            call.number = worker.next_number()
            if call.directive is not Directive.RUN:
                worker.direct(call.number, call.directive)
            return True

    def _answer(self, worker: WorkerProcess, call: ProcessCall) -> Frame:
        """Wait for the answer to a call, and pass on what the call reports until then."""
        while True:
            for frame in worker.receive():
                if frame.kind == RESULT:
                    return frame
                if frame.number == call.number:
                    call.report(frame.kind, frame.body)

    def _opened(self) -> WorkerProcess:
        """Start a worker, and wait until it takes calls.

        :raises ExecutorUnavailable: if it cannot be started.
        :raises EOFError, OSError: if it ends before that.
        """
        if is_importing_main():
            raise _not_started("the main module that it imports runs tasks", f"put that code under `{GUARD}`")
        try:
            worker = WorkerProcess()
        except OSError as exc:
            raise _not_started(str(exc)) from exc
        with self._pool.lock:
            self._worker = worker
            if self._is_stopping:
                worker.stop()
        worker.receive()
        return worker

    def _without_worker(self) -> WorkerProcess | None:
        with self._pool.lock:
            worker, self._worker = self._worker, None
            self.call = None
        return worker

    def _fail(self, call: ProcessCall, error: Exception) -> None:
        """End a call that cannot be sent, unless it was given up."""
        with self._pool.lock:
            self.call = None
            if call.is_over:
                return
            self._pool.ended(call)
        call.fail(error)

    def _lost(self, call: ProcessCall, *, started: bool) -> None:
        """Discard a worker that has ended; fail its call, or let it run again in another one."""
        worker = self._without_worker()
        assert worker is not None
        how = worker.close()
        error: Exception | None = None
        with self._pool.lock:
            given_up = call.is_over
            if started and not given_up:
                error = self._error(call, how, ready=worker.ready)
            if given_up or error is not None:
                self._pool.ended(call)
            else:
                call.times += started
                self._pool.put_back(call)
        if error is not None:
            call.fail(error)
        elif given_up:
            call.finish(None)
        elif started:
            _log.warning("the worker process of task %r died (%s); the task runs again", call.name, how)

    def _error(self, call: ProcessCall, how: str, *, ready: bool) -> Exception | None:
        """Return the error of a call whose worker died; None if it may run again. The lock is held."""
        if self._pool.closed:
            return closed()
        if not ready:
            return _not_started(how)
        if call.times > self._pool.reruns:
            return WorkerLostError(call.name, call.times, how)
        return None


def _not_started(
    cause: str, remedy: str = "see the worker's own error message on stderr"
) -> ExecutorUnavailable:
    return ExecutorUnavailable("ProcessExecutor", f"a worker process did not start ({cause})", remedy)
