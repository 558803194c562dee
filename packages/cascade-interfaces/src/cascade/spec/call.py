"""The data behind a lazy result: what is to be called, with what, after what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cascade.spec.definition import TaskDefinition
from cascade.spec.policies import NO_POLICIES, Policies

if TYPE_CHECKING:
    from cascade.spec.inputs import Input
    from cascade.spec.lazy import LazyResult

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


@dataclass(frozen=True, slots=True, eq=False)
class RouteCall(Call):
    """The value of one of several routes; ``args`` holds what chooses."""

    routes: Mapping[Any, LazyResult[Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class InputCall(Call):
    """A value that comes from outside when the run begins."""

    source: Input
