"""Checks of gates: topics that an engine may not read, sensors that send nothing, gates that never open. No I/O."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from cascade.interfaces.gates import (
    IS_REFUSED,
    MAX_TOPICS,
    SENT_NOTHING,
    Gate,
    GateMistake,
    duration_in_words,
    is_gate,
)
from cascade.ops._doctor.facts import Facts
from cascade.ops._doctor.finding import Finding, some
from cascade.ops._doctor.rights_checks import rule_of
from cascade.wire import GateEntry, View, gate_rows, seconds

UNKNOWN_SECONDS = 60.0
"""A gate that does not know its value for so long has no sensor: others send more often, or have a longer ``--stale``."""
CLOSED_SECONDS = 86_400.0
"""A gate that is closed for longer may never open."""


class _Gate(NamedTuple):
    """A gate of a live engine."""

    source: str
    gate: Gate
    said: GateEntry

    @property
    def name(self) -> str:
        return f"{self.gate.type} of {self.source}"

    def age(self, now: float) -> float:
        """Return for how many seconds it has said the same."""
        since = seconds(self.said.since)
        return 0.0 if since is None else now - since


def silent_topics(view: View | None, monotonic: float) -> set[str]:
    """Return the topics of gates of which live engines have heard nothing."""
    gates = _gates(view, monotonic) if view is not None else ()
    silent = (each for each in gates if each.said.text.endswith(SENT_NOTHING))
    return {each.gate.topic for each in silent}


def gate_findings(facts: Facts, *, now: float, monotonic: float) -> Iterator[Finding]:
    """Yield what is wrong with gates.

    :param now: seconds since the epoch.
    :param monotonic: seconds on the clock of the view.
    """
    if facts.view is None:
        return
    gates = _gates(facts.view, monotonic)
    unread = [each for each in gates if _is_unread(each, facts)]
    yield from _unread(facts, unread, monotonic)
    yield from _unknown([each for each in gates if each not in unread], now)
    if closed := [each for each in gates if each.said.state == "closed" and each.age(now) > CLOSED_SECONDS]:
        yield Finding(
            "gate_closed",
            some((f"{each.name}, for {duration_in_words(each.age(now))}: {each.said.text}" for each in closed), "; "),
            "the work that it holds has waited for over a day",
            "check the limit, its unit and the sensor; if the gate is right, nothing has to be done",
            ("cascade constraints",),
            warning=True,
        )  # fmt: skip
    if lasting := [each.name for each in gates if each.gate.topic and each.gate.stale is None]:
        yield Finding(
            "gate_never_stale",
            f"a value counts for ever: {some(lasting)}",
            "a sensor that has stopped keeps its last value, so that work may go on although it should wait",
            "set the gate again with --stale, longer than the sensor's interval",
            ("cascade gate SCOPE NAME ... --stale 10m",),
            warning=True,
        )
    yield from _refused(facts.view, monotonic)


def _gates(view: View, monotonic: float) -> list[_Gate]:
    """Return the gates of live engines; any client may have written a report, so that it may hold anything."""
    live = {engine.source for engine in view.live(monotonic)}
    found: list[_Gate] = []
    for source, row in gate_rows(view):
        try:
            gate = Gate.from_params(row.type.partition(".")[2], row.params)
        except GateMistake:
            continue
        if source in live and row.gate:
            found.append(_Gate(source, gate, row.gate))
    return found


def _is_unread(each: _Gate, facts: Facts) -> bool:
    """Whether the broker has refused the topic, or does not send the engine what this client hears."""
    unheard = each.said.text.endswith(SENT_NOTHING) and each.gate.topic in facts.heard_topics
    return each.said.state == "unknown" and (unheard or each.said.text.endswith(IS_REFUSED))


def _unread(facts: Facts, unread: list[_Gate], monotonic: float) -> Iterator[Finding]:
    found = {f"{each.source} may not read {each.gate.topic}" for each in unread}
    found |= set(_declared(facts.view, monotonic)) if facts.view is not None else set()
    topics = sorted({each.gate.topic for each in unread})[:MAX_TOPICS]
    if found:
        yield Finding(
            "gate_unread",
            some(found, "; "),
            "a gate on this topic stays unknown, and holds its scope unless it says --on-stale pass",
            "let the engine read the topics of its gates, as cascade acl --gate does",
            (*(rule_of(facts, "read", each) for each in topics), "cascade acl --engine NAME --gate TOPIC"),
        )


def _declared(view: View | None, monotonic: float) -> Iterator[str]:
    """Yield reasons of gates that programs declare, which no constraint lists, where the broker refuses the topic."""
    for engine in view.live(monotonic) if view is not None else ():
        for run in engine.runs.runs if engine.runs is not None else ():
            yield from (
                f"{engine.source}: {row.text}"
                for row in run.waiting
                if row.why == "gate" and row.text.endswith(IS_REFUSED)
            )


def _unknown(gates: list[_Gate], now: float) -> Iterator[Finding]:
    unknown = [each for each in gates if each.said.state == "unknown" and each.age(now) > UNKNOWN_SECONDS]
    for holds, means in (
        (True, "the work of its scope waits until the value is known"),
        (False, "its work goes on without it, as --on-stale pass says"),
    ):
        texts = [
            f"{each.name}, for {duration_in_words(each.age(now))}: {each.said.text}"
            for each in unknown
            if each.said.holds is holds
        ]
        if texts:
            yield Finding(
                "gate_unknown",
                some(texts, "; "),
                means,
                "check the sensor, its topic and the path; or clear the gate",
                ("mosquitto_sub -v -t TOPIC", "cascade clear SCOPE gate.NAME"),
                warning=not holds,
            )


def _refused(view: View, monotonic: float) -> Iterator[Finding]:
    found = {
        f"{engine.source} refuses {name}: {entry.reason or entry.status}"
        for engine in view.live(monotonic)
        for topic, entry in (engine.constraints.applied if engine.constraints is not None else {}).items()
        if is_gate(name := topic.rpartition("/@")[2])
        and entry.status in ("rejected", "refused", "unsupported")
    }
    if found:
        yield Finding(
            "gate_refused",
            some(found, "; "),
            "the engine obeys the last valid value of this gate, or none: work may go on that should wait",
            "set the gate again as the reason says",
            ("cascade gate SCOPE NAME ... --wait",),
        )
