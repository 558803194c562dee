"""Storage for the values of cached tasks, and its errors. A docstring here is the contract of its method."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from cascade.interfaces.errors import ExternalError, UsageError


@dataclass(frozen=True, slots=True)
class Hit:
    """A value that was found; a value of None is a hit like any other."""

    value: Any
    age: float
    """Seconds since it was stored; infinite if a clock that was set back cannot tell."""


class CacheBackend(Protocol):
    """Keeps values under keys, for as long as it can.

    Keys are short strings that already distinguish task, code and arguments; a backend only
    compares them. Methods may be called from several event loops, one after the other and at
    the same time.

    A backend handles the faults of the outside world (no space, no file, no network) itself,
    with one warning for each change of state: ``get`` then finds nothing, ``put`` keeps nothing.
    Only a backend that was made to require its store raises ``CacheUnavailable``, which fails the
    task. Any other error is logged and counts as "nothing found".
    """

    async def get(self, key: str) -> Hit | None:
        """Return the value kept under ``key``, or None if there is none or it has expired."""
        ...

    async def put(self, key: str, value: Any, *, ttl: float | None = None) -> None:
        """Keep ``value`` in place of an earlier one, for ``ttl`` seconds or until room is needed.

        When this returns, the value is kept as it was then, or it is not kept at all.

        :raises UnstorableValueError: if no value like this one can be kept.
        """
        ...

    async def close(self) -> None:
        """Finish operations under way; free threads, files and connections; keep the values. Idempotent.

        Called at the end of every run that used the backend. The next ``get`` or ``put`` opens
        them again.
        """
        ...


class UncacheableArgumentError(UsageError, TypeError):
    """An argument of a cached task from which no key can be made: ``where`` names it."""

    def __init__(self, task_name: str, where: str, problem: str, *, remedy: str = "") -> None:
        self.task_name = task_name
        self.where = where
        self.problem = problem
        advice = remedy or (
            "give with_cache(key=...) a function of the task's arguments that returns plain values"
        )
        super().__init__(f"task {task_name!r} cannot be cached by its {where}: {problem}; {advice}")


class UnstorableValueError(UsageError, TypeError):
    """A value that a cache cannot keep: ``problem`` states why."""

    def __init__(self, value: object, problem: str) -> None:
        self.problem = problem
        super().__init__(f"a {type(value).__module__}.{type(value).__qualname__} {problem}")


class CacheFileError(UsageError, OSError):
    """A task that is cached by a file did not write the file, or returned something else."""

    def __init__(self, task_name: str, path: str, problem: str) -> None:
        self.task_name = task_name
        self.path = path
        self.problem = problem
        super().__init__(  # arguments may be part of the path
            f"task {task_name!r} is cached by the file {path}, but {problem}",
            public=f"task {task_name!r} is cached by a file, but did not write it or returned something else",
        )


class CacheUnavailable(ExternalError, OSError):
    """A cache that was made with ``required=True`` cannot be used."""

    def __init__(self, cache: str, cause: str) -> None:
        self.cache = cache
        self.cause = cause
        super().__init__(f"the cache {cache} cannot be used: {cause}")
