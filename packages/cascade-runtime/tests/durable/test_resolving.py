"""What a person has found out about a step in doubt."""

from pathlib import Path

import pytest

from cascade.interfaces import (
    RunInfo,
    RunInUseError,
    StateUnavailable,
    StepState,
    UnreadableResultError,
    UsageError,
)
from cascade.runtime import SqliteState

NIGHT = RunInfo("night", "report")


async def leave_in_doubt(folder: Path) -> SqliteState:
    """Record a run whose process ends while a step runs."""
    state = SqliteState(folder, power_safe=False)
    journal = await state.open(NIGHT)
    await journal.started_for_certain("press:0", name="press", inputs=b"i", code=b"c")
    await journal.close()
    return state


async def test_a_resolved_step_has_the_value_that_the_person_gave(tmp_path: Path) -> None:
    """Whatever its size; the next attempt takes it."""
    state = await leave_in_doubt(tmp_path / "runs")
    value = "x" * (2 << 20)
    await state.resolve("night", "press:0", "value", value)
    assert list(state.values("night")) == [("press:0", value)]
    journal = await state.open(NIGHT)
    record = journal.known("press:0")
    assert record is not None
    assert (record.state, record.name, journal.attempt) == (StepState.COMPLETED, "press", 2)
    assert record.attempt == 1  # the last one whose process had the run
    assert await journal.load("press:0") == value
    with pytest.raises(RunInUseError):
        await SqliteState(tmp_path / "runs").resolve("night", "press:0", "again")
    await journal.close()


async def test_a_step_that_is_not_in_doubt_is_named_with_the_first_five_that_are(tmp_path: Path) -> None:
    """A person has mistyped the key: a run may have thousands of them."""
    state = SqliteState(tmp_path / "runs", power_safe=False)
    journal = await state.open(NIGHT)
    for number in range(7):
        await journal.started_for_certain(f"press:{number}", name="press", inputs=b"", code=b"")
    await journal.close()
    with pytest.raises(UsageError) as refused:
        await state.resolve("night", "pres:0", "again")
    assert str(refused.value).count(" is,") == 4
    assert str(refused.value).endswith("step 'press:4' is")


async def test_a_folder_that_is_not_there_has_nothing_to_resolve(tmp_path: Path) -> None:
    """None is made."""
    state = SqliteState(tmp_path / "runs")
    with pytest.raises(StateUnavailable, match="the folder does not exist"):
        await state.resolve("night", "press:0", "again")
    assert list(state.values("night")) == []
    assert not (tmp_path / "runs").exists()


async def test_a_value_that_cannot_be_read_is_listed_as_its_error(tmp_path: Path) -> None:
    """The others are listed nevertheless."""
    state = await leave_in_doubt(tmp_path / "runs")
    await state.resolve("night", "press:0", "value", 1)
    (tmp_path / "runs" / "_secret").write_bytes(b"k" * 32)
    ((key, error),) = state.values("night")
    assert key == "press:0"
    assert isinstance(error, UnreadableResultError)
