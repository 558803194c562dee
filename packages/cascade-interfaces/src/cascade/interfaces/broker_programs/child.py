"""A server as a child process: started with its log in a file, ended by its pid, never left behind."""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path


class Child:
    """A running program. It ends with this process, as far as the system can see to that."""

    def __init__(self, command: Sequence[str], *, log: Path) -> None:
        self._owner = os.getpid()
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [*_with_parent_death_signal(), *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # A session of its own: Ctrl-C in the terminal is this process's to handle, and
                # what it still sends reaches a server that is there.
                start_new_session=True,
            )
        _running.add(self)

    @property
    def pid(self) -> int:
        """The process id; only meaningful while it runs."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the program has not ended (a stopped one has not)."""
        return self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """What the program ended with; None while it runs."""
        return self._process.poll()

    def freeze(self) -> None:
        """Stop the program's execution (SIGSTOP); return when all its threads stand still. Not on Windows."""
        self._process.send_signal(signal.SIGSTOP)
        # until a busy system lets one thread take the signal, the others go on
        if hasattr(os, "waitid"):
            os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def thaw(self) -> None:
        """Let it go on (SIGCONT)."""
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it at once and wait until it is gone. Idempotent."""
        self._process.kill()
        self._process.wait()
        _running.discard(self)

    def terminate(self, timeout: float = 5.0) -> None:
        """Ask it to end, wait, and kill it after ``timeout`` seconds. Idempotent."""
        self._process.terminate()
        if hasattr(signal, "SIGCONT"):
            self.thaw()  # a stopped process hears SIGTERM only then
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout)
        self.kill()

    def kill_if_owner(self) -> None:
        """Kill it, unless this is a forked child of the process that started it."""
        if os.getpid() == self._owner:
            self.kill()


_running: set[Child] = set()  # a broker without references must end, too


@atexit.register
def _kill_all() -> None:
    for child in list(_running):
        child.kill_if_owner()


def _with_parent_death_signal() -> list[str]:
    """Return the words before a command that make Linux kill it when this process dies.

    The kernel means the *thread* that started it, so only the main thread may ask for that.
    """
    wrapper = shutil.which("setpriv")
    if wrapper is None or threading.current_thread() is not threading.main_thread():
        return []
    return [wrapper, "--pdeathsig", "KILL", "--"]
