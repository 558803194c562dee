"""Log messages of Cascade during a run, for a person at a terminal."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from cascade.cli.output import Output
from cascade.interfaces.logs import LOSS, get_logger, is_shown_by_root

_CONNECTORS = "cascade.connectors."


@contextmanager
def warnings_on_stderr(output: Output, *, debug: bool, logs: Collection[str] = ()) -> Iterator[None]:
    """Print each warning as one line; of a connector each only once, but always what was lost, unless ``debug``.

    A workflow that sets up logging by itself gets all records, as it does without the command.

    :param logs: loggers whose lines of level INFO are printed, too.
    """
    logger = get_logger("cascade")
    handler = _Handler(output, everything=debug, logs=logs)
    logger.addHandler(handler)
    levels = [] if is_shown_by_root() else [(each, each.level) for each in map(get_logger, logs)]
    for each, _ in levels:
        each.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        for each, level in levels:
            each.setLevel(level)


class _Handler(logging.Handler):
    def __init__(self, output: Output, *, everything: bool, logs: Collection[str]) -> None:
        super().__init__(logging.INFO if logs else logging.WARNING)
        self._output = output
        self._everything = everything
        self._logs = logs
        self._shown: set[tuple[str, str]] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record, unless a connector has logged it before: a broker may come and go all night."""
        if is_shown_by_root():
            return  # the record arrives there
        if record.levelno < logging.WARNING:
            if record.name in self._logs:
                self._output.note(record.getMessage())
            return
        if record.name.startswith(_CONNECTORS) and not (self._everything or getattr(record, LOSS, False)):
            line = record.name, record.getMessage()
            if line in self._shown:
                return
            self._shown.add(line)
        self._output.note(f"cascade: {record.levelname.lower()}: {record.getMessage()}")
