"""A worker process, seen from the thread that serves it.

It is a fresh interpreter: it shares no memory, inherits no socket, does not run the program's
own script again (so no ``if __name__ == "__main__"`` is asked for), and has a process group of
its own, so that Ctrl-C does not reach it and that it ends with everything that it has started.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from multiprocessing.connection import Connection, Pipe
from typing import Any

from cascade.runtime.executors._worker_main import GRACE

_TICK = 0.1  # seconds between two looks at a worker whose pipe may be held open by what it has started


class Worker:
    """One process. Only ``stop`` may be called from another thread than the one that has it.

    :raises OSError: if no process can be started.
    """

    def __init__(self) -> None:
        requests, self._requests = Pipe(duplex=False)
        self._answers, answers = Pipe(duplex=False)
        self._lock = threading.Lock()
        self._kill_at = 0.0
        self.ready = False
        """Whether it has come so far as to take calls."""
        try:
            self._process = _start(requests, answers)
        except BaseException:
            self._requests.close()
            self._answers.close()
            raise
        finally:
            requests.close()
            answers.close()

    def call(self, parcel: bytes) -> bytes | None:
        """Have a packed call carried out; return its answer, or None if the process ended before."""
        try:
            if not self.ready:
                self._receive()
                self.ready = True
            self._requests.send_bytes(parcel)
            return self._receive()
        except (EOFError, OSError):
            return None

    def stop(self) -> None:
        """End the call that it runs, and itself; after a time of grace by force."""
        with self._lock:
            self._kill_at = self._kill_at or time.monotonic() + GRACE
            if self._process.returncode is None:
                os.kill(self._process.pid, signal.SIGTERM)

    def kill(self) -> None:
        """End it at once, with everything that it has started."""
        with self._lock:
            self._kill()

    def hang_up(self) -> None:
        """Let it end by itself. Twice is harmless."""
        self._requests.close()

    def retire(self) -> str:
        """Let it end, in the time of grace or by force; return how it ended, in words."""
        self.hang_up()
        self.await_end()
        with self._lock:
            self._kill()
            code = self._process.wait()
        self._answers.close()
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

    def await_end(self) -> None:
        """Wait until it has ended, in the time of grace or by force."""
        deadline = time.monotonic() + GRACE
        while not self._ended():
            if time.monotonic() > deadline:
                self.kill()
            time.sleep(0.002)

    def _receive(self) -> bytes:
        while not self._answers.poll(_TICK):
            if self._kill_at and time.monotonic() > self._kill_at:
                self.kill()
            if self._ended() and not self._answers.poll():
                raise EOFError
        return self._answers.recv_bytes()

    def _ended(self) -> bool:
        """Look without reaping where that is possible, so that the group's number stays ours."""
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


def _start(requests: Connection, answers: Connection) -> subprocess.Popen[bytes]:
    ends = (requests.fileno(), answers.fileno())
    code = (
        f"import sys; sys.path[:] = {sys.path!r}; "
        f"from cascade.runtime.executors._worker_main import main; main{ends}"
    )
    command = [sys.executable, *_flags(), "-c", code]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, close_fds=True, **_handing_over(ends))


def _flags() -> list[str]:
    """Return the interpreter's own options, so that tasks mean the same there as here."""
    return [
        *(["-" + "O" * sys.flags.optimize] if sys.flags.optimize else []),
        *(f"-W{option}" for option in sys.warnoptions),
        *(f"-X{name}" if value is True else f"-X{name}={value}" for name, value in sys._xoptions.items()),
    ]


def _handing_over(ends: tuple[int, int]) -> dict[str, Any]:
    """Return what makes a process inherit these ends and nothing else, in a group of its own."""
    if sys.platform == "win32":
        for handle in ends:
            os.set_handle_inheritable(handle, True)
        return {
            "startupinfo": subprocess.STARTUPINFO(lpAttributeList={"handle_list": list(ends)}),
            "creationflags": subprocess.CREATE_NEW_PROCESS_GROUP,
        }
    return {"pass_fds": ends, "process_group": 0}
