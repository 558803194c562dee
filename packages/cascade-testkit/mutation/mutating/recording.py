"""A pytest plugin: record which lines each test executes, also in processes that it starts, and how long it takes.

Every process of the tests has to start coverage by itself (``COVERAGE_PROCESS_START``). The plugin names the
test in the contexts of its own process, and in the environment, from which child processes take it.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import coverage
import pytest

TEST = "CASCADE_MUTATION_TEST"
DURATIONS = "CASCADE_MUTATION_DURATIONS"

_seconds: dict[str, float] = {}
_failed: set[str] = set()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Count everything between a test's first fixture and its last to that test."""
    measured = coverage.Coverage.current()
    os.environ[TEST] = item.nodeid
    if measured is not None:
        measured.switch_context(item.nodeid)
    try:
        return (yield)
    finally:
        os.environ.pop(TEST, None)
        if measured is not None:
            measured.switch_context("")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Add up the phases of a test; a skipped or failed one cannot notice a mutant."""
    _seconds[report.nodeid] = _seconds.get(report.nodeid, 0.0) + report.duration
    if report.outcome != "passed":
        _failed.add(report.nodeid)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the seconds of every test that passed; only the controller of pytest-xdist does."""
    if not hasattr(session.config, "workerinput"):
        passed = {name: seconds for name, seconds in _seconds.items() if name not in _failed}
        Path(os.environ[DURATIONS]).write_text(json.dumps(passed), "utf-8")
