"""Draw the progress of a run as one line of the terminal."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from cascade.interfaces import (
    EventBus,
    Lifecycle,
    LifecycleEvent,
    Redactor,
    TaskStateEvent,
)
from cascade.runtime._observers.run_counts import RunCounts, duration, rate
from cascade.runtime._support.run_facts import RunFacts
from cascade.runtime._support.text import printable
from cascade.wire.progress import PAUSED, Progress

INTERVAL = 0.1
"""Least seconds between two drawings."""

# columns of the terminal, from which the bar has so many
_BARS = ((100, 20), (60, 10), (0, 0))
# columns from which rate and task stand beside the reason why others wait
_LEAST_WITH_NAME = 100
_ERASE = "\r\x1b[K"
_RED, _PLAIN = "\x1b[31m", "\x1b[0m"

HoldOf = Callable[[str], str]
"""Returns what pauses tasks of a name, or with an empty name the run as a whole; empty if nothing does."""


@contextmanager
def progress_bar(bus: EventBus, run_id: str, redactor: Redactor) -> Iterator[ProgressBar]:
    """Show one run meanwhile on stderr: a line that changes on a terminal, and a last line everywhere."""
    bar = ProgressBar(run_id, redactor, sys.stderr)
    unsubscribe = [
        bus.subscribe(LifecycleEvent, bar.lifecycle),
        bus.subscribe(TaskStateEvent, bar.task),
    ]
    try:
        yield bar
    finally:
        for each in unsubscribe:
            each()
        bar.close()


class ProgressBar:
    """Counts one run's events, and draws at most ten times a second."""

    def __init__(self, run_id: str, redactor: Redactor, stream: TextIO | None) -> None:
        self._run_id = run_id
        self._clean = redactor.one_line
        self._stream = stream
        self._counts: RunCounts | None = None
        self._facts: RunFacts | None = None
        self._hold_of: HoldOf = lambda name: ""
        self._last = ""
        self._timer: asyncio.TimerHandle | None = None
        self._line: Line | None = None
        if stream is not None and _is_terminal(stream) and Line.drawn is None:
            self._line = Line(stream)
        self._color = "NO_COLOR" not in os.environ

    def lifecycle(self, event: LifecycleEvent) -> None:
        """Note the start or the end of a run."""
        if event.run_id != self._run_id:
            return
        if event.event is Lifecycle.ENGINE_STARTED:
            self._counts = RunCounts(event.timestamp, self._facts)
            self._started = asyncio.get_running_loop().time()
            self._draw()
        elif self._counts is not None:
            # the error of the run is raised, and so shown once
            self._last = self._clean(f"run {printable(event.run_id)} {self._counts.summary(event)}")

    def task(self, event: TaskStateEvent) -> None:
        """Count a change of a task's state."""
        if event.run_id == self._run_id and self._counts is not None:
            self._counts.count(event)

    def follow(self, facts: RunFacts, hold_of: HoldOf) -> None:
        """Take what the run knows beyond its events, before its start."""
        self._facts, self._hold_of = facts, hold_of

    def close(self) -> None:
        """Remove the line, restore the streams, and write the last line."""
        if self._timer is not None:
            self._timer.cancel()
        if self._line is not None:
            self._line.close()
        if self._last and self._stream is not None:
            _write(self._stream, f"{self._last}\n")

    def _draw(self) -> None:
        if self._line is None or self._counts is None:
            return
        seconds = asyncio.get_running_loop().time() - self._started
        import shutil  # slow to import, and only a terminal needs it

        columns = shutil.get_terminal_size().columns
        line = render(
            self._counts, seconds, columns, hold_of=self._hold_of, clean=self._clean, color=self._color
        )
        self._line.draw(line)
        self._timer = asyncio.get_running_loop().call_later(INTERVAL, self._draw)


def render(
    counts: RunCounts,
    seconds: float,
    columns: int,
    *,
    hold_of: HoldOf = lambda name: "",
    clean: Any = str,
    color: bool = False,
) -> str:
    """Return the line for a terminal of this width."""
    blocked = counts.blocked
    whole = hold_of("")
    # a task that a resource held first may wait for the end of a pause now
    held = whole or next(filter(None, (hold_of(name) for _, name in blocked)), "")
    progress = counts.progress(seconds, paused=bool(whole), held=bool(held))
    known = f"{progress.finished}/{progress.known}{'+' if progress.open else ''}"
    parts = [known] if progress.percent is None else [f"{progress.percent}%", known]
    bar = _bar(progress.percent or 0, columns)
    if bar:
        parts.insert(0, bar)
    reason = held or (blocked[0][0] if blocked else "")
    # then the reason needs the space
    narrow = bool(reason) and columns < _LEAST_WITH_NAME
    times = _times(progress, seconds, brief=narrow)
    parts.append(times)
    failed = progress.tasks.get("failed", 0)
    if failed:
        parts.append(f"{failed} failed")
    longest = "" if narrow else printable(counts.running_longest)
    if progress.running or not reason:
        parts.append(f"{progress.running} running{f': {longest}' if longest else ''}")
    waiting = _waiting(progress, clean(reason))
    # their number alone is what a narrow terminal can do without
    if reason or len("  ".join([*parts, *waiting])) < columns:
        parts += waiting
    # the reason has the remedy at its end: it is cut last
    for least in (*waiting[1:], times, bar) if reason else ():
        if least in parts and len("  ".join(parts)) >= columns:
            parts.remove(least)
    line = cut("  ".join(parts), columns - 1)
    return line.replace(f"{failed} failed", f"{_RED}{failed} failed{_PLAIN}", 1) if failed and color else line


