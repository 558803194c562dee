"""Engines that are killed with -9, at every named moment and at random: the run goes on, and nothing is done twice."""

import asyncio
import contextlib
import os
import random
import shutil
import sqlite3
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from dying import ENVIRONMENT

from cascade.interfaces import RunInfo, RunStatus
from cascade.runtime import SqliteState
from cascade.runtime._durable import crash_points
from cascade.runtime._durable.crash_points import CRASH_POINTS
from cascade.testkit.waiting import busyness

PROGRAM = Path(__file__).with_name("night.py")
EXPECTED = 279
NEVER = "never"
KEPT = "SELECT key FROM step WHERE state IN (3, 4) AND key NOT LIKE 'collatz:0'"
POINTS = (*CRASH_POINTS, "called", "effect-done", "heard")
LONG = [pytest.mark.nightly, pytest.mark.timeout(1800)]

pytestmark = [
    pytest.mark.process,
    pytest.mark.timeout(120),
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL"),
]


@dataclass
class Night:
    """One recorded run, and what its processes did."""

    folder: Path
    kills: int = 0
    version: int = 1
    values: list[str] = field(default_factory=list)
    idempotency_keys: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        command = [sys.executable, str(PROGRAM), str(self.folder)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT
        )

    def proceed(self, moment: str = NEVER, times: int = 1, *, after: float = 0.0) -> list[str]:
        """Continue the run in a process that dies at a moment, or after some seconds; return which steps ran."""
        kept, ran = self.kept(), []
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{moment} {times} {after} {self.version}\n")
        self.process.stdin.flush()
        for line in self.process.stdout:
            verb, *words = line.split()
            if verb == "exit":
                assert words[0] in ("0", "-9")
                self.kills += words[0] == "-9"
                break
            if verb == "value":
                self.values += words
                continue
            key, idempotency_key = words
            assert key not in kept, "a recorded step runs again"
            assert self.idempotency_keys.setdefault(key, idempotency_key) == idempotency_key
            ran.append(key)
        return ran

    def close(self) -> None:
        """End the program that forks."""
        self.process.communicate(timeout=30 * busyness())

    def kept(self) -> set[str]:
        """Read a copy, so that the next process finds what the last one has left."""
        copy = self.folder.with_name("copy")
        shutil.rmtree(copy, ignore_errors=True)
        if not (self.folder / "night.db").exists():
            return set()
        shutil.copytree(self.folder, copy)
        with contextlib.closing(sqlite3.connect(copy / "night.db")) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            if connection.execute("PRAGMA user_version").fetchone() == (0,):
                return set()
            return {key for (key,) in connection.execute(KEPT)}

    def finish(self) -> None:
        """Continue without a kill; then once more: nothing runs."""
        self.proceed()
        assert self.proceed() == []
        self.close()
        assert len(self.values) >= 2
        assert set(self.values) == {str(EXPECTED)}


async def record_an_old_run(folder: Path) -> None:
    """Record a run that the next one deletes at its end."""
    journal = await SqliteState(folder).open(RunInfo("old", "report"))
    journal.started("f:0", name="f", inputs=b"", code=b"")
    await journal.completed("f:0", b"x" * (2 << 20))
    await journal.end(RunStatus.SUCCEEDED)


@pytest.mark.full
@pytest.mark.parametrize("seed", [1, *(pytest.param(n, marks=LONG) for n in range(2, 12))])
def test_a_run_killed_at_each_named_moment_goes_on(seed: int, tmp_path: Path) -> None:
    """One kill after the other in one run: each process continues what the ones before have recorded."""
    seeded = random.Random(seed)
    asyncio.run(record_an_old_run(tmp_path / "runs"))
    night = Night(tmp_path / "runs")
    last = ("end-committed", "checkpoint", "pruning")
    early = (
        "lock-taken",
        "begin-committed",
        "migrating",
        "retry-recorded",
        "big-file-written",
        "big-file-renamed",
        "expanded-committed",
    )
    others = [point for point in POINTS if point not in (*last, *early)]
    for point in [*early, *seeded.sample(others, len(others)), *last]:
        before = night.kills
        night.version += point == "migrating"
        night.proceed(point, 1 if point in (*early, *last) else seeded.choice([1, 2, 3]))
        assert night.kills == before + 1, f"it did not reach {point}"
    night.finish()
    assert not list(night.folder.glob("old.*")), "the deletion that was killed is finished"
    print(f"{night.kills} kills")


def test_the_moments_are_those_that_the_sources_name() -> None:
    """None is tested that is never reached, and none is reached that is not tested."""
    durable = Path(crash_points.__file__).parent
    sources = [*durable.glob("*.py"), *(durable.parent / "_storage").glob("*.py")]
    text = "".join(path.read_text() for path in sources if path.name != "crash_points.py")
    assert [point for point in CRASH_POINTS if f'"{point}"' not in text] == []


@pytest.mark.parametrize("seed", [pytest.param(n, marks=LONG) for n in range(60)])
def test_a_run_killed_at_random_goes_on(seed: int, tmp_path: Path) -> None:
    """Wherever the process is."""
    seeded = random.Random(seed)
    night = Night(tmp_path / "runs")
    while not night.values and night.kills < 100:
        night.proceed(after=seeded.uniform(0.02, 0.6))
    night.finish()
    print(f"{night.kills} kills")


FORKING = """
import asyncio, os, signal, sys
from cascade.runtime import Engine, SqliteState
from cascade.spec import task

@task(mode="inline")
def first():
    print("ran first", flush=True)
    return 1

@task(mode=sys.argv[2])
def forks(number):
    print("ran forks", flush=True)
    if sys.argv[3] == "goes on":
        return number + 1
    if not os.fork():
        os.read(0, 1)  # until the test closes the other end
        os._exit(0)
    os.kill(os.getpid(), signal.SIGKILL)

print("value", asyncio.run(Engine(state_backend=SqliteState(sys.argv[1])).run(forks(first()), run_id="night")))
"""


@pytest.mark.parametrize("mode", ["inline", "thread"])
def test_a_child_that_a_task_has_forked_does_not_hold_the_run_of_its_dead_parent(
    mode: str, tmp_path: Path
) -> None:
    """The process is killed with -9, and the child lives on: the next process has the run at once."""
    command = [sys.executable, "-W", "ignore", "-c", FORKING, str(tmp_path / "runs"), mode]
    read, write = os.pipe()
    alive, ended = os.pipe()  # the child has the end that is written to; it is closed with its last process
    try:
        with os.fdopen(read) as stdin:
            killed = subprocess.run(
                [*command, "forks"], stdin=stdin, stdout=ended, pass_fds=(ended,), check=False
            )
        os.close(ended)
        assert killed.returncode == -9
        assert os.read(alive, 100) == b"ran first\nran forks\n"
        done = subprocess.run([*command, "goes on"], capture_output=True, text=True, check=False)
        assert done.stdout.splitlines() == ["ran forks", "value 2"], done.stderr
        os.set_blocking(alive, False)
        with pytest.raises(BlockingIOError):  # the child still has it
            os.read(alive, 1)
    finally:
        os.close(write)
    os.set_blocking(alive, True)
    assert os.read(alive, 1) == b"", "the child has ended"
    os.close(alive)
