"""Random workflows with a record, each killed at random events and resumed: values and failures are the reference's.

Run it with ``python -m testing_tools.workflows.killed EXAMPLES SEED [NUMBER]``: the process has no threads, so that it can fork.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import shutil
import signal
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from cascade.interfaces import Failure, StepState, TaskState, TaskStateEvent
from cascade.interfaces.events import ENDED_STATES
from cascade.runtime import Engine, SqliteCache, SqliteState
from cascade.spec import LazyResult
from testing_tools.workflows.check import outcome, texts
from testing_tools.workflows.describe import describe
from testing_tools.workflows.maker import FOLDER, make_workflow
from testing_tools.workflows.needed import Needed
from testing_tools.workflows.reference import Reference
from testing_tools.workflows.work import without_causes

MOST_KILLS = 2
"""In one run; a step that is running at each of them is still started again."""
RUN = "night"


@dataclass
class Seen:
    """What became of all workflows together."""

    workflows: int = 0
    kills: int = 0
    resumes: int = 0
    kept: int = 0
    """Failures that were kept and recorded before a resume."""
    differences: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.workflows} workflows, {self.kills} kills, {self.resumes} resumes, {self.kept} kept failures before a resume, "
            f"{len(self.differences)} differences"
        )


class Case:
    """One workflow, its folder and the attempts to run it."""

    def __init__(self, random: Random, folder: Path, seen: Seen) -> None:
        self.random, self.folder, self.seen = random, folder, seen
        self.targets: list[LazyResult[Any]] = make_workflow(random)
        self.marks = folder / "marks"
        self.state = SqliteState(folder / "state", power_safe=False)
        self.attempts = 0
        self.recorded: set[str] = set()

    def check(self) -> None:
        """Run it with kills, to its end, and once more.

        :raises AssertionError: if something is not as the reference has it.
        """
        for name in ("reference", "marks"):
            (self.folder / name).mkdir()
        reference = Reference({FOLDER: str(self.folder / "reference")})
        values = [reference.evaluate(lazy).value for lazy in self.targets]
        events = 2 * reference.published.total() + 2
        for _ in range(self.random.randint(1, MOST_KILLS)):
            if self._attempt(self.random.randrange(events)):
                break
            self.seen.kills += 1
        for _ in range(2):
            self._attempt(None)
            found, failures = pickle.loads((self.folder / "outcome").read_bytes())
            _same("failures", failures, texts(reference.failures))
            if not failures:
                _same("values", found, without_causes(values))
        ended = {key: count for key, count in reference.published.items() if key[0].startswith("step ")}
        _same("ends", self._ended(), {key: count for key, count in ended.items() if key[1] in _COMPARED})
        self._no_failure_is_cached()

    def _attempt(self, kill_at: int | None) -> bool:
        """Run in a process of its own; return whether it came to its end."""
        # what steps count, they count in one attempt of the run
        shutil.rmtree(self.marks)
        self.marks.mkdir()
        self.attempts += 1
        self.seen.resumes += self.attempts > 1
        child = os.fork()
        if not child:
            _run_and_exit(self, kill_at)
        status = os.waitpid(child, 0)[1]
        if os.WIFEXITED(status) and os.WEXITSTATUS(status):
            raise AssertionError((self.folder / "trouble").read_text())
        again = self.recorded & self._keys("RUNNING")
        assert not again, f"recorded, and run again: {again}"
        recorded = dict(self.state.values(RUN))
        self.recorded |= recorded.keys()
        self.seen.kept += sum(
            each.state is StepState.FAILED for each in self.state.steps(RUN) if each.key in recorded
        )
        return os.WIFEXITED(status)

    def _keys(self, state: str) -> set[str]:
        """Steps with an event of this state in the latest attempt."""
        return {key for attempt, key, _, each in self._events() if attempt == self.attempts and each == state}

    def _ended(self) -> dict[tuple[str, TaskState], int]:
        """How many steps ended in each state, whatever the attempt."""
        found: dict[tuple[str, TaskState], set[str]] = defaultdict(set)
        for _, key, name, state in self._events():
            if name.startswith("step ") and state in _COMPARED:
                found[name, TaskState(state)].add(key)
        # a kill may come between the commit of a result and its event; what depends on it may be recorded, too
        for step in self.state.steps(RUN):
            if step.name.startswith("step ") and step.state in _AS_EVENTS:
                found[step.name, _AS_EVENTS[step.state]].add(step.key)
        return {key: len(keys) for key, keys in found.items()}

    def _events(self) -> list[tuple[int, str, str, str]]:
        path = self.folder / "events"
        lines = path.read_text().splitlines() if path.exists() else []
        rows = [line.split("\t") for line in lines]
        return [(int(attempt), key, name, state) for attempt, key, name, state in rows]

    def _no_failure_is_cached(self) -> None:
        for path in self.folder.glob("cache*"):
            assert Failure.__name__.encode() not in path.read_bytes()


def _same(what: str, found: object, wanted: object) -> None:
    if found != wanted:
        raise AssertionError(f"{what}: {found} instead of {wanted}")


_COMPARED = (TaskState.COMPLETED, TaskState.FAILED)
_AS_EVENTS = {
    StepState.COMPLETED: TaskState.COMPLETED,
    StepState.EXPANDED: TaskState.COMPLETED,
    StepState.FAILED: TaskState.FAILED,
}


def _run_and_exit(case: Case, kill_at: int | None) -> None:
    """Run the workflow in this process, which is a child of the one that checks, and end it."""
    code = 1
    try:
        asyncio.run(_run(case, kill_at))
        code = 0
    except BaseException as exc:
        (case.folder / "trouble").write_text(f"{type(exc).__name__}: {exc}")
    finally:
        os._exit(code)


async def _run(case: Case, kill_at: int | None) -> None:
    needed = Needed()
    engine = Engine(
        state_backend=case.state, cache_backend=SqliteCache(case.folder / "cache.db"), **needed.keywords()
    )
    log = os.open(case.folder / "events", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    count = 0
    # steps between two attempts: those before a kill count for the next process, in which "flaky" counts anew
    retried = set[str]()

    def note(event: TaskStateEvent) -> None:
        nonlocal count
        if event.state is TaskState.RETRYING or (event.state is TaskState.RUNNING and event.attempt > 1):
            retried.add(event.task_id)
        elif event.state in ENDED_STATES:
            retried.discard(event.task_id)
        line = f"{case.attempts}\t{event.task_id}\t{event.task_name}\t{event.state.value}\n"
        os.write(log, line.encode())
        if kill_at is not None and count >= kill_at and not retried:
            os.kill(os.getpid(), signal.SIGKILL)
        count += 1

    engine.bus.subscribe(TaskStateEvent, note)
    found, failures = await outcome(engine, case.targets, str(case.marks), on_failure="continue", run_id=RUN)
    assert needed.open == []
    (case.folder / "outcome").write_bytes(pickle.dumps((without_causes(found), texts(failures))))


def check_killed(numbers: Iterable[int], seed: int) -> Seen:
    """Check workflows; what one does depends on the seed and its number alone."""
    seen = Seen()
    for number in numbers:
        with tempfile.TemporaryDirectory(prefix="killed-") as folder:
            case = Case(Random(f"{seed}:{number}"), Path(folder), seen)
            try:
                case.check()
            except AssertionError as exc:
                seen.differences.append(f"seed {seed}, workflow {number}: {exc}\n{describe(case.targets)}")
            seen.workflows += 1
    return seen


def main() -> int:
    """Print what was seen; the exit code is 1 if there was a difference."""
    examples, seed, *alone = map(int, sys.argv[1:])
    seen = check_killed(alone or range(examples), seed)
    print(f"seed {seed}: {seen}", *seen.differences, sep="\n")
    return 1 if seen.differences else 0


if __name__ == "__main__":
    sys.exit(main())