def _bar(percent: int, columns: int) -> str:
    """Return the bar for a terminal of this width; empty if that has no space for one."""
    size = next(size for least, size in _BARS if columns >= least)
    full = percent * size // 100
    return f"[{'#' * full}{'.' * (size - full)}]" if size else ""


def _waiting(progress: Progress, reason: str) -> list[str]:
    """Return how many tasks wait, and why: of a run that is paused, the pause comes first."""
    waiting = f"{progress.waiting} waiting"
    if progress.status == PAUSED:
        return [f"{PAUSED}: {reason}", *([waiting] if progress.waiting else [])]
    return [f"{waiting}: {reason}" if reason else waiting] if progress.waiting else []


def _times(progress: Progress, seconds: float, *, brief: bool) -> str:
    """Return the time since the start, and unless ``brief`` the time left and the rate, as far as they are known."""
    if seconds < 1:
        return "0 s"
    parts = [duration(seconds)]
    if brief:
        return parts[0]
    if progress.left_s is not None:
        parts.append(f"{duration(progress.left_s) if progress.left_s >= 1 else '1 s'} left")
    have_run = progress.finished - progress.tasks.get("skipped", 0) - progress.tasks.get("recorded", 0)
    if have_run and progress.status != PAUSED:
        parts.append(rate(have_run, seconds))
    return ", ".join(parts)


def cut(text: str, columns: int) -> str:
    """Return as much of a text as fits, with wide characters counted as two columns."""
    used = 0
    for index, char in enumerate(text):
        used += 2 if unicodedata.east_asian_width(char) in "WF" else 1
        if used > columns:
            return text[: max(index - 1, 0)] + "…" if columns > 0 else ""
    return text


class Line:
    """The last line of a terminal: it disappears while a program or a log writes, and comes back after."""

    drawn: Line | None = None
    """The one that is drawn now; two would overwrite each other."""

    def __init__(self, stream: TextIO) -> None:
        Line.drawn = self
        self._stream = stream
        self._shown = ""
        self._lock = threading.RLock()  # tasks write from threads
        self._complete = True  # what others wrote ends with a line break
        self._replaced = [(name, getattr(sys, name)) for name in ("stderr", "stdout")]
        self._handlers: list[tuple[logging.StreamHandler[Any], Any]] = []
        for name, original in self._replaced:
            if original is not None and _is_terminal(original):
                self._redirect(name, original)

    def draw(self, text: str) -> None:
        """Show a text instead of the one before."""
        with self._lock:
            if self._complete:
                self._shown = text
                _write(self._stream, f"{_ERASE}{text}")

    def write(self, stream: TextIO, text: str) -> int:
        """Write what a program or a log writes, above the line."""
        with self._lock:
            if self._shown and text:
                _write(self._stream, _ERASE)
                self._shown = ""
            written = stream.write(text)
            if text:
                self._complete = text.endswith("\n")
            return written

    def close(self) -> None:
        """Erase the line, and give back the streams."""
        with self._lock:
            for name, original in self._replaced:
                if isinstance(getattr(sys, name), Above):
                    setattr(sys, name, original)
            for handler, original in self._handlers:
                handler.setStream(original)
            if self._shown:
                _write(self._stream, _ERASE)
            Line.drawn = None

    def _redirect(self, name: str, original: TextIO) -> None:
        above: Any = Above(self, original)
        setattr(sys, name, above)
        for handler in (*logging.root.handlers, *logging.getLogger("cascade").handlers):
            if isinstance(handler, logging.StreamHandler) and handler.stream is original:
                self._handlers.append((handler, original))
                handler.setStream(above)


class Above:
    """A stream whose text appears above the line."""

    def __init__(self, line: Line, stream: TextIO) -> None:
        self._line = line
        self._stream = stream

    def write(self, text: str) -> int:
        """Write above the line."""
        return self._line.write(self._stream, text)

    def writelines(self, lines: Any) -> None:
        """Write several texts above the line."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _is_terminal(stream: TextIO) -> bool:
    try:
        return stream.isatty() and os.environ.get("TERM") != "dumb"
    except (AttributeError, ValueError):
        # not a stream of the io module, or closed
        return False


def _write(stream: TextIO, text: str) -> None:
    """Write, and never fail the run: the terminal may be gone, or have fewer characters."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    try:
        stream.write(text.encode(encoding, "replace").decode(encoding))
        stream.flush()
    except (OSError, ValueError):
        return
