"""The log lines in a collector's file."""

from __future__ import annotations

from typing import NamedTuple

from cascade.cli.collected.file import CollectedFile
from cascade.cli.errors import CommandError
from cascade.wire import EventMessage, parse_event

_NEWEST = "SELECT coalesce(max(rowid), 0) FROM event"
_LINES = "SELECT topic, payload FROM event WHERE kind = 'logs' AND rowid > ? AND received >= ? AND {of} ORDER BY rowid"
_RUN = "SELECT source, run_id FROM summary WHERE {of} ORDER BY began DESC LIMIT 1"
_ENGINE = "SELECT source FROM summary WHERE source = ? LIMIT 1"


class Of(NamedTuple):
    """Whose lines: a condition of SQL and its values."""

    condition: str = "1"
    values: tuple[str, ...] = ()


def lines_of(file: CollectedFile, name: str) -> Of:
    """Return whose lines a name means: a run by its id, the latest run of that name, or an engine.

    :raises CommandError: if the file has none of them.
    """
    if file.rows(_RUN.format(of="run_id = ?"), (name,)):
        return Of("run_id = ?", (name,))
    for source, run_id in file.rows(_RUN.format(of="name = ?"), (name,)):
        return Of("source = ? AND run_id = ?", (source, run_id))
    if file.rows(_ENGINE, (name,)):
        return Of("source = ?", (name,))
    raise CommandError(
        f"no run or engine {name!r} is in {file.path}",
        f"cascade history --from {file.path} lists the runs and their engines",
    )


def log_lines(
    file: CollectedFile, of: Of, *, after: int = 0, since: float = 0.0
) -> tuple[list[EventMessage], int]:
    """Return the lines in the order in which they came, and the number with which the next call goes on.

    :param since: only what came from this time on, in seconds since the epoch.
    """
    newest = next((row[0] for row in file.rows(_NEWEST)), after)
    rows = file.rows(_LINES.format(of=of.condition), (after, since, *of.values))
    found = (parse_event(topic, payload.encode()) for topic, payload in rows)
    return [event for event in found if event is not None], newest
