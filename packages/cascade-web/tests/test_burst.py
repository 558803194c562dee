"""The benchmarks of the page run: they measure bursts and late pages of any size, and print what they have found."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.mark.full
@pytest.mark.broker
@pytest.mark.process
@pytest.mark.timeout(600)
def test_a_small_burst_is_measured() -> None:
    """Every event arrives; a test does not judge how fast."""
    command = [sys.executable, str(BENCHMARKS / "burst.py"), "--rounds", "1", "--events", "2000"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert re.search(r"round 1: +[\d,]+ events a second of CPU time", done.stdout), done.stderr
    assert "longest frame" in done.stdout
