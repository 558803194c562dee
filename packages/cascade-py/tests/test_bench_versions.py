"""The benchmarks' comparison of two versions: ratios, spread, verdict, arguments, and one quick run."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from figures import against, command
from figures.measure import Settings
from figures.programs.version import sample_of
from figures.table import Row
from figures.versions import Comparison, Run, Verdict, block_medians, header, line_of, orders, summary

CHECKOUT = Path(__file__).parents[3]


def comparison(
    this: Sequence[float], that: Sequence[float], again: Sequence[float], *, unit: str = "us"
) -> Comparison:
    """A row of the given samples."""
    return Comparison("r", unit, this, that, again)


def test_all_six_orders_take_turns_so_that_each_run_comes_first_twice() -> None:
    """Drift within a round harms no run more than another."""
    six = list(islice(orders(), 6))
    assert len(set(six)) == 6
    assert [order[0] for order in six].count(Run.THAT) == 2
    assert next(islice(orders(), 6, None)) == six[0]


def test_the_ratio_is_the_median_of_the_rounds_and_not_the_ratio_of_the_medians() -> None:
    """Each round compares runs that were close in time."""
    assert comparison((10, 60, 90), (10, 20, 90), (10, 60, 90)).ratio == 1


def test_a_rate_is_worse_where_it_is_lower() -> None:
    """The ratio is always one of costs."""
    assert comparison((50,), (100,), (50,), unit="/s").ratio == 2
    assert comparison((50,), (100,), (50,)).ratio == 0.5


def test_nothing_beside_nothing_is_the_same_and_something_beside_nothing_is_worse() -> None:
    """Counts of lost events are usually 0 on both sides."""
    assert comparison((0,), (0,), (0,)).ratio == 1
    assert comparison((2,), (0,), (2,)).ratio == math.inf
    assert comparison((2,), (0,), (2,)).verdict is Verdict.WORSE


@pytest.mark.parametrize(
    ("ratios", "medians"),
    [
        ([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]),
        ([1, 3, 2, 2, 5, 5, 0, 8, 1, 1], [2, 2, 5, 4, 1]),
        ([1, 3, 2, 2, 5, 5, 0, 8, 1, 1, 99], [2, 2, 5, 4, 1]),
        ([1.0] * 30, [1.0] * 5),
    ],
)
def test_blocks_are_of_consecutive_rounds_and_all_of_one_size(
    ratios: list[float], medians: list[float]
) -> None:
    """An incomplete last block is left out; few rounds are blocks of one."""
    assert block_medians(ratios) == medians


def test_the_spread_counts_an_a_a_ratio_in_both_directions() -> None:
    """Either run of this version could have been called the first."""
    assert comparison((10, 10), (10, 10), (8, 10)).spread == (0.8, 1.25)


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


@pytest.mark.parametrize(
    ("samples", "message"),
    [(((1, 2), (1,), (1, 2)), "r: every round must measure all three runs"), (((), (), ()), "r: no rounds")],
)
def test_samples_that_do_not_match_are_refused(samples: tuple[Sequence[float], ...], message: str) -> None:
    """A missing sample would shift all later rounds."""
    with pytest.raises(ValueError, match=message):
        comparison(*samples)


def test_a_line_shows_both_medians_the_ratio_the_spread_and_the_verdict() -> None:
    """Headings stand over their columns."""
    row = comparison((12,), (10,), (11,))
    cells = [cell.strip() for cell in line_of(row).split("  ") if cell.strip()]
    assert cells == ["r", "12 us", "10 us", "1.200x", "0.917-1.091", "WORSE"]
    heading = header().splitlines()[0]
    assert heading.index("ratio") + len("ratio") == line_of(row).index("1.200x") + len("1.200x")
    assert summary([row]) == "0 of 1 rows not worse; worse: r"
    assert summary([comparison((1,), (1,), (1,))]) == "1 of 1 rows not worse"


def test_a_brief_run_has_a_third_of_the_rounds_and_moderate_sizes() -> None:
    """Thirty rounds of three processes then take minutes."""
    brief = Settings(brief=True)
    assert (brief.rounds_or(25), brief.rounds_or(3), brief.size(1_000), brief.size(100_000)) == (
        8,
        1,
        1_000,
        5_000,
    )
    assert Settings(quick=True, brief=True).size(1_000) == 10


def test_each_row_of_a_group_gets_a_name_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several rows are called "- peak memory"; rows of one name differ only in the other side, left out here."""
    lines = [{"sources": str(CHECKOUT / "x.py")}]
    lines += [
        {"name": name, "unit": "MB", "value": "1"}
        for name in ("refused", "- peak", "frozen", "frozen", "- peak")
    ]
    printed = "\n".join(map(json.dumps, lines))
    checkout = against.Checkout(CHECKOUT)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 0, printed, ""))
    names = [sample.name for sample in against.measure("faults", checkout, quick=True)]
    assert names == ["refused", "refused - peak", "frozen", "frozen - peak"]


@pytest.mark.parametrize(("unit", "value"), [("us", 1), ("ms", 3), ("/s", 3), ("KB", 3)])
def test_a_run_stands_for_its_best_cpu_time_and_for_the_median_of_all_else(unit: str, value: float) -> None:
    """What disturbs a CPU time only adds to it; a longest gap or a rate has no such floor."""
    assert sample_of(Row("r", unit, (1, 9, 3))) == value


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--against", "nowhere"], "--against nowhere: not a checkout of Cascade (it has no packages/*/src)"),
        (["--against", str(CHECKOUT), "--peers"], "leave out --peers"),
        (["--against", str(CHECKOUT), "--rows", "control"], "cannot compare 'control': its rows use private"),
        (["--python", sys.executable], "--python is the interpreter for the checkout that --against names"),
        (["--against", str(CHECKOUT), "--rounds", "0"], "0 is not a number of rounds; give 1 or more"),
    ],
)
def test_arguments_that_cannot_be_compared_are_refused(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each message states what is wrong before anything is measured."""
    with pytest.raises(SystemExit) as refused:
        command.main(arguments)
    assert refused.value.code == 2
    assert message in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(("verdict", "code"), [(Verdict.SAME, 0), (Verdict.WORSE, 1)])
def test_the_exit_code_is_1_if_a_row_is_worse(
    verdict: Verdict, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A script can stop at a version that is slower."""
    ours = (10,) if verdict is Verdict.SAME else (20,)
    row = comparison(ours, (10,), ours)
    monkeypatch.setattr(against, "compare", lambda *_, **__: iter([row]))
    assert command.main(["--against", str(CHECKOUT), "--rows", "event"]) == code
    assert f"that: {CHECKOUT}; 30 rounds" in capsys.readouterr().out


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


@pytest.mark.process
def test_a_checkout_whose_sources_are_not_imported_is_refused(tmp_path: Path) -> None:
    """Otherwise the installed version would be compared with itself."""
    (tmp_path / "packages" / "empty" / "src").mkdir(parents=True)
    with pytest.raises(RuntimeError, match="has no sources of cascade"):
        against.measure("engine", against.Checkout(tmp_path), quick=True)
