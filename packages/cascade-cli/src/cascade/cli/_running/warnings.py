"""Log messages of Cascade during a run, for a person at a terminal."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from cascade.cli.output import Output
from cascade.interfaces.logs import LOSS, get_logger

_CONNECTORS = "cascade.connectors."


@contextmanager
def warnings_on_stderr(output: Output, *, debug: bool) -> Iterator[None]:
    """Print each warning as one line; of a connector each only once, but always what was lost, unless ``debug``.

    A workflow that sets up logging by itself gets all records, as it does without the command.
    """
    logger = get_logger("cascade")
    handler = _Handler(output, everything=debug)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


class _Handler(logging.Handler):
    def __init__(self, output: Output, *, everything: bool) -> None:
        super().__init__(logging.WARNING)
        self._output = output
        self._everything = everything
        self._shown: set[tuple[str, str]] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record, unless a connector has logged it before: a broker may come and go all night."""
        if logging.root.handlers:
            return  # the record arrives there
        if record.name.startswith(_CONNECTORS) and not (self._everything or getattr(record, LOSS, False)):
            line = record.name, record.getMessage()
            if line in self._shown:
                return
            self._shown.add(line)
        self._output.note(f"cascade: {record.levelname.lower()}: {record.getMessage()}")
