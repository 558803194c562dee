"""Policies of a task: attempts, time limits and needs, as plain values without a clock."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:  # most tasks have neither, and a program loads what it uses
    from cascade.spec.caching import CachePolicy
    from cascade.spec.retry import RetryPolicy


class Fallback(NamedTuple):
    """What takes the place of the value of a call that failed for good."""

    value: Any = None
    keeps: bool = False
    """Whether it is a :class:`Failure` that says what failed, instead of ``value``."""


class Policies(NamedTuple):
    """The settings of one task, which hold for each of its attempts."""

    retry: RetryPolicy | None = None
    timeout: float | None = None
    """Seconds that one attempt may take."""
    cache: CachePolicy | None = None
    demands: Mapping[str, Any] | None = None
    """Amounts of the engine's resources, by name: numbers, or lazy results that give one."""
    at_most_once: bool = False
    """Whether a recorded run commits the start of an attempt before the call, and never repeats it on its own."""
    recorded: bool = True
    """Whether a recorded run keeps the value."""
    fallback: Fallback | None = None
    """What dependents take if the call fails; None: they cannot run."""


NO_POLICIES = Policies()
