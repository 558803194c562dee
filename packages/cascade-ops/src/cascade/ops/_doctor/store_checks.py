"""Checks of what a broker cannot do for this user, as its connector knows it. No I/O."""

from __future__ import annotations

from collections.abc import Iterator

from cascade.interfaces.abilities import Lacking, Limitation
from cascade.ops._doctor.facts import Facts
from cascade.ops._doctor.finding import Finding

_JETSTREAM = ('jetstream { store_dir: "/var/lib/nats" }',)
_NOTHING = "no constraint reaches an engine, and no tool sees engines; telemetry is sent"


def store_findings(facts: Facts) -> Iterator[Finding]:
    """Yield what is missing; a cause that keeps telemetry, too, is named once."""
    if facts.over_nats:
        yield _two_networks(
            "engines that use the protocol of NATS announce themselves in the account of this MQTT client",
            "let all engines and tools of an account use the same protocol",
        )
    for each in facts.limitations:
        if each.lacking is not Lacking.TELEMETRY or not facts.keeps_nothing:
            yield _finding(each)


def _finding(seen: Limitation) -> Finding:
    cause, remedy = seen.cause, seen.remedy
    if seen.lacking is Lacking.PRESENCE:
        return Finding("no_presence", cause, "engines are not announced, and lists show none", remedy)
    if seen.lacking is Lacking.TELEMETRY:
        means = "a collector that is away misses events"
        return Finding("telemetry_not_kept", f"telemetry is not kept: {cause}", means, remedy)
    if seen.lacking is Lacking.ONE_SET:
        return _two_networks(cause, remedy)
    return _of_store(seen.lacking, cause, remedy)


def _two_networks(cause: str, remedy: str) -> Finding:
    means = "a constraint that is set over one protocol does not reach the engines of the other"
    return Finding("two_networks", cause, means, remedy, warning=True)


def _of_store(lacking: Lacking, cause: str, remedy: str) -> Finding:
    if lacking is Lacking.STORE:
        return Finding("no_jetstream", f"the server keeps nothing: {cause}", _NOTHING, remedy, _JETSTREAM)
    if lacking is Lacking.STORE_RIGHTS:
        return Finding("jetstream_denied", cause, _NOTHING, remedy)
    if lacking is Lacking.STORE_SETTINGS:
        return Finding("foreign_bucket", cause, _NOTHING, remedy)
    return Finding("jetstream_fails", cause, _NOTHING, remedy)
