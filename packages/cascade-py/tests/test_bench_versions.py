"""The benchmarks' comparison of two versions: ratios, spread, verdict, arguments, and one quick run."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from figures import against, command
from figures.programs.version import sample_of
from figures.table import Row
from figures.versions import Comparison, Verdict

CHECKOUT = Path(__file__).parents[3]


def comparison(
    this: Sequence[float], that: Sequence[float], again: Sequence[float], *, unit: str = "us"
) -> Comparison:
    """A row of the given samples."""
    return Comparison("r", unit, this, that, again)


def test_a_rate_is_worse_where_it_is_lower() -> None:
    """The ratio is always one of costs."""
    assert comparison((50,), (100,), (50,), unit="/s").ratio == 2
    assert comparison((50,), (100,), (50,)).ratio == 0.5


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
