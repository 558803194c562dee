"""Policies by method: what tasks and single calls set in the same way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from cascade.interfaces.call_errors import explains_calls
from cascade.interfaces.errors import ConfigurationError
from cascade.spec._containers import Deferred
from cascade.spec.checks import LONGEST_DELAY, check_amount, check_number
from cascade.spec.nested import PLAIN, find_lazies
from cascade.spec.policies import Fallback

if TYPE_CHECKING:
    from cascade.spec.caching import CachePolicy
    from cascade.spec.definition import TaskDefinition


class PolicyMethods:
    """The settings that a task and one call of it have in common; each method returns a changed copy."""

    __slots__ = ()

    @explains_calls
    def with_retry(
        self,
        max_attempts: int = 3,
        *,
        delay: float = 0.0,
        backoff: float = 1.0,
        max_delay: float = LONGEST_DELAY,
        jitter: float = 0.0,
        on: type[Exception] | tuple[type[Exception], ...] = (Exception,),
    ) -> Self:
        """Return a copy that is tried up to ``max_attempts`` times in all.

        ``delay`` seconds pass before the second attempt, ``backoff`` times more before each
        further one, never more than ``max_delay``; ``jitter`` (a share, 0 to 1) shortens or
        lengthens each at random. Only errors of the class or classes in ``on`` are tried again.

        :raises ConfigurationError: if a value makes no sense, or an argument is an iterator, which
            only the first attempt could read.
        """
        from cascade.spec.retry import RetryPolicy

        classes = tuple(on) if isinstance(on, tuple | list) else (on,)
        retry = RetryPolicy(max_attempts, delay, backoff, max_delay, jitter, classes)
        return self._with_policy("with_retry", retry=retry)

    @explains_calls
    def with_timeout(self, seconds: float) -> Self:
        """Return a copy of which each attempt may take ``seconds``.

        Python cannot stop a thread: the run goes on without it while its function runs on to its end or
        its next checkpoint, and what ``with_constraints`` gave it stays in use until then. The same holds for
        an async function that suppresses ``asyncio.CancelledError``, ``stop_timeout`` seconds after its limit.

        :raises ConfigurationError: if ``seconds`` is not a number above 0, or the task blocks the event
            loop (``mode="inline"``), so that no time limit could end it.
        """
        definition = self._declared()
        if definition.on_loop and not definition.is_async and not definition.structural:
            raise ConfigurationError(
                "with_timeout(seconds)",
                f"task {definition.name!r} has mode='inline' and blocks the event loop, so no time limit can end it; "
                "leave mode out, or make it an async function",
            )
        check_number("with_timeout(seconds)", seconds, least=0.0, exclusive=True)
        return self._with_policy("with_timeout", timeout=seconds)

    def with_cache(self, policy: CachePolicy | None = None, **settings: Any) -> Self:
        """Return a copy that does not run when its value is already there.

        The settings are those of :class:`CachePolicy`, which may be given itself.

        :raises ConfigurationError: if a setting makes no sense, or names a parameter that the task does not have.
        """
        from cascade.spec.caching import cache_policy

        return self._with_policy("with_cache", cache=cache_policy(self._declared(), policy, settings))

    @explains_calls
    def with_constraints(self, /, **demands: float | Deferred) -> Self:
        """Return a copy that runs only while it holds these amounts of the engine's resources.

        They are taken all at once, when the task is ready, and given back however it ends. An
        amount may be a lazy result.

        :raises ConfigurationError: if an amount is neither a number from 0 nor a lazy result.
        """
        for name, amount in demands.items():
            if not isinstance(amount, Deferred):
                check_amount(name, amount)
        return self._with_policy("with_constraints", demands=demands)

    @explains_calls
    def with_rate(self, rate: float | str, *, burst: float = 1.0) -> Self:
        """Return a copy whose attempts start no more often than ``rate``, in all runs of this process together.

        ``rate`` is a number per second, or a text as ``"20/s"``, ``"10/m"`` or ``"5/h"``. After a pause, ``burst`` attempts
        may start at once. A rate limit from the broker can only lower the rate.

        :raises ConfigurationError: if a value makes no sense.
        """
        from cascade.spec.policies import Rate, per_second

        if isinstance(rate, bool) or not isinstance(rate, int | float | str):
            raise ConfigurationError(
                "with_rate(rate)", f"needs a number per second or a text as '20/s', not {rate!r}"
            )
        try:
            per_second(rate)
        except ValueError as exc:
            raise ConfigurationError("with_rate(rate)", f"{exc}; it is {rate!r}") from None
        check_number("with_rate(burst=)", burst, least=1.0)
        return self._with_policy("with_rate", rate=Rate(rate, burst))

    def at_most_once(self) -> Self:
        """Return a copy that a recorded run (``state=``) never starts again on its own.

        Its start is committed before the call. If the process dies between the two, the run stops with
        ``StepInDoubtError`` until a person has found out whether it was done, and has said so with
        ``cascade resolve``. Without ``state=`` it changes nothing.
        """
        return self._with_policy("at_most_once", at_most_once=True)

    def unrecorded(self) -> Self:
        """Return a copy whose value a recorded run (``state=``) does not keep: it runs again when the run is resumed.

        For cheap tasks without effects. Without ``state=`` it changes nothing.
        """
        return self._with_policy("unrecorded", recorded=False)

    def _declared(self) -> TaskDefinition:
        raise NotImplementedError

    def _with_policy(self, setting: str, **policy: Any) -> Self:
        raise NotImplementedError


def fallback(value: object) -> Fallback:
    """Return the policy that puts ``value`` in the place of a failed call's value.

    :raises ConfigurationError: if it is or holds a lazy result.
    """
    if type(value) not in PLAIN and find_lazies(value):
        raise ConfigurationError(
            "or_else(value)", "needs a value, not a lazy result; choose between calls inside a task"
        )
    return Fallback(value)
