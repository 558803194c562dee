"""The id of a run: placeholders in it, the recorded run that goes on, or a new id with the date."""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, NamedTuple

from cascade.cli.errors import USAGE, CommandError
from cascade.interfaces import RecordedStatus, RunSummary, StateBackend, StateUnavailable

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_GOES_ON = (RecordedStatus.INTERRUPTED, RecordedStatus.RUNNING)
_ALL = 1_000_000


class RunChoice(NamedTuple):
    """Which run begins or goes on."""

    run_id: str | None = None
    """None: the run gets a random one."""
    recorded: RunSummary | None = None
    """What is recorded of it so far."""
    made: bool = False
    """Whether the id was made here."""


def expanded(text: str, now: datetime) -> str:
    """Return an id with the local date, the time and the host in the places of ``{date}``, ``{time}`` and ``{host}``.

    :raises CommandError: if there is no such placeholder, with those that there are.

    >>> expanded("night-{date}", datetime(2026, 11, 21, 3, 0, 20))  # noqa: DTZ001
    'night-2026-11-21'
    """
    values = {"date": f"{now:%Y-%m-%d}", "time": f"{now:%H%M%S}", "host": platform.node()}

    def value(found: re.Match[str]) -> str:
        if found[1] not in values:
            raise CommandError(
                f"--run-id: there is no placeholder {found[0]}", "write {date}, {time} or {host}", code=USAGE
            )
        return values[found[1]]

    return _PLACEHOLDER.sub(value, text)


def choose(target: str, keywords: Mapping[str, Any], *, continues: bool, now: datetime) -> RunChoice:
    """Return the run that the options mean, for a target of this name.

    :param continues: take up the newest run of the target that has not ended.
    :raises CommandError: if an option cannot be used.
    :raises StateUnavailable: if the store cannot be read.
    """
    given, state = keywords.get("run_id"), _state(keywords)
    wanted = expanded(given, now) if isinstance(given, str) else given
    if state is None:
        if continues:
            raise CommandError("--continue needs recorded runs", "give --state FOLDER", code=USAGE)
        return RunChoice(wanted)
    if continues:
        found = next((run for run in state.runs(target=target, limit=_ALL) if run.status in _GOES_ON), None)
        if found is not None:
            return RunChoice(found.run_id, found)
    if wanted is not None:
        return RunChoice(wanted, _recorded(state, wanted))
    begin = expanded(f"{target[:100]}-{{date}}-{{time}}", now)
    numbered = (begin if number == 1 else f"{begin}-{number}" for number in range(1, _ALL))
    return RunChoice(next(each for each in numbered if _recorded(state, each) is None), made=True)


def _recorded(state: StateBackend, run_id: str) -> RunSummary | None:
    with suppress(StateUnavailable):
        # the run itself says what is wrong with the store
        return next(iter(state.runs(run_id=run_id)), None)
    return None


def _state(keywords: Mapping[str, Any]) -> StateBackend | None:
    from cascade import SqliteState

    folder = keywords.get("state")
    found: StateBackend | None = keywords.get("state_backend")
    return SqliteState(folder) if found is None and folder else found


def shown_time(seconds: float) -> str:
    """Return a moment in local time."""
    return f"{datetime.fromtimestamp(seconds, UTC).astimezone():%Y-%m-%d %H:%M:%S}"
