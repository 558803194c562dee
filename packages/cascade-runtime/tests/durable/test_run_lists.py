"""What lists say of recorded runs: of one that goes on, beside files that cannot be read, and what stays by default."""

import datetime as dt
import stat
import time
from pathlib import Path
from typing import Any

import pytest
from fakes import FakeClock

from cascade.interfaces import (
    RunInfo,
    RunStatus,
    StepState,
)
from cascade.runtime import SqliteState

RUN = RunInfo("night", "report")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "runs"


def state_in(folder: Path, **options: Any) -> SqliteState:
    return SqliteState(folder, power_safe=False, **options)


def clock_at(seconds: float) -> FakeClock:
    """Return a clock that was set to a time."""
    clock = FakeClock()
    clock.put_forward = seconds - clock.now()
    return clock


async def record(
    folder: Path,
    run_id: str,
    status: RunStatus = RunStatus.SUCCEEDED,
    *,
    target: str = "report",
    at: float | None = None,
) -> None:
    """Record a run that began and ended at a time, by default now."""
    clock = clock_at(time.time() if at is None else at)
    journal = await state_in(folder, keep=None, clock=clock).open(RunInfo(run_id, target))
    await journal.end(status, "no steam" if status is RunStatus.FAILED else "")


@pytest.mark.parametrize("spoiled", ["a", "b", "c"])
async def test_a_file_that_cannot_be_read_hides_no_other(
    folder: Path, spoiled: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Wherever it stands; one that a process has only begun to make does not either, and is not worth a warning."""
    for run_id in ("a", "b", "c"):
        await record(folder, run_id)
    (folder / f"{spoiled}.db").write_bytes(b"These are notes, not a database.\n" * 200)
    (folder / f"{spoiled}0.db").touch(mode=0o600)
    assert {run.run_id for run in state_in(folder).runs()} == {"a", "b", "c"} - {spoiled}
    (warning,) = caplog.messages
    assert f"{spoiled}.db cannot be read" in warning


@pytest.mark.parametrize(("days", "stays"), [(29, True), (31, False)])
async def test_a_run_that_has_ended_stays_for_30_days_by_default(
    folder: Path, days: int, *, stays: bool
) -> None:
    await record(folder, "old")
    later = clock_at(time.time() + dt.timedelta(days=days).total_seconds())
    assert await state_in(folder, clock=later).prune() == (not stays)
    assert [run.run_id for run in state_in(folder).runs()] == ["old"] * stays


async def test_texts_that_utf_8_cannot_hold_are_recorded_with_escapes(folder: Path) -> None:
    """An error may quote the name of a file that is not text."""
    state, text = state_in(folder), "no steam in \udc80.txt"
    journal = await state.open(RUN)
    for key in ("f:0", "f:1", "f:2"):
        journal.started(key, name=text, inputs=b"", code=b"")
    journal.retrying("f:0", tries=1, not_before=0.0, error=text)
    await journal.failed("f:1", text)
    await journal.completed("f:2", 2)
    await journal.end(RunStatus.FAILED, text)
    escaped = "no steam in \\udc80.txt"
    assert [(step.name, step.state, step.error) for step in state.steps("night")] == [
        (escaped, StepState.RETRYING, escaped),
        (escaped, StepState.FAILED, escaped),
        (escaped, StepState.COMPLETED, ""),
    ]
    assert [run.error for run in state.runs()] == [escaped]


async def test_the_constraints_of_each_source_are_kept_apart(folder: Path) -> None:
    """They can be saved before the first run, are replaced as a whole, and can be forgotten twice."""
    state = state_in(folder)
    await state.save_control("press", {"paused": True, "why": "no steam"})
    await state.save_control("saw/1", {"paused": False})
    await state.save_control("press", {"limit": 2})
    assert await state_in(folder).load_control("press") == {"limit": 2}
    assert await state.load_control("saw/1") == {"paused": False}
    assert await state.load_control("saw") is None
    files = [*folder.glob("control-*")]
    assert [stat.S_IMODE(path.stat().st_mode) for path in files] == [0o600] * 2
    with pytest.raises(TypeError):
        await state.save_control("press", {"limit": object()})
    assert sorted(folder.glob("control-*")) == sorted(files)
    assert await state.load_control("press") == {"limit": 2}
    for _ in range(2):
        await state.forget_control("press")
        assert await state.load_control("press") is None
    assert await state.load_control("saw/1") == {"paused": False}
