"""What the tests of connectors on a network in memory share."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from cascade.transport.backoff import Backoff


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """What returns the warnings and errors so far."""

    def found() -> list[str]:
        records = [each for each in caplog.records if each.levelno >= logging.WARNING]
        return [each.getMessage() for each in records]

    return found


@pytest.fixture
def longest_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have each pause between two attempts to connect take its longest time."""
    monkeypatch.setattr(Backoff.__init__, "__defaults__", (lambda low, high: high,))
