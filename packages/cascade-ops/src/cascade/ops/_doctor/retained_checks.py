"""Checks of what a broker keeps and delivers: retained messages, sizes, queues. No I/O."""

from __future__ import annotations

from collections.abc import Iterator

from cascade.interfaces.broker_programs import IN_FLIGHT
from cascade.ops._doctor.facts import Facts, Retained
from cascade.ops._doctor.finding import Finding

_INFLIGHT = 20
"""What a broker allows at least, as it is installed (mosquitto)."""
_CONTROL = "constraints that were set while an engine was away do not reach it"


def retained_findings(facts: Facts) -> Iterator[Finding]:
    """Yield what is wrong with retained messages, and with large ones."""
    if facts.retained is not None:
        yield from _retained(facts.retained)
        yield from _queue(facts)
    if facts.inflight is not None and facts.inflight < _INFLIGHT:
        yield _inflight(facts.inflight)
    if facts.untried:
        yield Finding(
            "not_tried",
            f"retained messages were not tried: {facts.untried} is online",
            "whether the broker keeps and delivers all constraints is unknown; the test messages would reach that engine, too",
            "run this while the engine is stopped, or as another user",
            warning=True,
        )
    if facts.keeps_none:
        yield Finding(
            "not_tried",
            f"retained messages were not tried: {facts.target.user} may keep none",
            "whether the server keeps and delivers all constraints is unknown",
            "run this as an engine's user or an operator; the rules of cascade acl give both topics for test messages",
            warning=True,
        )
    if facts.size is not None:
        yield Finding(
            "size",
            f"a message of {facts.size:,} bytes does not come back",
            "reports may have 64 KiB: those of engines with many tasks or constraints are lost",
            "permit packets of at least 128 KiB",
            ("max_payload: 1048576",) if facts.target.nats else ("max_packet_size 4194304",),
        )


def _inflight(most: int) -> Finding:
    return Finding(
        "inflight",
        f"the broker takes {most:,} unacknowledged messages at a time",
        f"a client that is 100 ms away sends at most {10 * most:,} events in a second",
        f"raise the limit (mosquitto: {IN_FLIGHT})",
        (IN_FLIGHT,),
        warning=True,
    )


def _retained(seen: Retained) -> Iterator[Finding]:
    if not seen.exact and not seen.received:
        yield Finding(
            "not_retained",
            "the broker keeps no retained message",
            "constraints, presence and reports are gone as soon as they are sent",
            "switch retained messages on (mosquitto: retain_available true)",
            ("retain_available true",),
        )
    elif not seen.received:
        yield Finding(
            "no_wildcards",
            "a filter with a wildcard gets no retained messages (RabbitMQ does so)",
            "engines learn constraints of tasks and runs only while connected, and lists stay empty",
            "use another broker, or steer by global, project and source only",
        )
    elif seen.received < seen.published:
        yield Finding(
            "set_cut",
            f"a new subscription got {seen.received:,} of {seen.published:,} retained messages (ejabberd and rumqttd do so)",
            _CONTROL,
            "raise the broker's limit, or use another broker; constraints of global, project and source arrive",
        )
    elif seen.late:
        yield Finding(
            "order",
            f"{seen.late:,} of {seen.published:,} retained messages came behind a later message (aedes does so)",
            "an engine needs longer to know all constraints, and a list may be incomplete",
            "use --listen with lists, or another broker",
            warning=True,
        )


def _queue(facts: Facts) -> Iterator[Finding]:
    seen = facts.retained
    if seen is None or seen.queued is None or facts.configuration_limits_queue:
        return
    if seen.queued < seen.received == seen.published:
        yield Finding(
            "queue",
            f"the broker keeps about {seen.queued:,} messages for a client that is slow",
            "in a burst, watchers and collectors lose events",
            "raise the limit (mosquitto: max_queued_messages 65000)",
            ("max_queued_messages 65000",),
            warning=True,
        )
