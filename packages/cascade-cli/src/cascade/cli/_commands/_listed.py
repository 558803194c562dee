"""Options and columns of the commands that list."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

import click

from cascade.cli import link
from cascade.cli._steering.compliance import SKEW_SECONDS
from cascade.cli._steering.publishing import contested_names
from cascade.cli.columns import Column, listed
from cascade.cli.command import settings
from cascade.cli.durations import show_duration
from cascade.cli.params import DURATION
from cascade.wire import EngineView, View, engine_rows
from cascade.wire.progress import UNKNOWN


def listing(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of a command that lists: the broker, and how long to listen."""
    function = click.option(
        "--listen",
        type=DURATION,
        default=0.0,
        metavar="DURATION",
        help="Wait for engines without a name, too: they report every 10 s.",
    )(function)
    return link.with_broker(function)


def note_contested(view: View, now: float) -> None:
    """Say which names two processes use: what a report shows is of one of them."""
    if contested := [row["source"] for row in engine_rows(view, now) if row["contested"]]:
        settings().output.note(contested_names(contested))


def note_unknown(view: View, now: float) -> None:
    """Say of which engines this look shows neither a birth nor a new report."""
    if unknown := [
        source for source, engine in sorted(view.engines.items()) if engine.status(now) == UNKNOWN
    ]:
        settings().output.note(
            f"not known whether {', '.join(unknown)} still runs: the broker has reports of it, and no birth; --listen 13s waits for a new report"
        )


def note_ahead(view: View) -> None:
    """Say of which engines the last report lies in the future: then no time of theirs shows how long ago something was."""
    now = time.time()
    ahead = {
        source: most - now
        for source, engine in sorted(view.engines.items())
        if (most := max((each for each in _times(engine) if each is not None), default=now))
        > now + SKEW_SECONDS
    }
    if ahead:
        by = f"at least {show_duration(max(ahead.values()))}"
        settings().output.note(
            f"the clock of {listed([*ahead])} is {by} ahead of this machine's, so ages there are wrong; set the clocks of both machines by NTP"
        )


def _times(engine: EngineView) -> tuple[float | None, ...]:
    return engine.reported, engine.presence.seconds if engine.presence is not None else None


def show_age(value: Any) -> str:
    """Return how long ago a time in ISO 8601 was; empty if it is ahead of the clock of this machine."""
    try:
        age = time.time() - datetime.fromisoformat(value).timestamp()
        return show_duration(age) if age >= -SKEW_SECONDS else ""
    except (TypeError, ValueError, OverflowError, OSError):
        return ""


def show_ago(value: Any) -> str:
    """Return the same with the word ``ago``."""
    return f"{age} ago" if (age := show_age(value)) else ""


SINCE = Column("since", "for", show_age, right=True)
