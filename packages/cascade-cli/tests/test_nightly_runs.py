"""A run that is started every night: its id, what goes on after a kill, and what a person reads in the journal."""

import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cascade.cli import main
from cascade.testkit.waiting import busyness
from testing_tools.engines import CASCADE, eventually

JOB = """
import os, time
from pathlib import Path
import cascade as cs

@cs.task
def measure(sensor: int) -> float:
    with open("measured.txt", "a") as file:
        file.write(f"{sensor}\\n")
    if sensor == 2 and Path("hang").exists():
        time.sleep(600)
    return 2.5 * sensor

@cs.task
def total(values: list, unit: str) -> str:
    return f"{sum(values)} {unit}"

workflow = total(measure.map(sensor=range(3)).with_concurrency(1), cs.Param("unit"))

def audit(number: int):
    return total(measure.map(sensor=range(number)), cs.Param("unit", default="C"))
"""

Cascade = Callable[..., tuple[int, str, str]]


@pytest.fixture
def cascade(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cascade:
    """Run the command in this process and in a folder with the job: its exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "argv", [*sys.argv])
    (tmp_path / "nightly_job.py").write_text(JOB)

    def run(*arguments: str) -> tuple[int, str, str]:
        sys.modules.pop("nightly_job", None)
        try:
            return main(["run", *arguments]), *capsys.readouterr()
        finally:
            sys.modules.pop("nightly_job", None)

    return run


def test_a_recorded_result_is_never_returned_without_a_word(cascade: Cascade, tmp_path: Path) -> None:
    """Also with --quiet; the inputs come from the record, before and after the end."""
    night = ("nightly_job.py", "-q", "--state", "runs", "--run-id", "nightly")
    assert cascade(*night)[0] == 2
    assert cascade(*night, "--unit", "C") == (0, "7.5 C\n", "")
    code, out, err = cascade(*night)
    assert (code, out) == (0, "7.5 C\n")
    assert re.fullmatch(
        r"cascade: run nightly ended on [0-9-]+ [0-9:]+; its result is returned, nothing ran\n", err
    )
    assert (tmp_path / "measured.txt").read_text().count("\n") == 3
    job = tmp_path / "nightly_job.py"
    job.write_text(f"{JOB}\nextra = measure.map(sensor=range(2))\n")
    more = ("nightly_job.py:extra", "-q", "--state", "runs", "--run-id", "extra")
    assert cascade(*more)[0] == 0
    job.write_text(job.read_text().replace("range(2)", "[0, 1, 2]"))
    assert cascade(*more)[2].endswith("its recorded results are used, and 1 task that has none ran\n")


def test_an_id_may_have_the_date(cascade: Cascade, tmp_path: Path) -> None:
    """Another night is another run; a placeholder that does not exist is refused with those that do."""
    code, out, _ = cascade(
        "nightly_job.py", "--unit", "C", "--state", "runs", "--run-id", "n-{date}-{time}-{host}", "--json"
    )
    assert code == 0
    assert re.search(r'"run_id": "n-\d{4}-\d\d-\d\d-\d{6}-[^"]+"', out)
    code, _, err = cascade("nightly_job.py", "--unit", "C", "--run-id", "n-{day}")
    assert (code, err) == (
        2,
        "cascade: --run-id: there is no placeholder {day}; write {date}, {time} or {host}\n",
    )


def test_a_recorded_run_without_an_id_gets_one_with_the_date(cascade: Cascade, tmp_path: Path) -> None:
    """It says so; two in one second differ, and --continue without an interrupted run begins a new one."""
    ids = set()
    for options in ([], [], ["--continue"]):
        code, _, err = cascade("nightly_job.py", "--unit", "C", "--state", "runs", *options)
        (found,) = re.findall(
            r"^cascade: the run is (total-\S+); if it is interrupted, --continue", err, re.MULTILINE
        )
        ids.add(found)
        assert code == 0
    assert len(ids) == 3
    assert (tmp_path / "measured.txt").read_text().count("\n") == 9
    code, _, err = cascade("nightly_job.py", "--unit", "C", "--continue")
    assert (code, err) == (2, "cascade: --continue needs recorded runs; give --state FOLDER\n")


@pytest.mark.process
def test_a_killed_run_goes_on_with_continue(cascade: Cascade, tmp_path: Path) -> None:
    """Without its inputs; no recorded step runs again. A changed file is refused as by any other resume, in words of the command."""
    (tmp_path / "hang").touch()
    night = [*CASCADE, "run", "nightly_job.py", "-q", "--state", "runs", "--continue"]
    process = subprocess.Popen([*night, "--unit", "C"], cwd=tmp_path)
    measured = tmp_path / "measured.txt"
    eventually(lambda: measured.exists() and "2" in measured.read_text(), "the third sensor is measured")
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=60 * busyness())
    (tmp_path / "hang").unlink()
    source = (tmp_path / "nightly_job.py").read_text()
    (tmp_path / "nightly_job.py").write_text(source.replace("2.5 * sensor", "13.5 * sensor"))
    code, _, err = cascade(*night[len(CASCADE) + 1 :])
    assert code != 0
    assert "--on-change rerun runs them again" in err
    (tmp_path / "nightly_job.py").write_text(source)
    code, out, err = cascade(*night[len(CASCADE) + 1 :])
    assert (code, out) == (0, "7.5 C\n")
    assert re.fullmatch(
        r"cascade: run total-\S+ began on [0-9-]+ [0-9:]+ and goes on where it stopped\n", err
    )
    assert measured.read_text().split() == ["0", "1", "2", "2"]


def test_help_and_errors_name_inputs_that_are_not_known_yet(cascade: Cascade) -> None:
    """Inputs of a graph that a function makes of its arguments."""
    assert "further inputs: -p NAME=VALUE" in cascade("nightly_job.py:audit", "--help")[1]
    assert "further inputs" not in cascade("nightly_job.py", "--help")[1]
    code, _, err = cascade("nightly_job.py:audit", "--number", "2", "--unit", "parts")
    assert code == 2
    assert err.startswith("cascade: No such option: --unit; write -p unit=... for an input of the graph")
    assert cascade("nightly_job.py:audit", "--number", "2", "-p", "unit=parts", "-q")[1] == "2.5 parts\n"
