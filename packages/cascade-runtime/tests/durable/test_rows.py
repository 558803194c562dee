"""What stands in the file of a run: of each attempt, of each step, of events; and what is closed and forgotten."""

import contextlib
import dataclasses
import sqlite3
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from fakes import FakeClock

from cascade.interfaces import (
    CascadeError,
    Journal,
    Plan,
    RunEndedError,
    RunInfo,
    RunInputsError,
    RunStatus,
    StateUnavailable,
    StepEvents,
    StepRecord,
    StepState,
    StepSummary,
    UnstorableValueError,
)
from cascade.runtime import SqliteState

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads the boot id and the open files from /proc")
RUN = RunInfo("night", "report", {"day": 3}, shape=b"shape", source="box", by="anna")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "runs"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def state_in(folder: Path, **options: Any) -> SqliteState:
    return SqliteState(folder, power_safe=False, keep=None, **options)


def rows(folder: Path, columns: str, table: str) -> list[dict[str, Any]]:
    """Return the rows of a table, as any other program reads them."""
    with contextlib.closing(sqlite3.connect(folder / "night.db")) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(f"SELECT {columns} FROM {table}")]


async def complete(journal: Journal, key: str, value: Any) -> bool:
    journal.started(key, name="f", inputs=b"", code=b"")
    return await journal.completed(key, value)


async def steps_in_all_states(journal: Journal, clock: FakeClock) -> None:
    """Bring a step into each state, a second apart."""

    def start(key: str) -> None:
        clock.ticks += 1
        journal.started(key, name=f"task {key}", inputs=f"inputs {key}".encode(), code=f"code {key}".encode())

    start("a")
    start("b")
    journal.retrying("b", tries=1, not_before=5.5, error="no steam yet")
    start("c")
    journal.retrying("c", tries=1, not_before=5.5, error="no steam yet")
    start("c")
    clock.ticks += 0.25
    assert await journal.completed("c", "value", events=lambda: StepEvents(7, "0123abcd"))
    start("d")
    clock.ticks += 0.25
    await journal.expanded("d", Plan({"turn": 1}), events=StepEvents(8, "0123abcd"))
    start("e")
    clock.ticks += 0.25
    await journal.failed("e", "burst")
    clock.ticks += 1
    await journal.started_for_certain("f", name="task f", inputs=b"inputs f", code=b"code f")
    start("g")
    assert await journal.completed("g", object()) is False


async def test_the_file_says_of_each_step_what_became_of_it(folder: Path, clock: FakeClock) -> None:
    """Lists show it, and the next attempt of the run knows it; a step whose value is not kept is as if it never ran."""
    state, zero = state_in(folder, clock=clock, pickle=False), clock.now()
    journal = await state.open(RUN)
    await steps_in_all_states(journal, clock)
    await journal.close()
    ((size,),) = (row.values() for row in rows(folder, "length(payload)", "result WHERE key = 'd'"))
    assert [*state.steps("night")] == [
        StepSummary("a", "task a", StepState.STARTED, 1, 0, zero + 1, None, "", 0),
        StepSummary("b", "task b", StepState.RETRYING, 1, 1, zero + 2, None, "no steam yet", 0),
        StepSummary("c", "task c", StepState.COMPLETED, 2, 1, zero + 4, zero + 4.25, "", len('"value"')),
        StepSummary("d", "task d", StepState.EXPANDED, 1, 0, zero + 5.25, zero + 5.5, "", size),
        StepSummary("e", "task e", StepState.FAILED, 1, 0, zero + 6.5, zero + 6.75, "burst", 0),
        StepSummary("f", "task f", StepState.IN_DOUBT, 1, 0, zero + 7.75, None, "", 0),
    ]
    assert [step.key for step in state.steps("night", state=StepState.FAILED)] == ["e"]
    again = await state.open(RUN)

    def of(key: str, state: StepState, *rest: Any) -> StepRecord:
        return StepRecord(
            key, state, f"task {key}", f"inputs {key}".encode(), f"code {key}".encode(), 1, *rest
        )

    assert [again.known(key) for key in "abcdefg"] == [
        of("a", StepState.STARTED, 1, 0, zero + 1),
        of("b", StepState.RETRYING, 1, 1, zero + 2, 0.0, 5.5, "no steam yet"),
        of("c", StepState.COMPLETED, 2, 1),
        of("d", StepState.EXPANDED, 1, 0),
        of("e", StepState.FAILED, 1, 0, zero + 6.5, zero + 6.75, 0.0, "burst"),
        of("f", StepState.IN_DOUBT, 1, 0, zero + 7.75),
        None,
    ]
    assert {*again.known_keys()} == {*"abcdef"}
    await again.close()
    assert rows(folder, "key, seq, token", "step WHERE seq IS NOT NULL ORDER BY key") == [
        {"key": "c", "seq": 7, "token": "0123abcd"},
        {"key": "d", "seq": 8, "token": "0123abcd"},
    ]


