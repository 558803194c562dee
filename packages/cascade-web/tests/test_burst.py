"""The benchmark of the page runs: it measures bursts of any size, and prints what it has found."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

BURST = Path(__file__).parents[1] / "benchmarks" / "burst.py"


@pytest.mark.broker
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_small_burst_is_measured() -> None:
    """Every event arrives; how fast is no affair of a test."""
    command = [sys.executable, str(BURST), "--rounds", "1", "--events", "2000"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert re.search(r"round 1: +[\d,]+ events a second of CPU time", done.stdout), done.stderr
    assert "longest frame" in done.stdout
