"""Calls in a worker process that are withdrawn unless they have started, and that never run twice.

An executor opens a session in each worker process and numbers its calls. A call asks its
session for permission to start. So it does not start after it was withdrawn, whatever order the
messages arrive in, and it does not start in a process that has replaced the one that it was sent to.
"""

from __future__ import annotations

import enum
import threading
import time
from collections import deque
from collections.abc import Iterable

from cascade.interfaces.pickled_calls import Pack, run_packed

_REMEMBERED = 4_096
"""Calls of a session whose start a worker remembers; more than any worker has at the same time."""


class Fate(enum.Enum):
    """What has become of a call in a worker."""

    DONE = "done"
    WITHDRAWN = "withdrawn"
    """It was withdrawn before it started."""
    NO_SESSION = "no session"
    """It did not start, because this process is not the one that it was sent to."""


Answer = tuple[str, float, bytes]
"""A fate's value, the seconds that the call ran, and its packed outcome."""


class _Session:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._started: deque[int] = deque(maxlen=_REMEMBERED)
        self._withdrawn: set[int] = set()

    def start(self, number: int) -> bool:
        """Return whether a call may start; if so, it counts as started."""
        with self._lock:
            if number in self._withdrawn:
                self._withdrawn.discard(number)
                return False
            self._started.append(number)
            return True

    def withdraw(self, numbers: Iterable[int]) -> list[int]:
        """Withdraw calls; return those that have started."""
        with self._lock:
            started = {number for number in numbers if number in self._started}
            self._withdrawn.update(number for number in numbers if number not in started)
            return sorted(started)


_sessions: dict[str, _Session] = {}


def open_session(session: str) -> None:
    """Permit the calls of a session in this process. Idempotent."""
    _sessions.setdefault(session, _Session())


def close_session(session: str) -> None:
    """Forget a session: none of its calls starts any more. Idempotent."""
    _sessions.pop(session, None)


def withdraw_calls(session: str, numbers: list[int]) -> list[int]:
    """Withdraw calls by their numbers, also those that arrive later; return those that have started."""
    opened = _sessions.get(session)
    return opened.withdraw(numbers) if opened is not None else []


def run_numbered(session: str, number: int, packed: bytes, pack: Pack) -> Answer:
    """Run a packed call as ``run_packed`` does, unless it was withdrawn or its session is not open here."""
    opened = _sessions.get(session)
    if opened is None:
        return Fate.NO_SESSION.value, 0.0, b""
    if not opened.start(number):
        return Fate.WITHDRAWN.value, 0.0, b""
    started = time.perf_counter()
    answer = run_packed(packed, pack)
    return Fate.DONE.value, time.perf_counter() - started, answer
