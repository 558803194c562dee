"""Calls in a worker process that are withdrawn unless they have started, and that never run twice.

An executor opens a session in each worker process and numbers its calls. A call asks its
session for permission to start. So it does not start after it was withdrawn, whatever order the
messages arrive in, and it does not start in a process that has replaced the one that it was sent to.

A running call obeys at its checkpoints the latest order that the executor has sent, and reports
on a line that the executor's own way of connecting makes: one text for each report. A call that
publishes faster than its engine takes waits until the executor confirms what was taken. A short
answer goes the same way, as bytes, so that the executor need not fetch it.
"""

from __future__ import annotations

import enum
import json
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from cascade.interfaces.call_context import CallContext, Directive, in_call
from cascade.interfaces.pickled_calls import Pack, run_packed
from cascade.interfaces.running_call import RunningCall
from cascade.interfaces.send_window import SendWindow

UNDERSTANDS_ORDERS = 1
"""What :func:`open_session` returns, in this version and later ones: its calls may get orders."""

UNDERSTANDS_CONFIRMATIONS = 2
"""What it returns, in this version and later ones: its calls wait until their values are confirmed."""

_REMEMBERED = 4_096
"""Calls of a session whose start a worker remembers; more than any worker has at the same time."""

_LONGEST_PROGRESS = 4_096  # characters of a report of progress; a longer one is dropped


class Fate(enum.Enum):
    """What has become of a call in a worker."""

    DONE = "done"
    WITHDRAWN = "withdrawn"
    """It was withdrawn before it started."""
    NO_SESSION = "no session"
    """It did not start, because this process is not the one that it was sent to."""


Answer = tuple[str, float, bytes]
"""A fate's value, the seconds that the call ran, and its packed outcome."""

Order = tuple[int, str]
"""What a call is to do: a number that grows with each order to it, and a directive's value."""

RUN: Order = (0, Directive.RUN.value)
"""The order of a call to which none was sent."""

Connect = Callable[[], tuple[Callable[[str | bytes], None], Callable[[], bool]]]
"""Returns how to send a text or bytes to the executor, and how to ask whether it still awaits the call.

A worker calls it in the thread of each call. Sending must neither wait nor raise.
"""


class Report(NamedTuple):
    """What a call reports."""

    number: int
    size: int
    """How much of the call's window it takes until it is confirmed."""
    pass_on: Callable[[CallContext], None]


class _TextLine:
    """The line of one call over texts: its number, the kind of report, and its content."""

    def __init__(
        self, number: int, send: Callable[[str], None], is_awaited: Callable[[], bool], window: SendWindow
    ) -> None:
        self._number = number
        self._send = send
        self.is_awaited = is_awaited
        self._window = window

    def progress(self, done: float, total: float | None, message: str, unit: str) -> None:
        try:
            text = json.dumps([self._number, "progress", [done, total, message, unit]])
        except ValueError:  # a number with more digits than Python writes
            return
        if len(text) <= _LONGEST_PROGRESS:
            self._send(text)

    def publish(self, name: str, data: Any) -> None:
        self._window.send(json.dumps([self._number, "data", [name, data]]), self._send)

    def arrived(self, *, paused: bool) -> None:
        self._send(json.dumps([self._number, "arrived", [paused]]))


class _NumberedCall(RunningCall):
    """A call that runs, and how much of it is on the way to its engine."""

    def __init__(
        self,
        number: int,
        send: Callable[[str | bytes], None],
        is_awaited: Callable[[], bool],
        window: int | None,
    ) -> None:
        self.window = SendWindow(window, is_awaited)
        self.send = send
        super().__init__(_TextLine(number, send, is_awaited, self.window))

    def direct(self, directive: Directive) -> None:
        super().direct(directive)
        if directive is Directive.CANCEL:
            self.window.end()


_HEAD = struct.Struct("<Qd")  # of an answer that is sent: the number of its call, and the seconds that it ran


class SentAnswer(NamedTuple):
    """The answer of a call that has run, as its worker sent it."""

    number: int
    seconds: float
    packed: bytes


def read_answer(sent: bytes) -> SentAnswer:
    """Return what a worker has sent as the answer of a call.

    :raises struct.error: if it is too short to be one.
    """
    number, seconds = _HEAD.unpack_from(sent)
    return SentAnswer(number, seconds, sent[_HEAD.size :])


def read_report(text: str) -> Report:
    """Return which call a text is about, and what passes it on to the call's context."""
    number, kind, content = json.loads(text)
    size = len(text) if kind == "data" else 0
    return Report(number, size, lambda context: _pass_on(context, kind, content))


def _pass_on(context: CallContext, kind: str, content: list[Any]) -> None:
    if kind == "progress":
        context.progress(*content)
    elif kind == "data":
        context.publish(*content)
    elif kind == "arrived":
        context.arrived(paused=content[0])


