"""The worker's side of calls: it runs them, and they obey the executor's orders at their checkpoints.

An executor opens a session in each worker process and numbers its calls. So a call does not start in a
process that has replaced the one that it was sent to, and it obeys the latest order to it, in whatever
order the messages arrive. It reports as events of a Dask topic, one text for each report. A call that
publishes faster than its engine takes waits until the executor confirms what was taken.
"""

from __future__ import annotations

import asyncio
import base64
import enum
import json
import threading
import time
from typing import Any

import cloudpickle  # type: ignore[import-untyped]
from distributed import WorkerPlugin, get_worker

from cascade.executors.dask._send_window import SendWindow
from cascade.interfaces.call_context import Directive, RunningCall, in_call
from cascade.interfaces.pickled_calls import run_packed

WINDOW = 256 * 1024
"""Characters of the values of one call that may be on the way; beyond that, ``cs.publish`` waits."""

# kept for calls that have not arrived; more than any worker has at the same time
_EARLY_ORDERS = 1_000
# characters of a report of progress; a longer one is dropped
_LONGEST_PROGRESS = 4_096

_LONGEST_ANSWER = 1024 * 1024  # bytes of an answer that a worker which leaves sends itself
_LEAVING = 2.0  # seconds for which such a worker waits for its calls

_GONE = frozenset({"cancelled", "released", "forgotten"})
"""States of a Dask task at its worker whose result no client wants: its engine has gone."""

Order = tuple[int, Directive]
"""What a call is to do: a number that grows with each order to it, and a directive."""

RUN: Order = (0, Directive.RUN)
"""The order of a call to which none was sent."""


class NotStarted(enum.Enum):
    """The reason why a call did not start."""

    NO_SESSION = "no session"
    """This process is not the one that it was sent to."""
    LEFT = "left"
    """Its worker leaves, and has reported that."""
    GIVEN_UP = "given up"
    """It was cancelled before."""


class _Channel:
    """The reports of one call: its number, the kind of report, and its content. Made in the call's thread."""

    def __init__(self, topic: str, number: int) -> None:
        self._worker: Any = get_worker()
        self.address: str = self._worker.address
        self._key = self._worker.get_current_task()
        self._topic = topic
        self._number = number
        self.window = SendWindow(WINDOW, self.is_awaited)

    def progress(self, done: float, total: float | None, message: str, unit: str) -> None:
        try:
            text = json.dumps([self._number, "progress", [done, total, message, unit]])
        except ValueError:  # a number with more digits than Python writes
            return
        if len(text) <= _LONGEST_PROGRESS:
            self._send(text)

    def publish(self, name: str, data: Any) -> None:
        self.window.send(json.dumps([self._number, "data", [name, data]]), self._send)

    def arrived(self, *, paused: bool) -> None:
        self._send(json.dumps([self._number, "arrived", [paused]]))

    def answer(self, packed: bytes) -> None:
        """Send what the call returned: its worker leaves, and Dask does not fetch it any more."""
        if len(packed) <= _LONGEST_ANSWER:
            self._send(json.dumps([self._number, "answer", [base64.b64encode(packed).decode()]]))

    def is_awaited(self) -> bool:
        task = self._worker.state.tasks.get(self._key)
        return task is not None and task.state not in _GONE

    def _send(self, text: str) -> None:
        self._worker.log_event(self._topic, text)


class _NumberedCall(RunningCall):
    """A call that runs, and how much of it is on the way to its engine."""

    def __init__(self, channel: _Channel, directive: Directive) -> None:
        super().__init__(channel, directive)
        self.channel = channel
        self.window = channel.window

    def direct(self, directive: Directive) -> None:
        super().direct(directive)
        if directive is Directive.CANCEL:
            self.window.end()


