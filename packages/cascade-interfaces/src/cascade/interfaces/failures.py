"""Failures in the places of values, and the result of a run that returns them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar, cast

from cascade.interfaces.events import RunStatus

_T = TypeVar("_T")

__all__ = ["Failure", "RunResult"]


@dataclass(frozen=True, slots=True)
class Failure:
    """A call that failed for good, in the place of its value; false in a condition.

    ``task.map(...).keep_failures()`` puts one into the list for each item that failed, and
    ``cs.run(..., on_failure="return")`` in the place of each value that a run could not give.
    """

    error: str
    """The cause as watchers see it: one line, secrets masked."""
    type: str
    """Name of the exception's class."""
    task_id: str
    """The call that failed, as events name it."""
    item: int | None = None
    """Index in its map; None for any other call."""

    def __bool__(self) -> bool:
        """Return False, so that ``if value`` and ``filter(None, values)`` leave failures out."""
        return False

    def __str__(self) -> str:
        """Return the failed call and the cause: ``measure:0[33]: OSError: sensor 4 does not answer``."""
        return f"{self.task_id}: {self.error}"


@dataclass(frozen=True, slots=True)
class RunResult(Generic[_T]):
    """What ``on_failure="return"`` gives: all values that the run could compute, and each failure."""

    run_id: str
    status: RunStatus
    """``Succeeded``, ``Failed``, or ``Cancelled`` by a constraint."""
    values: Any
    """The target's value, or a :class:`Failure` in its place; of a list or tuple of targets, a list or tuple of these."""
    failures: tuple[Failure, ...] = ()
    """Every task that failed, in the order in which they did; those that a call keeps, too."""
    error: Exception | None = field(default=None, repr=False)
    """What the run would have raised."""

    @property
    def value(self) -> _T:
        """The value of the target, or the values of the targets.

        :raises Exception: what the run would have raised, unless it succeeded.
        """
        if self.error is not None:
            raise self.error
        return cast("_T", self.values)
