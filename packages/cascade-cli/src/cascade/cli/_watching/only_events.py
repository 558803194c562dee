"""Notes of a watch on engines of which only events arrive. No I/O."""

from __future__ import annotations

from collections.abc import Sequence

from cascade.cli.columns import listed


def in_words(sources: Sequence[str], *, over_nats: bool) -> str:
    """Return what is not known of such engines, and what to do.

    :param over_nats: whether the watch itself uses the protocol of NATS.
    """
    one = len(sources) == 1
    it, are, obey = ("it", "is", "obeys") if one else ("they", "are", "obey")
    unknown = f"whether {it} {are} online, which constraints {it} {obey} and what waits is not known"
    first = f"only events of {listed(sources)} arrive, neither a birth nor a report: {unknown}"
    if over_nats:
        return f"{first}; cascade doctor finds the cause"
    them, its = ("it", "its") if one else ("them", "their")
    nats = (
        f"if {it} {are} connected over NATS, MQTT clients get only {its} events, and what you set over MQTT does "
        f"not reach {them}: use --broker nats://HOST"
    )
    rights = (
        f"if {it} {are} connected over MQTT, this user may not read cascade/status/+ and cascade/state/+/+"
    )
    return f"{first}; {nats}; {rights}"