ATTEMPTS: dict[str, tuple[str, int]] = {
    # Of each attempt, the oldest first: D for a process that died, E for an orderly end, R for one that was refused;
    # then k if it recorded a value, s if it started a step. The last of these has started the step that is asked for.
    "died once": ("Ds", 1),
    "died three times in a row": ("Ds Ds Ds", 3),
    "a value in between": ("Ds Dk Ds", 2),
    "a value in the last attempt": ("Ds Ds Dk", 1),
    "an orderly end in between": ("Ds Es Ds Ds", 2),
    "orderly at last": ("Ds Ds Es", 0),
    "refused afterwards": ("Ds Ds R R", 2),
    "refused in between": ("Ds R Ds", 1),
    "died before any step": ("Ds D Ds", 3),
    "died before any step at last": ("Ds D", 0),
}


@pytest.mark.parametrize("name", ATTEMPTS)
async def test_the_deaths_of_a_process_are_counted_back_to_what_was_recorded_last(
    name: str, folder: Path
) -> None:
    """A step that kills its process each time is found by that number; an orderly end begins anew."""
    history, deaths = ATTEMPTS[name]
    state, attempts = state_in(folder), history.split()
    await (await state.open(RUN)).close()
    spoiled(folder, "DELETE FROM attempt")
    asked = max(number for number, attempt in enumerate(attempts, 1) if attempt[1:])
    for number, attempt in enumerate(attempts, 1):
        ended = "NULL" if attempt[0] == "D" else "5.0"
        spoiled(folder, f"INSERT INTO attempt (n, token, ended) VALUES ({number}, x'00', {ended})")
        if attempt[1:]:
            kept = f"INSERT INTO step (key, state, attempt, starts, tries) VALUES ('k:{number}', 3, {number}, 1, 0)"
            begun = kept.replace("'k:", "'s:").replace(", 3, ", ", 1, ")
            spoiled(folder, kept if attempt[1] == "k" else begun)
    spoiled(folder, f"INSERT INTO step (key, state, attempt, starts, tries) VALUES ('f:0', 1, {asked}, 9, 0)")
    journal = await state.open(RUN)
    record = journal.known("f:0")
    assert record is not None
    assert (journal.attempt, record.deaths) == (len(attempts) + 1, deaths)
    await journal.close()


# What is refused


def handles_of(folder: Path) -> list[str]:
    """Return the files of a folder that this process has open."""
    found = list[str]()
    for handle in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            found.append(str(handle.readlink()))
    return sorted(path for path in found if path.startswith(str(folder)))


def spoiled(folder: Path, statement: str) -> None:
    with contextlib.closing(sqlite3.connect(folder / "night.db")) as connection, connection:
        connection.execute(statement)


REFUSED: dict[str, tuple[type[CascadeError], RunInfo, str]] = {
    "cancelled": (RunEndedError, RUN, "UPDATE run SET status = 'Cancelled'"),
    "other inputs": (RunInputsError, dataclasses.replace(RUN, params={"day": 4}), ""),
    "other secrets": (RunInputsError, dataclasses.replace(RUN, secrets={"TOKEN": "other"}), ""),
    "an input that cannot be stored": (
        UnstorableValueError,
        dataclasses.replace(RUN, params=None, secrets={"TOKEN": threading.Lock()}),
        "",
    ),
    "an unknown status": (StateUnavailable, RUN, "UPDATE run SET status = 'Resting'"),
    "no JSON": (StateUnavailable, RUN, "UPDATE run SET env = '{'"),
    "inputs of another type": (StateUnavailable, RUN, "UPDATE run SET params = 5"),
    "forged inputs": (StateUnavailable, RUN, "UPDATE run SET params_mac = x'00'"),
    "a blob for a number": (StateUnavailable, RUN, "UPDATE step SET starts = x'00'"),
    "a step without a state": (StateUnavailable, RUN, "UPDATE step SET state = NULL"),
    "another run": (StateUnavailable, RUN, "UPDATE run SET run_id = 'day'"),
    "no table": (StateUnavailable, RUN, "DROP TABLE event"),
}


