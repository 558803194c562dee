"""Checks of what engines have left on a broker: clocks, ghosts, collisions, lost stores. No I/O."""

from __future__ import annotations

from collections.abc import Iterator

from cascade.ops._doctor.facts import Facts
from cascade.ops._doctor.finding import Finding, some
from cascade.wire import EngineView, Register, View

SKEW_SECONDS = 5.0
"""Difference of two clocks that is named: a constraint may then expire early or late."""
COLLIDING_BIRTHS = 3
"""Births of one source within an examination that show two processes: one that restarts has two at most."""


def engine_findings(facts: Facts, *, now: float, monotonic: float) -> Iterator[Finding]:
    """Yield what is wrong with the engines on a broker.

    :param now: seconds since the epoch.
    :param monotonic: seconds on the clock of the view.
    """
    if facts.view is None:
        return
    yield from _clock(facts, now)
    yield from _collisions(facts)
    yield from _lost_store(facts.view)
    yield from _hidden(facts.view, monotonic)
    yield from _unreported(facts.view)
    yield from _ghosts(facts)


def _clock(facts: Facts, now: float) -> Iterator[Finding]:
    assert facts.view is not None
    ahead = {
        source: engine.presence.seconds - now
        for source, engine in facts.view.engines.items()
        if engine.presence is not None and engine.presence.seconds is not None
    }
    skewed = {source: by for source, by in ahead.items() if by > SKEW_SECONDS}
    skewed |= {source: -by for source, by in facts.late_by.items() if abs(by) > SKEW_SECONDS}
    if skewed:
        most = max(skewed, key=lambda source: abs(skewed[source]))
        by = skewed[most]
        yield Finding(
            "clock",
            f"the clock of {some(skewed)} differs from this machine's: {most} by {by:+.0f} s",
            "constraints with an expiry end early or late there",
            "set the clocks of both machines by NTP",
            ("timedatectl set-ntp true",),
        )


def _collisions(facts: Facts) -> Iterator[Finding]:
    assert facts.view is not None
    # two processes slow down once they have noticed each other: then only their reports show it
    found = {source for source, engine in facts.view.engines.items() if engine.contested}
    found |= {source for source, births in facts.births.items() if len(births) >= COLLIDING_BIRTHS}
    if found:
        yield Finding(
            "collision",
            f"{some(found)} connected again and again, or reports another process of its name",
            "two processes have the same name or client id and disconnect each other",
            "give each process an engine name of its own (source_id)",
        )


def _lost_store(view: View) -> Iterator[Finding]:
    if stale := [source for source, engine in view.engines.items() if engine.sync == "stale"]:
        yield Finding(
            "store_lost",
            f"the broker has lost its retained messages, as {some(stale)} reported",
            "each engine keeps the constraints that it knew; others are gone",
            "set the constraints again, and check the broker's persistence",
        )
    if late := [source for source, engine in view.engines.items() if engine.sync == "degraded"]:
        yield Finding(
            "degraded",
            f"{some(late)} could not confirm which constraints are set",
            "an engine may obey an old set",
            "check the engine's rights on cascade/sync/ENGINE/+ and its connection",
            warning=True,
        )


def _unreported(view: View) -> Iterator[Finding]:
    if silent := sorted(source for source, engine in view.engines.items() if engine.is_unreported):
        yield Finding(
            "no_reports",
            f"{some(silent)} is online, and none of its reports arrives",
            "what runs there and what holds it is not known, and no command with --wait gets an answer",
            "let the engine write its reports, and this user read them",
            (f"topic write cascade/state/{silent[0]}/+", "topic read cascade/state/+/+"),
            warning=True,
        )


def _hidden(view: View, now: float) -> Iterator[Finding]:
    """Compare what the broker holds with what each engine reports: rules may hide a constraint from an engine."""
    hidden = {
        engine.source: missing
        for engine in view.live(now)
        if (
            missing := sorted(
                topic for topic in view.registers if _does_not_know(engine, view.registers[topic])
            )
        )
    }
    if hidden:
        topics = sorted(set().union(*hidden.values()))
        yield Finding(
            "hidden_constraints",
            f"{some(hidden)} does not report constraints that the broker holds: {some(topics)}",
            "the broker does not send them there: tasks start that a pause or a limit should hold",
            "let each engine read all constraints",
            ("topic read cascade/constraints/#",),
        )


def _does_not_know(engine: EngineView, register: Register) -> bool:
    """Whether a complete report of an engine in sync leaves out a register that it would list."""
    report = engine.constraints
    if (
        report is None
        or engine.reports_of_another
        or report.more
        or report.sync not in ("synced", "degraded")
    ):
        return False
    kind, _, value = register.scope.partition(":")
    elsewhere = {"source": value != engine.source, "project": value != engine.project_id}.get(kind, False)
    return not elsewhere and register.topic not in report.applied


def _ghosts(facts: Facts) -> Iterator[Finding]:
    assert facts.view is not None
    if nameless := [source for source, engine in facts.view.engines.items() if engine.has_no_birth]:
        yield Finding(
            "no_birth",
            f"the broker has reports of {some(nameless)}, but no birth",
            "another client may have written such a report, or the presence was cleared",
            "check who may write cascade/state; cascade prune clears what an engine that is gone has left",
            ("cascade prune",),
            warning=True,
        )
    if facts.leftovers:
        yield Finding(
            "ghosts",
            f"retained messages of dead engines or expired constraints are left: {facts.leftovers}",
            "lists show engines that are gone",
            "clear them",
            ("cascade prune",),
            warning=True,
        )
