"""Ctrl-C and the end of a terminal work in the tests, however they were started."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest


def test_no_signal_of_a_terminal_is_ignored() -> None:
    """The tests, and the processes that they start, end by SIGINT and SIGHUP."""
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if sys.platform != "win32":
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL


@pytest.mark.full
@pytest.mark.process
@pytest.mark.timeout(180)
@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")
def test_tests_started_in_the_background_ignore_no_signal_of_a_terminal() -> None:
    """pytest restores what it inherits as ignored, as a background job of a shell and a program below nohup do."""
    selected = f"{Path(__file__)}::{test_no_signal_of_a_terminal_is_ignored.__name__}"
    command = f"trap '' INT HUP; exec '{sys.executable}' -m pytest -q -p no:cacheprovider -n 0 '{selected}'"
    ended = subprocess.run(["sh", "-c", command], check=False, capture_output=True, text=True, timeout=600)
    assert ended.returncode == 0, ended.stdout
    assert "1 passed" in ended.stdout
