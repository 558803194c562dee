"""Lines of logs for a person on a terminal, for a program in a pipe, and as JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

from cascade.cli._logs.choice import LEVELS, rank
from cascade.cli.output import Output
from cascade.interfaces.text import printable
from cascade.wire import EventMessage, LogBody

MOST = 28
"""Columns of a name at most; longer ones move the rest of their line to the right."""
_STYLES = {"WARNING": "yellow", "ERROR": "red", "CRITICAL": "bold red", "DEBUG": "dim"}


class LogLines:
    """Prints lines; on a terminal with colours by level, and with the names below each other."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._widths = [0, 0]
        self._day = datetime.now(UTC).astimezone().date()
        self._print = self._coloured() if output.terminal else None

    def show(self, events: Iterable[tuple[EventMessage, LogBody]]) -> None:
        """Print lines in their order."""
        for event, body in events:
            if body.skipped:
                self._output.note(
                    f"{event.source}: {body.skipped} lines were not sent: more than 50 a second"
                )
            if self._output.json:
                self._output.document(_document(event, body))
            elif self._print is None:
                self._output.fields(*_fields(event, body))
            else:
                self._line(event, body)

    def _line(self, event: EventMessage, body: LogBody) -> None:
        assert self._print is not None
        at = _local(event)
        if at is not None and at.date() != self._day:
            self._day = at.date()
            self._print(f"{at:%A %d %B %Y}", "bold")
        names = [printable(event.source), printable(body.task_id or body.logger)]
        self._widths = [
            min(max(width, len(name)), MOST) for width, name in zip(self._widths, names, strict=True)
        ]
        aligned = "  ".join(name.ljust(width) for name, width in zip(names, self._widths, strict=True))
        clock = f"{at:%H:%M:%S}.{at.microsecond // 1000:03}" if at is not None else " " * 12
        text = f"{clock} {printable(body.level):<8} {aligned}  {printable(body.message)}"
        nearest = max(
            (name for name in LEVELS if LEVELS[name] <= rank(body.level)), key=LEVELS.__getitem__, default=""
        )
        self._print(text, _STYLES.get(nearest, ""))

    def _coloured(self) -> Callable[[str, str], None]:
        # imports rich, which only a terminal needs
        from rich.text import Text

        from cascade.cli._terminal import console

        screen = console(self._output.stream)
        return lambda text, style: screen.print(Text(text, style), soft_wrap=True)


def _local(event: EventMessage) -> datetime | None:
    try:
        return None if event.seconds is None else datetime.fromtimestamp(event.seconds, UTC).astimezone()
    except (OverflowError, ValueError, OSError):
        return None


def _fields(event: EventMessage, body: LogBody) -> tuple[str, ...]:
    at = _local(event)
    when = "" if at is None else at.isoformat(timespec="milliseconds")
    return (when, body.level, event.source, event.run_id, body.task_id, body.logger, body.message)


def _document(event: EventMessage, body: LogBody) -> dict[str, Any]:
    at = _local(event)
    return {
        "ts": None if at is None else at.astimezone(UTC).isoformat(),
        "source": event.source,
        "run_id": event.run_id,
        "task_id": body.task_id,
        "level": body.level,
        "logger": body.logger,
        "message": body.message,
    }
