"""What all engines did in some hours: runs, pauses and lost links, from a collector's file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from cascade.cli.collected.file import CollectedFile
from cascade.cli.collected.listing import RunKey, run_row
from cascade.cli.collected.reading import STEP_SECONDS, Steps
from cascade.interfaces.topics import parse_constraint_topic, parse_status_topic

MOST_RUNS = 500
"""Runs on the time line; those that failed are kept first."""
MOST_CHANGES = 20_000
_RUNS = """
SELECT run_id, source, org_id, project_id, status FROM summary WHERE latest >= ? AND began < ?
ORDER BY status IN ('Failed', 'Lost') DESC, began DESC LIMIT ?
"""
_NUMBER = "SELECT count(*) FROM summary WHERE latest >= ? AND began < ?"
_CHANGES = """
SELECT topic, received, payload FROM change
WHERE topic >= ? AND topic < ? AND received < ? ORDER BY received DESC LIMIT ?
"""
_SCOPES = ("global", "project", "source")


def last_night(file: CollectedFile, start: float, end: float) -> Steps[dict[str, Any]]:
    """Return the ``runs`` between two times in seconds since the epoch, those that failed first, and the ``bands``.

    A band is a pause of everything, a project or an engine, with its author, or the lost link of an engine.
    """
    found = file.rows(_RUNS, (start, end, MOST_RUNS), within=STEP_SECONDS)
    yield
    number = next((row[0] for row in file.rows(_NUMBER, (start, end), within=STEP_SECONDS)), 0)
    yield
    runs = []
    for at, (*key, _) in enumerate(found):
        runs.append(run_row(file, RunKey(*key)))
        if at % 50 == 49:
            yield
    bands = yield from bands_between(file, start, end)
    return {
        "runs": [run for run in runs if run],
        "more": number - len(found),
        "bands": bands,
        "problem": file.problem,
    }


def bands_between(file: CollectedFile, start: float, end: float) -> Steps[list[dict[str, Any]]]:
    """Return the pauses and lost links between two times in seconds since the epoch."""
    bands: list[dict[str, Any]] = []
    for prefix in ("cascade/constraints/", "cascade/status/"):
        within = (prefix, f"{prefix[:-1]}0", end, MOST_CHANGES)
        rows = file.rows(_CHANGES, within, within=STEP_SECONDS)
        yield
        bands += _bands(reversed(rows), start, end)
    return bands


def _bands(rows: Iterator[tuple[Any, ...]], start: float, end: float) -> list[dict[str, Any]]:
    """Return the times between a change that begins a band and the next one of its topic; one that goes on has no end."""
    open_: dict[str, dict[str, Any]] = {}
    bands = []
    for topic, at, payload in rows:
        if (band := open_.pop(topic, None)) is not None:
            bands.append({**band, "end": min(at, band["end"])})
        if (begun := _begun(topic, json.loads(payload))) is not None:
            open_[topic] = {"start": at, "end": end, **begun}
            expires = begun.pop("expires_at", None)
            if isinstance(expires, int | float):
                open_[topic]["end"] = min(end, expires)
    bands += open_.values()
    return [
        {
            "start": band["start"],
            "end": band["end"] if band["end"] < end else None,
            "kind": band["kind"],
            "of": band["of"],
            "by": band["by"],
        }
        for band in bands
        if band["end"] > start and band["start"] < end
    ]


def _begun(topic: str, content: object) -> dict[str, Any] | None:
    """Return the band that begins with a retained message, or None."""
    if not isinstance(content, Mapping):
        return None
    if (source := parse_status_topic(topic)) is not None:
        is_lost = content.get("status") == "offline" and not content.get("reason")
        return {"kind": "lost", "of": source, "by": ""} if is_lost else None
    found = parse_constraint_topic(topic)
    if found is None or content.get("type") != "pause" or found[0].partition(":")[0] not in _SCOPES:
        return None
    return {
        "kind": "pause",
        "of": found[0],
        "by": str(content.get("by") or ""),
        "expires_at": content.get("expires_at"),
    }
