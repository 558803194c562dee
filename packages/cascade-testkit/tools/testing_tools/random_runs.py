"""Random runs of engines in processes of their own, of which some are killed, and what became of each by its own events.

``python random_runs.py URL SOURCE FOLDER SEED RUNS`` plays the plans of one engine, one after another, behind those that
earlier processes have begun. Each process appends to ``FOLDER/SOURCE.jsonl`` what its run says before anything leaves it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import cascade as cs
from cascade.cli._running.summary import RunSummary
from cascade.interfaces import LifecycleEvent, TaskState, TaskStateEvent
from cascade.interfaces.control_messages import constraint_id
from cascade.interfaces.topics import constraint_topic
from cascade.wire.progress import is_recorded

ENDS = (
    ("succeed", 3), ("fail", 4), ("go on", 4), ("keep", 3), ("skip", 1), ("cancel", 3), ("signal", 1), ("kill", 4),
    ("resume", 2),
)  # fmt: skip
"""How a run ends, and how often. ``resume``: it is recorded, killed, and goes on in the next process."""
AUTHOR = "ann"
_log = logging.getLogger("shop")


@dataclass(frozen=True)
class Plan:
    """One run."""

    number: int
    run_id: str
    end: str
    items: int
    bad: frozenset[int]
    """Items that fail."""
    flaky: frozenset[int]
    """Items that fail once, and are tried again."""
    at: int
    """The item that ends the run, of those that something from outside ends."""
    wait: float
    """Seconds from then on to the end."""


def plans_of(source: str, seed: int, runs: int) -> list[Plan]:
    """Return the runs of an engine; they depend on nothing else."""
    random = Random(f"{seed}:{source}")
    ends, weights = zip(*ENDS, strict=True)
    found: list[Plan] = []
    for number in range(runs):
        items = random.randrange(1, 40)
        end = random.choices(ends, weights)[0]
        failing = end in ("fail", "go on", "keep", "kill")
        bad = (
            random.sample(range(items), random.randrange(1 if end == "fail" else 0, min(items, 22) + 1))
            if failing
            else []
        )
        flaky = random.sample(range(items), random.randrange(min(items, 3) + 1))
        wait = random.choice((0.0, 0.0, 0.1, 0.6))
        # a run id is used again, without a record
        before = random.choice(found) if found and end in ("succeed", "go on", "fail") else None
        again = before is not None and before.end not in ("kill", "resume") and random.random() < 0.2
        found.append(
            Plan(
                number,
                before.run_id if before is not None and again else f"{source}-{number}",
                end,
                items,
                frozenset(bad),
                frozenset(flaky) - {*bad},
                random.randrange(items),
                wait,
            )
        )
    return found


@dataclass
class Oracle:
    """What became of one attempt of a run, by its own events and its own terminal."""

    run_id: str
    source: str
    plan: Plan
    states: dict[str, str] = field(default_factory=dict)
    """Tasks by their latest state."""
    failed: list[str] = field(default_factory=list)
    recorded: int = 0
    logged: int = 0
    """Lines of its log; ``earlier``: of other runs with its id before."""
    earlier: int = 0
    began: float = 0.0
    ended: float | None = None
    status: str = ""
    """Empty: it was killed."""
    error: str = ""
    by: str = ""
    terminal: dict[str, Any] = field(default_factory=dict)

    @property
    def counts(self) -> Counter[str]:
        """Tasks by state."""
        return Counter(self.states.values())


def oracles(folder: Path, source: str, seed: int, runs: int) -> dict[str, Oracle]:
    """Return what became of the runs of an engine, by id: of the latest attempt of each."""
    plans = plans_of(source, seed, runs)
    found: dict[str, Oracle] = {}
    for line in (folder / f"{source}.jsonl").read_text().splitlines():
        note = json.loads(line)
        run_id = note["run_id"]
        match note["is"]:
            case "began":
                before = found.pop(run_id, None)
                earlier = before.logged + before.earlier if before is not None else 0
                found[run_id] = Oracle(run_id, source, plans[note["plan"]], began=note["at"], earlier=earlier)
            case "task":
                _follow(found[run_id], note)
            case "ended":
                found[run_id].ended = note["at"]
                found[run_id].status, found[run_id].error, found[run_id].by = (
                    note["status"],
                    note["error"],
                    note["by"],
                )
            case "terminal":
                found[run_id].terminal = note
            case "log":
                found[run_id].logged += 1
    return found


def _follow(run: Oracle, note: dict[str, Any]) -> None:
    key, state = note["key"], note["state"]
    run.states[key] = state
    run.recorded += state == TaskState.SKIPPED and is_recorded(note["reason"])
    if state == TaskState.FAILED:
        run.failed.append(key)


class Notes:
    """Writes what happens, before anything else learns of it."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self.plan = -1
        """The number of the present one."""

    def write(self, kind: str, run_id: str, **more: Any) -> None:
        os.write(
            self._file,
            (json.dumps({"is": kind, "plan": self.plan, "run_id": run_id, **more}) + "\n").encode(),
        )

    def task(self, event: TaskStateEvent) -> None:
        self.write("task", event.run_id, key=event.task_id, state=event.state.value, reason=event.reason)

    def life(self, event: LifecycleEvent) -> None:
        if event.status is None:
            self.write("began", event.run_id, at=event.timestamp)
        else:
            self.write(
                "ended",
                event.run_id,
                at=event.timestamp,
                status=event.status.value,
                error=event.error,
                by=event.by,
            )


