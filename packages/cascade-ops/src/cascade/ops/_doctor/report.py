"""The report of ``cascade doctor``: findings, or the steps of a plan."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from cascade.ops._doctor.facts import Facts
from cascade.ops._doctor.finding import Finding
from cascade.ops._doctor.rights_checks import EVENTS, OWN_SYNC, PRESENCE, STEERING, SYNC
from cascade.ops._doctor.service_checks import offers_of, shown, starters

_INDENT = "  "


def lines_of(
    facts: Facts, problems: Sequence[Finding], warnings: Sequence[Finding], width: int
) -> Iterator[str]:
    """Yield lines for a person: what is in order, then each finding with its meaning and its remedy."""
    reached = list(_in_order(facts))
    for text in reached:
        yield from _wrapped(f"ok       {text}", width, 9)
    for kind, found in (("problem", problems), ("warning", warnings)):
        for number, each in enumerate(found):
            if reached or number or kind == "warning":
                yield ""
            yield from _wrapped(f"{kind}  {each.name}: {each.found}", width, 9)
            yield from _wrapped(f"{'':9}It means: {each.means}.", width, 9)
            yield from _wrapped(f"{'':9}To do: {each.remedy}.", width, 9)
    yield ""
    yield from _wrapped(_sum(problems, warnings), width, 0)


def plan_of(findings: Sequence[Finding], width: int) -> Iterator[str]:
    """Yield the remedies as numbered steps, each with its commands or lines of a configuration."""
    for number, each in enumerate(findings, 1):
        yield from _wrapped(f"{number}. {each.remedy} ({each.name})", width, 3)
        for step in each.steps:
            yield f"     {step}"  # not wrapped: it is there to be copied
    if not findings:
        yield "nothing to do"


def _in_order(facts: Facts) -> Iterator[str]:
    login, target = facts.login, facts.target
    if facts.reachability is not None and not facts.reachability.fault:
        yield f"{target.host}:{target.port} accepts connections"
    if facts.certificate is not None and facts.certificate.code is None and not facts.certificate.detail:
        yield "TLS: the certificate is valid"
    if login is None or not login.linked:
        return
    versions = (
        "NATS"
        if target.nats
        else "MQTT 3.1.1 and 5"
        if login.mqtt5
        else "MQTT 3.1.1; it does not speak MQTT 5"
    )
    yield f"linked{f' as {target.user}' if target.user else ''}: {versions}"
    if facts.version:
        yield f"the broker identifies itself as {facts.version}"
    if facts.inflight is not None:
        yield f"messages in flight at a time: {facts.inflight:,}"
    yield from _permitted(facts)
    seen = facts.retained
    if seen is not None and seen.received == seen.published and not seen.late:
        yield f"retained messages: {seen.received:,} of {seen.published:,}, in order"
    if (facts.retained is not None or facts.untried) and facts.size is None:
        yield "a message of 64 KiB arrives"
    if facts.view is not None:
        yield f"engines: {len(facts.view.engines)}, constraints: {len(facts.view.registers)}"
    if facts.services:
        yield f"services offer: {shown(offers_of(facts))}"
        yield from starters(facts)


def _permitted(facts: Facts) -> Iterator[str]:
    texts = {
        PRESENCE: "any presence",
        EVENTS: "telemetry",
        SYNC: "any sync topic",
        OWN_SYNC: "its own sync topic",
        STEERING: "constraints",
    }
    found = [text for name, text in texts.items() if name in facts.rights and facts.rights[name].returned]
    if found:
        yield f"may write and read: {', '.join(found)}"


def _sum(problems: Sequence[Finding], warnings: Sequence[Finding]) -> str:
    counts = f"{_number(len(problems), 'problem')}, {_number(len(warnings), 'warning')}"
    return f"{counts}; cascade doctor --fix-plan lists what to do" if problems or warnings else counts


def _number(count: int, what: str) -> str:
    return f"{count or 'no'} {what}{'' if count == 1 else 's'}"


def _wrapped(text: str, width: int, indent: int) -> Iterator[str]:
    space = " " * min(indent, 2 if width < 50 else indent)
    yield from textwrap.wrap(
        text.strip() if width < 50 else text,
        max(width - 1, 20),
        initial_indent="",
        subsequent_indent=space,
        break_long_words=False,
        break_on_hyphens=False,
        drop_whitespace=True,
    )
