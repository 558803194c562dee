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
from multiprocessing.connection import Connection, Pipe
from typing import Any

from cascade.interfaces import Directive
from cascade.runtime.executors._pipe_frames import (
    CALL,
    DIRECTIVES,
    STOP,
    Frame,
    FrameReader,
    framed,
    write,
    write_at_once,
)
from cascade.runtime.executors._worker_call import GRACE
from cascade.runtime.executors._worker_main import STOP_TIMEOUT
from cascade.transport.event_loop import inert_in_children

if sys.platform != "win32":
    import select

_POLL = 0.1
"""Seconds between two checks whether a worker still runs: a child of the worker may keep its pipe open."""


class WorkerProcess:
    """One process. Only the thread that owns it may send and receive.

    Other threads may call ``direct``, ``cancel``, ``stop`` and ``kill`` at any time.

    :raises OSError: if no process can be started.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kill_at = 0.0
        self._count = 0
        # the pipe had no room for it
        self._undelivered: tuple[int, Directive] | None = None
        self.ready = False
        """Whether the interpreter has started and takes calls."""
        with contextlib.ExitStack() as inherited, contextlib.ExitStack() as kept:
            requests, self._requests = _pipe(inherited, kept)
            control, self._control = _pipe(inherited, kept)
            answers, self._answers = _pipe(inherited, kept, writes=True)
            self._process = _start(requests, control, answers)
            self._ends = kept.pop_all()
        inert_in_children(self)
        if sys.platform != "win32":
            os.set_blocking(self._control.fileno(), False)
        self._reader = FrameReader(self._answers)
        self._arrival = _Arrival(self._answers)

    def become_inert(self) -> None:
        """In a forked child: close the copies of the pipes, which would keep the process alive after this one."""
        self._ends.close()

    def next_number(self) -> int:
        """Return the number of the call that is sent next; directives, reports and answers name the call by it."""
        self._count += 1
        return self._count

    def send(self, number: int, packed: bytes) -> None:
        """Send a call; wait for the process to read it.

        :raises OSError: if the process has ended: the call does not start.
        """
        write(self._requests, framed(CALL, number, packed))

    def direct(self, number: int, directive: Directive) -> None:
        """Tell the process what a call is to do at its checkpoints; from any thread, and without waiting."""
        with self._lock:
            self._undelivered = number, directive
            self._deliver()

    def _deliver(self) -> None:
        """Send the latest directive, if the pipe has room for it."""
        if self._undelivered is None:
            return
        number, directive = self._undelivered
        with contextlib.suppress(OSError):  # the process has ended
            if write_at_once(self._control, framed(DIRECTIVES[directive], number)):
                self._undelivered = None

    def receive(self) -> list[Frame]:
        """Wait for frames from the process; the first time, until it takes calls.

        :raises EOFError, OSError: if the process has ended.
        """
        frames: list[Frame] = []
        while not frames:
            self._wait_for_arrival()
            frames = self._reader.read()
        self.ready = True
        return frames

    def cancel(self, number: int) -> None:
        """Cancel a call at its next checkpoint, else stop it; kill the process after ``GRACE`` and ``STOP_TIMEOUT``."""
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
        self.wait()
        with self._lock:
            # also when it has ended: what it started may still run
            self._kill()
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


def _start(requests: Connection, control: Connection, answers: Connection) -> subprocess.Popen[bytes]:
    ends = (requests.fileno(), control.fileno(), answers.fileno())
    code = (
        f"import sys; sys.path[:] = {sys.path!r}; "
        f"from cascade.runtime.executors._worker_main import main; main{ends}"
    )
    command = [sys.executable, *_interpreter_options(), "-c", code]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, close_fds=True, **_inheriting(ends))


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
