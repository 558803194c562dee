"""Recorded runs whose process is killed with -9, at every named moment and at random: no recorded result is lost."""

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
from cascade.runtime._durable.crash_points import CRASH_POINTS
from cascade.runtime._durable.sqlite_state import SqliteState

pytestmark = [pytest.mark.process, pytest.mark.timeout(180)]
LONG = [pytest.mark.nightly, pytest.mark.timeout(1800)]

PROGRAM = Path(__file__).with_name("durable") / "crashing.py"
NEVER = "never"


def first_line(descriptor: int) -> str:
    """Read no byte beyond it: ``communicate`` does not return what a buffered stream has read ahead."""
    line = b""
    while not line.endswith(b"\n") and (byte := os.read(descriptor, 1)):
        line += byte
    return line.decode()


@dataclass
class Night:
    """One run in one folder, its processes, and a model of what must be recorded."""

    folder: Path
    power_safe: bool = False
    version: int = 1
    done: set[str] = field(default_factory=set)
    turn: int = 0
    attempts: int = 0
    processes: int = 0
    kills: int = 0
    ended: bool = False
    ran: int = 0

    def proceed(self, moment: str, times: int = 1, *, after: float | None = None) -> None:
        """Continue the run in a process that dies at a moment, or after some seconds; check what is left."""
        settings = (str(self.folder), moment, str(times), str(self.version), str(self.power_safe))
        command = [sys.executable, str(PROGRAM), *settings]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT
        )
        self.processes += 1
        first = ""
        if after is not None and process.stdout is not None:
            first = first_line(process.stdout.fileno())  # until then it imports what it needs
        try:
            output, errors = process.communicate(timeout=after)
        except subprocess.TimeoutExpired:
            process.kill()
            output, errors = process.communicate()
        assert errors == ""
        self.kills += process.returncode == -9
        for line in (first + output).splitlines():
            self.check(*line.split(" ", 1))
        self.check_files()

    def check(self, verb: str, what: str = "") -> None:
        """Compare one line of a process with the model."""
        if verb == "attempt":
            assert self.attempts < int(what) <= self.processes
            self.attempts = int(what)
        elif verb == "run":
            assert what not in self.done, "a recorded step runs again"
            self.ran += 1
        elif verb == "done":
            self.done.add(what)
        elif verb == "turn":
            assert int(what) >= self.turn, "a recorded turn runs again"
        elif verb == "turned":
            self.turn = int(what)
        else:
            assert verb == "ended", f"{verb} {what}"
            self.ended = True

    def check_files(self) -> None:
        """Look at a copy, so that the next process finds what this one has left."""
        copy = self.folder.with_name("copy")
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(self.folder, copy)
        if not (copy / "night.db").exists():
            assert not self.done
            return
        with contextlib.closing(sqlite3.connect(copy / "night.db")) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            if connection.execute("PRAGMA user_version").fetchone() == (0,):
                assert not self.done
                return
            rows = dict(
                connection.execute("SELECT key, file FROM result JOIN step USING (key) WHERE state = 3")
            )
        assert self.done <= rows.keys(), "a recorded result is lost"
        assert all((copy / file).stat().st_size > 1 << 12 for file in rows.values() if file)

    def finish(self) -> None:
        """Continue without a kill; then once more: nothing runs."""
        self.proceed(NEVER)
        assert self.ended
        ran = self.ran
        self.proceed(NEVER)
        assert self.ran == ran
        results = [path for path in self.folder.iterdir() if path.suffix == ".result"]
        with contextlib.closing(sqlite3.connect(self.folder / "night.db")) as connection:
            named = {file for (file,) in connection.execute("SELECT file FROM result WHERE file IS NOT NULL")}
        assert {path.name for path in results} == named, "no file is left that no row names"


