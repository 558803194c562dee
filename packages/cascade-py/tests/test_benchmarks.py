"""Benchmarks: a ratio, a target, the verdict on two versions, and one quick run of each command."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from figures import command
from figures.versions import Comparison, Verdict


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


def test_the_readme_describes_every_group() -> None:
    readme = (Path(command.__file__).parents[1] / "README.md").read_text("utf-8")
    assert re.findall(r"^\| `(\w+)` \|", readme, re.MULTILINE) == [*command.GROUPS, command.PEERS]


sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))


CHECKOUT = Path(__file__).parents[3]


def comparison(
    this: Sequence[float], that: Sequence[float], again: Sequence[float], *, unit: str = "us"
) -> Comparison:
    """A row of the given samples."""
    return Comparison("r", unit, this, that, again)


@pytest.mark.parametrize(
    ("this", "again", "verdict"),
    [
        (104, 100, Verdict.SAME),  # within the bound
        (106, 106, Verdict.WORSE),  # above the bound, no spread
        (106, 96, Verdict.SAME),  # above the bound, within the spread of 1.10
        (120, 109, Verdict.WORSE),  # above the bound and the spread
        (94, 94, Verdict.BETTER),
        (94, 80, Verdict.SAME),
        (96, 96, Verdict.SAME),
    ],
)
def test_a_row_is_worse_or_better_only_beyond_both_the_bound_and_the_spread(
    this: float, again: float, verdict: Verdict
) -> None:
    """Neither chance nor a difference too small to matter is a verdict."""
    assert comparison((this,), (100,), (again,)).verdict is verdict


@pytest.mark.full
@pytest.mark.process
def test_a_checkout_is_compared_with_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Tiny sizes: this shows that each run has its own process and sources, and judges no time."""
    file = tmp_path / "compared.json"
    code = command.main(
        ["--against", str(CHECKOUT), "--rows", "engine", "--quick", "--rounds", "2", "--json", str(file)]
    )
    rows = json.loads(file.read_text())["rows"]
    assert code in (0, 1)
    assert {"fan-out 10, run only", "memory of a declared task"} <= {row["name"] for row in rows}
    assert all(len(row["this"]) == len(row["that"]) == len(row["again"]) == 2 for row in rows)
    assert "rows not worse" in capsys.readouterr().out.splitlines()[-1]
