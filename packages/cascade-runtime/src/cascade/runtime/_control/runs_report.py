"""The body of ``cascade/state/{source}/runs``: what it shows of each run, and how it is cut. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from heapq import nlargest
from itertools import islice
from typing import Any, NamedTuple

from cascade.interfaces import TaskState
from cascade.interfaces.events import ENDED_STATES
from cascade.interfaces.wire.write import clean_tags, timestamp
from cascade.runtime._admission.waits import Wait
from cascade.runtime._control.active_run import ActiveRun, TaskTotals
from cascade.runtime._control.register_table import encoded_size
from cascade.runtime._control.run_history import RunHistory
from cascade.runtime._support.run_facts import Row

MAX_BYTES = 64 * 1024
"""The most bytes of one report."""
MAX_RUNS = 500
_RECENT_BYTES = 16 * 1024
_LEAST_ENDED = 10  # tasks after which a rate says something
_LONGEST = 200  # characters of a name
_ROOM = 128  # bytes for the counts of what was left out


class Detail(NamedTuple):
    """How much a report shows of each run."""

    tasks: int
    running: int
    waiting: int
    texts: bool
    """Whether tags of the run and messages of its tasks are there."""


DETAILS = (
    Detail(100, 32, 16, texts=True),
    Detail(30, 10, 8, texts=False),
    Detail(5, 3, 4, texts=False),
    Detail(0, 0, 0, texts=False),
)
"""The first for which all runs fit is taken; with the last one, runs are left out."""

Waits = Callable[[ActiveRun], Mapping[Wait, int]]
"""Returns how many tasks of a run wait for each reason now."""


class RowMaker:
    """Makes the rows of one report.

    :param clean: prepares free text to leave the process.
    :param waits: see :data:`Waits`.
    :param ids: returns the id of a register by its topic.
    :param lost: messages that were dropped for good so far.
    """

    def __init__(
        self,
        now: float,
        *,
        clean: Callable[[str], str] = str,
        waits: Waits = lambda run: {},
        ids: Callable[[str], str] = lambda topic: "",
        lost: int = 0,
    ) -> None:
        self._now = now
        self._clean = clean
        self._waits = waits
        self._id_of = ids
        self._lost = lost

    def rows(self, runs: Iterable[ActiveRun], room: int) -> list[Row]:
        """Return rows that fit into ``room`` bytes together, with as much detail as fits for all of them."""
        some = list(islice(runs, MAX_RUNS))
        waits = [self._waits(run) for run in some]
        rows: list[Row] = []
        for detail in DETAILS:
            rows, left = [], room
            for run, reasons in zip(some, waits, strict=True):
                row = self._row(run, reasons, detail)
                left -= encoded_size(row) + 2
                if left < 0:
                    break
                rows.append(row)
            if len(rows) == len(some):
                break
        return rows

    def _row(self, run: ActiveRun, waits: Mapping[Wait, int], detail: Detail) -> Row:
        counts, facts = run.counts(), run.facts
        known = max(sum(facts.known.values()), sum(counts.values()))
        row = self._head(run, counts, known, detail)
        reasons = self._reasons(run, waits)
        paused = any(each.get("type") == "pause" for each in reasons)  # until when is not known
        if not paused and (eta := self._eta(run, counts, known)) is not None:
            row["eta_s"] = eta
        names = run.names()
        if len(names) > detail.tasks:
            names = nlargest(detail.tasks, names, key=lambda name: _activity(run, name))
        row["tasks"] = {name[:_LONGEST]: _totals(run, name) for name in names}
        row["running"] = [self._running(run, id_, detail) for id_ in islice(run.running, detail.running)]
        row["waiting"] = reasons[: detail.waiting]
        graph = facts.graph
        row["graph"] = {"rev": graph.rev, "nodes": len(graph.names) if graph.folded else len(graph.calls)}
        row["lost"] = max(self._lost - run.lost_before, 0)
        _count_rest(row, "tasks", len(run.names()))
        _count_rest(row, "running", len(run.running))
        _count_rest(row, "waiting", len(reasons))
        return row

    def _head(self, run: ActiveRun, counts: Mapping[str, int], known: int, detail: Detail) -> Row:
        row: Row = {"run_id": run.run_id, "target": self._clean(run.target)[:_LONGEST]}
        if run.name:
            row["name"] = self._clean(run.name)
        if run.tags and detail.texts:
            row["tags"] = clean_tags(run.tags, self._clean)
        row["started"] = timestamp(run.started)
        row["attempt"] = run.attempt
        return row | {"counts": dict(counts), "known": known, "open": run.facts.open}

    def _eta(self, run: ActiveRun, counts: Mapping[str, int], known: int) -> float | None:
        """Return the seconds until the run will end at its rate so far, if there is one."""
        ended = sum(counts.get(state, 0) for state in ENDED_STATES)
        if run.facts.open or ended < _LEAST_ENDED or self._now <= run.started:
            return None
        return round((self._now - run.started) / ended * max(known - ended, 0), 1)

    def _running(self, run: ActiveRun, task_id: str, detail: Detail) -> Row:
        began, progress = run.running[task_id], run.progress.get(task_id)
        row: Row = {"task_id": task_id, "task_name": began.task_name[:_LONGEST]}
        row["since"] = timestamp(began.timestamp)
        if progress is not None:
            row |= {"done": progress.done, "total": progress.total}
            if detail.texts:
                texts = {"message": progress.message, "unit": progress.unit}
                row |= {key: self._clean(text) for key, text in texts.items() if text}
        return row | {"paused": task_id in run.paused}

    def _reasons(self, run: ActiveRun, waits: Mapping[Wait, int]) -> list[Row]:
        """Return a row for each reason to wait, the one with most tasks first."""
        found = [(wait, n) for wait, n in waits.items() if n]
        rows = [self._reason(run, wait, n) for wait, n in sorted(found, key=lambda each: -each[1])]
        until = [at for at in run.facts.retries.values() if at > self._now]
        if until:
            rows.append({"why": "retry", "n": len(until), "until": timestamp(min(until))})
        run.since = {wait: run.since[wait] for wait, _ in found}
        return rows

    def _reason(self, run: ActiveRun, wait: Wait, n: int) -> Row:
        row: Row = {"why": wait.why}
        if wait.why == "constraint":
            row |= {"topic": wait.name[:1_000], "type": wait.type, "id": self._id_of(wait.name)}
        elif wait.name:
            row["name"] = wait.name[:_LONGEST]
        return row | {"n": n, "since": timestamp(run.since.setdefault(wait, self._now))}


def runs_report(
    runs: Iterable[ActiveRun],
    history: RunHistory,
    rows: RowMaker,
    *,
    head: Mapping[str, Any],
    count: int,
    paused: bool,
    now: float,
) -> dict[str, Any]:
    """Return the body of ``cascade/state/{source}/runs``.

    At most :data:`MAX_BYTES`: details of runs are left out first, then runs, which are counted under ``more``.

    :param head: version, source, session and the like.
    :param count: how many runs there are.
    """
    recent, size = _recent(history)
    tail = {"paused": paused, "ts": timestamp(now)}
    room = MAX_BYTES - encoded_size({**head, **tail}) - size - _ROOM
    shown = rows.rows(runs, room)
    more = {"more": count - len(shown)} if count > len(shown) else {}
    return {**head, "runs": shown, **more, **recent, **tail}


def recent_row(run: ActiveRun, *, status: str, error: str, ended: float, clean: Callable[[str], str]) -> Row:
    """Return what remains of a run that has ended."""
    row: Row = {"run_id": run.run_id, "target": clean(run.target)[:_LONGEST]}
    if run.name:
        row["name"] = clean(run.name)
    if run.tags:
        row["tags"] = clean_tags(run.tags, clean)
    row |= {"status": status, "error": clean(error) if error else ""}
    row |= {"started": timestamp(run.started), "ended": timestamp(ended), "attempt": run.attempt}
    return row | {"duration_ms": round((ended - run.started) * 1000, 3), "counts": run.counts()}


def _recent(history: RunHistory) -> tuple[dict[str, Any], int]:
    """Return the latest rows that fit, without their tags if they do not fit with them, and their bytes."""
    rows, sizes = list(history.recent), list(history.sizes)
    if sum(sizes) > _RECENT_BYTES:
        rows = [{key: value for key, value in row.items() if key != "tags"} for row in rows]
        sizes = [encoded_size(row) + 2 for row in rows]
    while sum(sizes) > _RECENT_BYTES:
        rows.pop()
        sizes.pop()
    more = history.recent_more + len(history.recent) - len(rows)
    return {"recent": rows, **({"recent_more": more} if more else {})}, sum(sizes)


_ACTIVE = (TaskState.RUNNING, TaskState.BLOCKED, TaskState.RETRYING)


def _totals(run: ActiveRun, name: str) -> Row:
    totals = run.tasks.get(name) or TaskTotals()
    counts = {state: count for state, count in totals.counts.items() if count}
    row: Row = {"known": run.known(name), "counts": counts}
    if totals.ended:
        row["ms"] = {"n": totals.ended, "sum": round(totals.sum_ms, 3), "max": round(totals.max_ms, 3)}
    return row


def _activity(run: ActiveRun, name: str) -> tuple[bool, int]:
    """Return a key that ranks the names to show: those with tasks that run or wait, then those with most."""
    totals = run.tasks.get(name)
    active = totals is not None and any(totals.counts[state] for state in _ACTIVE)
    return active, run.known(name)


def _count_rest(row: Row, key: str, count: int) -> None:
    if (more := count - len(row[key])) > 0:
        row[f"{key}_more"] = more
