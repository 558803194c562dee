"""The parent's side of a worker process; each belongs to the thread that waits for its call.

The worker is a new interpreter. It shares no memory, inherits no socket and does not run the
program's script again, so the script needs no ``if __name__ == "__main__"``. It has a process
group of its own: Ctrl-C does not reach it, and it is killed with every process that it started.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from multiprocessing.connection import Connection, Pipe
from typing import Any

from cascade.interfaces import Directive
from cascade.runtime.executors._frames import (
    CALL,
    DIRECTIVES,
    START,
    STOP,
    Frame,
    FrameReader,
    framed,
    write,
    write_at_once,
)
from cascade.runtime.executors._worker_call import GRACE
from cascade.runtime.executors._worker_main import STOP_TIMEOUT

if sys.platform != "win32":
    import select

    from cascade.runtime.executors._permits import Permits

CAN_TAKE_BACK = sys.platform != "win32"
"""Whether calls that have not started can be taken back from a worker, so that it may have some ahead."""

ROOM_AHEAD = 8192
"""Bytes of calls that a worker need not have read yet: fewer than any pipe holds, so that sending them never blocks."""

_POLL = 0.1
"""Seconds between two checks whether a worker still runs: a child of the worker may keep its pipe open."""


class WorkerProcess:
    """One process. Only the thread that owns it may send and receive.

    Other threads may call ``take_back`` and ``give`` while they exclude the owner from sending and
    closing; and ``stop`` and ``kill`` at any time.

    :raises OSError: if no process can be started.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kill_at = 0.0
        self._count = 0
        self._unread: deque[tuple[int, int]] = deque()  # numbers and sizes of calls not known to be read
        self._unread_bytes = 0
        self._undelivered: dict[int, Directive] = {}  # to calls, by number; the process had no room for them
        self._refused: list[int] = []  # calls that could not be sent
        self.ready = False
        """Whether the interpreter has started and takes calls."""
        with contextlib.ExitStack() as inherited, contextlib.ExitStack() as kept:
            requests, self._requests = _pipe(inherited, kept)
            control, self._control = _pipe(inherited, kept)
            answers, self._answers = _pipe(inherited, kept, writes=True)
            self._permits = Permits() if CAN_TAKE_BACK else None
            if self._permits is not None:
                kept.callback(self._permits.close)
            self._process = _start(requests, control, answers, self._permits)
            self._ends = kept.pop_all()
        if sys.platform != "win32":
            os.set_blocking(self._control.fileno(), False)
        self._reader = FrameReader(self._answers)
        self._arrival = _Arrival(self._answers)

    @property
    def room(self) -> int:
        """How many bytes of further calls can be sent without waiting for the process."""
        return ROOM_AHEAD - self._unread_bytes

    def enlist(self, packed_calls: list[bytes]) -> list[int]:
        """Return the numbers of calls that are to be sent next; answers name their calls by them."""
        numbers = [*range(self._count + 1, self._count + len(packed_calls) + 1)]
        self._count += len(packed_calls)
        self._unread += zip(numbers, map(len, packed_calls), strict=True)
        self._unread_bytes += sum(map(len, packed_calls))
        return numbers

    def send(self, numbers: list[int], packed_calls: list[bytes], *, idle: bool) -> None:
        """Send calls that were enlisted; to an idle process, the first one needs no permit.

        If ``room`` is below zero, wait for the process to read; then there may be only that one.
        """
        kinds = [START if idle and number == numbers[0] else CALL for number in numbers]
        calls = zip(kinds, numbers, packed_calls, strict=True)
        try:
            write(self._requests, [part for call in calls for part in framed(*call)])
        except OSError:  # it has ended
            self._refused += numbers
        else:
            self.give(numbers[1:] if idle else numbers)

    def give(self, numbers: list[int]) -> None:
        """Permit calls again that were taken back, in their order."""
        if self._permits is not None and numbers:
            with contextlib.suppress(OSError):
                self._permits.give(numbers)

    def take_back(self) -> list[int]:
        """Return the numbers of the calls that have not started: without :meth:`give` they never do."""
        return [*self._refused, *(self._permits.take_back() if self._permits is not None else ())]

    def direct(self, number: int, directive: Directive) -> None:
        """Tell the process what a call is to do at its checkpoints; from any thread, and without waiting."""
        with self._lock:
            self._undelivered.pop(number, None)  # the latest one comes last
            self._undelivered[number] = directive
            self._deliver()

    def _deliver(self) -> None:
        """Send the directives that wait, as far as the pipe has room for them."""
        with contextlib.suppress(OSError):  # the process has ended
            for number, directive in [*self._undelivered.items()]:
                if not write_at_once(self._control, framed(DIRECTIVES[directive], number)):
                    return
                del self._undelivered[number]

    def receive(self) -> list[Frame]:
        """Wait for frames from the process; the first time, until it takes calls.

        :raises EOFError, OSError: if the process has ended.
        """
        frames: list[Frame] = []
        while not frames:
            self._wait_for_arrival()
            frames = self._reader.read()
        self._note(frames)
        return frames

    def _note(self, frames: list[Frame]) -> None:
        self.ready = True
        read = frames[-1].number  # it has read this call, and all before it
        while self._unread and self._unread[0][0] <= read:
            self._unread_bytes -= self._unread.popleft()[1]

    def cancel(self, number: int) -> None:
        """Cancel a call at its next checkpoint, else stop it; kill the process after ``GRACE`` and ``STOP_TIMEOUT``.

        :param number: of the call; ``EVERY`` for the call that runs.
        """
        with self._lock, contextlib.suppress(OSError):  # it has ended
            if write_at_once(self._control, framed(STOP, number)):
                self._kill_at = self._kill_at or time.monotonic() + GRACE + STOP_TIMEOUT
                return
        self.stop()

    def stop(self) -> None:
        """Stop the call that it runs, and the process; kill it after ``STOP_TIMEOUT``."""
        with self._lock:
            self._kill_at = self._kill_at or time.monotonic() + STOP_TIMEOUT
            if self._process.returncode is None:
                os.kill(self._process.pid, signal.SIGTERM)

    def kill(self) -> None:
        """Kill the process and every process that it started."""
        with self._lock:
            self._kill()

    def close(self) -> str:
        """End the process, kill it after ``STOP_TIMEOUT``; return how it ended, for a message."""
        self._control.close()
        self._requests.close()
        if self._permits is not None:
            self._permits.end()
        self.wait()
        with self._lock:
            self._kill()  # also when it has ended: what it started may still run
            code = self._process.wait()
        self._ends.close()
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

    def wait(self) -> None:
        """Wait until the process has ended; kill it after ``STOP_TIMEOUT``."""
        deadline = time.monotonic() + STOP_TIMEOUT
        while not self._ended():
            if time.monotonic() > deadline:
                self.kill()
            time.sleep(0.002)

    def _wait_for_arrival(self) -> None:
        while not self._arrival.within(_POLL):
            if self._kill_at and time.monotonic() > self._kill_at:
                self.kill()
            if self._undelivered:
                with self._lock:
                    self._deliver()
            if self._ended() and not self._arrival.within(0):
                raise EOFError

    def _ended(self) -> bool:
        """Return whether the process has ended; leave it unreaped where the system can.

        Reaping would free its process ID, and ``_kill`` could then hit another process group.
        """
        if not hasattr(os, "waitid"):
            return self._process.poll() is not None
        try:
            return os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        except ChildProcessError:
            return True

    def _kill(self) -> None:
        if self._process.returncode is not None:
            return
        if sys.platform == "win32":
            self._process.kill()
        else:
            os.killpg(self._process.pid, signal.SIGKILL)


