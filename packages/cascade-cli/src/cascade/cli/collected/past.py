"""One run in a collector's file, as the messages that show it to a watcher."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from cascade.cli.collected.file import CollectedFile
from cascade.cli.collected.fold import CollectedRun
from cascade.cli.collected.listing import LOST, RUNNING, RunKey, run_row
from cascade.cli.collected.reading import Chunks, Steps
from cascade.interfaces.topics import state_topic, status_topic
from cascade.interfaces.wire import VERSION

FAILURES = 20
"""Failed tasks of a report at most."""
INTERRUPTED = 32
BARS = 4_000
"""Calls on the time line: the latest."""
LINES = 1_000
"""Log lines, and likewise published values: the latest."""
_OF_RUN = "run_id = ? AND source = ? AND org_id = ? AND project_id = ?"
_TOKENS = f"SELECT DISTINCT token FROM event WHERE {_OF_RUN}"
_ATTEMPT = f"SELECT attempt, received FROM event WHERE {_OF_RUN} AND token = ? LIMIT 1"
_EVENTS = f"SELECT seq, payload FROM event WHERE {_OF_RUN} AND token = ? AND kind = 'events' AND seq > ? ORDER BY seq LIMIT ?"
_WITHOUT_SEQ = f"SELECT payload FROM event WHERE {_OF_RUN} AND kind = 'events' AND seq IS NULL ORDER BY received LIMIT 20000"
_SAID = f"SELECT topic, payload FROM event WHERE {_OF_RUN} AND token IN ({{}}) AND kind IN ('logs', 'data') ORDER BY received DESC LIMIT ?"
_ENDING = f"SELECT payload FROM ending WHERE {_OF_RUN} AND token = ?"
_REPORT = f"SELECT payload FROM report WHERE {_OF_RUN} AND token = ?"


def past_run(file: CollectedFile, run: RunKey) -> Steps[dict[str, Any] | None]:
    """Return the ``messages`` of the wire that show a run, and the ``bars`` of its time line; None if it is not in the file.

    The messages are what a broker would have kept: the report of the run's end, or of a run without one the report
    of its last moment; then its log lines and values.
    """
    listed = run_row(file, run)
    if listed is None:
        return None
    yield
    steps = (yield from folded_run(file, run)).steps
    row = {**_of_events(steps), **_reported(file, run, listed), **listed}
    tokens = _tokens(file, run)
    said = file.rows(_SAID.format(", ".join("?" * len(tokens))), (*run, *tokens, LINES))
    yield
    return {
        "run": [*run],
        "messages": [*_report(row), *(_unnumbered(topic, payload) for topic, payload in reversed(said))],
        "bars": _bars(steps),
        "problem": file.problem,
    }


def _reported(file: CollectedFile, run: RunKey, listed: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the engine has reported of the run: of its end, or of one without an end before the engine went."""
    has_end = listed["ended"] is not None
    rows = file.rows(_ENDING if has_end else _REPORT, (*run, listed["token"])) if listed["token"] else []
    found: dict[str, Any] = next((json.loads(payload) for (payload,) in rows), {})
    if has_end or not found:
        return found
    return {key: found[key] for key in ("tasks", "tasks_more") if key in found}


def _unnumbered(topic: str, payload: str) -> dict[str, str]:
    """Return a message without its number: those before the latest ones are left out, and not lost."""
    message = json.loads(payload)
    message.pop("seq", None)
    return {"topic": topic, "payload": json.dumps(message)}


def _report(row: dict[str, Any]) -> list[dict[str, str]]:
    """Return the report in which an engine lists such a run."""
    source = row["source"]
    head = {
        "v": VERSION,
        "source": source,
        "session": "",
        "presence": "",
        "ts": row["ended"] or row["latest"],
    }
    if row["status"] != RUNNING:
        row = {**row, "ended": row["ended"] or row["latest"]}
        if row["status"] != LOST:
            row["interrupted"] = []
        kind, found = "ended", {**head, "runs": [row]}
    else:
        active = {**row, "running": row["interrupted"], "running_more": row["interrupted_more"], "open": True}
        place = {"org_id": row["org_id"], "project_id": row["project_id"]}
        kind, found = "runs", {**head, **place, "runs": [active], "recent": []}
    messages = {state_topic(source, kind): found}
    if kind == "runs":
        messages[status_topic(source)] = {"status": "online", "session": ""}
    return [{"topic": topic, "payload": json.dumps(message)} for topic, message in messages.items()]