class _Session:
    def __init__(self, connect: Connect | None, window: int | None, short: int) -> None:
        self._connect = connect
        self._window = window
        self._short = short
        self._lock = threading.Lock()
        self._started: deque[int] = deque(maxlen=_REMEMBERED)
        self._withdrawn: set[int] = set()
        self._orders: dict[int, Order] = {}  # the latest one of each call, also before it has arrived
        self._running: dict[int, _NumberedCall] = {}

    def call(self, number: int) -> _NumberedCall | None:
        """Return the context of a call, in the thread in which it is to run; None without a line."""
        if self._connect is None:
            return None
        return _NumberedCall(number, *self._connect(), self._window)

    def start(self, number: int, call: _NumberedCall | None, order: Order) -> bool:
        """Return whether a call may start; if so, it counts as started and has the latest order to it."""
        with self._lock:
            latest = max(order, self._orders.pop(number, RUN))
            if number in self._withdrawn:
                self._withdrawn.discard(number)
                return False
            self._started.append(number)
            if call is not None:
                self._orders[number] = latest
                self._running[number] = call
                call.direct(Directive(latest[1]))
            return True

    def answer(self, number: int, call: _NumberedCall | None, seconds: float, packed: bytes) -> None:
        """Send the answer of a call if it is short."""
        if call is not None and len(packed) <= self._short:
            call.send(_HEAD.pack(number, seconds) + packed)

    def end(self, number: int) -> None:
        """Forget a call that ran."""
        with self._lock:
            self._running.pop(number, None)
            self._orders.pop(number, None)

    def direct(self, number: int, order: Order) -> None:
        """Give an order to a call, unless it has ended or has a later one."""
        with self._lock:
            running = self._running.get(number)
            if number in self._withdrawn or (running is None and number in self._started):
                return
            if order <= self._orders.get(number, RUN):
                return
            self._orders[number] = order
            if running is not None:
                running.direct(Directive(order[1]))
            elif len(self._orders) > _REMEMBERED:
                self._orders.pop(next(each for each in self._orders if each not in self._running))

    def confirm(self, number: int, total: int) -> None:
        """Note how much of a call its engine has taken."""
        with self._lock:
            running = self._running.get(number)
        if running is not None:
            running.window.confirm(total)

    def withdraw(self, numbers: Iterable[int]) -> list[int]:
        """Withdraw calls; return those that have started."""
        with self._lock:
            started = {number for number in numbers if number in self._started}
            for number in set(numbers) - started:
                self._withdrawn.add(number)
                self._orders.pop(number, None)
            return sorted(started)

    def stop(self) -> None:
        """Have the calls that run stop at their next checkpoint."""
        with self._lock:
            for call in self._running.values():
                call.direct(Directive.CANCEL)


_sessions: dict[str, _Session] = {}


def open_session(
    session: str, connect: Connect | None = None, window: int | None = None, short: int = -1
) -> int:
    """Permit the calls of a session in this process. Idempotent.

    :param connect: makes the line of a call; None for calls without a context.
    :param window: characters of published values of one call that may be on the way until the executor confirms
        them with :func:`confirm_values`; None: no bound.
    :param short: bytes of a packed answer up to which it is also sent on the line of its call, for
        :func:`read_answer`, after everything else that the call reports; negative: none is sent.
    """
    _sessions.setdefault(session, _Session(connect, window, short))
    return UNDERSTANDS_CONFIRMATIONS


def close_session(session: str) -> None:
    """Forget a session: none of its calls starts, those that run stop at a checkpoint. Idempotent."""
    if (closed := _sessions.pop(session, None)) is not None:
        closed.stop()


def withdraw_calls(session: str, numbers: list[int]) -> list[int]:
    """Withdraw calls by their numbers, also those that arrive later; return those that have started."""
    opened = _sessions.get(session)
    return opened.withdraw(numbers) if opened is not None else []


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


def run_numbered(session: str, number: int, packed: bytes, pack: Pack, order: Order = RUN) -> Answer:
    """Run a packed call as ``run_packed`` does, unless it was withdrawn or its session is not open here.

    :param order: the latest order to the call when it was sent.
    """
    opened = _sessions.get(session)
    if opened is None:
        return Fate.NO_SESSION.value, 0.0, b""
    call = opened.call(number)
    if not opened.start(number, call, order):
        return Fate.WITHDRAWN.value, 0.0, b""
    entered = in_call.set(call)
    started = time.perf_counter()
    try:
        answer = run_packed(packed, pack)
        seconds = time.perf_counter() - started
        opened.answer(number, call, seconds, answer)
        return Fate.DONE.value, seconds, answer
    finally:
        in_call.reset(entered)
        opened.end(number)
