"""A task's future value, before anything has run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Generic, NoReturn, TypeVar

from cascade.interfaces.errors import InvalidTargetError, UsageError
from cascade.spec.definition import TaskDefinition
from cascade.spec.policies import NO_POLICIES, Policies, RetryPolicy

R_co = TypeVar("R_co", covariant=True)
LazyT = TypeVar("LazyT", bound="LazyResult[Any]")


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class LazyResult(Generic[R_co]):
    """One call of a task in a graph that has not run. Immutable; equal only to itself.

    Pass it to other tasks, alone or inside lists, tuples and dicts: they wait for it and get
    its value. Used in several places, it runs once.
    """

    definition: TaskDefinition
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    policies: Policies = NO_POLICIES
    predecessors: tuple[LazyResult[Any], ...] = ()

    @property
    def name(self) -> str:
        """The task's name."""
        return self.definition.name

    def with_retry(self: LazyT, max_attempts: int = 3, *, delay: float = 0.0, backoff: float = 1.0) -> LazyT:
        """Return a node that is tried up to ``max_attempts`` times in all.

        ``delay`` seconds pass before the second attempt, ``backoff`` times more before each
        further one.

        :raises ConfigurationError: if a value makes no sense.
        """
        retry = RetryPolicy(max_attempts=max_attempts, delay=delay, backoff=backoff)
        return replace(self, policies=replace(self.policies, retry=retry))

    def with_timeout(self: LazyT, seconds: float) -> LazyT:
        """Return a node of which each attempt may take ``seconds``.

        A task in a thread cannot be stopped: its attempt is given up and its thread runs on.

        :raises ConfigurationError: if ``seconds`` is not a number above 0.
        """
        return replace(self, policies=replace(self.policies, timeout=seconds))

    def after(self: LazyT, *lazies: LazyResult[Any]) -> LazyT:
        """Return a node that also waits for ``lazies``, whose values it does not take.

        :raises InvalidTargetError: if one is not a lazy result.
        """
        for lazy in lazies:
            if not isinstance(lazy, LazyResult):
                raise InvalidTargetError(lazy, advice="after(...) takes what calls of tasks return")
        return replace(self, predecessors=self.predecessors + lazies)

    def __repr__(self) -> str:
        inputs = len(self.args) + len(self.kwargs)
        return f"<{type(self).__name__} {self.name} with {inputs} argument{'s' * (inputs != 1)}>"

    def __bool__(self) -> NoReturn:
        raise UsageError(
            f"{self!r} has no value before it runs; decide inside a task, or run it first with cs.run(...)"
        )


class MapResult(LazyResult[R_co]):
    """One call of a task for each item of its iterables; its value is the list of theirs.

    ``kwargs`` holds the iterables: tuples, or lazy results that give one.
    """

    __slots__ = ()
