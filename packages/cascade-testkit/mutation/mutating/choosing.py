"""A pytest plugin: run the listed tests in the order of the list, and write down the first one that fails."""

import json
import os
import resource
from pathlib import Path

import pytest

TESTS = "CASCADE_MUTATION_TESTS"
FAILED = "CASCADE_MUTATION_FAILED"
MEMORY = 12 * 1024**3  # a mutant may fill the memory


def pytest_configure() -> None:
    """Bound the memory of this process and of all that it starts; a browser reserves more addresses than it uses."""
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the listed tests only, in their order."""
    listed = json.loads(Path(os.environ[TESTS]).read_text("utf-8"))
    place = {name: number for number, name in enumerate(listed)}
    items[:] = sorted((item for item in items if item.nodeid in place), key=lambda item: place[item.nodeid])


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Write down a failure: the caller tries that test once more."""
    if report.failed:
        Path(os.environ[FAILED]).write_text(report.nodeid, "utf-8")
