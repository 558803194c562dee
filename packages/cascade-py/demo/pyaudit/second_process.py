"""The second process: starts its program, passes on its lines, and asks for its counts."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from .counts import Received

PROGRAMS = Path(__file__).parent.parent


class SecondProcess:
    """A program of the demo's folder as a child process.

    It ends with its standard input, so never outlives us; its last line is its counts, as JSON.
    """

    def __init__(self, program: str, *arguments: str, show: Callable[[str], None]) -> None:
        self._command = [sys.executable, "-X", "utf8", str(PROGRAMS / program), *arguments]
        self._show = show
        self._printed = threading.Event()
        self._counts: dict[str, Any] | None = None
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None

    def __enter__(self) -> Self:
        # In a session of its own it does not get the terminal's Ctrl-C: it counts to the end.
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="backslashreplace",
            start_new_session=True,
        )
        self._reader = threading.Thread(
            target=self._read, args=(self._process.stdout,), name="second process", daemon=True
        )
        self._reader.start()
        return self

    def wait_for_line(self, timeout: float) -> bool:
        """Wait until it has printed that it is subscribed, or why not; return whether it has."""
        return self._printed.wait(timeout)

    def finish(self, timeout: float) -> None:
        """Wait until it has taken what is under way and ends; kill it after ``timeout`` seconds."""
        if self._process is None or self._process.stdin is None or self._reader is None:
            return
        self._process.stdin.close()
        self._reader.join(timeout)
        self._process.kill()
        self._process.wait()
        self._reader.join()

    def received(self, run_id: str) -> Received | None:
        """Return its counts of a run; None if it printed none."""
        if self._counts is None:
            return None
        return Received(**self._counts["runs"].get(run_id, {}))

    @property
    def remarks(self) -> tuple[str, ...]:
        """Its remarks beside its counts."""
        return tuple((self._counts or {}).get("remarks", ()))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.finish(timeout=1.0)

    def _read(self, lines: IO[str]) -> None:
        with lines:
            for line in lines:
                if line.startswith("{"):
                    self._counts = json.loads(line)
                else:
                    self._show(line.rstrip("\n"))
                self._printed.set()
