"""A thread that appends lines to a file, so that no disk can block an event loop."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path

from cascade.interfaces.logs import get_logger
from cascade.transport.state_log import StateLog

MOST_LINES = 65_536
"""Lines that wait for the disk; when more come, the oldest is dropped and counted."""
GATHER = 0.02
"""Seconds for which the thread gathers lines before it writes them together."""

_AT_ONCE = 1_024  # lines of one write

_log = get_logger("cascade.connectors.file")


class LineWriter:
    """Appends lines to a file from a thread of its own; a failing disk loses lines and raises nothing.

    The file is opened when the first line is written and again after each failure. One warning is
    logged when writing begins to fail.
    """

    def __init__(self, path: str) -> None:
        self._accepted = self._sent = self._dropped = 0
        self._abandoned = False
        self._path = path
        self._ended: Callable[[], None] | None = None
        self._lines: deque[bytes] = deque()
        self._changed = threading.Condition()
        self._closing = self._hurry = False
        self._file: int | None = None
        self._torn = False  # the file ends in the middle of a line
        self._state = StateLog(_log)
        # A daemon: a file on a network drive that hangs must not keep the process.
        threading.Thread(target=self._run, name=f"cascade file {path}", daemon=True).start()

    def put(self, line: bytes) -> None:
        """Take a line for the file; it ends with a line break."""
        with self._changed:
            self._accepted += 1
            self._lines.append(line)
            if len(self._lines) > MOST_LINES:
                self._lines.popleft()
                self._dropped += 1
            self._changed.notify_all()

    def counts(self) -> tuple[int, int, int]:
        """Return how many lines were given to :meth:`put`, were written, and were dropped."""
        with self._changed:
            return self._accepted, self._sent, self._dropped

    def hurry(self) -> None:
        """Write what waits without gathering more."""
        with self._changed:
            self._hurry = True
            self._changed.notify_all()

    def close(self, *, ended: Callable[[], None]) -> None:
        """Write what waits, then close the file, call ``ended`` in the thread and end it."""
        with self._changed:
            self._ended = ended
            self._closing = True
            self._changed.notify_all()

    def abandon(self) -> int:
        """Count what waits as dropped, because the thread does not end; return how many lines."""
        with self._changed:
            left = self._accepted - self._sent - self._dropped
            self._dropped += left
            self._lines.clear()
            self._abandoned = self._closing = True
            return left

    def _run(self) -> None:
        try:
            while lines := self._take():
                self._write(lines)
        finally:
            self._close_file()
            if self._ended is not None:
                self._ended()

    def _take(self) -> list[bytes]:
        """Wait for lines; return none of them after :meth:`close`, when all are written."""
        with self._changed:
            self._changed.wait_for(lambda: self._lines or self._closing)
            self._changed.wait_for(lambda: self._closing or self._hurry, GATHER)
            self._hurry = False
            return [self._lines.popleft() for _ in range(min(len(self._lines), _AT_ONCE))]

    def _write(self, lines: list[bytes]) -> None:
        try:
            self._append(b"".join(lines))
        except OSError as exc:
            self._state.failed(
                "write", "telemetry is not written to %s and is lost: %s", self._path, exc.strerror or exc
            )
            self._close_file()
            self._count(dropped=len(lines))
        else:
            self._state.works("write", "telemetry is written to %s again", self._path)
            self._count(sent=len(lines))

    def _append(self, data: bytes) -> None:
        if self._file is None:
            self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | _CLOEXEC, 0o600)
            self._torn = self._torn or _is_torn(self._path)
        data = b"\n" * self._torn + data
        rest = memoryview(data)
        while rest:
            written = os.write(self._file, rest)
            rest = rest[written:]
            self._torn = bool(rest) and bytes(data[: -len(rest)])[-1:] != b"\n"
        self._torn = False

    def _count(self, *, sent: int = 0, dropped: int = 0) -> None:
        with self._changed:
            if not self._abandoned:
                self._sent += sent
                self._dropped += dropped

    def _close_file(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            try:
                os.close(file)
            except OSError as exc:
                # a network drive may report here what it could not write
                self._state.failed("write", "telemetry in %s may be incomplete: %s", self._path, exc)


def _is_torn(path: str) -> bool:
    """Return whether a file ends within a line: an earlier process was killed there, or its disk was full."""
    # opening a pipe would wait for its other end
    if not Path(path).is_file() or not os.access(path, os.R_OK):
        return False
    with Path(path).open("rb") as file:
        if file.seek(0, os.SEEK_END) == 0:
            return False
        file.seek(-1, os.SEEK_END)
        return file.read() != b"\n"


_CLOEXEC = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