def folded_run(file: CollectedFile, run: RunKey) -> Steps[CollectedRun]:
    """Return what all events of a run say, attempt by attempt."""
    folded = CollectedRun()
    for token in _tokens(file, run):
        yield from _fold(file, run, token, folded)
    for (payload,) in file.rows(_WITHOUT_SEQ, run):
        folded.add("", payload)
    yield
    return folded


def _tokens(file: CollectedFile, run: RunKey) -> list[str]:
    """Return the tokens of a run, in the order of its attempts: those of its latest use, if the id was used for several runs."""
    tokens = [
        (token, *next(iter(file.rows(_ATTEMPT, (*run, token))))) for (token,) in file.rows(_TOKENS, run)
    ]
    tokens.sort(key=lambda each: each[2])
    # only a run that is recorded has a second attempt
    uses = [number for number, (_, attempt, _) in enumerate(tokens) if attempt <= 1]
    return [token for token, *_ in tokens[uses[-1] if uses else 0 :]]


def _fold(file: CollectedFile, run: RunKey, token: str, folded: CollectedRun) -> Steps[None]:
    chunks, after = Chunks(file), -1
    while True:
        found = chunks.read(_EVENTS, lambda size, after=after: (*run, token, after, size))  # type: ignore[misc]
        yield
        if found is None:
            continue
        for _, payload in found:
            folded.add(token, payload)
        yield
        if len(found) < chunks.size:
            return
        after = found[-1][0]
        chunks.grow()


def _of_events(steps: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what events say of a run and its tasks, in the keys of the report ``ended``."""
    tasks: dict[str, dict[str, Any]] = {}
    for step in steps:
        task = tasks.setdefault(
            step["name"], {"known": 0, "counts": Counter(), "ms": {"n": 0, "sum": 0.0, "max": 0.0}}
        )
        task["known"] += 1
        task["counts"][step["state"].upper()] += 1
        if step["took"] is not None:
            ms = 1000.0 * step["took"]
            task["ms"] = {
                "n": task["ms"]["n"] + 1,
                "sum": task["ms"]["sum"] + ms,
                "max": max(task["ms"]["max"], ms),
            }
    failed = sorted((step for step in steps if step["state"] == "failed"), key=_ended)
    running = [step for step in steps if step["state"] == "running"]
    return {
        "tasks": tasks,
        "known": len(steps),
        "failures": [_failure(step) for step in failed[:FAILURES]],
        "failures_more": max(0, len(failed) - FAILURES),
        "interrupted": [
            {"task_id": step["key"], "task_name": step["name"], "since": step["began"] or ""}
            for step in running[:INTERRUPTED]
        ],
        "interrupted_more": max(0, len(running) - INTERRUPTED),
    }


def _ended(step: Mapping[str, Any]) -> str:
    return step["ended"] or ""


def _failure(step: Mapping[str, Any]) -> dict[str, Any]:
    tries = max(1, step["tries"])
    return {
        "task_id": step["key"],
        "task_name": step["name"],
        "error": step["error"],
        "attempt": tries,
        "ended": _ended(step),
    }


def _bars(steps: list[dict[str, Any]]) -> list[list[Any]]:
    """Return id, name, begin, end (seconds since the epoch) and state of the latest calls."""
    begun = sorted((step for step in steps if step["began"]), key=lambda step: step["began"])
    return [
        [step["key"], step["name"], _seconds(step["began"]), _seconds(step["ended"]), step["state"].upper()]
        for step in begun[-BARS:]
    ]


def _seconds(text: str | None) -> float | None:
    try:
        return datetime.fromisoformat(text or "").timestamp()
    except (ValueError, OverflowError):
        return None
