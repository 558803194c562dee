"""The suite of executors, tested on executors that are wrong: each fails the test that names its fault, and no other."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

MUTANTS = Path(__file__).with_name("executor_mutants.py")


def failures(suite: str) -> set[str]:
    """Run the suite on one executor; return the names of the tests that fail."""
    command = [sys.executable, "-m", "pytest", f"{MUTANTS}::{suite}", "-q", "-rfE", "--no-header", "--tb=no"]
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider", "-p", "no:xdist"],
        cwd=MUTANTS.parent,
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    assert " passed" in done.stdout, done.stdout + done.stderr
    return set(re.findall(r"^(?:FAILED|ERROR) \S+::(\w+)", done.stdout, re.MULTILINE))


@pytest.mark.parametrize(
    ("suite", "found"),
    [
        ("TestSound", set[str]()),
        ("TestLosesAResult", {"test_more_calls_than_workers_are_all_answered"}),
        ("TestSwallowsAnError", {"test_what_is_raised_is_raised"}),
        ("TestTellsTooEarly", {"test_the_end_of_a_call_that_was_given_up_is_told"}),
        ("TestLeaksOnCancel", {"test_a_call_given_up_leaves_nothing_behind"}),
    ],
)
def test_the_suite_finds_the_fault(suite: str, found: set[str]) -> None:
    """A sound executor passes; a mutant fails exactly the test that names what it does wrong."""
    assert failures(suite) == found
