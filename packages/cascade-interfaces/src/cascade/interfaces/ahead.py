"""An ability of executors: to take calls ahead, so that no worker waits for its next call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

LARGEST_AHEAD = 8
"""Most calls that are sent ahead to each worker."""

_WORK_AHEAD = 0.02  # seconds of work that are sent ahead to each worker
_WEIGHT = 0.125  # of the latest call, in the mean duration


class CallWithdrawn(Exception):
    """A call that had been taken ahead was withdrawn: it has not started and will not start."""


@runtime_checkable
class SupportsAhead(Protocol):
    """Ability of an executor: take more calls than it has workers, and report when each one starts.

    An engine reports a task as running when its call starts, and uses this only for tasks that
    need no permission: neither a constraint nor a resource applies to them.
    """

    @property
    def ahead(self) -> int:
        """How many calls beyond ``workers`` the executor takes now; it may change at any time."""
        ...

    async def run_ahead(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        started: Callable[[], None],
    ) -> Any:
        """Do what ``run`` does, and call ``started`` on this event loop when a worker starts the call.

        No more calls than ``workers`` have started and not ended: ``started`` is called after
        the outcome of the call whose place it takes has been returned.

        :raises CallWithdrawn: if the call was withdrawn before it started.
        """
        ...

    async def withdraw(self) -> None:
        """Withdraw every call that was taken ahead and has not started.

        After this returns, none of the calls taken before starts: each one has either started,
        and its ``started`` was called, or its ``run_ahead`` raises ``CallWithdrawn``.
        """
        ...

    def watch(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Call ``changed`` on this event loop after ``workers`` has changed; return how to stop that."""
        ...


class AheadWindow:
    """How many calls to send ahead to each worker: about 20 ms of work, and at most ``LARGEST_AHEAD`` calls."""

    def __init__(self) -> None:
        self._mean: float | None = None
        self.each = 0
        """Calls ahead for each worker; 0 until a call has ended."""

    def learn(self, seconds: float) -> None:
        """Note how long a call has run."""
        self._mean = mean = seconds if self._mean is None else self._mean + _WEIGHT * (seconds - self._mean)
        self.each = LARGEST_AHEAD if mean <= _WORK_AHEAD / LARGEST_AHEAD else int(_WORK_AHEAD / mean)
