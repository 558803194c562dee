"""Index of what earlier attempts recorded of each step, in little memory. No I/O."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from itertools import chain
from typing import Any

from cascade.interfaces import StepRecord, StepState

KEPT = (StepState.COMPLETED, StepState.EXPANDED)
"""States of a step that has a value or a plan."""

_STATES = {int(state): state for state in StepState}
_IN_FLIGHT = (StepState.STARTED, StepState.IN_DOUBT)
# a tuple of all fields: half the time of a call by position
_made = partial(tuple.__new__, StepRecord)

_Common = tuple[StepState, str, bytes, int, int, int]
"""State, name, code, attempt, starts and tries: the same for very many steps, which share one object."""


class StepIndex:
    """What SQLite has of each step; a record is made when it is asked for.

    Of a step that has a value or a plan, only what a resume compares is held: its times are not.

    :param kept: key and inputs of each step with a value or a plan, then what stands in ``_Common``.
    :param others: all columns of each other step.
    :param last: the last attempt of the run.
    :param deaths: how often in a row a process died with no step recorded in between.
    :raises ValueError: if a row is not one that Cascade has written.
    """

    def __init__(
        self,
        kept: Iterable[tuple[Any, ...]],
        others: Iterable[tuple[Any, ...]],
        *,
        last: int,
        deaths: int,
    ) -> None:
        commons: dict[tuple[Any, ...], _Common] = {}
        self._kept: dict[str, tuple[bytes, _Common]] = {}
        for key, inputs, *columns in kept:
            found = tuple(columns)
            common = commons.get(found)
            if common is None:
                common = commons[found] = _common(*columns)
            self._kept[key] = (inputs or b"", common)
        self._others = {row[0]: row for row in others}
        for row in self._others.values():
            _check(row[2], *row[5:8])
        self._last = last
        self._deaths = deaths

    @property
    def kept(self) -> int:
        """How many steps have a value or a plan."""
        return len(self._kept)

    def get(self, key: str) -> StepRecord | None:
        """Return what is known of a step."""
        found = self._kept.get(key)
        if found is not None:
            inputs, (state, name, code, attempt, starts, tries) = found
            return _made((key, state, name, inputs, code, attempt, starts, tries, 0.0, 0.0, 0.0, "", 0))
        row = self._others.get(key)
        return None if row is None else self._record(*row)

    def keys(self, *states: StepState) -> Iterable[str]:
        """Return all keys, or those of the steps in one of these states."""
        if not states:
            return chain(self._kept, self._others)
        found = [key for key, row in self._others.items() if row[2] in states]
        if not {*KEPT}.isdisjoint(states):
            found += [key for key, (_, common) in self._kept.items() if common[0] in states]
        return found

    def discard(self, keys: Iterable[str]) -> None:
        """Forget steps."""
        for key in keys:
            self._kept.pop(key, None)
            self._others.pop(key, None)

    def _record(self, key: str, name: Any, state: int, inputs: Any, code: Any, *rest: Any) -> StepRecord:
        attempt, starts, tries, began, ended, not_before, error = rest
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


def _common(name: Any, state: Any, code: Any, attempt: Any, starts: Any, tries: Any) -> _Common:
    _check(state, attempt, starts, tries)
    return _STATES[state], name or "", code or b"", attempt, starts, tries


def _check(state: Any, *numbers: Any) -> None:
    if state not in _STATES or any(type(number) is not int for number in numbers):
        raise ValueError("a step has an unknown state or number")
