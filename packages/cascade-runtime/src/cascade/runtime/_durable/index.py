"""What earlier attempts recorded of each step, in little memory. No I/O."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from cascade.interfaces import StepRecord, StepState

_STATES = {int(state): state for state in StepState}
_IN_FLIGHT = (StepState.STARTED, StepState.IN_DOUBT)


class StepIndex:
    """Rows as SQLite gives them; a record is made when it is asked for.

    :param last: the last attempt of the run.
    :param deaths: how often in a row a process died with no step recorded in between.
    :raises ValueError: if a row is not one that Cascade has written.
    """

    def __init__(self, rows: Iterable[tuple[Any, ...]], *, last: int, deaths: int) -> None:
        shared: dict[
            object, Any
        ] = {}  # a thousand steps of one task share its name and the digest of its code
        self._rows = {
            key: (shared.setdefault(name, name), state, inputs, shared.setdefault(code, code), *rest)
            for key, name, state, inputs, code, *rest in rows
        }
        if any(row[1] not in _STATES or type(row[5]) is not int for row in self._rows.values()):
            raise ValueError("a step has an unknown state or number")
        self._last = last
        self._deaths = deaths

    def get(self, key: str) -> StepRecord | None:
        """Return what is known of a step."""
        row = self._rows.get(key)
        if row is None:
            return None
        name, state, inputs, code, attempt, starts, tries, began, ended, not_before, error = row
        in_flight = state in _IN_FLIGHT and attempt == self._last
        return StepRecord(
            key,
            _STATES[state],
            name or "",
            inputs or b"",
            code or b"",
            attempt,
            starts,
            tries,
            began or 0.0,
            ended or 0.0,
            not_before or 0.0,
            error or "",
            min(self._deaths, starts) if in_flight else 0,
        )

    def keys(self) -> Iterable[str]:
        """Return all keys."""
        return self._rows.keys()

    def discard(self, keys: Iterable[str]) -> None:
        """Forget steps."""
        for key in keys:
            self._rows.pop(key, None)
