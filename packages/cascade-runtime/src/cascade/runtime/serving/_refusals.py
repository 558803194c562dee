"""The log of refused requests: one line for each, unless they come as a flood."""

from __future__ import annotations

from cascade.interfaces import Clock
from cascade.interfaces.logs import get_logger
from cascade.interfaces.redaction import Redactor
from cascade.runtime._support.text import printable
from cascade.runtime.serving._intake import Refused

LINES_PER_MINUTE = 60
"""Refused requests with a line of their own; the others are counted, and the next minute begins with their number."""
_MINUTE = 60.0
_SHOWN = 64  # characters of what a request says of itself
_log = get_logger("cascade.serve")


class RefusalLog:
    """Logs why requests are refused; anyone who may ask can cause such lines, so their number is bounded."""

    def __init__(self, clock: Clock, redactor: Redactor) -> None:
        self._clock, self._redactor = clock, redactor
        self._began = -_MINUTE
        self._lines = self._more = 0

    def refused(self, workflow: str, refused: Refused, *, id_: str = "", by: str = "") -> None:
        """Log one refusal.

        :param id_: of the request, if it had one.
        :param by: who asked, as the request claims.
        """
        now = self._clock.monotonic()
        if now - self._began >= _MINUTE:
            self.close()
            self._began, self._lines = now, 0
        self._lines += 1
        if self._lines > LINES_PER_MINUTE:
            self._more += 1
            return
        _log.warning(
            "%s: refused (%s): %s%s",
            printable(workflow[:100]),
            refused.code.value,
            self._redactor.one_line(refused.reason),
            _asked(id_, by),
        )
        if self._lines == LINES_PER_MINUTE:
            _log.warning("more requests are refused; for a minute they are counted and not logged")

    def close(self) -> None:
        """Log how many were only counted."""
        if self._more:
            _log.warning("%d more requests were refused", self._more)
        self._more = 0


def _asked(id_: str, by: str) -> str:
    told = [f"id {id_}"] if id_ else []
    if by:
        told.append(f"asked by {printable(by[:_SHOWN])}, as it claims")
    return f" ({'; '.join(told)})" if told else ""
