"""What becomes of the calls of a pool of worker threads that closes, wherever they are; the threads are stand-ins."""

import asyncio
import threading
from typing import Any

import pytest

from cascade.interfaces import Directive, ExecutorUnavailable
from cascade.interfaces.mailbox import Mailbox
from cascade.runtime.executors import _worker_pool
from cascade.runtime.executors._process_call import ProcessCall
from cascade.runtime.executors._worker_pool import WorkerPool


class Served:
    """A thread that takes and answers a call when the test says so."""

    def __init__(self, pool: WorkerPool) -> None:
        self.pool = pool
        self.call: ProcessCall | None = None
        self.thread = threading.Thread(target=lambda: None)
        self.thread.start()
        self.log: list[str] = []

    def wake(self) -> None:
        self.log.append("wake")

    def sleep(self) -> None:
        raise EOFError

    def direct(self, directive: Directive) -> None:
        self.log.append(directive.value)

    def stop(self) -> None:
        self.log.append("stop")

    def kill(self) -> None:
        self.log.append("kill")

    def take(self) -> ProcessCall | None:
        """Return the next call, which is not sent yet; None if it would sleep or end."""
        try:
            return self.pool.next_call(self)
        except EOFError:
            return None

    def send(self) -> ProcessCall | None:
        """Take a call and send it."""
        if (call := self.take()) is not None:
            call.number = 1
        return call

    def answer(self) -> None:
        with self.pool.lock:
            call, self.call = self.call, None
            assert call is not None
            self.pool.ended(call)
        call.finish(None)


class Pool(WorkerPool):
    """A pool whose threads the test can see."""

    def __init__(self, workers: int) -> None:
        self.threads: list[Served] = []
        super().__init__(workers, reruns=0, start=self._served)

    def _served(self, pool: WorkerPool, number: int) -> Served:
        self.threads.append(Served(pool))
        return self.threads[-1]


def submitted(pool: WorkerPool, count: int) -> list[ProcessCall]:
    calls = [ProcessCall(Mailbox(asyncio.get_running_loop()), len, (), {}) for _ in range(count)]
    for call in calls:
        pool.submit(call)
    return calls


async def outcome(call: ProcessCall) -> Any:
    return (await asyncio.gather(call.outcome, return_exceptions=True))[0]


async def test_closing_stops_what_runs_and_fails_what_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each thread is woken; idle ones are not stopped; what was taken, waits or comes back fails, unless it was given up."""
    monkeypatch.setattr(_worker_pool, "GRACE", 0.0)
    pool = Pool(3)
    calls = submitted(pool, 5)
    running, taken, idle = pool.threads
    running.send()
    taken.take()
    idle.send()
    idle.answer()
    pool.abandon(calls[3])
    pool.close()
    assert (running.log, idle.log) == (["stop", "wake"], ["wake"])
    assert idle.take() is None
    with pool.lock:
        pool.put_back(calls[0])
    for call in (calls[0], calls[1], calls[4]):
        error = await outcome(call)
        assert isinstance(error, ExecutorUnavailable)
        assert "it was closed while the task ran" in str(error)
    assert not calls[3].outcome.done()
