"""``cascade history``: every column and option, with a state within the test."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_modules import history_command

from cascade.cli import main
from cascade.interfaces import RunSummary, StepSummary
from cascade.interfaces.errors import CascadeError
from cascade.interfaces.state import RecordedStatus, StepState
from testing_tools.memory_broker import MemoryBroker, Person
from testing_tools.retained_reports import cells

NOW = 1_800_000_000.0
BEGAN = "2027-01-15T07:58:20+00:00"
"""100 s before now."""
ENDED = "2027-01-15T07:58:50+00:00"

NIGHT = RunSummary(
    "night",
    "press",
    RecordedStatus.FAILED,
    2,
    NOW - 100,
    NOW - 70,
    "ValueError: token=abc123secret",
    "olaf",
    {StepState.IN_DOUBT: 1, StepState.COMPLETED: 3},
)
DAY = RunSummary("day", "bake", RecordedStatus.RUNNING, 1, NOW - 5, None)
STEPS = [
    StepSummary("press:0", "press", StepState.IN_DOUBT, 2, 1, NOW - 100, NOW - 70, "E: x\ny", 12),
    StepSummary("bake:0", "bake", StepState.COMPLETED, 1, 1, NOW - 100, None, "", 7),
    StepSummary("plan:0", "plan", StepState.COMPLETED, 0, 0, 0.0, NOW - 99, "", 3),
    StepSummary("weld:0", "weld", StepState.FAILED, 1, 0, NOW - 99, NOW - 99, "E: z", 0),
]


class State:
    """What the command uses of a state."""

    def __init__(self) -> None:
        self.all = [NIGHT, DAY]
        self.pruned = 0

    async def prune(self) -> int:
        self.pruned += 1
        return 4

    def runs(self, *, run_id: str | None = None, limit: int = 100) -> list[RunSummary]:
        return [each for each in self.all if run_id in (None, each.run_id)][:limit]

    def steps(self, run_id: str) -> Iterator[StepSummary]:
        assert run_id == "night"
        return iter(STEPS)

    def values(self, run_id: str) -> Iterator[tuple[str, Any]]:
        assert run_id == "night"
        return iter([("press:0", {"n": [1, 2]}), ("plan:0", CascadeError("of another version"))])


@pytest.fixture
def state(monkeypatch: pytest.MonkeyPatch) -> State:
    """A state with a run that failed, and one that goes on."""
    made = State()
    monkeypatch.setattr(history_command, "state_in", lambda folder: made)
    monkeypatch.setattr(time, "time", lambda: NOW)
    return made


@pytest.fixture
def person(monkeypatch: pytest.MonkeyPatch) -> Person:
    """A person at a terminal."""
    return Person(MemoryBroker({}), monkeypatch)


@pytest.mark.usefixtures("state")
def test_a_person_reads_runs_with_ages_durations_and_steps(person: Person) -> None:
    """A run that goes on has no duration; secrets in an error are masked."""
    code, lines, err = person.types("history")
    assert (code, err) == (0, "")
    head, *rows = cells(lines)
    assert head == ["run", "target", "status", "attempts", "began", "took", "steps", "by", "error"]
    night = ["night", "press", "Failed", "2", "100s ago", "30.0 s", "3 completed 1 in doubt", "olaf"]
    assert rows[0][:8] == night
    assert "abc123secret" not in rows[0][8]
    assert rows[1] == ["day", "bake", "Running", "1", "5s ago"]


@pytest.mark.usefixtures("state")
def test_a_person_reads_how_a_run_ended_then_its_failures_then_its_steps(person: Person) -> None:
    """And with --values their values, of which an unreadable one is named. A run with few steps has no table of the slowest."""
    page = "\n".join(person.types("history", "night")[1])
    head, failed, steps = (cells(part.splitlines()) for part in re.split(r"\n\n(?:Failed|Steps)\n", page))
    assert [re.sub(", began .*", "", row[0]) for row in head] == [
        "night", "Failed after 30.0 s, in attempt 2, by olaf", "ValueError: token=***", "3 completed 1 in doubt",
    ]  # fmt: skip
    assert "abc123secret" not in page
    assert failed == [
        ["step", "failed tries", "took", "error"],
        ["press:0", "1", "30.0 s", "E: x y"],
        ["weld:0", "1", "0.0 s", "E: z"],
    ]
    assert steps == [
        ["step", "state", "starts", "failed tries", "began", "took", "error"],
        ["press:0", "in doubt", "2", "1", "100s ago", "30.0 s", "E: x y"],
        ["bake:0", "completed", "1", "100s ago"],
        ["plan:0", "completed"],
        ["weld:0", "failed", "1", "99s ago", "0.0 s", "E: z"],
    ]
    lines = person.types("history", "night", "--values")[1]
    titles, *rows = cells(lines[lines.index("Steps") + 1 :])
    assert titles[-2:] == ["size", "value"]
    assert [row[-1] for row in rows] == ["n=1, 2", "7", "unreadable: of another version", "0"]


@pytest.mark.usefixtures("state")
def test_a_program_reads_runs_and_steps_with_times_and_values(capsys: pytest.CaptureFixture[str]) -> None:
    """Times in UTC; what is not known is null, and only a step with a value has one."""
    assert main(["history", "--json"]) == 0
    night, day = json.loads(capsys.readouterr().out)
    assert (night["created"], night["ended"], night["took"]) == (BEGAN, ENDED, 30.0)
    assert (day["ended"], day["took"], day["counts"]) == (None, None, {})
    assert night["counts"] == {"completed": 3, "in_doubt": 1}
    assert main(["history", "night", "--values", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    steps = found.pop("steps")
    assert found == night
    assert steps[0] == {
        "key": "press:0",
        "name": "press",
        "state": "in_doubt",
        "starts": 2,
        "tries": 1,
        "began": BEGAN,
        "ended": ENDED,
        "took": 30.0,
        "error": "E: x y",
        "size": 12,
        "value": {"n": [1, 2]},
    }
    assert [(step["took"], step.get("value", "none")) for step in steps[1:]] == [
        (None, "none"),
        (None, "unreadable: of another version"),
        (0.0, "none"),
    ]
    assert steps[3]["tries"] == 1
    assert steps[2]["began"] is None
    assert main(["history", "night", "--json"]) == 0
    assert all("value" not in step for step in json.loads(capsys.readouterr().out)["steps"])


def test_old_runs_are_deleted_only_where_that_is_asked_for(
    state: State, capsys: pytest.CaptureFixture[str]
) -> None:
    """How many is a note: the list is the document."""
    assert main(["history", "--json"]) == 0
    assert (state.pruned, capsys.readouterr().err) == (0, "")
    assert main(["history", "--prune", "--json"]) == 0
    printed = capsys.readouterr()
    assert (state.pruned, printed.err, len(json.loads(printed.out))) == (1, "deleted 4 runs\n", 2)


def test_a_run_beyond_the_first_thousand_is_listed_by_its_id(
    state: State, capsys: pytest.CaptureFixture[str]
) -> None:
    """The list of all ends there, and says so."""
    state.all = [DAY] * 1_000
    assert main(["history", "--json"]) == 0
    assert capsys.readouterr().err == ""
    state.all += [NIGHT]
    assert main(["history", "--json"]) == 0
    out, err = capsys.readouterr()
    assert len(json.loads(out)) == 1_000
    assert err == "these are the latest 1,000 runs; cascade history RUN shows an older one\n"
    assert main(["history", "night", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["run_id"] == "night"


@pytest.mark.usefixtures("state")
@pytest.mark.parametrize("option", ["--values", "--prune"])
def test_what_needs_a_state_is_refused_for_a_collectors_file(
    option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each of them; the file is not read."""
    assert main(["history", "--from", str(tmp_path / "none.sqlite"), option]) == 2
    assert capsys.readouterr().err == "cascade: --values and --prune need --state; leave them out\n"


def test_an_empty_list_is_a_sentence(person: Person, state: State) -> None:
    """Of a folder without runs."""
    state.all = []
    assert person.types("history")[1] == ["no recorded runs"]
