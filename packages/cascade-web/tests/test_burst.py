"""The benchmarks of the page run: they measure bursts and late pages of any size, and print what they have found."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from cascade.testkit.fixtures import require_mosquitto

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


@pytest.mark.full
@pytest.mark.broker
@pytest.mark.process
@pytest.mark.timeout(600)
def test_a_late_page_of_a_few_engines_is_measured() -> None:
    """On both brokers the page shows everything; a test does not judge after how long."""
    require_mosquitto()
    command = [sys.executable, str(BENCHMARKS / "late.py"), "--rounds", "1", "--engines", "3", "--runs", "2"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.findall(r"^(\S+): 3 engines, 2 runs: complete after \d+\.\d\d s", done.stdout, re.MULTILINE)
    assert found == ["mosquitto", "nats-server"], done.stderr
