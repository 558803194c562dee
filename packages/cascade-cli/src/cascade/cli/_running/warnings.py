"""Log messages of Cascade during a run, for a person at a terminal."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from cascade.cli.output import Output
from cascade.interfaces.logs import get_logger

_CONNECTORS = "cascade.connectors."


@contextmanager
def warnings_on_stderr(output: Output, *, debug: bool) -> Iterator[None]:
    """Print each warning as one line; of a connector only the first, unless ``debug``.

    A workflow that sets up logging by itself gets all records, as it does without the command.
    """
    logger = get_logger("cascade")
    handler = _Handler(output, all_of_connectors=debug)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


class _Handler(logging.Handler):
    def __init__(self, output: Output, *, all_of_connectors: bool) -> None:
        super().__init__(logging.WARNING)
        self._output = output
        self._all = all_of_connectors
        self._shown: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record, unless the connector that logs it has been shown to fail."""
        if logging.root.handlers:
            return  # the record arrives there
        if record.name.startswith(_CONNECTORS) and not self._all:
            if record.name in self._shown:
                return
            self._shown.add(record.name)
        self._output.note(f"cascade: {record.levelname.lower()}: {record.getMessage()}")
