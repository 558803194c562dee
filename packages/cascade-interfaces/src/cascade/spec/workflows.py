"""``@workflow``: a function that makes a target, under a name by which others start it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, Generic, Literal, ParamSpec, TypeVar, get_args, overload

from cascade.interfaces.errors import ConfigurationError, TaskDefinitionError
from cascade.spec.schedules import DEFAULT_LEASE_TTL, Missed, check_lease, check_schedule

P = ParamSpec("P")
R = TypeVar("R")

Overlap = Literal["skip", "queue", "allow"]
"""What becomes of a start while a run of the workflow goes on."""


class Workflow(Generic[P, R]):
    """A function that returns a lazy result, or a list of them, offered under a name; calling it still returns that.

    :param name: by which it is offered and started; that of the function if None.
    :param overlap: what becomes of a start while a run of this workflow goes on: ``"skip"`` refuses it, ``"queue"``
        lets it wait (at most ten), ``"allow"`` starts it beside the other.
    :param answer: whether the value of a run is sent to whoever waits for its end; otherwise no value leaves the process.
    :param cron: when a service starts it by itself: minute, hour, day of the month, month, day of the week, such as
        ``"0 3 * * *"``.
    :param every: or after which interval: ``"90s"``, ``"10m"``, ``"2h"`` or ``"1d"``, less than a year; for the first time
        one interval after the service has started.
    :param tz: time zone of ``cron``, such as ``"Europe/Berlin"``; that of the machine if None.
    :param missed: what becomes of ticks that came due while the machine slept or a pause was in force, and of those of
        ``cron`` while the service was away: ``"none"`` drops them, ``"one"`` starts the newest, ``"all"`` the newest hundred
        one after another, oldest first.
    :param lease: a name that several machines share: only the one that holds it starts ticks. It needs an MQTT broker; requests
        are not affected.
    :param lease_ttl: for how long the others listen before they take the lease over: ``"1s"`` to ``"1d"``.
    :raises ConfigurationError: if the name is not a Python identifier, or another value is wrong.
    :raises TaskDefinitionError: if ``function`` cannot be called, or is a coroutine function or a class.
    """

    __name__: str

    def __init__(
        self,
        function: Callable[P, R],
        *,
        name: str | None = None,
        overlap: Overlap = "skip",
        answer: bool = False,
        cron: str | None = None,
        every: str | None = None,
        tz: str | None = None,
        missed: Missed = "one",
        lease: str | None = None,
        lease_ttl: str = DEFAULT_LEASE_TTL,
    ) -> None:
        name = _checked_name(function, name)
        if overlap not in get_args(Overlap):
            raise ConfigurationError("workflow(overlap=)", "needs 'skip', 'queue' or 'allow'", value=overlap)
        check_schedule(cron, every, tz, missed)
        check_lease(lease, lease_ttl, scheduled=cron is not None or every is not None)
        functools.update_wrapper(self, function)
        self.function = function
        """The function itself."""
        self.name = name
        """The name by which it is offered and started."""
        self.overlap: Overlap = overlap
        """What becomes of a start while a run of this workflow goes on."""
        self.answer = answer
        """Whether values of its runs are sent."""
        self.cron, self.every, self.tz = cron, every, tz
        """When a service starts it by itself."""
        self.missed: Missed = missed
        """What becomes of ticks that came due and could not start."""
        self.lease, self.lease_ttl = lease, lease_ttl
        """Which lease a machine needs to start ticks."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Return what the function returns: the target of a run."""
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<Workflow {self.name}>"


@overload
def workflow(function: Callable[P, R], /) -> Workflow[P, R]: ...
@overload
def workflow(
    *,
    name: str | None = None,
    overlap: Overlap = "skip",
    answer: bool = False,
    cron: str | None = None,
    every: str | None = None,
    tz: str | None = None,
    missed: Missed = "one",
    lease: str | None = None,
    lease_ttl: str = DEFAULT_LEASE_TTL,
) -> Callable[[Callable[P, R]], Workflow[P, R]]: ...
def workflow(
    function: Callable[P, R] | None = None,
    /,
    *,
    name: str | None = None,
    overlap: Overlap = "skip",
    answer: bool = False,
    cron: str | None = None,
    every: str | None = None,
    tz: str | None = None,
    missed: Missed = "one",
    lease: str | None = None,
    lease_ttl: str = DEFAULT_LEASE_TTL,
) -> Workflow[P, R] | Callable[[Callable[P, R]], Workflow[P, R]]:
    """Offer a function that makes a target, such as ``@cs.workflow`` or ``@cs.workflow(cron="0 3 * * *", tz="Europe/Berlin")``.

    Its parameters are those that others give when they start it: they are converted by their annotations. See
    :class:`Workflow`.

    :raises ConfigurationError: if the name is not a Python identifier, or another value is wrong.
    :raises TaskDefinitionError: if what is decorated cannot be a workflow.
    """

    def decorate(decorated: Callable[P, R]) -> Workflow[P, R]:
        return Workflow(
            decorated,
            name=name,
            overlap=overlap,
            answer=answer,
            cron=cron,
            every=every,
            tz=tz,
            missed=missed,
            lease=lease,
            lease_ttl=lease_ttl,
        )

    return decorate if function is None else decorate(function)


def _checked_name(function: Any, name: str | None) -> str:
    if not callable(function) or isinstance(function, type) or inspect.iscoroutinefunction(function):
        raise TaskDefinitionError(
            f"a workflow needs a function that returns what a call of a task returns, not {function!r}"
        )
    name = getattr(function, "__name__", "") if name is None else name
    # it is a level of a topic, a keyword of a command, and a part of a run's id
    if not isinstance(name, str) or not (name.isascii() and name.isidentifier()):
        raise ConfigurationError("workflow(name=)", "needs a Python identifier of ASCII letters", value=name)
    return name
