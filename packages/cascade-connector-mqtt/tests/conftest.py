"""What the tests of this package share."""

from __future__ import annotations

import pytest

from cascade.transport import link, waiting
from cascade.transport.settings import ConnectorSettings

LIMITS = {
    (module, name): getattr(module, name)
    for module, name in (
        (waiting, "NO_PROGRESS"),
        (link, "LEAVE_TIMEOUT"),
        (link, "ANSWER_TIMEOUT"),
        (link, "STUCK_TIMEOUT"),
    )
}
"""What the limits of a link are. A test patches them with one fixture only: two would restore each other's values."""
AGES = 60.0
"""Seconds that no test waits, unless the machine stands still."""


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give nothing up because the machine is slow: a test that is about a limit sets it itself."""
    for (module, name), limit in LIMITS.items():
        assert getattr(module, name) == limit, "an earlier test has left its own limit"
        monkeypatch.setattr(module, name, AGES)
    make = ConnectorSettings.__init__
    defaults = {**(make.__kwdefaults__ or {}), "connect_timeout": AGES, "drain_timeout": AGES}
    monkeypatch.setattr(make, "__kwdefaults__", defaults)


@pytest.fixture
def hasty_end(patient: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give a link that carries nothing up soon, at the end of a connector."""
    monkeypatch.setattr("cascade.transport.waiting.NO_PROGRESS", 0.2)
    monkeypatch.setattr("cascade.transport.link.LEAVE_TIMEOUT", 0.2)