class Box:
    """Plays plans, one run after another."""

    def __init__(self, url: str, source: str, folder: Path) -> None:
        self._url, self._source, self._folder = url, source, folder
        self._notes = Notes(folder / f"{source}.jsonl")

    def play(self, plan: Plan) -> None:
        self._notes.plan = plan.number
        bus, summary = cs.EventBus(), RunSummary()
        bus.subscribe(TaskStateEvent, self._notes.task)
        bus.subscribe(LifecycleEvent, self._notes.life)
        bus.subscribe(TaskStateEvent, summary.task)
        bus.subscribe(LifecycleEvent, summary.lifecycle)
        keywords: dict[str, Any] = {"on_failure": "continue" if plan.end in ("go on", "kill") else "stop"}
        if plan.end == "resume":
            keywords["state"] = self._folder / "runs"
        connector = cs.connector(f"{self._url}?source_id={self._source}", connect_timeout=30)
        with suppress(Exception, SystemExit):
            cs.run(
                self._target(plan), connector=connector, bus=bus, run_id=plan.run_id, name=f"name of {plan.run_id}",
                logs="INFO", progress=False, host_report=False, **keywords,
            )  # fmt: skip
        counts = {state: n for state, n in summary.counts.items() if n}
        self._notes.write("terminal", plan.run_id, status=summary.status and summary.status.value, error=summary.error,
                          counts=counts, failed=list(summary.failures()))  # fmt: skip

    def _target(self, plan: Plan) -> cs.LazyResult[Any]:
        tried: set[int] = set()
        hold = asyncio.Event()
        # not a truth value: one that the task captures counts as its code, and the next process has another
        recorded = asyncio.Event()
        if plan.end == "resume" and self._is_second(plan):
            recorded.set()

        @cs.task
        async def measure(item: int) -> int:
            await asyncio.sleep(0.002 * (item % 5))
            if (
                item == plan.at
                and plan.end in ("cancel", "signal", "kill", "resume")
                and not recorded.is_set()
            ):
                await self._end(plan)
                await hold.wait()
            if (
                item > plan.at
                and plan.end in ("cancel", "signal", "kill", "resume")
                and item % 3 == 0
                and not recorded.is_set()
            ):
                await hold.wait()
            if item in plan.flaky and item not in tried:
                tried.add(item)
                raise OSError(f"sensor {item} is busy")
            if item in plan.bad:
                self._notes.write("log", plan.run_id)
                _log.warning("sensor %d is dark", item)
                raise ValueError(f"sensor {item} does not answer")
            return item

        @cs.task
        async def report(values: list[Any]) -> int:
            return len(values)

        @cs.task
        async def never(count: int) -> bool:
            return count < 0

        @cs.task
        async def more(count: int) -> int:
            return count

        parts = measure.with_retry(max_attempts=2, delay=0.0).map(item=range(plan.items)).with_concurrency(8)
        if plan.end == "keep":
            parts = parts.keep_failures()
        found = report(parts)
        return more(found).run_if(never(found)) if plan.end == "skip" else more(found)

    def _is_second(self, plan: Plan) -> bool:
        return (self._folder / f"{plan.run_id}.killed").exists()

    async def _end(self, plan: Plan) -> None:
        await asyncio.sleep(plan.wait)
        if plan.end == "cancel":
            scope = f"run:{plan.run_id}"
            message: dict[str, Any] = {"id": constraint_id(scope, "cancel"), "scope": scope, "type": "cancel", "params": {}, "by": AUTHOR,
                       "expires_at": None}  # fmt: skip
            tool = cs.connector(self._url, presence=False)
            await tool.connect()
            await tool.publish(constraint_topic(scope, "cancel"), message, 1, retain=True)
            await tool.disconnect()
        elif plan.end == "signal":
            os.kill(os.getpid(), signal.SIGTERM)
        else:
            (self._folder / f"{plan.run_id}.killed").touch()
            os.kill(os.getpid(), signal.SIGKILL)


def begin(url: str, source: str, folder: Path, seed: int, runs: int) -> subprocess.Popen[bytes]:
    """Start the next process of an engine."""
    command = [sys.executable, "-P", __file__, url, source, str(folder), str(seed), str(runs)]
    return subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def play(url: str, source: str, folder: Path, seed: int, runs: int, *, to_the_end: bool = True) -> int:
    """Play all runs of an engine, however many processes are killed meanwhile; return how many were.

    :param to_the_end: False: it never comes back once its latest process was killed behind half of its runs.
    """
    killed = 0
    while (code := begin(url, source, folder, seed, runs).wait()) != 0:
        assert code == -signal.SIGKILL, code
        killed += 1
        if not to_the_end and len(oracles(folder, source, seed, runs)) > runs // 2:
            break
    return killed


def main() -> None:
    """Play what is left of the plans of an engine."""
    url, source, place, seed, runs = sys.argv[1:]
    folder, path = Path(place), Path(place) / f"{source}.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    begun = {note["plan"] for note in lines if note["is"] == "began"}
    ended = {note["plan"] for note in lines if note["is"] == "ended"}
    box = Box(url, source, folder)
    for plan in plans_of(source, int(seed), int(runs)):
        if plan.number not in begun or (plan.end == "resume" and plan.number not in ended):
            box.play(plan)


if __name__ == "__main__":
    main()
