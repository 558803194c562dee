"""The lines that a run's code logs, sent as messages if the engine was asked to."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading

from cascade.interfaces import Clock, ConfigurationError
from cascade.interfaces.events import MAX_LINE
from cascade.interfaces.logs import SilentHandler
from cascade.interfaces.redaction import Redactor
from cascade.runtime._scheduler.checkpoints import current, on_loop
from cascade.runtime._scheduler.events import EventEmitter

MAX_PER_SECOND = 50
"""Lines of a run; further ones are only counted."""
# what sends a line must not log another one
_EXCLUDED = ("cascade", "mqtt", "nats")
_SHOWN = "_cascade_shown"


def checked_level(logs: object) -> int:
    """Return the number of a level such as ``"INFO"``.

    :raises ConfigurationError: if the level does not exist.
    """
    level = logging.getLevelNamesMapping().get(logs.upper()) if isinstance(logs, str) else None
    if level is None:
        raise ConfigurationError("Engine(logs=)", "needs the name of a level, such as 'INFO'", value=logs)
    return level


class SentLines:
    """Sends the lines of this level and above inside its context.

    Not a generator: ``contextlib`` sets attributes of an error that passes through one.
    """

    def __init__(
        self, level: int, events: EventEmitter, *, run_id: str, clock: Clock, redactor: Redactor
    ) -> None:
        self._handler = _LineHandler(level, events, run_id, clock=clock, redactor=redactor)

    def __enter__(self) -> None:
        logging.root.addHandler(self._handler)

    def __exit__(self, *_: object) -> None:
        logging.root.removeHandler(self._handler)


class _LineHandler(SilentHandler):
    """Passes the lines of one run to the event loop; called from any thread.

    A line that a task of another run has logged is left to the handler of that run.
    """

    def __init__(
        self, level: int, events: EventEmitter, run_id: str, *, clock: Clock, redactor: Redactor
    ) -> None:
        super().__init__(level)
        self._events = events
        self._run_id = run_id
        self._clock = clock
        self._redactor = redactor
        self._loop = asyncio.get_running_loop()
        self._rate = threading.Lock()
        self._began = float("-inf")  # of the second in which lines are counted
        self._sent = 0
        self._skipped = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Send a line; it never raises."""
        _show_as_before(record)
        if record.name.partition(".")[0] in _EXCLUDED:
            return
        place = current.get()
        if place is not None and place[0].run_id != self._run_id:
            return
        if (skipped := self._take()) is None:
            return
        try:
            message = self._redactor.one_line(record.getMessage(), most=MAX_LINE)
        except Exception:
            # the arguments do not fit the format: the user's own handlers say so
            return
        node = place[1] if place is not None else None
        line = (node, record.created, record.levelname, record.name, message, skipped)
        if on_loop(self._loop):
            self._events.log(*line)
            return
        # the loop is closed: the run is over
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._events.log, *line)

    def _take(self) -> int | None:
        """Count a line; return how many were left out before it, or None to leave it out, too."""
        now = self._clock.monotonic()
        with self._rate:
            if now - self._began >= 1.0:
                self._began, self._sent = now, 0
            if self._sent >= MAX_PER_SECOND:
                self._skipped += 1
                return None
            self._sent += 1
            skipped, self._skipped = self._skipped, 0
            return skipped


def _show_as_before(record: logging.LogRecord) -> None:
    """Show a line on stderr where Python would without any handler: ours must not hide it."""
    last = logging.lastResort
    if last is None or record.levelno < last.level:
        return
    logger: logging.Logger | None = logging.root.getChild(record.name)
    while logger is not None:
        if any(not isinstance(each, SilentHandler) for each in logger.handlers):
            return
        logger = logger.parent if logger.propagate else None
    if not hasattr(record, _SHOWN):
        setattr(record, _SHOWN, True)  # several runs have a handler each
        last.handle(record)