async def record_an_old_run(folder: Path) -> None:
    """Record a run that the next one deletes at its end."""
    journal = await SqliteState(folder).open(RunInfo("old", "report"))
    journal.started("f:0", name="f", inputs=b"", code=b"")
    await journal.completed("f:0", b"x" * (2 << 20))
    await journal.end(RunStatus.SUCCEEDED)


@pytest.mark.full
@pytest.mark.parametrize("seed", [1, *(pytest.param(n, marks=LONG) for n in range(2, 30))])
def test_a_kill_at_each_named_moment_loses_nothing(seed: int, tmp_path: Path) -> None:
    """One after the other in one run: each process continues what the ones before have recorded."""
    seeded = random.Random(seed)
    night = Night(tmp_path / "runs", power_safe=seed % 2 == 0)
    asyncio.run(record_an_old_run(night.folder))
    last = ("end-committed", "checkpoint", "pruning")
    others = [point for point in CRASH_POINTS if point not in last]
    for point in [*seeded.sample(others, len(others)), *last]:
        before = night.kills
        if point == "migrating" and (night.folder / "night.db").exists():
            night.version += 1
        once = point in (*last, "lock-taken", "migrating", "begin-committed")
        night.proceed(point, 1 if once else seeded.choice([1, 1, 2]))
        assert night.kills == before + 1, f"it did not reach {point}"
    night.finish()
    assert night.kills == len(CRASH_POINTS)
    assert not list(night.folder.glob("old.*")), "the deletion that was killed is finished"
    print(f"{night.kills} kills")


@pytest.mark.parametrize("seed", [pytest.param(n, marks=LONG) for n in range(20)])
def test_kills_at_random_times_lose_nothing(seed: int, tmp_path: Path) -> None:
    """Wherever the process is."""
    seeded = random.Random(seed)
    night = Night(tmp_path / "runs", power_safe=seed % 2 == 0)
    while not night.ended and night.kills < 100:
        night.proceed(NEVER, after=seeded.uniform(0.0, 0.3))
    night.finish()
    print(f"{night.kills} kills")


RACER = """
import asyncio, sys
from cascade.interfaces import RunInfo, RunInUseError
from cascade.runtime._durable.sqlite_state import SqliteState

async def main():
    sys.stdin.readline()
    try:
        journal = await SqliteState(sys.argv[1], power_safe=False).open(RunInfo("night", "report"))
    except RunInUseError as exc:
        print("refused", exc.pid, flush=True)
    else:
        print("has it", flush=True)
        sys.stdin.readline()
        await journal.close()

asyncio.run(main())
"""


@pytest.mark.full
@pytest.mark.parametrize("rounds", [1, pytest.param(30, marks=LONG)])
def test_of_three_processes_one_has_the_run(rounds: int, tmp_path: Path) -> None:
    """They start at one moment; the others learn which one it is."""
    command = [sys.executable, "-c", RACER, str(tmp_path / "runs")]
    for _ in range(rounds):
        racers = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for _ in range(3)
        ]
        try:
            for racer in racers:
                assert racer.stdin is not None
                racer.stdin.write("go\n")
                racer.stdin.flush()
            answers = [racer.stdout.readline().split() for racer in racers if racer.stdout]
        finally:
            for racer in racers:
                racer.communicate("stop\n")
        (winner,) = [racer for racer, answer in zip(racers, answers, strict=True) if answer == ["has", "it"]]
        assert sorted(answers) == [["has", "it"], *[["refused", str(winner.pid)]] * 2]


def test_the_moments_are_those_that_the_sources_name() -> None:
    """None is tested that is never reached, and none is reached that is not tested."""
    durable = Path(sys.modules[SqliteState.__module__].__file__ or "").parent
    sources = [*durable.glob("*.py"), *(durable.parent / "_storage").glob("*.py")]
    text = "".join(path.read_text() for path in sources if path.name != "crash_points.py")
    assert [point for point in CRASH_POINTS if f'"{point}"' not in text] == []
