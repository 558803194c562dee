"""What a person has found out about a step in doubt."""

from pathlib import Path
from typing import Literal

import pytest
from fakes import FakeClock

from cascade.interfaces import (
    RunInfo,
    StateUnavailable,
    StepState,
    UnreadableResultError,
    UnstorableValueError,
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


@pytest.mark.parametrize(
    ("resolution", "listed", "runs_again"),
    [
        ("value", [("press:0", StepState.COMPLETED, ""), ("press:1", StepState.IN_DOUBT, "")], False),
        ("again", [("press:1", StepState.IN_DOUBT, "")], True),
        (
            "fail",
            [
                ("press:0", StepState.FAILED, "declared as failed by a person"),
                ("press:1", StepState.IN_DOUBT, ""),
            ],
            True,
        ),
    ],
)
async def test_what_becomes_of_a_resolved_step(
    resolution: Literal["value", "again", "fail"],
    listed: list[tuple[str, StepState, str]],
    runs_again: bool,
    tmp_path: Path,
) -> None:
    """Lists show it until the run goes on; the other steps in doubt stay so, and the run is as it was."""
    clock = FakeClock()
    state = SqliteState(tmp_path / "runs", power_safe=False, clock=clock)
    journal = await state.open(NIGHT)
    for key in ("press:0", "press:1"):
        await journal.started_for_certain(key, name="press", inputs=b"i", code=b"c")
    await journal.close()
    (before,) = state.runs()
    clock.ticks += 60
    await state.resolve("night", "press:0", resolution, [1, (2,)])
    steps = [*state.steps("night")]
    assert [(step.key, step.state, step.error) for step in steps] == listed
    assert [step.ended for step in steps if step.key == "press:0"] == [clock.now()] * (resolution != "again")
    assert list(state.values("night")) == ([] if runs_again else [("press:0", [1, (2,)])])
    (after,) = state.runs()
    assert (after.status, after.attempts, after.created) == (before.status, 1, before.created)
    with pytest.raises(UsageError, match="step 'press:0' is not in doubt"):
        await state.resolve("night", "press:0", resolution)
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == [
        "_secret",
        "night.db",
        "night.lock",
    ]
    journal = await state.open(NIGHT)
    record = journal.known("press:0")
    assert (record is None or record.state is StepState.FAILED) is runs_again
    assert (journal.attempt, *journal.known_keys(StepState.IN_DOUBT)) == (2, "press:1")
    await journal.close()


async def test_what_cannot_be_resolved_is_refused_with_what_to_do(tmp_path: Path) -> None:
    """An unknown run, an unknown step, one that has a value, one that cannot have this value; nothing changes."""
    folder = tmp_path / "runs"
    state = SqliteState(folder, power_safe=False, pickle=False)
    journal = await state.open(NIGHT)
    journal.started("load:0", name="load", inputs=b"", code=b"")
    assert await journal.completed("load:0", 1)
    await journal.close()

    async def refusal(run_id: str, key: str) -> str:
        with pytest.raises(UsageError) as refused:
            await state.resolve(run_id, key, "value", 1)
        return str(refused.value)

    lists = f"cascade history --state {folder} lists the runs"
    assert await refusal("day", "load:0") == f"run 'day' is not recorded in {folder}; {lists}"
    nothing = "in run 'night' no step is: run it again with its run id"
    assert await refusal("night", "load:0") == f"step 'load:0' is not in doubt: it is completed; {nothing}"
    assert await refusal("night", "press:0") == f"step 'press:0' is not in doubt: it is unknown; {nothing}"
    journal = await state.open(NIGHT)
    await journal.started_for_certain("press:0", name="press", inputs=b"", code=b"")
    await journal.close()
    with pytest.raises(UnstorableValueError, match="cannot be recorded"):
        await state.resolve("night", "press:0", "value", object())
    assert (await refusal("night", "pres:0")).endswith("it is unknown; in run 'night' step 'press:0' is")
    (folder / "night.db").write_bytes(b"These are notes, not a database.\n" * 200)
    with pytest.raises(StateUnavailable, match="file is not a database") as damaged:
        await state.resolve("night", "press:0", "again")
    assert damaged.value.where == str(folder / "night.db")
    await state.forget("night")


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