class _Session:
    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        # the latest one of each call that runs or has not arrived
        self._orders: dict[int, Order] = {}
        self._running: dict[int, _NumberedCall] = {}
        # addresses of workers that leave: a process may have several
        self._left: set[str] = set()

    def start(self, number: int, order: Order) -> _NumberedCall | NotStarted:
        """Return the context of a call that starts, in its thread."""
        channel = _Channel(self._name, number)
        with self._lock:
            if channel.address in self._left:
                return NotStarted.LEFT
            latest = max(order, self._orders.pop(number, RUN), key=_place)
            if latest[1] is Directive.CANCEL:
                return NotStarted.GIVEN_UP
            self._orders[number] = latest
            call = self._running[number] = _NumberedCall(channel, latest[1])
            return call

    def end(self, number: int, answer: bytes | None) -> None:
        """Forget a call that ran; send its answer if its worker leaves."""
        with self._lock:
            call = self._running[number]
            if answer is not None and call.channel.address in self._left:
                call.channel.answer(answer)
            del self._running[number], self._orders[number]

    def leave(self, address: str) -> list[int]:
        """Start no further call at a worker that leaves; return the numbers of those that run there."""
        with self._lock:
            self._left.add(address)
            return self.running_at(address)

    def running_at(self, address: str) -> list[int]:
        """Return the numbers of the calls that run at a worker."""
        return [number for number, call in [*self._running.items()] if call.channel.address == address]

    def direct(self, number: int, order: Order) -> None:
        """Give an order to a call, unless it has a later one; keep it for a call that has not arrived."""
        with self._lock:
            if order[0] <= self._orders.get(number, RUN)[0]:
                return
            self._orders[number] = order
            if (running := self._running.get(number)) is not None:
                running.direct(order[1])
            elif len(self._orders) > len(self._running) + _EARLY_ORDERS:
                del self._orders[next(each for each in self._orders if each not in self._running)]

    def confirm(self, number: int, total: int) -> None:
        """Note how much of a call its engine has taken."""
        with self._lock:
            running = self._running.get(number)
        if running is not None:
            running.window.confirm(total)

    def stop(self) -> None:
        """Have the calls that run stop at their next checkpoint."""
        with self._lock:
            for call in self._running.values():
                call.direct(Directive.CANCEL)


_sessions: dict[str, _Session] = {}


async def open_session(session: str, dask_worker: Any) -> None:
    """Permit the calls of a session in this process; its name is the topic of their reports. Idempotent."""
    _sessions.setdefault(session, _Session(session))
    if session not in dask_worker.plugins:
        await dask_worker.plugin_add(_Leaving(session), name=session)


class _Leaving(WorkerPlugin):
    """Reports that a worker of a session leaves, as when its cluster gets smaller, so that calls lose nothing.

    Calls that have not started never start there; those that run send their answers, if they end soon.
    """

    def __init__(self, session: str) -> None:
        self._session = session

    async def teardown(self, worker: Any) -> None:
        if (session := _sessions.get(self._session)) is None:
            return
        running = session.leave(worker.address)
        worker.log_event(self._session, json.dumps([0, "leaving", [worker.address, running]]))
        until = time.monotonic() + _LEAVING
        while session.running_at(worker.address) and time.monotonic() < until:  # noqa: ASYNC110 - ended in threads
            await asyncio.sleep(0.005)


async def close_session(session: str, dask_worker: Any) -> None:
    """Forget a session: none of its calls starts, those that run stop at a checkpoint. Idempotent."""
    if (closed := _sessions.pop(session, None)) is not None:
        closed.stop()
    if session in dask_worker.plugins:
        await dask_worker.plugin_remove(session)


def direct_calls(session: str, orders: dict[int, Order]) -> None:
    """Give orders to calls by their numbers, also to those that arrive later."""
    if (opened := _sessions.get(session)) is not None:
        for number, order in orders.items():
            opened.direct(number, order)


def confirm_values(session: str, totals: dict[int, int]) -> None:
    """Confirm by the numbers of calls how much of each was taken so far: the sum of the sizes of its reports."""
    if (opened := _sessions.get(session)) is not None:
        for number, total in totals.items():
            opened.confirm(number, total)


def run_call(session: str, number: int, packed: bytes, order: Order = RUN) -> bytes | NotStarted:
    """Run a packed call as ``run_packed`` does, unless it was cancelled or its session is not open here.

    :param order: the latest order to the call when it was sent.
    """
    opened = _sessions.get(session)
    if opened is None:
        return NotStarted.NO_SESSION
    call = opened.start(number, order)
    if isinstance(call, NotStarted):
        return call
    answer = None
    entered = in_call.set(call)
    try:
        answer = run_packed(packed, cloudpickle.dumps)
    finally:
        in_call.reset(entered)
        opened.end(number, answer)
    return answer


def _place(order: Order) -> int:
    return order[0]