class _Arrival:
    """Waits until a pipe has something to read; ``Connection.poll`` would make a selector for each wait."""

    def __init__(self, end: Connection) -> None:
        self._end = end
        if sys.platform != "win32":
            self._poll = select.poll()
            self._poll.register(end.fileno(), select.POLLIN)

    def within(self, seconds: float) -> bool:
        if sys.platform == "win32":
            return self._end.poll(seconds)
        return bool(self._poll.poll(seconds * 1000))


def _pipe(
    inherited: contextlib.ExitStack, kept: contextlib.ExitStack, *, writes: bool = False
) -> tuple[Connection, Connection]:
    """Return the process's end of a pipe, and the one that stays here."""
    readable, writable = Pipe(duplex=False)
    theirs, ours = (writable, readable) if writes else (readable, writable)
    inherited.callback(theirs.close)
    kept.callback(ours.close)
    return theirs, ours


def _start(
    requests: Connection, control: Connection, answers: Connection, permits: Permits | None
) -> subprocess.Popen[bytes]:
    ends = (requests.fileno(), control.fileno(), answers.fileno())
    shared = (permits.readable,) if permits is not None else ()
    code = (
        f"import sys; sys.path[:] = {sys.path!r}; "
        f"from cascade.runtime.executors._worker_main import main; main{(*ends, *(shared or (-1,)))}"
    )
    command = [sys.executable, *_interpreter_options(), "-c", code]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, close_fds=True, **_inheriting(ends + shared))


def _interpreter_options() -> list[str]:
    """Return this interpreter's options, so that tasks behave the same in the worker."""
    return [
        *(["-" + "O" * sys.flags.optimize] if sys.flags.optimize else []),
        *(f"-W{option}" for option in sys.warnoptions),
        *(f"-X{name}" if value is True else f"-X{name}={value}" for name, value in sys._xoptions.items()),
    ]


def _inheriting(ends: tuple[int, ...]) -> dict[str, Any]:
    """Return Popen arguments for a process group of its own that inherits only these pipe ends."""
    if sys.platform == "win32":
        for handle in ends:
            os.set_handle_inheritable(handle, True)
        return {
            "startupinfo": subprocess.STARTUPINFO(lpAttributeList={"handle_list": list(ends)}),
            "creationflags": subprocess.CREATE_NEW_PROCESS_GROUP,
        }
    return {"pass_fds": ends, "process_group": 0}
