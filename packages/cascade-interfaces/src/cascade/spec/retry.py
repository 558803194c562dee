"""The settings of ``with_retry``: which failures are tried again, how often and after what delay."""

from __future__ import annotations

from dataclasses import dataclass

from cascade.interfaces.errors import ConfigurationError
from cascade.spec.checks import LONGEST_DELAY, check_count, check_number


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
        check_count("with_retry(max_attempts=)", self.max_attempts)
        for name, least in (("delay", 0.0), ("backoff", 1.0), ("max_delay", 0.0), ("jitter", 0.0)):
            check_number(f"with_retry({name}=)", getattr(self, name), least=least)
        if self.jitter > 1:
            raise ConfigurationError(
                "with_retry(jitter=)", f"needs a number from 0 to 1, not {self.jitter!r}"
            )
        if not isinstance(self.on, tuple | list):
            raise ConfigurationError("with_retry(on=)", f"needs exception classes, not {self.on!r}")
        object.__setattr__(self, "on", tuple(self.on))
        for kind in self.on:
            if not (isinstance(kind, type) and issubclass(kind, Exception)):
                raise ConfigurationError("with_retry(on=)", f"needs exception classes, not {kind!r}")

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
