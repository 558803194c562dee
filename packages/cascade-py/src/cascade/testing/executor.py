"""An executor that runs nothing by itself: what a task gives is decided by the test."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


class FakeExecutor:
    """A :class:`cascade.interfaces.Executor` that calls in place and remembers, or answers with what it was given.

    ``answers`` maps names of functions to the value that a call gives, or to an exception that
    it raises; a function without an answer is called.
    """

    def __init__(self, answers: Mapping[str, Any] | None = None, *, workers: int = 4) -> None:
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
        """Name, arguments and keywords of every call, in order."""
        self._answers = dict(answers or {})
        self._workers = workers

    @property
    def workers(self) -> int:
        """How many calls the engine hands over at the same time."""
        return self._workers

    async def run(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return the answer for this function, or call it."""
        name = getattr(function, "__name__", repr(function))
        self.calls.append((name, args, kwargs))
        if name not in self._answers:
            return function(*args, **kwargs)
        answer = self._answers[name]
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def settle(self, timeout: float) -> int:
        """Return 0: nothing runs behind anybody's back."""
        return 0

    async def close(self) -> None:
        """Do nothing."""
