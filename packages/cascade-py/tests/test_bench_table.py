"""The benchmarks' table: what is divided by what, when a target is reached, and how a row reads."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from figures import command
from figures.measure import alternate
from figures.table import Row, at_least, at_most, line_of, no_more_above, no_more_than, summary


def cells(row: Row) -> list[str]:
    """The cells of a row's line; empty ones are left out."""
    return [cell.strip() for cell in line_of(row).split("  ") if cell.strip()]


def test_the_ratio_is_the_median_of_the_rounds_and_not_the_ratio_of_the_medians() -> None:
    row = Row("r", "us", ours=(10, 60, 90), theirs=(10, 20, 90))
    assert row.ratio == 1


@pytest.mark.parametrize(
    ("target", "ours", "theirs", "reached"),
    [
        (at_most(3), 30, 10, True),
        (at_most(3), 30.1, 10, False),
        (at_least(0.85), 85, 100, True),
        (at_least(0.85), 84, 100, False),
        (no_more_than(50), 50, 1, True),
        (no_more_than(50), 51, 100, False),
        (no_more_above(20), 120, 100, True),
        (no_more_above(20), 121, 100, False),
    ],
)
def test_each_kind_of_target_bounds_its_own_number(
    target: object, ours: float, theirs: float, reached: bool
) -> None:
    assert Row("r", "ms", (ours,), "x", (theirs,), target).reached is reached  # type: ignore[arg-type]


def test_a_line_shows_every_number_with_its_unit_and_the_verdict() -> None:
    row = Row("fan-out", "us", (30, 29, 31), "gather", (10, 10, 10), at_most(3))
    assert cells(row) == ["fan-out", "gather", "30 us", "10 us", "3.00x", "2.95-3.05", "<= 3x", "yes"]


def test_a_missed_target_stands_out_in_its_line_and_in_the_summary() -> None:
    missed = Row("start", "ms", (30,), "no connector", (5,), no_more_above(20))
    reached = Row("rate", "/s", (12_345.6,), "aiomqtt", (10_000,), at_least(0.85))
    assert cells(missed) == ["start", "no connector", "30 ms", "5 ms", "<= +20 ms", "NO"]
    assert cells(reached) == ["rate", "aiomqtt", "12,346 /s", "10,000 /s", "1.23x", ">= 0.85x", "yes"]
    assert summary([missed, reached]) == "1 of 2 targets reached; missed: start"


async def test_sides_alternate_and_every_other_round_goes_backwards() -> None:
    calls: list[str] = []

    async def side(name: str) -> int:
        calls.append(name)
        return len(calls)

    results = await alternate(2, lambda: side("a"), lambda: side("b"))
    assert calls == ["a", "b", "b", "a"]
    assert results == [(1, 4), (2, 3)]


@pytest.mark.process
def test_the_command_measures_the_engine_and_keeps_every_sample(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Tiny sizes: this shows what is printed and written, and judges no time."""
    file = tmp_path / "figures.json"
    assert command.main(["--rows", "engine", "--quick", "--rounds", "2", "--json", str(file)]) == 0
    lines = capsys.readouterr().out.splitlines()
    document = json.loads(file.read_text())
    shown = [line for line in lines if line.startswith(("fan-out", "chain", "memory"))]
    assert [line.split("  ")[0] for line in shown] == [row["name"] for row in document["rows"]]
    assert len(shown) == 20
    assert all(line.endswith(" -") for line in shown), "sizes as small as these are not judged"
    timed = [row for row in document["rows"] if row["unit"] == "us"]
    assert all(len(row["ours"]) == len(row["theirs"]) == 2 and row["ratio"] > 0 for row in timed)
    assert "targets reached" in lines[-1]


@pytest.mark.nightly
@pytest.mark.broker
@pytest.mark.timeout(600)
@pytest.mark.wrong_messages("measures messages of any content", "cascade/telemetry/bench/#")
@pytest.mark.parametrize("group", command.GROUPS)
def test_every_group_measures_its_rows(group: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Some use private modules, and would fail unnoticed when these change."""
    assert command.main(["--rows", group, "--quick"]) == 0
    assert "targets reached" in capsys.readouterr().out


def test_a_group_that_does_not_exist_is_refused_with_those_that_do(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as refused:
        command.main(["--rows", "engines"])
    assert refused.value.code == 2
    assert "'engines' is not a group; use one of startup, engine, event" in capsys.readouterr().err


def test_the_readme_describes_every_group() -> None:
    readme = (Path(command.__file__).parents[1] / "README.md").read_text("utf-8")
    assert re.findall(r"^\| `(\w+)` \|", readme, re.MULTILINE) == [*command.GROUPS, command.PEERS]
