"""The demo of a run that survives, in its short form, and that it would notice a step that is done again."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from survive import Night, NotSurvivedError, checked

from cascade.testkit.chaos import ChaosProxy
from cascade.testkit.waiting import busyness


@pytest.mark.full
@pytest.mark.broker
@pytest.mark.process
@pytest.mark.timeout(300)
def test_a_run_survives_five_kills_two_cuts_and_a_pause(demo: Path) -> None:
    """Each stands as a line; no recorded step is done again, and the paused run starts nothing without its link."""
    command = [
        sys.executable,
        str(demo / "survive.py"),
        "--parts",
        "24",
        "--seconds",
        "0.01",
        "--pause",
        "0.1",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280 * busyness(), check=False)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stdout + done.stderr
    assert re.findall(r"^kill -9, number (\d)", done.stdout, re.MULTILINE) == list("12345")
    assert re.findall(r"link .* is cut, number (\d)", done.stdout) == list("12")
    assert "\n0 steps were started: the pause outlived the process.\n" in done.stdout
    assert "5 kills, 2 cuts, 49 of 49 steps done, value 2760, as expected." in done.stdout
    assert "Recorded steps that were done again: 0." in done.stdout
    assert "because the last process obeyed them" in done.stderr


ENTRIES = ["press:0[0] a 1", "measure:0[0] b 1", "pack:0 c 1"]


@pytest.mark.parametrize(
    ("entries", "value"),
    [
        pytest.param([*ENTRIES, "press:0[0] a 2"], 0, id="a recorded step was done again"),
        pytest.param([*ENTRIES, "measure:0[0] d 2"], 0, id="an idempotency key changed"),
        pytest.param(ENTRIES[1:], 0, id="a step was not done"),
        pytest.param(ENTRIES, 1, id="another value"),
    ],
)
def test_the_demo_notices_what_must_not_happen(entries: list[str], value: int, tmp_path: Path) -> None:
    """It says so, and its exit code is 1."""
    night = Night(tmp_path, "", ChaosProxy(1), parts=1, seconds=0, kept=[{"press:0[0]"}])
    (tmp_path / "ledger").write_text("\n".join(ENTRIES))
    assert "Recorded steps that were done again: 0." in checked(night, 0)
    (tmp_path / "ledger").write_text("\n".join(entries))
    with pytest.raises(NotSurvivedError):
        checked(night, value)
