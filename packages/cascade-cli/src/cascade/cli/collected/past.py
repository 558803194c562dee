"""One run in a collector's file, as the messages that a page shows of a run that has ended."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

from cascade.cli.collected.file import CollectedFile
from cascade.cli.collected.fold import CollectedRun
from cascade.cli.collected.listing import LOST, RUNNING, RunKey, run_row
from cascade.cli.collected.reading import Chunks, Steps

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
_SAID = f"SELECT topic, payload FROM event WHERE {_OF_RUN} AND kind IN ('logs', 'data') ORDER BY received DESC LIMIT ?"
_ENDING = f"SELECT payload FROM ending WHERE {_OF_RUN}"


def past_run(file: CollectedFile, run: RunKey) -> Steps[dict[str, Any] | None]:
    """Return a run: its ``row``, as in the report ``ended``; ``bars`` of its time line; ``said``: log lines and values.

    None if it is not in the file.
    """
    listed = run_row(file, run)
    if listed is None:
        return None
    yield
    folded = yield from folded_run(file, run)
    ending: dict[str, Any] = next((json.loads(payload) for (payload,) in file.rows(_ENDING, run)), {})
    is_reported = bool(listed["token"])
    steps = folded.steps
    row = {**_of_events(steps), **(ending if is_reported else {}), **listed}
    row["token"] = listed["token"] or folded.token
    if row["status"] not in (RUNNING, LOST):
        row["interrupted"] = []
    return {"row": row, "bars": _bars(steps), "said": _said(file, run), "problem": file.problem}


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
    """Return the tokens of a run, in the order of its attempts."""
    tokens = [token for (token,) in file.rows(_TOKENS, run)]
    return sorted(tokens, key=lambda token: next(iter(file.rows(_ATTEMPT, (*run, token)))))


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
    """Return id, name, begin, end and state of the latest calls."""
    begun = sorted((step for step in steps if step["began"]), key=lambda step: step["began"])
    return [
        [step["key"], step["name"], step["began"], step["ended"], step["state"].upper()]
        for step in begun[-BARS:]
    ]


def _said(file: CollectedFile, run: RunKey) -> list[dict[str, str]]:
    rows = file.rows(_SAID, (*run, LINES))
    return [{"topic": topic, "payload": payload} for topic, payload in reversed(rows)]
