"""The runs that a cancel of a source, a workflow or of tasks covers: those that were active when it arrived. No I/O."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import msgspec.structs

from cascade.interfaces import Clock
from cascade.runtime._admission.rules import Cancel
from cascade.runtime._registers.parsing import Constraint

MAX_ARRIVALS = 16_384
"""Cancels that are remembered, more than an engine keeps as registers; of more, those that came first are forgotten."""

# the order of arrivals and of the beginnings of runs in this process; no clock decides it
_moments = itertools.count(1)


class Arrival(NamedTuple):
    """When a cancel arrived in this process."""

    constraint: Constraint
    moment: int
    by_clock: bool
    """Whether it came with the first set: runs began before that, and only its ``ts`` shows which it means."""


class _Began(NamedTuple):
    """When an active run has begun, and its workflow."""

    moment: int
    at: float
    """On the wall clock."""
    workflow: str


Arrivals = dict[str, Arrival]
"""The latest arrival by topic. It outlives a connection: what the process knew does not arrive anew."""


class Cancels:
    """Decides which runs a cancel covers; the scope ``run:`` always covers its run.

    A cancel that arrives live, or is first seen in a sync while runs are active, covers those runs. No run obeys
    a cancel that was known before it began. In the first set after a start, a run began before everything that
    arrives: there a cancel with a ``ts`` covers only runs that began before that time.
    """

    def __init__(self, clock: Clock, arrivals: Arrivals | None = None) -> None:
        self.in_first_set = True
        """Whether the first set after the start has not been completed yet."""
        self._clock = clock
        self._arrivals = arrivals if arrivals is not None else {}
        self._runs: dict[str, _Began] = {}

    def begin_run(self, run_id: str, workflow: str = "") -> None:
        """Note that a run is active from now on."""
        self._runs[run_id] = _Began(next(_moments), self._clock.now(), workflow)

    def end_run(self, run_id: str) -> None:
        """Note that a run has ended. Idempotent."""
        self._runs.pop(run_id, None)

    def topics(self) -> list[str]:
        """Return the topics of the cancels that have arrived and do not name one run."""
        return list(self._arrivals)

    def forget(self, topic: str) -> None:
        """Forget a cancel that was cleared or refused."""
        self._arrivals.pop(topic, None)

    def covering(self, topic: str, constraint: Constraint, *, live: bool = False) -> Constraint:
        """Return a constraint; a cancel that does not name one run with the active runs that it covers.

        :param live: the message is new, even if it equals the one before.
        """
        if not isinstance(constraint.rule, Cancel):
            return constraint
        if constraint.scope.startswith("run:"):
            return msgspec.structs.replace(constraint, rule=Cancel(until=constraint.expires_at))
        known = self._arrivals.get(topic)
        if known is None or live or known.constraint != constraint:
            known = Arrival(constraint, next(_moments), by_clock=self.in_first_set and not live)
            self._remember(topic, known)
        return self._covering(known, constraint)

    def known(self, topic: str, constraint: Constraint) -> Constraint:
        """Return a constraint that has arrived before, with the runs that it covers now."""
        known = self._arrivals.get(topic)
        return constraint if known is None else self._covering(known, constraint)

    def left_out(self, constraint: Constraint) -> Iterator[str]:
        """Yield the active runs that a cancel does not cover."""
        rule = constraint.rule
        if isinstance(rule, Cancel) and rule.runs is not None:
            yield from (run_id for run_id in self._in_scope(constraint) if run_id not in rule.runs)

    def _covering(self, arrival: Arrival, constraint: Constraint) -> Constraint:
        covered = frozenset(
            run_id
            for run_id, began in self._in_scope(constraint).items()
            if began.moment < arrival.moment
            and not (arrival.by_clock and constraint.ts is not None and constraint.ts < began.at)
        )
        return msgspec.structs.replace(constraint, rule=Cancel(covered, constraint.expires_at))

    def _in_scope(self, constraint: Constraint) -> dict[str, _Began]:
        """Return the active runs that the scope of a cancel names, however old they are."""
        kind, _, value = constraint.scope.partition(":")
        if kind != "workflow":
            return self._runs
        return {run_id: began for run_id, began in self._runs.items() if began.workflow == value}

    def _remember(self, topic: str, arrival: Arrival) -> None:
        self._arrivals.pop(topic, None)
        self._arrivals[topic] = arrival
        if len(self._arrivals) <= MAX_ARRIVALS:
            return
        now = self._clock.now()
        for each, (constraint, _, _) in list(self._arrivals.items()):
            if constraint.expires_at is not None and constraint.expires_at < now:
                del self._arrivals[each]
        # more than one, so that not every arrival searches all of them
        while len(self._arrivals) > MAX_ARRIVALS * 3 // 4:
            del self._arrivals[next(iter(self._arrivals))]