@linux
@pytest.mark.parametrize("name", REFUSED)
async def test_a_run_that_is_refused_leaves_no_file_open(name: str, folder: Path) -> None:
    """Also while the error is being handled; its database has no side files then, so that another process can open the run."""
    error, run, statement = REFUSED[name]
    state = state_in(folder)
    journal = await state.open(dataclasses.replace(RUN, secrets={"TOKEN": "first"}))
    assert await complete(journal, "f:0", 1)
    await journal.end(RunStatus.FAILED)
    if statement:
        spoiled(folder, statement)
    with pytest.raises(error) as refused:
        await state.open(run)
    assert handles_of(folder) == []
    assert [path.name for path in folder.glob("night.db-*")] == []
    assert refused.value
    await state.forget("night")
    assert not (folder / "night.db").exists()


class Odd:
    """A value that cannot be compared, such as an array."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __repr__(self) -> str:
        return f"Odd({self.number})"

    def __eq__(self, other: object) -> bool:
        raise ValueError("the truth of this is ambiguous")

    __hash__ = None  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("before", "now", "same"),
    [
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, True),
        (Odd(1), Odd(1), True),
        (Odd(1), Odd(2), False),
        (1, 1.0, False),
        (1, True, False),
        ((1,), [1], False),
        (float("nan"), float("nan"), True),
    ],
    ids=repr,
)
async def test_inputs_are_compared_by_type_and_value_or_as_they_are_stored(
    folder: Path, before: Any, now: Any, *, same: bool
) -> None:
    """One that cannot be compared counts with its content."""
    state = state_in(folder)
    await (await state.open(dataclasses.replace(RUN, params={"day": before}))).close()
    again = dataclasses.replace(RUN, params={"day": now})
    if same:
        await (await state.open(again)).close()
        return
    with pytest.raises(RunInputsError) as refused:
        await state.open(again)
    assert refused.value.names == ("day",)


async def test_a_long_input_is_shown_by_its_beginning(folder: Path) -> None:
    """The message for a person stays readable: 80 characters of each value."""
    state = state_in(folder)
    await (await state.open(dataclasses.replace(RUN, params={"day": "x" * 100, "old": 1}))).close()
    with pytest.raises(RunInputsError) as refused:
        await state.open(dataclasses.replace(RUN, params={"day": "y" * 78, "new": 2}))
    assert refused.value.names == ("day", "new", "old")
    assert refused.value.problem == f"day='{'x' * 78}…, and is given '{'y' * 78}'"
    for given, problem in ({"new": 2}, "no new, and is given 2"), ({}, "old=1, and is given none"):
        params = {"day": "x" * 100, **({"old": 1} if given else {}), **given}
        with pytest.raises(RunInputsError) as refused:
            await state.open(dataclasses.replace(RUN, params=params))
        assert refused.value.problem == problem


@pytest.mark.parametrize("required", [True, False])
async def test_a_lock_that_cannot_be_opened_is_named(
    folder: Path, caplog: pytest.LogCaptureFixture, *, required: bool
) -> None:
    """Something else has its name: a required store refuses the run, another one runs it unrecorded."""
    state = state_in(folder, required=required)
    await (await state.open(RunInfo("other", "report"))).close()
    (folder / "night.lock").mkdir()
    if required:
        with pytest.raises(StateUnavailable) as refused:
            await state.open(RUN)
        assert refused.value.where == str(folder / "night.lock")
        assert "Is a directory" in refused.value.cause
        return
    journal = await state.open(RUN)
    assert (journal.attempt, journal.earlier, await complete(journal, "f:0", 1)) == (1, None, False)
    (record,) = caplog.records
    assert record.getMessage().startswith(f"state {folder / 'night.lock'}: ")
    assert record.getMessage().endswith("; the run continues unrecorded")
