"""How often, how long and on what a task may try: plain values, decided without a clock."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cascade.interfaces.errors import ConfigurationError
from cascade.spec.caching import CachePolicy

LONGEST_DELAY = 86_400.0
"""Seconds (one day) that no delay between two attempts exceeds, however it has grown."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Try again after a failure.

    :raises ConfigurationError: if a value makes no sense.
    """

    max_attempts: int = 3
    """Attempts in all, the first one included."""
    delay: float = 0.0
    """Seconds between the first attempt and the second."""
    backoff: float = 1.0
    """Factor by which each further delay grows."""
    max_delay: float = LONGEST_DELAY
    """Seconds that no delay exceeds."""
    jitter: float = 0.0
    """Share of a delay, 0 to 1, by which it is made shorter or longer at random."""
    on: tuple[type[Exception], ...] = (Exception,)
    """Errors after which another attempt makes sense; any other ends the task at once."""

    def __post_init__(self) -> None:
        if (
            isinstance(self.max_attempts, bool)
            or not isinstance(self.max_attempts, int)
            or self.max_attempts < 1
        ):
            raise ConfigurationError(
                "with_retry(max_attempts=)", f"needs a whole number from 1, not {self.max_attempts!r}"
            )
        _check_number("with_retry(delay=)", self.delay, least=0.0)
        _check_number("with_retry(backoff=)", self.backoff, least=1.0)
        _check_number("with_retry(max_delay=)", self.max_delay, least=0.0)
        _check_number("with_retry(jitter=)", self.jitter, least=0.0)
        if self.jitter > 1:
            raise ConfigurationError("with_retry(jitter=)", f"is a share from 0 to 1, not {self.jitter!r}")
        for kind in self.on:
            if not (isinstance(kind, type) and issubclass(kind, Exception)):
                raise ConfigurationError("with_retry(on=)", f"takes exception classes, not {kind!r}")

    def delay_after(self, attempt: int, chance: float = 0.5) -> float:
        """Return the seconds to wait after attempt number ``attempt`` (from 1) has failed.

        ``chance``, 0 to 1, decides the jitter; 0.5 means none.
        """
        try:
            delay = self.delay * self.backoff ** (attempt - 1)
        except OverflowError:
            delay = LONGEST_DELAY
        delay *= 1 + self.jitter * (2 * chance - 1)
        return min(delay, self.max_delay, LONGEST_DELAY)


@dataclass(frozen=True, slots=True)
class Policies:
    """What is asked of every attempt of one task."""

    retry: RetryPolicy | None = None
    timeout: float | None = None
    """Seconds that one attempt may take."""
    cache: CachePolicy | None = None
    demands: Mapping[str, Any] | None = None
    """Amounts of the engine's resources, by name: numbers, or lazy results that give one."""

    def __post_init__(self) -> None:
        if self.timeout is not None:
            _check_number("with_timeout(seconds)", self.timeout, least=0.0, exclusive=True)


NO_POLICIES = Policies()


def _check_number(setting: str, value: float, *, least: float, exclusive: bool = False) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not number or value < least or (exclusive and value == least):
        bound = "above" if exclusive else "from"
        raise ConfigurationError(setting, f"needs a number {bound} {least:g}, not {value!r}")
