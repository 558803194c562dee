"""A task's future value, before anything has run."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Generic, NoReturn, TypeVar, cast

from cascade.interfaces.errors import ConfigurationError, InvalidTargetError, UsageError
from cascade.spec.caching import CachePolicy, cache_policy
from cascade.spec.constraint import check_amount
from cascade.spec.definition import TaskDefinition, structural
from cascade.spec.policies import LONGEST_DELAY, NO_POLICIES, Policies, RetryPolicy

R_co = TypeVar("R_co", covariant=True)
LazyT = TypeVar("LazyT", bound="LazyResult[Any]")

_UNSET: Any = object()

NO_KWARGS: Mapping[str, Any] = {}
"""Shared, so that a call without keywords keeps no dict; nobody writes to it."""


@dataclass(frozen=True, slots=True)
class Condition:
    """When a call is made at all."""

    lazy: LazyResult[Any]
    otherwise: Any
    """The value when the condition is false."""
    skips: bool
    """Whether, instead of taking ``otherwise``, the call and all that needs it are skipped."""


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """One call of a task. Immutable, and equal only to itself."""

    definition: TaskDefinition
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    policies: Policies = NO_POLICIES
    predecessors: tuple[LazyResult[Any], ...] = ()
    condition: Condition | None = None


@dataclass(frozen=True, slots=True, eq=False)
class MapCall(Call):
    """One call for each item; ``kwargs`` holds the columns: tuples, or lazy results that give one."""

    fixed: Mapping[str, Any] = field(default_factory=dict)
    """Arguments that are the same for every item."""
    limit: int | None = None
    """How many items run at the same time at most."""


class LazyResult(Generic[R_co]):
    """One call of a task in a graph that has not run. Immutable; equal only to itself.

    Pass it to other tasks, alone or inside lists, tuples, dicts and dataclasses: they wait for
    it and get its value. Used in several places, it runs once. ``lazy[key]`` and
    ``lazy.attribute`` are lazy results too: the item or attribute of its value.
    """

    __slots__ = ("__weakref__", "_call")

    _call: Call

    def __init__(self, call: Call) -> None:
        object.__setattr__(self, "_call", call)

    def with_retry(
        self: LazyT,
        max_attempts: int = 3,
        *,
        delay: float = 0.0,
        backoff: float = 1.0,
        max_delay: float = LONGEST_DELAY,
        jitter: float = 0.0,
        on: tuple[type[Exception], ...] = (Exception,),
    ) -> LazyT:
        """Return a node that is tried up to ``max_attempts`` times in all.

        ``delay`` seconds pass before the second attempt, ``backoff`` times more before each
        further one, never more than ``max_delay``; ``jitter`` (a share, 0 to 1) shortens or
        lengthens each at random. Only errors of the classes in ``on`` are tried again.

        :raises ConfigurationError: if a value makes no sense.
        """
        retry = RetryPolicy(max_attempts, delay, backoff, max_delay, jitter, on)
        return self._with_policy("with_retry", retry=retry)

    def with_timeout(self: LazyT, seconds: float) -> LazyT:
        """Return a node of which each attempt may take ``seconds``.

        A task in a thread cannot be stopped: its attempt is given up, and its thread runs on to its end or
        its next checkpoint. What ``with_constraints`` gave it is in use until then.

        :raises ConfigurationError: if ``seconds`` is not a number above 0.
        """
        return self._with_policy("with_timeout", timeout=seconds)

    def with_cache(self: LazyT, policy: CachePolicy | None = None, **settings: Any) -> LazyT:
        """Return a node that does not run when its value is already there.

        The settings are those of :class:`CachePolicy`, which may be given itself.

        :raises ConfigurationError: if a setting makes no sense, or names what is no parameter.
        """
        return self._with_policy("with_cache", cache=cache_policy(self._call.definition, policy, settings))

    def with_constraints(self: LazyT, **demands: float | LazyResult[float]) -> LazyT:
        """Return a node that runs only while it holds these amounts of the engine's resources.

        They are taken all at once, when the task is ready, and given back however it ends. An
        amount may be a lazy result.

        :raises ConfigurationError: if an amount is neither a number from 0 nor a lazy result.
        """
        return self._with_policy("with_constraints", demands=checked_demands(demands))

    def after(self: LazyT, *lazies: LazyResult[Any]) -> LazyT:
        """Return a node that also waits for ``lazies``, whose values it does not take.

        :raises InvalidTargetError: if one is not a lazy result.
        """
        for lazy in lazies:
            _check_lazy(lazy, "after(...) takes what calls of tasks return")
        return self._changed(predecessors=self._call.predecessors + lazies)

    def run_if(self: LazyT, condition: LazyResult[Any], *, otherwise: Any = _UNSET) -> LazyT:
        """Return a node that runs only if the value of ``condition`` is true.

        If it is false the node's value is ``otherwise``; without one the node is skipped, and
        so is every task that takes its value. A skipped target's value is None.

        :raises InvalidTargetError: if the condition is not a lazy result.
        """
        _check_lazy(condition, "run_if(...) takes what a call of a task returns")
        skips = otherwise is _UNSET
        return self._changed(condition=Condition(condition, None if skips else otherwise, skips))

    def named(self: LazyT, name: str) -> LazyT:
        """Return a node that observers see, and constraints match, under another name.

        :raises ConfigurationError: if the name is not a text with something in it.
        """
        if not isinstance(name, str) or not name.strip():
            raise ConfigurationError("named(name)", f"needs a text, not {name!r}")
        return self._changed(definition=replace(self._call.definition, name=name))

    def with_concurrency(self: LazyT, limit: int) -> LazyT:
        """Return a map of which at most ``limit`` items run at the same time.

        :raises ConfigurationError: if it is not a whole number from 1, or this is no map.
        """
        if not isinstance(self._call, MapCall):
            raise ConfigurationError(
                "with_concurrency(limit)", "bounds a map; write task.map(...).with_concurrency(4)"
            )
        if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
            raise ConfigurationError("with_concurrency(limit)", f"needs a whole number from 1, not {limit!r}")
        return self._changed(limit=limit)

    def __getitem__(self, key: Any) -> LazyResult[Any]:
        return LazyResult(Call(_ITEM, (self, key), NO_KWARGS))

    def __getattr__(self, name: str) -> LazyResult[Any]:
        if name.startswith("_"):  # what Python and libraries look for by themselves
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return LazyResult(Call(_ATTRIBUTE, (self, name), NO_KWARGS))

    def __repr__(self) -> str:
        inputs = len(self._call.args) + len(self._call.kwargs)
        return f"<{type(self).__name__} {self._call.definition.name} with {inputs} argument{'s' * (inputs != 1)}>"

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"{self!r} is immutable; its methods return new nodes")

    def __copy__(self: LazyT) -> LazyT:
        return self

    def __deepcopy__(self: LazyT, memo: object) -> LazyT:
        return self

    def __reduce__(self) -> tuple[type[LazyResult[Any]], tuple[Call]]:
        return LazyResult, (self._call,)

    def __bool__(self) -> NoReturn:
        raise UsageError(
            f"{self!r} has no value before it runs; decide inside a task or with run_if(...), "
            "or run it first with cs.run(...)"
        )

    def __iter__(self) -> NoReturn:
        raise UsageError(
            f"{self!r} has no items before it runs; write task.map(x=lazy) for a task for each, or lazy[0] for one"
        )

    def _with_policy(self: LazyT, setting: str, **policy: Any) -> LazyT:
        definition = self._call.definition
        if definition.structural:
            raise ConfigurationError(
                setting,
                f"{definition.name!r} is a step of the graph and calls no task; "
                "set it on the tasks whose values it takes, or on a task that takes its value",
            )
        return self._changed(policies=replace(self._call.policies, **policy))

    def _changed(self: LazyT, **changes: Any) -> LazyT:
        return cast("LazyT", LazyResult(replace(self._call, **changes)))


def call_of(lazy: LazyResult[Any]) -> Call:
    """Return what a lazy result declares: for engines and tools, not for workflows."""
    return lazy._call


def targets_of(target: object) -> list[LazyResult[Any]]:
    """Return the lazy results that a run is for: one, or those of a list.

    :raises InvalidTargetError: naming what is none.
    """
    targets = [target] if isinstance(target, LazyResult) else target
    if not isinstance(targets, list | tuple):
        raise InvalidTargetError(target)
    for lazy in targets:
        if not isinstance(lazy, LazyResult):
            raise InvalidTargetError(lazy)
    return list(targets)


def checked_demands(demands: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return demands whose amounts are numbers or lazy results.

    :raises ConfigurationError: naming one that is neither.
    """
    for name, amount in demands.items():
        if not isinstance(amount, LazyResult):
            check_amount(name, amount)
    return demands


def _check_lazy(lazy: object, advice: str) -> None:
    if not isinstance(lazy, LazyResult):
        raise InvalidTargetError(lazy, advice=advice)


_ITEM = structural(operator.getitem, "item")
_ATTRIBUTE = structural(getattr, "attribute")
